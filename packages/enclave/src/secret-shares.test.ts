/** Any officers who are enough get the secret back; one too few get something that has nothing to do with it. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { combineShares, splitSecret } from './secret-shares.ts';

const random = (length: number) => new Uint8Array(randomBytes(length));

test('every two of eight shares give the secret back, in any order', () => {
  const secret = random(32);
  const shares = splitSecret(secret, { threshold: 2, count: 8 }, random);
  for (const one of shares) {
    for (const other of shares)
      if (one !== other) assert.deepEqual(combineShares([one, other]), secret, `${one.index} and ${other.index}`);
  }
});

test('three of five: any three, and more than enough, but never two', () => {
  const secret = random(32);
  const [a, b, c, d, e] = splitSecret(secret, { threshold: 3, count: 5 }, random) as [
    never,
    never,
    never,
    never,
    never,
  ];
  assert.deepEqual(combineShares([a, c, e]), secret);
  assert.deepEqual(combineShares([e, d, b, a]), secret);
  assert.notDeepEqual(combineShares([a, b]), secret);
});

test('one share alone takes every value: it says nothing of the secret', () => {
  const seen = new Set<number>();
  for (let coefficient = 0; coefficient < 256; coefficient++) {
    const [share] = splitSecret(Uint8Array.of(42), { threshold: 2, count: 2 }, () => Uint8Array.of(coefficient));
    seen.add(share!.bytes[0]!);
  }
  assert.equal(seen.size, 256);
});

test('shares that cannot belong together are refused, and so are sharings that protect nothing', () => {
  const [one, two] = splitSecret(random(32), { threshold: 2, count: 2 }, random) as [never, never];
  assert.throws(() => combineShares([]), RangeError);
  assert.throws(() => combineShares([one, one]), RangeError);
  assert.throws(() => combineShares([one, { index: 2, bytes: new Uint8Array(31) }]), RangeError);
  assert.throws(() => combineShares([two, { index: 0, bytes: new Uint8Array(32) }]), RangeError);
  for (const sharing of [
    { threshold: 1, count: 3 },
    { threshold: 3, count: 2 },
    { threshold: 2, count: 256 },
  ])
    assert.throws(() => splitSecret(random(32), sharing, random), RangeError);
});
