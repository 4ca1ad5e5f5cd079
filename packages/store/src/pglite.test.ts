/** What PGlite alone must show: the lock, real fsync, survival of kill -9 and of a full disk, and erasure from its files. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Database } from './database.ts';
import { openPglite } from './pglite.ts';
import { filesContaining, smallDisk, temporaryDirectory, temporaryRoot } from './testing/files.ts';
import { emptyDataDir } from './testing/index.ts';

/** An empty data directory, made once and copied. */
let empty: string;
before(async () => {
  empty = fs.mkdtempSync(join(temporaryRoot, 'kedge-store-'));
  await (await openPglite({ dataDir: join(empty, 'db'), loadDataDir: await emptyDataDir() })).close();
});
after(() => fs.rmSync(empty, { recursive: true }));

async function openIn(directory: string): Promise<Database> {
  const dataDir = join(directory, 'db');
  if (!fs.existsSync(dataDir)) fs.cpSync(join(empty, 'db'), dataDir, { recursive: true });
  return openPglite({ dataDir });
}

test('a new directory gets an empty database, and a half-made one from before is thrown away', async (t) => {
  const directory = temporaryDirectory(t);
  fs.mkdirSync(join(directory, 'db.creating'));
  fs.writeFileSync(join(directory, 'db.creating', 'PG_VERSION'), '18');
  const db = await openPglite({ dataDir: join(directory, 'db') });
  assert.deepStrictEqual(await db.query('select count(*) as tables from pg_tables where schemaname = $1', ['public']), [
    { tables: 0n },
  ]);
  await db.close();
  assert.deepStrictEqual(fs.readdirSync(directory), ['db']);
});

test('a directory in use is refused with the process that uses it, and free again after close', async (t) => {
  const directory = temporaryDirectory(t);
  const db = await openIn(directory);
  await assert.rejects(openIn(directory), { code: 'locked', message: new RegExp(`process ${process.pid} `) });
  await db.close();
  await (await openIn(directory)).close();
});

test('the lock of a dead process is taken over, also when its process id is in use again', async (t) => {
  const directory = temporaryDirectory(t);
  for (const stale of ['999999999 1', `${process.pid} 1`, '', 'nonsense']) {
    fs.writeFileSync(join(directory, 'db.lock'), stale);
    await (await openIn(directory)).close();
  }
  assert.deepStrictEqual(fs.readdirSync(directory), ['db']);
});

test('each commit is one real fsync of the log', async (t) => {
  const db = await openIn(temporaryDirectory(t));
  await db.query('create table t (id integer primary key)');
  const real = fs.fsyncSync;
  let syncs = 0;
  t.mock.method(fs, 'fsyncSync', (descriptor: number) => {
    if (/pg_wal\/[0-9A-F]{24}$/.test(fs.readlinkSync(`/proc/self/fd/${descriptor}`))) syncs++;
    real(descriptor);
  });
  syncBuiltinESMExports();
  for (let id = 0; id < 10; id++) await db.query('insert into t values ($1)', [id]);
  await db.transaction(async (tx) => {
    for (let id = 10; id < 20; id++) await tx.query('insert into t values ($1)', [id]);
  });
  t.mock.restoreAll();
  syncBuiltinESMExports();
  assert.equal(syncs, 11);
  await db.close();
});

