/**
 * dual-secret: a wallet key opens only with the server key in the HSM and the user's client secret; 12 words recover
 * the account. Here are the rules of the scheme and the derivations that client and enclave must agree on; sealing and
 * opening happen in the enclave, words and the second wrap on the client.
 */
import { utf8ToBytes } from '../bytes.ts';
import { type Hmac, hkdf32, hkdfExpand32, hkdfInfo } from '../hkdf.ts';
import type { Address } from '../sealed.ts';
import { type Holding, operatorHoldings, type Scheme, type WalletKind } from './scheme.ts';

const has = (held: ReadonlySet<Holding>, ...needed: readonly Holding[]) => needed.every((holding) => held.has(holding));

/** A device keeps the key of the second wrap beside its client key, so either of the two opens both. */
const opensSecondWrap = (held: ReadonlySet<Holding>) => held.has('recovery_words') || held.has('client_key');

export const dualSecret: Scheme = {
  name: 'dual-secret',
  holders: ['server key', 'client secret'],

  holdings: () => ['client_key', 'recovery_words', 'server_key', 'client_secret', 'sealed_wallet', 'export'],

  canSpend({ secondWrap }, held) {
    if (held.has('export')) return true;
    if (!has(held, 'server_key', 'client_secret', 'sealed_wallet')) return false;
    return !secondWrap || opensSecondWrap(held);
  },

  canRecover(_kind, left) {
    if (left.has('export')) return true;
    if (!has(left, 'server_key', 'client_secret', 'sealed_wallet')) return false;
    return opensSecondWrap(left); // and proves who is asking
  },

  custody: (kind: WalletKind) =>
    dualSecret.canSpend(kind, operatorHoldings)
      ? 'The operator and the HSM together could open this wallet without you.'
      : 'Nobody can open this wallet without your words or a device that holds them.',
};

/** What proves knowledge of the words to the enclave (32 bytes). `seed`: 64-byte BIP-39 seed without passphrase. */
export function recoverySecret(seed: Uint8Array): Uint8Array {
  return hkdf32(seed, hkdfInfo('kedge/recovery/v1'));
}

/** The key of the user-held second wrap (32 bytes); never leaves the client. */
export function secondWrapKey(seed: Uint8Array): Uint8Array {
  return hkdf32(seed, hkdfInfo('kedge/second-wrap/v1'));
}

/** The client's half for one wallet (32 bytes). `clientSecret`: 32 random bytes, one per account. */
export function walletHalf(clientSecret: Uint8Array, wallet: string, hmac?: Hmac): Uint8Array {
  return hkdfExpand32(clientSecret, hkdfInfo(`kedge/wallet-half/v1/${wallet}`), hmac);
}

export const clientSecretAddress = (project: string, user: string, version: number): Address => [
  'kedge/client-secret/v1',
  project,
  user,
  String(version),
];

export const walletAddress = (part: 'data-key' | 'payload', project: string, user: string, wallet: string): Address => [
  `kedge/wallet/${part}/v1`,
  project,
  user,
  wallet,
];

/** The outer wrap names the row by its lookup id alone, so that a rotation can rewrap rows whose owner it can't know. */
export const serverWrapAddress = (lookupHex: string, version: number): Address => [
  'kedge/wallet/server-wrap/v1',
  lookupHex,
  String(version),
];

/** Binds the recovery message of a client to one act and one client key: nobody else can present it as theirs. */
export const recoveryInfo = (act: 'sign_up' | 'recover' | 'replace_words'): Uint8Array =>
  utf8ToBytes(`kedge/recovery-message/v1/${act}`);
