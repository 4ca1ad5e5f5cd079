/** T-SIG-2: every signature has a low s, a fresh r, and verifies with OpenSSL under the derived key. */
import { test } from 'node:test';
import { signatureCount, signManyEcdsa } from '../testing/volume.ts';

const signatures = signatureCount(1_000);

for (const count of [2, 3])
  test(`T-SIG-2 ${signatures} signatures of 2-of-${count} verify with OpenSSL`, () =>
    signManyEcdsa({ threshold: 2, count }, signatures));
