/**
 * Breaks an installation in every way that the doctor knows, for real where the machine allows it, and sees each one
 * found, named by its code and with something to type. Tokens are SoftHSM's, the server is a PostgreSQL of its own.
 */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createSoftHsmToken } from '@kedge/enclave/testing';
import { type Database, openDatabase } from '@kedge/store';
import { type PostgresServer, startPostgres } from '@kedge/store/testing';
import { type Child, startChild } from '../operator/children.ts';
import { writeServiceConfigs } from '../operator/service.ts';
import { createOperator } from '../operators.ts';
import { type Home, openHome } from '../settings.ts';
import { examine } from './doctor.ts';
import type { Finding, FindingCode } from './findings.ts';
import {
  checkDatabaseAddresses,
  checkDisk,
  checkFolder,
  checkNode,
  checkOperators,
  checkPort,
  machineProbes,
} from './machine.ts';
import { report } from './report.ts';

/** As they are shipped: from source, each start would take a second longer. */
const built = (name: string) => [fileURLToPath(new URL(`../../../${name}/dist/main.js`, import.meta.url))];
const entries = { enclave: built('enclave'), gateway: built('server') };
const peers = { softHsm: existsSync('/usr/bin/softhsm2-util'), postgres: existsSync('/usr/lib/postgresql') };
const isRoot = process.getuid?.() === 0;
const DAY_MS = 86_400_000;
const chain = { port: 0, rpcUrl: 'http://127.0.0.1:8545', chainId: 31_337 };

const folders: string[] = [];
const newFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), 'kedge-doctor-'));
  folders.push(folder);
  return folder;
};
const homeAt = (path: string, env: Readonly<Record<string, string>> = {}) => openHome(path, env);
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function assertFound(findings: readonly Finding[] | Finding, code: FindingCode, detail: RegExp): void {
  const found = [findings].flat().find((finding) => finding.code === code && detail.test(finding.detail));
  ok(found, `${code} ${detail} is not in ${JSON.stringify(findings, null, 1)}`);
  equal(found.ok, false);
  ok(found.next_step, 'there is something to type');
}

const detailOf = (findings: readonly Finding[], code: string) =>
  findings.find((finding) => finding.code === code)?.detail ?? '';

