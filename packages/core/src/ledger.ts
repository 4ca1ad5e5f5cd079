/**
 * The ledger: an append-only hash chain of what happened. An event's body is the JSON text that is stored and hashed,
 * byte for byte. The enclave signs heads; whoever has one signed head can check every event up to it offline, with
 * {@link verifyLedger} and nothing of ours running. The ledger remembers; it decides nothing.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, concatBytes, equalBytes, utf8ToBytes } from './bytes.ts';

/** What happened: `noun.past_verb`, with ids and facts that a stranger may read. */
export interface LedgerEvent {
  readonly id: string;
  readonly type: string;
  /** RFC 3339, by the gateway's clock. */
  readonly at: string;
  readonly project: string | null;
  readonly user: string | null;
  readonly data: Readonly<Record<string, unknown>>;
  /** Signed by the enclave where it decided: base64url of the receipt's bytes and of the signature. */
  readonly receipt?: { readonly document: string; readonly signature: string };
}

export interface LedgerEntry {
  readonly seq: number;
  readonly body: string;
  readonly hash: Uint8Array;
}

export interface LedgerHead {
  readonly seq: number;
  readonly hash: Uint8Array;
}

const genesis = sha256(utf8ToBytes('kedge/ledger/v1'));

/** hash(n) = SHA-256("kedge/ledger/v1\0" ‖ hash(n−1) ‖ n as 8 bytes big-endian ‖ SHA-256(body)). */
export function linkEvent(previous: Uint8Array | null, seq: number, body: string): Uint8Array {
  return linkBodyHash(previous, seq, sha256(utf8ToBytes(body)));
}

/** {@link linkEvent} for one who has only the SHA-256 of the body, as the enclave does when it signs a head. */
export function linkBodyHash(previous: Uint8Array | null, seq: number, bodyHash: Uint8Array): Uint8Array {
  return sha256(concatBytes(utf8ToBytes('kedge/ledger/v1\0'), previous ?? genesis, uint64(seq), bodyHash));
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

/** The bytes that the enclave signs for a head. */
export function headMessage(head: LedgerHead): Uint8Array {
  return concatBytes(utf8ToBytes('kedge/ledger-head/v1\0'), uint64(head.seq), head.hash);
}

export type LedgerVerdict =
  | { readonly ok: true; readonly events: number }
  | { readonly ok: false; readonly seq: number; readonly reason: string };

/**
 * Checks that `entries` are all events from 1 to the head, and that what may stand after it continues the chain: those
 * events are not vouched for until a later head is signed. The head's signature is the caller's to check.
 */
export function verifyLedger(entries: Iterable<LedgerEntry>, head: LedgerHead): LedgerVerdict {
  let previous: Uint8Array | null = null;
  let seq = 0;
  for (const entry of entries) {
    seq += 1;
    if (entry.seq !== seq)
      return { ok: false, seq, reason: `event ${seq} is missing: ${entry.seq} stands in its place` };
    const hash: Uint8Array = linkEvent(previous, seq, entry.body);
    if (!equalBytes(hash, entry.hash))
      return {
        ok: false,
        seq,
        reason: `event ${seq} is not what was written: its hash is ${bytesToHex(hash).slice(0, 16)}…`,
      };
    if (seq === head.seq && !equalBytes(hash, head.hash))
      return { ok: false, seq, reason: `event ${seq} is not the one that the head names` };
    previous = hash;
  }
  if (seq < head.seq)
    return { ok: false, seq: seq + 1, reason: `the ledger ends at ${seq}, the head says ${head.seq}` };
  return { ok: true, events: head.seq };
}
