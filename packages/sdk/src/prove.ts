/**
 * Making proofs: the act, its parameters, a nonce, the boot of the enclave, and an expiry inside the minute, signed by
 * a client key or an operator's key. Whether a proof holds is for the enclave to say.
 */
import { type Act, type CborValue, encodeProof, type ProofDocument, proofHash, proofMessage } from '@kedge/core';
import { randomBytes } from './client.ts';
import type { ClientKey } from './client-key.ts';

/** Below the 60 s that the enclave allows, so that a clock that runs a little fast still passes. */
const LIFETIME_MS = 45_000;

export interface ProofRequest {
  readonly act: Act;
  readonly subject: string;
  readonly parameters?: { readonly [name: string]: CborValue };
  readonly answerKey?: Uint8Array;
}

export interface MadeProof {
  readonly text: string;
  readonly hash: Uint8Array;
}

export async function makeProof(
  key: ClientKey,
  boot: Uint8Array,
  request: ProofRequest,
  nowMs: number,
): Promise<MadeProof> {
  const document: ProofDocument = {
    act: request.act,
    subject: request.subject,
    parameters: request.parameters ?? {},
    answerKey: request.answerKey ?? null,
    nonce: randomBytes(16),
    boot,
    expiresAtMs: nowMs + LIFETIME_MS,
  };
  const signature = await key.sign(proofMessage(document));
  return {
    text: encodeProof({ document, key: { algorithm: key.algorithm, publicKey: key.publicKey }, signature }),
    hash: proofHash(document),
  };
}
