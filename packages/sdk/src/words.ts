/**
 * The 12 words: made here, shown once, never sent. Two secrets come from them: one proves to the enclave that somebody
 * knows the words, the other wraps what only the user may open and never leaves the device.
 */
import { type Aead, KedgeError, open, recoverySecret, seal, secondWrapKey } from '@kedge/core';
import { gcm } from '@noble/ciphers/aes.js';
import { entropyToMnemonic, mnemonicToSeed, validateMnemonic } from '@scure/bip39';
import { wordlist } from '@scure/bip39/wordlists/english.js';
import { randomBytes } from './client.ts';

/** AES-256-GCM that runs everywhere; what it seals is small. */
export const nobleAead: Aead = {
  seal: (key, nonce, plaintext, aad) => gcm(key, nonce, aad).encrypt(plaintext),
  open(key, nonce, ciphertext, aad) {
    try {
      return gcm(key, nonce, aad).decrypt(ciphertext);
    } catch {
      return null;
    }
  },
};

const secondWrapAddress = ['kedge/wrap-secret/v1'];

export function createWords(): string {
  return entropyToMnemonic(randomBytes(16), wordlist);
}

export interface WordSecrets {
  /** Sent to the enclave, sealed. */
  readonly recoverySecret: Uint8Array;
  /** Stays here. */
  readonly secondWrapKey: Uint8Array;
}

/** BIP-39, no passphrase. Throws `KedgeError('request_invalid')` for words that fail the checksum: nothing is sent then. */
export async function secretsOfWords(words: string): Promise<WordSecrets> {
  const normalised = words.normalize('NFKD').trim().toLowerCase().split(/\s+/).join(' ');
  if (normalised.split(' ').length !== 12 || !validateMnemonic(normalised, wordlist)) {
    throw new KedgeError(
      'request_invalid',
      'These are not 12 valid words: one is missing, misspelled or in the wrong place.',
    );
  }
  const seed = await mnemonicToSeed(normalised);
  const secrets = { recoverySecret: recoverySecret(seed), secondWrapKey: secondWrapKey(seed) };
  seed.fill(0);
  return secrets;
}

/** The account's wrap secret as the server keeps it: sealed under the words. */
export function sealWrapSecret(secondWrap: Uint8Array, wrapSecret: Uint8Array): Uint8Array {
  return seal(nobleAead, randomBytes, secondWrap, wrapSecret, secondWrapAddress);
}

/** Null when the words are not the ones it was sealed under. */
export function openWrapSecret(secondWrap: Uint8Array, sealed: Uint8Array): Uint8Array | null {
  return open(nobleAead, secondWrap, sealed, secondWrapAddress);
}
