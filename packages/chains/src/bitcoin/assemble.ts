/**
 * Puts a PSBT together from coins and payments, with every field that a hardware wallet asks for: the previous
 * transaction and the coin of each input, witness scripts, where each key stands below its root, the extended keys of a
 * multisig, and the same for change. Inputs and outputs stand in BIP69's order, which tells an observer nothing.
 */
import { base58 } from '@scure/base';
import { parsePath } from '../derivation-path.ts';
import type { DerivedOutput, Descriptor } from './descriptor.ts';
import { compareBytes } from './descriptor.ts';
import { emptyInput, emptyOutput, formatPsbt, type KeyPlace, type PsbtInput, type PsbtOutput } from './psbt.ts';
import { SEQUENCE_REPLACEABLE, type TransactionOutput } from './transaction.ts';
import { formatExtendedKey } from './xpub.ts';

export interface AssembledCoin {
  readonly txid: string;
  readonly vout: number;
  readonly amount: bigint;
  readonly output: DerivedOutput;
  /** The whole transaction that it is of, as raw bytes; null for Taproot coins, whose amounts are signed. */
  readonly previous: Uint8Array | null;
}

export interface Payment extends TransactionOutput {
  /** For an output of the account itself: what proves it. */
  readonly own: DerivedOutput | null;
}

/** PSBT version 0. Replaceable (BIP125), version 2, no lock time. */
export function assemblePsbt(
  account: Descriptor,
  coins: readonly AssembledCoin[],
  payments: readonly Payment[],
): Uint8Array {
  // BIP69.
  const inputs = [...coins].sort((a, b) => compareText(a.txid, b.txid) || a.vout - b.vout);
  const outputs = [...payments].sort((a, b) => compareAmounts(a.amount, b.amount) || compareBytes(a.script, b.script));
  return formatPsbt({
    tx: {
      version: 2,
      lockTime: 0,
      inputs: inputs.map(({ txid, vout }) => ({
        txid,
        vout,
        sequence: SEQUENCE_REPLACEABLE,
        scriptSig: new Uint8Array(),
        witness: [],
      })),
      outputs,
    },
    xpubs: account.script === 'p2wsh' ? account.keys.flatMap((key) => globalKey(key, account)) : [],
    inputs: inputs.map((coin) => psbtInput(account, coin)),
    outputs: outputs.map(({ own }) => (own === null ? emptyOutput : psbtOutput(account, own))),
    others: [],
  });
}

function psbtInput(account: Descriptor, { amount, output, previous }: AssembledCoin): PsbtInput {
  return {
    ...emptyInput,
    previous,
    witnessUtxo: { amount, script: output.script },
    ...keyFields(account, output),
  };
}

function psbtOutput(account: Descriptor, output: DerivedOutput): PsbtOutput {
  return { ...emptyOutput, ...keyFields(account, output) };
}

function keyFields({ script }: Descriptor, { witnessScript, keys }: DerivedOutput) {
  const places = keys.map(({ publicKey, origin }) => ({
    publicKey,
    fingerprint: origin.fingerprint,
    path: parsePath(origin.path),
  }));
  if (script === 'p2tr') return { tapInternalKey: keys[0]!.publicKey, tapDerivations: places };
  return { witnessScript, derivations: places };
}

/** BIP174 wants as many steps in the place as the key is deep; a key whose origin doesn't fit is left out. */
function globalKey(key: Descriptor['keys'][number], account: Descriptor): KeyPlace[] {
  if (key.kind !== 'extended' || key.origin === null) return [];
  const path = parsePath(key.origin.path);
  if (path.length !== key.key.depth) return [];
  const text = formatExtendedKey(key.key, account.network.coinType === 0 ? 'mainnet' : 'test');
  return [{ publicKey: base58.decode(text).slice(0, 78), fingerprint: key.origin.fingerprint, path }];
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function compareAmounts(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
