/**
 * The gateway's side of the wire: an `Enclave` whose methods go over a socket. This is all of the enclave package that
 * the gateway may import. It reconnects by itself; a call made while the enclave is away fails with
 * `enclave_unavailable` and can be tried again.
 */
import { readFileSync } from 'node:fs';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type CborValue, errorEntry, isErrorCode, KedgeError } from '@kedge/core';
import type { Enclave } from './enclave.ts';
import { encodeFrame, FrameReader, hello, IN_FLIGHT_MAX, wireMethods } from './wire.ts';

export type * from './enclave.ts';

/** Where the enclave listens: a Unix socket, or TCP with mutual TLS (files in PEM). */
export type EnclaveAddress =
  | { readonly socket: string }
  | { readonly host: string; readonly port: number; readonly ca: string; readonly cert: string; readonly key: string };

const CALL_MS_MAX = 30_000;
/** Those that read or write whole tables. */
const SLOW_CALL_MS_MAX = 600_000;
const slow: ReadonlySet<string> = new Set(['backUp', 'compact']);

export interface EnclaveConnection {
  readonly enclave: Enclave;
  close(): void;
}

export function connectEnclave(address: EnclaveAddress): EnclaveConnection {
  let link: Link | null = null;
  const call = (method: string, parameters: CborValue) => {
    if (link === null || link.ended) link = new Link(address);
    return link.call(method, parameters);
  };
  const enclave = Object.fromEntries(
    wireMethods.map((method) => [method, (parameters: CborValue = null) => call(method, parameters)]),
  ) as unknown as Enclave;
  return { enclave, close: () => link?.end(new KedgeError('enclave_unavailable', 'The connection was closed.')) };
}

interface Waiting {
  resolve(value: CborValue): void;
  reject(error: Error): void;
  readonly timer: NodeJS.Timeout;
}

class Link {
  ended = false;
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #reader = new FrameReader();
  #greeted = false;
  #nextId = 1;

  constructor(address: EnclaveAddress) {
    this.#socket =
      'socket' in address
        ? connectPlain(address.socket)
        : connectTls({
            host: address.host,
            port: address.port,
            ca: readFileSync(address.ca),
            cert: readFileSync(address.cert),
            key: readFileSync(address.key),
            minVersion: 'TLSv1.3',
          });
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    this.#socket.on('error', (cause) =>
      this.end(new KedgeError('enclave_unavailable', undefined, { cause, retryAfterS: 1 })),
    );
    this.#socket.on('close', () => this.end(new KedgeError('enclave_unavailable', undefined, { retryAfterS: 1 })));
    this.#socket.write(encodeFrame(hello));
  }

  call(method: string, parameters: CborValue): Promise<CborValue> {
    if (this.#waiting.size >= IN_FLIGHT_MAX)
      return Promise.reject(new KedgeError('overloaded', undefined, { retryAfterS: 1 }));
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      const msMax = slow.has(method) ? SLOW_CALL_MS_MAX : CALL_MS_MAX;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        const detail = `The enclave did not answer within ${msMax / 1_000} s.`;
        reject(new KedgeError('enclave_unavailable', detail, { retryAfterS: 5 }));
      }, msMax);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket.write(encodeFrame([id, method, parameters]));
    });
  }

  end(error: KedgeError): void {
    if (this.ended) return;
    this.ended = true;
    this.#socket.destroy();
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
  }

  #receive(chunk: Uint8Array): void {
    try {
      for (const value of this.#reader.push(chunk)) {
        if (this.#greeted) this.#settle(value);
        else this.#greet(value);
      }
    } catch (cause) {
      this.end(new KedgeError('enclave_unavailable', 'The enclave speaks another protocol.', { cause }));
    }
  }

  #greet(value: CborValue): void {
    const greeting = value as { kedge?: CborValue; version?: CborValue } | null;
    if (greeting?.kedge !== 'enclave' || greeting.version !== 1) throw new RangeError('not our protocol');
    this.#greeted = true;
  }

  #settle(value: CborValue): void {
    const [id, ok, result] = value as [number, boolean, CborValue];
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (ok) {
      waiting.resolve(result);
      return;
    }
    const {
      code,
      detail,
      retry_after_s: retryAfterS,
    } = result as { code: string; detail: string; retry_after_s: number | null };
    const known = isErrorCode(code) ? code : 'internal';
    waiting.reject(
      new KedgeError(known, detail || errorEntry(known).title, retryAfterS === null ? {} : { retryAfterS }),
    );
  }
}
