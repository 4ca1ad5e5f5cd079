/**
 * The formulas of signing, in the naive implementation: a signature comes out for two and three signers, and noble verifies
 * and recovers it; with the multiplications done by either implementation.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { fromInteger, toInteger } from '../bytes.ts';
import { mod, secp256k1Group } from '../group.ts';
import { taggedHash } from '../hash.ts';
import { Multiplier, multiply } from '../ot/multiply.ts';
import { lagrange } from '../secret-sharing.ts';
import { dealSetup } from './dealt-setup.ts';
import * as naive from './naive.ts';
import { seededRandom } from './seeded-random.ts';

const { order } = secp256k1Group;

interface Signer {
  readonly i: number;
  readonly sk: bigint;
  readonly nonces: naive.Nonces;
}

function sign(T: number[], fast: boolean) {
  const seeded = seededRandom(`sign ${T.join()}`);
  const scalar = (purpose: string) => mod(toInteger(seeded(purpose, 48)), order);
  const sid = seeded('sid', 32);
  const coefficients = T.map((_, k) => scalar(`coefficient ${k}`));
  const share = (i: number) => coefficients.reduceRight((value, a) => mod(value * BigInt(i) + a, order), 0n);
  const pairSeed = (i: number, j: number) =>
    taggedHash('zero/seed', fromInteger(BigInt(Math.min(i, j) * 256 + Math.max(i, j))));
  const signers = T.map((i): Signer => {
    assert.equal(naive.lambda(i, T), lagrange(i, T, order));
    const zeta = naive.zeroShare(sid, i, new Map(T.filter((j) => j !== i).map((j) => [j, pairSeed(i, j)])));
    return {
      i,
      sk: mod(naive.lambda(i, T) * share(i) + zeta, order),
      nonces: { r: scalar(`r ${i}`), phi: scalar(`phi ${i}`), salt: seeded(`salt ${i}`, 32) },
    };
  });
  assert.equal(
    mod(
      signers.reduce((sum, { sk }) => sum + sk, 0n),
      order,
    ),
    coefficients[0],
  );

  /** For each ordered pair, Bob first: b, and (c, d) for the inputs (r, sk) of Alice. */
  const products = new Map<string, { b: bigint; c: [bigint, bigint]; d: [bigint, bigint] }>();
  for (const bob of signers) {
    for (const alice of signers) {
      if (alice === bob) continue;
      const of = { sid, otid: seeded(`otid ${bob.i} ${alice.i}`, 32), bob: bob.i, alice: alice.i };
      const setup = dealSetup((purpose, length) => seeded(`${bob.i} ${alice.i} ${purpose}`, length));
      const [bobs, alices] = [seededRandom(`bob ${bob.i}`), seededRandom(`alice ${alice.i}`)];
      const inputs: [bigint, bigint] = [alice.nonces.r, alice.sk];
      if (fast) {
        const first = new Multiplier(of, setup.bob, bobs);
        const { message, shares } = multiply(of, setup.alice, first.message, inputs, alices);
        const d = first.finish(message);
        products.set(`${bob.i} ${alice.i}`, { b: first.factor, c: [...shares], d: [...d] });
      } else {
        const first = naive.bobExtends(of, setup.pairs, bobs);
        const corrected = naive.aliceCorrects(of, setup.delta, setup.keys, first.message, inputs, alices);
        const { message, c } = naive.aliceSeals(corrected);
        products.set(`${bob.i} ${alice.i}`, { b: first.b, c, d: naive.bobFinishes(of, first, message) });
      }
    }
  }

  const firsts = signers.map(({ i, nonces }) => naive.signRound1(sid, i, nonces));
  const digest = seeded('digest', 32);
  const m = mod(toInteger(digest), order);
  const parts = signers.map((me) => {
    const peers = signers
      .filter((signer) => signer !== me)
      .map((peer) => {
        const asBob = products.get(`${me.i} ${peer.i}`)!;
        const asAlice = products.get(`${peer.i} ${me.i}`)!;
        const theirs = naive.signRound2(peer.nonces, peer.sk, asBob.c, asAlice.b);
        const R = naive.signRound1(sid, peer.i, peer.nonces).R;
        assert.ok(naive.checkPoints(asBob.b, asBob.d, { R, ...theirs }));
        assert.equal(naive.checkPoints(asBob.b, [asBob.d[0], mod(asBob.d[1] + 1n, order)], { R, ...theirs }), false);
        return { psi: theirs.psi, c: asAlice.c, d: asBob.d };
      });
    return naive.signRound3(
      me.nonces,
      me.sk,
      m,
      firsts.map(({ R }) => R),
      peers,
    );
  });
  const { r, s, recid } = naive.signature(parts);
  const signature = new secp256k1.Signature(r, s).addRecoveryBit(recid);
  const publicKey = secp256k1Group.encode(secp256k1Group.base(coefficients[0]!));
  assert.ok(secp256k1.verify(signature.toBytes('compact'), digest, publicKey, { prehash: false, lowS: true }));
  assert.deepEqual(signature.recoverPublicKey(digest).toBytes(), publicKey);
  return signature.toHex('compact');
}

for (const T of [
  [1, 2],
  [1, 3],
  [2, 3, 7],
]) {
  test(`signers ${T.join(', ')}: the signature verifies, and both multiplications give the same one`, () => {
    assert.equal(sign(T, true), sign(T, false));
  });
}
