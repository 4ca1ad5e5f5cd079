/**
 * GF(2^128) with the polynomial x^128 + x^7 + x^2 + x + 1; the coefficient of x^p is bit p, packed as in `bits.ts`. The
 * consistency check of the OT extension multiplies many secrets by few public values, so the public factor is first
 * spread out into its 128 shifts, and the secret one only ever selects them with masks: no table is indexed by a secret.
 */

/** Words of one element. */
export const ELEMENT_WORDS = 4;

export function multiply(a: Int32Array, b: Int32Array): Int32Array {
  const product = new Int32Array(ELEMENT_WORDS);
  addSelected(product, shifts(a, 128), b, 0, ELEMENT_WORDS);
  return product;
}

/** a, a·x, a·x², … , one after the other. */
export function shifts(a: Int32Array, count: number): Int32Array {
  const all = new Int32Array(ELEMENT_WORDS * count);
  let a0 = a[0]!;
  let a1 = a[1]!;
  let a2 = a[2]!;
  let a3 = a[3]!;
  for (let k = 0; k < all.length; k += ELEMENT_WORDS) {
    all[k] = a0;
    all[k + 1] = a1;
    all[k + 2] = a2;
    all[k + 3] = a3;
    const carry = a3 >> 31;
    a3 = (a3 << 1) | (a2 >>> 31);
    a2 = (a2 << 1) | (a1 >>> 31);
    a1 = (a1 << 1) | (a0 >>> 31);
    a0 = (a0 << 1) ^ (carry & 0x87);
  }
  return all;
}

/** Adds to `sum` those elements of `elements` whose bit is set in the `count` words from `words[at]`. */
export function addSelected(sum: Int32Array, elements: Int32Array, words: Int32Array, at: number, count: number): void {
  let s0 = sum[0]!;
  let s1 = sum[1]!;
  let s2 = sum[2]!;
  let s3 = sum[3]!;
  let k = 0;
  for (let n = at; n < at + count; n++) {
    let word = words[n]!;
    for (let bit = 0; bit < 32; bit++) {
      const mask = -(word & 1);
      s0 ^= elements[k]! & mask;
      s1 ^= elements[k + 1]! & mask;
      s2 ^= elements[k + 2]! & mask;
      s3 ^= elements[k + 3]! & mask;
      word >>>= 1;
      k += ELEMENT_WORDS;
    }
  }
  sum[0] = s0;
  sum[1] = s1;
  sum[2] = s2;
  sum[3] = s3;
}
