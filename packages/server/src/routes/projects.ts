/**
 * Projects and their keys, for operators; and how an operator signs in. `app.ts` binds these. A key is shown once, in
 * the answer that makes it; afterwards its hash and its first characters are all that is left.
 */
import { type ApiKeyId, KedgeError, type ProjectId } from '@kedge/core';
import type { Handlers } from '../binding.ts';
import { enclaveIdentity, thumbprint } from '../identity.ts';
import { newToken, SESSION_MS } from '../principal.ts';
import type { Services } from '../services.ts';
import {
  acrossProjects,
  inProject,
  insertApiKey,
  insertOperatorSession,
  insertProject,
  listApiKeys,
  listProjects,
  pageOf,
  revokeApiKey,
} from '../store.ts';
import { apiKeyView, projectView } from '../views.ts';
import { getProject } from './asking.ts';

type Routes = Pick<
  Handlers,
  'createOperatorSession' | 'createProject' | 'listProjects' | 'createApiKey' | 'listApiKeys' | 'revokeApiKey'
>;

const HINT_CHARS = 16;

export function projectRoutes(services: Services): Routes {
  const { db, enclave, clock, random } = services;
  return {
    async createOperatorSession({ proof, commit }) {
      const { operator } = await enclave.operatorSignIn({ proof: proof.text });
      const token = newToken(random, 'op');
      const now = clock.wallMs();
      const expiresAt = new Date(now + SESSION_MS);
      return commit({
        happenings: [{ type: 'session.created', data: { operator } }],
        next: async (tx) => {
          await insertOperatorSession(acrossProjects(tx), {
            token_hash: token.hash,
            operator,
            used_at: new Date(now),
            expires_at: expiresAt,
          });
          return { token: token.text, operator, expires_at: expiresAt.toISOString() };
        },
      });
    },

    async createProject({ principal, body, resourceId, commit }) {
      const project = { ...body, id: resourceId as ProjectId, created_at: new Date(clock.wallMs()) };
      return commit({
        happenings: [
          {
            type: 'project.created',
            project: project.id,
            data: { environment: body.environment, operator: principal.operator },
          },
        ],
        next: async (tx) => {
          await insertProject(acrossProjects(tx), project);
          return projectView(project);
        },
      });
    },

    listProjects: ({ query }) =>
      pageOf(query, (before, limit) => listProjects(acrossProjects(db), before, limit), projectView),

    async createApiKey({ principal, params, body, resourceId, commit }) {
      const project = await getProject(services, params.project_id);
      const pin = body.kind === 'publishable' ? thumbprint(await enclaveIdentity(enclave)) : undefined;
      const token = newToken(random, `${body.kind === 'secret' ? 'sk' : 'pk'}_${project.environment}`, pin);
      const key = {
        id: resourceId as ApiKeyId,
        kind: body.kind,
        label: body.label,
        hint: token.text.slice(0, HINT_CHARS),
        scopes: body.scopes ?? null,
        created_at: new Date(clock.wallMs()),
      };
      return commit({
        happenings: [
          {
            type: 'api_key.created',
            project: project.id,
            data: { api_key: key.id, kind: body.kind, scopes: key.scopes, operator: principal.operator },
          },
        ],
        next: async (tx) => {
          await insertApiKey(inProject(tx, project.id), { ...key, hash: token.hash });
          return { ...apiKeyView({ ...key, project: project.id, revoked_at: null }), key: token.text };
        },
      });
    },

    async listApiKeys({ params, query }) {
      const { id } = await getProject(services, params.project_id);
      return pageOf(query, (before, limit) => listApiKeys(inProject(db, id), before, limit), apiKeyView);
    },

    async revokeApiKey({ principal, params, commit }) {
      const { id: project } = await getProject(services, params.project_id);
      return commit({
        happenings: [
          { type: 'api_key.revoked', project, data: { api_key: params.api_key_id, operator: principal.operator } },
        ],
        next: async (tx) => {
          const revoked = await revokeApiKey(inProject(tx, project), params.api_key_id, new Date(clock.wallMs()));
          if (!revoked) throw new KedgeError('not_found');
          return null;
        },
      });
    },
  };
}
