/**
 * Numbers for the operator, in Prometheus' text form at `/metrics`. One registry per gateway; what has to be looked up
 * (database size, lag, ages, the enclave's state) is looked up when somebody scrapes, and a part that does not answer
 * leaves its numbers out instead of failing the page. Labels are route patterns, methods and codes: never an id.
 */
import type { Enclave } from '@kedge/enclave/client';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { toKedgeError } from './problems.ts';

export interface Metrics {
  readonly registry: Registry;
  readonly requests: Counter<'method' | 'route' | 'status'>;
  readonly requestSeconds: Histogram<'method' | 'route'>;
  readonly enclaveSeconds: Histogram<'method'>;
  readonly enclaveFailures: Counter<'method' | 'code'>;
  readonly openRefusals: Counter<'code'>;
  readonly recoveryRefusals: Counter;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    requests: new Counter({
      name: 'kedge_http_requests_total',
      help: 'Requests answered.',
      labelNames: ['method', 'route', 'status'],
      registers,
    }),
    requestSeconds: new Histogram({
      name: 'kedge_http_request_seconds',
      help: 'Time to answer a request.',
      labelNames: ['method', 'route'],
      buckets: [0.005, 0.02, 0.1, 0.5, 2, 10],
      registers,
    }),
    enclaveSeconds: new Histogram({
      name: 'kedge_enclave_call_seconds',
      help: 'Time of a call to the enclave.',
      labelNames: ['method'],
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
      registers,
    }),
    enclaveFailures: new Counter({
      name: 'kedge_enclave_failures_total',
      help: 'Calls to the enclave that failed, by error code.',
      labelNames: ['method', 'code'],
      registers,
    }),
    openRefusals: new Counter({
      name: 'kedge_wallet_open_refusals_total',
      help: 'Wallets that the enclave did not open, by error code.',
      labelNames: ['code'],
      registers,
    }),
    recoveryRefusals: new Counter({
      name: 'kedge_recovery_refusals_total',
      help: 'Recoveries with wrong words or account.',
      registers,
    }),
  };
}

/** The same enclave, each call timed and its failure counted. */
export function measuredEnclave(enclave: Enclave, metrics: Metrics): Enclave {
  return new Proxy(enclave, {
    get(target, method, receiver) {
      const call: unknown = Reflect.get(target, method, receiver);
      if (typeof call !== 'function' || typeof method !== 'string') return call;
      return async (...parameters: unknown[]) => {
        const stop = metrics.enclaveSeconds.startTimer({ method });
        try {
          return await Reflect.apply(call, target, parameters);
        } catch (error) {
          metrics.enclaveFailures.inc({ method, code: toKedgeError(error).code });
          throw error;
        } finally {
          stop();
        }
      };
    },
  });
}

/** A number that is looked up at each scrape; left out when that fails. */
export function gaugeOf(metrics: Metrics, name: string, help: string, read: () => Promise<number | null>): void {
  new Gauge({
    name,
    help,
    registers: [metrics.registry],
    async collect() {
      this.reset();
      const value = await read().catch(() => null);
      if (value === null) this.remove();
      else this.set(value);
    },
  });
}
