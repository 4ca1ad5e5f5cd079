/**
 * The inputs of a PSBT, checked: what each spends, by what script, whose signatures it asks for, and whether one fits.
 * Nothing that a PSBT claims is used before it is compared with a hash: the coin with the transaction it is of, the
 * witness script and the keys with the output script. `codec.ts` builds digests, signatures and final bytes on this.
 */
import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js';
import { ChainError, type KeySignature, type SigningDigest } from '../chain.ts';
import { formatPath } from '../derivation-path.ts';
import { compareBytes } from './descriptor.ts';
import { emptyInput, type KeyPlace, type Psbt, type PsbtInput } from './psbt.ts';
import { p2tr, p2wpkh, p2wsh, readMultisigScript } from './scripts.ts';
import { createSighashes, p2wpkhScriptCode, SIGHASH_ALL, type Sighashes } from './sighash.ts';
import {
  type BitcoinTransaction,
  parseTransaction,
  type TransactionOutput,
  transactionId,
  unreadable,
} from './transaction.ts';

/** An input that Kedge can sign for. */
export interface CheckedInput {
  readonly kind: 'p2wpkh' | 'p2wsh' | 'p2tr';
  readonly spent: TransactionOutput;
  /** Whether the amount can't be a lie: the whole previous transaction is there, or every signature covers it (BIP341). */
  readonly amountProven: boolean;
  /** In the order of the script. P2TR: the internal key (32 bytes). */
  readonly keys: readonly Uint8Array[];
  readonly threshold: number;
  /** BIP143's; of P2WSH the witness script. */
  readonly scriptCode: Uint8Array;
  /** What its signatures sign: 32 bytes. */
  digest(): Uint8Array;
  /** Whether the signature (64 bytes) is by this key of the input. */
  verifies(publicKey: Uint8Array, signature: Uint8Array): boolean;
  /** Whether this witness, of whatever origin, is one that {@link witnessOf} could give, or BIP341's spelled-out SIGHASH_ALL. */
  isFinishedBy(witness: readonly Uint8Array[]): boolean;
}

/** As many as the heaviest standard transaction has of 15-of-15 inputs, and three times those of a large sweep of 2 of 3. */
const SIGNATURES_MAX = 6_000;

/** Throws `transaction_invalid` for an input that contradicts itself or that Kedge can't sign. */
export function checkInputs({ tx, inputs }: Psbt): readonly CheckedInput[] {
  // Each is verified, which takes about a millisecond.
  if (inputs.reduce((sum, { partialSignatures }) => sum + partialSignatures.length, 0) > SIGNATURES_MAX)
    throw unreadable(`it has more than ${SIGNATURES_MAX} signatures`);
  const coins = inputs.map((input, i) => coinOf(input, tx.inputs[i]!));
  const sighashes = createSighashes(
    tx,
    coins.map(({ spent }) => spent),
  );
  const shapes = inputs.map((input, i) => shapeOf(input, coins[i]!.spent.script));
  // Beside a Taproot input, one of another kind is signed whatever the first holds.
  const allCovered = shapes.every(({ kind }) => kind === 'p2tr');
  return inputs.map((input, i) => {
    const { spent, amountProven } = coins[i]!;
    const shape = shapes[i]!;
    const byDefault = shape.kind === 'p2tr' ? 0 : SIGHASH_ALL;
    if (input.sighashType !== null && input.sighashType !== byDefault)
      throw unreadable('a signature would not cover the whole transaction (sighash type)');
    return { ...shape, spent, amountProven: amountProven || allCovered, ...signaturesOf(shape, i, spent, sighashes) };
  });
}

