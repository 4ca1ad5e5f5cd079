/**
 * The client key: what signs the proofs of one device. P-256 by WebCrypto; in a browser it can't be extracted, on a
 * device that keeps its own files it is exported once into a keystore.
 */
import type { ProofKey } from '@kedge/core';
import { plain } from './trust.ts';

export interface ClientKey extends ProofKey {
  /** `r ‖ s`, 64 bytes. */
  sign(message: Uint8Array): Promise<Uint8Array>;
  /** PKCS #8; throws for a key that can't be extracted. */
  exportPrivate(): Promise<Uint8Array>;
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;

export async function createClientKey({ extractable }: { readonly extractable: boolean }): Promise<ClientKey> {
  const pair = await crypto.subtle.generateKey(algorithm, extractable, ['sign', 'verify']);
  return clientKey(pair.privateKey, new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey)));
}

/** `pkcs8` from {@link ClientKey.exportPrivate}; `publicKey` SEC1 uncompressed, 65 bytes. */
export async function importClientKey(pkcs8: Uint8Array, publicKey: Uint8Array): Promise<ClientKey> {
  return clientKey(await crypto.subtle.importKey('pkcs8', plain(pkcs8), algorithm, true, ['sign']), publicKey);
}

function clientKey(privateKey: CryptoKey, publicKey: Uint8Array): ClientKey {
  return {
    algorithm: 'p256',
    publicKey,
    sign: async (message) =>
      new Uint8Array(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, plain(message))),
    exportPrivate: async () => new Uint8Array(await crypto.subtle.exportKey('pkcs8', privateKey)),
  };
}
