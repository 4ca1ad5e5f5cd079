/**
 * The sender's half of HPKE (RFC 9180, base mode, one message) on OpenSSL, byte for byte what core/hpke.ts opens. The
 * enclave seals every opened wallet with it: through WebCrypto the same costs a millisecond of processor time. Opening
 * what clients seal is rare and stays with the library.
 */
import {
  createCipheriv,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { concatBytes, fromBase64Url, KedgeError, toBase64Url, utf8ToBytes } from '@kedge/core';

/** `enc (32) ‖ ciphertext`. Throws `KedgeError('proof_invalid')` when the key is not a point that anything can be sealed to. */
export function sealTo(publicKey: Uint8Array, plaintext: Uint8Array, info: Uint8Array, aad: Uint8Array): Uint8Array {
  return sealFrom(generateKeyPairSync('x25519'), publicKey, plaintext, info, aad);
}

/** From a given ephemeral key pair, which must never seal twice: a test shows the published one. */
export function sealFrom(
  ephemeral: { readonly privateKey: KeyObject; readonly publicKey: KeyObject },
  publicKey: Uint8Array,
  plaintext: Uint8Array,
  info: Uint8Array,
  aad: Uint8Array,
): Uint8Array {
  const enc = fromBase64Url(ephemeral.publicKey.export({ format: 'jwk' }).x!);
  const secret = keyAgreement(ephemeral.privateKey, publicKey);
  // §4.1: the shared secret of the KEM.
  const eaePrk = extract(KEM, EMPTY, 'eae_prk', secret);
  const shared = expand(KEM, eaePrk, 'shared_secret', concatBytes(enc, publicKey), 32);
  // §5.1: the key schedule, base mode: no PSK.
  const context = concatBytes(Uint8Array.of(0), NO_PSK_ID, extract(SUITE, EMPTY, 'info_hash', info));
  const scheduled = extract(SUITE, shared, 'secret', EMPTY);
  const key = expand(SUITE, scheduled, 'key', context, 32);
  const nonce = expand(SUITE, scheduled, 'base_nonce', context, 12); // of the first message, whose number is 0
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(aad);
  const sealed = concatBytes(enc, cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
  for (const used of [secret, eaePrk, shared, scheduled, key]) used.fill(0);
  return sealed;
}

const EMPTY = new Uint8Array();
const VERSION = utf8ToBytes('HPKE-v1');
/** DHKEM(X25519, HKDF-SHA256); and with it HKDF-SHA256 and AES-256-GCM. */
const KEM = concatBytes(utf8ToBytes('KEM'), Uint8Array.of(0, 0x20));
const SUITE = concatBytes(utf8ToBytes('HPKE'), Uint8Array.of(0, 0x20, 0, 1, 0, 2));
const NO_PSK_ID = extract(SUITE, EMPTY, 'psk_id_hash', EMPTY);

/** OpenSSL refuses an all-zero result, which a point of low order would give (RFC 7748 §6.1). */
function keyAgreement(privateKey: KeyObject, publicKey: Uint8Array): Buffer {
  try {
    if (publicKey.length !== 32) throw new RangeError('not 32 bytes');
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: toBase64Url(publicKey) }, format: 'jwk' });
    return diffieHellman({ privateKey, publicKey: key });
  } catch (cause) {
    throw new KedgeError('proof_invalid', 'Nothing can be sealed to the answer key of this proof.', { cause });
  }
}

/** LabeledExtract of §4. */
function extract(suite: Uint8Array, salt: Uint8Array, label: string, ikm: Uint8Array): Buffer {
  return createHmac('sha256', salt)
    .update(concatBytes(VERSION, suite, utf8ToBytes(label), ikm))
    .digest();
}

/** LabeledExpand of §4, of one block at most. */
function expand(suite: Uint8Array, prk: Uint8Array, label: string, info: Uint8Array, length: number): Uint8Array {
  const bytes = concatBytes(Uint8Array.of(0, length), VERSION, suite, utf8ToBytes(label), info, Uint8Array.of(1));
  return createHmac('sha256', prk).update(bytes).digest().subarray(0, length);
}
