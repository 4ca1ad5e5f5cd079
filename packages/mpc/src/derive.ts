/**
 * Non-hardened derivation: everybody computes the same offset τ from public data, and a share of the root plus τ is a share
 * of the child. BIP32 for secp256k1; for ed25519, which has no such standard, the scheme `kedge-ed25519-v1` of docs/mpc.md.
 * Whoever holds the chain code and one child private key holds the root: a child is never exported alone.
 */
import { hmac } from '@noble/hashes/hmac.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { concat, toInteger, u8, u32be } from './bytes.ts';
import { badInput, MpcError } from './errors.ts';
import { type Group, mod, type Point } from './group.ts';

const HARDENED = 0x80000000;
export const PATH_MAX = 16;

export interface Derived {
  /** X' = X + τG, encoded. */
  readonly publicKey: Uint8Array;
  /** The same, decoded by the group that was given. */
  readonly point: Point;
  readonly chainCode: Uint8Array;
  readonly tau: bigint;
}

/**
 * Each index of `path` is 0..2^31-1. Throws `bad_input` for a hardened one, and `out_of_range` in the case, never seen, in
 * which BIP32 says to take the next index.
 */
export function derive(group: Group, publicKey: Uint8Array, chainCode: Uint8Array, path: readonly number[]): Derived {
  if (path.length > PATH_MAX) throw badInput(`A derivation path has at most ${PATH_MAX} elements.`);
  let child: Derived = { publicKey, point: group.decode(publicKey), chainCode, tau: 0n };
  for (const index of path) {
    if (!Number.isInteger(index) || index < 0 || index >= HARDENED)
      throw badInput('A key that is held in shares has no hardened children: use indices below 2^31.');
    const { offset, chainCode: next } = group.name === 'secp256k1' ? bip32(child, index) : kedgeEd25519(child, index);
    const point = group.add(child.point, group.base(mod(offset, group.order)));
    if (offset >= group.order || group.isIdentity(point))
      throw new MpcError('out_of_range', `Index ${index} has no key; take the next one.`);
    child = { publicKey: group.encode(point), point, chainCode: next, tau: mod(child.tau + offset, group.order) };
  }
  return child;

  function kedgeEd25519(parent: Derived, index: number) {
    const data = concat(parent.publicKey, u32be(index));
    const wide = hmac(sha512, parent.chainCode, concat(u8(2), data));
    return {
      offset: toInteger(wide.reverse()) % group.order,
      chainCode: hmac(sha512, parent.chainCode, concat(u8(3), data)).slice(32),
    };
  }
}

/** CKDpub of BIP32. */
function bip32(parent: Derived, index: number) {
  const both = hmac(sha512, parent.chainCode, concat(parent.publicKey, u32be(index)));
  return { offset: toInteger(both.slice(0, 32)), chainCode: both.slice(32) };
}
