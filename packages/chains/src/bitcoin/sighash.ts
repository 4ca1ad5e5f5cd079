/**
 * What a signature of a segwit input signs: BIP143 for P2WPKH and P2WSH, BIP341 for P2TR by its key. Only SIGHASH_ALL (and
 * BIP341's default, which is the same for a signer): everything that a person was shown is signed. What all inputs share
 * is hashed once, so that a sweep of a thousand coins takes a thousand short hashes.
 */
import { schnorr } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes } from '@noble/hashes/utils.js';
import { Writer } from './bytes.ts';
import { p2wpkh } from './scripts.ts';
import { type BitcoinTransaction, outpointBytes, type TransactionOutput, writeOutput } from './transaction.ts';

export const SIGHASH_ALL = 1;

export interface Sighashes {
  /** BIP143. `scriptCode`: of P2WPKH {@link p2wpkhScriptCode}, of P2WSH the witness script. */
  witnessV0(input: number, scriptCode: Uint8Array, amount: bigint): Uint8Array;
  /** BIP341 without script path. `type`: the default (0), or SIGHASH_ALL spelled out, which other wallets do in messages. */
  taprootKey(input: number, type?: 0 | typeof SIGHASH_ALL): Uint8Array;
}

/** `spent`: the outputs that the inputs spend, in their order. */
export function createSighashes(tx: BitcoinTransaction, spent: readonly TransactionOutput[]): Sighashes {
  const outpoints = tx.inputs.map(outpointBytes);
  const once = <T>(make: () => T): (() => T) => {
    let made: T | undefined;
    return () => {
      made ??= make();
      return made;
    };
  };
  const single = {
    outpoints: once(() => sha256(concatBytes(...outpoints))),
    sequences: once(() => sha256(joined(tx.inputs, (writer, { sequence }) => writer.u32(sequence)))),
    outputs: once(() => sha256(joined(tx.outputs, writeOutput))),
    amounts: once(() => sha256(joined(spent, (writer, { amount }) => writer.u64(amount)))),
    scripts: once(() => sha256(joined(spent, (writer, { script }) => writer.prefixed(script)))),
  };
  const double = {
    outpoints: once(() => sha256(single.outpoints())),
    sequences: once(() => sha256(single.sequences())),
    outputs: once(() => sha256(single.outputs())),
  };

  return {
    witnessV0(input, scriptCode, amount) {
      const message = new Writer()
        .u32(tx.version)
        .bytes(double.outpoints())
        .bytes(double.sequences())
        .bytes(outpoints[input]!)
        .prefixed(scriptCode)
        .u64(amount)
        .u32(tx.inputs[input]!.sequence)
        .bytes(double.outputs())
        .u32(tx.lockTime)
        .u32(SIGHASH_ALL);
      return sha256(sha256(message.done()));
    },
    taprootKey(input, type = 0) {
      const message = new Writer()
        .u8(0) // epoch
        .u8(type)
        .u32(tx.version)
        .u32(tx.lockTime)
        .bytes(single.outpoints())
        .bytes(single.amounts())
        .bytes(single.scripts())
        .bytes(single.sequences())
        .bytes(single.outputs())
        .u8(0) // by key, without annex
        .u32(input)
        .done();
      return schnorr.utils.taggedHash('TapSighash', message);
    },
  };
}

/** BIP143 "scriptCode" of P2WPKH: the P2PKH script of the same key hash. */
export function p2wpkhScriptCode(publicKey: Uint8Array): Uint8Array {
  const keyHash = p2wpkh(publicKey).subarray(2);
  return concatBytes(new Uint8Array([0x76, 0xa9, 20]), keyHash, new Uint8Array([0x88, 0xac]));
}

function joined<T>(items: readonly T[], write: (writer: Writer, item: T) => unknown): Uint8Array {
  const writer = new Writer();
  for (const item of items) write(writer, item);
  return writer.done();
}
