/** The quick backend is the file that was examined, is held to noble when it starts, and splits secret scalars. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { openFastSecp256k1 } from './index.ts';

test('the WebAssembly is that of tiny-secp256k1 2.2.4', () => {
  const file = new URL('./secp256k1.wasm', import.meta.resolve('tiny-secp256k1'));
  assert.equal(
    createHash('sha256').update(readFileSync(file)).digest('hex'),
    '5cbbcb8adc7acc3b78a3fd31c76d573302705ff5fd714d03f5a2602591197cb5',
  );
});

test('every multiplication by a secret draws a part of its own', () => {
  const drawn: number[] = [];
  const group = openFastSecp256k1((length) => {
    drawn.push(length);
    return new Uint8Array(randomBytes(length));
  });
  drawn.length = 0;
  const P = group.base(3n);
  group.mulPublic(P, 5n);
  assert.deepEqual(drawn, []);
  group.mulSecret(P, 5n);
  group.mulSecret(P, 5n);
  assert.deepEqual(drawn, [48, 48]);
});

test('the part may be the scalar itself, or its negative, or half of it', () => {
  for (const part of [5n, 1n]) {
    const bytes = new Uint8Array(48);
    bytes[47] = Number(part);
    const group = openFastSecp256k1(() => Uint8Array.from(bytes));
    for (const k of [0n, 1n, 2n, 5n, 10n, group.order - 1n, group.order - 5n]) {
      const expected = k === 0n ? group.identity : group.base((3n * k) % group.order);
      assert.ok(group.equals(group.mulSecret(group.base(3n), k), expected), `${k} with ${part}`);
    }
  }
});

test('refusing points does not use the library up', () => {
  const group = openFastSecp256k1((length) => new Uint8Array(randomBytes(length)));
  const offTheCurve = Uint8Array.of(2, ...new Uint8Array(31), 5);
  for (let times = 0; times < 10_000; times++) assert.throws(() => group.decode(offTheCurve), { code: 'bad_encoding' });
  assert.ok(group.equals(group.add(group.base(2n), group.base(3n)), group.base(5n)));
});
