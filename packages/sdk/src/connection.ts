/**
 * One service and the enclave behind it, as an account or an operator's command uses them: the client, the attestation
 * checked against the pin, proofs for the enclave's present boot, and receipts checked when they come back.
 */
import { encodeCbor, fromBase64Url, KedgeError, recoveryInfo, sealTo, toBase64Url } from '@kedge/core';
import { sha256 } from '@noble/hashes/sha2.js';
import { type Client, createClient, type Patience } from './client.ts';
import type { ClientKey } from './client-key.ts';
import { makeProof, type ProofRequest } from './prove.ts';
import { type Attestation, checkAttestation, thumbprintOf, verifySigned } from './trust.ts';

export interface ServiceOptions {
  readonly url: string;
  /** `pk_…`: names the project and pins the enclave. */
  readonly publishableKey: string;
  readonly fetch?: typeof globalThis.fetch;
  /** See `ClientOptions`. */
  readonly patienceMs?: number;
  /** Whether the client key may be exported into a keystore; a browser says no. */
  readonly extractable?: boolean;
}

/** Makes the proof for the n-th try; from the second on with a new attestation, as the enclave may have restarted. */
export type ProofMaker = (attempt: number, patience?: Patience) => Promise<string>;

export interface Connection {
  readonly client: Client;
  attestation(fresh?: boolean, patience?: Patience): Promise<Attestation>;
  /** `onMade` hears the hash of each proof, which the answer is bound to. */
  prove(key: ClientKey, request: ProofRequest, onMade?: (hash: Uint8Array) => void): ProofMaker;
  /** Seals what the enclave must know about the words, for one act of one key, and sends it; again if the enclave restarted. */
  withWords<T>(
    act: 'sign_up' | 'recover' | 'replace_words',
    key: ClientKey,
    recoverySecret: Uint8Array,
    secondWrap: Uint8Array,
    send: (sealed: string, prove: (subject: string) => ProofMaker, patience: Patience) => Promise<T>,
  ): Promise<T>;
  /**
   * Throws unless the enclave signed it, for a proof made here that no receipt was shown for yet, and it says what was
   * asked for. Gives the project that the enclave acted in.
   */
  assertReceipt(
    receipt: { document: string; signature: string },
    expected: Readonly<Record<string, string>>,
  ): Promise<{ project: string }>;
}

export function connect(service: ServiceOptions): Connection {
  return connectTo(
    createClient({
      url: service.url,
      token: service.publishableKey,
      ...(service.fetch ? { fetch: service.fetch } : {}),
      ...(service.patienceMs === undefined ? {} : { patienceMs: service.patienceMs }),
    }),
    thumbprintOf(service.publishableKey),
  );
}

/** `thumbprint`: base64url SHA-256 of the identity that the enclave must have. */
export function connectTo(client: Client, thumbprint: string, now: () => number = Date.now): Connection {
  let known: Attestation | null = null;
  /** What the device's clock lacks: proofs expire by the enclave's time, and devices are often minutes off. */
  let skewMs = 0;
  /** Hashes of the proofs made here whose receipt is still to come: a receipt of another time, or for somebody else, isn't one. */
  const awaited = new Set<string>();
  const attestation = async (fresh = false, patience = client.patience()) => {
    if (known === null || fresh) {
      known = await checkAttestation((await client.call('getEnclave', { patience })).attestation, thumbprint);
      skewMs = known.atMs - now();
    }
    return known;
  };
  const prove =
    (key: ClientKey, request: ProofRequest, onMade?: (hash: Uint8Array) => void): ProofMaker =>
    async (attempt, patience) => {
      const { boot } = await attestation(attempt > 1, patience);
      const made = await makeProof(key, boot, request, now() + skewMs);
      awaited.add(toBase64Url(made.hash));
      onMade?.(made.hash);
      return made.text;
    };

  return {
    client,
    attestation,
    prove,
    async withWords(act, key, recoverySecret, secondWrap, send) {
      const patience = client.patience();
      for (let attempt = 1; ; attempt++) {
        const { sealingKey } = await attestation(attempt > 1, patience);
        const aad = encodeCbor({ algorithm: key.algorithm, public_key: key.publicKey });
        const sealed = await sealTo(
          sealingKey,
          encodeCbor({ recovery_secret: recoverySecret, second_wrap: secondWrap }),
          recoveryInfo(act),
          aad,
        );
        try {
          const proveAs = (subject: string) =>
            prove(key, { act, subject, parameters: { sealed_recovery: sha256(sealed) } });
          return await send(toBase64Url(sealed), proveAs, patience);
        } catch (error) {
          if (attempt > 1 || !(error instanceof KedgeError) || !restarted(error)) throw error;
        }
      }
    },
    async assertReceipt(receipt, expected) {
      const { identity } = await attestation();
      const said = JSON.parse(new TextDecoder().decode(fromBase64Url(receipt.document))) as Record<string, unknown>;
      const right = Object.entries(expected).every(([field, value]) => said[field] === value);
      const ours = awaited.delete(String(said.proof));
      if (!right || !ours || !(await verifySigned(identity, 'receipt', receipt))) {
        throw new KedgeError(
          'enclave_unavailable',
          'The service shows no receipt of the enclave for what you asked. Do not rely on it; ask the operator why.',
        );
      }
      return { project: String(said.project) };
    },
  };
}

/** Either the proof or the sealed message was made for an enclave that has restarted since. */
function restarted({ code }: KedgeError): boolean {
  return code === 'proof_stale' || code === 'request_invalid';
}
