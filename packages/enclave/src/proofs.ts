/**
 * Whether a proof holds: right act, subject and parameters, made for this boot, inside its minute, never seen before,
 * and signed by a key that may. Nonces are remembered until their proofs expire; a proof from before a restart is
 * refused by its boot id, so nothing about nonces needs to be stored.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import {
  type Act,
  bytesToHex,
  type CborValue,
  type Clock,
  decodeProof,
  encodeCbor,
  equalBytes,
  KedgeError,
  PROOF_LIFETIME_MAX_MS,
  type Proof,
  type ProofKey,
  proofMessage,
  toBase64Url,
} from '@kedge/core';
import { ed25519 } from '@noble/curves/ed25519.js';

/** What the proof must say. `subject: null` where only possession of the key is proven. */
export interface Expected {
  readonly act: Act | readonly Act[];
  readonly subject: string | null;
  readonly parameters: { readonly [name: string]: CborValue };
}

/** More unexpired proofs than this and new ones are refused. */
const NONCES_MAX = 1_000_000;

export class ProofChecker {
  readonly #clock: Clock;
  readonly #boot: Uint8Array;
  readonly #seen = new Map<string, number>();
  /** The latest expiry among forgotten nonces: if the clock is set back, what was used before then must not hold again. */
  #forgottenUntilMs = 0;

  constructor(clock: Clock, boot: Uint8Array) {
    this.#clock = clock;
    this.#boot = boot;
  }

  /** Throws `KedgeError('proof_…')`. `keys`: who may sign; null takes any key, of which the proof then shows possession. */
  check(text: string, expected: Expected, keys: readonly ProofKey[] | null): Proof {
    const proof = decodeProof(text);
    const { document } = proof;
    const acts: readonly Act[] = typeof expected.act === 'string' ? [expected.act] : expected.act;
    if (!acts.includes(document.act)) throw new KedgeError('proof_invalid', 'The proof is for another act.');
    if (expected.subject !== null && document.subject !== expected.subject)
      throw new KedgeError('proof_invalid', 'The proof is for somebody else.');
    if (!equalBytes(encodeCbor(document.parameters), encodeCbor(expected.parameters))) {
      throw new KedgeError('proof_invalid', 'The proof is for the same act with other parameters.');
    }
    if (!equalBytes(document.boot, this.#boot)) throw new KedgeError('proof_stale');
    const now = this.#clock.wallMs();
    if (
      document.expiresAtMs <= Math.max(now, this.#forgottenUntilMs) ||
      document.expiresAtMs > now + PROOF_LIFETIME_MAX_MS
    )
      throw new KedgeError('proof_expired');
    if (keys !== null && !keys.some((key) => sameKey(key, proof.key)))
      throw new KedgeError('proof_invalid', 'The key of this proof is not enrolled.');
    if (!verifySignature(proof)) throw new KedgeError('proof_invalid', 'The signature of the proof does not hold.');
    this.#consume(document.nonce, document.expiresAtMs, now);
    return proof;
  }

  #consume(nonce: Uint8Array, expiresAtMs: number, now: number): void {
    // Insertion order is close to expiry order, so looking at the oldest few keeps the map small.
    for (const [old, expiry] of this.#seen) {
      if (expiry > now) break;
      this.#seen.delete(old);
      this.#forgottenUntilMs = Math.max(this.#forgottenUntilMs, expiry);
    }
    const name = bytesToHex(nonce);
    if (this.#seen.has(name)) throw new KedgeError('proof_replayed');
    if (this.#seen.size >= NONCES_MAX)
      throw new KedgeError('overloaded', 'Too many proofs within a minute.', { retryAfterS: 60 });
    this.#seen.set(name, expiresAtMs);
  }
}

export function sameKey(a: ProofKey, b: ProofKey): boolean {
  return a.algorithm === b.algorithm && equalBytes(a.publicKey, b.publicKey);
}

/** Whether somebody can sign with the key, and not everybody: a point of its curve, in its one spelling. */
export function isUsableKey(key: ProofKey): boolean {
  try {
    importKey(key);
    // What has a small order verifies signatures that nobody made.
    return key.algorithm === 'p256' || !ed25519.Point.fromBytes(key.publicKey).isSmallOrder();
  } catch {
    return false;
  }
}

function verifySignature({ document, key, signature }: Proof): boolean {
  const message = proofMessage(document);
  try {
    const publicKey = importKey(key);
    if (key.algorithm === 'ed25519') return verify(null, message, publicKey, signature);
    return verify('sha256', message, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature);
  } catch {
    return false; // not a point of the curve
  }
}

/** Throws for bytes that are no key. */
function importKey({ algorithm, publicKey }: ProofKey): KeyObject {
  if (algorithm === 'ed25519')
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: toBase64Url(publicKey) }, format: 'jwk' });
  // The coordinates alone would make one key of what is spelled in two ways.
  if (publicKey.length !== 65 || publicKey[0] !== 4) throw new RangeError('not uncompressed SEC1');
  return createPublicKey({ key: p256Jwk(publicKey), format: 'jwk' });
}

/** `publicKey`: SEC1 uncompressed, 65 bytes. */
export function p256Jwk(publicKey: Uint8Array): { kty: 'EC'; crv: 'P-256'; x: string; y: string } {
  return {
    kty: 'EC',
    crv: 'P-256',
    x: toBase64Url(publicKey.subarray(1, 33)),
    y: toBase64Url(publicKey.subarray(33, 65)),
  };
}
