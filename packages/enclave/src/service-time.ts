/**
 * Service time: how long the service has really been up, as the enclave saw it. At each tick it grows by the least of
 * what the monotonic and the wall clock say, and by ten minutes at most; a restart adds nothing. So moving a clock or
 * switching the service off shortens no wait. Guess limits and the seven days before a key is destroyed use it.
 */
import { type CborValue, type Clock, decodeCbor, encodeCbor, MINUTE_MS, serviceGainMs } from '@kedge/core';
import type { SealedState } from './state.ts';

export const TICK_MS = MINUTE_MS;

export class ServiceTime {
  readonly #clock: Clock;
  readonly #state: SealedState;
  readonly #key: Uint8Array;
  #accruedMs: number;
  #wallMs: number;
  #monotonicMs: number;

  private constructor(clock: Clock, state: SealedState, key: Uint8Array, accruedMs: number) {
    this.#clock = clock;
    this.#state = state;
    this.#key = key;
    this.#accruedMs = accruedMs;
    this.#wallMs = clock.wallMs();
    this.#monotonicMs = clock.monotonicMs();
  }

  static async load(clock: Clock, state: SealedState): Promise<ServiceTime> {
    const key = await state.key('service-time');
    const stored = await state.read(key);
    const accrued = stored === null ? 0 : (decodeCbor(stored) as { [name: string]: CborValue }).accrued_ms;
    return new ServiceTime(clock, state, key, Number(accrued));
  }

  /** Milliseconds of service so far, to the moment. */
  nowMs(): number {
    return this.#accruedMs + this.#gain();
  }

  /** Durable when the promise resolves. */
  async tick(): Promise<void> {
    const accruedMs = Math.floor(this.nowMs());
    this.#wallMs = this.#clock.wallMs();
    this.#monotonicMs = this.#clock.monotonicMs();
    this.#accruedMs = accruedMs;
    await this.#state.write([{ key: this.#key, value: encodeCbor({ accrued_ms: accruedMs }) }]);
  }

  #gain(): number {
    return serviceGainMs({
      wallMs: this.#clock.wallMs() - this.#wallMs,
      monotonicMs: this.#clock.monotonicMs() - this.#monotonicMs,
    });
  }
}
