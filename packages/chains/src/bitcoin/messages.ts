/**
 * Messages signed by the keys of an address: BIP322 "simple" for P2WPKH, P2WSH multisig and P2TR by its key, and the older
 * BIP137 for single keys, which more software reads. Gives the digests for whoever holds the keys, puts their signatures
 * together, and checks the proofs of others. A proof can't be taken for a transaction: it spends an output that does not exist.
 */
import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { base64 } from '@scure/base';
import { ChainError, type KeySignature, type SigningDigest } from '../chain.ts';
import { parsePath } from '../derivation-path.ts';
import { scriptOfAddress } from './address.ts';
import { Reader, Writer } from './bytes.ts';
import { compareBytes, type DerivedOutput } from './descriptor.ts';
import { addSignature, checkInputs, missingSignatures, witnessOf } from './inputs.ts';
import type { BitcoinNetwork } from './networks.ts';
import { emptyInput, emptyOutput, type Psbt } from './psbt.ts';
import { p2wpkh, p2wsh, readMultisigScript } from './scripts.ts';
import { createSighashes, p2wpkhScriptCode, SIGHASH_ALL } from './sighash.ts';
import {
  type BitcoinTransaction,
  readWitness,
  type TransactionOutput,
  transactionId,
  writeWitness,
} from './transaction.ts';

/** Whose message it is: an output as {@link DerivedOutput} of a descriptor gives it. */
export type MessageSigner = Pick<DerivedOutput, 'script' | 'witnessScript' | 'keys' | 'outputKey'>;

/** Kinds that Kedge can't judge are `inconclusive` (BIP322): neither believed nor called false. */
export type ProofState = 'valid' | 'invalid' | 'inconclusive';

/** UTF-8. What people sign is short, and hardware wallets show less. */
export const MESSAGE_BYTES_MAX = 64 * 1024;
/** 15 signatures and the script of 15 keys take about 2,400 characters. */
const PROOF_LENGTH_MAX = 8_000;
const WITNESS_ITEMS_MAX = 100;

// BIP322.

/** How a proof of the simple kind begins; older ones begin with nothing. */
const SIMPLE_PREFIX = 'smp';

/** What the keys of the address sign: one entry for each key that may. Throws `transaction_invalid` for no message. */
export function messageDigests(message: string, signer: MessageSigner): readonly SigningDigest[] {
  const psbt = messagePsbt(message, signer);
  return missingSignatures(psbt, checkInputs(psbt));
}

/**
 * The proof as text: `smp` and the witness in base64. Takes as many signatures as the script asks for, of any of its
 * keys; each is checked. Throws `transaction_invalid`, or `signature_missing` for too few.
 */
export function proveMessage(message: string, signer: MessageSigner, signatures: readonly KeySignature[]): string {
  const psbt = messagePsbt(message, signer);
  const [checked] = checkInputs(psbt);
  const input = signatures.reduce((so, signature) => addSignature(so, checked!, signature), psbt.inputs[0]!);
  const witness = witnessOf(input, checked!);
  if (witness === null)
    throw new ChainError(
      'signature_missing',
      `The proof needs ${checked!.threshold} signatures and has ${signatures.length}. Ask other holders for theirs.`,
    );
  const writer = new Writer();
  writeWitness(writer, witness);
  return SIMPLE_PREFIX + base64.encode(writer.done());
}

/**
 * Whether whoever controls the address signed the message. Proofs of BIP322's other two variants (`ful`, `pof`) are
 * `inconclusive`. Throws `address_invalid`, and `transaction_invalid` for what is no message.
 */
export function checkMessage(message: string, address: string, proof: string, network: BitcoinNetwork): ProofState {
  const script = scriptOfAddress(address, network);
  const toSign = messageTransaction(message, script);
  if (/^(ful|pof)/.test(proof)) return 'inconclusive';
  const witness = parseSimple(proof);
  if (witness === null) return 'invalid';
  const spent: TransactionOutput = { amount: 0n, script };
  const sighashes = createSighashes(toSign, [spent]);
  if (script.length === 22 && script[0] === 0) {
    const [signature, key] = witness;
    if (witness.length !== 2 || key!.length !== 33 || compareBytes(p2wpkh(key!), script) !== 0) return 'invalid';
    return ecdsaVerifies(signature!, sighashes.witnessV0(0, p2wpkhScriptCode(key!), 0n), key!) ? 'valid' : 'invalid';
  }
  if (script.length === 34 && script[0] === 0) return checkMultisig(witness, script, sighashes);
  if (script.length === 34 && script[0] === 0x51) {
    // More items are a script path or an annex.
    if (witness.length > 1) return 'inconclusive';
    const [signature] = witness;
    if (signature?.length !== 64 && !(signature?.length === 65 && signature[64] === SIGHASH_ALL)) return 'invalid';
    const digest = sighashes.taprootKey(0, signature.length === 64 ? 0 : SIGHASH_ALL);
    return schnorrVerifies(signature.subarray(0, 64), digest, script.subarray(2)) ? 'valid' : 'invalid';
  }
  return 'inconclusive';
}

