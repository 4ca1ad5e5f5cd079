/**
 * How often wallets may be opened: 30 a minute for each wallet, and one breaker over all, so that nobody empties the
 * vault unnoticed with stolen proofs. Minutes are counted in memory; the day's limit is in the sealed state (accounts.ts).
 */
import { type Clock, KedgeError, MINUTE_MS } from '@kedge/core';

export const OPENS_PER_MINUTE_MAX = 30;

export class OpenLimits {
  readonly #clock: Clock;
  readonly #breakerPerMinute: number;
  #minute = 0;
  #all = 0;
  #lastMinute = 0;
  #byWallet = new Map<string, number>();

  constructor(clock: Clock, breakerPerMinute: number) {
    this.#clock = clock;
    this.#breakerPerMinute = breakerPerMinute;
  }

  get limit(): number {
    return this.#breakerPerMinute;
  }

  lastMinute(): number {
    this.#roll();
    return Math.max(this.#lastMinute, this.#all);
  }

  /** Counts one. Throws `KedgeError('open_limited' | 'open_breaker')`. */
  charge(wallet: string): void {
    this.#roll();
    if (this.#all >= this.#breakerPerMinute) throw new KedgeError('open_breaker', undefined, { retryAfterS: 60 });
    const count = this.#byWallet.get(wallet) ?? 0;
    if (count >= OPENS_PER_MINUTE_MAX) throw new KedgeError('open_limited', undefined, { retryAfterS: 60 });
    this.#byWallet.set(wallet, count + 1);
    this.#all += 1;
  }

  #roll(): void {
    const minute = Math.floor(this.#clock.monotonicMs() / MINUTE_MS);
    if (minute === this.#minute) return;
    this.#lastMinute = minute === this.#minute + 1 ? this.#all : 0;
    this.#minute = minute;
    this.#all = 0;
    this.#byWallet = new Map();
  }
}
