/**
 * One database, whichever engine holds it. The gateway opens the primary database and the enclave opens the vault
 * database through this interface; both engines pass `conformance.ts`. SQL is written to the level of PostgreSQL 15.
 * Parameters and results: `Uint8Array` ↔ bytea, `Date` ↔ timestamptz, `bigint` ↔ bigint, string ↔ text and uuid,
 * number ↔ integer, plain objects ↔ jsonb, null ↔ null.
 */
export type SqlValue = string | number | bigint | boolean | Uint8Array | Date | null | readonly SqlValue[] | object;

export interface Queryable {
  /**
   * Runs one statement with `$1…` parameters and gives its rows; without parameters it may be several, and the rows are
   * the last one's. Throws `StoreError`. Inside a transaction a failed statement ends it, even if the failure is caught.
   */
  query<Row extends object = Record<string, unknown>>(sql: string, params?: readonly SqlValue[]): Promise<Row[]>;
  /**
   * A lookup: one `select` with parameters that finds its few rows by an index and waits for no lock. Outside a
   * transaction it shares a connection with others that are under way, so that many at once cost little.
   */
  read<Row extends object = Record<string, unknown>>(sql: string, params: readonly SqlValue[]): Promise<Row[]>;
}

export interface Database extends Queryable {
  readonly engine: 'pglite' | 'postgres';
  /**
   * Runs `work` in one transaction: all of it is durable when the promise resolves, none of it when it rejects.
   * Inside, use only `tx`; an outer query from inside throws `StoreError('outer_query')` instead of deadlocking.
   * `serializable` failures and deadlocks are retried up to 3 times, so `work` must have no effect outside `tx`.
   */
  transaction<T>(
    work: (tx: Queryable) => Promise<T>,
    options?: { isolation?: 'read committed' | 'repeatable read' | 'serializable' },
  ): Promise<T>;
  /** Rewrites the tables in the order of their primary keys and drops superseded row versions from the files and the log. */
  compact(tables: readonly string[]): Promise<void>;
  /** Bytes of every table and index, for limits and metrics. */
  sizeBytes(): Promise<number>;
  close(): Promise<void>;
}

/** Why a statement failed, in words that hold for both engines. */
export type StoreErrorCode =
  | 'unavailable'
  | 'full'
  | 'duplicate'
  | 'foreign_key'
  | 'outer_query'
  | 'locked'
  | 'schema_too_new'
  | 'migration_pending'
  | 'invalid';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;
  /** The violated constraint for `duplicate` and `foreign_key`. */
  readonly constraint: string | undefined;

  constructor(code: StoreErrorCode, message: string, options: { cause?: unknown; constraint?: string } = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.constraint = options.constraint;
  }
}
