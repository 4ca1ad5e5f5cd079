/**
 * Vaults. `app.ts` binds these. A user has their own; a secret key sees all of its project. A vault of dual-secret is
 * active as soon as it exists, because its holders (server key and client secret) are there since sign-up.
 */
import { KedgeError, type VaultId } from '@kedge/core';
import type { Handlers } from '../binding.ts';
import type { PrincipalOf } from '../principal.ts';
import type { Services } from '../services.ts';
import { findVault, inProject, insertVault, listVaults, pageOf, type VaultRow, type Whose } from '../store.ts';
import { vaultView } from '../views.ts';

type Routes = Pick<Handlers, 'createVault' | 'listVaults' | 'getVault'>;

export function vaultRoutes(services: Services): Routes {
  const { db, clock } = services;
  return {
    async createVault({ principal, body, resourceId, commit }) {
      const { project, user } = principal;
      const vault: VaultRow = {
        id: resourceId as VaultId,
        user_id: user,
        scheme: body.scheme,
        label: body.label,
        status: 'active',
        exported_at: null,
        created_at: new Date(clock.wallMs()),
      };
      return commit({
        happenings: [{ type: 'vault.created', project, user, data: { vault: vault.id, scheme: vault.scheme } }],
        next: async (tx) => {
          await insertVault(inProject(tx, project), vault);
          return vaultView(vault);
        },
      });
    },

    listVaults: ({ principal, query }) =>
      pageOf(
        query,
        (before, limit) => listVaults(inProject(db, principal.project), whoseOf(principal), before, limit),
        vaultView,
      ),

    getVault: async ({ principal, params }) => vaultView(await getVault(services, principal, params.vault_id)),
  };
}

/** A user's own rows; with a secret key, those of everybody in the project. */
export function whoseOf(principal: PrincipalOf<'user' | 'secret_key'>): Whose {
  return principal.kind === 'user' ? principal.user : null;
}

export async function getVault(
  services: Services,
  principal: PrincipalOf<'user' | 'secret_key'>,
  id: string,
): Promise<VaultRow> {
  const row = await findVault(inProject(services.db, principal.project), whoseOf(principal), id);
  if (row === null) throw new KedgeError('not_found');
  return row;
}
