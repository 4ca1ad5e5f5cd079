/**
 * The base OTs: each gives Alice the key she chose and not the other, byte for byte as the naive implementation has it, and
 * the attacks T-OT-2 (points with a known logarithm), T-VAL-1, T-CT-1 and T-ZER find nothing.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { secp256k1, secp256k1_hasher } from '@noble/curves/secp256k1.js';
import { concat, equalBytes, fromInteger, toHex, toInteger, u8 } from '../bytes.ts';
import { MpcError } from '../errors.ts';
import { openFastSecp256k1 } from '../fast/index.ts';
import { type Group, mod, type Point, secp256k1Group } from '../group.ts';
import { taggedHash } from '../hash.ts';
import * as naive from '../testing/naive.ts';
import { recordArrays } from '../testing/recorded-arrays.ts';
import { seededRandom } from '../testing/seeded-random.ts';
import { BASE_OT_RECEIVER_BYTES, BASE_OT_SENDER_BYTES, BaseOtReceiver, BaseOtSender } from './base-ot.ts';
import { maskOf, toWords } from './bits.ts';

const group = openFastSecp256k1((length) => new Uint8Array(randomBytes(length)));
const { order } = group;
const otid = new Uint8Array(32).fill(7);

test('Alice has the key that Delta chose, and Bob both; with either backend the bytes are those of the naive one', () => {
  const naiveBob = naive.baseOtSender(seededRandom('bob'));
  const naiveAlice = naive.baseOtReceiver(otid, seededRandom('alice'));
  const naivePairs = naive.baseOtSenderKeys(otid, naiveBob.y, naiveAlice.message);
  const naiveKeys = naive.baseOtReceiverKeys(otid, naiveAlice, naiveBob.message);
  for (const backend of [group, secp256k1Group]) {
    const bob = new BaseOtSender(backend, otid, seededRandom('bob'));
    const alice = new BaseOtReceiver(backend, otid, seededRandom('alice'));
    assert.equal(bob.message.length, BASE_OT_SENDER_BYTES);
    assert.equal(alice.message.length, BASE_OT_RECEIVER_BYTES);
    assert.deepEqual(bob.message, naiveBob.message);
    assert.deepEqual(alice.message, naiveAlice.message);
    const { pairs } = bob.finish(alice.message);
    const { delta, seeds } = alice.finish(bob.message);
    assert.deepEqual(pairs, concat(...naivePairs.flat()));
    assert.deepEqual(seeds, concat(...naiveKeys));
    assert.deepEqual(naive.bitsOf(delta), naiveAlice.delta);
    const choices = toWords(delta);
    for (let i = 0; i < 128; i++) {
      const chosen = maskOf(choices, i) & 1;
      const key = (c: number) => pairs.subarray(64 * i + 32 * c, 64 * i + 32 * c + 32);
      assert.ok(equalBytes(seeds.subarray(32 * i, 32 * i + 32), key(chosen)), `base OT ${i}`);
      assert.ok(!equalBytes(key(0), key(1)), `base OT ${i}`);
    }
  }
});

test('T-OT-2a: the hash to the curve is that of RFC 9380', () => {
  const file = readFileSync(new URL('../../../../vectors/rfc9380-secp256k1.json', import.meta.url), 'utf8');
  const { dst, vectors } = JSON.parse(file) as { dst: string; vectors: { message: string; x: string; y: string }[] };
  assert.equal(vectors.length, 5);
  for (const { message, x, y } of vectors) {
    const point = secp256k1_hasher.hashToCurve(Buffer.from(message), { DST: dst }).toAffine();
    assert.equal(toHex(fromInteger(point.x)), x);
    assert.equal(toHex(fromInteger(point.y)), y);
  }
});

test('T-OT-2b: the generator is only ever multiplied by what was drawn', () => {
  const source = readFileSync(new URL('./base-ot.ts', import.meta.url), 'utf8').replaceAll(
    /\/\*[\s\S]*?\*\/|\/\/.*/g,
    '',
  );
  const multiplied = [...source.matchAll(/\.base\(([^)]*)\)/g)].map((match) => match[1]!);
  assert.deepEqual(multiplied.sort(), ['b', 'w', 'y']);
  for (const name of multiplied) assert.match(source, new RegExp(`const ${name} = randomScalar\\(`), name);
  assert.deepEqual(source.match(/hashToScalar|hashToField|hash_to_field|BASE\b/g), null);
  const drawn = new Map<bigint, string>();
  const scalars = new Set<bigint>();
  const watched: Group = {
    ...group,
    base: (k) => {
      scalars.add(k);
      return group.base(k);
    },
  };
  const seeded = seededRandom('drawn');
  new BaseOtReceiver(watched, otid, (purpose, length) => {
    const bytes = seeded(purpose, length);
    drawn.set(mod(toInteger(bytes), order), purpose);
    return bytes;
  });
  assert.equal(scalars.size, 256);
  for (const scalar of scalars) assert.match(drawn.get(scalar) ?? 'a hash', /^base OT: [bw] \d+$/);
});

