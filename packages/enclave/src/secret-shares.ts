/**
 * Shamir's sharing of a secret among officers, byte by byte over GF(2^8) with the polynomial of AES (x^8+x^4+x^3+x+1).
 * Cold backup keys use it: each officer gets one share in an age file, and fewer than the threshold learn nothing. It
 * has no checksum: who combines must open something authenticated with the result.
 */
import type { RandomBytes } from '@kedge/core';

/** Share number `index` (1…) is the polynomial at that place, byte for byte; as long as the secret. */
export interface SecretShare {
  readonly index: number;
  readonly bytes: Uint8Array;
}

/** Any `threshold` of the `count` shares give the secret back. Throws `RangeError`. */
export function splitSecret(
  secret: Uint8Array,
  { threshold, count }: { readonly threshold: number; readonly count: number },
  random: RandomBytes,
): SecretShare[] {
  if (threshold < 2 || count < threshold || count > 255) throw new RangeError('no such sharing');
  const coefficients = Array.from({ length: threshold - 1 }, () => random(secret.length));
  const shares = Array.from({ length: count }, (_, at) => {
    const index = at + 1;
    const bytes = secret.map((byte, place) => {
      let value = 0;
      for (let k = coefficients.length - 1; k >= 0; k--) value = times(value ^ coefficients[k]![place]!, index);
      return value ^ byte;
    });
    return { index, bytes };
  });
  for (const used of coefficients) used.fill(0);
  return shares;
}

/** The value at zero of the polynomial through the shares. With too few of them it is a number like any other. */
export function combineShares(shares: readonly SecretShare[]): Uint8Array {
  const first = shares[0];
  const indices = new Set(shares.map(({ index }) => index));
  const fits = shares.every(({ index, bytes }) => index >= 1 && index <= 255 && bytes.length === first?.bytes.length);
  if (first === undefined || indices.size !== shares.length || !fits)
    throw new RangeError('these shares do not belong together');
  return first.bytes.map((_, place) => {
    let value = 0;
    for (const { index, bytes } of shares) {
      let weight = 1;
      for (const other of indices) if (other !== index) weight = times(weight, times(other, inverse(other ^ index)));
      value ^= times(bytes[place]!, weight);
    }
    return value;
  });
}

/** Without a branch or a table that depends on a secret. */
function times(a: number, b: number): number {
  let product = 0;
  let shifted = a;
  for (let bit = 0; bit < 8; bit++) {
    product ^= -((b >> bit) & 1) & shifted;
    shifted = (shifted << 1) ^ (-(shifted >> 7) & 0x11b);
  }
  return product;
}

/** x^254. */
function inverse(x: number): number {
  let power = 1;
  for (let step = 0; step < 254; step++) power = times(power, x);
  return power;
}
