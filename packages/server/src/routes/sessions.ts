/**
 * Signing in and out. `app.ts` binds these. The enclave says whether an enrolled key signed; a session only spares the
 * user signing each reading request: every act on a key needs a proof of its own, session or not.
 */
import type { UserId } from '@kedge/core';
import type { Handlers } from '../binding.ts';
import type { Services } from '../services.ts';
import { acrossProjects, deleteOperatorSession, deleteSession, findUser, inProject } from '../store.ts';
import { ask, enrollProofKey, openSession } from './asking.ts';

type Routes = Pick<Handlers, 'createSession' | 'deleteSession'>;

export function sessionRoutes(services: Services): Routes {
  const { db, enclave } = services;
  return {
    async createSession({ principal: { project }, body, proof, commit }) {
      const user = body.user_id as UserId;
      const known = await findUser(inProject(db, project), user);
      // Asked for unknown users as well: the answer is the enclave's, and the same.
      const { receipt } = await ask(services, { project, user: known && user }, proof, () =>
        enclave.signIn({ project, user, proof: proof.text }),
      );
      return commit({
        happenings: [{ type: 'session.created', project, user, receipt }],
        next: async (tx) => {
          const key = await enrollProofKey(services, tx, { project, user }, proof, 'device');
          return openSession(services, tx, { project, user, clientKey: key.id });
        },
      });
    },

    deleteSession: ({ principal, commit }) =>
      commit({
        happenings: [
          principal.kind === 'user'
            ? { type: 'session.ended', project: principal.project, user: principal.user }
            : { type: 'session.ended', data: { operator: principal.operator } },
        ],
        next: async (tx) => {
          if (principal.kind === 'user') await deleteSession(inProject(tx, principal.project), principal.tokenHash);
          else await deleteOperatorSession(acrossProjects(tx), principal.tokenHash);
          return null;
        },
      }),
  };
}
