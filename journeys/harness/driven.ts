/**
 * What the harness entries add to the shipped processes: a clock that the journey moves, and points at which the
 * process kills itself as `kill -9` would. The journey says so on stdin, one JSON object a line:
 * `{"advance_ms": 600000, "step_ms": 60000}` is answered by `{"advanced": true}` on stdout, `{"jump_wall_ms": -1000}` by
 * `{"jumped": true}`; `{"die_at": "primary commit 3 before"}` arms a point and is answered by `{"armed": true}`. An
 * argument says how far ahead of the machine the wall clock starts. Points are the commits of transactions and, by the name of the table (`primary users 1 after`), all that
 * is written, with `before` at the last moment before the commit; `vault compact`; and `mirror opened | closed`.
 */
import { createInterface } from 'node:readline';
import { type DrivenClock, drivenClock } from '@kedge/core/testing';
import type { Mirror } from '@kedge/enclave';
import type { Database } from '@kedge/store';

export const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

export interface Driven {
  readonly clock: DrivenClock;
  database(name: string): (db: Database) => Database;
  mirror(mirror: Mirror): Mirror;
}

export function listenToJourney(): Driven {
  const clock = drivenClock({ real: true });
  clock.jumpWall(Number(process.argv[2] ?? 0));
  const points = new CrashPoints();
  createInterface({ input: process.stdin }).on('line', (line) => {
    const order = JSON.parse(line) as {
      advance_ms?: number;
      step_ms?: number;
      jump_wall_ms?: number;
      die_at?: string;
    };
    if (order.advance_ms !== undefined)
      void clock.advance(order.advance_ms, order.step_ms).then(() => say({ advanced: true }));
    if (order.jump_wall_ms !== undefined) {
      clock.jumpWall(order.jump_wall_ms);
      say({ jumped: true });
    }
    if (order.die_at === undefined) return;
    points.arm(order.die_at);
    say({ armed: true });
  });
  return {
    clock,
    database: (name) => (db) => ({
      ...bound(db),
      async query(sql, params) {
        const table = tableWritten(sql);
        if (table) points.pass(`${name} ${table}`, 'before');
        const rows = await db.query(sql, params);
        if (table) points.pass(`${name} ${table}`, 'after');
        return rows as never;
      },
      async transaction(work, options) {
        const tables = new Set<string>();
        points.pass(`${name} commit`, 'before');
        const result = await db.transaction(async (tx) => {
          tables.clear();
          const worked = await work({
            query: (sql, params) => {
              const table = tableWritten(sql);
              if (table) tables.add(table);
              return tx.query(sql, params);
            },
            read: (sql, params) => tx.read(sql, params),
          });
          for (const table of tables) points.pass(`${name} ${table}`, 'before');
          return worked;
        }, options);
        for (const write of [...tables, 'commit']) points.pass(`${name} ${write}`, 'after');
        return result;
      },
      async compact(tables) {
        points.pass(`${name} compact`, 'before');
        await db.compact(tables);
        points.pass(`${name} compact`, 'after');
      },
    }),
    mirror: (mirror) => ({
      read: () => mirror.read(),
      close: () => mirror.close(),
      write(record, options) {
        const name = `mirror ${record.open ? 'opened' : 'closed'}`;
        points.pass(name, 'before');
        mirror.write(record, options);
        points.pass(name, 'after');
      },
    }),
  };
}

/** Counts how often each durable write is passed, from the moment a point is armed. */
class CrashPoints {
  #armed: string | null = null;
  readonly #passed = new Map<string, number>();

  arm(point: string): void {
    this.#armed = point;
    this.#passed.clear();
  }

  pass(write: string, side: 'before' | 'after'): void {
    if (this.#armed === null) return;
    const count = (this.#passed.get(`${write} ${side}`) ?? 0) + 1;
    this.#passed.set(`${write} ${side}`, count);
    if (this.#armed === `${write} ${count} ${side}`) process.kill(process.pid, 'SIGKILL');
  }
}

function tableWritten(sql: string): string | undefined {
  return /^\s*(?:with\b[^;]*?)?\b(?:insert into|update|delete from)\s+(\w+)/i.exec(sql)?.[1];
}

/** The methods of a class instance as plain properties, so that single ones can be replaced. */
function bound(db: Database): Database {
  return {
    engine: db.engine,
    query: (sql, params) => db.query(sql, params),
    read: (sql, params) => db.read(sql, params),
    transaction: (work, options) => db.transaction(work, options),
    compact: (tables) => db.compact(tables),
    sizeBytes: () => db.sizeBytes(),
    close: () => db.close(),
  };
}
