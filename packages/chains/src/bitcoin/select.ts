/**
 * Which coins pay for a transaction. Pure and without chance: the same coins and the same target give the same choice.
 * First it looks for coins that fit without change (branch and bound, as Bitcoin Core does it), which costs least and
 * tells least; then for the smallest single coin that is enough; then it takes the largest. A coin that costs more to
 * spend than it holds is left alone.
 */
import { ChainError } from '../chain.ts';
import { feeOf, frameWeight, TRANSACTION_WEIGHT_MAX } from './fees.ts';

export interface Selectable {
  readonly id: string;
  readonly amount: bigint;
}

export interface SelectionTask<C extends Selectable> {
  readonly coins: readonly C[];
  /** Sum of the outputs, in sats. */
  readonly target: bigint;
  /** Weight of the outputs without change, their number, and the weight of each input and of a change output. */
  readonly outputsWeight: number;
  readonly outputCount: number;
  readonly inputWeight: number;
  readonly changeWeight: number;
  /** Change below this is left to the fee. */
  readonly changeMin: bigint;
  readonly feeRate: number;
  /** Whether the coins were chosen by hand: all of them are spent, whatever they are worth. */
  readonly chosen?: boolean;
}

export interface Selection<C extends Selectable> {
  readonly coins: readonly C[];
  /** 0: no change output. */
  readonly change: bigint;
  readonly fee: bigint;
}

/** Steps of the search for a fit without change, so that its time is bounded however many coins there are. */
const SEARCH_STEPS_MAX = 20_000;
const SEARCH_COINS_MAX = 1_000;

/** Throws `insufficient_funds`, and `transaction_too_large` when the funds are there but in too many coins. */
export function selectCoins<C extends Selectable>(task: SelectionTask<C>): Selection<C> {
  if (task.chosen) return selectChosen(task);
  const cost = feeOf(task.inputWeight, task.feeRate);
  const worth = task.coins.filter(({ amount }) => amount > cost).sort(bySizeThenId);
  const count = Math.min(worth.length, inputsMax(task));
  const found = exactFit(task, worth, cost) ?? smallestSingle(task, worth) ?? largestFirst(task, worth.slice(0, count));
  if (found !== null) return found;
  const held = worth.reduce((sum, { amount }) => sum + amount, 0n);
  const needed = task.target + feeFor(task, worth.length, false);
  if (held < needed) throw insufficient(held, needed);
  throw new ChainError(
    'transaction_too_large',
    `The funds lie in ${worth.length} coins, and ${count} fit in one transaction. Send less, or sweep them together first.`,
  );
}

function selectChosen<C extends Selectable>(task: SelectionTask<C>): Selection<C> {
  assertFit(task);
  const settled = settle(task, task.coins);
  if (settled !== null) return settled;
  const held = task.coins.reduce((sum, { amount }) => sum + amount, 0n);
  throw insufficient(held, task.target + feeFor(task, task.coins.length, false));
}

function assertFit(task: SelectionTask<Selectable>): void {
  if (task.coins.length > inputsMax(task))
    throw new ChainError(
      'transaction_too_large',
      `It would spend ${task.coins.length} coins, and ${inputsMax(task)} fit in one transaction. Plan a sweep, which takes them in batches.`,
    );
}

/** Every coin that is worth its own fee, or was chosen by hand. Throws as {@link selectCoins}. */
export function selectAll<C extends Selectable>(
  task: Omit<SelectionTask<C>, 'target' | 'changeWeight' | 'changeMin'>,
): {
  readonly coins: readonly C[];
  readonly amount: bigint;
  readonly fee: bigint;
} {
  const cost = feeOf(task.inputWeight, task.feeRate);
  const coins = task.coins.filter(({ amount }) => task.chosen || amount > cost).sort(bySizeThenId);
  const held = coins.reduce((sum, { amount }) => sum + amount, 0n);
  const whole = { ...task, coins, target: 0n, changeWeight: 0, changeMin: 0n };
  const fee = feeFor(whole, coins.length, false);
  if (coins.length === 0 || held <= fee) throw insufficient(held, fee);
  assertFit(whole);
  return { coins, amount: held - fee, fee };
}

