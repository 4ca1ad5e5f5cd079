/** What Bitcoin transactions weigh before they are signed, and what that costs at a fee rate. Rates are in sat/vB. */
import { ChainError } from '../chain.ts';
import { sizeLength } from './bytes.ts';
import type { Descriptor } from './descriptor.ts';

/** Bitcoin Core's `MAX_STANDARD_TX_WEIGHT`: nodes relay nothing heavier. */
export const TRANSACTION_WEIGHT_MAX = 400_000;
/** Nodes relay nothing below; BIP125 also wants this much more from a replacement. */
export const FEE_RATE_MIN = 1;
/** Three times the worst hours so far. A node that names more is mistaken, or wants us to burn money. */
export const FEE_RATE_MAX = 2_000;

/** A DER signature with low `s` and its sighash byte has at most 72 bytes; a Taproot one has 64. */
const ECDSA_SIGNATURE_BYTES = 72;
const SCHNORR_SIGNATURE_BYTES = 64;

/** Version, lock time, and the marker of witnesses, without the counts. */
const FRAME_WEIGHT = 4 * 8 + 2;

/** Weight units of one signed input of this account, or of one with such a script. */
export function inputWeight({
  script,
  threshold,
  keys,
}: Pick<Descriptor, 'script' | 'threshold'> & { readonly keys: readonly unknown[] }): number {
  const outpointAndSequence = 4 * (36 + 1 + 4);
  if (script === 'p2tr') return outpointAndSequence + 1 + 1 + SCHNORR_SIGNATURE_BYTES;
  if (script === 'p2wpkh') return outpointAndSequence + 1 + (1 + ECDSA_SIGNATURE_BYTES) + (1 + 33);
  const witnessScript = 3 + 34 * keys.length;
  const signatures = threshold * (1 + ECDSA_SIGNATURE_BYTES);
  return outpointAndSequence + 1 + 1 + signatures + sizeLength(witnessScript) + witnessScript;
}

export function outputWeight(script: Uint8Array): number {
  return 4 * (8 + sizeLength(script.length) + script.length);
}

/** Weight units of everything but inputs and outputs. */
export function frameWeight(inputs: number, outputs: number): number {
  return FRAME_WEIGHT + 4 * (sizeLength(inputs) + sizeLength(outputs));
}

/** In sats, rounded up. */
export function feeOf(weight: number, feeRate: number): bigint {
  return BigInt(Math.ceil(Math.ceil(weight / 4) * feeRate));
}

/** Throws `fee_too_high` above {@link FEE_RATE_MAX} and `transaction_invalid` for what is no rate. */
export function assertFeeRate(feeRate: number): void {
  if (!Number.isFinite(feeRate) || feeRate < FEE_RATE_MIN)
    throw new ChainError(
      'transaction_invalid',
      `${feeRate} is no fee rate. Name one in sat/vB from ${FEE_RATE_MIN} on, or ask another node.`,
    );
  if (feeRate > FEE_RATE_MAX)
    throw new ChainError(
      'fee_too_high',
      `${feeRate} sat/vB is more than the ${FEE_RATE_MAX} that Kedge pays at most. Ask another node, or wait.`,
    );
}
