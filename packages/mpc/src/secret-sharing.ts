/**
 * Shamir sharing with Feldman commitments: the polynomial half of keygen and reshare, for both groups. A party's
 * x-coordinate is its index in the group descriptor, 1..255; a polynomial of threshold t has exactly t coefficients.
 */
import { badInput } from './errors.ts';
import { type Group, invert, mod, type Point } from './group.ts';

/** λ_i(T) = Π j·(j − i)^-1 over the other indices of T: what multiplies i's share when T comes together. */
export function lagrange(index: number, among: readonly number[], order: bigint): bigint {
  let numerator = 1n;
  let denominator = 1n;
  for (const other of among) {
    if (other === index) continue;
    numerator = mod(numerator * BigInt(other), order);
    denominator = mod(denominator * BigInt(other - index), order);
  }
  return mod(numerator * invert(denominator, order), order);
}

/** f(x) for the coefficients a_0..a_{t-1}. */
export function evaluate(coefficients: readonly bigint[], x: number, order: bigint): bigint {
  let value = 0n;
  for (let k = coefficients.length - 1; k >= 0; k--) value = mod(value * BigInt(x) + coefficients[k]!, order);
  return value;
}

/** f(x)·G from the commitments a_k·G. May be the identity. */
export function evaluateCommitments(group: Group, commitments: readonly Point[], x: number): Point {
  let value = group.identity;
  for (let k = commitments.length - 1; k >= 0; k--) {
    value = group.add(group.mulPublic(value, BigInt(x)), commitments[k]!);
  }
  return value;
}

/** Σ λ_i·s_i. The caller has checked that the shares belong together. */
export function combine(shares: ReadonlyMap<number, bigint>, order: bigint): bigint {
  const among = [...shares.keys()];
  let secret = 0n;
  for (const [index, share] of shares) secret = mod(secret + lagrange(index, among, order) * share, order);
  return secret;
}

/** Ascending, distinct, 1..255: anything else among indices is an error of the caller. */
export function assertIndices(indices: readonly number[]): void {
  indices.forEach((index, at) => {
    if (!Number.isInteger(index) || index < 1 || index > 255) throw badInput('An index is not in 1..255.');
    if (at > 0 && indices[at - 1]! >= index) throw badInput('Indices must be distinct and ascending.');
  });
}
