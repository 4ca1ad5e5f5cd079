/**
 * Asking a node over HTTP: every chain's connector goes through here. Each request has a time limit and each answer a
 * size limit; what fails is asked again, first of the next endpoint, then after a pause. What a node answers is read
 * inside the attempt, so a truncated or senseless answer counts as a failed one. Nothing is remembered but which
 * endpoint answered last.
 */
import { ChainError, printable } from './chain.ts';

export interface EndpointOptions {
  /** In order of preference; the later ones are asked when an earlier one fails. Without user and password. */
  readonly urls: readonly string[];
  readonly fetch?: typeof globalThis.fetch;
  /** For each request, answer included; 10,000 by default. */
  readonly timeoutMs?: number;
  /** How often every endpoint is tried; 2 by default. */
  readonly rounds?: number;
  /** Between two rounds, doubling from 250 ms. */
  readonly wait?: (ms: number) => Promise<void>;
}

export interface HttpRequest {
  /** Appended to the endpoint's URL. */
  readonly path?: string;
  /** With a body it is a POST. */
  readonly body?: string;
  readonly contentType?: 'application/json' | 'text/plain';
  /** Answers longer than this are not read; 1 MiB by default. */
  readonly answerBytesMax?: number;
}

/** Gives the error to throw when an answer can't be right. It says of which node. */
export type Lies = (what: string) => ChainError;

export interface Http {
  /**
   * The first answer that `read` accepts; it may ask for more itself. Throws what `read` throws, or
   * `ChainError('node_unavailable')` when no endpoint gave a usable answer, or {@link NodeRefusal} for an HTTP status 4xx
   * that is about the request. Those about us as a customer (a key, a payment, a quota) make the next endpoint be asked.
   */
  ask<T>(request: HttpRequest, read: (text: string, lies: Lies) => T | Promise<T>): Promise<T>;
}

/** The node understood and said no, in its own words. A `ChainError` like others for whoever doesn't look closer. */
export class NodeRefusal extends ChainError {
  readonly reason: string;
  /** HTTP status, or the code of a JSON-RPC error. */
  readonly status: number;

  constructor(what: string, status: number, reason: string) {
    super(
      'node_unavailable',
      `The node refuses ${what}: ${reason}. Check that it serves this, or name another node in the configuration.`,
    );
    this.status = status;
    this.reason = reason;
  }
}

const ANSWER_BYTES_MAX = 1024 * 1024;
const BACK_OFF_MS = 250;
/** No key of an account at a node is shorter. */
const KEY_LENGTH_MIN = 8;
/** Unauthorized, payment required, forbidden, proxy, timeout, too many requests. */
const OF_THE_CUSTOMER: readonly number[] = [401, 402, 403, 407, 408, 429];

/**
 * `check` runs once per endpoint, before anything else is asked of it, and again if it failed: is this the right network?
 * Throws `RangeError` for a URL that can't be used.
 */
export function createHttp(
  { urls, fetch = globalThis.fetch, timeoutMs = 10_000, rounds = 2, wait = pause }: EndpointOptions,
  check?: (ask: Http['ask']) => Promise<void>,
): Http {
  const endpoints = urls.map((url) => createEndpoint(url, { fetch, timeoutMs }, check));
  if (endpoints.length === 0) throw new RangeError('a chain needs the URL of at least one node');
  let preferred = 0;

  return {
    async ask(request, read) {
      let failure: unknown;
      for (let round = 0; round < rounds; round++) {
        if (round > 0) await wait(BACK_OFF_MS * 2 ** (round - 1));
        for (let i = 0; i < endpoints.length; i++) {
          const at = (preferred + i) % endpoints.length;
          try {
            const answer = await endpoints[at]!.ask(request, read);
            preferred = at;
            return answer;
          } catch (error) {
            if (!isWorthAnotherTry(error)) throw error;
            failure = error;
          }
        }
      }
      throw failure;
    },
  };
}

function isWorthAnotherTry(error: unknown): boolean {
  return error instanceof ChainError && error.code === 'node_unavailable' && !(error instanceof NodeRefusal);
}

