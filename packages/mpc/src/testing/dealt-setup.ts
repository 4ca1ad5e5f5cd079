/**
 * One direction of an OT set-up from a trusted dealer, for tests of what comes after the base OTs: the same seeds as both
 * implementations want them.
 */
import type { AliceSeeds, BobSeeds } from '../ot/extension.ts';

export interface DealtSetup {
  readonly bob: BobSeeds;
  readonly alice: AliceSeeds;
  /** Delta bit by bit, and the keys one by one, for `naive.ts`. */
  readonly delta: number[];
  readonly pairs: [Uint8Array, Uint8Array][];
  readonly keys: Uint8Array[];
}

/** `random` gives fresh bytes; Delta may be chosen. */
export function dealSetup(random: (purpose: string, length: number) => Uint8Array, chosen?: Uint8Array): DealtSetup {
  const bob = random('dealt pairs', 128 * 64);
  const delta = chosen ?? random('dealt Delta', 16);
  const bits = Array.from({ length: 128 }, (_, i) => (delta[i >> 3]! >> (i & 7)) & 1);
  const pairs = bits.map((_, i): [Uint8Array, Uint8Array] => [
    bob.slice(64 * i, 64 * i + 32),
    bob.slice(64 * i + 32, 64 * i + 64),
  ]);
  const keys = bits.map((bit, i) => pairs[i]![bit]!);
  const seeds = new Uint8Array(128 * 32);
  keys.forEach((key, i) => {
    seeds.set(key, 32 * i);
  });
  return { bob: { pairs: bob }, alice: { delta, seeds }, delta: bits, pairs, keys };
}