/** What somebody would try who believes that a hashed point is its hash times G. */
const believedLogarithms: readonly ((message: Uint8Array) => bigint)[] = [
  (message) => mod(toInteger(new Uint8Array(naive.th('baseot-h2c', message))), order),
  (message) => secp256k1_hasher.hashToScalar(message, { DST: 'kedge/v1/baseot-h2c' }),
];

test('T-OT-2c: treating hashes as logarithms predicts nothing about Delta in 1,024 base OTs', () => {
  const right = believedLogarithms.map(() => [0, 0, 0]);
  let total = 0;
  for (let n = 0; n < 8; n++) {
    const alice = new BaseOtReceiver(group, otid, seededRandom(`distinguisher ${n}`));
    const delta = naive.bitsOf(seededRandom(`distinguisher ${n}`)('base OT: Delta', 16));
    for (let i = 0; i < 128; i++) {
      total++;
      const r = [66 * i, 66 * i + 33].map((at) => alice.message.subarray(at, at + 33)) as [Uint8Array, Uint8Array];
      believedLogarithms.forEach((believe, which) => {
        // With a known logarithm the bracket r_c + H(r_{1-c}) would be b·G for c = Delta: look for anything telling in it.
        const brackets = [0, 1].map((c) => {
          const logarithm = believe(concat(otid, u8(i), u8(c), r[1 - c]!));
          return group.encode(group.add(group.decode(r[c]!), group.base(logarithm)));
        }) as [Uint8Array, Uint8Array];
        for (const c of [0, 1] as const) {
          for (const point of r) assert.ok(!equalBytes(brackets[c], point));
        }
        const guesses = [
          brackets[0][0]! & 1,
          Number(Buffer.compare(brackets[0], brackets[1]) > 0),
          (brackets[0][32]! ^ brackets[1][32]!) & 1,
        ];
        guesses.forEach((guess, k) => {
          right[which]![k]! += Number(guess === delta[i]);
        });
      });
    }
  }
  // Five standard deviations.
  for (const count of right.flat()) assert.ok(Math.abs(count - total / 2) < 2.5 * Math.sqrt(total), `${count}`);
});

test('T-OT-2c: a cheating Alice who knows both logarithms of her points has at most the one key', () => {
  const bob = new BaseOtSender(group, otid, seededRandom('bob'));
  const seeded = seededRandom('cheat');
  const known = Array.from({ length: 256 }, (_, k) => mod(toInteger(seeded(`${k}`, 48)), order));
  const points = known.map((k) => group.encode(group.base(k)));
  const { pairs } = bob.finish(concat(...points));
  const Y = group.decode(bob.message);
  for (let k = 0; k < 256; k++) {
    const pair = [points[k & ~1]!, points[k | 1]!] as const;
    const message = concat(otid, u8(k >> 1), u8(k & 1), points[k ^ 1]!);
    const tries = [0n, ...believedLogarithms.map((believe) => believe(message))];
    for (const logarithm of tries) {
      const shared = group.encode(group.mulPublic(Y, mod(known[k]! + logarithm, order)));
      const key = taggedHash('bot/key', otid, u8(k >> 1), u8(k & 1), bob.message, ...pair, shared);
      assert.ok(!equalBytes(key, pairs.subarray(32 * k, 32 * k + 32)));
    }
  }
});

test('T-VAL-1: whatever is malformed is refused, and before any key is computed', () => {
  const alice = new BaseOtReceiver(group, otid, seededRandom('alice'));
  let multiplications = 0;
  const counting: Group = {
    ...group,
    mulSecret: (point, k) => {
      multiplications++;
      return group.mulSecret(point, k);
    },
  };
  const malformed = { name: 'MpcError', code: 'bad_encoding', culprits: [] };
  const good = alice.message;
  const withPoint = (at: number, point: Uint8Array) => {
    const message = Uint8Array.from(good);
    message.set(point, 33 * at);
    return message;
  };
  const bad = [
    concat(u8(2), fromInteger(5n)),
    concat(u8(2), fromInteger(secp256k1.Point.Fp.ORDER)),
    concat(u8(2), fromInteger((1n << 256n) - 1n)),
    new Uint8Array(33),
    ...[0, 4, 5, 6, 7, 0xff].map((prefix) => concat(u8(prefix), good.subarray(1, 33))),
  ];
  const refusals = [
    new Uint8Array(0),
    good.subarray(0, good.length - 1),
    concat(good, u8(0)),
    good.subarray(33),
    ...bad.flatMap((point) => [withPoint(0, point), withPoint(255, point)]),
  ];
  for (const message of refusals) {
    const bob = new BaseOtSender(counting, otid, seededRandom('bob'));
    assert.throws(() => bob.finish(message), malformed);
  }
  for (const key of [new Uint8Array(0), good.subarray(0, 32), good.subarray(0, 34), bad[0]!, bad[1]!, bad[5]!]) {
    const fresh = new BaseOtReceiver(group, otid, seededRandom('alice'));
    assert.throws(() => fresh.finish(key), malformed);
  }
  assert.equal(multiplications, 0);
});