function createEndpoint(
  base: string,
  { fetch, timeoutMs }: Required<Pick<EndpointOptions, 'fetch' | 'timeoutMs'>>,
  check: ((ask: Http['ask']) => Promise<void>) | undefined,
): Http {
  const url = URL.canParse(base) ? new URL(base) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new RangeError('a node needs an http or https URL without user and password');
  // Only the host is ever printed: paths and queries of hosted nodes hold API keys.
  const unavailable = (what: string, cause?: unknown): ChainError =>
    new ChainError(
      'node_unavailable',
      `The node ${url.host} ${what}. Try again, or name another node in the configuration.`,
      { cause },
    );
  // Servers like to repeat what they were asked for.
  const hidden = [...url.pathname.split('/'), url.search, url.search.slice(1), ...url.searchParams.values()].filter(
    (part) => part.length >= KEY_LENGTH_MIN,
  );
  const lies: Lies = (what) => unavailable(`can't be right: ${what}`);

  const ask: Http['ask'] = async (request, read) => {
    const { path = '', body, contentType = 'application/json', answerBytesMax = ANSWER_BYTES_MAX } = request;
    const signal = AbortSignal.timeout(timeoutMs);
    let text: string;
    try {
      const response = await fetch(`${url.origin}${url.pathname.replace(/\/$/, '')}${path}${url.search}`, {
        ...(body === undefined ? {} : { method: 'POST', headers: { 'content-type': contentType }, body }),
        redirect: 'error',
        signal,
      });
      const refused = response.status >= 400 && response.status < 500 && !OF_THE_CUSTOMER.includes(response.status);
      if (response.status !== 200 && !refused) {
        await response.body?.cancel();
        throw unavailable(`answers with HTTP status ${response.status}`);
      }
      text = await readBounded(response, answerBytesMax, signal);
      if (refused) {
        const reason = printable(hidden.reduce((so, part) => so.replaceAll(part, '…'), text)).trim();
        throw new NodeRefusal('the request', response.status, reason || `status ${response.status}`);
      }
    } catch (error) {
      if (error instanceof ChainError) throw error;
      if (error instanceof RangeError) throw lies(`its answer has more than ${answerBytesMax} bytes`);
      const late = error instanceof DOMException && error.name === 'TimeoutError';
      throw unavailable(late ? `gave no answer in ${timeoutMs} ms` : `can't be reached`, error);
    }
    return read(text, lies);
  };

  let checked: Promise<void> | null = null;
  return {
    async ask(request, read) {
      checked ??= check?.(ask) ?? Promise.resolve();
      try {
        await checked;
      } catch (error) {
        checked = null;
        // A refusal would be taken for the answer to what was asked: "I don't know that transaction", or "I won't send it".
        throw error instanceof NodeRefusal ? unavailable('does not say which network it serves', error) : error;
      }
      return ask(request, read);
    },
  };
}

/** Counts what arrives, decompressed, and stops reading at the bound or at the signal. Throws `RangeError` or its reason. */
export async function readBounded(response: Response, bytesMax: number, signal: AbortSignal): Promise<string> {
  const reader = response.body?.getReader();
  // Node's fetch loses the signal when memory is cleaned up while an answer arrives: a slow one would be read for ever.
  signal.addEventListener('abort', () => reader?.cancel().catch(() => {}), { once: true });
  const decoder = new TextDecoder();
  let text = '';
  let length = 0;
  for (;;) {
    signal.throwIfAborted();
    const { done = true, value } = (await reader?.read()) ?? {};
    if (done && !signal.aborted) return text + decoder.decode();
    length += value?.length ?? 0;
    if (length > bytesMax) {
      await reader?.cancel();
      throw new RangeError('answer too long');
    }
    text += decoder.decode(value, { stream: true });
  }
}

/** Reads an answer as JSON. */
export function readJson(text: string, lies: Lies): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw lies('its answer is no JSON');
  }
}

export function readRecord(value: unknown, name: string, lies: Lies): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw lies(`it sends something else as ${name}`);
  return value as Record<string, unknown>;
}

export function readArray(value: unknown, name: string, lies: Lies, max: number, min = 0): readonly unknown[] {
  if (!Array.isArray(value) || value.length < min || value.length > max)
    throw lies(`${name} is no list of ${min} to ${max} entries`);
  return value;
}

/** A whole number from 0 to `max`. */
export function readInteger(value: unknown, name: string, lies: Lies, max = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max)
    throw lies(`${name} is no whole number up to ${max}`);
  return value;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
