/**
 * One chain, as the gateway, the SDK and the CLI see it. Public data only: a secret key never enters this package; the
 * holder signs the digests and hands the signatures back. Amounts are integers in the chain's smallest unit.
 * `evm.ts` implements it; a conformance suite holds every chain to the same promises on its real engine.
 */

export type ChainName = 'evm';
export type Curve = 'secp256k1';

/** What a transaction does, decoded from its bytes and from nothing else. */
export interface Intent {
  readonly chain: ChainName;
  readonly network: string;
  readonly from: string | null;
  readonly outputs: readonly { readonly to: string; readonly amount: bigint; readonly asset: string }[];
  /** The most the transaction can cost beyond its outputs. */
  readonly feeMax: bigint;
  readonly warnings: readonly string[];
}

export interface Transfer {
  readonly from: string;
  readonly to: string;
  readonly amount: bigint;
  readonly feeLevel?: 'slow' | 'recommended' | 'fast';
}

/** A digest that a holder of `curve` has to sign. */
export interface SigningDigest {
  readonly curve: Curve;
  readonly digest: Uint8Array;
}

/** ECDSA: compact `r ‖ s` (64 bytes) and the recovery bit. */
export interface DigestSignature {
  readonly signature: Uint8Array;
  readonly recovery: 0 | 1;
}

export type TransactionState =
  | { readonly status: 'unknown' }
  | { readonly status: 'broadcasting' }
  | { readonly status: 'confirming'; readonly confirmations: number; readonly receipt: Record<string, unknown> }
  | { readonly status: 'failed'; readonly receipt: Record<string, unknown> };

export interface Chain {
  readonly name: ChainName;
  readonly network: string;
  readonly curve: Curve;
  /** The address of a public key (compressed SEC1, 33 bytes). */
  address(publicKey: Uint8Array): string;
  /** The same address spelled canonically. Throws `ChainError('address_invalid')`. */
  parseAddress(text: string): string;
  balance(address: string): Promise<bigint>;
  /** Unsigned bytes, ready to decode and sign. Throws `ChainError('insufficient_funds' | 'node_unavailable')`. */
  build(transfer: Transfer): Promise<Uint8Array>;
  /** Decodes unsigned or signed bytes. Throws `ChainError('transaction_invalid')`. */
  decode(raw: Uint8Array): Intent;
  digests(unsigned: Uint8Array): readonly SigningDigest[];
  /** Signed bytes, ready to broadcast; checks that each signature is by `publicKey`. */
  attach(unsigned: Uint8Array, signatures: readonly DigestSignature[], publicKey: Uint8Array): Uint8Array;
  /** The id under which the chain knows the signed bytes. */
  transactionId(signed: Uint8Array): string;
  /** Idempotent: bytes that the node knows already are no error. Gives the transaction id. */
  broadcast(signed: Uint8Array): Promise<string>;
  track(transactionId: string): Promise<TransactionState>;
}

export type ChainErrorCode =
  | 'address_invalid'
  | 'transaction_invalid'
  | 'insufficient_funds'
  | 'rejected'
  | 'node_unavailable'
  | 'wrong_network';

export class ChainError extends Error {
  override readonly name = 'ChainError';
  readonly code: ChainErrorCode;

  constructor(code: ChainErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}
