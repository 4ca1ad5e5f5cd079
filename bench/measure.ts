/**
 * How every figure here is measured: ours and a reference, in pairs, A-B-A-B, in one process after a warm-up; the ratio of
 * each pair; the median of the ratios and a 95 % bootstrap interval around it. Only ratios count: a machine that others
 * use too makes absolute figures move by a third. A bar is missed when the bad end of the interval misses it: the low end
 * of a rate, the high end of a time.
 */
import { randomInt } from 'node:crypto';

const PAIRS_MIN = 30;
const WARM_UP = 3;
const RESAMPLES = 2_000;
/** More than for rates: what is timed here is JavaScript, and runs three times slower until it is compiled. */
const TIMED_WARM_UP = 8;

export interface Row {
  readonly id: string;
  readonly what: string;
  /** Median of ours, in `unit`. */
  readonly value: number;
  readonly unit: string;
  /** Median of the reference; null for a figure that stands alone. */
  readonly reference: number | null;
  /** Median of the ratios, ours ÷ reference. */
  readonly ratio: number | null;
  readonly low: number | null;
  readonly high: number | null;
  /** null for a figure that is only there to explain another. */
  readonly bar: { readonly atLeast: number } | { readonly atMost: number } | null;
  readonly met: boolean;
}

/** One question: what it is called on the command line, and how it is answered. */
export interface Question {
  readonly name: string;
  run(options: BenchOptions): Promise<readonly Row[]>;
}

export interface BenchOptions {
  /** The large variants: a million rows on PostgreSQL. */
  readonly million: boolean;
  /** Folder of a library to compare with, which is never one of our dependencies. */
  readonly peer: string | null;
}

export interface Pair {
  readonly id: string;
  readonly what: string;
  /** What one call of `ours`, and of `reference`, has done so many of. */
  readonly count: number;
  readonly unit: string;
  readonly bar: { readonly atLeast: number };
  readonly pairs?: number;
  readonly warmUp?: number;
  ours(): Promise<unknown>;
  reference(): Promise<unknown>;
}

export async function measurePairs(pair: Pair): Promise<Row> {
  const { id, what, count, unit, bar, pairs = PAIRS_MIN, warmUp = WARM_UP } = pair;
  for (let round = 0; round < warmUp; round++) {
    await pair.ours();
    await pair.reference();
  }
  const ours: number[] = [];
  const reference: number[] = [];
  for (let round = 0; round < Math.max(pairs, PAIRS_MIN); round++) {
    ours.push(count / (await secondsOf(pair.ours)));
    reference.push(count / (await secondsOf(pair.reference)));
  }
  const ratios = ours.map((rate, at) => rate / reference[at]!);
  const [low, high] = bootstrap(ratios);
  return {
    id,
    what,
    value: median(ours),
    unit,
    reference: median(reference),
    ratio: median(ratios),
    low,
    high,
    bar,
    met: low >= bar.atLeast,
  };
}

/** A run of `count` of something; what `prepare` gives is made before the clock starts. */
export interface Timed {
  prepare(): unknown;
  // biome-ignore lint/suspicious/noExplicitAny: each run takes what its own `prepare` gave
  run(prepared: any): Promise<unknown>;
}

/** The whole against the slowest of its parts, each alone, one after the other in every round. A row for each. */
export async function measureParts(measured: {
  readonly id: string;
  readonly what: string;
  readonly count: number;
  readonly unit: string;
  readonly bar: { readonly atLeast: number };
  readonly whole: Timed;
  readonly parts: Readonly<Record<string, Timed>>;
}): Promise<Row[]> {
  const { id, what, count, unit, bar, whole, parts } = measured;
  const rates = new Map<string, number[]>();
  for (let round = -WARM_UP; round < PAIRS_MIN; round++) {
    for (const [name, timed] of [['', whole] as const, ...Object.entries(parts)]) {
      const prepared = timed.prepare();
      const rate = count / (await secondsOf(() => timed.run(prepared)));
      if (round >= 0) rates.set(name, [...(rates.get(name) ?? []), rate]);
    }
  }
  const ours = rates.get('')!;
  const names = Object.keys(parts);
  const slowest = names.reduce((a, b) => (median(rates.get(b)!) < median(rates.get(a)!) ? b : a));
  const ratios = ours.map((rate, round) => rate / rates.get(slowest)![round]!);
  const [low, high] = bootstrap(ratios);
  const alone = { id, unit, reference: null, ratio: null, low: null, high: null, bar: null, met: true };
  return [
    {
      ...{ id, what, unit, bar, low, high },
      value: median(ours),
      reference: median(rates.get(slowest)!),
      ratio: median(ratios),
      met: low >= bar.atLeast,
    },
    ...names.map((name) => ({ ...alone, what: `  ${name}`, value: median(rates.get(name)!) })),
  ];
}

