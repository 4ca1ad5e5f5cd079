/**
 * Solana's wire format: messages (what is signed) and transactions (signatures and a message), legacy and version 0.
 * One spelling only: `parseRaw` refuses every byte string that {@link encodeMessage} would not have written. Which of
 * the two a byte string is, is decided here and once, so that what is shown, signed and sent can't be told apart.
 * It knows no program; `intent.ts` reads what the instructions do.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { ChainError } from '../chain.ts';

export interface Message {
  readonly version: 'legacy' | 0;
  /** How many of the keys sign; the first of them pays the fee. */
  readonly required: number;
  readonly readonlySigned: number;
  readonly readonlyUnsigned: number;
  /** 32 bytes each, no two alike. */
  readonly keys: readonly Uint8Array[];
  readonly blockhash: Uint8Array;
  readonly instructions: readonly CompiledInstruction[];
}

/** Program and accounts as indexes into the keys. */
export interface CompiledInstruction {
  readonly program: number;
  readonly accounts: readonly number[];
  readonly data: Uint8Array;
}

export interface RawTransaction {
  readonly message: Message;
  readonly messageBytes: Uint8Array;
  /** Null for unsigned bytes; otherwise one per required key, each verified. */
  readonly signatures: readonly Uint8Array[] | null;
}

/** What fits into one packet: IPv6's smallest MTU of 1,280 bytes less headers. Nodes take no larger transaction. */
export const TRANSACTION_BYTES_MAX = 1232;
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
/** The high bit of a message's first byte says that a version follows in the others. */
const VERSION_0 = 0x80;

/**
 * Message bytes (unsigned) or a whole transaction (signed). A message is looked for first, and bytes that are one are
 * never taken for a transaction: somebody may craft bytes that are both, and then all of us see the message.
 * Throws `ChainError('transaction_invalid')`.
 */
export function parseRaw(raw: Uint8Array): RawTransaction {
  if (raw.length > TRANSACTION_BYTES_MAX)
    throw unreadable(`it has ${raw.length} bytes, and no node takes more than ${TRANSACTION_BYTES_MAX}`);
  let message: Message;
  try {
    message = readMessage(raw);
  } catch (cause) {
    if (!(cause instanceof Malformed)) throw cause;
    return parseSigned(raw, cause);
  }
  if (1 + SIGNATURE_BYTES * message.required + raw.length > TRANSACTION_BYTES_MAX)
    throw unreadable('with its signatures it is larger than nodes take');
  return { message, messageBytes: raw, signatures: null };
}

function parseSigned(raw: Uint8Array, noMessage: Malformed): RawTransaction {
  try {
    const reader = createReader(raw);
    const signatures = Array.from({ length: reader.count() }, () => reader.take(SIGNATURE_BYTES));
    const messageBytes = reader.rest();
    const message = readMessage(messageBytes);
    if (signatures.length !== message.required)
      throw new Malformed('the signatures are not as many as its header says');
    if (!signatures.every((signature, at) => isSignedBy(signature, messageBytes, message.keys[at]!)))
      throw new Malformed('a signature is not by the key that it stands for');
    return { message, messageBytes, signatures };
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    // What begins like a versioned message was meant as one.
    const reason = raw[0] !== undefined && raw[0] >= VERSION_0 ? noMessage.message : error.message;
    throw unreadable(`its bytes are neither message nor transaction (${reason})`, error);
  }
}

/** RFC 8032, without the leniency of ZIP-215: validators take canonical points only. */
export function isSignedBy(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  try {
    return ed25519.verify(signature, message, publicKey, { zip215: false });
  } catch {
    return false;
  }
}

