/**
 * The OT extension gives t_j = q_j ⊕ (β_j ? Delta : 0), and its check catches what it must: a Bob with other choice bits
 * in a column exactly when that bit of Delta is 1 (T-OT-1), and anything changed on the way (T-OT-3).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { concat } from '../bytes.ts';
import { blaming } from '../errors.ts';
import { type DealtSetup, dealSetup } from '../testing/dealt-setup.ts';
import * as naive from '../testing/naive.ts';
import { seededRandom } from '../testing/seeded-random.ts';
import { maskOf, toWords } from './bits.ts';
import { EXTENSION_BYTES, extend, type MultiplySession, Oracles, receiveExtension } from './extension.ts';

const session: MultiplySession = {
  sid: new Uint8Array(32).fill(1),
  otid: new Uint8Array(32).fill(2),
  bob: 1,
  alice: 2,
};
const setup = dealSetup(seededRandom('extension'));
const poison = { name: 'MpcError', code: 'check_failed', failure: 'poison', culprits: [] };

const extendAs = (random: ReturnType<typeof seededRandom>, { bob }: DealtSetup = setup, of = session) => {
  const choices = toWords(random('multiply: choice bits', 68));
  return { choices, ...extend(new Oracles(of), bob, choices) };
};
const receive = (message: Uint8Array, { alice }: DealtSetup = setup, of = session) =>
  receiveExtension(new Oracles(of), alice, message);

test('message and rows are those of the naive implementation, and t_j = q_j ⊕ β_j·Delta', () => {
  for (const seed of ['one', 'two']) {
    const bob = extendAs(seededRandom(seed));
    const expected = naive.bobExtends(session, setup.pairs, seededRandom(seed));
    assert.equal(bob.message.length, EXTENSION_BYTES);
    assert.deepEqual(bob.message, expected.message);
    assert.deepEqual(bob.bound, concat(expected.h, expected.xt, expected.ht));
    const alice = receive(bob.message);
    assert.deepEqual(alice.bound, bob.bound);
    const delta = toWords(setup.alice.delta);
    for (let j = 0; j < 416; j++) {
      for (let i = 0; i < 128; i++) assert.equal(maskOf(bob.rows, 128 * j + i) & 1, expected.t[j]![i]!);
      const chosen = maskOf(bob.choices, j);
      for (let k = 0; k < 4; k++) assert.equal(bob.rows[4 * j + k]!, alice.rows[4 * j + k]! ^ (delta[k]! & chosen));
    }
  }
});

test('T-OT-1: other choice bits in a column are caught exactly when that bit of Delta is 1, in all 128', () => {
  for (let i = 0; i < 128; i++) {
    // One of the choice bits and one of the mask.
    const flipped = [(37 * i) % 416, 416 + ((29 * i) % 128)];
    const { message } = naive.bobExtends(session, setup.pairs, seededRandom(`column ${i}`), (u) => {
      for (const j of flipped) u[i]![j]! ^= 1;
    });
    const deviating = () => blaming(1, () => receive(message));
    if (setup.delta[i] === 1) assert.throws(deviating, { ...poison, culprits: [1] }, `column ${i}`);
    else assert.doesNotThrow(deviating, `column ${i}`);
  }
});

test('T-OT-1: several columns are caught unless all their bits of Delta are 0', () => {
  const zeros = setup.delta.flatMap((bit, i) => (bit === 0 ? [i] : []));
  const ones = setup.delta.flatMap((bit, i) => (bit === 1 ? [i] : []));
  const tried = (columns: number[]) => {
    const { message } = naive.bobExtends(session, setup.pairs, seededRandom('columns'), (u) => {
      for (const i of columns) u[i]![5]! ^= 1;
    });
    return () => receive(message);
  };
  assert.doesNotThrow(tried(zeros));
  assert.throws(tried(ones), poison);
  assert.throws(tried([...zeros, ones[0]!]), poison);
  // The same error in two columns does not cancel in the hash of all.
  assert.throws(tried(ones.slice(0, 2)), poison);
});

test('T-OT-3: every bit of x̃ and of the hash, and a bit of every byte of u, is noticed when it changes on the way', () => {
  const { message } = extendAs(seededRandom('in transit'));
  assert.doesNotThrow(() => receive(message));
  const changed = (bits: Iterable<number>) => {
    const copy = Uint8Array.from(message);
    for (const bit of bits) copy[bit >> 3]! ^= 1 << (bit & 7);
    return () => receive(copy);
  };
  for (let bit = 8 * 8_704; bit < 8 * EXTENSION_BYTES; bit++) assert.throws(changed([bit]), poison, `bit ${bit}`);
  // One in 53 of u, which meets every position in a byte and every column; `every-bit.slow.ts` takes them all.
  for (let bit = 0; bit < 8 * 8_704; bit += 53) assert.throws(changed([bit]), poison, `bit ${bit}`);
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(8 * EXTENSION_BYTES - 1), { minLength: 1, maxLength: 64, size: 'max' }), (bits) =>
      assert.throws(changed(bits), poison),
    ),
    { numRuns: 300 },
  );
});

test('T-OT-3: choice bits and mask are fresh in every session, and so is every column', () => {
  const sessions = ['a', 'b', 'c'].map((seed) => naive.bobExtends(session, setup.pairs, seededRandom(seed)));
  const masks = sessions.map(({ x }) => x.slice(416).join(''));
  assert.equal(new Set(masks).size, 3);
  assert.equal(new Set(sessions.map(({ beta }) => beta.join(''))).size, 3);
  const other = { ...session, sid: new Uint8Array(32).fill(3) };
  const [here, there] = [session, other].map((of) => extendAs(seededRandom('same'), setup, of).message);
  for (let i = 0; i < 128; i++)
    assert.notDeepEqual(here!.slice(68 * i, 68 * i + 68), there!.slice(68 * i, 68 * i + 68));
});

test('an extension belongs to one session, one set-up and one direction', () => {
  const { message } = extendAs(seededRandom('bound'));
  for (const other of [
    { ...session, sid: new Uint8Array(32) },
    { ...session, otid: new Uint8Array(32) },
    { ...session, bob: 3 },
    { ...session, alice: 3 },
    { ...session, bob: 2, alice: 1 },
  ]) {
    assert.throws(() => receive(message, setup, other), poison);
  }
});

test('sides with different set-ups always fail, which is why their ids are compared before (A31)', () => {
  for (let n = 0; n < 20; n++) {
    const { message } = extendAs(seededRandom(`mine ${n}`), dealSetup(seededRandom(`mine ${n}`)));
    assert.throws(() => receive(message, dealSetup(seededRandom(`yours ${n}`))), poison);
  }
});

test('wrong base OT keys in a column pass when Delta did not choose them, so with 1/2, and 1/256 for eight (T-OT-6)', () => {
  const passes = (columns: number[], delta: Uint8Array) => {
    const dealt = dealSetup(seededRandom('keys'), delta);
    const pairs = Uint8Array.from(dealt.bob.pairs);
    for (const i of columns) pairs[64 * i + 32]! ^= 1;
    const { message } = extendAs(seededRandom('wrong keys'), { ...dealt, bob: { pairs } });
    try {
      receive(message, dealt);
      return true;
    } catch {
      return false;
    }
  };
  for (let bits = 0; bits < 256; bits++) {
    const delta = new Uint8Array(16).fill(0x5a);
    delta[0] = bits;
    assert.equal(passes([0, 1, 2, 3, 4, 5, 6, 7], delta), bits === 0);
    if (bits < 16) assert.equal(passes([3], delta), (bits & 8) === 0);
  }
});

test('an extension of another length is malformed, not poison', () => {
  const { message } = extendAs(seededRandom('length'));
  for (const bytes of [new Uint8Array(0), message.subarray(1), concat(message, Uint8Array.of(0))]) {
    assert.throws(() => receive(bytes), { code: 'bad_encoding', failure: 'retry' });
    assert.throws(() => blaming(4, () => receive(bytes)), {
      code: 'bad_encoding',
      failure: 'peer_fault',
      culprits: [4],
    });
  }
});