// Side by side: most of the time goes into starting processes.
describe('kedge doctor', { concurrency: true }, () => {
  const postgres: Promise<PostgresServer | null> = peers.postgres ? startPostgres() : Promise.resolve(null);
  const databaseUrl = async (name: string) => (await postgres)!.url(name);
  after(async () => (await postgres)?.stop());

  describe('looks at the machine', { concurrency: false }, () => {
    it('finds a Node that is too old', () => {
      const home = homeAt(newFolder());
      assertFound(checkNode(home, { ...machineProbes, nodeVersion: '20.18.1' }), 'node_too_old', /20\.18\.1/);
      equal(checkNode(home, machineProbes).ok, true);
    });

    it('finds a state folder that others may enter', () => {
      const home = homeAt(newFolder());
      equal(checkFolder(home).ok, true);
      chmodSync(home.path, 0o755);
      assertFound(checkFolder(home), 'state_folder_open', /mode 755/);
    });

    it('finds a state folder that cannot be written', () => {
      const file = join(newFolder(), 'a-file');
      writeFileSync(file, '');
      assertFound(checkFolder(homeAt(join(file, 'home'))), 'state_folder_unwritable', /ENOTDIR|EACCES/);
    });

    it('finds a file system that is read-only', { skip: !canMount() }, () => {
      onTmpfs('ro', (path) => assertFound(checkFolder(homeAt(path)), 'state_folder_unwritable', /EROFS/));
    });

    it('finds a disk with less than 1 GB', { skip: !canMount() }, () => {
      onTmpfs('size=64m', (path) => assertFound(checkDisk(homeAt(path), machineProbes), 'disk_full', /0\.1 GB free/));
    });

    it('finds who holds the port', async () => {
      const child = startChild({
        name: 'squatter',
        argv: [
          '-e',
          'const s=require("net").createServer().listen(0,"127.0.0.1",()=>console.log(JSON.stringify(s.address())))',
        ],
      });
      const { port } = (await child.line((line) => 'port' in line)) as { port: number };
      const home = homeAt(newFolder(), { KEDGE_GATEWAY_PORT: String(port) });
      const finding = await checkPort(home, null);
      assertFound(finding, 'port_taken', new RegExp(`process ${child.pid} \\(`));
      match(finding.next_step!, new RegExp(`^kill ${child.pid} `));
      equal((await checkPort(home, port)).ok, true, 'unless it is the service');
      child.kill('SIGKILL');
    });

    it('finds a database at a public address', async () => {
      const at = async (url: string, addresses: readonly string[] = []) =>
        checkDatabaseAddresses(homeAt(newFolder(), { KEDGE_DATABASE_VAULT: url }), {
          ...machineProbes,
          addressesOf: async () => addresses,
        });
      assertFound(await at('postgres://kedge@8.8.8.8/vault'), 'database_public', /database\.vault is at 8\.8\.8\.8/);
      assertFound(
        await at('postgres://kedge@db.example/vault', ['10.0.0.4', '2606:4700::1']),
        'database_public',
        /db\.example \(2606:4700::1\)/,
      );
      for (const host of ['127.0.0.1', '10.1.2.3', '[fd00::1]'])
        equal((await at(`postgres://kedge@${host}/vault`))[0]!.ok, true, host);
      deepEqual(await at('pglite:/somewhere'), []);
    });

    it('finds fewer than two operators', async () => {
      const home = homeAt(newFolder());
      equal(checkOperators(home).ok, true, 'the first start makes them');
      await createOperator(home, 'ada');
      assertFound(checkOperators(home), 'operators_few', /^ada$/);
      await createOperator(home, 'grace');
      equal(checkOperators(home).ok, true);
    });
  });

  describe('looks at a token', {
    concurrency: false,
    skip: !(peers.softHsm && peers.postgres) && 'SoftHSM and PostgreSQL are not installed',
  }, () => {
    const tokenHome = (
      options: Parameters<typeof createSoftHsmToken>[1],
      settings: Readonly<Record<string, string>> = {},
    ): Home => {
      const path = newFolder();
      const { module, env } = createSoftHsmToken(path, options);
      Object.assign(process.env, env);
      const home = homeAt(path, { KEDGE_ROOT_KIND: 'pkcs11', KEDGE_ROOT_MODULE: module, ...settings });
      writeFileSync(home.file('pin'), '1234\n', { mode: 0o600 });
      writeServiceConfigs(home, chain);
      return home;
    };
    const looked = async (home: Home, ...args: readonly string[]) =>
      (await report(home, entries.enclave, 'enclave', args)).findings;

    it('finds that the module is absent, and the token', async () => {
      assertFound(
        await looked(tokenHome({}, { KEDGE_ROOT_MODULE: '/usr/lib/no-such-module.so' })),
        'hsm_absent',
        /no-such-module\.so/,
      );
      assertFound(await looked(tokenHome({ tokenLabel: 'other' })), 'hsm_absent', /0 tokens labelled "kedge"/);
    });

    it('finds the operation that a token lacks, with the module', async () => {
      assertFound(
        await looked(tokenHome({ without: ['CKM_ECDSA'] })),
        'hsm_operation_missing',
        /CKM_ECDSA.*Module: \/.*softhsm/,
      );
    });

    it('says of each operation where it runs, and finds a wrong PIN', async () => {
      const home = tokenHome({}, { KEDGE_DATABASE_VAULT: await databaseUrl('token') });
      await migrate(home, entries.enclave, 'enclave');
      const enclave = await serve(home);
      const [root] = await looked(home, 'root');
      equal(root!.code, 'root_keys');
      match(
        root!.detail,
        /^wrap in hardware, mac in hardware, sign in hardware, random in hardware; token "kedge" through \/.*softhsm/,
      );
      await enclave.stop();
      writeFileSync(home.file('pin'), '9999\n');
      assertFound(await looked(home, 'root'), 'hsm_pin_wrong', /refuses the PIN/);
    });
  });

  describe('looks at databases and mirrors', {
    concurrency: false,
    skip: !peers.postgres && 'PostgreSQL is not installed',
  }, () => {
    let home: Home;
    let vault: Database;
    let primary: Database;
    const looked = () => examine(home, { probes: machineProbes, entries });

    before(async () => {
      const [primaryUrl, vaultUrl] = [await databaseUrl('primary'), await databaseUrl('vault')];
      home = homeAt(newFolder(), { KEDGE_DATABASE_PRIMARY: primaryUrl, KEDGE_DATABASE_VAULT: vaultUrl });
      [primary, vault] = [await openDatabase(primaryUrl), await openDatabase(vaultUrl)];
    });
    after(async () => {
      await Promise.all([primary.close(), vault.close()]);
    });

    it('finds migrations that are pending', async () => {
      const findings = await looked();
      for (const [database, owner] of [
        ['primary', 'server'],
        ['vault', 'enclave'],
      ]) {
        const files = readdirSync(new URL(`../../../${owner}/src/migrations/`, import.meta.url)).sort();
        const names = files.map((file) => file.replace(/\.sql$/, '')).join(', ');
        assertFound(findings, 'migration_pending', new RegExp(`^${database} database: it needs ${names} first`));
      }
    });

    it('finds nothing wrong where nothing is, but that a backup is missing', async () => {
      await Promise.all([migrate(home, entries.enclave, 'enclave'), migrate(home, entries.gateway, 'gateway')]);
      await (await serve(home)).stop();
      const findings = await looked();
      assertFound(findings, 'backup_missing', /none/);
      deepEqual(
        findings.filter(({ ok, code }) => !ok && code !== 'operators_few').map(({ code }) => code),
        ['backup_missing'],
      );
      match(detailOf(findings, 'mirrors'), /^the file mirror and the vault database agree/);
      match(detailOf(findings, 'root_keys'), /^wrap in enclave, .*software is not hardware/);
    });

    it('finds an old backup, a clock that was set back, and mirrors that disagree', async () => {
      await primary.query("insert into backups values ('old', $1, '', '')", [new Date(Date.now() - 9 * DAY_MS)]);
      await vault.query("update lease set until = now() + interval '2 hours', holder = 'nobody'");
      await primary.query(
        "insert into events (id, body, added_at) values (gen_random_uuid(), '{}', now() + interval '1 hour')",
      );
      await primary.query("insert into mirrors values (1, $1, '', now())", [
        Buffer.from(JSON.stringify({ sequence: 1_000 })),
      ]);
      renameSync(home.file('mirror'), home.file('mirror.away'));
      const findings = await looked();
      assertFound(findings, 'backup_old', /9 days/);
      assertFound(findings, 'clock_jumped', /7\d\d\d s before the time at which the enclave last ran/);
      assertFound(findings, 'clock_jumped', /3[56]\d\d s before the time of the last event/);
      assertFound(findings, 'mirrors_disagree', /the primary database remembers write 1000/);
      assertFound(findings, 'mirrors_disagree', /there is no mirror/);
      renameSync(home.file('mirror.away'), home.file('mirror'));
      await vault.query("update lease set until = now() - interval '1 second'");
      await primary.query('delete from events');
      await primary.query('delete from mirrors');
    });

    it('finds that the root keys are not those of the vault database', async () => {
      copyFileSync(home.file('root.keys'), home.file('root.keys.kept'));
      rmSync(home.file('root.keys'));
      assertFound(await looked(), 'root_missing', /no key file/);
      ok(!existsSync(home.file('root.keys')), 'and makes none');
      renameSync(home.file('root.keys.kept'), home.file('root.keys'));
    });

    it('finds a schema that is too new, and a database that does not answer', async () => {
      await vault.query(
        "insert into schema_migrations (version, name, hash, app_version) values (99, 'later', '', '9.1.0')",
      );
      const gone = homeAt(newFolder(), {
        KEDGE_DATABASE_PRIMARY: 'postgres://kedge@127.0.0.1:1/primary',
        KEDGE_DATABASE_VAULT: await databaseUrl('vault'),
      });
      const findings = await examine(gone, { probes: machineProbes, entries });
      assertFound(findings, 'schema_too_new', /version 9\.1\.0 or later/);
      match(findings.find(({ code }) => code === 'schema_too_new')!.next_step!, /^Install version 9\.1\.0 or later/);
      assertFound(findings, 'database_unavailable', /^primary/);
    });
  });

  describe('looks at embedded databases and at a service that runs', { concurrency: false }, () => {
    it('finds who holds the lock', async () => {
      const home = homeAt(newFolder());
      mkdirSync(home.file('vault'), { recursive: true });
      writeFileSync(home.file('vault', 'PG_VERSION'), '17\n');
      writeFileSync(home.file('vault.lock'), `${process.pid} ${startOf(process.pid)}`);
      const findings = await examine(home, { probes: machineProbes, entries });
      assertFound(findings, 'database_locked', new RegExp(`process ${process.pid} `));
      equal(
        findings.find(({ code }) => code === 'database_locked')!.next_step!.startsWith(`kill ${process.pid} `),
        true,
      );
    });

    it('asks a running service instead of its databases, and finds it sealed, late, set back and without a backup', async () => {
      const service = await pretendService();
      const home = homeAt(newFolder(), { KEDGE_GATEWAY_PORT: String(service.port) });
      mkdirSync(home.file('run'));
      writeFileSync(
        home.file('run', 'service.json'),
        JSON.stringify({ url: `http://127.0.0.1:${service.port}`, pid: process.pid }),
      );
      const findings = await examine(home, { probes: machineProbes, entries });
      assertFound(findings, 'enclave_sealed', /older than the enclave remembers/);
      assertFound(findings, 'clock_jumped', /3600 s in the future/);
      assertFound(findings, 'backup_missing', /none/);
      ok(findings.some(({ code, detail }) => code === 'port' && detail.endsWith("the service's own")));
      service.close();
      assertFound(
        await examine(home, { probes: machineProbes, entries }),
        'service_silent',
        new RegExp(`process ${process.pid} runs`),
      );
    });
  });
});