export function encodeMessage(message: Message): Uint8Array {
  const { version, required, readonlySigned, readonlyUnsigned, keys, blockhash, instructions } = message;
  const parts = [
    ...(version === 0 ? [Uint8Array.of(VERSION_0)] : []),
    Uint8Array.of(required, readonlySigned, readonlyUnsigned),
    encodeCount(keys.length),
    ...keys,
    blockhash,
    encodeCount(instructions.length),
    ...instructions.flatMap(({ program, accounts, data }) => [
      Uint8Array.of(program),
      encodeCount(accounts.length),
      Uint8Array.from(accounts),
      encodeCount(data.length),
      data,
    ]),
    // No lookup tables.
    ...(version === 0 ? [Uint8Array.of(0)] : []),
  ];
  return concat(parts);
}

export function encodeTransaction(messageBytes: Uint8Array, signatures: readonly Uint8Array[]): Uint8Array {
  return concat([encodeCount(signatures.length), ...signatures, messageBytes]);
}

export function unreadable(reason: string, cause?: unknown): ChainError {
  return new ChainError('transaction_invalid', `The transaction can't be used: ${reason}. Build it again.`, { cause });
}

/** Why bytes are no message; becomes part of a `ChainError`. */
class Malformed extends Error {}

function readMessage(bytes: Uint8Array): Message {
  const reader = createReader(bytes);
  const first = reader.byte();
  const version = first >= VERSION_0 ? 0 : 'legacy';
  if (first > VERSION_0) throw new Malformed('its version is not known here');
  const required = version === 0 ? reader.byte() : first;
  const readonlySigned = reader.byte();
  const readonlyUnsigned = reader.byte();
  const keys = Array.from({ length: reader.count() }, () => reader.take(KEY_BYTES));
  // The payer writes, so at least one signer is not read-only.
  if (readonlySigned >= required || required + readonlyUnsigned > keys.length)
    throw new Malformed('its header does not fit its keys');
  if (keys.some((key, at) => keys.slice(0, at).some((other) => equal(key, other))))
    throw new Malformed('it names a key twice');
  const blockhash = reader.take(KEY_BYTES);
  const instructions = Array.from({ length: reader.count() }, () => readInstruction(reader, keys.length));
  // A table's content stands on the chain and may change: what such a transaction pays can't be shown from its bytes.
  if (version === 0 && reader.byte() !== 0)
    throw new Malformed('its receivers stand in a lookup table outside of it, so they cannot be shown');
  if (!reader.done()) throw new Malformed('bytes follow it');
  return { version, required, readonlySigned, readonlyUnsigned, keys, blockhash, instructions };
}

function readInstruction(reader: Reader, keys: number): CompiledInstruction {
  const program = reader.byte();
  const accounts = [...reader.take(reader.count())];
  const data = reader.take(reader.count());
  // Key 0 pays, and what pays is no program.
  if (program === 0 || program >= keys || accounts.some((account) => account >= keys))
    throw new Malformed('an instruction points beyond its keys');
  return { program, accounts, data };
}

type Reader = ReturnType<typeof createReader>;

function createReader(bytes: Uint8Array) {
  let at = 0;
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw new Malformed('it ends too soon');
    at += length;
    return bytes.slice(at - length, at);
  };
  const byte = (): number => {
    if (at >= bytes.length) throw new Malformed('it ends too soon');
    return bytes[at++]!;
  };
  return {
    take,
    byte,
    /** "compact-u16": 7 bits a byte, the low ones first. Only the shortest spelling, and no more than bytes are left. */
    count(): number {
      let value = 0;
      for (let shift = 0; shift <= 14; shift += 7) {
        const next = byte();
        value |= (next & 0x7f) << shift;
        if (next >= 0x80) continue;
        if ((next === 0 && shift > 0) || value > bytes.length - at) break;
        return value;
      }
      throw new Malformed('a length in it is wrong');
    },
    rest: () => take(bytes.length - at),
    done: () => at === bytes.length,
  };
}

function encodeCount(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7) {
    if (rest < 0x80) return Uint8Array.from([...bytes, rest]);
    bytes.push((rest & 0x7f) | 0x80);
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
