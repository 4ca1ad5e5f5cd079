/**
 * How a restored or cloned device is noticed (docs/mpc.md, "Rollback"): each hello carries a counter that its sender never
 * uses twice, and the receiver remembers the last 64. Reordered, delayed and replayed hellos are no alarm; two different
 * hellos under one counter are proof.
 */
import { equalBytes } from './bytes.ts';

const WINDOW = 64;

/** An honest restore adds this to every counter, and says so in its hello. */
export const RESTORE_STEP = 1n << 32n;

export interface SeenHello {
  readonly counter: bigint;
  /** Tagged hash of the hello, 32 bytes. */
  readonly hello: Uint8Array;
}

/** What is remembered of one peer: at most 64, ascending by counter. */
export type CounterWindow = readonly SeenHello[];

export type CounterVerdict = 'fresh' | 'stale' | 'cloned';

/** Judged only after a message of the session that the hello opened was authenticated. */
export function judgeCounter(
  window: CounterWindow,
  seen: SeenHello,
): { verdict: CounterVerdict; window: CounterWindow } {
  const same = window.find(({ counter }) => counter === seen.counter);
  if (same) return { verdict: equalBytes(same.hello, seen.hello) ? 'stale' : 'cloned', window };
  if (window.length === WINDOW && seen.counter < window[0]!.counter) return { verdict: 'stale', window };
  const later = window.findIndex(({ counter }) => counter > seen.counter);
  const at = later < 0 ? window.length : later;
  return { verdict: 'fresh', window: [...window.slice(0, at), seen, ...window.slice(at)].slice(-WINDOW) };
}
