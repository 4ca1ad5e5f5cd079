/**
 * Web tokens for secret keys. `app.ts` binds this. A token never makes another one: else an hour would be for ever, and
 * a limited one could widen itself. The ledger says that one was made, for which key and with which scopes.
 */
import { KedgeError, SECOND_MS } from '@kedge/core';
import type { Handlers } from '../binding.ts';
import type { Services } from '../services.ts';
import { WEB_TOKEN_MS } from '../web-tokens.ts';

export function tokenRoutes({ webTokens }: Services): Pick<Handlers, 'createToken'> {
  return {
    createToken({ principal, body, commit }) {
      const { project, credential, scopes: own } = principal;
      if (credential.type !== 'api_key')
        throw new KedgeError('forbidden', 'A web token is made with a secret key, not with another token.');
      const { apiKey } = credential;
      const scopes = body.scopes ?? own;
      const missing = own && body.scopes?.find((scope) => !own.includes(scope));
      if (missing) throw new KedgeError('forbidden', `This secret key does not have the scope ${missing} itself.`);
      return commit({
        happenings: [{ type: 'web_token.created', project, data: { api_key: apiKey, scopes } }],
        next: async () => ({
          access_token: webTokens.issue({ apiKey, project, scopes }),
          token_type: 'Bearer' as const,
          expires_in: WEB_TOKEN_MS / SECOND_MS,
          scopes: scopes && [...scopes],
        }),
      });
    },
  };
}
