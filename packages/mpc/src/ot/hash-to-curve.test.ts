/** Ours is noble's, and both are the RFC's: §J.8.1, and as many random messages as are quick. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { secp256k1_hasher } from '@noble/curves/secp256k1.js';
import { toHex, utf8 } from '../bytes.ts';
import { openFastSecp256k1 } from '../fast/index.ts';
import { secp256k1Group } from '../group.ts';
import { hashToPoints } from './hash-to-curve.ts';

const fast = openFastSecp256k1((length) => new Uint8Array(randomBytes(length)));

test('the vectors of RFC 9380', () => {
  const messages = ['', 'abc', 'abcdef0123456789', `q128_${'q'.repeat(128)}`, `a512_${'a'.repeat(512)}`].map(utf8);
  const domain = 'QUUX-V01-CS02-with-secp256k1_XMD:SHA-256_SSWU_RO_';
  const x = hashToPoints(secp256k1Group, messages, domain).map((point) => toHex(secp256k1Group.encode(point)).slice(2));
  assert.deepEqual(x, [
    'c1cae290e291aee617ebaef1be6d73861479c48b841eaba9b7b5852ddfeb1346',
    '3377e01eab42db296b512293120c6cee72b6ecf9f9205760bd9ff11fb3cb2c4b',
    'bac54083f293f1fe08e4a70137260aa90783a5cb84d3f35848b324d0674b0e3a',
    'e2167bc785333a37aa562f021f1e881defb853839babf52a7f72b102e41890e9',
    'e3c8d35aaaf0b9b647e88a0a0a7ee5d5bed5ad38238152e4e6fd8c1f8cb7c998',
  ]);
});

test('what noble gives, for either backend, whatever the length and the domain', () => {
  const messages = Array.from({ length: 200 }, (_, length) => new Uint8Array(randomBytes(length)));
  for (const domain of ['kedge/v1/baseot-h2c', 'd'.repeat(300)]) {
    const expected = messages.map((message) => secp256k1_hasher.hashToCurve(message, { DST: domain }).toHex());
    for (const group of [secp256k1Group, fast])
      assert.deepEqual(
        hashToPoints(group, messages, domain).map((point) => toHex(group.encode(point))),
        expected,
      );
  }
});