/** What one input's signatures sign, and which of them are good. */
function signaturesOf(
  shape: Shape,
  i: number,
  spent: TransactionOutput,
  sighashes: Sighashes,
): Pick<CheckedInput, 'digest' | 'verifies' | 'isFinishedBy'> {
  const digest = () =>
    shape.kind === 'p2tr' ? sighashes.taprootKey(i) : sighashes.witnessV0(i, shape.scriptCode, spent.amount);
  const verifies = (publicKey: Uint8Array, signature: Uint8Array, signed = digest()): boolean => {
    if (signature.length !== 64) return false;
    try {
      if (shape.kind === 'p2tr') return schnorr.verify(signature, signed, spent.script.subarray(2));
      return secp256k1.verify(signature, signed, publicKey, { prehash: false, lowS: false });
    } catch {
      return false; // not even the numbers of a signature
    }
  };
  return {
    digest,
    verifies: (publicKey, signature) => verifies(publicKey, signature),
    isFinishedBy(witness) {
      if (shape.kind !== 'p2tr') return isEcdsaWitness(witness, shape, verifies);
      const [signature] = witness;
      if (signature === undefined || witness.length !== 1) return false;
      const isSpelledOut = signature.length === 65 && signature[64] === SIGHASH_ALL;
      return isSpelledOut
        ? verifies(spent.script, signature.subarray(0, 64), sighashes.taprootKey(i, SIGHASH_ALL))
        : verifies(spent.script, signature);
    },
  };
}

/**
 * Whether an input of a transaction from the network is signed by the keys of what it spends, over the whole transaction
 * as Kedge's own are. `spent`: what each input spends; where this one isn't Taproot's, the others may be null.
 */
export function isSigned(tx: BitcoinTransaction, at: number, spent: readonly (TransactionOutput | null)[]): boolean {
  const [own, input] = [spent[at], tx.inputs[at]];
  if (!own || input === undefined || input.scriptSig.length > 0) return false;
  try {
    const shape = shapeOf({ ...emptyInput, finalWitness: input.witness }, own.script);
    if (shape.kind === 'p2tr' && spent.includes(null)) return false;
    const sighashes = createSighashes(
      tx,
      spent.map((output) => output ?? own),
    );
    return signaturesOf(shape, at, own, sighashes).isFinishedBy(input.witness);
  } catch (error) {
    if (error instanceof ChainError) return false;
    throw error;
  }
}

/** P2WPKH: signature and key. CHECKMULTISIG: an empty item (BIP147), signatures in the order of their keys, the script. */
function isEcdsaWitness(
  witness: readonly Uint8Array[],
  { kind, keys, threshold, scriptCode }: Shape,
  verifies: CheckedInput['verifies'],
): boolean {
  const [first, last] = [witness[0], witness.at(-1)];
  if (first === undefined || last === undefined) return false;
  const isFramed = kind === 'p2wpkh' ? isSame(last, keys[0]!) : first.length === 0 && isSame(last, scriptCode);
  const signatures = witness.slice(kind === 'p2wpkh' ? 0 : 1, -1);
  if (!isFramed || signatures.length !== threshold) return false;
  let at = 0;
  return signatures.every((signature) => {
    const compact = fromDer(signature);
    if (compact === null || !isSame(toDer(compact), signature)) return false;
    while (at < keys.length && !verifies(keys[at]!, compact)) at++;
    return at++ < keys.length;
  });
}

/** The signatures that are still missing, one entry for each input and key that may give one. */
export function missingSignatures(psbt: Psbt, checked: readonly CheckedInput[]): readonly SigningDigest[] {
  return checked.flatMap((check, i) => {
    const input = psbt.inputs[i]!;
    const good = goodSignatures(input, check);
    const open = isFinished(input, check) ? [] : check.keys.filter((_, key) => good[key] === null);
    const places = check.kind === 'p2tr' ? input.tapDerivations : input.derivations;
    const digest = check.digest(); // the same for every key
    return open.map((publicKey) => ({
      input: i,
      algorithm: check.kind === 'p2tr' ? ('schnorr' as const) : ('ecdsa' as const),
      digest,
      publicKey,
      origin: originOf(places, publicKey),
    }));
  });
}

