/** Proofs of knowledge: bound to everything they stand for, with challenges that nobody can guess. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { toInteger } from './bytes.ts';
import { ed25519Group, secp256k1Group } from './group.ts';
import { hashToScalar } from './hash.ts';
import { type ProofContext, prove, verifyProof } from './schnorr-proof.ts';
import { tags } from './tags.ts';

const context: ProofContext = { sid: new Uint8Array(32).fill(1), prover: 3, role: 'keygen', coefficient: 2 };

for (const group of [secp256k1Group, ed25519Group])
  describe(`proof of knowledge, ${group.name}`, () => {
    const secret = toInteger(new Uint8Array(randomBytes(31)));
    const statement = group.base(secret);
    const proof = prove(group, context, secret, statement, toInteger(new Uint8Array(randomBytes(31))));

    test('the true one verifies', () => assert.equal(verifyProof(group, context, statement, proof), true));

    test('another session, prover, role or place is another proof', () => {
      const others: ProofContext[] = [
        { ...context, sid: new Uint8Array(32) },
        { ...context, prover: 4 },
        { ...context, role: 'reshare' },
        { ...context, role: 'backup' },
        { ...context, coefficient: 1 },
      ];
      for (const other of others) assert.equal(verifyProof(group, other, statement, proof), false);
      assert.equal(verifyProof(group, context, group.base(secret + 1n), proof), false);
    });

    test('the number that answers is canonical, and so are the points', () => {
      const z = proof.length - 32;
      const large = proof.slice();
      large.fill(255, z);
      assert.throws(() => verifyProof(group, context, statement, large), { code: 'bad_encoding' });
      for (const bytes of [proof.slice(1), new Uint8Array([...proof, 0]), new Uint8Array(proof.length)])
        assert.throws(() => verifyProof(group, context, statement, bytes), { code: 'bad_encoding' });
    });
  });

test('T-FS-1 a challenge has 512 bits before it is reduced, and every bit of it moves', () => {
  const { order } = secp256k1Group;
  const counts = new Array<number>(256).fill(0);
  const rounds = 2_000;
  for (let k = 0; k < rounds; k++) {
    const e = hashToScalar(tags.proofOfKnowledge, order, new Uint8Array(randomBytes(32)));
    for (let bit = 0; bit < 256; bit++) counts[bit]! += Number((e >> BigInt(bit)) & 1n);
  }
  // Six standard deviations: fails once in a million runs.
  for (const [bit, count] of counts.entries())
    assert.ok(Math.abs(count - rounds / 2) < 6 * Math.sqrt(rounds / 4), `bit ${bit}: ${count}`);
});

test('T-FS-1 no proof repeats itself with a smaller challenge: the only count is that of the backup, which is fixed', () => {
  const source = readFileSync(new URL('./schnorr-proof.ts', import.meta.url), 'utf8').replaceAll(
    /\/\*[\s\S]*?\*\/|\/\/.*/g,
    '',
  );
  assert.doesNotMatch(source, /\bfor\b|\bwhile\b|\.map\(|Array\.from/);
  const backup = readFileSync(new URL('./backup/verifiable-encryption.ts', import.meta.url), 'utf8');
  assert.match(backup, /export const ROWS = 128;/);
});
