/** The migration runner, from an empty database to a race of three processes. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Database } from './database.ts';
import { assertMigrated, type Migration, migrate, pendingMigrations, readMigrations } from './migrate.ts';
import { openPostgres } from './postgres.ts';
import { temporaryDirectory } from './testing/files.ts';
import { memoryDatabase, startPostgres } from './testing/index.ts';

const first: Migration = { version: 1, name: 'first', sql: 'create table a (id integer); create table b (id integer)' };
const second: Migration = { version: 2, name: 'second', sql: 'alter table a add column body text' };
const appVersion = '1.2.0';

let db: Database;
before(async () => {
  db = await memoryDatabase();
});
beforeEach(() => db.query('drop schema public cascade; create schema public'));
after(() => db.close());

test('migrations are applied once, in order of their numbers', async () => {
  assert.deepStrictEqual(await migrate(db, { migrations: [second, first], appVersion }), [first, second]);
  assert.deepStrictEqual(await migrate(db, { migrations: [second, first], appVersion }), []);
  await db.query('select id, body from a');
  assert.deepStrictEqual(await db.query('select version, name, app_version from schema_migrations'), [
    { version: 1, name: 'first', app_version: appVersion },
    { version: 2, name: 'second', app_version: appVersion },
  ]);
});

test('a migration that fails leaves nothing of itself and everything before it', async () => {
  const broken = { version: 2, name: 'broken', sql: 'create table c (id integer); create table a (id integer)' };
  await assert.rejects(migrate(db, { migrations: [first, broken], appVersion }), { code: 'invalid' });
  assert.deepStrictEqual(
    await db.query(`select to_regclass('b') is not null as b, to_regclass('c') is not null as c`),
    [{ b: true, c: false }],
  );
  assert.deepStrictEqual(await migrate(db, { migrations: [first, second], appVersion }), [second]);
});

test('production asks what is pending, and a start with something pending is refused', async () => {
  const plan = { migrations: [first, second], appVersion };
  assert.deepStrictEqual(await pendingMigrations(db, plan), [first, second]);
  await assert.rejects(assertMigrated(db, plan), { code: 'migration_pending', message: /0001-first, 0002-second/ });
  assert.deepStrictEqual(await db.query('select count(*) as tables from pg_tables where schemaname = $1', ['public']), [
    { tables: 0n },
  ]);
  await migrate(db, plan);
  await assertMigrated(db, plan);
});

test('an applied migration that was changed is refused', async () => {
  await migrate(db, { migrations: [first], appVersion });
  const plan = { migrations: [{ ...first, sql: `${first.sql};` }, second], appVersion };
  await assert.rejects(migrate(db, plan), { code: 'invalid', message: /0001-first was changed/ });
  await assert.rejects(pendingMigrations(db, plan), { code: 'invalid' });
});

test('a schema newer than the program is refused with the version to install', async () => {
  await migrate(db, { migrations: [first], appVersion: '1.9.0' });
  await migrate(db, { migrations: [first, second], appVersion: '1.10.0' });
  const older = { migrations: [first], appVersion: '1.9.0' };
  await assert.rejects(migrate(db, older), { code: 'schema_too_new', message: /version 1\.10\.0/ });
  await assert.rejects(assertMigrated(db, older), { code: 'schema_too_new' });
});

test('migrations are read from files, and a gap or a strange name is refused', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, '0002-second.sql'), second.sql);
  await assert.rejects(readMigrations(pathToFileURL(directory)), {
    code: 'invalid',
    message: /Migration 1 is missing/,
  });
  writeFileSync(join(directory, '0001-first.sql'), first.sql);
  assert.deepStrictEqual(await readMigrations(pathToFileURL(directory)), [first, second]);
  writeFileSync(join(directory, '3-third.sql'), '');
  await assert.rejects(readMigrations(pathToFileURL(directory)), { code: 'invalid', message: /3-third\.sql/ });
});

test('processes that start at once apply each migration once', async (t) => {
  const server = await startPostgres();
  t.after(() => server.stop());
  const url = await server.url('migrate');
  const databases = await Promise.all([1, 2, 3].map(() => openPostgres({ url })));
  const applied = await Promise.all(databases.map((db) => migrate(db, { migrations: [first, second], appVersion })));
  assert.deepStrictEqual(
    applied.flat().sort((a, b) => a.version - b.version),
    [first, second],
  );
  await Promise.all(databases.map((db) => db.close()));
});
