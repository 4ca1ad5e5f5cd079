/** Taproot signatures verify with libsecp256k1, Ed25519 signatures with OpenSSL. */
import { test } from 'node:test';
import { signatureCount, signManyFrost } from '../testing/volume.ts';

const signatures = signatureCount(500);

for (const suite of ['schnorr-secp256k1', 'eddsa-ed25519'] as const)
  for (const count of [2, 3])
    test(`${signatures} signatures of ${suite}, 2-of-${count}, verify with another library`, () =>
      signManyFrost(suite, { threshold: 2, count }, signatures));
