/**
 * The sealed form: the only shape in which a secret of ours is stored. A fresh 32-byte data key seals the payload; the
 * data key itself is wrapped elsewhere (by the HSM, by a client secret). The header commits to the key, because
 * AES-GCM alone lets one ciphertext open under two keys, and the additional data binds the address: a ciphertext moved
 * to another row, field, tenant or purpose does not open. Bytes:
 *
 *     magic "KS" ‖ version 2 ‖ algorithm 1 ‖ nonce (12) ‖ commitment (32) ‖ ciphertext ‖ tag (16)
 *     AES key (32) ‖ commitment (32) = HMAC-SHA512(key, "kedge/sealed/v2\0" ‖ magic … nonce)
 *
 * Whoever finds two keys with one commitment has found a collision of SHA-512 cut to 256 bits, and neither half tells
 * of the other. The cipher is an argument: the enclave passes OpenSSL's, a browser passes noble's.
 */
import { hmac } from '@noble/hashes/hmac.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { concatBytes, equalBytes, utf8ToBytes } from './bytes.ts';
import type { RandomBytes } from './clock.ts';
import type { Hmac } from './hkdf.ts';

/** AES-256-GCM with a 12-byte nonce and a 16-byte tag at the end. `open` gives null when the tag does not fit. */
export interface Aead {
  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Uint8Array;
  open(key: Uint8Array, nonce: Uint8Array, ciphertext: Uint8Array, aad: Uint8Array): Uint8Array | null;
  /** HMAC-SHA512, where the platform has one that is faster than noble's. */
  readonly hmacSha512?: Hmac;
}

/** Where sealed data lives: parts in a fixed order, none of which may come from the ciphertext itself. */
export type Address = readonly string[];

const HEADER = new Uint8Array([0x4b, 0x53, 2, 1]);
const OVERHEAD = HEADER.length + 12 + 32 + 16;

/** Every part prefixed with its length (4 bytes, big-endian), so that no two addresses have the same bytes. */
export function addressBytes(address: Address): Uint8Array {
  let most = 0;
  for (const part of address) {
    if (typeof part !== 'string') throw new TypeError('a part of an address is no text');
    most += 4 + 3 * part.length; // UTF-8 takes three bytes at most for each unit of UTF-16
  }
  const bytes = new Uint8Array(most);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const part of address) {
    const { written } = utf8.encodeInto(part, bytes.subarray(at + 4));
    view.setUint32(at, written);
    at += 4 + written;
  }
  return bytes.slice(0, at);
}

const utf8 = new TextEncoder();

/** Seals `plaintext`, first padded with zeros to a multiple of `padTo`, so that sizes tell nothing. `key`: 32 uniform bytes. */
export function seal(
  aead: Aead,
  random: RandomBytes,
  key: Uint8Array,
  plaintext: Uint8Array,
  address: Address,
  padTo = 1,
): Uint8Array {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, plaintext.length);
  const padded = new Uint8Array(Math.ceil((plaintext.length + 4) / padTo) * padTo);
  padded.set(length);
  padded.set(plaintext, 4);
  const nonce = random(12);
  const { aesKey, commitment } = derive(aead, key, nonce);
  const sealed = concatBytes(HEADER, nonce, commitment, aead.seal(aesKey, nonce, padded, addressBytes(address)));
  padded.fill(0);
  aesKey.fill(0);
  return sealed;
}

/** Inverse of {@link seal}; null when key, bytes or address are not the ones it was sealed with. */
export function open(aead: Aead, key: Uint8Array, sealed: Uint8Array, address: Address): Uint8Array | null {
  if (sealed.length < OVERHEAD + 4 || !equalBytes(sealed.subarray(0, 4), HEADER)) return null;
  const nonce = sealed.subarray(4, 16);
  const { aesKey, commitment } = derive(aead, key, nonce);
  const padded = equalBytes(sealed.subarray(16, 48), commitment)
    ? aead.open(aesKey, nonce, sealed.subarray(48), addressBytes(address))
    : null;
  aesKey.fill(0);
  if (padded === null) return null;
  const length = new DataView(padded.buffer, padded.byteOffset).getUint32(0);
  let padding = 0;
  for (let at = 4 + length; at < padded.length; at++) padding |= padded[at]!;
  if (length > padded.length - 4 || padding !== 0) return null;
  const plaintext = padded.slice(4, 4 + length);
  padded.fill(0);
  return plaintext;
}

/** HMAC pads its key with zeros, so a key of another length could have the commitment of this one. */
function derive({ hmacSha512 = nobleHmacSha512 }: Aead, key: Uint8Array, nonce: Uint8Array) {
  if (key.length !== 32) throw new RangeError('not a key of 32 bytes');
  const derived = hmacSha512(key, concatBytes(DOMAIN, nonce));
  return { aesKey: derived.subarray(0, 32), commitment: derived.subarray(32) };
}

const DOMAIN = concatBytes(utf8ToBytes('kedge/sealed/v2\0'), HEADER);

const nobleHmacSha512: Hmac = (key, data) => hmac(sha512, key, data);
