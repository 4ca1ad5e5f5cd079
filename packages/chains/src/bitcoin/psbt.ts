/**
 * Partially signed transactions (BIP174, BIP371; version 2 of BIP370 is read and held as version 0). This file reads and
 * writes them and believes nothing in them: `codec.ts` checks every claim against scripts and hashes. Written here rather
 * than taken from the transaction library because that one checks each key as a curve point each time it passes, which
 * makes a sweep of a thousand coins take seconds; the library reads in the tests what is written here, and the other way.
 */

import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { base64 } from '@scure/base';
import { ChainError } from '../chain.ts';
import { Reader, Writer } from './bytes.ts';
import {
  type BitcoinTransaction,
  formatTransaction,
  parseTransaction,
  readWitness,
  type TransactionOutput,
  writeOutput,
  writeWitness,
} from './transaction.ts';

/** A key with its place below a root: fingerprint in 8 hex digits, steps as BIP32 numbers them. */
export interface KeyPlace {
  /** 33 bytes, or 32 in Taproot fields. */
  readonly publicKey: Uint8Array;
  readonly fingerprint: string;
  readonly path: readonly number[];
  /** BIP371: the hashes (32 bytes each) of the script leaves that a Taproot key is in; Kedge signs by keys in none. */
  readonly leaves?: readonly Uint8Array[];
}

export interface PsbtInput {
  /** The whole transaction that the coin is of, as raw bytes: proves its amount. */
  readonly previous: Uint8Array | null;
  readonly witnessUtxo: TransactionOutput | null;
  readonly redeemScript: Uint8Array | null;
  readonly witnessScript: Uint8Array | null;
  readonly sighashType: number | null;
  /** DER with the sighash byte. */
  readonly partialSignatures: readonly { readonly publicKey: Uint8Array; readonly signature: Uint8Array }[];
  readonly derivations: readonly KeyPlace[];
  readonly tapKeySignature: Uint8Array | null;
  readonly tapInternalKey: Uint8Array | null;
  readonly tapMerkleRoot: Uint8Array | null;
  readonly tapDerivations: readonly KeyPlace[];
  readonly finalScriptSig: Uint8Array | null;
  readonly finalWitness: readonly Uint8Array[] | null;
  /** Fields that are carried along and not looked at. */
  readonly others: readonly PsbtField[];
}

export interface PsbtOutput {
  readonly redeemScript: Uint8Array | null;
  readonly witnessScript: Uint8Array | null;
  readonly derivations: readonly KeyPlace[];
  readonly tapInternalKey: Uint8Array | null;
  readonly tapDerivations: readonly KeyPlace[];
  readonly others: readonly PsbtField[];
}

