/**
 * Turns what a driver threw into a `StoreError`, so that callers never see which engine answered.
 * Both engines call it at the one place where they run a statement.
 * It never copies values of rows into the message: PostgreSQL puts those into `detail`, which stays in the cause.
 */
import { StoreError, type StoreErrorCode } from './database.ts';

/** What both drivers put on an error that came from PostgreSQL itself. */
export interface SqlFailure {
  readonly code: string;
  readonly message: string;
  readonly severity?: string;
  readonly constraint?: string;
  /** The function of PostgreSQL that failed: tells apart what shares a code. */
  readonly routine?: string;
}

export function isSqlFailure(error: unknown): error is SqlFailure {
  return error instanceof Error && 'severity' in error && typeof (error as { code?: unknown }).code === 'string';
}

export function toStoreError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  if (!isSqlFailure(error)) {
    return new StoreError('unavailable', `The database did not answer: ${messageOf(error)}`, { cause: error });
  }
  return new StoreError(codeOf(error.code), error.message, {
    cause: error,
    ...(error.constraint === undefined ? {} : { constraint: error.constraint }),
  });
}

/** Serialization failure, deadlock, stale plan: the transaction had no effect and may simply run again. */
export function isRetryable(error: unknown): boolean {
  const cause = error instanceof StoreError ? error.cause : error;
  return isSqlFailure(cause) && (cause.code === '40001' || cause.code === '40P01' || isStalePlan(cause));
}

/** A prepared statement whose columns a change of the schema has changed: it refuses before it does anything. */
export function isStalePlan(error: unknown): boolean {
  const cause = error instanceof StoreError ? error.cause : error;
  return isSqlFailure(cause) && cause.code === '0A000' && cause.routine === 'RevalidateCachedQuery';
}

/** By PostgreSQL's error classes, https://www.postgresql.org/docs/15/errcodes-appendix.html. */
function codeOf(sqlState: string): StoreErrorCode {
  switch (sqlState) {
    case '23505':
      return 'duplicate';
    case '23503':
      return 'foreign_key';
    case '53100':
      return 'full';
    case '25006': // a standby takes no writes
    case '25P03': // the program held a transaction open for too long
    case '57014': // cancelled by a time limit
    case '58030': // the disk failed
      return 'unavailable';
  }
  const unavailable = ['08', '40', '53', '55', '57P', 'XX'].some((prefix) => sqlState.startsWith(prefix));
  return unavailable ? 'unavailable' : 'invalid';
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return messageOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}
