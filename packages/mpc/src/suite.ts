/**
 * The three kinds of root key. Each has a key of its own: one key for two signature schemes is a composition that nobody
 * has proven. The arithmetic is an argument, so that a server can bring a quicker secp256k1.
 */
import { badInput } from './errors.ts';
import { ed25519Group, type Group, secp256k1Group } from './group.ts';

export const suiteNames = ['ecdsa-secp256k1', 'schnorr-secp256k1', 'eddsa-ed25519'] as const;
export type SuiteName = (typeof suiteNames)[number];

export interface Suite {
  readonly name: SuiteName;
  /** In headers, session ids and stored shares. */
  readonly id: 1 | 2 | 3;
  readonly group: Group;
}

export interface Arithmetic {
  readonly secp256k1: Group;
  readonly ed25519: Group;
}

/** Pure JavaScript, the same in Node and in browsers. */
export const nobleArithmetic: Arithmetic = { secp256k1: secp256k1Group, ed25519: ed25519Group };

export function suiteOf(name: SuiteName, arithmetic: Arithmetic): Suite {
  const id = (suiteNames.indexOf(name) + 1) as Suite['id'];
  return { name, id, group: name === 'eddsa-ed25519' ? arithmetic.ed25519 : arithmetic.secp256k1 };
}

export function suiteWithId(id: number): SuiteName {
  const name = suiteNames[id - 1];
  if (!name) throw badInput(`There is no suite ${id}.`);
  return name;
}