test('every acknowledged commit survives kill -9, and the dead process leaves no lock', async (t) => {
  const directory = temporaryDirectory(t);
  const first = await openIn(directory);
  await first.query('create table t (id integer primary key)');
  await first.close();
  const writer = `
    import { openPglite } from ${JSON.stringify(new URL('./pglite.ts', import.meta.url).href)};
    const db = await openPglite({ dataDir: ${JSON.stringify(join(directory, 'db'))} });
    for (let id = 1; ; id++) { await db.query('insert into t values ($1)', [id]); console.log(id); }`;
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const child = spawn(process.execPath, ['--import', tsx, '--input-type=module', '--eval', writer], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let acknowledged = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged = Number(line);
    if (acknowledged === 100) child.kill('SIGKILL');
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  const db = await openIn(directory);
  const [row] = await db.query<{ last: number; rows: bigint }>('select max(id) as last, count(*) as rows from t');
  assert.ok(row!.last >= acknowledged, `${row!.last} of ${acknowledged}`);
  assert.equal(row!.rows, BigInt(row!.last));
  await db.close();
});

test('the log stays short while the database runs', async (t) => {
  const directory = temporaryDirectory(t);
  const db = await openIn(directory);
  for (let i = 0; i < 200; i++) await db.query(`select pg_logical_emit_message(true, 'filler', repeat('x', 300000))`);
  const segments = fs.readdirSync(join(directory, 'db/pg_wal')).length;
  assert.ok(segments < 40, `${segments} segments of 1 MiB after 60 MB`);
  await db.close();
});

test('a row that is rewritten again and again does not make its table grow for ever', async (t) => {
  const db = await openIn(temporaryDirectory(t));
  await db.query('create table t (id integer primary key, n integer unique, body text)');
  await db.query(`insert into t values (1, 0, repeat('x', 1000))`);
  for (let i = 0; i < 300; i++) {
    await db.query(`do $$ begin for i in 1..20 loop update t set n = n + 1; end loop; end $$`);
  }
  const bytes = await db.sizeBytes();
  assert.ok(bytes < 3e6, `${bytes} bytes for one row after 6,000 updates of a kilobyte`);
  await db.close();
});

test('short of space, reads go on, writes are refused as full, and both work again with space', async (t) => {
  const disk = smallDisk(t, 64);
  if (!disk) return;
  const db = await openIn(disk);
  await db.query('create table t (id integer primary key, body text)');
  await db.query(`insert into t values (0, 'kept')`);
  fs.writeFileSync(join(disk, 'ballast'), Buffer.alloc(freeBytes(disk) - 4 * 2 ** 20));
  await assert.rejects(db.query(`insert into t values (1, 'x')`), { code: 'full' });
  await assert.rejects(
    db.transaction((tx) => tx.query(`insert into t values ($1, 'x')`, [1])),
    { code: 'full' },
  );
  await assert.rejects(db.compact(['t']), { code: 'full' });
  assert.deepStrictEqual(await db.query('select * from t'), [{ id: 0, body: 'kept' }]);
  fs.rmSync(join(disk, 'ballast'));
  await db.query(`insert into t values (1, 'x')`);
  assert.deepStrictEqual(await db.query('select id from t'), [{ id: 0 }, { id: 1 }]);
  await db.close();
});

for (const [what, statement] of [
  ['table', `insert into t (body) select repeat(md5(i::text), 100) from generate_series(1, 200) i`],
  ['log, which stops the engine,', `select pg_logical_emit_message(true, 'filler', repeat('x', 500000))`],
] as const) {
  test(`a disk that fills inside a transaction, at the ${what} undoes it whole and recovers by itself`, async (t) => {
    const disk = smallDisk(t, 64);
    if (!disk) return;
    const db = await openIn(disk);
    await db.query('create table t (id integer generated always as identity primary key, body text)');
    await db.query(`insert into t (body) values ('kept')`);
    const filling = db.transaction(async (tx) => {
      fs.writeFileSync(join(disk, 'ballast'), Buffer.alloc(freeBytes(disk)));
      for (;;) await tx.query(statement);
    });
    await assert.rejects(filling, { code: 'full' });
    await assert.rejects(db.query(`insert into t (body) values ('refused')`), { code: 'full' });
    fs.rmSync(join(disk, 'ballast'));
    await db.query(`insert into t (body) values ('new')`);
    assert.deepStrictEqual(await db.query('select body from t'), [{ body: 'kept' }, { body: 'new' }]);
    await db.close();
  });
}

test('compact leaves no trace of replaced or deleted values in any file of the directory', async (t) => {
  const directory = temporaryDirectory(t);
  const db = await openIn(directory);
  await db.query('create table secrets (id integer primary key, body bytea not null, note text)');
  const marker = `marker-${'7c1e5f'.repeat(3)}`;
  const bytes = Buffer.from(marker);
  for (let id = 0; id < 50; id++) await db.query('insert into secrets values ($1, $2, $3)', [id, bytes, marker]);
  await db.query('analyze secrets'); // the planner's statistics copy values, too
  await db.query('checkpoint');
  assert.notEqual(filesContaining(directory, marker).length, 0, 'the marker was there');
  await db.query(`update secrets set body = 'gone', note = null where id % 2 = 0`);
  await db.query('delete from secrets where id % 2 = 1');
  await db.compact(['secrets']);
  assert.deepStrictEqual(filesContaining(directory, marker), []);
  assert.deepStrictEqual(await db.query('select count(*) as rows from secrets'), [{ rows: 25n }]);
  await db.close();
  assert.deepStrictEqual(filesContaining(directory, marker), []);
});

function freeBytes(directory: string): number {
  const { bavail, bsize } = fs.statfsSync(directory);
  return bavail * bsize;
}
