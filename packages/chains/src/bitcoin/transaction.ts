/**
 * Bitcoin transactions as bytes (BIP144), signed or not, and their ids. What comes in is bounded and must be the one
 * canonical form. `psbt.ts` holds transactions that are still being signed, `codec.ts` says what they do.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { ChainError } from '../chain.ts';
import { Reader, Writer } from './bytes.ts';

export interface TransactionInput {
  /** Of the output that is spent; hex as explorers print it, last byte first. */
  readonly txid: string;
  readonly vout: number;
  readonly sequence: number;
  readonly scriptSig: Uint8Array;
  /** Empty without witness. */
  readonly witness: readonly Uint8Array[];
}

export interface TransactionOutput {
  /** In sats. */
  readonly amount: bigint;
  readonly script: Uint8Array;
}

export interface BitcoinTransaction {
  readonly version: number;
  readonly lockTime: number;
  readonly inputs: readonly TransactionInput[];
  readonly outputs: readonly TransactionOutput[];
}

/** 21 million bitcoin in sats: no amount and no sum of amounts is above. */
export const MONEY_MAX = 2_100_000_000_000_000n;
/** A block holds at most 4,000,000 weight units, and a byte weighs at least one. */
export const TRANSACTION_BYTES_MAX = 4_000_000;
/** BIP125: an input below this lets the transaction be replaced. */
export const SEQUENCE_REPLACEABLE = 0xfffffffd;
/** The smallest input has 41 bytes, the smallest output 9. */
const INPUT_BYTES_MIN = 41;
const OUTPUT_BYTES_MIN = 9;
/** BIP342 allows no more on the stack of one input. In all inputs, each item weighs at least one unit of the most that nodes relay. */
const WITNESS_ITEMS_MAX = 1_000;
const WITNESS_ITEMS_IN_ALL_MAX = 400_000;

/** Throws `transaction_invalid`. `form: 'unsigned'` takes the form without witness only, as PSBTs hold it. */
export function parseTransaction(
  raw: Uint8Array,
  { form = 'any' }: { form?: 'any' | 'unsigned' } = {},
): BitcoinTransaction {
  try {
    if (raw.length > TRANSACTION_BYTES_MAX) throw new RangeError(`it has more than ${TRANSACTION_BYTES_MAX} bytes`);
    return readTransaction(new Reader(new Uint8Array(raw)), form); // what is read are views of the copy
  } catch (cause) {
    if (cause instanceof RangeError) throw unreadable(cause.message);
    throw cause;
  }
}

function readTransaction(reader: Reader, form: 'any' | 'unsigned'): BitcoinTransaction {
  const version = reader.u32();
  let count = reader.size();
  // BIP144: where the number of inputs would stand, a 0 marks the form with witness.
  const withWitness = count === 0 && form === 'any' && reader.left > 0;
  if (withWitness) {
    if (reader.u8() !== 1) throw new RangeError('it has no inputs');
    count = reader.size();
  }
  if (count * INPUT_BYTES_MIN > reader.left) throw new RangeError('it promises more than it holds');
  const inputs = Array.from({ length: count }, () => ({
    txid: bytesToHex(reader.bytes(32).slice().reverse()),
    vout: reader.u32(),
    scriptSig: reader.prefixed(),
    sequence: reader.u32(),
  }));
  const outputCount = reader.size();
  if (outputCount * OUTPUT_BYTES_MIN > reader.left) throw new RangeError('it promises more than it holds');
  let sum = 0n;
  const outputs = Array.from({ length: outputCount }, () => {
    const amount = reader.u64();
    sum += amount;
    if (amount > MONEY_MAX || sum > MONEY_MAX) throw new RangeError('it moves more bitcoin than there are');
    return { amount, script: reader.prefixed() };
  });
  let items = 0;
  const witnesses = inputs.map(() => {
    const witness = withWitness ? readWitness(reader) : [];
    items += witness.length;
    if (items > WITNESS_ITEMS_IN_ALL_MAX) throw new RangeError('its witnesses have too many items');
    return witness;
  });
  if (withWitness && witnesses.every((witness) => witness.length === 0))
    throw new RangeError('it has the form with witness and no witness');
  const lockTime = reader.u32();
  reader.end();
  if (inputs.length === 0) throw new RangeError('it has no inputs');
  const coins = new Set(inputs.map(({ txid, vout }) => `${txid}:${vout}`));
  if (coins.size !== inputs.length) throw new RangeError('it spends one coin twice');
  return { version, lockTime, inputs: inputs.map((input, i) => ({ ...input, witness: witnesses[i]! })), outputs };
}

export function readWitness(reader: Reader): Uint8Array[] {
  const count = reader.size(WITNESS_ITEMS_MAX);
  return Array.from({ length: count }, () => reader.prefixed());
}

/** `witness: false` gives the form that the id is of, and that PSBTs hold. */
export function formatTransaction(tx: BitcoinTransaction, { witness = true }: { witness?: boolean } = {}): Uint8Array {
  const withWitness = witness && tx.inputs.some((input) => input.witness.length > 0);
  const writer = new Writer().u32(tx.version);
  if (withWitness) writer.u8(0).u8(1);
  writer.size(tx.inputs.length);
  for (const input of tx.inputs) {
    writer.bytes(outpointBytes(input)).prefixed(input.scriptSig).u32(input.sequence);
  }
  writer.size(tx.outputs.length);
  for (const output of tx.outputs) writeOutput(writer, output);
  if (withWitness) for (const input of tx.inputs) writeWitness(writer, input.witness);
  return writer.u32(tx.lockTime).done();
}

export function writeOutput(writer: Writer, { amount, script }: TransactionOutput): void {
  writer.u64(amount).prefixed(script);
}

export function writeWitness(writer: Writer, witness: readonly Uint8Array[]): void {
  writer.size(witness.length);
  for (const item of witness) writer.prefixed(item);
}

/** 36 bytes: the id in the order in which it is hashed, and the index. */
export function outpointBytes({ txid, vout }: Pick<TransactionInput, 'txid' | 'vout'>): Uint8Array {
  return new Writer().bytes(hexToBytes(txid).reverse()).u32(vout).done();
}

/** Double SHA-256 of the form without witness, last byte first, in hex. */
export function transactionId(tx: BitcoinTransaction): string {
  return bytesToHex(sha256(sha256(formatTransaction(tx, { witness: false }))).reverse());
}

export function coinId({ txid, vout }: Pick<TransactionInput, 'txid' | 'vout'>): string {
  return `${txid}:${vout}`;
}

export function unreadable(reason: string): ChainError {
  return new ChainError('transaction_invalid', `The transaction can't be used: ${reason}. Build it again.`);
}
