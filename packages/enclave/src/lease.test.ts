/** Two enclaves on one real PostgreSQL: one writes, the other stands by, and never do both write. */
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type ProofKey, SECOND_MS, utf8ToBytes } from '@kedge/core';
import { type DrivenClock, drivenClock } from '@kedge/core/testing';
import { type Database, databaseLimits, migrate, openPostgres, readMigrations } from '@kedge/store';
import { type PostgresServer, startPostgres } from '@kedge/store/testing';
import { backupFolder } from './backup.ts';
import type { EnclaveConfig } from './config.ts';
import { acquireLease, LEASE_S } from './lease.ts';
import { openFileMirror } from './mirror.ts';
import { serveEnclave } from './run.ts';
import { createEnclave, type RunningEnclave } from './service.ts';
import { openSoftware } from './software.ts';
import { createTestUser, type TestEnclave } from './testing/index.ts';

const TAKE_OVER_S_MAX = 10;
const project = 'project';
const folder = mkdtempSync(join(tmpdir(), 'kedge-lease-'));
let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

let databases = 0;
async function newDatabase(): Promise<{ url: string; files: string }> {
  const name = `vault${++databases}`;
  const url = await server.url(name);
  const db = await openPostgres({ url });
  await migrate(db, {
    migrations: await readMigrations(new URL('./migrations/', import.meta.url)),
    appVersion: '0.1.0',
  });
  await db.close();
  return { url, files: join(folder, name) };
}

/** What a process that has stopped for eight seconds looks like from the database. */
const eightSecondsPass = (db: Database) => db.query(`update lease set until = now() - interval '1 s'`);

interface Candidate {
  readonly db: Database;
  readonly clock: DrivenClock;
  lost: boolean;
  /** Null when another one holds the lease. */
  start(): Promise<TestEnclave | null>;
}

async function candidate({ url, files }: { url: string; files: string }, holder: string): Promise<Candidate> {
  const db = await openPostgres({ url });
  const clock = drivenClock();
  const self: Candidate = {
    db,
    clock,
    lost: false,
    async start() {
      const lease = await acquireLease(db, clock, holder, () => {
        self.lost = true;
      });
      if (lease === null) return null;
      const rootKeys = await openSoftware({ file: `${files}.root`, create: true });
      const key = await rootKeys.mac(utf8ToBytes('kedge/mirror-key/v1'));
      const mirrorFile = `${files}.mirror`;
      const mirror = openFileMirror(
        mirrorFile,
        (bytes) => createHmac('sha256', key).update(bytes).digest(),
        lease.fence,
      );
      const enclave: RunningEnclave = await createEnclave({
        db,
        rootKeys,
        mirror,
        fence: lease.fence,
        clock,
        random: (length) => new Uint8Array(randomBytes(length)),
        operators: new Map<string, ProofKey>(),
        opensPerMinuteMax: 1_000,
        cores: 1,
        backups: backupFolder(`${files}.backups`),
        officers: [],
      });
      return { folder, db, clock, mirrorFile, backups: '', enclave, restart: () => assert.fail('not here') };
    },
  };
  return self;
}

test('one enclave writes, the other gets no lease as long as the first renews it', async () => {
  const place = await newDatabase();
  const [first, second] = [await candidate(place, 'first'), await candidate(place, 'second')];
  const writer = await first.start();
  assert.notEqual(writer, null);
  const [lease] = await first.db.query<{ left: number }>(
    'select extract(epoch from until - now())::float8 as left from lease',
  );
  assert.equal(lease!.left > 0 && lease!.left <= LEASE_S, true, `${lease!.left} s`);
  assert.equal(await second.start(), null);
  await first.db.query(`update lease set until = now() + interval '1 s'`);
  await first.clock.advance(2 * SECOND_MS); // renews
  const [renewed] = await first.db.query<{ left: number }>(
    'select extract(epoch from until - now())::float8 as left from lease',
  );
  assert.equal(renewed!.left > LEASE_S - 2, true, `${renewed!.left} s`);
  assert.equal(await second.start(), null);
  assert.equal(first.lost, false);
  for (const { db } of [first, second]) await db.close();
});

test('paused writer: after a take-over every write of the enclave that was paused is refused, and harms nothing', async () => {
  const place = await newDatabase();
  const [first, second] = [await candidate(place, 'first'), await candidate(place, 'second')];
  const paused = (await first.start())!;
  const user = await createTestUser(paused, project);
  const { wallet } = await user.createWallet();

  await eightSecondsPass(second.db);
  const successor = (await second.start())!;
  const newcomer = await createTestUser(successor, project);
  const enrolled = await newcomer.createWallet();

  // The first wakes up and does not know yet. Each attempt may run into the database's fence or the mirror's.
  for (let attempt = 0; attempt < 3; attempt++)
    await assert.rejects(user.enrollAnother(), { code: 'enclave_unavailable' });
  await assert.rejects(createTestUser(paused, project), { code: 'enclave_unavailable' });
  await first.clock.advance(2 * SECOND_MS);
  assert.equal(first.lost, true, 'the renewal tells it');

  // The successor goes on, and so does whoever comes after it: nothing was overwritten.
  await newcomer.enrollAnother();
  await eightSecondsPass(second.db);
  const third = await candidate(place, 'third');
  const last = (await third.start())!;
  assert.equal((await last.enclave.status()).sealed, null);
  Object.assign(paused, { enclave: last.enclave });
  Object.assign(successor, { enclave: last.enclave });
  assert.equal((await user.openWallet(wallet)).length, 32);
  assert.equal((await newcomer.openWallet(enrolled.wallet)).length, 32);
  for (const { db } of [first, second, third]) await db.close();
});

