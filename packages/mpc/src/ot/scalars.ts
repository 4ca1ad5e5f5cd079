/**
 * Scalars of secp256k1 between bytes and integers, as the multiplication needs them by the thousand: 32 bytes big-endian,
 * read in four pieces of 64 bits, and a sum whose second part is chosen by a secret bit, made before any integer exists, so
 * that nothing about the integer's size depends on the bit.
 */
import { fromInteger } from '../bytes.ts';
import { secp256k1Group } from '../group.ts';

export const SCALAR_BYTES = 32;

export function loadScalar(view: DataView, at: number): bigint {
  return (
    (((view.getBigUint64(at) << 64n) | view.getBigUint64(at + 8)) << 128n) |
    ((view.getBigUint64(at + 16) << 64n) | view.getBigUint64(at + 24))
  );
}

/** `value` is below 2^256. */
export function storeScalar(view: DataView, at: number, value: bigint): void {
  // The setter keeps the lowest 64 bits.
  view.setBigUint64(at + 24, value);
  view.setBigUint64(at + 16, value >> 64n);
  view.setBigUint64(at + 8, value >> 128n);
  view.setBigUint64(at, value >> 192n);
}

/** Whether what is there is below the order. Says so early for almost every value, so only for public ones. */
export function isCanonical(view: DataView, at: number): boolean {
  return view.getUint32(at) !== 0xffffffff || loadScalar(view, at) < secp256k1Group.order;
}

/**
 * `sum` plus, where `mask` is all ones, the `addend` at `at`: modulo the order, but not reduced, in the 32 bytes of `sum`.
 * The addend is at most the order.
 */
export function addSelected(sum: DataView, addend: DataView, at: number, mask: number): void {
  const carry = addWords(sum, addend, at, mask);
  // What was lost is 2^256, and cannot be lost again: sum + order - 2^256 + (2^256 - order) is sum.
  addWords(sum, overflow, 0, -carry);
}

/** 2^256 modulo the order. */
const overflow = new DataView(fromInteger((1n << 256n) - secp256k1Group.order).buffer);

/** The carry out of the top. */
function addWords(sum: DataView, addend: DataView, at: number, mask: number): number {
  let carry = 0;
  for (let k = 28; k >= 0; k -= 4) {
    const a = sum.getInt32(k);
    const b = addend.getInt32(at + k) & mask;
    const c = (a + b + carry) | 0;
    carry = ((a & b) | ((a | b) & ~c)) >>> 31;
    sum.setInt32(k, c);
  }
  return carry;
}
