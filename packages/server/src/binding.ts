/**
 * Binds core's table of endpoints to handlers, in one loop that does for every endpoint the same things in the same
 * order: rate limits, who calls and whether they may, the proof's shape, parsing, idempotency, the handler, and the
 * response through its schema, which drops what it doesn't name. `Handlers` makes an endpoint without a handler, or a
 * handler without an endpoint, a compile error. Whether a proof holds is never decided here.
 */
import { createHash } from 'node:crypto';
import {
  decodeProof,
  type Endpoint,
  type EndpointName,
  endpoints,
  KedgeError,
  LARGE_BODY_BYTES_MAX,
  newId,
  type Parsed,
  type Proof,
  type ResponseOf,
  SLOW_REQUEST_MS_MAX,
} from '@kedge/core';
import type { Queryable } from '@kedge/store';
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { z } from 'zod';
import type { Happening } from './events.ts';
import { type Claim, claimRequest, type IdempotencyDeps } from './idempotency.ts';
import type { RateLimiter } from './limits.ts';
import { identify, type Principal, type PrincipalOf, principalName } from './principal.ts';
import { parseAt, RequestInvalid } from './problems.ts';
import type { Services } from './services.ts';
import { readForm, UPLOAD_BYTES_MAX, type UploadedForm } from './upload.ts';

/** The proof that came along: as text for the enclave, and decoded for what the gateway must know of it. */
export interface CarriedProof {
  readonly text: string;
  readonly decoded: Proof;
}

type Row<N extends EndpointName> = (typeof endpoints)[N];

/** A form whose fields were parsed. */
interface Uploaded<N extends EndpointName> {
  readonly file: UploadedForm['file'];
  readonly fields: Parsed<N, 'upload'>;
}

/** One request to one endpoint, parsed. */
export interface Call<N extends EndpointName> {
  readonly principal: PrincipalOf<Row<N>['principals'][number]>;
  readonly params: Parsed<N, 'params'>;
  readonly query: Parsed<N, 'query'>;
  readonly body: Parsed<N, 'body'>;
  readonly proof: Row<N> extends { readonly proof: string } ? CarriedProof : undefined;
  readonly upload: Row<N> extends { readonly upload: object } ? Uploaded<N> : undefined;
  /** The id of what this request creates: the same when the request is sent again under its `Idempotency-Key`. */
  readonly resourceId: string;
  /** Changes state, tells of it and stores the answer, in one transaction. Called at most once by a handler. */
  commit(change: {
    readonly happenings: readonly Happening[];
    next(tx: Queryable): Promise<ResponseOf<N>>;
  }): Promise<ResponseOf<N>>;
}

export type Handler<N extends EndpointName> = (call: Call<N>) => Promise<ResponseOf<N>>;
export type Handlers = { readonly [N in EndpointName]: Handler<N> };

/** What the loop knows of a handler: the table has checked the rest. */
type AnyHandler = (
  call: Omit<Call<EndpointName>, 'commit' | 'proof'> & { proof: CarriedProof | undefined; commit: AnyCommit },
) => Promise<unknown>;
type AnyCommit = (change: {
  readonly happenings: readonly Happening[];
  next(tx: Queryable): Promise<unknown>;
}) => Promise<unknown>;

/**
 * Answers that are sealed to the one-time key of the proof: a stored one would be of no use to a retry, which brings a
 * proof with another key. They create nothing, so they run again.
 */
const answersTheProof: ReadonlySet<EndpointName> = new Set(['openWallet', 'exportWallet']);

const nothing = z.strictObject({});

export function bindEndpoints(
  app: FastifyInstance,
  services: Services,
  handlers: Handlers,
  limiter: RateLimiter,
): void {
  app.decorateRequest('principal', null);
  const methodsOf = new Map<string, Set<string>>();
  for (const name of Object.keys(endpoints) as EndpointName[]) {
    const endpoint: Endpoint = endpoints[name];
    const url = endpoint.path.replace(/\{(\w+)\}/g, ':$1');
    methodsOf.set(url, (methodsOf.get(url) ?? new Set()).add(endpoint.method));
    app.route({
      method: endpoint.method,
      url,
      ...(endpoint.slow ? { handlerTimeout: SLOW_REQUEST_MS_MAX } : {}),
      ...(endpoint.large ? { bodyLimit: LARGE_BODY_BYTES_MAX } : {}),
      ...(endpoint.upload ? { bodyLimit: UPLOAD_BYTES_MAX, config: { upload: true } } : {}),
      onRequest: async (request, reply) => {
        if (endpoint.slow) request.raw.socket.setTimeout?.(SLOW_REQUEST_MS_MAX); // an injected request has no real socket
        await limiter.byAddress(request, reply);
        const principal = await identify(services, request.headers.authorization);
        await limiter.byPrincipal(request, reply, principal, name);
        assertMayCall(principal, endpoint);
        await limiter.byProject(request, reply, principal, name);
        request.setDecorator<Principal>('principal', principal);
      },
      handler: (request, reply) =>
        serve(services, name, endpoint, handlers[name] as unknown as AnyHandler, request, reply),
    });
  }
  refuseOtherMethods(app, methodsOf);
}