/** Pairs of ours and the reference, of something that is better small. */
export function pairsAtMost(
  row: Pick<Row, 'id' | 'what' | 'unit'> & { readonly bar: { readonly atMost: number } },
  pairs: readonly (readonly [ours: number, reference: number])[],
): Row {
  const ratios = pairs.map(([ours, reference]) => ours / reference);
  const [low, high] = bootstrap(ratios);
  return {
    ...row,
    ...{ low, high, ratio: median(ratios), met: high <= row.bar.atMost },
    value: median(pairs.map(([ours]) => ours)),
    reference: median(pairs.map(([, reference]) => reference)),
  };
}

/** The 99th percentile of ours against that of the reference. */
export function tailAtMost(
  row: Pick<Row, 'id' | 'what' | 'unit'> & { readonly bar: { readonly atMost: number } },
  ours: readonly number[],
  reference: readonly number[],
): Row {
  const ratios = Array.from({ length: RESAMPLES }, () => p99(resampled(ours)) / p99(resampled(reference))).sort(
    (a, b) => a - b,
  );
  const [low, high] = [ratios[Math.floor(0.025 * RESAMPLES)]!, ratios[Math.ceil(0.975 * RESAMPLES) - 1]!];
  const ratio = p99(ours) / p99(reference);
  return { ...row, low, high, ratio, value: p99(ours), reference: p99(reference), met: high <= row.bar.atMost };
}

function p99(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.ceil(0.99 * values.length) - 1]!;
}

function resampled(values: readonly number[]): number[] {
  return values.map(() => values[randomInt(values.length)]!);
}

/** Milliseconds of one call, with a ratio only when there is something to compare with. */
export interface TimedCall {
  readonly id: string;
  readonly what: string;
  readonly bar: { readonly atMost: number };
  ours(): Promise<unknown>;
  readonly reference: (() => Promise<unknown>) | null;
}

export async function measureTimes({ id, what, bar, ours, reference }: TimedCall): Promise<Row> {
  const times: { ours: number[]; reference: number[] } = { ours: [], reference: [] };
  for (let round = -TIMED_WARM_UP; round < PAIRS_MIN; round++) {
    const mine = await secondsOf(ours);
    const other = reference ? await secondsOf(reference) : 0;
    if (round < 0) continue;
    times.ours.push(1_000 * mine);
    times.reference.push(1_000 * other);
  }
  const row = { id, what, value: median(times.ours), unit: 'ms' };
  if (!reference) return { ...row, reference: null, ratio: null, low: null, high: null, bar: null, met: true };
  const ratios = times.ours.map((time, at) => time / times.reference[at]!);
  const [low, high] = bootstrap(ratios);
  return { ...row, reference: median(times.reference), ratio: median(ratios), low, high, bar, met: high <= bar.atMost };
}

/** A figure without a reference, such as memory. */
export function single(
  row: Pick<Row, 'id' | 'what' | 'value' | 'unit'> & { readonly bar: { readonly atMost: number } },
): Row {
  return { ...row, reference: null, ratio: null, low: null, high: null, met: row.value <= row.bar.atMost };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function bootstrap(values: readonly number[]): readonly [low: number, high: number] {
  const medians = Array.from({ length: RESAMPLES }, () => median(resampled(values))).sort((a, b) => a - b);
  return [medians[Math.floor(0.025 * RESAMPLES)]!, medians[Math.ceil(0.975 * RESAMPLES) - 1]!];
}

async function secondsOf(run: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await run();
  return (performance.now() - started) / 1_000;
}
