/**
 * The wire format of Solana transactions, as far as the engine's JSON-RPC front needs it: reads what strangers send, and
 * writes the few transactions the devnet makes itself (mints, token accounts). LiteSVM aborts the whole process on bytes
 * that it can't read, so nothing reaches it that was not read here first. It judges no transaction: that is the engine's.
 */
import { createHash } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';
import { base58 } from '@scure/base';

export interface WireInstruction {
  readonly program: string;
  readonly accounts: readonly { readonly address: string; readonly signs: boolean; readonly writes: boolean }[];
  readonly data: Uint8Array;
}

export interface WireMessage {
  readonly version: 'legacy' | 0;
  readonly required: number;
  readonly readonlySigned: number;
  readonly readonlyUnsigned: number;
  readonly keys: readonly string[];
  readonly blockhash: string;
  readonly instructions: readonly {
    readonly program: number;
    readonly accounts: readonly number[];
    readonly data: Uint8Array;
  }[];
}

export interface WireTransaction {
  readonly signatures: readonly Uint8Array[];
  /** What the signatures are over. */
  readonly message: Uint8Array;
  readonly content: WireMessage;
}

/** The bytes are no transaction. */
export class WireError extends Error {}

/** What fits into one packet: IPv6's 1,280 bytes less headers. */
export const TRANSACTION_BYTES_MAX = 1232;

/** Throws {@link WireError}. */
export function readTransaction(bytes: Uint8Array): WireTransaction {
  if (bytes.length > TRANSACTION_BYTES_MAX)
    throw new WireError(`too large: ${bytes.length} bytes (max: ${TRANSACTION_BYTES_MAX} bytes)`);
  const reader = createReader(bytes);
  const signatures = Array.from({ length: reader.count() }, () => reader.take(64));
  const message = reader.rest();
  const content = readMessage(message);
  if (signatures.length !== content.required)
    throw new WireError(`${signatures.length} signatures where the header says ${content.required}`);
  return { signatures, message, content };
}

/** Throws {@link WireError}. */
export function readMessage(bytes: Uint8Array): WireMessage {
  const reader = createReader(bytes);
  const first = reader.byte();
  const versioned = first >= 0x80;
  if (versioned && first !== 0x80) throw new WireError(`version ${first & 0x7f} of messages is not known`);
  const required = versioned ? reader.byte() : first;
  const [readonlySigned, readonlyUnsigned] = [reader.byte(), reader.byte()];
  const keys = Array.from({ length: reader.count() }, () => base58.encode(reader.take(32)));
  if (new Set(keys).size !== keys.length) throw new WireError('a key stands there twice');
  if (required < 1 || readonlySigned >= required || required + readonlyUnsigned > keys.length)
    throw new WireError('the header does not fit the keys');
  const blockhash = base58.encode(reader.take(32));
  const instructions = Array.from({ length: reader.count() }, () => ({
    program: reader.byte(),
    accounts: [...reader.take(reader.count())],
    data: reader.take(reader.count()),
  }));
  if (versioned) {
    for (let tables = reader.count(); tables > 0; tables--) {
      reader.take(32);
      reader.take(reader.count());
      reader.take(reader.count());
    }
  }
  if (reader.rest().length > 0) throw new WireError('bytes follow the message');
  return {
    version: versioned ? 0 : 'legacy',
    required,
    readonlySigned,
    readonlyUnsigned,
    keys,
    blockhash,
    instructions,
  };
}

/** A legacy message; the payer signs first. */
export function writeMessage(payer: string, blockhash: string, instructions: readonly WireInstruction[]): Uint8Array {
  const roles = new Map([[payer, { signs: true, writes: true }]]);
  const add = (address: string, signs: boolean, writes: boolean) => {
    const before = roles.get(address);
    roles.set(address, { signs: signs || before?.signs === true, writes: writes || before?.writes === true });
  };
  for (const { accounts } of instructions) for (const one of accounts) add(one.address, one.signs, one.writes);
  for (const { program } of instructions) add(program, false, false);
  const with_ = (signs: boolean, writes: boolean) =>
    [...roles].filter(([, role]) => role.signs === signs && role.writes === writes).map(([address]) => address);
  const [signed, readonlySigned, unsigned, readonlyUnsigned] = [
    with_(true, true),
    with_(true, false),
    with_(false, true),
    with_(false, false),
  ];
  const keys = [...signed, ...readonlySigned, ...unsigned, ...readonlyUnsigned];
  return new Uint8Array([
    signed.length + readonlySigned.length,
    readonlySigned.length,
    readonlyUnsigned.length,
    keys.length,
    ...keys.flatMap((key) => [...base58.decode(key)]),
    ...base58.decode(blockhash),
    instructions.length,
    ...instructions.flatMap(({ program, accounts, data }) => [
      keys.indexOf(program),
      accounts.length,
      ...accounts.map(({ address }) => keys.indexOf(address)),
      data.length,
      ...data,
    ]),
  ]);
}

export function writeTransaction(message: Uint8Array, signatures: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array([signatures.length, ...signatures.flatMap((signature) => [...signature]), ...message]);
}

/** The first address below the program, from bump 255 down, that is no point of the curve: no key can sign for it. */
export function programAddress(program: string, seeds: readonly Uint8Array[]): string {
  for (let bump = 255; bump >= 0; bump--) {
    const hash = createHash('sha256');
    for (const seed of seeds) hash.update(seed);
    const address = hash
      .update(Uint8Array.of(bump))
      .update(base58.decode(program))
      .update('ProgramDerivedAddress')
      .digest();
    if (!isOnCurve(address)) return base58.encode(address);
  }
  throw new Error(`no address below ${program}`);
}

/** As the runtime sees it: it takes `y` beyond the field, and `-0`, as ZIP-215 does. */
function isOnCurve(bytes: Uint8Array): boolean {
  try {
    ed25519.Point.fromBytes(new Uint8Array(bytes), true);
    return true;
  } catch {
    return false;
  }
}

function createReader(bytes: Uint8Array) {
  let at = 0;
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw new WireError('it ends too soon');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const byte = () => take(1)[0]!;
  return {
    take,
    byte,
    /** "compact-u16": 7 bits a byte, the low ones first; the shortest spelling only. Each entry takes a byte at least. */
    count(): number {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const next = byte();
        value |= (next & 0x7f) << shift;
        if (next < 0x80) {
          if ((next === 0 && shift > 0) || value > bytes.length) throw new WireError('a length is wrong');
          return value;
        }
        if (shift === 14) throw new WireError('a length is wrong');
      }
    },
    rest: () => take(bytes.length - at),
  };
}
