/**
 * A vault is what a customer owns: one scheme, its holders, its wallets. This file says which schemes exist and which
 * moves of a vault's status are legal; stores and routes ask here.
 */
import { KedgeError } from './errors.ts';
import { dualSecret } from './schemes/dual-secret.ts';
import type { Scheme, SchemeName } from './schemes/scheme.ts';

export type VaultStatus = 'setting_up' | 'active' | 'locked' | 'recovering' | 'closed';

const schemes: { readonly [Name in SchemeName]: Scheme } = { 'dual-secret': dualSecret };

export function schemeOf(name: SchemeName): Scheme {
  return schemes[name];
}

/** Throws `KedgeError('conflict')` unless the vault's status allows a new wallet and a spend. */
export function assertVaultActive(status: VaultStatus): void {
  if (status !== 'active') throw new KedgeError('conflict', `The vault is ${status}; this needs an active vault.`);
}