/** The PSBT with this signature. Throws `transaction_invalid` if nobody asked for it or it doesn't verify. */
export function addSignature(
  input: PsbtInput,
  checked: CheckedInput,
  { publicKey, signature }: KeySignature,
): PsbtInput {
  const key = checked.keys.findIndex((one) => isSame(one, publicKey));
  const isThere = isFinished(input, checked) || (key >= 0 && goodSignatures(input, checked)[key] !== null);
  if (key < 0 || isThere || !checked.verifies(publicKey, signature))
    throw new ChainError(
      'transaction_invalid',
      "The signature is not by the wallet's key, or not of this transaction. Let its holder sign the digests again.",
    );
  if (checked.kind === 'p2tr') return { ...input, finalWitness: null, tapKeySignature: signature.slice() };
  const others = input.partialSignatures.filter((known) => !isSame(known.publicKey, publicKey));
  const partialSignatures = [...others, { publicKey, signature: toDer(signature) }];
  return { ...input, finalWitness: null, partialSignatures };
}

/** What makes the input valid; null while signatures are missing. A signature that doesn't verify counts as missing. */
export function witnessOf(input: PsbtInput, checked: CheckedInput): readonly Uint8Array[] | null {
  if (isFinished(input, checked)) return input.finalWitness;
  const good = goodSignatures(input, checked).filter((signature) => signature !== null);
  if (good.length < checked.threshold) return null;
  if (checked.kind === 'p2tr') return [good[0]!];
  if (checked.kind === 'p2wpkh') return [good[0]!, checked.keys[0]!];
  // BIP147: CHECKMULTISIG takes one item too many, and it must be empty.
  return [new Uint8Array(), ...good.slice(0, checked.threshold), checked.scriptCode];
}

/** Of a finished input as many as it asks for. Only what verifies is counted, and each key once. */
export function signatureCount(input: PsbtInput, checked: CheckedInput): number {
  if (isFinished(input, checked)) return checked.threshold;
  return goodSignatures(input, checked).filter((signature) => signature !== null).length;
}

/** The input without the signatures that don't verify, and without those of keys that it doesn't have. */
export function withoutBadSignatures(input: PsbtInput, checked: CheckedInput): PsbtInput {
  const good = goodSignatures(input, checked);
  return {
    ...input,
    finalWitness: isFinished(input, checked) ? input.finalWitness : null,
    tapKeySignature: checked.kind === 'p2tr' ? good[0]! : null,
    partialSignatures:
      checked.kind === 'p2tr'
        ? []
        : checked.keys.flatMap((publicKey, key) => {
            const signature = good[key];
            return signature ? [{ publicKey, signature }] : [];
          }),
  };
}

function isFinished({ finalWitness }: PsbtInput, checked: CheckedInput): boolean {
  return finalWitness !== null && checked.isFinishedBy(finalWitness);
}

/** For each key of the script its signature as a witness holds it, if it is there and verifies. */
function goodSignatures(input: PsbtInput, checked: CheckedInput): readonly (Uint8Array | null)[] {
  return checked.keys.map((key) => {
    if (checked.kind === 'p2tr') {
      const signature = input.tapKeySignature;
      return signature !== null && checked.verifies(key, signature) ? signature : null;
    }
    const found = input.partialSignatures.find(({ publicKey }) => isSame(publicKey, key));
    const compact = found ? fromDer(found.signature) : null;
    return compact !== null && checked.verifies(key, compact) ? toDer(compact) : null;
  });
}

function coinOf(
  input: PsbtInput,
  { txid, vout }: { txid: string; vout: number },
): { spent: TransactionOutput; amountProven: boolean } {
  const { previous, witnessUtxo } = input;
  if (previous === null) {
    if (witnessUtxo === null) throw unreadable(`it does not say what the coin ${txid}:${vout} holds`);
    return { spent: witnessUtxo, amountProven: false };
  }
  const whole = parseTransaction(previous);
  const spent = whole.outputs[vout];
  if (transactionId(whole) !== txid || spent === undefined)
    throw unreadable(`what it shows as the transaction of the coin ${txid}:${vout} is another one`);
  if (witnessUtxo !== null && (witnessUtxo.amount !== spent.amount || !isSame(witnessUtxo.script, spent.script)))
    throw unreadable(`it says two things about the coin ${txid}:${vout}`);
  return { spent, amountProven: true };
}

