/**
 * The half of Bitcoin that needs no node: accounts and addresses, what bytes do, what is to be signed, and what goes to
 * the network. For the SDK, the CLI, the enclave's own decoding, and `bitcoin.ts`, which adds a node. An account is an
 * output descriptor; unsigned bytes are a PSBT, final bytes a raw transaction. Every statement of an intent is proven
 * from the bytes: amounts from the transactions that the coins are of, change by deriving its address.
 */
import {
  type AddressAt,
  type ChainCodec,
  ChainError,
  type Intent,
  type IntentOutput,
  NATIVE_ASSET,
  type Warning,
} from '../chain.ts';
import { describeScript, dustLimit, isUnspendable, parseBitcoinAddress } from './address.ts';
import {
  compareBytes,
  type DerivedOutput,
  type Descriptor,
  parseDescriptor,
  singleKeyDescriptor,
} from './descriptor.ts';
import { FEE_RATE_MAX, feeOf, frameWeight, inputWeight, outputWeight } from './fees.ts';
import {
  addSignature,
  type CheckedInput,
  checkInputs,
  missingSignatures,
  signatureCount,
  witnessOf,
} from './inputs.ts';
import type { BitcoinNetwork } from './networks.ts';
import { formatPsbt, isPsbt, type KeyPlace, type Psbt, type PsbtInput, type PsbtOutput, parsePsbt } from './psbt.ts';
import { ADDRESSES_MAX } from './scan.ts';
import {
  type BitcoinTransaction,
  coinId,
  formatTransaction,
  parseTransaction,
  SEQUENCE_REPLACEABLE,
  type TransactionOutput,
  transactionId,
  unreadable,
} from './transaction.ts';

/** The part of a chain that needs no node. */
export interface BitcoinCodec extends ChainCodec {
  readonly params: BitcoinNetwork;
  /** The account, parsed; the last few stay parsed. Throws `descriptor_invalid`. */
  descriptor(account: string): Descriptor;
  /** How many good signatures each input of a PSBT has. Throws `transaction_invalid`. */
  signatures(psbt: Uint8Array): readonly number[];
}

/** Parsed accounts that a codec remembers, each with its derived addresses. */
const ACCOUNTS_MAX = 32;
/**
 * A fee above a quarter of what is paid is a mistake more often than not; below this many sats nobody minds. A large
 * payment would hide a large fee in its quarter, so a rate above {@link FEE_RATE_MAX} is one as well.
 */
const FEE_HIGH_SHARE = 4n;
const FEE_HIGH_MIN_SATS = 10_000n;

