/** The sealed state under attack: rows read raw, flipped, moved, dropped, and whole databases rolled back. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { HOUR_MS } from '@kedge/core';
import { drivenClock } from '@kedge/core/testing';
import { type Database, migrate, readMigrations } from '@kedge/store';
import { memoryDatabase } from '@kedge/store/testing';
import {
  createTestKey,
  createTestUser,
  openTestEnclave,
  proveFor,
  type TestEnclave,
  type TestKey,
} from './testing/index.ts';

const project = '0198a000-0000-7000-8000-000000000001';

async function withUser(): Promise<{ opened: TestEnclave; user: Awaited<ReturnType<typeof createTestUser>> }> {
  const opened = await openTestEnclave();
  return { opened, user: await createTestUser(opened, project) };
}

async function copyOf(db: Database): Promise<() => Promise<void>> {
  const tables = ['state', 'wallets', 'head'] as const;
  const rows = await Promise.all(tables.map((table) => db.query(`select * from ${table}`)));
  return async () => {
    for (const [index, table] of tables.entries()) {
      await db.query(`delete from ${table}`);
      for (const row of rows[index]!) {
        const names = Object.keys(row);
        await db.query(
          `insert into ${table} (${names.join(', ')}) values (${names.map((_, at) => `$${at + 1}`).join(', ')})`,
          Object.values(row) as never,
        );
      }
    }
  };
}

test('an enclave that restarts goes on where it was', async () => {
  const { opened, user } = await withUser();
  const before = (await opened.enclave.status()).sequence;
  await opened.restart();
  assert.equal((await opened.enclave.status()).sealed, null);
  assert.equal((await opened.enclave.status()).sequence, before);
  await user.signIn();
});

test('a rolled-back database starts sealed and serves nobody', async () => {
  const { opened, user } = await withUser();
  const restore = await copyOf(opened.db);
  await user.enrollAnother();
  await restore();
  await opened.restart();
  assert.match((await opened.enclave.status()).sealed ?? '', /older than the enclave remembers/);
  await assert.rejects(user.signIn(), { code: 'enclave_sealed' });
});

test('a rollback by exactly one answered write is noticed', async () => {
  const { opened, user } = await withUser();
  const restore = await copyOf(opened.db);
  await assert.rejects(user.guessWrong(), { code: 'recovery_refused' });
  await restore();
  await opened.restart();
  assert.notEqual((await opened.enclave.status()).sealed, null);
});

test('a flipped byte in a state row is noticed when the row is read, and at the next start', async () => {
  const { opened, user } = await withUser();
  await opened.db.query('update state set sealed = set_byte(sealed, 100, get_byte(sealed, 100) # 1)');
  await assert.rejects(user.signIn(), { code: 'sealed_data_invalid' });
  await opened.restart();
  assert.match((await opened.enclave.status()).sealed ?? '', /changed by somebody else/);
});

test('a row moved to the key of another account does not open', async () => {
  const { opened, user } = await withUser();
  const other = await createTestUser(opened, project);
  await opened.db.query(
    'update state set sealed = (select sealed from state s2 where s2.key <> state.key order by key limit 1)',
  );
  await assert.rejects(user.signIn(), { code: 'sealed_data_invalid' });
  await assert.rejects(other.signIn(), { code: 'sealed_data_invalid' });
});

test('a dropped row is noticed', async () => {
  const { opened, user } = await withUser();
  await opened.db.query('delete from state');
  await assert.rejects(user.signIn(), { code: 'sealed_data_invalid' });
});

test('an empty database beside a mirror that remembers one starts sealed', async () => {
  const { opened } = await withUser();
  const empty = await memoryDatabase();
  await migrate(empty, {
    migrations: await readMigrations(new URL('./migrations/', import.meta.url)),
    appVersion: '0.1.0',
  });
  await opened.restart(empty);
  assert.match((await opened.enclave.status()).sealed ?? '', /mirror remembers one/);
});

test('a rolled-back database stays sealed through ticks and restarts until two operators accept it', async () => {
  const clock = drivenClock();
  const [ada, bert] = [createTestKey(), createTestKey()];
  const opened = await openTestEnclave({
    clock,
    operators: new Map([
      ['ada', ada],
      ['bert', bert],
    ]),
  });
  const user = await createTestUser(opened, project);
  const restore = await copyOf(opened.db);
  await user.enrollAnother();
  await restore();
  for (let start = 0; start < 3; start++) {
    await opened.restart();
    await clock.advance(HOUR_MS);
    assert.match((await opened.enclave.status()).sealed ?? '', /older than the enclave remembers/, `start ${start}`);
  }
  const accept = async (by: readonly [string, TestKey][]) =>
    opened.enclave.acceptRestore({
      proofs: await Promise.all(
        by.map(async ([subject, key]) => (await proveFor(opened, key, { act: 'accept_restore', subject })).text),
      ),
    });
  await assert.rejects(
    accept([
      ['ada', ada],
      ['ada', ada],
    ]),
    { code: 'two_operators_needed' },
  );
  await accept([
    ['ada', ada],
    ['bert', bert],
  ]);
  await user.signIn();
  await opened.restart();
  assert.equal((await opened.enclave.status()).sealed, null);
  await user.signIn();
});

test('an empty database beside a mirror stays sealed through restarts', async () => {
  const { opened } = await withUser();
  const empty = await memoryDatabase();
  await migrate(empty, {
    migrations: await readMigrations(new URL('./migrations/', import.meta.url)),
    appVersion: '0.1.0',
  });
  for (let start = 0; start < 3; start++) {
    await opened.restart(empty);
    assert.notEqual((await opened.enclave.status()).sealed, null, `start ${start}`);
  }
});

test('after an accepted restore half the guesses are left, for an hour of service', async () => {
  const clock = drivenClock();
  const [ada, bert] = [createTestKey(), createTestKey()];
  const opened = await openTestEnclave({
    clock,
    operators: new Map([
      ['ada', ada],
      ['bert', bert],
    ]),
  });
  const user = await createTestUser(opened, project);
  rmSync(opened.mirrorFile);
  await opened.restart();
  assert.match((await opened.enclave.status()).sealed ?? '', /no mirror/);
  const proofs = await Promise.all(
    (
      [
        ['ada', ada],
        ['bert', bert],
      ] as const
    ).map(async ([subject, key]) => (await proveFor(opened, key, { act: 'accept_restore', subject })).text),
  );
  await opened.enclave.acceptRestore({ proofs });
  await opened.restart();
  for (let guess = 0; guess < 5; guess++) await assert.rejects(user.guessWrong(), { code: 'recovery_refused' });
  await assert.rejects(user.recover(user.recoverySecret), { code: 'recovery_limited' });
  await clock.advance(HOUR_MS + 120_000);
  await user.recover(user.recoverySecret);
});