/** BIP322's `to_sign` as a PSBT, so that it is signed and finished like any other transaction. */
function messagePsbt(message: string, { script, witnessScript, keys, outputKey }: MessageSigner): Psbt {
  const places = keys.map(({ publicKey, origin }) => ({
    publicKey,
    fingerprint: origin.fingerprint,
    path: parsePath(origin.path),
  }));
  const ofScript =
    outputKey === null
      ? { witnessScript, derivations: places }
      : { tapInternalKey: places[0]!.publicKey, tapDerivations: places };
  return {
    tx: messageTransaction(message, script),
    xpubs: [],
    inputs: [{ ...emptyInput, witnessUtxo: { amount: 0n, script }, ...ofScript }],
    outputs: [emptyOutput],
    others: [],
  };
}

/** BIP322's `to_sign`: spends the one output of `to_spend`, which commits to message and script, into nothing. */
export function messageTransaction(message: string, script: Uint8Array): BitcoinTransaction {
  const hash = schnorr.utils.taggedHash('BIP0322-signed-message', messageBytes(message));
  const nowhere = { txid: '00'.repeat(32), vout: 0xffffffff };
  const toSpend: BitcoinTransaction = {
    version: 0,
    lockTime: 0,
    // OP_0 and a push of the hash.
    inputs: [{ ...nowhere, sequence: 0, scriptSig: concatBytes(new Uint8Array([0, 32]), hash), witness: [] }],
    outputs: [{ amount: 0n, script }],
  };
  return {
    version: 0,
    lockTime: 0,
    inputs: [{ txid: transactionId(toSpend), vout: 0, sequence: 0, scriptSig: new Uint8Array(), witness: [] }],
    outputs: [{ amount: 0n, script: new Uint8Array([0x6a]) }],
  };
}

/** Null for what is no witness in canonical base64. */
function parseSimple(proof: string): readonly Uint8Array[] | null {
  if (proof.length > PROOF_LENGTH_MAX) return null;
  try {
    const text = proof.startsWith(SIMPLE_PREFIX) ? proof.slice(SIMPLE_PREFIX.length) : proof;
    const reader = new Reader(base64.decode(text));
    const witness = readWitness(reader);
    reader.end();
    return witness.length >= 1 && witness.length <= WITNESS_ITEMS_MAX ? witness : null;
  } catch {
    return null;
  }
}

/** CHECKMULTISIG: an empty item (BIP147), signatures in the order of their keys, the script. */
function checkMultisig(
  witness: readonly Uint8Array[],
  script: Uint8Array,
  sighashes: ReturnType<typeof createSighashes>,
): ProofState {
  const witnessScript = witness.at(-1)!;
  if (compareBytes(p2wsh(witnessScript), script) !== 0) return 'invalid';
  const multisig = readMultisigScript(witnessScript);
  if (multisig === null) return 'inconclusive';
  const [first, ...signatures] = witness.slice(0, -1);
  if (first?.length !== 0 || signatures.length !== multisig.threshold) return 'invalid';
  const digest = sighashes.witnessV0(0, witnessScript, 0n);
  let at = 0;
  for (const signature of signatures) {
    while (at < multisig.keys.length && !ecdsaVerifies(signature, digest, multisig.keys[at]!)) at++;
    if (at === multisig.keys.length) return 'invalid';
    at++;
  }
  return 'valid';
}

/** Strict DER, low `s` and SIGHASH_ALL, as BIP322 requires. */
function ecdsaVerifies(signature: Uint8Array, digest: Uint8Array, publicKey: Uint8Array): boolean {
  if (signature.at(-1) !== SIGHASH_ALL) return false;
  try {
    const options = { prehash: false, lowS: true, format: 'der' } as const;
    return secp256k1.verify(signature.slice(0, -1), digest, publicKey, options);
  } catch {
    return false;
  }
}

function schnorrVerifies(signature: Uint8Array, digest: Uint8Array, outputKey: Uint8Array): boolean {
  try {
    return schnorr.verify(signature, digest, outputKey);
  } catch {
    return false;
  }
}

