/** Key holders for tests: keys in the clear, signing what a chain asks for. Never shipped; keys are made up on the spot. */
import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { HDKey } from '@scure/bip32';
import { taprootTweakPrivKey } from '@scure/btc-signer/utils.js';
import type { DescriptorKey } from '../bitcoin/descriptor.ts';
import type { TestHolder } from '../chain.conformance.ts';
import type { KeySignature, SigningDigest } from '../chain.ts';
import { formatPath, parsePath } from '../derivation-path.ts';

/** A holder of one secp256k1 key, for ECDSA and BIP340. */
export function secpHolder(secret = secp256k1.utils.randomSecretKey()): TestHolder {
  const publicKey = secp256k1.getPublicKey(secret, true);
  return {
    publicKey,
    sign: (digests) =>
      digests.flatMap((digest) => {
        const asked = digest.publicKey ?? publicKey;
        const own = digest.algorithm === 'schnorr' ? publicKey.slice(1) : publicKey;
        return bytesToHex(asked) === bytesToHex(own) ? [signOne(digest, secret)] : [];
      }),
  };
}

export interface TreeHolder {
  /** The account key as a descriptor holds it, with both branches and all indices below. */
  readonly key: DescriptorKey & { kind: 'extended' };
  readonly account: HDKey;
  sign(digests: readonly SigningDigest[]): readonly KeySignature[];
}

/** A holder of a whole tree: signs every digest whose origin is below its root. */
export function treeHolder(seed: Uint8Array, path: string): TreeHolder {
  const root = HDKey.fromMasterSeed(seed);
  const fingerprint = root.fingerprint.toString(16).padStart(8, '0');
  const at = (steps: readonly number[]) => steps.reduce((node, step) => node.deriveChild(step), root);
  const account = at(parsePath(path));
  return {
    account,
    key: {
      kind: 'extended',
      origin: { fingerprint, path: formatPath(parsePath(path)) },
      key: {
        depth: account.depth,
        parentFingerprint: account.parentFingerprint,
        childNumber: account.index,
        chainCode: account.chainCode!,
        publicKey: account.publicKey!,
      },
      path: [],
      branches: [0, 1],
      ranged: true,
    },
    sign: (digests) =>
      digests
        .filter(({ origin }) => origin?.fingerprint === fingerprint)
        .map((digest) => signOne(digest, at(parsePath(digest.origin!.path)).privateKey!)),
  };
}

function signOne({ input, algorithm, digest, publicKey }: SigningDigest, secret: Uint8Array): KeySignature {
  const signature =
    algorithm === 'schnorr'
      ? schnorr.sign(digest, taprootTweakPrivKey(secret), new Uint8Array(32)) // the same each time, so that bytes compare
      : secp256k1.sign(digest, secret, { prehash: false });
  return { input, publicKey: publicKey ?? secp256k1.getPublicKey(secret, true), signature };
}
