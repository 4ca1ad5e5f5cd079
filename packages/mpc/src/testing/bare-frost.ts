/**
 * FROST with the calls of noble alone: what a signature by two costs when nobody talks, checks or derives. The bench
 * compares with it; nothing else does.
 */
import { ed25519_FROST } from '@noble/curves/ed25519.js';

/** A function that makes one Ed25519 signature by two of three, from shares of a dealer. */
export function bareEd25519(message: Uint8Array): () => Uint8Array {
  const { public: pub, secretShares } = ed25519_FROST.trustedDealer({ min: 2, max: 3 });
  const secrets = Object.values(secretShares).slice(0, 2);
  return () => {
    const signers = secrets.map((secret) => ({ secret, ...ed25519_FROST.commit(secret) }));
    const commitments = signers.map((signer) => signer.commitments);
    const parts = signers.map(({ secret, nonces }) => [
      secret.identifier,
      ed25519_FROST.signShare(secret, pub, nonces, commitments, message),
    ]);
    // Both signers end with the signature, as both of ours do.
    const [signature] = signers.map(() =>
      ed25519_FROST.aggregate(pub, commitments, message, Object.fromEntries(parts)),
    );
    return signature!;
  };
}