async function serve(
  services: Services,
  name: EndpointName,
  endpoint: Endpoint,
  handler: AnyHandler,
  request: FastifyRequest,
  reply: FastifyReply,
) {
  const principal = request.getDecorator<Principal>('principal');
  const proof = carriedProof(endpoint, request);
  const form = endpoint.upload ? await readForm(request) : null;
  const call = {
    principal: principal as never,
    params: (endpoint.params ? parseAt('params', endpoint.params, request.params) : undefined) as never,
    query: parseAt('query', endpoint.query ?? nothing, request.query) as never,
    body: (endpoint.body
      ? parseAt('body', endpoint.body, request.body)
      : parseAt('body', nothing.nullish(), form ? null : request.body)) as never,
    upload: (form && endpoint.upload
      ? { file: form.file, fields: parseAt('body', endpoint.upload, form.fields) }
      : undefined) as never,
    proof,
  };
  const key = endpoint.method === 'POST' ? idempotencyKey(request) : undefined;
  let claim: Claim | null = null;
  if (key !== undefined && !answersTheProof.has(name)) {
    const claimed = await claimRequest(idempotencyDeps(services), {
      key,
      principal: principalName(principal),
      proof: proof?.decoded ?? null,
      method: endpoint.method,
      path: request.url,
      body: form ? formSummary(form) : request.body,
    });
    if ('replay' in claimed) return send(reply.header('idempotency-replayed', 'true'), endpoint, claimed.replay);
    claim = claimed.claim;
  }
  let stored = false;
  const serialise = (response: unknown) => JSON.stringify(endpoint.response.parse(response));
  const commit: AnyCommit = ({ happenings, next }) =>
    services.ledger.write({
      happenings,
      next: async (tx) => {
        assertInTime(request);
        const response = await next(tx);
        await claim?.store(tx, serialise(response));
        assertInTime(request);
        stored = true;
        return response;
      },
    });
  try {
    const response = await handler({
      ...call,
      resourceId: claim?.resourceId ?? newId(services.clock, services.random),
      commit,
    });
    const text = serialise(response);
    if (!stored) await claim?.store(services.db, text);
    return send(reply, endpoint, text);
  } catch (error) {
    await claim?.fail();
    throw error;
  }
}

/** A retry chooses other boundaries: what counts is what the form says. */
function formSummary({ file, fields }: UploadedForm): object {
  return { fields, name: file.name, sha256: createHash('sha256').update(file.bytes).digest('hex') };
}

/** What was given up changes nothing any more: its caller has been told so, and an old server key may have been retired. */
function assertInTime({ signal }: FastifyRequest): void {
  if (signal.reason?.code === 'FST_ERR_HANDLER_TIMEOUT') throw signal.reason;
}

function send(reply: FastifyReply, endpoint: Endpoint, text: string): FastifyReply {
  reply.code(endpoint.status).header('cache-control', 'no-store');
  return endpoint.status === 204 ? reply.send() : reply.type('application/json; charset=utf-8').send(text);
}

function assertMayCall(principal: Principal, endpoint: Endpoint): void {
  if (!endpoint.principals.includes(principal.kind))
    throw new KedgeError(principal.kind === 'anonymous' ? 'unauthenticated' : 'forbidden');
  assertInScope(principal, endpoint);
}

/** What anybody may, a limited credential may too. */
function assertInScope(principal: Principal, { scope, principals }: Endpoint): void {
  if (principals.includes('anonymous')) return;
  const granted = principal.kind === 'secret_key' ? principal.scopes : null;
  if (granted === null || scope === 'any' || (scope !== undefined && granted.includes(scope))) return;
  const needed = scope === undefined ? 'one without limits' : `the scope ${scope}`;
  throw new KedgeError('forbidden', `This credential may not do that: it takes ${needed}.`);
}

/** Presence, shape and act; the enclave looks at everything. */
function carriedProof(endpoint: Endpoint, request: FastifyRequest): CarriedProof | undefined {
  if (endpoint.proof === undefined) return undefined;
  const text = request.headers['kedge-proof'];
  if (typeof text !== 'string' || text === '') throw new KedgeError('proof_missing');
  const decoded = decodeProof(text);
  if (decoded.document.act !== endpoint.proof) throw new KedgeError('proof_invalid', 'The proof is for another act.');
  return { text, decoded };
}

function idempotencyKey(request: FastifyRequest): string | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && /^[\x21-\x7e]{1,128}$/.test(key)) return key;
  throw new RequestInvalid([{ path: 'headers.idempotency-key', message: '1 to 128 printable characters' }]);
}

function idempotencyDeps({ db, clock, random, key, boot, options }: Services): IdempotencyDeps {
  return { db, clock, random, key, boot, gateway: options.name };
}

const allMethods: readonly HTTPMethods[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD'];

/** A path that exists says so to a wrong method, before it reads a body. */
function refuseOtherMethods(app: FastifyInstance, methodsOf: ReadonlyMap<string, ReadonlySet<string>>): void {
  for (const [url, methods] of methodsOf) {
    app.route({
      method: allMethods.filter((method) => !methods.has(method)),
      url,
      onRequest: async (_, reply) => {
        reply.header('allow', [...methods].join(', '));
        throw new KedgeError('method_not_allowed');
      },
      handler: () => undefined,
    });
  }
}
