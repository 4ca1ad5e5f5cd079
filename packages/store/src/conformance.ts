/**
 * What every `Database` promises, as tests that any implementation can be put through: one case per method and per
 * documented error. Engine tests call `databaseConformance`; `conformance.test.ts` also shows that a broken
 * implementation fails. Each case makes tables of its own, so one open database serves them all.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Database, SqlValue, StoreErrorCode } from './database.ts';

export interface DatabaseCase {
  readonly title: string;
  run(db: Database, open: () => Promise<Database>): Promise<void>;
}

export function databaseConformance(name: string, open: () => Promise<Database>): void {
  describe(`a database on ${name}`, () => {
    let db: Database;
    before(async () => {
      db = await open();
    });
    after(() => db.close());
    for (const { title, run } of databaseCases) test(title, () => run(db, open));
  });
}

export const databaseCases: readonly DatabaseCase[] = [
  {
    title: 'query gives every value back as it was',
    async run(db) {
      const values: readonly [type: string, value: SqlValue][] = [
        ['bytea', Uint8Array.of(0, 1, 127, 128, 255)],
        ['bytea', new Uint8Array(0)],
        ['bigint', 2n ** 63n - 1n],
        ['bigint', -(2n ** 63n)],
        ['integer', -2147483648],
        ['double precision', 0.1],
        ['boolean', true],
        ['boolean', false],
        ['text', `quote ' double " backslash \\ brace {} null NULL line\n ümlaut 🔑`],
        ['text', ''],
        ['uuid', '0190a6e0-1c9b-7cc0-8000-0123456789ab'],
        ['timestamptz', new Date('2026-02-03T04:05:06.789Z')],
        ['timestamptz', new Date('1999-12-31T23:59:59.000Z')],
        ['jsonb', { a: [1, 'two', null], b: { c: true } }],
        ['text', null],
        ['text[]', ['a,b', '"', '\\', 'NULL', null, '', '{}', ' ']],
        ['bytea[]', [Uint8Array.of(1, 2), Uint8Array.of(255)]],
        ['bigint[]', [1n, -2n]],
        ['integer[]', []],
        ['integer[]', [[1, 2] as SqlValue, [3, 4] as SqlValue]],
      ];
      for (const [type, value] of values) {
        const [row] = await db.query(`select $1::${type} as value`, [value]);
        assert.deepStrictEqual(row, { value }, type);
      }
    },
  },
  {
    title: 'many reads at once give each its own rows or failure, and see what was committed before',
    async run(db) {
      await db.query('create table read_at_once (id integer primary key, bytes bytea)');
      const ids = Array.from({ length: 100 }, (_, id) => id);
      await db.query('insert into read_at_once select id, $2 from unnest($1::integer[]) as t (id)', [
        ids,
        Uint8Array.of(1, 2),
      ]);
      const find = (id: number) => db.read('select id, bytes from read_at_once where id = $1', [id]);
      const failing = () => db.read('select 1 / $1::integer as one', [0]);
      const results = await Promise.allSettled(ids.flatMap((id) => [find(id), failing()]));
      for (const id of ids) {
        assert.deepStrictEqual(results[2 * id], {
          status: 'fulfilled',
          value: [{ id, bytes: Uint8Array.of(1, 2) }],
        });
        assert.equal((results[2 * id + 1] as PromiseRejectedResult).reason.code, 'invalid');
      }
      await db.transaction(async (tx) => {
        await tx.query('update read_at_once set bytes = null where id = $1', [7]);
        assert.deepStrictEqual(await tx.read('select bytes from read_at_once where id = $1', [7]), [{ bytes: null }]);
        await assert.rejects(find(7), { name: 'StoreError', code: 'outer_query' });
      });
      assert.deepStrictEqual(await find(7), [{ id: 7, bytes: null }]);
    },
  },
  {
    title: 'query gives the same values whether or not there are parameters',
    async run(db) {
      const columns = `'\\x00ff'::bytea as a, 7::bigint as b, '2026-01-01 00:00+02'::timestamptz as c, '{"d":1}'::jsonb as d`;
      const expected = [{ a: Uint8Array.of(0, 255), b: 7n, c: new Date('2025-12-31T22:00:00Z'), d: { d: 1 } }];
      assert.deepStrictEqual(await db.query(`select ${columns}`), expected);
      assert.deepStrictEqual(await db.query(`select ${columns} where $1`, [true]), expected);
    },
  },
  {
    title: 'query without parameters takes several statements and gives the rows of the last',
    async run(db) {
      const table = uniqueName();
      const rows = await db.query(
        `create table ${table} (id int); insert into ${table} values (1), (2); select id from ${table}`,
      );
      assert.deepStrictEqual(rows, [{ id: 1 }, { id: 2 }]);
    },
  },
  {
    title: 'query refuses wrong SQL as invalid and the next one works',
    async run(db) {
      await rejects('invalid', () => db.query('selekt 1'));
      await rejects('invalid', () => db.query('select $1::int', ['not a number']));
      assert.deepStrictEqual(await db.query('select 1 as one'), [{ one: 1 }]);
    },
  },
  {
    title: 'query refuses a value that SQL cannot hold, and the next one works',
    async run(db) {
      for (const value of [{ big: 1n }, new Date(Number.NaN), 'zero\0byte']) {
        await rejects('invalid', () => db.query('select $1::text', [value]));
        await rejects('invalid', () => db.transaction((tx) => tx.query('select $1::text', [value])));
      }
      assert.deepStrictEqual(await db.query('select 1 as one'), [{ one: 1 }]);
    },
  },
  {
    title: 'a second row with the same key is a duplicate and names its constraint',
    async run(db) {
      const table = await uniqueTable(db);
      await db.query(`insert into ${table} values (1, 'a')`);
      await rejects('duplicate', () => db.query(`insert into ${table} values ($1, 'b')`, [1]), `${table}_pkey`);
    },
  },
  {
    title: 'a row that points nowhere breaks a foreign key and names its constraint',
    async run(db) {
      const table = await uniqueTable(db);
      await db.query(`create table ${table}_child (parent integer constraint ${table}_fk references ${table})`);
      await rejects('foreign_key', () => db.query(`insert into ${table}_child values ($1)`, [9]), `${table}_fk`);
    },
  },
  {
    title: 'a transaction that resolves is kept, and gives the result of the work',
    async run(db) {
      const table = await uniqueTable(db);
      const result = await db.transaction(async (tx) => {
        await tx.query(`insert into ${table} values (1, 'a')`);
        return tx.query(`select body from ${table}`);
      });
      assert.deepStrictEqual(result, [{ body: 'a' }]);
      assert.deepStrictEqual(await db.query(`select id from ${table}`), [{ id: 1 }]);
    },
  },
  {
    title: 'a transaction that rejects leaves nothing, and gives the error of the work',
    async run(db) {
      const table = await uniqueTable(db);
      const reason = new Error('changed my mind');
      const transaction = db.transaction(async (tx) => {
        await tx.query(`insert into ${table} values (1, 'a')`);
        throw reason;
      });
      await assert.rejects(transaction, (error) => error === reason);
      assert.deepStrictEqual(await db.query(`select id from ${table}`), []);
    },
  },
  {
    title: 'a failed statement ends its transaction even if the work swallows the failure',
    async run(db) {
      const table = await uniqueTable(db);
      const work = () =>
        db.transaction(async (tx) => {
          await tx.query(`insert into ${table} values (1, 'a')`);
          await tx.query(`insert into ${table} values (1, 'b')`).catch(() => {});
        });
      await rejects('duplicate', work, `${table}_pkey`);
      assert.deepStrictEqual(await db.query(`select id from ${table}`), []);
    },
  },
  {
    title: 'a constraint that is checked at commit fails the transaction',
    async run(db) {
      const table = await uniqueTable(db);
      await db.query(
        `create table ${table}_child (parent integer constraint ${table}_fk references ${table} deferrable initially deferred)`,
      );
      const work = () => db.transaction((tx) => tx.query(`insert into ${table}_child values (1)`));
      await rejects('foreign_key', work, `${table}_fk`);
      assert.deepStrictEqual(await db.query(`select * from ${table}_child`), []);
    },
  },
  {
    title: 'a transaction has the isolation it asks for',
    async run(db) {
      const level = async (isolation?: 'repeatable read' | 'serializable') =>
        db.transaction((tx) => tx.query('show transaction_isolation'), isolation && { isolation });
      assert.deepStrictEqual(await level(), [{ transaction_isolation: 'read committed' }]);
      assert.deepStrictEqual(await level('repeatable read'), [{ transaction_isolation: 'repeatable read' }]);
      assert.deepStrictEqual(await level('serializable'), [{ transaction_isolation: 'serializable' }]);
    },
  },
  {
    title: 'parallel serializable increments lose none',
    async run(db) {
      const table = await uniqueTable(db);
      await db.query(`insert into ${table} values (0, 'counter')`);
      const increment = () =>
        db.transaction(
          async (tx) => {
            const [row] = await tx.query<{ id: number }>(`select id from ${table}`);
            await tx.query(`update ${table} set id = $1`, [row!.id + 1]);
          },
          { isolation: 'serializable' },
        );
      await Promise.all([increment(), increment(), increment()]);
      assert.deepStrictEqual(await db.query(`select id from ${table}`), [{ id: 3 }]);
    },
  },
  {
    title: 'an outer query, transaction or close inside a transaction is refused instead of waiting for ever',
    async run(db) {
      const outer: (() => Promise<unknown>)[] = [
        () => db.query('select 1'),
        () => db.transaction(async () => {}),
        () => db.sizeBytes(),
        () => db.compact([]),
        () => db.close(),
      ];
      for (const call of outer) await rejects('outer_query', () => withinASecond(db.transaction(call)));
      assert.deepStrictEqual(await db.query('select 1 as one'), [{ one: 1 }]);
    },
  },
  {
    title: 'work that a transaction left running may use the database afterwards, but not the ended transaction',
    async run(db) {
      let finish = () => {};
      const ended = new Promise<void>((resolve) => {
        finish = resolve;
      });
      let left: Promise<[unknown, unknown]> | undefined;
      await db.transaction(async (tx) => {
        left = ended.then(async () => [
          await db.query('select 1 as one'),
          await tx.query('select 1').catch((e) => e.code),
        ]);
        await tx.query('select 1');
      });
      finish();
      assert.deepStrictEqual(await left, [[{ one: 1 }], 'invalid']);
    },
  },
  {
    title: 'compact keeps the rows, drops what they replaced, and orders them by primary key',
    async run(db) {
      const table = await uniqueTable(db);
      await db.query(`insert into ${table} select i, repeat('x', 500) from generate_series(200, 1, -1) i`);
      for (let i = 0; i < 5; i++) await db.query(`update ${table} set body = body || 'y'`);
      const before = await db.sizeBytes();
      await db.compact([table]);
      assert.ok((await db.sizeBytes()) < before, 'the database became smaller');
      const rows = await db.query<{ id: number; body: string }>(`select id, body from ${table} order by ctid`);
      assert.deepStrictEqual(
        rows.map(({ id }) => id),
        Array.from({ length: 200 }, (_, index) => index + 1),
      );
      assert.equal(rows[0]!.body, `${'x'.repeat(500)}yyyyy`);
    },
  },
  {
    title: 'compact refuses what is not the name of a table with a primary key',
    async run(db) {
      const table = uniqueName();
      await db.query(`create table ${table} (id int)`);
      for (const name of [table, 'no_such_table', '', 'a; drop table b', 'public.a', '"a"', 'A']) {
        await rejects('invalid', () => db.compact([name]));
      }
    },
  },
  {
    title: 'sizeBytes grows with the rows',
    async run(db) {
      const table = await uniqueTable(db);
      const before = await db.sizeBytes();
      await db.query(`insert into ${table} select i, repeat('x', 1000) from generate_series(1, 100) i`);
      const grown = (await db.sizeBytes()) - before;
      assert.ok(grown >= 100_000 && grown < 1_000_000, `${grown} bytes`);
    },
  },
  {
    title: 'a closed database answers unavailable, and closing twice is once',
    async run(_, open) {
      const db = await open();
      const pending = db.query('select 1 as one');
      assert.deepStrictEqual(await pending, [{ one: 1 }]);
      await db.close();
      await db.close();
      await rejects('unavailable', () => db.query('select 1'));
      await rejects('unavailable', () => db.transaction(async () => {}));
      await rejects('unavailable', () => db.compact([]));
    },
  },
];

async function rejects(code: StoreErrorCode, work: () => Promise<unknown>, constraint?: string): Promise<void> {
  await assert.rejects(work, (error: { name?: string; code?: string; constraint?: string }) => {
    assert.deepStrictEqual(
      { name: error.name, code: error.code, constraint: error.constraint },
      { name: 'StoreError', code, constraint },
    );
    return true;
  });
}

/** So that an implementation that waits for itself fails, instead of the whole run. */
async function withinASecond<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer within a second')), 1000);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

let names = 0;

function uniqueName(): string {
  return `conformance_${process.pid}_${++names}`;
}

async function uniqueTable(db: Database): Promise<string> {
  const table = uniqueName();
  await db.query(`create table ${table} (id integer primary key, body text not null default '')`);
  return table;
}
