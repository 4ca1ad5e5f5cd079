/**
 * What many recoveries and keys cost the gateway, on PostgreSQL: looking for what is due and checking one key, with few and
 * with many rows around them, and a crowd of recoveries that are due at once, each with its reminder to send, against bare
 * letters over the same kind of connections. `--million` takes a million rows and 10,000 recoveries.
 */
import { randomUUID } from 'node:crypto';
import { DAY_MS, SECOND_MS } from '@kedge/core';
import { type DrivenClock, drivenClock } from '@kedge/core/testing';
import { openTestEnclave } from '@kedge/enclave/testing';
import { type Database, migrate, openPostgres, readMigrations } from '@kedge/store';
import { startPostgres } from '@kedge/store/testing';
import { createTransport } from 'nodemailer';
import { SMTPServer } from 'smtp-server';
import { smtpTransport } from '../packages/server/src/notify/smtp.ts';
import { listDueRecoveries } from '../packages/server/src/recovery-store.ts';
import { acrossProjects } from '../packages/server/src/store.ts';
import { ada, ben, createTestGateway, type TestGateway } from '../packages/server/src/testing/gateway.ts';
import { createRecoveryWorld } from '../packages/server/src/testing/recovery-world.ts';
import { measureTimes, pairsAtMost, type Question, type Row } from './measure.ts';

const FEW = 1_000;
const CALLS = 100;
const operators = new Map([
  ['ada', ada],
  ['ben', ben],
]);
const FROM = 'Kedge <kedge@example.org>';

export const recoveries: Question = {
  name: 'recoveries',
  async run({ million }) {
    const many = million ? 1_000_000 : 100_000;
    const crowd = million ? 10_000 : 500;
    const server = await startPostgres({});
    const open = async (name: string, folder: 'server' | 'enclave') => {
      const db = await openPostgres({ url: await server.url(name), poolSize: 10 });
      const migrations = await readMigrations(new URL(`../packages/${folder}/src/migrations/`, import.meta.url));
      await migrate(db, { migrations, appVersion: '0.1.0' });
      return db;
    };
    const smtp = await startSmtp();
    const openGateway = async (name: string) => {
      const clock = drivenClock();
      const vault = await open(`${name}_vault`, 'enclave');
      const db = await open(name, 'server');
      const enclave = await openTestEnclave({ clock, db: vault, operators });
      const gateway = await createTestGateway({ enclave, db, mail: smtpTransport({ url: smtp.url, from: FROM }) });
      return { gateway, db, vault, clock };
    };
    const small = await openGateway('small');
    const large = await openGateway('large');
    const [few, all] = [await fill(small, FEW), await fill(large, many)];
    const rows: Row[] = [
      await measureTimes({
        id: 'P10',
        what: `looking for due recoveries among ${many.toLocaleString('en')} open ones ÷ among 1,000`,
        bar: { atMost: 1.5 },
        ours: () => repeat(() => listDueRecoveries(acrossProjects(large.db), new Date(0), 100)),
        reference: () => repeat(() => listDueRecoveries(acrossProjects(small.db), new Date(0), 100)),
      }),
      await measureTimes({
        id: 'P10',
        what: `one key checked over HTTP, ${many.toLocaleString('en')} keys around it ÷ 1,000`,
        bar: { atMost: 1.5 },
        ours: () => repeat(all),
        reference: () => repeat(few),
      }),
      await drain(small, smtp, crowd),
    ];
    for (const { gateway, db, vault } of [small, large]) {
      await gateway.close();
      await db.close();
      await vault.close();
    }
    await smtp.close();
    await server.stop();
    return rows;
  },
};

interface Opened {
  readonly gateway: TestGateway;
  readonly db: Database;
  readonly vault: Database;
  readonly clock: DrivenClock;
}