/** `singleKeyScript`: what {@link Chain.account} makes of one public key. */
export function bitcoinCodec(
  params: BitcoinNetwork,
  { singleKeyScript = 'p2wpkh' }: { singleKeyScript?: 'p2wpkh' | 'p2tr' } = {},
): BitcoinCodec {
  const accounts = new Map<string, Descriptor>();
  const descriptor = (account: string): Descriptor => {
    const known = accounts.get(account);
    if (known !== undefined) return known;
    const parsed = parseDescriptor(account, params);
    const [oldest] = accounts.keys();
    if (accounts.size >= ACCOUNTS_MAX && oldest !== undefined) accounts.delete(oldest);
    accounts.set(account, parsed);
    return parsed;
  };

  return {
    name: 'bitcoin',
    network: params.caip2,
    curve: 'secp256k1',
    params,
    descriptor,
    account: (publicKey) => singleKeyDescriptor(singleKeyScript, publicKey, params).text,
    address: (account, at = { change: 0, index: 0 }) => descriptor(account).derive(at).address,
    parseAddress: (text) => parseBitcoinAddress(text, params),
    decode(raw, account) {
      const from = account === undefined ? null : descriptor(account);
      return isPsbt(raw) ? intentOfPsbt(parsePsbt(raw), from, params) : intentOfFinal(readFinal(raw), from, params);
    },
    resources: (raw) => (isPsbt(raw) ? parsePsbt(raw).tx : readFinal(raw)).inputs.map(coinId),
    planId: (unsigned) => transactionId(parsePsbt(unsigned).tx),
    digests(unsigned, account) {
      const psbt = parsePsbt(unsigned);
      const checked = checkInputs(psbt);
      const missing = missingSignatures(psbt, checked);
      if (account === undefined) return missing;
      const from = descriptor(account);
      const own = checked.map(({ spent }, i) => ownOutput(from, spent.script, placesOf(psbt.inputs[i]!)));
      return missing.map((digest) => {
        const key = own[digest.input]?.keys.find(({ publicKey }) => compareBytes(publicKey, digest.publicKey!) === 0);
        return { ...digest, origin: key?.origin ?? null };
      });
    },
    signatures(raw) {
      const psbt = parsePsbt(raw);
      return checkInputs(psbt).map((check, i) => signatureCount(psbt.inputs[i]!, check));
    },
    attach(unsigned, signatures) {
      const psbt = parsePsbt(unsigned);
      const checked = checkInputs(psbt);
      const inputs = [...psbt.inputs];
      for (const signature of signatures) {
        const [input, check] = [inputs[signature.input], checked[signature.input]];
        if (input === undefined || check === undefined)
          throw new ChainError(
            'transaction_invalid',
            `A signature is for input ${signature.input}, and there is none. Sign the digests of this transaction.`,
          );
        inputs[signature.input] = addSignature(input, check, signature);
      }
      return formatPsbt({ ...psbt, inputs });
    },
    final(attached) {
      const psbt = parsePsbt(attached);
      const checked = checkInputs(psbt);
      const inputs = psbt.tx.inputs.map((input, i) => ({ ...input, witness: finalWitness(psbt, checked, i) }));
      return formatTransaction({ ...psbt.tx, inputs });
    },
    transactionId: (final) => transactionId(readFinal(final)),
  };
}

function finalWitness(psbt: Psbt, checked: readonly CheckedInput[], i: number): readonly Uint8Array[] {
  const witness = witnessOf(psbt.inputs[i]!, checked[i]!);
  if (witness !== null) return witness;
  const { threshold } = checked[i]!;
  throw new ChainError(
    'signature_missing',
    `Input ${i} needs ${threshold} valid ${threshold === 1 ? 'signature' : 'signatures'} and has fewer. Let its key holders sign.`,
  );
}

/** Bytes for the network: every input has a witness. */
function readFinal(raw: Uint8Array): BitcoinTransaction {
  const tx = parseTransaction(raw);
  if (tx.inputs.some(({ witness, scriptSig }) => witness.length === 0 && scriptSig.length === 0))
    throw unreadable('it is not signed');
  return tx;
}

// Intents.

function intentOfPsbt(psbt: Psbt, from: Descriptor | null, params: BitcoinNetwork): Intent {
  const checked = checkInputs(psbt);
  const paid = psbt.tx.outputs.reduce((sum, { amount }) => sum + amount, 0n);
  const fee = checked.reduce((sum, { spent }) => sum + spent.amount, 0n) - paid;
  if (fee < 0n) throw unreadable('it pays out more than it spends');
  const ownOf = (script: Uint8Array, fields: PsbtInput | PsbtOutput) =>
    from === null ? null : ownOutput(from, script, placesOf(fields));
  const change = psbt.tx.outputs.map(({ script }, i) => ownOf(script, psbt.outputs[i]!));
  const outputs = psbt.tx.outputs.map((output, i) => intentOutput(output, change[i] !== null, params));
  const spendsOwn = checked.every(({ spent }, i) => ownOf(spent.script, psbt.inputs[i]!) !== null);
  const warnings = warningsOf(psbt.tx, outputs);
  if (change.some((own) => own !== null && own.at.index >= ADDRESSES_MAX)) warnings.push('change_far');
  if (checked.some(({ amountProven }) => !amountProven)) warnings.push('amount_unproven');
  if (from !== null && psbt.outputs.some((output, i) => placesOf(output).length > 0 && !outputs[i]!.change))
    warnings.push('change_unproven');
  const payments = outputs.reduce((sum, { change, amount }) => sum + (change ? 0n : amount), 0n);
  const isLargeShare = fee > FEE_HIGH_MIN_SATS && fee * FEE_HIGH_SHARE > payments;
  if (isLargeShare || fee > feeOf(signedWeight(psbt.tx, checked), FEE_RATE_MAX)) warnings.push('fee_high');
  return intent(params, { from: spendsOwn && from !== null ? from.text : null, outputs, feeMax: fee, warnings });
}

