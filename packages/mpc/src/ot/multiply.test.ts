/**
 * The shares add up to the products on every kind of input, the messages are those of the naive implementation, and an
 * Alice who corrects inconsistently is caught exactly when Bob's choice bit meets it (T-OT-4). Also that nothing is used
 * twice, and that nothing is left in memory (T-ZER).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { concat, equalBytes, fromInteger, toInteger } from '../bytes.ts';
import { blaming } from '../errors.ts';
import { mod, secp256k1Group } from '../group.ts';
import { dealSetup } from '../testing/dealt-setup.ts';
import * as naive from '../testing/naive.ts';
import { recordArrays } from '../testing/recorded-arrays.ts';
import { seededRandom } from '../testing/seeded-random.ts';
import { gadget } from './gadget.ts';
import { CORRECTION_BYTES, EXTENSION_BYTES, Multiplier, type MultiplySession, multiply } from './multiply.ts';
import { addSelected, isCanonical, loadScalar, storeScalar } from './scalars.ts';

const { order } = secp256k1Group;
const setup = dealSetup(seededRandom('multiply'));
const session: MultiplySession = {
  sid: new Uint8Array(32).fill(5),
  otid: new Uint8Array(32).fill(6),
  bob: 3,
  alice: 1,
};
const poison = { name: 'MpcError', code: 'check_failed', failure: 'poison', culprits: [] };
const anyInput = fc.oneof(
  fc.constantFrom(0n, 1n, 2n, order - 1n, order >> 1n),
  fc.bigInt({ min: 0n, max: order - 1n }),
);

test('c + d = a·b for both inputs, at the edges and anywhere', () => {
  let run = 0;
  fc.assert(
    fc.property(anyInput, anyInput, (a1, a2) => {
      const of = { ...session, sid: fromInteger(BigInt(run++)) };
      const bob = new Multiplier(of, setup.bob, seededRandom(`bob ${run}`));
      const alice = multiply(of, setup.alice, bob.message, [a1, a2], seededRandom(`alice ${run}`));
      const d = bob.finish(alice.message);
      assert.equal(mod(alice.shares[0] + d[0], order), mod(a1 * bob.factor, order));
      assert.equal(mod(alice.shares[1] + d[1], order), mod(a2 * bob.factor, order));
      bob.dispose();
    }),
    { numRuns: 60 },
  );
});

test('every message, share and factor is that of the naive implementation', () => {
  const edges: [bigint, bigint][] = [
    [0n, 0n],
    [1n, order - 1n],
    [order - 1n, 0x1234_5678n << 200n],
  ];
  edges.forEach((inputs, n) => {
    const bob = new Multiplier(session, setup.bob, seededRandom(`bob ${n}`));
    const naiveBob = naive.bobExtends(session, setup.pairs, seededRandom(`bob ${n}`));
    assert.equal(bob.message.length, EXTENSION_BYTES);
    assert.deepEqual(bob.message, naiveBob.message);
    assert.equal(bob.factor, naiveBob.b);

    const alice = multiply(session, setup.alice, bob.message, inputs, seededRandom(`alice ${n}`));
    const naiveAlice = naive.aliceSeals(
      naive.aliceCorrects(session, setup.delta, setup.keys, bob.message, inputs, seededRandom(`alice ${n}`)),
    );
    assert.equal(alice.message.length, CORRECTION_BYTES);
    assert.ok(equalBytes(alice.message, naiveAlice.message));
    assert.deepEqual(alice.shares, naiveAlice.c);
    assert.deepEqual(bob.finish(alice.message), naive.bobFinishes(session, naiveBob, alice.message));
  });
});

test('T-OT-4: an error in one row is caught exactly when the choice bit is 1, in all 416 rows and each of the three', () => {
  const seed = 'T-OT-4';
  const { message, beta } = naive.bobExtends(session, setup.pairs, seededRandom(seed));
  const honest = naive.aliceCorrects(session, setup.delta, setup.keys, message, [11n, 13n], seededRandom('alice'));
  assert.ok(beta.includes(0) && beta.includes(1));
  for (let j = 0; j < 416; j++) {
    // Before w is hashed, so that everything after it is honest.
    const at = honest.at.map((row) => [...row]);
    at[j]![j % 3] = mod(at[j]![j % 3]! + BigInt(j + 1), order);
    const deviating = naive.aliceSeals({ ...honest, at });
    const bob = new Multiplier(session, setup.bob, seededRandom(seed));
    if (beta[j] === 1) {
      assert.throws(() => blaming(1, () => bob.finish(deviating.message)), { ...poison, culprits: [1] }, `row ${j}`);
    } else {
      const d = bob.finish(deviating.message);
      assert.equal(mod(deviating.c[0] + d[0], order), mod(11n * bob.factor, order), `row ${j}`);
    }
  }
});

test('T-OT-4: another input in every row passes here, and is for CHECK-PT to catch', () => {
  const bob = new Multiplier(session, setup.bob, seededRandom('bob'));
  const extension = bob.message;
  const other = naive.aliceCorrects(session, setup.delta, setup.keys, extension, [12n, 13n], seededRandom('alice'));
  const { message, c } = naive.aliceSeals(other);
  const d = bob.finish(message);
  assert.notEqual(mod(c[0] + d[0], order), mod(11n * bob.factor, order));
  assert.equal(mod(c[0] + d[0], order), mod(12n * bob.factor, order));
});

test('whatever changes in the correction on the way is noticed', () => {
  const bobMessage = new Multiplier(session, setup.bob, seededRandom('bob')).message;
  const { message } = multiply(session, setup.alice, bobMessage, [5n, 6n], seededRandom('alice'));
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(8 * CORRECTION_BYTES - 1), { minLength: 1, maxLength: 8 }), (bits) => {
      const copy = Uint8Array.from(message);
      for (const bit of bits) copy[bit >> 3]! ^= 1 << (bit & 7);
      const bob = new Multiplier(session, setup.bob, seededRandom('bob'));
      assert.throws(() => bob.finish(copy), poison);
    }),
    { numRuns: 200 },
  );
});

test('T-VAL-1: a scalar that is not canonical is refused wherever it stands, whatever the choice bits are', () => {
  const bobMessage = new Multiplier(session, setup.bob, seededRandom('bob')).message;
  const { message } = multiply(session, setup.alice, bobMessage, [5n, 6n], seededRandom('alice'));
  const refused = (correction: Uint8Array, what: string) => {
    const bob = new Multiplier(session, setup.bob, seededRandom('bob'));
    assert.throws(
      () => blaming(1, () => bob.finish(correction)),
      { code: 'bad_encoding', failure: 'peer_fault' },
      what,
    );
  };
  const bad = [order, order + 1n, (1n << 256n) - 1n];
  // Every fourth, which meets all three of a row, rows of either choice, and the last one, which is eta.
  for (let n = 0; n <= 1_248; n += 4) {
    const copy = Uint8Array.from(message);
    copy.set(fromInteger(bad[n % 3]!), 32 * n);
    refused(copy, `scalar ${n}`);
  }
  refused(message.subarray(0, CORRECTION_BYTES - 1), 'too short');
  refused(concat(message, Uint8Array.of(0)), 'too long');
  refused(new Uint8Array(0), 'empty');
});

test('inputs that are not reduced are an error of the caller', () => {
  const { message } = new Multiplier(session, setup.bob, seededRandom('bob'));
  for (const inputs of [[order, 0n] as const, [0n, -1n] as const]) {
    assert.throws(() => multiply(session, setup.alice, message, inputs, seededRandom('alice')), { code: 'bad_input' });
  }
});

test('a multiplication is finished once, whether it succeeds or not, and its factor goes with dispose', () => {
  const bob = new Multiplier(session, setup.bob, seededRandom('bob'));
  const { message } = multiply(session, setup.alice, bob.message, [5n, 6n], seededRandom('alice'));
  bob.finish(message);
  assert.throws(() => bob.finish(message), { code: 'session_over' });
  assert.equal(typeof bob.factor, 'bigint');
  bob.dispose();
  assert.throws(() => bob.factor, { code: 'session_over' });
  const failing = new Multiplier(session, setup.bob, seededRandom('bob'));
  assert.throws(() => failing.finish(message.subarray(1)), { code: 'bad_encoding' });
  assert.throws(() => failing.finish(message), { code: 'session_over' });
  const disposed = new Multiplier(session, setup.bob, seededRandom('bob'));
  disposed.dispose();
  assert.throws(() => disposed.finish(message), { code: 'session_over' });
});

test('a multiplication under way shows its message and nothing else', () => {
  const bob = new Multiplier(session, setup.bob, seededRandom('bob'));
  assert.deepEqual(Object.keys(bob), ['message']);
});

test('the gadget is that of the naive implementation, and remembered for a bounded number of set-ups', () => {
  assert.deepEqual(gadget(session.otid), naive.gadget(session.otid));
  assert.equal(gadget(session.otid), gadget(Uint8Array.from(session.otid)));
  const first = gadget(session.otid);
  for (let n = 0; n < 64; n++) gadget(fromInteger(BigInt(n)));
  assert.notEqual(gadget(session.otid), first);
  assert.deepEqual(gadget(session.otid), first);
});

test('scalars come back as they were stored, and the masked sum is the sum', () => {
  const any256 = fc.oneof(
    fc.constantFrom(0n, 1n, order - 1n, order, (1n << 256n) - 1n),
    fc.bigInt({ min: 0n, max: (1n << 256n) - 1n }),
  );
  fc.assert(
    fc.property(any256, any256, fc.boolean(), (value, other, chosen) => {
      const addend = other > order ? other % order : other;
      const view = new DataView(new ArrayBuffer(96));
      storeScalar(view, 32, value);
      assert.equal(loadScalar(view, 32), value);
      assert.deepEqual(new Uint8Array(view.buffer, 32, 32), fromInteger(value));
      assert.equal(isCanonical(view, 32), value < order);
      storeScalar(view, 64, addend);
      const sum = new DataView(fromInteger(value).buffer);
      addSelected(sum, view, 64, chosen ? -1 : 0);
      assert.equal(mod(loadScalar(sum, 0), order), mod(value + (chosen ? addend : 0n), order));
    }),
    { numRuns: 2_000 },
  );
});

test('T-ZER: the recording finds what is still in use', () => {
  const { t } = naive.bobExtends(session, setup.pairs, seededRandom('in use'));
  const { buffers } = recordArrays(() => new Multiplier(session, setup.bob, seededRandom('in use')));
  const memory = Buffer.concat([...buffers].map((buffer) => Buffer.from(buffer)));
  for (const row of t) assert.ok(memory.includes(Buffer.from(naive.bytesOfBits(row))));
});

for (const ending of ['success', 'a failed check', 'a malformed correction', 'dispose alone'] as const) {
  test(`T-ZER: after ${ending} no array holds a secret of either side`, () => {
    const seed = `T-ZER ${ending}`;
    const naiveBob = naive.bobExtends(session, setup.pairs, seededRandom(seed));
    const inputs: [bigint, bigint] = [toInteger(setup.keys[0]!) % order, toInteger(setup.keys[1]!) % order];
    const corrects = naive.aliceCorrects(
      session,
      setup.delta,
      setup.keys,
      naiveBob.message,
      inputs,
      seededRandom('alice'),
    );
    const drawn: Uint8Array[] = [];
    const kept = (random: ReturnType<typeof seededRandom>) => (purpose: string, length: number) => {
      const bytes = random(purpose, length);
      drawn.push(bytes);
      return bytes;
    };
    const { buffers } = recordArrays(() => {
      const bob = new Multiplier(session, setup.bob, kept(seededRandom(seed)));
      if (ending !== 'dispose alone') {
        const extension = Uint8Array.from(bob.message);
        const alice = multiply(session, setup.alice, extension, inputs, kept(seededRandom('alice')));
        const correction = Uint8Array.from(alice.message);
        if (ending === 'a failed check') {
          correction[39_999]! ^= 1;
          assert.throws(() => bob.finish(correction), poison);
          extension[8_751]! ^= 1;
          assert.throws(() => multiply(session, setup.alice, extension, inputs, seededRandom('alice')), poison);
        } else if (ending === 'a malformed correction') {
          assert.throws(() => bob.finish(correction.subarray(1)), { code: 'bad_encoding' });
        } else {
          bob.finish(correction);
        }
      }
      bob.dispose();
    });
    for (const bytes of drawn) assert.ok(bytes.every((byte) => byte === 0));
    const memory = Buffer.concat([...buffers].map((buffer) => Buffer.from(buffer)));
    assert.ok(memory.length > 40_000, 'the recording has seen the messages at least');
    const secrets: Uint8Array[] = [
      setup.alice.delta,
      ...setup.pairs.flat(),
      ...naiveBob.t.map(naive.bytesOfBits),
      ...Array.from({ length: 416 }, (_, j) => naive.bytesOfBits(corrects.Q.map((column) => column[j]!))),
      ...naiveBob.T0.map(naive.bytesOfBits),
      ...corrects.Q.map(naive.bytesOfBits),
      ...corrects.al0.flat().map(fromInteger),
      ...[naiveBob.b, corrects.ah, ...inputs].map(fromInteger),
      naive.bytesOfBits(naiveBob.x),
    ];
    // Sixteen bytes from within each, in both orders of the bytes of a word.
    const swapped = (bytes: Uint8Array) => Buffer.from(bytes).swap32();
    for (const secret of secrets) {
      const piece = Buffer.from(secret.subarray(0, 16));
      assert.equal(memory.includes(piece), false);
      assert.equal(memory.includes(swapped(piece)), false);
    }
  });
}
