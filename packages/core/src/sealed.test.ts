/** The sealed form under attack: flipped, cut, moved, opened with another key, and with a key made to fit. */
import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { hmac } from '@noble/hashes/hmac.js';
import { sha512 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { concatBytes, utf8ToBytes } from './bytes.ts';
import { type Address, type Aead, addressBytes, open, seal } from './sealed.ts';

const aead: Aead = {
  seal(key, nonce, plaintext, aad) {
    const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(aad);
    return concatBytes(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
  },
  open(key, nonce, ciphertext, aad) {
    const decipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(aad).setAuthTag(ciphertext.subarray(-16));
    try {
      return concatBytes(decipher.update(ciphertext.subarray(0, -16)), decipher.final());
    } catch {
      return null;
    }
  },
};
const random = (length: number) => new Uint8Array(randomBytes(length));
const key = random(32);
const address: Address = ['kedge/wallet/payload/v1', 'project', 'user', 'wallet'];
const secret = utf8ToBytes('the key of a wallet');
const sealed = seal(aead, random, key, secret, address, 64);

test('what is sealed opens again, whatever its length and padding', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.constantFrom(1, 7, 256, 2_048), (plaintext, padTo) => {
      assert.deepEqual(open(aead, key, seal(aead, random, key, plaintext, address, padTo), address), plaintext);
    }),
  );
});

test('bit-flip attack: no sealed bytes with one bit changed open', () => {
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const flipped = sealed.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(open(aead, key, flipped, address), null, `bit ${bit}`);
  }
});

test('truncated or extended sealed bytes do not open', () => {
  for (let length = 0; length < sealed.length; length++)
    assert.equal(open(aead, key, sealed.subarray(0, length), address), null, `${length} bytes`);
  assert.equal(open(aead, key, concatBytes(sealed, new Uint8Array(1)), address), null);
  assert.equal(open(aead, key, sealed.subarray(1), address), null);
});

test('moved-row attack: sealed bytes open at no other address', () => {
  const others: readonly Address[] = [
    [],
    address.slice(0, 3),
    [...address, ''],
    ['kedge/wallet/data-key/v1', 'project', 'user', 'wallet'],
    ['kedge/wallet/payload/v1', 'project2', 'user', 'wallet'],
    ['kedge/wallet/payload/v1', 'project', 'user2', 'wallet'],
    ['kedge/wallet/payload/v1', 'project', 'user', 'wallet2'],
    ['kedge/wallet/payload/v1', 'user', 'project', 'wallet'],
    ['kedge/wallet/payload/v1', 'projectuser', '', 'wallet'],
    ['kedge/wallet/payload/v1project', 'user', 'wallet'],
  ];
  for (const other of others) assert.equal(open(aead, key, sealed, other), null, other.join('|'));
});

test('no two addresses have the same bytes', () => {
  const part = fc.string({ maxLength: 6, unit: fc.constantFrom('a', '\0', '\u0001', 'ü') });
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), fc.array(part, { maxLength: 4 }), (a, b) => {
      const same = a.length === b.length && a.every((text, at) => text === b[at]);
      assert.equal(Buffer.compare(addressBytes(a), addressBytes(b)) === 0, same);
    }),
    { numRuns: 3_000 },
  );
});

test('another key opens nothing, and the same secret is never sealed to the same bytes', () => {
  assert.equal(open(aead, random(32), sealed, address), null);
  assert.equal(
    new Set(Array.from({ length: 100 }, () => Buffer.from(seal(aead, random, key, secret, address)).toString('hex')))
      .size,
    100,
  );
});

test('padding hides sizes: secrets of 0 to 252 bytes have one size, sealed', () => {
  const sizes = new Set(
    Array.from({ length: 253 }, (_, length) => seal(aead, random, key, new Uint8Array(length), address, 256).length),
  );
  assert.deepEqual([...sizes], [4 + 12 + 32 + 256 + 16]);
});

test('key-commitment attack: a ciphertext that AES-GCM opens under two keys opens under one', () => {
  const other = random(32);
  // A cipher that anybody can open with any key stands for the forged two-key ciphertext of AES-GCM.
  const permissive: Aead = {
    seal: (_key, _nonce, plaintext) => concatBytes(plaintext, new Uint8Array(16)),
    open: (_key, _nonce, ciphertext) => ciphertext.slice(0, -16),
  };
  const forged = seal(permissive, random, key, secret, address);
  assert.deepEqual(open(permissive, key, forged, address), secret);
  assert.equal(open(permissive, other, forged, address), null);
});

test('zero-padded key attack: a key of another length, which HMAC would take for the same, is refused', () => {
  for (const bad of [concatBytes(key, new Uint8Array(1)), concatBytes(key, new Uint8Array(32)), key.subarray(0, 31)]) {
    assert.throws(() => open(aead, bad, sealed, address), RangeError);
    assert.throws(() => seal(aead, random, bad, secret, address), RangeError);
  }
});

test('padding that is not zeros, and a length beyond the padding, are refused though the tag fits', () => {
  const nonce = random(12);
  const header = Uint8Array.of(0x4b, 0x53, 2, 1);
  const derived = hmac(sha512, key, concatBytes(utf8ToBytes('kedge/sealed/v2\0'), header, nonce));
  const [aesKey, commitment] = [derived.subarray(0, 32), derived.subarray(32)];
  const made = (padded: Uint8Array) =>
    concatBytes(header, nonce, commitment, aead.seal(aesKey, nonce, padded, addressBytes(address)));
  assert.deepEqual(open(aead, key, made(Uint8Array.of(0, 0, 0, 1, 9, 0, 0)), address), Uint8Array.of(9));
  assert.equal(open(aead, key, made(Uint8Array.of(0, 0, 0, 1, 9, 0, 1)), address), null);
  assert.equal(open(aead, key, made(Uint8Array.of(0, 0, 0, 4, 9, 0, 0)), address), null);
  assert.equal(open(aead, key, made(Uint8Array.of(255, 255, 255, 255, 9)), address), null);
  assert.equal(open(aead, key, made(Uint8Array.of(0, 0, 0)), address), null);
});

test('the commitment is the same whether the cipher brings its own HMAC or not', () => {
  const calls: number[] = [];
  const fast: Aead = {
    ...aead,
    hmacSha512(with_, data) {
      calls.push(data.length);
      return hmac(sha512, with_, data);
    },
  };
  assert.deepEqual(open(fast, key, sealed, address), secret);
  assert.deepEqual(open(aead, key, seal(fast, random, key, secret, address), address), secret);
  assert.equal(calls.length > 0, true, 'the HMAC was not used');
});
