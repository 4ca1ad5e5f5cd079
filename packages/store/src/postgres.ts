/**
 * The production engine: a PostgreSQL ≥ 15 server, reached through a pool of connections. `open.ts` calls it.
 * A lost connection fails what was running on it with `unavailable`; the next call opens a new one by itself.
 * It never repeats work whose outcome is unknown: if the connection breaks during a commit, the caller decides.
 */
import pg from 'pg';
import { compactTables } from './compact.ts';
import { type Database, type Queryable, type SqlValue, StoreError } from './database.ts';
import { isStalePlan, toStoreError } from './failure.ts';
import type { DatabaseLimits } from './open.ts';
import { SharedConnections } from './shared-connections.ts';
import { sizeBytesSql } from './size.ts';
import { type Isolation, type RunStatement, TransactionGuard, withRetries } from './transaction.ts';
import { encodeParameters, parserOf } from './values.ts';

export interface PostgresOptions {
  /** `postgres://user:password@host:5432/database` */
  url: string;
  ssl?: NonNullable<pg.PoolConfig['ssl']>;
  /** Connections at most; further callers wait. */
  poolSize?: number;
  limits?: DatabaseLimits;
}

/**
 * A statement with parameters is parsed and planned once for each connection and then called by name. Ours are fewer
 * than this; what comes beyond, as from a caller that builds its SQL, is parsed anew each time.
 */
const PREPARED_MAX = 500;

export async function openPostgres(options: PostgresOptions): Promise<Database> {
  const db = new PostgresDatabase(options);
  try {
    await db.query('select 1'); // a wrong address or password shows now, not at the first request
  } catch (error) {
    await db.close();
    throw error;
  }
  return db;
}

class PostgresDatabase implements Database {
  readonly engine = 'postgres';
  readonly #pool: pg.Pool;
  readonly #shared: SharedConnections;
  readonly #guard = new TransactionGuard();
  #prepared = new Map<string, string>();
  #generation = 0;
  #closed = false;

  constructor({ url, ssl, poolSize = 10, limits }: PostgresOptions) {
    const connection: pg.ClientConfig = {
      connectionString: url,
      ...(ssl !== undefined && { ssl }),
      connectionTimeoutMillis: 10_000,
      keepAlive: true,
      application_name: 'kedge',
      // How values are printed must not depend on the server's configuration.
      options: ['timezone=UTC', 'datestyle=ISO', 'bytea_output=hex', 'extra_float_digits=1', ...limitSettings(limits)]
        .map((setting) => `-c ${setting}`)
        .join(' '),
      types: { getTypeParser: (type: number) => parserOf(type) } as unknown as pg.CustomTypesConfig,
    };
    this.#shared = new SharedConnections(connection);
    this.#pool = new pg.Pool({ ...connection, max: poolSize });
    // Connections report their loss as events, too; without listeners the process would end.
    this.#pool.on('error', () => {});
    this.#pool.on('connect', (client) => client.on('error', () => {}));
  }

  async query<Row extends object>(sql: string, params?: readonly SqlValue[]): Promise<Row[]> {
    this.#guard.assertOutside();
    const attempt = () => this.#onConnection(async (run) => (await run(sql, params)) as Row[]);
    return attempt().catch((error) => {
      if (isStalePlan(error)) return attempt(); // the table has changed under the statement, which did nothing
      throw error;
    });
  }

  async read<Row extends object>(sql: string, params: readonly SqlValue[]): Promise<Row[]> {
    this.#guard.assertOutside();
    if (this.#closed) throw new StoreError('unavailable', 'The database is closed.');
    const values = encodeParameters(params);
    const attempt = () => this.#shared.query(this.#statement(sql, values));
    try {
      return (await attempt().catch((error) => {
        if (!isStalePlan(error)) throw error;
        this.#forgetPrepared();
        return attempt();
      })) as Row[];
    } catch (error) {
      throw toStoreError(error);
    }
  }

  async transaction<T>(work: (tx: Queryable) => Promise<T>, options: { isolation?: Isolation } = {}): Promise<T> {
    this.#guard.assertOutside();
    const begin = `begin isolation level ${options.isolation ?? 'read committed'}`;
    return withRetries(() => this.#onConnection((run) => this.#guard.run(begin, run, work)));
  }

  async compact(tables: readonly string[]): Promise<void> {
    this.#guard.assertOutside();
    await this.#onConnection(async (run) => {
      await run('set statement_timeout = 0');
      try {
        await compactTables({ query: run as Queryable['query'] }, tables);
      } finally {
        await run('reset statement_timeout').catch(() => {}); // the connection may be gone, and its settings with it
      }
    });
  }

  async sizeBytes(): Promise<number> {
    const [row] = await this.query<{ bytes: bigint }>(sizeBytesSql);
    return Number(row!.bytes);
  }

  async close(): Promise<void> {
    this.#guard.assertOutside();
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([this.#pool.end(), this.#shared.close()]);
  }

  async #onConnection<T>(work: (run: RunStatement) => Promise<T>): Promise<T> {
    if (this.#closed) throw new StoreError('unavailable', 'The database is closed.');
    const client = await this.#pool.connect().catch((error) => {
      throw toStoreError(error);
    });
    let broken = false;
    const run: RunStatement = async (sql, params = []) => {
      const values = encodeParameters(params);
      try {
        if (values.length > 0) return (await client.query(this.#statement(sql, values))).rows;
        // Without parameters several statements may come at once, and the driver gives a result for each.
        const result = await client.query(sql);
        return (Array.isArray(result) ? result.at(-1) : result).rows;
      } catch (error) {
        if (isStalePlan(error)) this.#forgetPrepared();
        const failure = toStoreError(error);
        broken ||= failure.code === 'unavailable';
        throw failure;
      }
    };
    try {
      return await work(run);
    } finally {
      client.release(broken); // a broken connection leaves the pool
    }
  }
  #statement(text: string, values: (string | null)[]): pg.QueryConfig {
    let name = this.#prepared.get(text);
    if (name === undefined && this.#prepared.size < PREPARED_MAX) {
      name = `${this.#generation}.${this.#prepared.size}`;
      this.#prepared.set(text, name);
    }
    return name === undefined ? { text, values } : { name, text, values };
  }

  /** New names, so that every connection prepares anew. */
  #forgetPrepared(): void {
    this.#generation += 1;
    this.#prepared = new Map();
  }
}

function limitSettings(limits: DatabaseLimits | undefined): string[] {
  if (limits === undefined) return [];
  return [
    `statement_timeout=${limits.statementMsMax}`,
    `idle_in_transaction_session_timeout=${limits.idleInTransactionMsMax}`,
  ];
}
