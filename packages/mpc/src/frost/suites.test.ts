/** Our instance of noble's Ed25519 suite is noble's: same parts, same signature, same refusals. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ED25519_TORSION_SUBGROUP, ed25519, ed25519_FROST } from '@noble/curves/ed25519.js';
import { frostOf } from './suites.ts';

const ours = frostOf('eddsa-ed25519');
const message = new TextEncoder().encode('one message');

function signing() {
  const { public: pub, secretShares } = ed25519_FROST.trustedDealer({ min: 2, max: 3 });
  const [one, two] = Object.values(secretShares);
  const signers = [one!, two!].map((secret) => ({ secret, ...ours.commit(secret) }));
  return { pub, signers, commitments: signers.map((signer) => signer.commitments) };
}

test('from the same nonces it makes the parts and the signature that ed25519_FROST makes', () => {
  const { pub, signers, commitments } = signing();
  const made = [ours, ed25519_FROST].map((frost) => {
    const parts = signers.map(({ secret, nonces }) => [
      secret.identifier,
      frost.signShare(secret, pub, structuredClone(nonces), commitments, message),
    ]);
    return { parts, signature: frost.aggregate(pub, commitments, message, Object.fromEntries(parts)) };
  });
  assert.deepEqual(made[0], made[1]);
  assert.ok(ed25519.verify(made[0]!.signature, message, pub.commitments[0]!));
});

test('it refuses a nonce with a torsion component, of small order, off the curve, and the identity', () => {
  const { pub, signers, commitments } = signing();
  const { secret, nonces } = signers[0]!;
  const torsion = ed25519.Point.fromHex(ED25519_TORSION_SUBGROUP[1]!);
  const refused = [
    ed25519.Point.fromBytes(commitments[1]!.hiding).add(torsion).toBytes(),
    torsion.toBytes(),
    new Uint8Array(32).fill(2),
    ed25519.Point.ZERO.toBytes(),
  ];
  for (const hiding of refused)
    for (const frost of [ours, ed25519_FROST]) {
      const list = [commitments[0]!, { ...commitments[1]!, hiding }];
      assert.throws(() => frost.signShare(secret, pub, structuredClone(nonces), list, message));
    }
});
