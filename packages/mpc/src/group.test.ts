/**
 * One suite for every backend: the group laws, and what a decoder refuses (T-VAL-1, T-VAL-2): wrong lengths and prefixes,
 * points off the curve, of small order or with a torsion component, the identity, and scalars that are not canonical.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { ED25519_TORSION_SUBGROUP, ed25519 } from '@noble/curves/ed25519.js';
import fc from 'fast-check';
import { concat, fromInteger, toHex, u8 } from './bytes.ts';
import { openFastSecp256k1 } from './fast/index.ts';
import { ed25519Group, type Group, invert, mod, secp256k1Group } from './group.ts';

const fast = openFastSecp256k1((length) => new Uint8Array(randomBytes(length)));
const secpPrime = (1n << 256n) - (1n << 32n) - 977n;
const edPrime = (1n << 255n) - 19n;
const malformed = { name: 'MpcError', code: 'bad_encoding', culprits: [] };
const little = (value: bigint) => fromInteger(value).reverse();

for (const [name, group] of [
  ['secp256k1 of noble', secp256k1Group],
  ['secp256k1 in WebAssembly', fast],
  ['ed25519 of noble', ed25519Group],
] as const) {
  describe(name, () => {
    conforms(group);
  });
}

function conforms(group: Group): void {
  const { order } = group;
  const scalar = fc.oneof(fc.constantFrom(0n, 1n, 2n, order - 2n, order - 1n), fc.bigInt({ min: 0n, max: order - 1n }));
  const same = (a: Parameters<Group['equals']>[0], b: Parameters<Group['equals']>[0]) => assert.ok(group.equals(a, b));

  test('scalars act on points as they do on each other', () => {
    fc.assert(
      fc.property(scalar, scalar, (a, b) => {
        const [A, B] = [group.base(a), group.base(b)];
        same(group.add(A, B), group.base(mod(a + b, order)));
        same(group.add(A, B), group.add(B, A));
        same(group.add(A, group.negate(B)), group.base(mod(a - b, order)));
        same(group.mulPublic(A, b), group.base(mod(a * b, order)));
        if (a !== 0n) same(group.mulSecret(A, b), group.base(mod(a * b, order)));
        assert.equal(group.isIdentity(A), a === 0n);
        assert.equal(group.equals(A, B), a === b);
        if (a !== 0n) assert.equal(mod(a * invert(a, order), order), 1n);
      }),
      { numRuns: 25 },
    );
  });

  test('the identity is neutral, and never on the wire', () => {
    const P = group.base(5n);
    same(group.add(P, group.identity), P);
    same(group.add(group.identity, P), P);
    same(group.negate(group.identity), group.identity);
    same(group.mulPublic(group.identity, 5n), group.identity);
    same(group.mulPublic(P, 0n), group.identity);
    same(group.mulSecret(P, 0n), group.identity);
    assert.throws(() => group.encode(group.identity), malformed);
    assert.throws(() => group.encode(group.add(P, group.negate(P))), malformed);
  });

  test('what is encoded is decoded, from a part of a larger buffer too', () => {
    fc.assert(
      fc.property(scalar, (k) => {
        assert.equal(group.decodeScalar(group.encodeScalar(k)), k);
        if (k === 0n) return;
        const bytes = group.encode(group.base(k));
        assert.equal(bytes.length, group.pointBytes);
        same(group.decode(bytes), group.base(k));
        same(group.decode(concat(u8(1), bytes).subarray(1)), group.base(k));
        assert.deepEqual(group.encode(group.decode(bytes)), bytes);
      }),
      { numRuns: 25 },
    );
  });

  test('a decoded point stays what it was when its bytes change', () => {
    const bytes = group.encode(group.base(9n));
    const point = group.decode(bytes);
    bytes.fill(0);
    same(point, group.base(9n));
    group.encode(point).fill(0);
    same(point, group.base(9n));
  });

  test('scalars of the order and above are refused, and so is every other length', () => {
    const encode = group.name === 'ed25519' ? little : fromInteger;
    for (const value of [order, order + 1n, (1n << 256n) - 1n]) {
      assert.throws(() => group.decodeScalar(encode(value)), malformed);
    }
    const swapped = encode((1n << 192n) - 1n).reverse();
    assert.throws(() => group.decodeScalar(swapped), malformed);
    for (const length of [0, 31, 33, 64]) assert.throws(() => group.decodeScalar(new Uint8Array(length)), malformed);
  });

  test('random bytes are a point or an error of ours', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: group.pointBytes + 1 }), (bytes) => {
        try {
          assert.deepEqual(group.encode(group.decode(bytes)), bytes);
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'bad_encoding');
        }
      }),
      { numRuns: 200 },
    );
  });

  if (group.name === 'secp256k1') {
    test('points of another form, off the curve, or not reduced are refused', () => {
      const x = group.encode(group.base(3n)).subarray(1);
      const y = fromInteger(1n);
      for (const prefix of [0, 1, 4, 5, 6, 7, 0xff])
        assert.throws(() => group.decode(concat(u8(prefix), x)), malformed);
      for (const prefix of [0, 2, 3, 4, 6, 7]) assert.throws(() => group.decode(concat(u8(prefix), x, y)), malformed);
      assert.throws(() => group.decode(x), malformed);
      assert.throws(() => group.decode(new Uint8Array(33)), malformed);
      assert.throws(() => group.decode(u8(0)), malformed);
      // 0 and 5 are no x of the curve; 1 is one, but not when spelled 1 + p.
      for (const bad of [0n, 5n, secpPrime, secpPrime + 1n, (1n << 256n) - 1n]) {
        assert.throws(() => group.decode(concat(u8(2), fromInteger(bad))), malformed, `${bad}`);
      }
      group.decode(concat(u8(2), fromInteger(1n)));
    });
  } else {
    test('points of small order, with torsion, or not canonical are refused', () => {
      assert.equal(ED25519_TORSION_SUBGROUP.length, 8);
      const P = ed25519.Point.BASE.multiply(7n);
      for (const hex of ED25519_TORSION_SUBGROUP) {
        assert.throws(() => group.decode(Buffer.from(hex, 'hex')), malformed);
        const torsion = ed25519.Point.fromHex(hex, true);
        if (torsion.is0()) continue;
        assert.throws(() => group.decode(P.add(torsion).toBytes()), malformed);
      }
      group.decode(P.toBytes());
      // y = 2 is on no point; from p on the same y has a second spelling, and so has x = 0 with its sign bit set.
      for (const bad of [2n, edPrime, edPrime + 1n, edPrime + 3n, (1n << 255n) + 1n, (1n << 256n) - 1n]) {
        assert.throws(() => group.decode(little(bad)), malformed, `${bad}`);
      }
      assert.throws(() => group.decode(P.toBytes().subarray(1)), malformed);
      assert.throws(() => group.decode(concat(P.toBytes(), u8(0))), malformed);
    });
  }
}

test('both secp256k1 encode every result alike', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 1n, max: fast.order - 1n }), fc.bigInt({ min: 1n, max: fast.order - 1n }), (a, b) => {
      const [one, other] = [secp256k1Group, fast].map((group) => {
        const A = group.base(a);
        return [A, group.mulSecret(A, b), group.mulPublic(A, b), group.add(A, group.base(b)), group.negate(A)]
          .map((point) => (group.isIdentity(point) ? 'identity' : toHex(group.encode(point))))
          .join(' ');
      });
      assert.equal(one, other);
    }),
    { numRuns: 25 },
  );
});
