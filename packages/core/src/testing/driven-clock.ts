/**
 * A clock that tests and journeys move: the machine's own time plus what was advanced. Advancing goes in steps of at
 * most ten minutes and runs every timer that falls due, one after the other, so seven days pass as they would: tick by
 * tick. No shipped entry composes it.
 */
import { type Clock, MINUTE_MS, systemClock } from '../clock.ts';

export interface DrivenClock extends Clock {
  /** In steps of `stepMs` (ten minutes by default); resolves when every timer that fell due has finished. */
  advance(ms: number, stepMs?: number): Promise<void>;
  /** Moves the wall clock alone, as a person or a broken time server would; no timer runs. */
  jumpWall(ms: number): void;
}

const STEP_MS = 10 * MINUTE_MS;

interface Timer {
  readonly periodMs: number;
  readonly run: () => Promise<void>;
  dueMs: number;
}

/** `real` keeps timers running in real time too, as a process needs it; without, nothing happens unless advanced. */
export function drivenClock({ real = false }: { readonly real?: boolean } = {}): DrivenClock {
  const machine = systemClock();
  const startWallMs = machine.wallMs();
  let advancedMs = 0;
  let wallJumpMs = 0;
  const timers = new Set<Timer>();
  const elapsedMs = () => (real ? machine.monotonicMs() : 0);
  const zeroMs = elapsedMs();

  return {
    wallMs: () => Math.floor((real ? machine.wallMs() : startWallMs) + advancedMs + wallJumpMs),
    monotonicMs: () => elapsedMs() - zeroMs + advancedMs,
    every(periodMs, run) {
      const timer: Timer = { periodMs, run, dueMs: advancedMs + periodMs };
      timers.add(timer);
      const stop = real ? machine.every(periodMs, run) : () => undefined;
      return () => {
        timers.delete(timer);
        stop();
      };
    },
    async advance(ms, stepMs = STEP_MS) {
      const untilMs = advancedMs + ms;
      while (advancedMs < untilMs) {
        advancedMs = Math.min(advancedMs + stepMs, untilMs);
        for (const timer of timers) {
          if (timer.dueMs > advancedMs) continue;
          timer.dueMs = advancedMs + timer.periodMs;
          await timer.run();
        }
      }
    },
    jumpWall(ms) {
      wallJumpMs += ms;
    },
  };
}
