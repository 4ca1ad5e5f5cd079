/**
 * BIP174's Combiner: several copies of one PSBT, each with what another holder or wallet added, as one. Some wallets hand
 * back their signatures without the fields of the others, so whoever collects signatures combines what comes back with
 * what was sent. Nothing here is believed: `inputs.ts` checks every signature when it is used, and here where two differ.
 */
import { bytesToHex } from '@noble/hashes/utils.js';
import { ChainError } from '../chain.ts';
import { checkInputs, withoutBadSignatures } from './inputs.ts';
import { formatPsbt, type Psbt, type PsbtField, type PsbtInput, type PsbtOutput, parsePsbt } from './psbt.ts';
import { transactionId } from './transaction.ts';

/**
 * Of two different values for one field the earlier copy's stands, and of two signatures one that verifies. Throws
 * `transaction_invalid` for another transaction, and as {@link checkInputs} where signatures differ.
 */
export function combinePsbts(copies: readonly Uint8Array[]): Uint8Array {
  const [first, ...others] = copies.map(parsePsbt);
  if (first === undefined) throw new RangeError('there is no PSBT to combine');
  const id = transactionId(first.tx);
  const combined = others.reduce((one, other) => {
    if (transactionId(other.tx) !== id)
      throw new ChainError(
        'transaction_invalid',
        'One of the PSBTs is of another transaction. Combine copies of one and the same.',
      );
    const both = combineTwo(one, other);
    if (!one.inputs.some((input, i) => disagree(input, other.inputs[i]!))) return both;
    // One holder must not displace another's signature with nonsense: of two, what does not verify goes.
    const checked = checkInputs(both);
    return combineTwo(
      { ...both, inputs: both.inputs.map((input, i) => withoutBadSignatures(input, checked[i]!)) },
      other,
    );
  }, first);
  return formatPsbt(combined);
}

function combineTwo(one: Psbt, other: Psbt): Psbt {
  return {
    tx: one.tx,
    xpubs: union(one.xpubs, other.xpubs, byKey),
    inputs: one.inputs.map((input, i) => combineInputs(input, other.inputs[i]!)),
    outputs: one.outputs.map((output, i) => combineOutputs(output, other.outputs[i]!)),
    others: union(one.others, other.others, byField),
  };
}

/** Whether two copies hold different signatures by one key. */
function disagree(one: PsbtInput, other: PsbtInput): boolean {
  const known = new Map(one.partialSignatures.map((signed) => [byKey(signed), bytesToHex(signed.signature)]));
  const differ = (a: readonly Uint8Array[] | null, b: readonly Uint8Array[] | null) =>
    a !== null && b !== null && a.map(bytesToHex).join() !== b.map(bytesToHex).join();
  return (
    differ(one.finalWitness, other.finalWitness) ||
    differ(one.tapKeySignature && [one.tapKeySignature], other.tapKeySignature && [other.tapKeySignature]) ||
    other.partialSignatures.some(
      (signed) => (known.get(byKey(signed)) ?? bytesToHex(signed.signature)) !== bytesToHex(signed.signature),
    )
  );
}

function combineInputs(one: PsbtInput, other: PsbtInput): PsbtInput {
  return {
    previous: one.previous ?? other.previous,
    witnessUtxo: one.witnessUtxo ?? other.witnessUtxo,
    redeemScript: one.redeemScript ?? other.redeemScript,
    witnessScript: one.witnessScript ?? other.witnessScript,
    sighashType: one.sighashType ?? other.sighashType,
    partialSignatures: union(one.partialSignatures, other.partialSignatures, byKey),
    derivations: union(one.derivations, other.derivations, byKey),
    tapKeySignature: one.tapKeySignature ?? other.tapKeySignature,
    tapInternalKey: one.tapInternalKey ?? other.tapInternalKey,
    tapMerkleRoot: one.tapMerkleRoot ?? other.tapMerkleRoot,
    tapDerivations: union(one.tapDerivations, other.tapDerivations, byKey),
    finalScriptSig: one.finalScriptSig ?? other.finalScriptSig,
    finalWitness: one.finalWitness ?? other.finalWitness,
    others: union(one.others, other.others, byField),
  };
}

function combineOutputs(one: PsbtOutput, other: PsbtOutput): PsbtOutput {
  return {
    redeemScript: one.redeemScript ?? other.redeemScript,
    witnessScript: one.witnessScript ?? other.witnessScript,
    derivations: union(one.derivations, other.derivations, byKey),
    tapInternalKey: one.tapInternalKey ?? other.tapInternalKey,
    tapDerivations: union(one.tapDerivations, other.tapDerivations, byKey),
    others: union(one.others, other.others, byField),
  };
}

function union<T>(one: readonly T[], other: readonly T[], name: (item: T) => string): readonly T[] {
  const known = new Set(one.map(name));
  return [...one, ...other.filter((item) => !known.has(name(item)))];
}

function byKey({ publicKey }: { readonly publicKey: Uint8Array }): string {
  return bytesToHex(publicKey);
}

function byField({ key }: PsbtField): string {
  return bytesToHex(key);
}
