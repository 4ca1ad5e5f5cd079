/**
 * What a transaction is, once for both engines: begin, the work, commit or rollback, and the guard against the
 * one-connection trap (an outer query awaited inside a transaction waits for itself for ever on one connection).
 * `pglite.ts` and `postgres.ts` call it with their way of running one statement.
 * It never commits after a failed statement, even if the work swallowed the failure: COMMIT would roll back silently.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { type Queryable, type SqlValue, StoreError } from './database.ts';
import { isRetryable } from './failure.ts';

export type Isolation = 'read committed' | 'repeatable read' | 'serializable';
export type RunStatement = (sql: string, params?: readonly SqlValue[]) => Promise<object[]>;

const attemptsMax = 4; // the first and three more

/** Runs `attempt` again when PostgreSQL says that running again is the answer. */
export async function withRetries<T>(attempt: () => Promise<T>): Promise<T> {
  for (let count = 1; ; count++) {
    try {
      return await attempt();
    } catch (error) {
      if (count === attemptsMax || !isRetryable(error)) throw error;
    }
  }
}

/** Knows whether the calling code runs inside a transaction of this database. One per `Database`. */
export class TransactionGuard {
  readonly #current = new AsyncLocalStorage<{ open: boolean }>();
  #running = 0;

  assertOutside(): void {
    if (this.#current.getStore()?.open) {
      throw new StoreError('outer_query', 'Inside a transaction only its own `tx` may be used.');
    }
  }

  /** Calls the work with a `tx` that stops working when the transaction has ended. */
  async run<T>(begin: string, run: RunStatement, work: (tx: Queryable) => Promise<T>): Promise<T> {
    const state: { open: boolean; failure?: unknown } = { open: true };
    this.#running += 1;
    const query = async <Row extends object>(sql: string, params?: readonly SqlValue[]) => {
      if (!state.open) throw new StoreError('invalid', 'The transaction has ended; await every query inside it.');
      try {
        return (await run(sql, params)) as Row[];
      } catch (error) {
        state.failure ??= error;
        throw error;
      }
    };
    const tx: Queryable = { query, read: query };
    try {
      await run(begin);
      const result = await this.#current.run(state, () => work(tx));
      state.open = false;
      if (state.failure !== undefined) throw state.failure;
      await run('commit');
      return result;
    } catch (error) {
      state.open = false;
      await run('rollback').catch(() => {}); // the connection may be gone, and with it the transaction
      throw error;
    } finally {
      this.#running -= 1;
      // Node follows every promise of the process as long as it must know who is inside: now nobody is.
      if (this.#running === 0) this.#current.disable();
    }
  }
}
