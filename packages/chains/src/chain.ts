/**
 * One chain, as the gateway, the SDK and the CLI see it. Public data only: a secret key never enters this package; the
 * holder signs the digests and hands the signatures back. Amounts are integers in the chain's smallest unit.
 * A spend goes build → decode → digests → attach → final → broadcast → track, and each step is a function of bytes that
 * can be stored, moved to another machine and taken up again. `bitcoin/`, `evm/` and `solana/` implement this; a
 * conformance suite holds every chain to the same promises on its real engine.
 */

export type ChainName = 'bitcoin' | 'evm' | 'solana';
export type Curve = 'secp256k1' | 'ed25519';

/** The asset of a plain transfer, whatever the chain calls its coin; tokens are named by their contract or mint address. */
export const NATIVE_ASSET = 'native';

/** Which of an account's addresses: receiving (0) or change (1), and the index below. Chains with one address take none. */
export interface AddressAt {
  readonly change: 0 | 1;
  readonly index: number;
}

/** What a transaction does, decoded from its bytes and from nothing else. */
export interface Intent {
  readonly chain: ChainName;
  readonly network: string;
  /** The account that pays, where the bytes prove it. */
  readonly from: string | null;
  /** Every output, in order. */
  readonly outputs: readonly IntentOutput[];
  /** What another may take later (ERC-20 `approve`). */
  readonly allowances: readonly { readonly spender: string; readonly amount: bigint; readonly asset: string }[];
  /** The most the transaction can cost beyond its outputs, native; null where the bytes don't say (`fee_unknown`). */
  readonly feeMax: bigint | null;
  readonly warnings: readonly Warning[];
}

export interface IntentOutput {
  readonly to: string;
  readonly amount: bigint;
  readonly asset: string;
  /** Back to the account that pays: proven by deriving the address, never by a claim in the bytes. */
  readonly change: boolean;
}

/** What a person should be told before signing. docs/chains.md says of each what to do. */
export type Warning =
  | 'amount_unproven'
  | 'approves_spender'
  | 'carries_data'
  | 'change_far'
  | 'change_unproven'
  | 'creates_account'
  | 'creates_contract'
  | 'fee_high'
  | 'fee_unknown'
  | 'has_access_list'
  | 'not_replaceable'
  | 'output_dust'
  | 'output_nonstandard'
  | 'output_unspendable'
  | 'time_locked'
  | 'unknown_instruction'
  | 'unlimited_approval';

export type FeeLevel = 'slow' | 'recommended' | 'fast';

export interface Transfer {
  /** An account as {@link Chain.account} or a wallet spells it: an address, or an output descriptor on Bitcoin. */
  readonly from: string;
  readonly to: string;
  /** `all`: everything that the account holds of the asset, less the fee if that is paid in it. */
  readonly amount: bigint | 'all';
  /** Default {@link NATIVE_ASSET}. */
  readonly asset?: string;
  readonly feeLevel?: FeeLevel;
  /** The most that the fee may come to; `fee_too_high` otherwise. */
  readonly feeMax?: bigint;
  /** What other spends of the account hold, as {@link Chain.resources} names it: not to be used again. */
  readonly avoid?: ReadonlySet<string>;
}

export interface Replacement {
  readonly from: string;
  /** `speed_up`: the same transfer with a higher fee. `cancel`: the funds go back to the account itself. */
  readonly kind: 'speed_up' | 'cancel';
  readonly feeLevel?: FeeLevel;
  readonly feeMax?: bigint;
}

export interface Balance {
  readonly confirmed: bigint;
  /** What transactions that are not in a block yet would add to it; negative if they take. */
  readonly unconfirmed: bigint;
  /** What it consists of, on chains that keep coins; otherwise empty. */
  readonly coins: readonly Coin[];
}

/** An unspent output. */
export interface Coin {
  /** `<transaction id>:<output index>`, as in {@link Chain.resources}. */
  readonly id: string;
  readonly amount: bigint;
  readonly address: string;
  readonly at: AddressAt | null;
  /** The height of its block; null while it is in none. */
  readonly height: number | null;
}

/** One signature that a transaction asks for. */
export interface SigningDigest {
  /** Which input it is for; 0 on chains without inputs. With the public key it names the signature. */
  readonly input: number;
  /** `schnorr` is BIP340 by the key tweaked as BIP341 says for an output without scripts. */
  readonly algorithm: 'ecdsa' | 'schnorr' | 'ed25519';
  /** 32 bytes; with ed25519 the whole message, which that algorithm hashes itself. */
  readonly digest: Uint8Array;
  /** Whose signature, before any tweak; null where the bytes don't name the signer (EVM). */
  readonly publicKey: Uint8Array | null;
  /** Where that key stands below its root, if the bytes say so: fingerprint in 8 hex digits, path as `48h/0h/0h/2h/0/7`. */
  readonly origin: { readonly fingerprint: string; readonly path: string } | null;
}

