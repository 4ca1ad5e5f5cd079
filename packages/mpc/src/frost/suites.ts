/**
 * noble's two FROST suites. Its `ed25519_FROST` asks of every point twice whether it has a torsion component, once for every
 * suite and once for this one, and each question takes as long as a multiplication; the suite here is the same (RFC 9591,
 * FROST-ED25519-SHA512-v1) and asks once. `suites.test.ts` holds it to noble's.
 */
import { createFROST } from '@noble/curves/abstract/frost.js';
import { ed25519 } from '@noble/curves/ed25519.js';
import { schnorr_FROST } from '@noble/curves/secp256k1.js';
import { sha512 } from '@noble/hashes/sha2.js';
import type { SuiteName } from '../suite.ts';

export type Frost = ReturnType<typeof createFROST>;

const ed25519Frost: Frost = createFROST({
  name: 'FROST-ED25519-SHA512-v1',
  Point: ed25519.Point,
  hash: sha512,
  H2: '', // the challenge of RFC 8032, so that its verifiers accept the signature
});

/** Not for `ecdsa-secp256k1`. */
export function frostOf(suite: SuiteName): Frost {
  return suite === 'eddsa-ed25519' ? ed25519Frost : schnorr_FROST;
}
