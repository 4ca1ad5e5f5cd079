/**
 * HKDF-SHA256 (RFC 5869) without salt and for one block of 32 bytes, the only form that Kedge derives keys in. The HMAC
 * is an argument where speed matters: the enclave passes OpenSSL's, a browser leaves it to noble.
 */
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { utf8ToBytes } from './bytes.ts';

/** An HMAC of all of `data`. */
export type Hmac = (key: Uint8Array, data: Uint8Array) => Uint8Array;

export const nobleHmac: Hmac = (key, data) => hmac(sha256, key, data);

/** `key`: of any kind. `info`: {@link hkdfInfo} of what the derived key is for. */
export function hkdf32(key: Uint8Array, info: Uint8Array, mac: Hmac = nobleHmac): Uint8Array {
  const extracted = mac(noSalt, key);
  const derived = hkdfExpand32(extracted, info, mac);
  extracted.fill(0);
  return derived;
}

/** The second half of HKDF, for a `key` of 32 uniform bytes: such a key has nothing to extract from (RFC 5869 §3.3). */
export function hkdfExpand32(key: Uint8Array, info: Uint8Array, mac: Hmac = nobleHmac): Uint8Array {
  if (key.length !== 32) throw new RangeError('not a key of 32 bytes');
  return mac(key, info);
}

/** The bytes of a purpose, with the number of the block behind them. */
export function hkdfInfo(purpose: string): Uint8Array {
  return utf8ToBytes(`${purpose}\u0001`);
}

const noSalt = new Uint8Array(32);
