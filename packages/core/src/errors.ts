/**
 * Every error a user can meet, in one table: code, HTTP status, what happened, what to do next. `docs/errors.md` and
 * the problem details of the API are made from it. A failure throws `KedgeError` with a code of this table; a decision
 * is returned, not thrown; a bug is an assertion. No error ever carries a secret.
 */

const table = {
  // the request
  request_invalid: [400, 'The request does not fit the schema.', 'Compare it with /openapi.json and send it again.'],
  request_too_large: [
    413,
    'The request is larger than this endpoint takes.',
    'Send at most 64 KiB, or a file of at most 10 MiB.',
  ],
  media_type_unsupported: [
    415,
    'The body is not of the type that this endpoint takes.',
    'Send application/json; for files multipart/form-data with a part of application/octet-stream.',
  ],
  not_found: [404, 'There is no such thing here, or it is not yours to see.', 'Check the id and the credential.'],
  method_not_allowed: [405, 'That path exists, but not with this method.', 'See /docs for the methods of each path.'],
  unauthenticated: [
    401,
    'This needs a credential, and none that is valid came along.',
    'Send Authorization: Bearer with a valid key or session.',
  ],
  forbidden: [
    403,
    'This credential may not do that.',
    'Use a credential of the kind that /docs names for this endpoint.',
  ],
  conflict: [409, 'That exists already.', 'Use the one that exists, or choose another name.'],
  idempotency_mismatch: [
    422,
    'This Idempotency-Key was used with another request.',
    'Use a new key for a new request.',
  ],
  idempotency_running: [
    409,
    'The first request with this Idempotency-Key has not finished.',
    'Wait a second and send the same request again.',
  ],
  rate_limited: [429, 'Too many requests from here.', 'Wait as long as the Retry-After header says.'],

  // proofs of the user
  proof_missing: [
    401,
    'This act needs a proof by an enrolled key.',
    'Sign it on the device and send it as Kedge-Proof.',
  ],
  proof_invalid: [403, 'The proof does not hold for this act.', 'Sign exactly this act with an enrolled key.'],
  proof_expired: [
    403,
    'The proof is past its time, or valid for longer than 60 s.',
    'Check the clock of the device and sign again.',
  ],
  proof_stale: [409, 'The enclave has restarted since this proof was made.', 'Fetch /v1/enclave again and sign anew.'],
  proof_replayed: [409, 'This proof was used before.', 'Sign again: each proof is good for one act.'],

  // accounts and wallets
  recovery_refused: [
    403,
    'These words do not open that account.',
    'Check the 12 words and the account, then try again.',
  ],
  recovery_limited: [
    429,
    'Ten tries within the hour are used up for this account.',
    'Wait an hour; nobody can shorten that.',
  ],
  client_keys_full: [409, 'The account has 16 enrolled keys, which is the most.', 'Revoke one that is no longer used.'],
  client_key_last: [409, 'This is the last enrolled key of the account.', 'Enroll another one first.'],
  open_limited: [
    429,
    'This wallet or account has been opened too often.',
    'Wait: 30 a minute for each wallet, 500 a day for the account.',
  ],
  open_breaker: [
    503,
    'The enclave has stopped opening wallets for all because far too many were asked for.',
    'The operator has been told; try again in a minute.',
  ],
  sealed_data_invalid: [
    409,
    'The sealed data of this wallet does not open.',
    'Nothing was released. The operator must look at the ledger.',
  ],
  client_secret_superseded: [
    409,
    'The client secret was rewrapped while this request was under way.',
    'Send the request again.',
  ],
  transaction_invalid: [
    400,
    'The transaction is not one that this wallet could send.',
    'Build it anew and sign it with the key of the wallet.',
  ],
  transaction_rejected: [
    409,
    'The chain refused the transaction.',
    'Read the detail, build a new transaction and sign it.',
  ],
  insufficient_funds: [409, 'The wallet does not hold enough for amount and fee.', 'Fund it, or send less.'],
  fee_too_high: [409, 'The fee could come to more than was allowed.', 'Wait for cheaper blocks, or allow more.'],
  not_replaceable: [
    409,
    'Nothing can take the place of this transaction any more.',
    'Look at what became of it, and send a new one if that is needed.',
  ],
  transfers_full: [
    409,
    'The wallet has 16 transfers that wait to be signed, which is the most.',
    'Sign them or give them up, or wait two minutes.',
  ],

  // backup keys
  cold_keys_unavailable: [
    409,
    'No cold key can be made here: fewer than two officers are configured.',
    'Ask for key_environment HOT, or have the operator configure officers.',
  ],

  key_refused: [
    409,
    'The service shows a key that the enclave did not attest for this request.',
    'Do not use that key. The operator finds the report in the ledger.',
  ],

  // operators
  rotation_running: [
    409,
    'A rotation of the server key is under way.',
    'See kedge rotate status; it goes on by itself.',
  ],
  rotation_not_running: [409, 'There is no rotation that this could apply to.', 'Start one with kedge rotate start.'],
  server_key_not_retired: [409, 'That version of the server key is still in use, or gone.', 'See kedge rotate status.'],
  server_key_waiting: [
    409,
    'A retired server key can be destroyed after seven days of service time.',
    'See kedge rotate status for how much is left.',
  ],
  two_operators_needed: [
    403,
    'This act needs the proofs of two different operators.',
    'Have a second operator sign the same act.',
  ],
  backup_blocked: [
    409,
    'A rotation of the server key ended while the backup was being made.',
    'Make the backup again.',
  ],

  // the service itself
  enclave_sealed: [
    503,
    'The enclave is sealed: it found older data than it remembers, or was just restored.',
    'Two operators must look into it and run kedge enclave accept-restore.',
  ],
  enclave_unavailable: [
    503,
    'The enclave does not answer.',
    'Try again in a few seconds; the operator sees it in /readyz.',
  ],
  store_unavailable: [
    503,
    'The database does not answer.',
    'Try again in a few seconds; the operator sees it in /readyz.',
  ],
  store_full: [503, 'There is no space left to write to.', 'Nothing was changed. The operator must free space.'],
  issuer_unavailable: [
    503,
    'The issuer of this token does not give its keys.',
    'Try again in half a minute, or use a secret key.',
  ],
  chain_unavailable: [503, 'The node of that chain does not answer.', 'Try again in a few seconds.'],
  overloaded: [503, 'The service is busy.', 'Try again in a few seconds.'],
  internal: [500, 'Something went wrong on our side.', 'Try again; if it stays, give the operator the request id.'],
} as const satisfies Record<string, readonly [status: number, title: string, nextStep: string]>;

export type ErrorCode = keyof typeof table;

export interface ErrorEntry {
  readonly code: ErrorCode;
  readonly status: number;
  readonly title: string;
  readonly nextStep: string;
}

export const errorCodes = Object.keys(table) as readonly ErrorCode[];

export function errorEntry(code: ErrorCode): ErrorEntry {
  const [status, title, nextStep] = table[code];
  return { code, status, title, nextStep };
}

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(table, text);
}

/** A failure with a code of the table. `detail` is one sentence that a stranger may read. */
export class KedgeError extends Error {
  override readonly name = 'KedgeError';
  readonly code: ErrorCode;
  /** Seconds after which trying again makes sense, for the codes with status 429 and 503. */
  readonly retryAfterS: number | undefined;

  constructor(code: ErrorCode, detail?: string, options: { retryAfterS?: number; cause?: unknown } = {}) {
    super(detail ?? table[code][1], { cause: options.cause });
    this.code = code;
    this.retryAfterS = options.retryAfterS;
  }
}
