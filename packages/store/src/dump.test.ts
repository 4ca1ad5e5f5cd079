/** Dumps: what one engine wrote, the other reads, to the last byte and microsecond. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Database } from './database.ts';
import { dumpTables, loadTables } from './dump.ts';
import { openPostgres } from './postgres.ts';
import { memoryDatabase, startPostgres } from './testing/index.ts';

const tables = ['parents', 'children'];
const schema = `
  create table parents (id uuid primary key, at timestamptz, bytes bytea, big bigint, flag boolean, doc jsonb, tags text[], amount numeric);
  create table children (parent uuid references parents, at timestamptz, position bigint, body text, length integer generated always as (length(body)) stored,
    primary key (parent, at, position));`;
const rows = `
  insert into parents values
    ('00000000-0000-4000-8000-000000000001', '2026-01-02 03:04:05.123456+00', '\\x00ff', 9223372036854775807, true,
     '{"$bytes": "not bytes", "n": 12345678901234567890}', '{"a,b",NULL,"\\"" }', 12345678901234567890.000000001),
    ('00000000-0000-4000-8000-000000000002', null, null, null, null, 'null', null, null);
  insert into children (parent, at, position, body)
    select '00000000-0000-4000-8000-000000000001', '2026-01-01'::timestamptz + i * interval '1 microsecond', i % 7, repeat(chr(65 + i % 26), i % 3000)
    from generate_series(1, 2345) i;`;

async function dump(db: Database): Promise<string[]> {
  return db.transaction(
    async (tx) => {
      const lines: string[] = [];
      for await (const line of dumpTables(tx, tables)) lines.push(line);
      return lines;
    },
    { isolation: 'repeatable read' },
  );
}

test('a dump loads into the other engine and is the same dump there', async (t) => {
  const server = await startPostgres();
  t.after(() => server.stop());
  const [from, to] = [await memoryDatabase(), await openPostgres({ url: await server.url('dump') })];
  t.after(() => Promise.all([from.close(), to.close()]));
  await from.query(schema + rows);
  await to.query(schema);
  const lines = await dump(from);
  assert.equal(lines.length, 2347);
  assert.deepStrictEqual(JSON.parse(lines[0]!), {
    table: 'parents',
    row: {
      id: '00000000-0000-4000-8000-000000000001',
      at: { $date: '2026-01-02T03:04:05.123456Z' },
      bytes: { $bytes: 'AP8=' },
      big: { $bigint: '9223372036854775807' },
      flag: true,
      doc: { $text: '{"n": 12345678901234567890, "$bytes": "not bytes"}' },
      tags: { $text: '{"a,b",NULL,"\\""}' },
      amount: { $text: '12345678901234567890.000000001' },
    },
  });
  assert.equal(await loadTables(to, lines), 2347);
  assert.deepStrictEqual(await dump(to), lines);
  const [longest] = await to.query('select max(length) as length from children');
  assert.deepStrictEqual(longest, { length: 2345 });
});

test('loading is all or nothing, and refuses a full table, an unknown one and a broken line', async (t) => {
  const db = await memoryDatabase();
  t.after(() => db.close());
  await db.query('create table t (id integer primary key, body text)');
  const line = (id: number, table = 't', extra = {}) => JSON.stringify({ table, row: { id, body: 'x', ...extra } });
  const refused: [lines: string[], code: string][] = [
    [[line(1), line(1)], 'duplicate'],
    [[line(1), line(1, 'nowhere')], 'invalid'],
    [[line(1), line(1, 't; drop table t')], 'invalid'],
    [[line(1), line(2, 't', { 'id") values (1); --': 1 })], 'invalid'],
    [[line(1), '{"table":"t"'], 'invalid'],
    [[line(1), 'null'], 'invalid'],
  ];
  for (const [lines, code] of refused) {
    await assert.rejects(loadTables(db, lines), { name: 'StoreError', code }, lines.at(-1));
    assert.deepStrictEqual(await db.query('select * from t'), []);
  }
  assert.equal(await loadTables(db, [line(1), line(2)]), 2);
  await assert.rejects(loadTables(db, [line(3)]), { code: 'invalid', message: /not empty/ });
  await assert.rejects(
    db.transaction((tx) => dumpTables(tx, ['pg_class"']).next()),
    { code: 'invalid' },
  );
});