/** The enclave of a home whose configuration is written, when it is ready. */
async function serve(home: Home): Promise<Child> {
  const enclave = startChild({
    name: 'enclave',
    argv: [...entries.enclave, 'serve'],
    env: { KEDGE_ENCLAVE_CONFIG: home.file('run', 'enclave.json') },
  });
  await enclave.line((line) => line.ready === true);
  return enclave;
}

async function migrate(home: Home, entry: readonly string[], name: 'enclave' | 'gateway'): Promise<void> {
  const child = startChild({
    name,
    argv: [...entry, 'migrate'],
    env: { [`KEDGE_${name.toUpperCase()}_CONFIG`]: home.file('run', `${name}.json`) },
  });
  await child.line((line) => 'migrated' in line);
  await child.ended;
}

/** Answers like a gateway whose enclave is sealed: how a sealed one comes to be is the enclave's own test. */
async function pretendService(): Promise<{ port: number; close(): void }> {
  const answers: Readonly<Record<string, string>> = {
    '/readyz': JSON.stringify({
      ready: false,
      checks: {
        database: { ok: true, detail: 'answers' },
        enclave: { ok: false, detail: 'sealed' },
        ledger: { ok: true, detail: '' },
        head: { ok: false, detail: '' },
      },
    }),
    '/metrics': '# HELP kedge_ledger_head_age_seconds Age.\nkedge_ledger_head_age_seconds -3600\n',
    '/v1/enclave': JSON.stringify({
      sealed: 'the vault database is older than the enclave remembers: at write 3, the mirror at 9',
      root_keys: 'software',
      notice: '',
      sequence: 3,
      attestation: { document: '', signature: '' },
    }),
  };
  const server = createServer((request, response) =>
    response.setHeader('content-type', 'application/json').end(answers[request.url!] ?? '{}'),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { port: (server.address() as AddressInfo).port, close };
}

function startOf(pid: number): string {
  const stat = execFileSync('cat', [`/proc/${pid}/stat`], { encoding: 'utf8' });
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]!;
}

function canMount(): boolean {
  if (!isRoot) return false;
  try {
    onTmpfs('size=1m', () => undefined);
    return true;
  } catch {
    return false;
  }
}

function onTmpfs(options: string, run: (path: string) => void): void {
  const path = newFolder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', `mode=700,${options}`, 'tmpfs', path], { stdio: 'pipe' });
  try {
    run(path);
  } finally {
    execFileSync('umount', [path]);
  }
}
