/**
 * Users and their client keys. `app.ts` binds these. Each act is proven to the enclave, which enrols and revokes keys on
 * its own state; what is written here is the copy that people list. A user sees themselves and nobody else: another
 * user's id answers as one that doesn't exist.
 */
import { bytesToHex, type ClientKeyId, hexToBytes, KedgeError, type UserId } from '@kedge/core';
import type { CarriedProof, Handlers } from '../binding.ts';
import { signedView } from '../events.ts';
import type { PrincipalOf } from '../principal.ts';
import { bytesAt, RequestInvalid } from '../problems.ts';
import type { Services } from '../services.ts';
import {
  deleteSessionsOf,
  enrollClientKey,
  findClientKey,
  findUserByNames,
  inProject,
  insertUser,
  listClientKeys,
  listUsers,
  pageOf,
  revokeClientKeys,
} from '../store.ts';
import { clientKeyView, userView } from '../views.ts';
import { ask, enrollProofKey, getUser, openSession } from './asking.ts';

type Routes = Pick<
  Handlers,
  | 'createUser'
  | 'listUsers'
  | 'getUser'
  | 'replaceRecoveryWords'
  | 'createClientKey'
  | 'listClientKeys'
  | 'revokeClientKey'
>;

export function userRoutes(services: Services): Routes {
  const { db, enclave, clock } = services;
  return {
    async createUser({ principal: { project }, body, proof, resourceId, commit }) {
      const user = resourceId as UserId;
      const { email = null, external_id = null } = body;
      // Before the enclave makes the account; the unique constraints decide among those who pass here together.
      if (await findUserByNames(inProject(db, project), email, external_id)) {
        throw new KedgeError('conflict', 'A user with that email or external_id exists already.');
      }
      const sealedRecovery = bytesAt('body.sealed_recovery', body.sealed_recovery);
      const { clientSecret, serverKey, receipt } = await enclave.signUp({
        project,
        user,
        proof: proof.text,
        sealedRecovery,
      });
      const row = {
        id: user,
        email,
        external_id,
        client_secret: clientSecret,
        server_key: serverKey,
        created_at: new Date(clock.wallMs()),
      };
      return commit({
        happenings: [
          { type: 'user.signed_up', project, user, receipt },
          { type: 'session.created', project, user },
        ],
        next: async (tx) => {
          await insertUser(inProject(tx, project), row);
          const key = await enrollProofKey(services, tx, { project, user }, proof, body.label);
          const session = await openSession(services, tx, { project, user, clientKey: key.id });
          return { user: userView(row), session, client_key: clientKeyView(key), receipt: signedView(receipt) };
        },
      });
    },

    listUsers: ({ principal, query }) =>
      pageOf(query, (before, limit) => listUsers(inProject(db, principal.project), before, limit), userView),

    async getUser({ principal, params }) {
      if (principal.kind === 'user') assertSelf(principal, params.user_id);
      return userView(await getUser(services, principal.project, params.user_id));
    },

    async replaceRecoveryWords({ principal, params, body, proof, commit }) {
      assertSelf(principal, params.user_id);
      const { project, user } = principal;
      const sealedRecovery = bytesAt('body.sealed_recovery', body.sealed_recovery);
      const { receipt } = await ask(services, principal, proof, () =>
        enclave.replaceWords({ project, user, proof: proof.text, sealedRecovery }),
      );
      return commit({
        happenings: [{ type: 'user.recovery_words_replaced', project, user, receipt }],
        next: async () => ({ receipt: signedView(receipt) }),
      });
    },

    async createClientKey({ principal, params, body, proof, resourceId, commit }) {
      assertSelf(principal, params.user_id);
      const { project, user } = principal;
      const publicKey = hexToBytes(body.public_key);
      if (publicKey.length !== (body.algorithm === 'p256' ? 65 : 32)) {
        throw new RequestInvalid([{ path: 'body.public_key', message: 'not as long as a key of that algorithm' }]);
      }
      assertProofNames(proof, publicKey);
      const { receipt } = await ask(services, principal, proof, () =>
        enclave.enrollClientKey({ project, user, proof: proof.text }),
      );
      return commit({
        happenings: [
          {
            type: 'client_key.enrolled',
            project,
            user,
            data: { algorithm: body.algorithm, public_key: body.public_key },
            receipt,
          },
        ],
        next: async (tx) => {
          const key = await enrollClientKey(inProject(tx, project), user, {
            id: resourceId as ClientKeyId,
            algorithm: body.algorithm,
            public_key: publicKey,
            label: body.label,
            created_at: new Date(clock.wallMs()),
          });
          return { client_key: clientKeyView(key), receipt: signedView(receipt) };
        },
      });
    },

    async listClientKeys({ principal, params, query }) {
      assertSelf(principal, params.user_id);
      return pageOf(
        query,
        (before, limit) => listClientKeys(inProject(db, principal.project), principal.user, before, limit),
        clientKeyView,
      );
    },

    async revokeClientKey({ principal, params, proof, commit }) {
      assertSelf(principal, params.user_id);
      const { project, user } = principal;
      const key = await findClientKey(inProject(db, project), user, params.client_key_id);
      if (key === null) throw new KedgeError('not_found');
      assertProofNames(proof, key.public_key);
      const { receipt } = await ask(services, principal, proof, () =>
        enclave.revokeClientKey({ project, user, proof: proof.text }),
      );
      return commit({
        happenings: [{ type: 'client_key.revoked', project, user, data: { client_key: key.id }, receipt }],
        next: async (tx) => {
          await revokeClientKeys(inProject(tx, project), user, key.id, new Date(clock.wallMs()));
          await deleteSessionsOf(inProject(tx, project), user, key.id);
          return null;
        },
      });
    },
  };
}

function assertSelf(principal: PrincipalOf<'user'>, user: string): void {
  if (principal.user !== user) throw new KedgeError('not_found');
}

/** What is enrolled or revoked is the key in the proof; the request must not list another one. */
function assertProofNames(proof: CarriedProof, publicKey: Uint8Array): void {
  const named = proof.decoded.document.parameters.public_key;
  if (named instanceof Uint8Array && bytesToHex(named) === bytesToHex(publicKey)) return;
  throw new KedgeError('proof_invalid', 'The proof is about another key than the request.');
}
