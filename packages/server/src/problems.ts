/**
 * Failures as problem details (RFC 9457), all from core's one table. `app.ts` installs `problemOf` as the only error
 * handler. Whatever is thrown becomes a code of the table; what is not in the table becomes `internal`, with the
 * request id and nothing else. No message of a driver, a node or a library reaches a caller.
 */
import { ChainError } from '@kedge/chains';
import { type ErrorCode, errorEntry, fromBase64Url, KedgeError } from '@kedge/core';
import { StoreError } from '@kedge/store';
import type { z } from 'zod';

export interface Issue {
  readonly path: string;
  readonly message: string;
}

/** `request_invalid` with the places where the request does not fit. */
export class RequestInvalid extends KedgeError {
  readonly issues: readonly Issue[];

  constructor(issues: readonly Issue[]) {
    super('request_invalid', `The request does not fit the schema at ${issues[0]?.path ?? 'its root'}.`);
    this.issues = issues;
  }
}

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly next_step: string;
  readonly request_id: string;
  readonly issues?: readonly Issue[];
}

export function problemOf(error: KedgeError, requestId: string): Problem {
  const { code, status, title, nextStep } = errorEntry(error.code);
  return {
    type: `urn:kedge:error:${code}`,
    title,
    status,
    code,
    detail: error.message,
    next_step: nextStep,
    request_id: requestId,
    ...(error instanceof RequestInvalid ? { issues: error.issues } : {}),
  };
}

const GIVEN_UP =
  'The request took too long and was given up. Sent again with the same Idempotency-Key, it still acts once.';

/** Any thrown thing as a failure of the table. */
export function toKedgeError(error: unknown): KedgeError {
  if (error instanceof KedgeError) return error;
  if (error instanceof StoreError) return storeFailure(error);
  if (error instanceof ChainError) return chainFailure(error);
  const { statusCode: status, code } = (error ?? {}) as { statusCode?: unknown; code?: unknown };
  if (code === 'FST_ERR_HANDLER_TIMEOUT')
    return new KedgeError('overloaded', GIVEN_UP, { cause: error, retryAfterS: 2 });
  if (typeof status === 'number') return frameworkFailure(status, error);
  return new KedgeError('internal', undefined, { cause: error });
}

const ISSUES_MAX = 20;

/** Parses, or throws {@link RequestInvalid} naming at most 20 places. */
export function parseAt<S extends z.ZodType>(
  where: 'params' | 'query' | 'body',
  schema: S,
  value: unknown,
): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new RequestInvalid(
    parsed.error.issues
      .slice(0, ISSUES_MAX)
      .map((issue) => ({ path: [where, ...issue.path].join('.'), message: issue.message })),
  );
}

/** The bytes of a base64url field of the body. The schema knows the letters; that they spell whole bytes is found here. */
export function bytesAt(path: `body.${string}`, text: string): Uint8Array {
  try {
    return fromBase64Url(text);
  } catch {
    throw new RequestInvalid([{ path, message: 'not base64url of whole bytes' }]);
  }
}

function storeFailure(cause: StoreError): KedgeError {
  switch (cause.code) {
    case 'unavailable':
      return new KedgeError('store_unavailable', undefined, { cause, retryAfterS: 2 });
    case 'full':
      return new KedgeError('store_full', undefined, { cause, retryAfterS: 60 });
    case 'duplicate':
      return new KedgeError('conflict', undefined, { cause });
    default:
      return new KedgeError('internal', undefined, { cause });
  }
}

/** What a chain says of bytes or addresses, the caller may read: it's about what the caller sent. */
function chainFailure(cause: ChainError): KedgeError {
  switch (cause.code) {
    case 'address_invalid':
    case 'amount_too_small':
    case 'descriptor_invalid':
    case 'key_invalid':
    case 'transaction_too_large':
      return new KedgeError('request_invalid', cause.message, { cause });
    case 'fee_too_high':
      return new KedgeError('fee_too_high', cause.message, { cause });
    case 'not_replaceable':
      return new KedgeError('not_replaceable', cause.message, { cause });
    case 'signature_missing':
    case 'transaction_invalid':
      return new KedgeError('transaction_invalid', cause.message, { cause });
    case 'insufficient_funds':
      return new KedgeError('insufficient_funds', cause.message, { cause });
    case 'rejected':
      return new KedgeError('transaction_rejected', cause.message, { cause });
    case 'node_unavailable':
    case 'wrong_network':
      return new KedgeError('chain_unavailable', undefined, { cause, retryAfterS: 5 });
  }
}

/** Fastify's own errors: a body that is no JSON, a path that doesn't decode, a handler that took too long. */
function frameworkFailure(status: number, cause: unknown): KedgeError {
  switch (status) {
    case 404:
      return new KedgeError('not_found', undefined, { cause });
    case 405:
      return new KedgeError('method_not_allowed', undefined, { cause });
    case 413:
      return new KedgeError('request_too_large', undefined, { cause });
    case 415:
      return new KedgeError('media_type_unsupported', undefined, { cause });
    case 429:
      return new KedgeError('rate_limited', undefined, { cause });
    case 503:
      return new KedgeError('overloaded', undefined, { cause, retryAfterS: 2 });
  }
  return status >= 400 && status < 500
    ? new KedgeError('request_invalid', 'The request could not be read.', { cause })
    : new KedgeError('internal', undefined, { cause });
}
