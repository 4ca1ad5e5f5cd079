/**
 * The HTTP client: one typed call per endpoint of core's table, for Node and browsers. It retries what failed on the
 * way with the same idempotency key, so that a call that was repeated acts once; proofs are made anew for each try.
 * A call, and the calls that its proofs need, share one patience: an app hears within seconds that a service is down.
 * It keeps no secret but the bearer token it was given.
 */
import {
  type Endpoint,
  type EndpointName,
  endpoints,
  errorEntry,
  type Given,
  isErrorCode,
  KedgeError,
  type ResponseOf,
  SLOW_REQUEST_MS_MAX,
  toBase64Url,
} from '@kedge/core';

type Part<K extends string, T> = undefined extends T ? { readonly [P in K]?: never } : { readonly [P in K]: T };

/** How long one act of an app tries again, over all calls it takes. */
export interface Patience {
  failures: number;
  /** Monotonic: no try begins later. */
  readonly untilMs: number;
}

/** A file, encrypted by its owner, with the fields that go beside it. */
type UploadOf<N extends EndpointName> = [Given<N, 'upload'>] extends [undefined]
  ? undefined
  : { readonly file: Uint8Array; readonly fields: Given<N, 'upload'> };

/** What a call of that endpoint takes. `proof` is asked for a fresh proof at each try. */
export type CallOptions<N extends EndpointName> = Part<'params', Given<N, 'params'>> &
  ([Given<N, 'query'>] extends [undefined] ? { readonly query?: never } : { readonly query?: Given<N, 'query'> }) &
  Part<'body', Given<N, 'body'>> &
  Part<'upload', UploadOf<N>> & {
    readonly proof?: (attempt: number, patience: Patience) => Promise<string>;
    /** Of the act that this call belongs to, if it is not an act of its own. */
    readonly patience?: Patience;
  };

export interface ClientOptions {
  readonly url: string;
  /** `pk_…`, `sk_…`, a session, or null for the endpoints that need none. */
  readonly token: string | null;
  readonly fetch?: typeof globalThis.fetch;
  readonly random?: (length: number) => Uint8Array;
  /** How long to wait before the next try; an argument so that tests wait for nothing. */
  readonly wait?: (ms: number) => Promise<void>;
  /** For how long what failed on the way is tried again: 8 s by default; more rides out a restart of the service. */
  readonly patienceMs?: number;
  readonly monotonicMs?: () => number;
}

export interface Client {
  readonly url: string;
  call<N extends EndpointName>(name: N, options: CallOptions<N>): Promise<ResponseOf<N>>;
  /** For an act of several calls. */
  patience(): Patience;
  /** The same service with another credential. */
  as(token: string | null): Client;
}

const PATIENCE_MS = 8_000;
/** Longer than a gateway takes before it gives up. */
const TRY_MS_MAX = 20_000;
const FIRST_WAIT_MS = 500;
const WAIT_MS_MAX = 4_000;
const retryable = new Set([
  'enclave_unavailable',
  'store_unavailable',
  'idempotency_running',
  'proof_stale',
  'proof_expired',
  'client_secret_superseded',
  'overloaded',
  'chain_unavailable',
  'issuer_unavailable',
]);

export function randomBytes(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

/** Throws `KedgeError` with the code of the problem details; `internal` when there is no answer at all. */
export function createClient(options: ClientOptions): Client {
  const { url, token, fetch = globalThis.fetch, random = randomBytes, wait = sleep } = options;
  const { monotonicMs = () => performance.now(), patienceMs = PATIENCE_MS } = options;
  const newPatience = (): Patience => ({ failures: 0, untilMs: monotonicMs() + patienceMs });

  return {
    url,
    patience: newPatience,
    as: (other) => createClient({ ...options, token: other }),
    async call(name, given) {
      const endpoint: Endpoint = endpoints[name];
      const {
        params,
        query,
        body,
        upload,
        proof,
        patience = newPatience(),
      } = given as {
        params?: object;
        query?: object;
        body?: unknown;
        upload?: { readonly file: Uint8Array; readonly fields: object };
        proof?: (attempt: number, patience: Patience) => Promise<string>;
        patience?: Patience;
      };
      const target = new URL(fillPath(endpoint.path, params ?? {}), url);
      for (const [key, value] of Object.entries(query ?? {})) target.searchParams.set(key, String(value));
      const key = endpoint.method === 'POST' ? toBase64Url(random(16)) : null;
      for (let attempt = 1; ; attempt++) {
        const headers: Record<string, string> = {};
        if (token !== null) headers.authorization = `Bearer ${token}`;
        // What fails in here was tried again in here, out of the same patience.
        if (proof) headers['kedge-proof'] = await proof(attempt, patience);
        if (key !== null) headers['idempotency-key'] = key;
        if (body !== undefined) headers['content-type'] = 'application/json';
        try {
          const tryMs = endpoint.slow ? SLOW_REQUEST_MS_MAX : TRY_MS_MAX;
          const content = upload ? formOf(upload) : body === undefined ? undefined : JSON.stringify(body);
          const response = await send(fetch, target, endpoint.method, headers, content, tryMs);
          return endpoint.response.parse(response) as ResponseOf<typeof name>;
        } catch (error) {
          if (!(error instanceof KedgeError) || !retryable.has(error.code)) throw error;
          const ownMs = Math.min(FIRST_WAIT_MS * 2 ** patience.failures++, WAIT_MS_MAX);
          const waitMs = Math.max(ownMs, 1_000 * (error.retryAfterS ?? 0));
          if (monotonicMs() + waitMs >= patience.untilMs) throw error;
          await wait(waitMs);
        }
      }
    },
  };
}

async function send(
  fetch: typeof globalThis.fetch,
  target: URL,
  method: string,
  headers: Record<string, string>,
  body: string | FormData | undefined,
  timeoutMs: number,
): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs);
  let response: Response;
  let text: string;
  try {
    response = await fetch(target, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      redirect: 'error',
      signal,
    });
    text = await before(signal, response.text());
  } catch (cause) {
    throw new KedgeError('overloaded', `There is no answer from ${target.origin}. Is the service running?`, { cause });
  }
  if (response.status === 204) return null;
  const json = parse(text);
  if (response.ok) return json;
  const problem = (json ?? {}) as { code?: string; detail?: string };
  const code = problem.code && isErrorCode(problem.code) ? problem.code : 'internal';
  const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
  throw new KedgeError(
    code,
    problem.detail ?? errorEntry(code).title,
    Number.isFinite(retryAfter) ? { retryAfterS: retryAfter } : {},
  );
}

/** Node's fetch loses the signal when memory is cleaned up while an answer arrives: a slow one would be read for ever. */
function before<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    work.then(resolve, reject);
  });
}

function formOf({ file, fields }: { readonly file: Uint8Array; readonly fields: object }): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) form.append(name, String(value));
  form.append('file', new Blob([new Uint8Array(file)], { type: 'application/octet-stream' }), 'backup.bin');
  return form;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function fillPath(path: string, params: object): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String((params as Record<string, unknown>)[name])),
  );
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