/** 64 bytes: ECDSA as `r ‖ s` with either `s`, BIP340, or Ed25519. */
export interface KeySignature {
  readonly input: number;
  /** As in the {@link SigningDigest}; SEC1 compressed (33 bytes) for ECDSA, 32 bytes for the others. */
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
}

export type TransactionState =
  /** No node has it: never sent, dropped, or its block was replaced. Broadcasting again does no harm. */
  | { readonly status: 'unknown' }
  | { readonly status: 'broadcasting' }
  | {
      readonly status: 'confirming';
      /** 1 in the newest block. */
      readonly confirmations: number;
      readonly blockHash: string;
      readonly receipt: Record<string, unknown>;
    }
  | { readonly status: 'failed'; readonly receipt: Record<string, unknown> }
  /** Another transaction took its coins or its nonce; `by` if the chain tells which. */
  | { readonly status: 'replaced'; readonly by: string | null }
  /** No block may take it any more (Solana's blockhash). Build it again. */
  | { readonly status: 'expired' };

/** The half of a chain that needs no node: for devices, the command line, and a co-signer's own decoding. */
export interface ChainCodec {
  readonly name: ChainName;
  /** CAIP-2 where there is one: `eip155:1`, `bip122:000000000019d6689c085ae165831e93`, `solana:…`. */
  readonly network: string;
  readonly curve: Curve;
  /** The account that one public key controls alone: secp256k1 compressed (33 bytes), ed25519 (32). */
  account(publicKey: Uint8Array): string;
  /** An address of the account. Throws `address_invalid` or, on Bitcoin, `descriptor_invalid`. */
  address(account: string, at?: AddressAt): string;
  /** The same address spelled canonically. Throws `address_invalid`. */
  parseAddress(text: string): string;

  /** Decodes unsigned or signed bytes; with `account`, tells change from payment. Throws `transaction_invalid`. */
  decode(raw: Uint8Array, account?: string): Intent;
  /** What two spends of one account can't share: `nonce:7`, or the ids of the coins. */
  resources(raw: Uint8Array): readonly string[];
  /**
   * Names what people approve: 64 hex digits that stay the same whoever has signed already, and on Solana whichever recent
   * blockhash is filled in; anything else that changes gives another. Throws `transaction_invalid`.
   */
  planId(unsigned: Uint8Array): string;
  /** With `account`, each key's origin is the one that the account proves, and not what the bytes say of it. */
  digests(unsigned: Uint8Array, account?: string): readonly SigningDigest[];
  /** The bytes with these signatures, each checked; on Bitcoin more may follow. */
  attach(unsigned: Uint8Array, signatures: readonly KeySignature[]): Uint8Array;
  /** What the network takes. Throws `signature_missing`. */
  final(attached: Uint8Array): Uint8Array;
  /** The id under which the chain knows the final bytes. */
  transactionId(final: Uint8Array): string;
}

export interface Chain extends ChainCodec {
  balance(account: string, asset?: string): Promise<Balance>;
  /** What the fee of this transfer could come to at each level. */
  estimateFee(transfer: Transfer): Promise<Readonly<Record<FeeLevel, bigint>>>;
  /** Unsigned bytes, ready to decode and sign. Throws `insufficient_funds`, `fee_too_high`, `amount_too_small`, `node_unavailable`. */
  build(transfer: Transfer): Promise<Uint8Array>;
  /** Unsigned bytes that take the place of `final` while no block holds it. Throws `not_replaceable`. */
  replace(final: Uint8Array, how: Replacement): Promise<Uint8Array>;
  /** Idempotent: bytes that the node knows already are no error. Gives the transaction id. */
  broadcast(final: Uint8Array): Promise<string>;
  /** With the final bytes it can also tell `replaced` and `expired`. */
  track(transactionId: string, final?: Uint8Array): Promise<TransactionState>;
}

/** Whether the block that held the transaction is no longer part of the chain. */
export function isReorg(before: TransactionState, now: TransactionState): boolean {
  return before.status === 'confirming' && (now.status !== 'confirming' || now.blockHash !== before.blockHash);
}

export type ChainErrorCode =
  | 'address_invalid'
  | 'amount_too_small'
  | 'descriptor_invalid'
  | 'fee_too_high'
  | 'insufficient_funds'
  | 'key_invalid'
  | 'node_unavailable'
  | 'not_replaceable'
  | 'rejected'
  | 'signature_missing'
  | 'transaction_invalid'
  | 'transaction_too_large'
  | 'wrong_network';

/** The message says what happened and what to do next; it never holds a key or the path of a node's URL. */
export class ChainError extends Error {
  override readonly name: string = 'ChainError';
  readonly code: ChainErrorCode;

  constructor(code: ChainErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}

/** What a stranger sent, fit for a message: one line, no control characters, not long. */
export function printable(value: unknown): string {
  return String(value)
    .slice(0, 200)
    .replace(/[^\x20-\x7e]+/g, ' ');
}
