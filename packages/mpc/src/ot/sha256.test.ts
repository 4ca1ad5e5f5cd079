/** The own SHA-256 is SHA-256: against the vectors of NIST, and against noble on every length the oracles use. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sha256 } from '@noble/hashes/sha2.js';
import { concat, toHex, utf8 } from '../bytes.ts';
import { seededRandom } from '../testing/seeded-random.ts';
import { fromWords, toWords } from './bits.ts';
import { PrefixedSha256 } from './sha256.ts';

const random = seededRandom('sha256');

test('messages of NIST longer than a block (FIPS 180 examples)', () => {
  const two =
    'abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu';
  const vectors = [
    [two, 'cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1'],
    ['a'.repeat(1_000_000), 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'],
  ] as const;
  for (const [message, digest] of vectors) {
    const bytes = utf8(message);
    assert.equal(toHex(new PrefixedSha256(bytes.slice(0, 64)).long(bytes.slice(64))), digest);
  }
});

for (const words of [4, 8]) {
  test(`one compression over ${words} words agrees with noble 10,000 times`, () => {
    const prefix = random(`prefix ${words}`, 64);
    const own = new PrefixedSha256(prefix);
    const input = random(`input ${words}`, 10_000 * 4 * words);
    const all = toWords(input);
    for (let n = 0; n < 10_000; n++) {
      const head = (n * 0x9e3779b1) | 0;
      own.short(head, all, n * words, words);
      const tail = input.subarray(4 * words * n, 4 * words * (n + 1));
      const headBytes = Uint8Array.of(head >>> 24, head >>> 16, head >>> 8, head);
      assert.equal(
        toHex(new Uint8Array(own.digest.buffer)),
        toHex(sha256(concat(prefix, headBytes, tail))),
        `head ${head}`,
      );
    }
  });
}

test('a challenge of 34 bytes agrees with noble 10,000 times', () => {
  const input = random('challenges', 10_000 * 33 + 64);
  const prefix = input.subarray(0, 64);
  const own = new PrefixedSha256(prefix);
  for (let n = 0; n < 10_000; n++) {
    const parts = [Uint8Array.of(6), Uint8Array.of(n & 3), input.subarray(64 + 33 * n, 64 + 33 * n + 32)] as const;
    assert.deepEqual(own.long(...parts), sha256(concat(prefix, ...parts)));
  }
});

test('every length up to 300 in every split, and the lengths of the bulk oracles, agree with noble', () => {
  const input = random('lengths', 64 + 300);
  const prefix = input.subarray(0, 64);
  const own = new PrefixedSha256(prefix);
  for (let length = 0; length <= 300; length++) {
    const expected = sha256(input.subarray(0, 64 + length));
    for (const split of [0, 1, 63, 64, 65, length >> 1, length]) {
      const cut = Math.min(split, length);
      assert.deepEqual(own.long(input.subarray(64, 64 + cut), input.subarray(64 + cut, 64 + length)), expected);
    }
  }
  for (const length of [8_704, 2_048, 80 + 39_936, 13_312]) {
    for (let n = 0; n < 30; n++) {
      const bulk = random(`bulk ${length} ${n}`, length);
      assert.deepEqual(own.long(Uint8Array.of(n), bulk), sha256(concat(prefix, Uint8Array.of(n), bulk)));
    }
  }
});

test('words are bytes with the low one first', () => {
  const bytes = random('words', 68);
  assert.deepEqual(fromWords(toWords(bytes)), bytes);
  assert.equal(toWords(Uint8Array.of(1, 2, 3, 4))[0], 0x04030201);
});