export interface PsbtField {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface Psbt {
  /** Without scripts and witness. */
  readonly tx: BitcoinTransaction;
  /** Extended public keys (78 bytes) of a multisig's holders, with their places. */
  readonly xpubs: readonly KeyPlace[];
  readonly inputs: readonly PsbtInput[];
  readonly outputs: readonly PsbtOutput[];
  readonly others: readonly PsbtField[];
}

/** A thousand inputs, each with a previous transaction of 8 kB. */
export const PSBT_BYTES_MAX = 8 * 1024 * 1024;
const MAGIC = hexToBytes('70736274ff');
/** More inputs or outputs than this weigh more than a transaction that nodes relay (400,000 weight units). */
export const INPUTS_MAX = 2_500;
export const OUTPUTS_MAX = 12_000;
/** In all maps together: 2,500 inputs of 15 keys, all of which have signed, have 87,500. */
export const FIELDS_MAX = 100_000;
/** Steps in one key's path; BIP32 allows 255. */
const PATH_STEPS_MAX = 255;

export const emptyInput: PsbtInput = {
  previous: null,
  witnessUtxo: null,
  redeemScript: null,
  witnessScript: null,
  sighashType: null,
  partialSignatures: [],
  derivations: [],
  tapKeySignature: null,
  tapInternalKey: null,
  tapMerkleRoot: null,
  tapDerivations: [],
  finalScriptSig: null,
  finalWitness: null,
  others: [],
};
export const emptyOutput: PsbtOutput = {
  redeemScript: null,
  witnessScript: null,
  derivations: [],
  tapInternalKey: null,
  tapDerivations: [],
  others: [],
};

export function isPsbt(bytes: Uint8Array): boolean {
  return MAGIC.every((byte, i) => bytes[i] === byte);
}

/** Base64 or hex, as people paste it. Throws `transaction_invalid`. */
export function psbtFromText(text: string): Uint8Array {
  const trimmed = text.trim();
  if (trimmed.length > PSBT_BYTES_MAX * 2) throw notPsbt(`it has more than ${PSBT_BYTES_MAX} bytes`);
  try {
    return /^[0-9a-fA-F]+$/.test(trimmed)
      ? hexToBytes(trimmed.toLowerCase())
      : base64.decode(trimmed.replaceAll(/\s/g, ''));
  } catch {
    throw notPsbt('it is neither base64 nor hex');
  }
}

export function psbtToText(bytes: Uint8Array): string {
  return base64.encode(bytes);
}

/** Throws `transaction_invalid`. */
export function parsePsbt(bytes: Uint8Array): Psbt {
  try {
    if (!isPsbt(bytes)) throw new RangeError('it does not start as one');
    if (bytes.length > PSBT_BYTES_MAX) throw new RangeError(`it has more than ${PSBT_BYTES_MAX} bytes`);
    const reader = new Reader(new Uint8Array(bytes)); // what is read are views of the copy
    reader.bytes(MAGIC.length);
    const psbt = readPsbt(reader);
    reader.end();
    return psbt;
  } catch (cause) {
    if (cause instanceof RangeError) throw notPsbt(cause.message);
    throw cause;
  }
}

// Maps of fields.

/** Fields that the maps of one PSBT may still have together. */
interface FieldBudget {
  left: number;
}

/** One map: the values of the fields by type and what follows the type. BIP174: no key twice. */
class Fields {
  readonly #byType = new Map<number, Map<string, Field>>();

  constructor(reader: Reader, budget: FieldBudget) {
    for (;;) {
      const length = reader.size();
      if (length === 0) return;
      if (--budget.left < 0) throw new RangeError(`it has more than ${FIELDS_MAX} fields`);
      const key = reader.bytes(length);
      const inKey = new Reader(key);
      const type = inKey.size(Number.MAX_SAFE_INTEGER);
      const rest = inKey.bytes(inKey.left);
      const alike = this.#byType.get(type) ?? new Map<string, Field>();
      const name = bytesToHex(rest);
      if (alike.has(name)) throw new RangeError('a field stands in it twice');
      this.#byType.set(type, alike.set(name, { rest, key, value: reader.prefixed() }));
    }
  }

  /** The value of a field that has nothing after its type, taken out. */
  take(type: number): Uint8Array | null {
    const [field, ...more] = this.#takeType(type);
    if (field === undefined) return null;
    if (field.rest.length > 0 || more.length > 0) throw new RangeError('the key of a field is too long');
    return field.value;
  }

  need(type: number, what: string): Uint8Array {
    const value = this.take(type);
    if (value === null) throw new RangeError(`${what} is missing`);
    return value;
  }

  takeU32(type: number): number | null {
    const value = this.take(type);
    if (value === null) return null;
    if (value.length !== 4) throw new RangeError('a number has the wrong length');
    return new Reader(value).u32();
  }

  /** All fields of a type whose keys go on for `length` bytes (one of them), taken out in order. */
  takeAll(type: number, lengths: readonly number[]): readonly Field[] {
    const taken = this.#takeType(type);
    if (taken.some(({ rest }) => !lengths.includes(rest.length)))
      throw new RangeError('a public key has the wrong length');
    return taken;
  }

