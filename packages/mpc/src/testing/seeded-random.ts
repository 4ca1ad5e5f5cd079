/**
 * Randomness for tests: the same bytes for the same seed and purpose, in whatever order they are asked for. Two
 * implementations that name their purposes alike can so be compared byte for byte. Like the real one it gives the bytes of
 * a purpose once.
 */
import { shake256 } from '@noble/hashes/sha3.js';
import { utf8ToBytes } from '@noble/hashes/utils.js';

export function seededRandom(seed: string): (purpose: string, length: number) => Uint8Array {
  const given = new Set<string>();
  return (purpose, length) => {
    if (given.has(purpose)) throw new Error(`randomness for "${purpose}" was already used`);
    given.add(purpose);
    return shake256(utf8ToBytes(`${seed}\n${purpose}`), { dkLen: length });
  };
}
