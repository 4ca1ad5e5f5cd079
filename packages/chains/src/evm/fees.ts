/**
 * What to offer per gas: three levels from what recent blocks took, and what a replacement has to add. The connector
 * asks for it when it builds. A base fee means EIP-1559; a chain without one gets a gas price. No answer of a node leads
 * above the ceiling in `node.ts`.
 */
import { ChainError, type FeeLevel } from '../chain.ts';
import type { ParsedTransaction } from './codec.ts';
import { type EvmNode, FEE_PER_GAS_MAX } from './node.ts';

/** Per gas, in wei. The field names are those of the transactions. */
export type FeePerGas =
  | { readonly type: 'eip1559'; readonly maxFeePerGas: bigint; readonly maxPriorityFeePerGas: bigint }
  | { readonly type: 'legacy'; readonly gasPrice: bigint };

export type FeeLevels = Readonly<Record<FeeLevel, FeePerGas>>;

/**
 * `percentile`: whose tip to match, among what recent blocks took. `headroom`: how far the base fee may rise before the
 * transaction waits, in percent; it rises by at most 12.5% a block, so 200 lasts five full blocks. `suggested`: the share
 * of the node's own suggestion, in percent, when recent blocks took no tip. `gasPrice`: likewise of its gas price, never
 * below it, because some chains refuse less.
 */
const LEVELS: Readonly<
  Record<FeeLevel, { percentile: number; headroom: bigint; suggested: bigint; gasPrice: bigint }>
> = {
  slow: { percentile: 10, headroom: 125n, suggested: 50n, gasPrice: 100n },
  recommended: { percentile: 50, headroom: 200n, suggested: 100n, gasPrice: 110n },
  fast: { percentile: 90, headroom: 300n, suggested: 200n, gasPrice: 150n },
};
const names = ['slow', 'recommended', 'fast'] as const;

/** Pools take a transaction in the place of another only if both its fees are this much higher, in percent. */
const REPLACEMENT_RISE_PERCENT = 10n;

/** `legacy`: a gas price even where the chain has a base fee. A higher level never offers less. */
export async function feeLevels(node: EvmNode, legacy: boolean): Promise<FeeLevels> {
  const history = legacy ? null : await node.feeHistory(names.map((name) => LEVELS[name].percentile));
  if (history === null) {
    const price = await node.gasPrice();
    const at = (name: FeeLevel): FeePerGas => ({
      type: 'legacy',
      gasPrice: capped((price * LEVELS[name].gasPrice) / 100n),
    });
    return { slow: at('slow'), recommended: at('recommended'), fast: at('fast') };
  }
  const medians = history.tips.map(median);
  const suggestion = medians.includes(null) ? await node.suggestedTip() : 0n;
  const levels: Partial<Record<FeeLevel, FeePerGas>> = {};
  let floor = 0n;
  for (const [at, name] of names.entries()) {
    const { headroom, suggested } = LEVELS[name];
    floor = higher(floor, medians[at] ?? (suggestion * suggested) / 100n);
    const maxFeePerGas = (history.baseFee * headroom) / 100n + floor;
    levels[name] = {
      type: 'eip1559',
      maxFeePerGas: capped(maxFeePerGas),
      maxPriorityFeePerGas: floor,
    };
  }
  return levels as FeeLevels;
}

export function maxPerGas(fee: FeePerGas): bigint {
  return fee.type === 'legacy' ? fee.gasPrice : fee.maxFeePerGas;
}

/** What the waiting transaction's fees have to become: enough for pools, and no less than the level. Throws `fee_too_high`. */
export function replacementFee({ raw }: ParsedTransaction, level: FeePerGas): Partial<ParsedTransaction['raw']> {
  const tip = level.type === 'legacy' ? level.gasPrice : level.maxPriorityFeePerGas;
  if ('gasPrice' in raw) return { gasPrice: risen(raw.gasPrice, maxPerGas(level)) };
  if (!('maxFeePerGas' in raw)) throw new RangeError('a transaction without fees');
  const maxFeePerGas = risen(raw.maxFeePerGas, maxPerGas(level));
  const maxPriorityFeePerGas = risen(raw.maxPriorityFeePerGas, lower(tip, maxFeePerGas));
  return { maxFeePerGas: higher(maxFeePerGas, maxPriorityFeePerGas), maxPriorityFeePerGas };
}

function risen(before: bigint, level: bigint): bigint {
  const rise = (before * REPLACEMENT_RISE_PERCENT + 99n) / 100n;
  const after = higher(before + (rise > 0n ? rise : 1n), level);
  if (after > FEE_PER_GAS_MAX)
    throw new ChainError(
      'fee_too_high',
      `Taking the place of this transaction costs ${after} wei per gas, more than the ${FEE_PER_GAS_MAX} that are ever offered. Wait for it.`,
    );
  return after;
}

/** Of the blocks that took a tip; null if none did. */
function median(tips: readonly bigint[]): bigint | null {
  const sorted = tips.filter((tip) => tip > 0n).sort((a, b) => (a < b ? -1 : 1));
  return sorted[sorted.length >> 1] ?? null;
}

function capped(feePerGas: bigint): bigint {
  return lower(feePerGas, FEE_PER_GAS_MAX);
}

export function higher(a: bigint, b: bigint): bigint {
  if (a > b) return a;
  return b;
}

export function lower(a: bigint, b: bigint): bigint {
  if (a < b) return a;
  return b;
}
