/** What PostgreSQL alone must show: lost connections, conflicts between sessions, a full disk, erasure, and its starter. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { openDatabase } from './open.ts';
import { openPostgres } from './postgres.ts';
import { filesContaining, smallDisk } from './testing/files.ts';
import { type PostgresServer, startPostgres } from './testing/index.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.stop());

test('a wrong address and a missing database are unavailable or invalid at once', async () => {
  await assert.rejects(openPostgres({ url: 'postgres://postgres@127.0.0.1:1/none' }), { code: 'unavailable' });
  const url = (await server.url('there')).replace(/there$/, 'missing');
  await assert.rejects(openPostgres({ url }), { code: 'invalid' });
});

test('a server that goes away fails what runs as unavailable, and the next call finds it again', async () => {
  const db = await openDatabase(await server.url('restarts'));
  await db.query('create table t (id integer primary key)');
  let entered = () => {};
  const inside = new Promise<void>((resolve) => {
    entered = resolve;
  });
  const cut = db.transaction(async (tx) => {
    await tx.query('insert into t values (1)');
    entered();
    await tx.query('select pg_sleep(60)');
  });
  const failure = assert.rejects(cut, { name: 'StoreError', code: 'unavailable' });
  await inside;
  await Promise.all([db.read('select $1::integer as n', [1]), db.read('select $1::integer as n', [1])]);
  await server.restart();
  await failure;
  assert.deepStrictEqual(await db.read('select $1::integer as n', [1]), [{ n: 1 }]);
  assert.deepStrictEqual(await db.query('select * from t'), []);
  await db.transaction((tx) => tx.query('insert into t values (2)'));
  assert.deepStrictEqual(await db.query('select * from t'), [{ id: 2 }]);
  await db.close();
});

test('a statement and an idle transaction that take too long are ended; rewriting a table is not', async () => {
  const limits = { statementMsMax: 100, idleInTransactionMsMax: 100 };
  const db = await openDatabase(await server.url('limits'), limits);
  await assert.rejects(db.query('select pg_sleep(60)'), { code: 'unavailable' });
  await db.query('create table t (id integer primary key)');
  let idle = true;
  const watch = await openDatabase(await server.url('limits'));
  const waiting = db.transaction(async (tx) => {
    await tx.query('insert into t values (1)');
    while (idle) {
      const rows = await watch.query(`select 1 from pg_stat_activity where state = 'idle in transaction'`);
      idle = rows.length > 0;
    }
  });
  await assert.rejects(waiting, { code: 'unavailable' });
  assert.deepStrictEqual(await db.query('select * from t'), []);

  // Each row takes a millisecond to write.
  await watch.query(`insert into t select generate_series(1, 300)`);
  await watch.query(`create function slow() returns trigger language plpgsql as
    $$ begin perform pg_sleep(0.001); return new; end $$`);
  await watch.query('create trigger slow before update on t for each row execute function slow()');
  await assert.rejects(db.query('update t set id = id'), { code: 'unavailable' });
  await db.compact(['t']);
  await assert.rejects(db.query('select pg_sleep(60)'), { code: 'unavailable' }, 'the limit is back');
  for (const open of [db, watch]) await open.close();
});

test('a transaction that meets a conflict runs again, at most three more times', async () => {
  const db = await openPostgres({ url: await server.url('conflicts') });
  for (const sqlState of ['40001', '40P01']) {
    let attempts = 0;
    const work = (failures: number) =>
      db.transaction(async (tx) => {
        if (++attempts <= failures)
          await tx.query(`do $$ begin raise exception 'conflict' using errcode = '${sqlState}'; end $$`);
        return attempts;
      });
    assert.equal(await work(3), 4);
    attempts = 0;
    await assert.rejects(work(4), { code: 'unavailable' });
    assert.equal(attempts, 4);
  }
  await db.close();
});

test('a statement that was prepared before the schema changed runs all the same', async () => {
  const db = await openPostgres({ url: await server.url('schema'), poolSize: 3 });
  await db.query(`create table t (id integer primary key, n integer); insert into t values (1, 7)`);
  const read = () => db.query('select * from t where id = $1', [1]);
  const readAll = () => Promise.all([read(), read(), read()]);
  assert.deepStrictEqual(await readAll(), Array(3).fill([{ id: 1, n: 7 }]));
  await db.query('alter table t add column label text');
  assert.deepStrictEqual(await readAll(), Array(3).fill([{ id: 1, n: 7, label: null }]));
  await db.query('alter table t drop column label');
  const inside = db.transaction((tx) => tx.query('select * from t where id = $1', [1]));
  assert.deepStrictEqual(await inside, [{ id: 1, n: 7 }]);
  await db.close();
});

test('more statements than are prepared run as well', async () => {
  const db = await openPostgres({ url: await server.url('many'), poolSize: 1 });
  for (let n = 0; n < 520; n++)
    assert.deepStrictEqual(await db.query(`select $1::int + ${n} as n`, [1]), [{ n: n + 1 }]);
  const [row] = await db.query<{ count: bigint }>('select count(*) as count from pg_prepared_statements');
  assert.equal(row!.count, 500n);
  await db.close();
});

test('two transactions that lock in opposite order both commit', async () => {
  const db = await openPostgres({ url: await server.url('deadlock') });
  await db.query(`create table t (id integer primary key, n integer); insert into t values (1, 0), (2, 0)`);
  await db.query(`alter database deadlock set deadlock_timeout = '10ms'`);
  let holding = 0;
  let release = () => {};
  const bothHold = new Promise<void>((resolve) => {
    release = resolve;
  });
  const lockBoth = (first: number, second: number) =>
    db.transaction(async (tx) => {
      await tx.query('update t set n = n + 1 where id = $1', [first]);
      if (++holding === 2) release();
      await bothHold;
      await tx.query('update t set n = n + 1 where id = $1', [second]);
    });
  await Promise.all([lockBoth(1, 2), lockBoth(2, 1)]);
  assert.deepStrictEqual(await db.query('select n from t'), [{ n: 2 }, { n: 2 }]);
  await db.close();
});

test('a full disk is full, and writing works again with space', async (t) => {
  const disk = smallDisk(t, 16);
  if (!disk) return;
  execFileSync('chown', ['postgres', disk]);
  const db = await openPostgres({ url: await server.url('full') });
  t.after(() => db.close());
  await db.query(`create tablespace small location '${disk}'`);
  await db.query('create table t (id integer, body text) tablespace small');
  writeFileSync(join(disk, 'ballast'), Buffer.alloc(4 * 2 ** 20));
  const fill = `insert into t select i, repeat(md5(i::text), 30) from generate_series(1, 40000) i`;
  await assert.rejects(db.query(fill), { code: 'full' });
  rmSync(join(disk, 'ballast'));
  await db.query(`insert into t values (1, repeat('x', 1000))`);
  assert.deepStrictEqual(await db.query('select id from t'), [{ id: 1 }]);
  await db.query('drop table t; checkpoint');
  await db.query('drop tablespace small');
});

test('compact leaves no trace of replaced or deleted values in any file of the server', async () => {
  const db = await openPostgres({ url: await server.url('erasure') });
  await db.query('create table secrets (id integer primary key, body bytea not null, note text)');
  const marker = `marker-${'7c1e5f'.repeat(3)}`;
  const bytes = Buffer.from(marker);
  for (let id = 0; id < 50; id++) await db.query('insert into secrets values ($1, $2, $3)', [id, bytes, marker]);
  await db.query('analyze secrets');
  await db.query('checkpoint');
  assert.notEqual(filesContaining(server.dataDir, marker).length, 0, 'the marker was there');
  await db.query(`update secrets set body = 'gone', note = null where id % 2 = 0`);
  await db.query('delete from secrets where id % 2 = 1');
  await db.compact(['secrets']);
  assert.deepStrictEqual(filesContaining(server.dataDir, marker), []);
  await db.close();
});

test('the server of a test ends with the process that started it, even by kill -9', async () => {
  const starter = `
    import { startPostgres } from ${JSON.stringify(new URL('./testing/postgres.ts', import.meta.url).href)};
    const server = await startPostgres();
    console.log(JSON.stringify({ url: await server.url('postgres_of_the_child'), dataDir: server.dataDir }));
    setInterval(() => {}, 1000);`;
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const child = spawn(process.execPath, ['--import', tsx, '--input-type=module', '--eval', starter], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { url, dataDir } = JSON.parse(line) as { url: string; dataDir: string };
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  await once(socket, 'connect');
  // The server closes this connection when it ends.
  const closed = once(
    socket.resume().on('error', () => {}),
    'close',
  );
  child.kill('SIGKILL');
  await closed;
  rmSync(dirname(dataDir), { recursive: true, force: true, maxRetries: 5 });
});
