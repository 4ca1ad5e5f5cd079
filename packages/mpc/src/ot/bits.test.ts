/** The matrix is turned over exactly, and turning it twice gives it back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { maskOf, toWords, transpose } from './bits.ts';

const matrix = (bytes: number) => fc.uint8Array({ minLength: bytes, maxLength: bytes }).map(toWords);

test('bit i of row j is bit j of column i, in the size of the extension', () => {
  fc.assert(
    fc.property(matrix(128 * 68), (columns) => {
      const rows = transpose(columns, 128, 17, 416);
      assert.equal(rows.length, 416 * 4);
      for (let j = 0; j < 416; j++) {
        for (let i = 0; i < 128; i++) assert.equal(maskOf(rows, 128 * j + i), maskOf(columns, 544 * i + j));
      }
    }),
    { numRuns: 5 },
  );
});

test('twice is not at all', () => {
  fc.assert(
    fc.property(matrix(128 * 64), (columns) => {
      assert.deepEqual(transpose(transpose(columns, 128, 16, 512), 512, 4, 128), columns);
    }),
    { numRuns: 50 },
  );
});

test('a mask is all ones or nothing', () => {
  const words = Int32Array.of(0, -0x80000000, 5);
  assert.equal(maskOf(words, 31), 0);
  assert.equal(maskOf(words, 63), -1);
  assert.equal(maskOf(words, 64), -1);
  assert.equal(maskOf(words, 65), 0);
});
