/**
 * Tagged hashing (docs/mpc.md, "Hashing"): SHA-256 in the manner of BIP340, over the number of items and each item with its
 * length, so that no two lists of items share a preimage. Nothing else in the package hashes protocol data; the oracles of
 * `ot/`, whose fields have fixed lengths, are the one exception.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { concat, toInteger, u16be, u32be, utf8 } from './bytes.ts';
import type { Tag } from './tags.ts';

type Hasher = ReturnType<typeof sha256.create>;

/** SHA-256 after TAG ‖ TAG, which is one block: cloned for each call. */
const started = new Map<string, Hasher>();

function startedWith(tag: string): Hasher {
  let hasher = started.get(tag);
  if (!hasher) {
    const digest = sha256(utf8(`kedge/v1/${tag}`));
    hasher = sha256.create().update(digest).update(digest);
    started.set(tag, hasher);
  }
  return hasher.clone();
}

/** TH: SHA-256(TAG ‖ TAG ‖ u16be(k) ‖ u32be(len x1) ‖ x1 ‖ … ‖ xk). 32 bytes. */
export function taggedHash(tag: Tag, ...items: readonly Uint8Array[]): Uint8Array {
  return hashItems(tag, items);
}

/** What `taggedHash` hashes, for long items and a native SHA-256. */
export function taggedPreimage(tag: Tag, ...items: readonly Uint8Array[]): Uint8Array {
  const digest = sha256(utf8(`kedge/v1/${tag}`));
  return concat(digest, digest, u16be(items.length), ...items.flatMap((item) => [u32be(item.length), item]));
}

/** TS: 64 bytes from the tags `tag/0` and `tag/1`, big-endian, modulo `order`; the bias is below 2^-250. */
export function hashToScalar(tag: Tag, order: bigint, ...items: readonly Uint8Array[]): bigint {
  return toInteger(concat(hashItems(`${tag}/0`, items), hashItems(`${tag}/1`, items))) % order;
}

/** A list as one item: u16be(count), then each element with its length. */
export function list(elements: readonly Uint8Array[]): Uint8Array {
  return concat(u16be(elements.length), ...elements.flatMap((element) => [u32be(element.length), element]));
}

function hashItems(tag: string, items: readonly Uint8Array[]): Uint8Array {
  const hasher = startedWith(tag).update(u16be(items.length));
  for (const item of items) hasher.update(u32be(item.length)).update(item);
  return hasher.digest();
}