type Shape = Pick<CheckedInput, 'kind' | 'keys' | 'threshold' | 'scriptCode'>;

function shapeOf(input: PsbtInput, script: Uint8Array): Shape {
  if (script.length === 22 && script[0] === 0) {
    const place = input.derivations.find(({ publicKey }) => isSame(p2wpkh(publicKey), script));
    const signed = input.partialSignatures.find(({ publicKey }) => isSame(p2wpkh(publicKey), script));
    const key = place?.publicKey ?? signed?.publicKey ?? input.finalWitness?.[1];
    if (key === undefined || !isSame(p2wpkh(key), script)) throw unreadable('it does not name the key of an input');
    return { kind: 'p2wpkh', keys: [key], threshold: 1, scriptCode: p2wpkhScriptCode(key) };
  }
  if (script.length === 34 && script[0] === 0) {
    const witnessScript = input.witnessScript ?? input.finalWitness?.at(-1) ?? null;
    const multisig = witnessScript && readMultisigScript(witnessScript);
    if (!witnessScript || !multisig || !isSame(p2wsh(witnessScript), script))
      throw unreadable('it does not show the multisig script of an input');
    return { kind: 'p2wsh', ...multisig, scriptCode: witnessScript };
  }
  if (script.length === 34 && script[0] === 0x51) {
    const internal = input.tapInternalKey;
    if (internal !== null && input.tapMerkleRoot === null && isSame(outputScriptOf(internal), script))
      return { kind: 'p2tr', keys: [internal], threshold: 1, scriptCode: script };
    // One that is finished needs no key to be asked for.
    if (input.finalWitness !== null) return { kind: 'p2tr', keys: [script.slice(2)], threshold: 1, scriptCode: script };
    throw unreadable('it does not show the key of a Taproot input, or the output has scripts too');
  }
  throw unreadable('it spends an output of a kind that Kedge does not sign for');
}

function outputScriptOf(internalKey: Uint8Array): Uint8Array {
  try {
    return p2tr(internalKey).script;
  } catch {
    return new Uint8Array(); // not the x of a point, so of no output either
  }
}

function originOf(places: readonly KeyPlace[], key: Uint8Array): SigningDigest['origin'] {
  const place = places.find(({ publicKey }) => isSame(publicKey, key));
  return place ? { fingerprint: place.fingerprint, path: formatPath(place.path) } : null;
}

/** Of the two `s` of a signature the low one, the only one that nodes relay (BIP146), with the byte for SIGHASH_ALL. */
function toDer(signature: Uint8Array): Uint8Array {
  const { r, s, hasHighS } = readCompact(signature);
  const low = new secp256k1.Signature(r, hasHighS ? secp256k1.Point.Fn.ORDER - s : s);
  return new Uint8Array([...low.toBytes('der'), SIGHASH_ALL]);
}

function readCompact(signature: Uint8Array): { r: bigint; s: bigint; hasHighS: boolean } {
  const read = secp256k1.Signature.fromBytes(signature, 'compact');
  return { r: read.r, s: read.s, hasHighS: read.hasHighS() };
}

/** 64 bytes; null for what is no strict DER (BIP66) with SIGHASH_ALL. */
function fromDer(signature: Uint8Array): Uint8Array | null {
  if (signature.at(-1) !== SIGHASH_ALL) return null;
  try {
    return secp256k1.Signature.fromBytes(signature.slice(0, -1), 'der').toBytes('compact');
  } catch {
    return null;
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return compareBytes(a, b) === 0;
}
