/** Volume: ten thousand signatures of every configuration. MPC_SIGNATURES sets another number; KEDGE_MINUTES a sample. */
import { test } from 'node:test';
import { signatureCount, signManyEcdsa, signManyFrost } from './testing/volume.ts';

const minutes = Number(process.env.KEDGE_MINUTES ?? 0);
const signatures = minutes > 0 ? Math.min(10_000, minutes * 20) : signatureCount(10_000);

for (const [threshold, count] of [
  [2, 2],
  [2, 3],
  [3, 3],
] as const) {
  const name = `${threshold}-of-${count}`;
  test(`${signatures} ECDSA signatures of ${name}`, () => signManyEcdsa({ threshold, count }, signatures));
  for (const suite of ['schnorr-secp256k1', 'eddsa-ed25519'] as const)
    test(`${signatures} signatures of ${suite}, ${name}`, () => signManyFrost(suite, { threshold, count }, signatures));
}
