/**
 * Proofs: what a person or an operator signs so that the enclave acts for them. A proof names the act with all its
 * parameters, the one-time key to which the answer is sealed, a nonce, the boot of the enclave it is meant for and an
 * expiry at most 60 s away. The SDK and the CLI make proofs; the enclave alone decides whether they hold; the gateway
 * carries them in the header `Kedge-Proof`.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { fromBase64Url, toBase64Url, utf8ToBytes } from './bytes.ts';
import { type CborValue, decodeCbor, encodeCbor } from './cbor.ts';
import { KedgeError } from './errors.ts';

export const PROOF_LIFETIME_MAX_MS = 60_000;
/** Longest proof in a header, in characters. A proof with every field at its longest stays below. */
export const PROOF_CHARS_MAX = 4_096;

export type UserAct =
  | 'sign_up'
  | 'sign_in'
  | 'recover'
  | 'replace_words'
  | 'enroll_client_key'
  | 'revoke_client_key'
  | 'create_wallet'
  | 'open_wallet'
  | 'export_wallet';
export type OperatorAct = 'operator_sign_in' | 'rotate' | 'destroy_server_key' | 'accept_restore' | 'back_up';
/** Over `{recovery, plan, choice}` and `{change, rules, choice}`: ids, hashes (32 bytes), `approve` or `reject`. */
export type ApproverAct = 'vote_recovery' | 'vote_list_change';
export type Act = UserAct | OperatorAct | ApproverAct;

/** A public key that signs proofs. `p256`: SEC1 uncompressed, 65 bytes. `ed25519`: 32 bytes. */
export interface ProofKey {
  readonly algorithm: 'p256' | 'ed25519';
  readonly publicKey: Uint8Array;
}

export interface ProofDocument {
  readonly act: Act;
  /** Who acts: {@link userSubject}, the account that is being signed up or recovered, an approver, or the name of an operator. */
  readonly subject: string;
  /** Everything that distinguishes this act from another one of its kind; compared field by field. */
  readonly parameters: { readonly [name: string]: CborValue };
  /** X25519 public key (32 bytes) to which the enclave seals its answer, where the act has a secret answer. */
  readonly answerKey: Uint8Array | null;
  /** 16 random bytes. */
  readonly nonce: Uint8Array;
  /** The boot id (16 bytes) from the attestation of the enclave. */
  readonly boot: Uint8Array;
  readonly expiresAtMs: number;
}

/** A document, who claims to have signed it, and the signature over {@link proofMessage}. */
export interface Proof {
  readonly document: ProofDocument;
  readonly key: ProofKey;
  /** ECDSA P-256 SHA-256 `r ‖ s` or Ed25519: 64 bytes either way. */
  readonly signature: Uint8Array;
}

/** A user as a proof names them: with the project, or a proof for one tenant would hold for the same id in another. */
export function userSubject(project: string, user: string): string {
  return `${project}/${user}`;
}

const domain = utf8ToBytes('kedge/proof/v1\0');

function documentValue(document: ProofDocument): CborValue {
  return {
    act: document.act,
    subject: document.subject,
    parameters: document.parameters,
    answer_key: document.answerKey,
    nonce: document.nonce,
    boot: document.boot,
    expires_at: document.expiresAtMs,
  };
}

/** The bytes that are signed. */
export function proofMessage(document: ProofDocument): Uint8Array {
  const body = encodeCbor(documentValue(document));
  const message = new Uint8Array(domain.length + body.length);
  message.set(domain);
  message.set(body, domain.length);
  return message;
}

/** SHA-256 of {@link proofMessage}: ties an answer, a receipt and a sealed payload to one act. */
export function proofHash(document: ProofDocument): Uint8Array {
  return sha256(proofMessage(document));
}

export function encodeProof(proof: Proof): string {
  return toBase64Url(
    encodeCbor({
      document: documentValue(proof.document),
      algorithm: proof.key.algorithm,
      public_key: proof.key.publicKey,
      signature: proof.signature,
    }),
  );
}

/** Shape only: whether it holds is for the enclave. Throws `KedgeError('proof_invalid')`. */
export function decodeProof(text: string): Proof {
  try {
    if (text.length > PROOF_CHARS_MAX) throw new RangeError('too long');
    const value = record(decodeCbor(fromBase64Url(text)), ['document', 'algorithm', 'public_key', 'signature']);
    const document = record(value.document, [
      'act',
      'subject',
      'parameters',
      'answer_key',
      'nonce',
      'boot',
      'expires_at',
    ]);
    const { algorithm } = value;
    if (algorithm !== 'p256' && algorithm !== 'ed25519') throw new RangeError('algorithm');
    if (typeof document.expires_at !== 'number' || !Number.isSafeInteger(document.expires_at))
      throw new RangeError('expires_at');
    if (typeof document.act !== 'string' || typeof document.subject !== 'string') throw new RangeError('act');
    return {
      document: {
        act: document.act as Act,
        subject: document.subject,
        parameters: record(document.parameters),
        answerKey: document.answer_key === null ? null : bytes(document.answer_key, 32),
        nonce: bytes(document.nonce, 16),
        boot: bytes(document.boot, 16),
        expiresAtMs: document.expires_at,
      },
      key: { algorithm, publicKey: bytes(value.public_key, algorithm === 'p256' ? 65 : 32) },
      signature: bytes(value.signature, 64),
    };
  } catch (cause) {
    throw new KedgeError('proof_invalid', 'The header Kedge-Proof does not hold a well-formed proof.', { cause });
  }
}

function record(value: CborValue | undefined, keys?: readonly string[]): { readonly [name: string]: CborValue } {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || value instanceof Uint8Array)
    throw new RangeError('not a map');
  const map = value as { readonly [name: string]: CborValue };
  if (keys && (Object.keys(map).length !== keys.length || !keys.every((key) => Object.hasOwn(map, key))))
    throw new RangeError('fields');
  return map;
}

function bytes(value: CborValue | undefined, length: number): Uint8Array {
  if (!(value instanceof Uint8Array) || value.length !== length) throw new RangeError(`not ${length} bytes`);
  return value;
}
