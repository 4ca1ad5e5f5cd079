/**
 * The proof that a new sharing works before money arrives: signatures over digests that mean nothing on any chain, by sets
 * of signers in which every holder takes part once. An address is shown only by a device that has verified all of them.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js';
import { equalBytes } from './bytes.ts';
import { taggedHash } from './hash.ts';
import type { PublicShare } from './key-share.ts';
import { tags } from './tags.ts';

export interface SelfTest {
  /** Indices, ascending: exactly t. */
  readonly signers: readonly number[];
  /** 32 bytes: the digest for ECDSA, the message for Schnorr and Ed25519; under the root key, without a Taproot tweak. */
  readonly digest: Uint8Array;
}

type Tested = Pick<PublicShare, 'suite' | 'keyId' | 'sharingId' | 'threshold' | 'parties' | 'publicKey'>;

/** ⌈n/t⌉ sets that cover everybody; the last one may repeat some. */
export function selfTests({ keyId, sharingId, threshold, parties }: Tested): SelfTest[] {
  const indices = parties.map(({ index }) => index);
  const sets: number[][] = [];
  for (let at = 0; at < indices.length; at += threshold) {
    const start = Math.min(at, indices.length - threshold);
    sets.push(indices.slice(start, start + threshold));
  }
  return sets.map((signers) => ({
    signers,
    digest: taggedHash(tags.selfTest, keyId, sharingId, Uint8Array.from(signers)),
  }));
}

/** 64 bytes: r ‖ s with low s, BIP340, or RFC 8032. */
export interface SelfTestSignature {
  readonly digest: Uint8Array;
  readonly signature: Uint8Array;
}

/** Whether every holder has taken part in a signature that verifies. */
export function isProven(sharing: Tested, signatures: readonly SelfTestSignature[]): boolean {
  return selfTests(sharing).every(({ digest }) =>
    signatures.some((each) => equalBytes(each.digest, digest) && verifies(sharing, each)),
  );
}

/** Whether it is one of the signatures that prove this sharing. */
export function isSelfTest(sharing: Tested, test: SelfTestSignature): boolean {
  return selfTests(sharing).some(({ digest }) => equalBytes(digest, test.digest)) && verifies(sharing, test);
}

function verifies({ suite, publicKey }: Tested, { digest, signature }: SelfTestSignature): boolean {
  try {
    if (suite === 'eddsa-ed25519') return ed25519.verify(signature, digest, publicKey);
    if (suite === 'schnorr-secp256k1') return schnorr.verify(signature, digest, publicKey.slice(1));
    return secp256k1.verify(signature, digest, publicKey, { prehash: false, lowS: true });
  } catch {
    return false; // of a wrong length, or not numbers of this curve
  }
}
