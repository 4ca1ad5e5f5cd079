/**
 * Moving everything that an account holds to another one, in as few transactions as nodes relay. The plan is made from a
 * list of coins and nothing else: the same coins give the same batches with the same destinations, so a sweep that was
 * interrupted is planned again and goes on. Each batch is one spend of its own for `spends.ts`. Nothing is signed here.
 */
import { ChainError, type FeeLevel } from '../chain.ts';
import { dustLimit, scriptOfAddress } from './address.ts';
import type { Descriptor } from './descriptor.ts';
import { assertFeeRate, feeOf, frameWeight, inputWeight, outputWeight } from './fees.ts';
import { inputsMax } from './select.ts';

export interface SweepCoin {
  /** `<transaction id>:<output index>`. */
  readonly id: string;
  readonly amount: bigint;
}

export interface SweepBatch<C extends SweepCoin> {
  readonly coins: readonly C[];
  /** Where it goes: one address a batch, so that batches don't show that they belong together. */
  readonly to: string;
  readonly amount: bigint;
  readonly fee: bigint;
}

export interface SweepPlan<C extends SweepCoin> {
  readonly feeRate: number;
  readonly batches: readonly SweepBatch<C>[];
  /** What arrives, and what it costs, over all batches. */
  readonly amount: bigint;
  readonly fee: bigint;
  /** Coins that cost more to move than they hold, at this rate. They stay. */
  readonly dust: readonly C[];
}

export interface SweepTask<C extends SweepCoin> {
  readonly from: Descriptor;
  readonly coins: readonly C[];
  /** The address for each batch, by its number. Always the same for the same number. */
  readonly destination: (batch: number) => string;
  /** In sat/vB. */
  readonly feeRate: number;
  /** Default: as many as one standard transaction holds. */
  readonly inputsPerBatch?: number;
}

/** Throws `insufficient_funds` where nothing is worth moving, `fee_too_high`, `address_invalid`. */
export function planSweep<C extends SweepCoin>(task: SweepTask<C>): SweepPlan<C> {
  const { from, feeRate, destination } = task;
  assertFeeRate(feeRate);
  const weight = inputWeight(from);
  const cost = feeOf(weight, feeRate);
  const { inputsPerBatch = Number.POSITIVE_INFINITY } = task;
  if (!(inputsPerBatch >= 1)) throw new RangeError(`${inputsPerBatch} coins are no batch`);
  const once = new Map(task.coins.map((coin) => [coin.id, coin]));
  const sorted = [...once.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  const worth = sorted.filter(({ amount }) => amount > cost);
  const dust = sorted.filter(({ amount }) => amount <= cost);

  const limit = { outputsWeight: 4 * 43, outputCount: 1, inputWeight: weight, changeWeight: 0 };
  const size = Math.floor(Math.min(inputsPerBatch, inputsMax(limit)));
  const batches: SweepBatch<C>[] = [];
  for (let at = 0; at < worth.length; at += size) {
    const coins = worth.slice(at, at + size);
    const to = destination(batches.length);
    const script = scriptOfAddress(to, from.network);
    const fee = feeOf(frameWeight(coins.length, 1) + coins.length * weight + outputWeight(script), feeRate);
    const amount = coins.reduce((sum, coin) => sum + coin.amount, 0n) - fee;
    // A last batch of few small coins may not be worth an output.
    if (amount >= dustLimit(script)) batches.push({ coins, to, amount, fee });
    else dust.push(...coins);
  }
  if (batches.length === 0)
    throw new ChainError(
      'insufficient_funds',
      `None of the ${sorted.length} coins is worth its fee at ${feeRate} sat/vB. Wait for lower fees.`,
    );
  return {
    feeRate,
    batches,
    amount: batches.reduce((sum, batch) => sum + batch.amount, 0n),
    fee: batches.reduce((sum, batch) => sum + batch.fee, 0n),
    dust,
  };
}

/** The plan at each of three rates; null where nothing is worth moving. */
export function previewSweep<C extends SweepCoin>(
  task: Omit<SweepTask<C>, 'feeRate'>,
  feeRates: Readonly<Record<FeeLevel, number>>,
): Readonly<Record<FeeLevel, SweepPlan<C> | null>> {
  const at = (level: FeeLevel): SweepPlan<C> | null => {
    try {
      return planSweep({ ...task, feeRate: feeRates[level] });
    } catch (error) {
      if (error instanceof ChainError && error.code === 'insufficient_funds') return null;
      throw error;
    }
  };
  return { slow: at('slow'), recommended: at('recommended'), fast: at('fast') };
}
