/** Spellings of bytes are strict, and a secret tells itself to nobody. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { format, inspect } from 'node:util';
import fc from 'fast-check';
import { equalBytes, fromBase64Url, SecretBytes, toBase64Url } from './bytes.ts';

test('base64url agrees with Node for any bytes, and back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const text = toBase64Url(bytes);
      assert.equal(text, Buffer.from(bytes).toString('base64url'));
      assert.deepEqual(fromBase64Url(text), bytes);
    }),
    { numRuns: 2_000 },
  );
});

test('any text is refused as base64url unless it is the one spelling of its bytes', () => {
  const alphabet = 'ABCyz019-_+/= \n=ü';
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...alphabet), { maxLength: 12 }), (chars) => {
      const text = chars.join('');
      const bytes = Buffer.from(text, 'base64url');
      if (bytes.toString('base64url') === text) assert.deepEqual(fromBase64Url(text), new Uint8Array(bytes));
      else assert.throws(() => fromBase64Url(text), RangeError, JSON.stringify(text));
    }),
    { numRuns: 5_000 },
  );
  // One byte has 16 spellings for a careless reader: AA, AB, … AP.
  for (const second of 'BCDEFGHIJKLMNOP') assert.throws(() => fromBase64Url(`A${second}`), RangeError);
  for (const text of ['A', 'AAAAA', 'AA==', 'AA=', ' AA', 'AA\n', 'A+', 'A/', 'ÄÄ'])
    assert.throws(() => fromBase64Url(text), RangeError, text);
});

test('equalBytes tells any two different arrays apart', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 64 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (bytes, at, bits) => {
        const other = bytes.slice();
        assert.equal(equalBytes(bytes, other), true);
        other[at % other.length]! ^= bits;
        assert.equal(equalBytes(bytes, other), false);
        assert.equal(equalBytes(bytes, bytes.subarray(1)), false);
      },
    ),
  );
});

test('a secret cannot be printed, serialised, inspected, spread or cloned by accident', () => {
  const plain = 'correct horse battery staple';
  const secret = new SecretBytes(new TextEncoder().encode(plain));
  const hex = Buffer.from(plain).toString('hex');
  const decimal = [...Buffer.from(plain)].slice(0, 4).join(',');
  const shown = [
    String(secret),
    `${secret as unknown as string}`,
    JSON.stringify({ secret }),
    inspect(secret, { showHidden: true, depth: 9, showProxy: true }),
    inspect({ nested: [secret] }, { depth: 9 }),
    format('%s %j %o %O', secret, secret, secret, secret),
    JSON.stringify({ ...secret }),
    JSON.stringify(Object.entries(secret)),
    inspect(structuredClone(secret)),
    new Error(`failed for ${String(secret)}`, { cause: secret }).stack ?? '',
    inspect(new Error('failed', { cause: secret })),
  ];
  for (const text of shown) {
    for (const trace of [plain, hex, decimal, decimal.replaceAll(',', ', ')])
      assert.equal(text.includes(trace), false, text);
  }
});

test('a wiped secret is gone from the array it was made of', () => {
  const bytes = Uint8Array.of(1, 2, 3);
  const secret = new SecretBytes(bytes);
  assert.deepEqual(secret.expose(), Uint8Array.of(1, 2, 3));
  assert.equal(secret.length, 3);
  secret.wipe();
  assert.deepEqual(bytes, new Uint8Array(3));
});