function messageBytes(message: string): Uint8Array {
  // Half of a surrogate pair has no UTF-8: it would be signed as another character.
  if (/\p{Surrogate}/u.test(message))
    throw new ChainError('transaction_invalid', 'The message holds half a character. Type it again.');
  const bytes = utf8ToBytes(message);
  if (bytes.length > MESSAGE_BYTES_MAX)
    throw new ChainError(
      'transaction_invalid',
      `The message has more than ${MESSAGE_BYTES_MAX} bytes. Sign a hash of it.`,
    );
  return bytes;
}

// BIP137.

/** First byte of the signature for a compressed key and recovery 0, by what its address is. */
const HEADERS = { p2pkh: 31, 'p2sh-p2wpkh': 35, p2wpkh: 39 } as const;

/** 65 bytes in base64. */
const BIP137_LENGTH = 88;

export type Bip137Kind = keyof typeof HEADERS;

/** 32 bytes for ECDSA: double SHA-256 of `Bitcoin Signed Message:\n` and the message, each with its length before it. */
export function bip137Digest(message: string): Uint8Array {
  const writer = new Writer().prefixed(utf8ToBytes('Bitcoin Signed Message:\n')).prefixed(messageBytes(message));
  return sha256(sha256(writer.done()));
}

/**
 * The signature as wallets show it: 65 bytes in base64. `signature` is `r ‖ s` (64 bytes) of {@link bip137Digest} by the
 * key (compressed, 33 bytes), with either `s`. Throws `transaction_invalid` if it isn't.
 */
export function bip137Signature(
  message: string,
  { publicKey, signature }: Pick<KeySignature, 'publicKey' | 'signature'>,
  kind: Bip137Kind = 'p2wpkh',
): string {
  const digest = bip137Digest(message);
  try {
    const { r, s } = secp256k1.Signature.fromBytes(signature, 'compact');
    const { ORDER } = secp256k1.Point.Fn;
    const low = new secp256k1.Signature(r, s > ORDER / 2n ? ORDER - s : s);
    for (let recovery = 0; recovery < 4; recovery++) {
      const by = recovered(low, recovery, digest);
      if (by !== null && compareBytes(by.toBytes(true), publicKey) === 0)
        return base64.encode(new Uint8Array([HEADERS[kind] + recovery, ...low.toBytes('compact')]));
    }
  } catch {
    // Not even the numbers of a signature.
  }
  throw new ChainError(
    'transaction_invalid',
    'The signature is not by this key, or not of this message. Let its holder sign the digest again.',
  );
}

/**
 * Whether the key of the address signed the message. As everywhere, a segwit address may come with the header of P2PKH,
 * because Electrum and others write that for every kind. Taproot and multisig addresses have no such signatures: false.
 * Throws `address_invalid`, and `transaction_invalid` for what is no message.
 */
export function checkBip137(message: string, address: string, signature: string, network: BitcoinNetwork): boolean {
  const script = scriptOfAddress(address, network);
  const digest = bip137Digest(message);
  if (signature.length !== BIP137_LENGTH) return false;
  try {
    const [header = 0, ...compact] = base64.decode(signature);
    if (compact.length !== 64 || header < 27 || header > 42) return false;
    const { r, s } = secp256k1.Signature.fromBytes(new Uint8Array(compact), 'compact');
    const key = recovered(new secp256k1.Signature(r, s), (header - 27) % 4, digest);
    if (key === null) return false;
    return scriptsFor(header, key).some((candidate) => compareBytes(candidate, script) === 0);
  } catch {
    return false;
  }
}

type Point = ReturnType<InstanceType<typeof secp256k1.Signature>['recoverPublicKey']>;

/** Null if there is no such key. */
function recovered(
  signature: InstanceType<typeof secp256k1.Signature>,
  recovery: number,
  digest: Uint8Array,
): Point | null {
  try {
    return signature.addRecoveryBit(recovery).recoverPublicKey(digest);
  } catch {
    return null;
  }
}

/** The output scripts that a header and the key behind the signature can mean. */
function scriptsFor(header: number, key: Point): readonly Uint8Array[] {
  const p2pkh = (publicKey: Uint8Array) => p2wpkhScriptCode(publicKey);
  if (header < HEADERS.p2pkh) return [p2pkh(key.toBytes(false))];
  const compressed = key.toBytes(true);
  const witness = p2wpkh(compressed);
  // HASH160 EQUAL of the witness program as redeem script (BIP141).
  const nested = concatBytes(new Uint8Array([0xa9, 20]), p2wpkh(witness).subarray(2), new Uint8Array([0x87]));
  if (header >= HEADERS.p2wpkh) return [witness];
  if (header >= HEADERS['p2sh-p2wpkh']) return [nested];
  return [p2pkh(compressed), witness, nested];
}
