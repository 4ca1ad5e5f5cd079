/** One value, one spelling: deterministic CBOR (RFC 8949 §4.2.1), and every other spelling refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytesToHex, hexToBytes } from './bytes.ts';
import { type CborValue, decodeCbor, encodeCbor } from './cbor.ts';

const { value } = fc.letrec<{ value: CborValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom<CborValue>(null, true, false),
    fc.integer(),
    fc.integer({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }),
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 5 }),
    fc
      .dictionary(fc.string(), tie('value'), { maxKeys: 5, noNullPrototype: true })
      .filter((map) => !Object.hasOwn(map, '__proto__')),
  ),
}));

test('any value comes back as it was, and its spelling does not depend on the order of its keys', () => {
  fc.assert(
    fc.property(value, (given) => {
      const bytes = encodeCbor(given);
      assert.deepEqual(encodeCbor(decodeCbor(bytes)), bytes);
      assert.deepEqual(normal(decodeCbor(bytes)), normal(given));
      if (given !== null && typeof given === 'object' && !Array.isArray(given) && !(given instanceof Uint8Array)) {
        assert.deepEqual(encodeCbor(Object.fromEntries(Object.entries(given).reverse())), bytes);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('any bytes either are the one spelling of a value or are refused', () => {
  let accepted = 0;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      let decoded: CborValue;
      try {
        decoded = decodeCbor(bytes);
      } catch {
        return;
      }
      accepted += 1;
      assert.deepEqual(encodeCbor(decoded), bytes);
    }),
    { numRuns: 20_000 },
  );
  assert.notEqual(accepted, 0);
});

const refused: readonly (readonly [why: string, hex: string])[] = [
  ['nothing at all', ''],
  ['0 in two bytes', '1800'],
  ['23 in two bytes', '1817'],
  ['255 in three bytes', '1900ff'],
  ['65,535 in five bytes', '1a0000ffff'],
  ['2^32 − 1 in nine bytes', '1b00000000ffffffff'],
  ['an integer beyond what a number holds', '1bffffffffffffffff'],
  ['a negative integer beyond what a number holds', '3bffffffffffffffff'],
  ['a negative integer in two bytes', '3800'],
  ['a text whose length takes two bytes', '780161'],
  ['bytes whose length takes two bytes', '580100'],
  ['a list whose length takes two bytes', '980100'],
  ['a map whose length takes two bytes', 'b801616100'],
  ['a list of indefinite length', '9f00ff'],
  ['a map of indefinite length', 'bf616100ff'],
  ['a text of indefinite length', '7f6161ff'],
  ['bytes of indefinite length', '5f4100ff'],
  ['keys in another order', 'a2616200616100'],
  ['a longer key before a shorter one', 'a262616100616200'],
  ['a key twice', 'a2616100616101'],
  ['a number as key', 'a10000'],
  ['a float that is whole', 'f93c00'],
  ['a float', 'fb3ff199999999999a'],
  ['not a number', 'f97e00'],
  ['infinity', 'f97c00'],
  ['undefined', 'f7'],
  ['an unassigned simple value', 'f0'],
  ['a tag', 'c000'],
  ['a big number by tag', 'c249010000000000000000'],
  ['a byte after the value', '0000'],
  ['a truncated text', '6261'],
  ['a truncated list', '8200'],
  ['a list that claims 2^32 − 1 items', '9affffffff'],
  ['a text that is no UTF-8', '61ff'],
  ['a lone break', 'ff'],
];
for (const [why, hex] of refused) {
  test(`refused: ${why}`, () => {
    assert.throws(() => decodeCbor(hexToBytes(hex)), hex);
  });
}

test('a number that is not whole is not spelled either', () => {
  for (const number of [0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, 1e300]) {
    assert.throws(() => encodeCbor({ number }), RangeError);
    assert.throws(() => encodeCbor([[number]]), RangeError);
  }
});

test('RFC 8949 appendix A: the examples that we can hold', () => {
  const examples: readonly (readonly [CborValue, string])[] = [
    [0, '00'],
    [23, '17'],
    [24, '1818'],
    [1_000_000_000_000, '1b000000e8d4a51000'],
    [-1, '20'],
    [-1000, '3903e7'],
    [false, 'f4'],
    [null, 'f6'],
    [hexToBytes('01020304'), '4401020304'],
    ['ü', '62c3bc'],
    ['IETF', '6449455446'],
    [[1, [2, 3], [4, 5]], '8301820203820405'],
    [{ a: 1, b: [2, 3] }, 'a26161016162820203'],
  ];
  for (const [given, hex] of examples) {
    assert.equal(bytesToHex(encodeCbor(given)), hex);
    assert.deepEqual(decodeCbor(hexToBytes(hex)), given);
  }
});

/** −0 has no spelling of its own as an integer. */
function normal(given: CborValue): CborValue {
  if (given === 0) return 0;
  if (Array.isArray(given)) return given.map(normal);
  if (given === null || typeof given !== 'object' || given instanceof Uint8Array) return given;
  return Object.fromEntries(Object.entries(given).map(([key, item]) => [key, normal(item)]));
}