  /** Fields of the other version. */
  refuse(types: readonly number[]): this {
    if (types.some((type) => this.#byType.has(type))) throw new RangeError('it mixes fields of version 0 and 2');
    return this;
  }

  /** Fields that stay where they are, and must have the lengths that their standard gives them. */
  check(type: number, fits: (rest: Uint8Array, value: Uint8Array) => boolean): this {
    for (const { rest, value } of this.#byType.get(type)?.values() ?? [])
      if (!fits(rest, value)) throw new RangeError('a Taproot field has the wrong length');
    return this;
  }

  /** What nobody took. */
  others(): PsbtField[] {
    return [...this.#byType.values()].flatMap((alike) => [...alike.values()].map(({ key, value }) => ({ key, value })));
  }

  #takeType(type: number): readonly Field[] {
    const alike = this.#byType.get(type);
    if (alike === undefined) return [];
    this.#byType.delete(type);
    return [...alike.values()];
  }
}

interface Field extends PsbtField {
  /** What follows the type in the key. */
  readonly rest: Uint8Array;
}

/** Field types of BIP174, BIP370 and BIP371 that Kedge reads. */
const Global = {
  unsignedTx: 0x00,
  xpub: 0x01,
  txVersion: 0x02,
  lockTime: 0x03,
  inputs: 0x04,
  outputs: 0x05,
  modifiable: 0x06,
  version: 0xfb,
} as const;
const In = {
  previous: 0x00,
  witnessUtxo: 0x01,
  partialSignature: 0x02,
  sighashType: 0x03,
  redeemScript: 0x04,
  witnessScript: 0x05,
  derivation: 0x06,
  finalScriptSig: 0x07,
  finalWitness: 0x08,
  txid: 0x0e,
  vout: 0x0f,
  sequence: 0x10,
  timeLock: 0x11,
  heightLock: 0x12,
  tapKeySignature: 0x13,
  tapScriptSignature: 0x14,
  tapLeafScript: 0x15,
  tapDerivation: 0x16,
  tapInternalKey: 0x17,
  tapMerkleRoot: 0x18,
} as const;
const Out = {
  redeemScript: 0x00,
  witnessScript: 0x01,
  derivation: 0x02,
  amount: 0x03,
  script: 0x04,
  tapInternalKey: 0x05,
  tapDerivation: 0x07,
} as const;

// Reading.

function readPsbt(reader: Reader): Psbt {
  const budget: FieldBudget = { left: FIELDS_MAX };
  const global = new Fields(reader, budget);
  const version = global.takeU32(Global.version) ?? 0;
  if (version !== 0 && version !== 2) throw new RangeError(`it has version ${version}, and 0 and 2 are known`);
  const xpubs = global.takeAll(Global.xpub, [78]).map(({ rest, value }) => ({ publicKey: rest, ...readPlace(value) }));
  const { tx, inputs, outputs } =
    version === 0 ? readVersion0(reader, global, budget) : readVersion2(reader, global, budget);
  return { tx, xpubs, inputs, outputs, others: global.others() };
}

function assertCounts(inputs: number, outputs: number): void {
  if (inputs > INPUTS_MAX || outputs > OUTPUTS_MAX)
    throw new RangeError(
      `it has ${inputs} inputs and ${outputs} outputs, and ${INPUTS_MAX} and ${OUTPUTS_MAX} are the most`,
    );
}

function readVersion0(reader: Reader, global: Fields, budget: FieldBudget): Pick<Psbt, 'tx' | 'inputs' | 'outputs'> {
  const tx = parseTransaction(global.need(Global.unsignedTx, 'the unsigned transaction'), { form: 'unsigned' });
  assertCounts(tx.inputs.length, tx.outputs.length);
  if (tx.inputs.some(({ scriptSig }) => scriptSig.length > 0))
    throw new RangeError('its unsigned transaction is signed');
  global.refuse([Global.txVersion, Global.lockTime, Global.inputs, Global.outputs, Global.modifiable]);
  const inputs = tx.inputs.map(() =>
    readInput(new Fields(reader, budget).refuse([In.txid, In.vout, In.sequence, In.timeLock, In.heightLock])),
  );
  const outputs = tx.outputs.map(() => readOutput(new Fields(reader, budget).refuse([Out.amount, Out.script])));
  return { tx, inputs, outputs };
}

/** BIP370: the transaction is spread over the maps. */
function readVersion2(reader: Reader, global: Fields, budget: FieldBudget): Pick<Psbt, 'tx' | 'inputs' | 'outputs'> {
  const txVersion = global.takeU32(Global.txVersion);
  if (txVersion === null || txVersion < 2) throw new RangeError('its transaction version is missing or below 2');
  const fallback = global.takeU32(Global.lockTime) ?? 0;
  const count = (type: number, bytesEach: number): number => {
    const value = new Reader(global.need(type, 'the number of inputs or outputs'));
    const number = value.size(Number.MAX_SAFE_INTEGER);
    value.end();
    // Each map takes at least its mandatory fields.
    if (number * bytesEach > reader.left) throw new RangeError('it promises more than it holds');
    return number;
  };
  const [inputCount, outputCount] = [count(Global.inputs, 42), count(Global.outputs, 14)];
  assertCounts(inputCount, outputCount);
  if (global.take(Global.unsignedTx) !== null) throw new RangeError('it mixes version 0 and 2');
  global.take(Global.modifiable);
  const locks: { time: number | null; height: number | null }[] = [];
  const inputs = Array.from({ length: inputCount }, () => {
    const fields = new Fields(reader, budget);
    const txid = fields.need(In.txid, 'an input’s transaction id');
    const vout = fields.takeU32(In.vout);
    if (txid.length !== 32 || vout === null) throw new RangeError('an input names no coin');
    const sequence = fields.takeU32(In.sequence) ?? 0xffffffff;
    const [time, height] = [fields.takeU32(In.timeLock), fields.takeU32(In.heightLock)];
    if ((time ?? LOCK_TIME_THRESHOLD) < LOCK_TIME_THRESHOLD || height === 0 || (height ?? 0) >= LOCK_TIME_THRESHOLD)
      throw new RangeError('a lock time is none');
    locks.push({ time, height });
    const spends = {
      txid: bytesToHex(txid.slice().reverse()),
      vout,
      sequence,
      scriptSig: new Uint8Array(),
      witness: [],
    };
    return { spends, input: readInput(fields) };
  });
  const outputs = Array.from({ length: outputCount }, () => {
    const fields = new Fields(reader, budget);
    const amount = fields.need(Out.amount, 'an output’s amount');
    if (amount.length !== 8) throw new RangeError('an amount has the wrong length');
    const script = fields.need(Out.script, 'an output’s script');
    return { pays: { amount: new Reader(amount).u64(), script }, output: readOutput(fields) };
  });
  const tx = parseTransaction(
    formatTransaction({
      version: txVersion,
      lockTime: lockTimeOf(locks, fallback),
      inputs: inputs.map(({ spends }) => spends),
      outputs: outputs.map(({ pays }) => pays),
    }),
    { form: 'unsigned' },
  );
  return { tx, inputs: inputs.map(({ input }) => input), outputs: outputs.map(({ output }) => output) };
}

/** Lock times below are block heights, from here on seconds since 1970. */
const LOCK_TIME_THRESHOLD = 500_000_000;

/** BIP370 "Determining Lock Time": heights win where every input that asks for anything takes one. */
function lockTimeOf(locks: readonly { time: number | null; height: number | null }[], fallback: number): number {
  const asking = locks.filter(({ time, height }) => time !== null || height !== null);
  if (asking.length === 0) return fallback;
  if (asking.every(({ height }) => height !== null)) return Math.max(...asking.map(({ height }) => height!));
  if (asking.every(({ time }) => time !== null)) return Math.max(...asking.map(({ time }) => time!));
  throw new RangeError('its inputs ask for lock times that exclude each other');
}

function readInput(fields: Fields): PsbtInput {
  const utxo = fields.take(In.witnessUtxo);
  const witness = fields.take(In.finalWitness);
  return {
    previous: fields.take(In.previous),
    witnessUtxo: utxo === null ? null : readOutputOf(utxo),
    partialSignatures: fields
      .takeAll(In.partialSignature, [33])
      .map(({ rest, value }) => ({ publicKey: rest, signature: value })),
    sighashType: fields.takeU32(In.sighashType),
    redeemScript: fields.take(In.redeemScript),
    witnessScript: fields.take(In.witnessScript),
    derivations: readPlaces(fields, In.derivation),
    finalScriptSig: fields.take(In.finalScriptSig),
    finalWitness: witness === null ? null : readWhole(witness, readWitness),
    tapKeySignature: ofLength(fields.take(In.tapKeySignature), [64, 65]),
    tapInternalKey: ofLength(fields.take(In.tapInternalKey), [32]),
    tapMerkleRoot: ofLength(fields.take(In.tapMerkleRoot), [32]),
    tapDerivations: readTapPlaces(fields, In.tapDerivation),
    others: fields
      .check(In.tapScriptSignature, (rest, value) => rest.length === 64 && [64, 65].includes(value.length))
      // BIP341: a control block is 33 bytes and at most 128 hashes.
      .check(In.tapLeafScript, (rest) => rest.length >= 33 && rest.length <= 33 + 128 * 32 && rest.length % 32 === 1)
      .others(),
  };
}

function readOutput(fields: Fields): PsbtOutput {
  return {
    redeemScript: fields.take(Out.redeemScript),
    witnessScript: fields.take(Out.witnessScript),
    derivations: readPlaces(fields, Out.derivation),
    tapInternalKey: ofLength(fields.take(Out.tapInternalKey), [32]),
    tapDerivations: readTapPlaces(fields, Out.tapDerivation),
    others: fields.others(),
  };
}

function readPlaces(fields: Fields, type: number): KeyPlace[] {
  return fields.takeAll(type, [33]).map(({ rest, value }) => ({ publicKey: rest, ...readPlace(value) }));
}

/** BIP371: the hashes of the leaves that a key is in, then its place. A key of the key path is in none. */
function readTapPlaces(fields: Fields, type: number): KeyPlace[] {
  return fields.takeAll(type, [32]).map(({ rest, value }) => {
    const reader = new Reader(value);
    const count = reader.size(Math.floor(reader.left / 32));
    const leaves = Array.from({ length: count }, () => reader.bytes(32));
    return { publicKey: rest, ...readPlace(reader.bytes(reader.left)), ...(count > 0 ? { leaves } : {}) };
  });
}

function readPlace(value: Uint8Array): Omit<KeyPlace, 'publicKey'> {
  if (value.length < 4 || value.length % 4 !== 0 || value.length > 4 * (PATH_STEPS_MAX + 1))
    throw new RangeError('a derivation path has the wrong length');
  const reader = new Reader(value.subarray(4));
  return {
    fingerprint: bytesToHex(value.subarray(0, 4)),
    path: Array.from({ length: value.length / 4 - 1 }, () => reader.u32()),
  };
}

function readOutputOf(value: Uint8Array): TransactionOutput {
  return readWhole(value, (reader) => ({ amount: reader.u64(), script: reader.prefixed() }));
}

function readWhole<T>(bytes: Uint8Array, read: (reader: Reader) => T): T {
  const reader = new Reader(bytes);
  const value = read(reader);
  reader.end();
  return value;
}

function ofLength(value: Uint8Array | null, lengths: readonly number[]): Uint8Array | null {
  if (value !== null && !lengths.includes(value.length))
    throw new RangeError('a key or signature has the wrong length');
  return value;
}

// Writing.

/** Version 0, which every hardware wallet reads. */
export function formatPsbt(psbt: Psbt): Uint8Array {
  const writer = new Writer().bytes(MAGIC);
  writeField(writer, Global.unsignedTx, formatTransaction(psbt.tx, { witness: false }));
  for (const xpub of psbt.xpubs) writeField(writer, Global.xpub, formatPlace(xpub), xpub.publicKey);
  writeOthers(writer, psbt.others);
  for (const input of psbt.inputs) writeInput(writer, input);
  for (const output of psbt.outputs) writeOutputMap(writer, output);
  return writer.done();
}

function writeInput(writer: Writer, input: PsbtInput): void {
  if (input.previous) writeField(writer, In.previous, input.previous);
  if (input.witnessUtxo) {
    const value = new Writer();
    writeOutput(value, input.witnessUtxo);
    writeField(writer, In.witnessUtxo, value.done());
  }
  for (const { publicKey, signature } of input.partialSignatures)
    writeField(writer, In.partialSignature, signature, publicKey);
  if (input.sighashType !== null) writeField(writer, In.sighashType, new Writer().u32(input.sighashType).done());
  if (input.redeemScript) writeField(writer, In.redeemScript, input.redeemScript);
  if (input.witnessScript) writeField(writer, In.witnessScript, input.witnessScript);
  for (const place of input.derivations) writeField(writer, In.derivation, formatPlace(place), place.publicKey);
  if (input.finalScriptSig) writeField(writer, In.finalScriptSig, input.finalScriptSig);
  if (input.finalWitness) {
    const value = new Writer();
    writeWitness(value, input.finalWitness);
    writeField(writer, In.finalWitness, value.done());
  }
  if (input.tapKeySignature) writeField(writer, In.tapKeySignature, input.tapKeySignature);
  for (const place of input.tapDerivations)
    writeField(writer, In.tapDerivation, formatTapPlace(place), place.publicKey);
  if (input.tapInternalKey) writeField(writer, In.tapInternalKey, input.tapInternalKey);
  if (input.tapMerkleRoot) writeField(writer, In.tapMerkleRoot, input.tapMerkleRoot);
  writeOthers(writer, input.others);
}

function writeOutputMap(writer: Writer, output: PsbtOutput): void {
  if (output.redeemScript) writeField(writer, Out.redeemScript, output.redeemScript);
  if (output.witnessScript) writeField(writer, Out.witnessScript, output.witnessScript);
  for (const place of output.derivations) writeField(writer, Out.derivation, formatPlace(place), place.publicKey);
  if (output.tapInternalKey) writeField(writer, Out.tapInternalKey, output.tapInternalKey);
  for (const place of output.tapDerivations)
    writeField(writer, Out.tapDerivation, formatTapPlace(place), place.publicKey);
  writeOthers(writer, output.others);
}

function writeField(writer: Writer, type: number, value: Uint8Array, rest: Uint8Array = new Uint8Array()): void {
  writer
    .size(rest.length + 1)
    .u8(type)
    .bytes(rest)
    .prefixed(value);
}

/** What was carried along, and the end of the map. */
function writeOthers(writer: Writer, others: readonly PsbtField[]): void {
  for (const { key, value } of others) writer.prefixed(key).prefixed(value);
  writer.u8(0);
}

function formatPlace({ fingerprint, path }: KeyPlace): Uint8Array {
  const writer = new Writer().bytes(hexToBytes(fingerprint));
  for (const step of path) writer.u32(step);
  return writer.done();
}

function formatTapPlace(place: KeyPlace): Uint8Array {
  const writer = new Writer().size(place.leaves?.length ?? 0);
  for (const leaf of place.leaves ?? []) writer.bytes(leaf);
  return writer.bytes(formatPlace(place)).done();
}

function notPsbt(reason: string): ChainError {
  return new ChainError('transaction_invalid', `The PSBT can't be used: ${reason}. Ask for it again, whole.`);
}