/** Rows that are like one real one, and the check of that one. */
async function fill({ gateway, db, vault }: Opened, count: number): Promise<() => Promise<void>> {
  const world = await createRecoveryWorld(gateway);
  await world.request();
  const copies = async (on: Database, table: string, fresh: Readonly<Record<string, string>>) => {
    const columns = await on.query<{ name: string }>(
      `select column_name as name from information_schema.columns where table_schema = 'public' and table_name = $1`,
      [table],
    );
    const names = columns.map(({ name }) => name);
    const values = names.map((name) => fresh[name] ?? `row.${name}`);
    await on.query(
      `insert into ${table} (${names.join(', ')}) select ${values.join(', ')} from (select * from ${table} limit 1) row, generate_series(1, ${count})`,
    );
    await on.query(`analyze ${table}`);
  };
  const later = "now() + interval '1 year'";
  await copies(db, 'recoveries', { id: 'gen_random_uuid()', next_due_at: later });
  await copies(db, 'backup_keys', { id: 'gen_random_uuid()', user_identifier: 'gen_random_uuid()::text' });
  await copies(vault, 'backup_keys', {
    id: 'gen_random_uuid()',
    lookup: "decode(md5(generate_series::text || 'x'), 'hex') || '\\x00000000'::bytea",
    payload: "'\\x00'::bytea",
  });
  return async () => {
    const { outcome } = await gateway.get('verifyBackupKey', {
      as: world.project.secretKey,
      params: { key_id: world.key },
    });
    if (outcome !== 'passed') throw new Error(outcome);
  };
}

/** Recoveries that all want their first reminder, until it has been sent, and as many letters without anything around them. */
async function drain({ gateway, clock, db }: Opened, smtp: Smtp, crowd: number): Promise<Row> {
  const pairs: [number, number][] = [];
  for (let round = 0; round < 5; round++) {
    for (let at = 0; at < crowd / 5; at++) {
      const world = await createRecoveryWorld(gateway, { coolingS: (7 * DAY_MS) / SECOND_MS });
      const recovery = await world.request({ participants: ['eve@example.org'] });
      await gateway.scheduler.run('mails');
      await gateway.scheduler.run('recoveries');
      await world.caraVotes(recovery);
      const { tokens } = await gateway.enclave.enclave.recoveryTokens({
        project: world.project.id,
        recovery: recovery.recovery_id,
      });
      const vote = { approver: tokens[0]!.approver, token: tokens[0]!.token, choice: 'approve' as const, proof: null };
      await gateway.enclave.enclave.voteRecovery({
        project: world.project.id,
        recovery: recovery.recovery_id,
        ...vote,
      });
    }
    await gateway.scheduler.run('mails');
    await clock.advance(DAY_MS);
    await db.query(
      `update recoveries set next_due_at = to_timestamp($1) where next_due_at < now() + interval '300 days' and status in ('approving', 'cooling')`,
      [clock.wallMs() / 1_000 - 1],
    );
    const before = smtp.taken();
    const started = performance.now();
    await gateway.scheduler.run('recoveries');
    await gateway.scheduler.run('mails');
    const ours = performance.now() - started;
    const sent = smtp.taken() - before;
    if (sent < crowd / 5) throw new Error(`${sent} reminders were sent`);
    const bare = createTransport({ host: '127.0.0.1', port: smtp.port, ignoreTLS: true, pool: true });
    const bareStarted = performance.now();
    await Promise.all(
      Array.from({ length: sent }, () =>
        bare.sendMail({ from: FROM, to: 'eve@example.org', subject: randomUUID(), text: 'x'.repeat(800) }),
      ),
    );
    pairs.push([ours / sent, (performance.now() - bareStarted) / sent]);
    bare.close();
  }
  return pairsAtMost(
    {
      id: 'P10',
      what: `a due recovery and its reminder, ${crowd / 5} at once ÷ a bare letter`,
      unit: 'ms',
      bar: { atMost: 2 },
    },
    pairs,
  );
}

interface Smtp {
  readonly url: string;
  readonly port: number;
  taken(): number;
  close(): Promise<void>;
}

async function startSmtp(): Promise<Smtp> {
  let taken = 0;
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onData(stream, _, done) {
      stream.on('data', () => undefined);
      stream.on('end', () => {
        taken += 1;
        done();
      });
    },
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.server.address() as { port: number };
  return {
    url: `smtp://127.0.0.1:${port}`,
    port,
    taken: () => taken,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

async function repeat(work: () => Promise<unknown>): Promise<void> {
  for (let at = 0; at < CALLS; at++) await work();
}