test('split brain: of ten enclaves that find the lease run out at the same moment, one gets it', async () => {
  const place = await newDatabase();
  const first = await candidate(place, 'first');
  await first.start();
  await eightSecondsPass(first.db);
  const rivals = await Promise.all(Array.from({ length: 10 }, (_, index) => candidate(place, `rival ${index}`)));
  const leases = await Promise.all(
    rivals.map(({ db, clock }, index) => acquireLease(db, clock, `rival ${index}`, () => undefined)),
  );
  const won = leases.filter((lease) => lease !== null);
  assert.deepEqual(
    won.map(({ fence }) => fence),
    [2n],
  );
  for (const { db } of [first, ...rivals]) await db.close();
});

test('commit during take-over: the next writer waits for a commit that is under way, and starts after it', async () => {
  const place = await newDatabase();
  const [first, second, observer] = [
    await candidate(place, 'first'),
    await candidate(place, 'second'),
    await openPostgres({ url: place.url }),
  ];
  const user = await createTestUser((await first.start())!, project);
  await eightSecondsPass(first.db);

  let commit = () => {};
  const mayCommit = new Promise<void>((resolve) => {
    commit = resolve;
  });
  let looked = () => {};
  const hasLooked = new Promise<void>((resolve) => {
    looked = resolve;
  });
  // What state.ts does last in each commit: it looks at the fence, and holds it until the commit is done.
  const underWay = first.db.transaction(async (tx) => {
    await tx.query('select 1 from lease where fence = 1 for share');
    looked();
    await mayCommit;
  });
  await hasLooked;
  let taken = false;
  const taking = acquireLease(second.db, second.clock, 'second', () => undefined).then((lease) => {
    taken = true;
    return lease;
  });
  const waitsForLock = `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like 'insert into lease%'`;
  while ((await observer.query(waitsForLock)).length === 0)
    assert.equal(taken, false, 'taken over in the middle of a commit');
  commit();
  await underWay;
  assert.equal((await taking)?.fence, 2n);
  await assert.rejects(user.enrollAnother(), { code: 'enclave_unavailable' });
  for (const db of [first.db, second.db, observer]) await db.close();
});

test('as processes: a standby takes over within ten seconds of the last renewal, and a stopped writer leaves at once', async () => {
  const place = await newDatabase();
  const started = (name: string) => {
    const clock = drivenClock();
    const lines: Record<string, unknown>[] = [];
    const waiting: (() => void)[] = [];
    const config: EnclaveConfig = {
      database: place.url,
      databaseLimits,
      root: { kind: 'software', file: `${place.files}.root` },
      mirror: `${place.files}.mirror`,
      listen: { socket: join(folder, `${name}.sock`) },
      operators: new Map(),
      opensPerMinuteMax: 1_000,
      backups: join(folder, 'backups'),
      officers: [],
    };
    const ended = serveEnclave(config, { clock, database: (db) => db, mirror: (mirror) => mirror }, (line) => {
      lines.push(line as Record<string, unknown>);
      for (const wake of waiting.splice(0)) wake();
    });
    const said = async (key: string) => {
      while (!lines.some((line) => key in line))
        await Promise.race([
          new Promise<void>((resolve) => waiting.push(resolve)),
          ended.then(() => assert.fail(`${name} ended before it said ${key}`)),
        ]);
    };
    return { clock, lines, said, ended };
  };
  const db = await openPostgres({ url: place.url });
  const first = started('first');
  await first.said('ready');
  const second = started('second');
  await second.said('standby');
  await second.clock.advance(SECOND_MS);
  assert.equal(
    second.lines.some((line) => 'ready' in line),
    false,
    'the lease still runs',
  );

  const [lease] = await db.query<{ left: number }>(
    'select extract(epoch from until - now())::float8 as left from lease',
  );
  await eightSecondsPass(db); // the first does not renew: its clock stands still
  await second.clock.advance(SECOND_MS); // the standby looks every second
  await second.said('ready');
  assert.equal(lease!.left + 1 <= TAKE_OVER_S_MAX, true);

  await first.clock.advance(2 * SECOND_MS);
  await first.ended; // finds its lease lost and stops by itself
  assert.deepEqual(first.lines.at(-1), { stopping: 'the writer lease was lost' });

  const third = started('third');
  await third.said('standby');
  process.emit('SIGTERM');
  await second.ended;
  await third.ended;
  const [freed] = await db.query<{ free: boolean }>('select until <= now() as free from lease');
  assert.equal(freed!.free, true, 'a writer that stops gives the lease back');
  await db.close();
});
