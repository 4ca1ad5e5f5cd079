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