/** Inputs that fit beside these outputs and change. */
export function inputsMax(
  shape: Pick<SelectionTask<Selectable>, 'outputsWeight' | 'outputCount' | 'inputWeight' | 'changeWeight'>,
): number {
  const { outputsWeight, outputCount, inputWeight, changeWeight } = shape;
  const rest = TRANSACTION_WEIGHT_MAX - frameWeight(0xffff, outputCount + 1) - outputsWeight - changeWeight;
  return Math.max(0, Math.floor(rest / inputWeight));
}

function feeFor(task: SelectionTask<Selectable>, inputs: number, withChange: boolean): bigint {
  const frame = frameWeight(inputs, task.outputCount + (withChange ? 1 : 0));
  const weight = frame + task.outputsWeight + inputs * task.inputWeight + (withChange ? task.changeWeight : 0);
  return feeOf(weight, task.feeRate);
}

/** Coins whose sum is the target and the fee, give or take what a change output would cost now and later. */
function exactFit<C extends Selectable>(task: SelectionTask<C>, all: readonly C[], cost: bigint): Selection<C> | null {
  const coins = all.slice(0, SEARCH_COINS_MAX);
  const needed = task.target + feeFor(task, 0, false);
  const slack = feeOf(task.changeWeight, task.feeRate) + task.changeMin;
  const effective = coins.map(({ amount }) => amount - cost);
  const rest: bigint[] = [...effective, 0n];
  for (let i = effective.length - 1; i >= 0; i--) rest[i] = rest[i + 1]! + effective[i]!;
  const taken: number[] = [];
  let sum = 0n;
  let steps = 0;
  const search = (at: number): boolean => {
    if (++steps > SEARCH_STEPS_MAX || taken.length > inputsMax(task)) return false;
    if (sum >= needed) return sum <= needed + slack;
    if (at === coins.length || sum + rest[at]! < needed) return false;
    taken.push(at);
    sum += effective[at]!;
    if (sum <= needed + slack && search(at + 1)) return true;
    sum -= effective[at]!;
    taken.pop();
    // Coins of the same size are interchangeable: if one didn't fit here, neither does the next.
    let next = at + 1;
    while (next < coins.length && effective[next] === effective[at]) next++;
    return search(next);
  };
  if (!search(0)) return null;
  const chosen = taken.map((at) => coins[at]!);
  const held = chosen.reduce((total, { amount }) => total + amount, 0n);
  return held < task.target + feeFor(task, chosen.length, false)
    ? null
    : { coins: chosen, change: 0n, fee: held - task.target };
}

function smallestSingle<C extends Selectable>(task: SelectionTask<C>, coins: readonly C[]): Selection<C> | null {
  const enough = coins.filter((coin) => settle(task, [coin])?.change);
  const smallest = enough.at(-1);
  return smallest === undefined ? null : settle(task, [smallest]);
}

function largestFirst<C extends Selectable>(task: SelectionTask<C>, coins: readonly C[]): Selection<C> | null {
  for (let count = 1, held = 0n; count <= coins.length; count++) {
    held += coins[count - 1]!.amount;
    if (held < task.target) continue;
    const settled = settle(task, coins.slice(0, count));
    if (settled !== null) return settled;
  }
  return null;
}

/** What these coins pay and what comes back; null if they don't suffice. */
function settle<C extends Selectable>(task: SelectionTask<C>, coins: readonly C[]): Selection<C> | null {
  const held = coins.reduce((sum, { amount }) => sum + amount, 0n);
  const change = held - task.target - feeFor(task, coins.length, true);
  if (change >= task.changeMin && change > 0n) return { coins, change, fee: held - task.target - change };
  const left = held - task.target;
  return left >= feeFor(task, coins.length, false) ? { coins, change: 0n, fee: left } : null;
}

function bySizeThenId(a: Selectable, b: Selectable): number {
  if (a.amount !== b.amount) return a.amount > b.amount ? -1 : 1;
  return a.id < b.id ? -1 : 1;
}

function insufficient(held: bigint, needed: bigint): ChainError {
  return new ChainError(
    'insufficient_funds',
    `The wallet has ${held} sats to spend, and amount and fee take ${needed}. Send less, or fund it.`,
  );
}
