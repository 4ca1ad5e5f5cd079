/**
 * Death at a chosen moment: every durable write of an enclave is counted, and the n-th one kills the process that does
 * it, just before or just after it is done; whatever that process tries afterwards fails. It decorates the ports that
 * `openTestEnclave` hands out, so the enclave itself knows nothing of it; a gateway's database is one of those ports too.
 */
import type { Database } from '@kedge/store';
import type { Mirror } from '../mirror.ts';
import type { RootKeys } from '../root-keys.ts';

export class Killed extends Error {
  override readonly name = 'Killed';
}

export class CrashPoints {
  #countdown = Number.POSITIVE_INFINITY;
  #when: 'before' | 'after' = 'before';
  #dead = false;
  /** Which write it was; null as long as nobody was killed. */
  hit: string | null = null;

  /** The `nth` durable write from now on, counted from 1, is the last. */
  arm(nth: number, when: 'before' | 'after'): void {
    this.#countdown = nth;
    this.#when = when;
    this.hit = null;
  }

  /** The next process lives. */
  disarm(): void {
    this.#countdown = Number.POSITIVE_INFINITY;
    this.#dead = false;
  }

  readonly wrapMirror = (mirror: Mirror): Mirror => ({
    read: () => {
      this.#assertAlive();
      return mirror.read();
    },
    write: (record, options) =>
      this.#writeNow(record.open ? 'the mirror announcing a write' : 'the mirror closing a write', () =>
        mirror.write(record, options),
      ),
    close: () => mirror.close(),
  });

  readonly wrapDatabase = (db: Database): Database => ({
    engine: db.engine,
    query: (sql, params) => {
      const statement = /^\s*(insert into|update|delete from) (\w+)/.exec(sql);
      const run = () => db.query(sql, params) as Promise<never[]>;
      return statement ? this.write(`${statement[1]} ${statement[2]}`, run) : this.#read(run);
    },
    read: (sql, params) => this.#read(() => db.read(sql, params)),
    transaction: (work, options) => this.write('a database commit', () => db.transaction(work, options)),
    compact: (tables) => this.write('a compaction', () => db.compact(tables)),
    sizeBytes: () => this.#read(() => db.sizeBytes()),
    close: () => db.close(),
  });

  wrapRootKeys(rootKeys: RootKeys): RootKeys {
    return new Proxy(rootKeys, {
      get: (target, name) => {
        const method = Reflect.get(target, name, target) as unknown;
        if (typeof method !== 'function') return method;
        const call = (...args: unknown[]) => (method as (...args: unknown[]) => Promise<unknown>).apply(target, args);
        if (name === 'createKey' || name === 'destroyKey') {
          return async (...args: unknown[]) =>
            this.write(name === 'createKey' ? 'making a root key' : 'destroying a root key', () => call(...args));
        }
        return async (...args: unknown[]) => this.#read(() => call(...args));
      },
    });
  }

  #assertAlive(): void {
    if (this.#dead) throw new Killed('the process is dead');
  }

  async #read<T>(run: () => Promise<T>): Promise<T> {
    this.#assertAlive();
    return run();
  }

  /** A durable write that is none of these. */
  async write<T>(name: string, run: () => Promise<T>): Promise<T> {
    const last = this.#count(name);
    const result = await run();
    if (last) this.#die();
    return result;
  }

  #writeNow(name: string, run: () => void): void {
    const last = this.#count(name);
    run();
    if (last) this.#die();
  }

  /** Whether this is the write after which the process dies. */
  #count(name: string): boolean {
    this.#assertAlive();
    this.#countdown -= 1;
    if (this.#countdown !== 0) return false;
    this.hit = `${this.#when} ${name}`;
    if (this.#when === 'before') this.#die();
    return true;
  }

  #die(): never {
    this.#dead = true;
    throw new Killed(`killed ${this.hit}`);
  }
}