test('a point that cancels its hash is refused', () => {
  const bob = new BaseOtSender(group, otid, seededRandom('bob'));
  const message = Uint8Array.from(new BaseOtReceiver(group, otid, seededRandom('alice')).message);
  const at = 66 * 5;
  const hashed = secp256k1_hasher.hashToCurve(concat(otid, u8(5), u8(0), message.subarray(at + 33, at + 66)), {
    DST: 'kedge/v1/baseot-h2c',
  });
  message.set(hashed.negate().toBytes(), at);
  assert.throws(() => bob.finish(message), { code: 'bad_encoding' });
});

test('both sides are used up by finishing, and by failing', () => {
  const bob = new BaseOtSender(group, otid, seededRandom('bob'));
  const alice = new BaseOtReceiver(group, otid, seededRandom('alice'));
  assert.throws(() => bob.finish(u8(0)), MpcError);
  assert.throws(() => bob.finish(alice.message), { code: 'session_over' });
  alice.finish(bob.message);
  assert.throws(() => alice.finish(bob.message), { code: 'session_over' });
});

test('T-CT-1: Alice does the same for either choice, in the same order', () => {
  const traced = (delta: number) => {
    const steps: string[] = [];
    const watch =
      <Values extends readonly unknown[], Result>(name: string, step: (...values: Values) => Result) =>
      (...values: Values): Result => {
        steps.push(name);
        return step(...values);
      };
    const watched: Group = {
      ...group,
      base: watch('base', group.base),
      add: watch('add', group.add),
      negate: watch('negate', group.negate),
      encode: watch('encode', group.encode),
      decode: watch('decode', group.decode),
      mulSecret: watch('mulSecret', group.mulSecret),
      mulPublic: watch('mulPublic', group.mulPublic),
      equals: watch('equals', group.equals),
      isIdentity: watch('isIdentity', (point: Point) => group.isIdentity(point)),
    };
    const seeded = seededRandom('alice');
    const alice = new BaseOtReceiver(watched, otid, (purpose, length) => {
      steps.push(purpose);
      return purpose === 'base OT: Delta' ? new Uint8Array(length).fill(delta) : seeded(purpose, length);
    });
    alice.finish(new BaseOtSender(group, otid, seededRandom('bob')).message);
    return steps;
  };
  assert.deepEqual(traced(0), traced(0xff));
});

test('T-ZER: what was drawn for the base OT is wiped', () => {
  const naiveAlice = naive.baseOtReceiver(otid, seededRandom('alice'));
  const { y } = naive.baseOtSender(seededRandom('bob'));
  const drawn: Uint8Array[] = [];
  const { result, buffers } = recordArrays(() => {
    const kept = (seed: string) => {
      const seeded = seededRandom(seed);
      return (purpose: string, length: number) => {
        const bytes = seeded(purpose, length);
        drawn.push(bytes);
        return bytes;
      };
    };
    const bob = new BaseOtSender(secp256k1Group, otid, kept('bob'));
    const alice = new BaseOtReceiver(secp256k1Group, otid, kept('alice'));
    const abandoned = new BaseOtReceiver(secp256k1Group, otid, kept('alice'));
    const seeds = alice.finish(bob.message);
    bob.dispose();
    abandoned.dispose();
    return seeds;
  });
  const secrets = [...naiveAlice.b, y].map((scalar) => fromInteger(scalar).subarray(8, 24));
  const own = new Set<ArrayBufferLike>([result.delta.buffer, result.seeds.buffer]);
  const rest = Buffer.concat([...buffers].filter((buffer) => !own.has(buffer)).map((buffer) => Buffer.from(buffer)));
  for (const secret of secrets) assert.equal(rest.includes(Buffer.from(secret)), false);
  assert.equal(rest.includes(Buffer.from(result.delta)), false);
  for (const bytes of drawn) if (bytes.length === 48) assert.ok(bytes.every((byte) => byte === 0));
});
