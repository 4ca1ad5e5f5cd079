/**
 * ECDSA on secp256k1 as EVM chains write it: with low `s` (EIP-2) and the bit that says which of two public keys
 * recovers. Transactions and messages both come here with what a holder signed. Nothing here knows what was signed, and
 * nothing signs.
 */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import type { KeySignature } from '../chain.ts';

type EcdsaSignature = InstanceType<typeof secp256k1.Signature>;

export interface Signature {
  readonly r: bigint;
  readonly s: bigint;
  readonly recovery: 0 | 1;
}

/** Takes either of the two `s` and gives the low one; finds the recovery bit. Throws if the key didn't sign the digest. */
export function signatureOf(
  { signature, publicKey }: Pick<KeySignature, 'signature' | 'publicKey'>,
  digest: Uint8Array,
): Signature {
  if (publicKey.length !== 33) throw new RangeError('the public key has not 33 bytes');
  const given = secp256k1.Signature.fromBytes(signature, 'compact');
  const { r } = given;
  const s = given.hasHighS() ? secp256k1.Point.Fn.ORDER - given.s : given.s;
  for (const recovery of [0, 1] as const) {
    if (isBy(publicKey, new secp256k1.Signature(r, s, recovery), digest)) return { r, s, recovery };
  }
  throw new RangeError('the signature is by another key, or over something else');
}

/** The compressed public key. Recovers and verifies, with low `s` demanded. Throws. */
export function recoverSigner(signature: EcdsaSignature, digest: Uint8Array): Uint8Array {
  const publicKey = signature.recoverPublicKey(digest).toBytes(true);
  const options = { prehash: false, lowS: true };
  if (!secp256k1.verify(signature.toBytes('compact'), digest, publicKey, options))
    throw new RangeError('signature does not verify');
  return publicKey;
}

function isBy(publicKey: Uint8Array, signature: EcdsaSignature, digest: Uint8Array): boolean {
  let signer: Uint8Array;
  try {
    signer = recoverSigner(signature, digest);
  } catch {
    return false; // no point of the curve has that x
  }
  return signer.every((byte, at) => byte === publicKey[at]);
}
