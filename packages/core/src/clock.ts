/**
 * Time as an argument. Both processes get a `Clock` from their entry; the shipped entries pass `systemClock` of the
 * process, the journeys pass a driven one. Nothing else in Kedge reads the time or sets a timer that matters.
 */
export interface Clock {
  /** Milliseconds since 1970, as the machine believes them; may jump. */
  wallMs(): number;
  /** Milliseconds that only ever grow while the process lives; the zero point means nothing. */
  monotonicMs(): number;
  /**
   * Calls `run` every `periodMs`, never two at once, until the returned function is called.
   * A rejection is the caller's to handle: `run` must not reject.
   */
  every(periodMs: number, run: () => Promise<void>): () => void;
}

/** `length` bytes from a cryptographically secure source. */
export type RandomBytes = (length: number) => Uint8Array;

export const SECOND_MS = 1_000;
export const MINUTE_MS = 60 * SECOND_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

/** The clock of the machine; timers do not keep a process alive. */
export function systemClock(): Clock {
  return {
    wallMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    every(periodMs, run) {
      let running = false;
      const timer = setInterval(() => {
        if (running) return;
        running = true;
        void run().finally(() => {
          running = false;
        });
      }, periodMs);
      (timer as unknown as { unref?: () => void }).unref?.();
      return () => clearInterval(timer);
    },
  };
}

/** What one look at the clocks may add to service time: a pause of the machine adds no more than this. */
const SERVICE_GAIN_MS_MAX = 10 * 60_000;

/**
 * By how much service time grows between two looks at the clocks: the least of what both say, at most ten minutes, and
 * nothing when one of them went back or isn't a number. So moving a clock or switching the service off shortens no wait.
 */
export function serviceGainMs(passed: { readonly wallMs: number; readonly monotonicMs: number }): number {
  const gain = Math.min(passed.wallMs, passed.monotonicMs, SERVICE_GAIN_MS_MAX);
  // biome-ignore lint/complexity/useMathMinMax: not Math.max, which would let a NaN through.
  return gain > 0 ? gain : 0;
}
