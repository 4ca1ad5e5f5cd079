/** The field is a field, its fast product is the naive one, and no value makes it slower (T-CT-1). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { gfMultiply } from '../testing/naive.ts';
import { fromWords, toWords } from './bits.ts';
import { multiply } from './gf128.ts';

const element = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(toWords);
const one = Int32Array.of(1, 0, 0, 0);
const add = (a: Int32Array, b: Int32Array) => a.map((word, k) => word ^ b[k]!);
/** Bit p is the coefficient of x^p, so the low byte comes first. */
const integer = (a: Int32Array) => BigInt(`0x${Buffer.from(fromWords(a)).reverse().toString('hex')}`);

test('it agrees with the multiplication bit by bit', () => {
  fc.assert(
    fc.property(element, element, (a, b) => {
      assert.equal(integer(multiply(a, b)), gfMultiply(integer(a), integer(b)));
    }),
    { numRuns: 500 },
  );
});

test('commutative, distributive, associative, and 1 is neutral', () => {
  fc.assert(
    fc.property(element, element, element, (a, b, c) => {
      assert.deepEqual(multiply(a, b), multiply(b, a));
      assert.deepEqual(multiply(add(a, b), c), add(multiply(a, c), multiply(b, c)));
      assert.deepEqual(multiply(multiply(a, b), c), multiply(a, multiply(b, c)));
      assert.deepEqual(multiply(a, one), a);
    }),
    { numRuns: 300 },
  );
});

test('x^127 · x is x^7 + x^2 + x + 1', () => {
  const x127 = Int32Array.of(0, 0, 0, 1 << 31);
  const x = Int32Array.of(2, 0, 0, 0);
  assert.deepEqual(multiply(x127, x), Int32Array.of(0x87, 0, 0, 0));
  assert.deepEqual(multiply(x, x127), Int32Array.of(0x87, 0, 0, 0));
});

test('a factor of zeros takes as long as a factor of ones', () => {
  const weight = Int32Array.of(0x12345678, 0x2468ace0, 0x13579bdf, 0x0f1e2d3c);
  const factors = [new Int32Array(4), new Int32Array(4).fill(-1)] as const;
  const times: [number[], number[]] = [[], []];
  const measure = (which: 0 | 1) => {
    const start = process.hrtime.bigint();
    for (let n = 0; n < 50; n++) multiply(weight, factors[which]);
    times[which].push(Number(process.hrtime.bigint() - start));
  };
  for (let n = 0; n < 1_200; n++) {
    // In turns, and each first as often as second: what else the machine does hits both alike.
    measure((n & 1) as 0 | 1);
    measure((1 - (n & 1)) as 0 | 1);
  }
  const [zeros, ones] = times.map((all) => all.slice(200).sort((a, b) => a - b)[500]!) as [number, number];
  assert.ok(zeros / ones > 0.5 && zeros / ones < 2, `medians: ${zeros} ns and ${ones} ns`);
});