function signedWeight({ outputs }: BitcoinTransaction, inputs: readonly CheckedInput[]): number {
  const weighed = inputs.map(({ kind, threshold, keys }) => inputWeight({ script: kind, threshold, keys }));
  const paid = outputs.map(({ script }) => outputWeight(script));
  return [...weighed, ...paid].reduce((sum, weight) => sum + weight, frameWeight(inputs.length, outputs.length));
}

/** Without what the inputs spend, neither fee nor sender follows from the bytes. */
function intentOfFinal(tx: BitcoinTransaction, from: Descriptor | null, params: BitcoinNetwork): Intent {
  const outputs = tx.outputs.map((output) =>
    intentOutput(output, from !== null && ownOutput(from, output.script, []) !== null, params),
  );
  return intent(params, { from: null, outputs, feeMax: null, warnings: [...warningsOf(tx, outputs), 'fee_unknown'] });
}

function intent(params: BitcoinNetwork, rest: Pick<Intent, 'from' | 'outputs' | 'feeMax' | 'warnings'>): Intent {
  return { chain: 'bitcoin', network: params.caip2, ...rest, allowances: [], warnings: [...rest.warnings].sort() };
}

function intentOutput({ amount, script }: TransactionOutput, change: boolean, params: BitcoinNetwork): IntentOutput {
  return { to: describeScript(script, params), amount, asset: NATIVE_ASSET, change };
}

function warningsOf(tx: BitcoinTransaction, outputs: readonly IntentOutput[]): Warning[] {
  const warnings: Warning[] = [];
  if (tx.inputs.every(({ sequence }) => sequence > SEQUENCE_REPLACEABLE)) warnings.push('not_replaceable');
  const isLocked = tx.lockTime > 0 && tx.inputs.some(({ sequence }) => sequence !== 0xffffffff);
  if (isLocked || (tx.version >= 2 && tx.inputs.some(waitsForItsCoin))) warnings.push('time_locked');
  if (tx.outputs.some(({ script }) => isUnspendable(script))) warnings.push('output_unspendable');
  if (tx.outputs.some(({ script }, i) => !isUnspendable(script) && outputs[i]!.to.startsWith('script:')))
    warnings.push('output_nonstandard');
  if (tx.outputs.some(({ amount, script }) => amount < dustLimit(script))) warnings.push('output_dust');
  return warnings;
}

/** BIP68: the input may be spent only so many blocks or seconds after its coin's block. */
function waitsForItsCoin({ sequence }: BitcoinTransaction['inputs'][number]): boolean {
  return sequence < 0x80000000 && (sequence & 0xffff) > 0;
}

function placesOf({ derivations, tapDerivations }: PsbtInput | PsbtOutput): readonly KeyPlace[] {
  return [...derivations, ...tapDerivations];
}

/** The account's output with this script, at a place that the bytes name: derived here and compared. Null: not its own. */
function ownOutput(account: Descriptor, script: Uint8Array, places: readonly KeyPlace[]): DerivedOutput | null {
  const named = places.slice(0, PLACES_TRIED_MAX).flatMap((place) => placesIn(account, place.path));
  const outputs = (account.ranged ? named : [only]).map((at) => account.derive(at));
  return outputs.find((output) => compareBytes(output.script, script) === 0) ?? null;
}

/** Every key of an account's output stands at the same branch and index, so one place is enough, and none costs much. */
const PLACES_TRIED_MAX = 2;
const only: AddressAt = { change: 0, index: 0 };

/** Where in a ranged account a full path may end: its last steps are branch and index. */
function placesIn({ keys: [first] }: Descriptor, path: readonly number[]): AddressAt[] {
  const [branch, index] = path.slice(-2);
  if (first?.kind !== 'extended' || index === undefined || index >= 0x80000000) return [];
  if (first.branches.length === 0) return [{ change: 0, index }];
  const change = first.branches.indexOf(branch!);
  return change === 0 || change === 1 ? [{ change, index }] : [];
}
