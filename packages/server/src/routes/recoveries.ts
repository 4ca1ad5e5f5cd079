/**
 * Recovery of an account with its 12 words. `app.ts` binds this. Anybody with the publishable key may try; the enclave
 * counts and judges the tries. An account that doesn't exist takes the same path with the text that was typed: same
 * statements, same call, same error, same event, so that nobody learns who is a user here.
 */
import { KedgeError, toBase64Url } from '@kedge/core';
import type { Handlers } from '../binding.ts';
import { signedView } from '../events.ts';
import { bytesAt } from '../problems.ts';
import type { Services } from '../services.ts';
import { deleteSessionsOf, findUserByAccount, inProject, revokeClientKeys } from '../store.ts';
import { clientKeyView } from '../views.ts';
import { enrollProofKey, openSession, tell } from './asking.ts';

type Routes = Pick<Handlers, 'createRecovery'>;

export function recoveryRoutes(services: Services): Routes {
  const { db, enclave, clock, metrics } = services;
  return {
    async createRecovery({ principal: { project }, body, proof, commit }) {
      const known = await findUserByAccount(inProject(db, project), body.account);
      const sealedRecovery = bytesAt('body.sealed_recovery', body.sealed_recovery);
      const call = { project, user: known?.id ?? body.account, proof: proof.text, sealedRecovery };
      const { secondWrap, receipt } = await enclave.recover(call).catch(async (error: unknown) => {
        if (error instanceof KedgeError && error.code === 'recovery_refused') {
          metrics.recoveryRefusals.inc();
          await tell(services, 'user.recovery_refused', { project, user: known?.id ?? null }, {});
        }
        throw error;
      });
      if (known === null) throw new KedgeError('recovery_refused'); // the enclave knows an account that our database lost
      const user = known.id;
      return commit({
        happenings: [
          { type: 'user.recovered', project, user, receipt },
          { type: 'session.created', project, user },
        ],
        next: async (tx) => {
          const on = inProject(tx, project);
          await deleteSessionsOf(on, user, null);
          await revokeClientKeys(on, user, null, new Date(clock.wallMs()));
          const key = await enrollProofKey(services, tx, { project, user }, proof, body.label);
          const session = await openSession(services, tx, { project, user, clientKey: key.id });
          return {
            session,
            client_key: clientKeyView(key),
            second_wrap: toBase64Url(secondWrap),
            receipt: signedView(receipt),
          };
        },
      });
    },
  };
}
