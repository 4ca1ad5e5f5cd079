/**
 * The enclave as a process: opens what the configuration names, waits for the writer lease, answers on its socket, and
 * stops cleanly when asked or when its parent is gone. `main.ts` runs it on the system's parts; the journeys' harness
 * decorates those parts first. Its only output is one line of JSON per milestone on stdout, and errors on stderr.
 */
import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type Clock, utf8ToBytes } from '@kedge/core';
import { assertMigrated, type Database, loadTables, migrate, openDatabase, readMigrations } from '@kedge/store';
import { BACKUP_FORMAT, backupFolder, decodeManifest, openRoot, sha256Hex, vaultLines, vaultTables } from './backup.ts';
import { checkEnclave, checkRoot } from './check.ts';
import type { EnclaveConfig } from './config.ts';
import { acquireLease, type Lease } from './lease.ts';
import { listen } from './listener.ts';
import { type Mirror, openFileMirror } from './mirror.ts';
import { openPkcs11 } from './pkcs11.ts';
import type { RootKeys } from './root-keys.ts';
import { createEnclave } from './service.ts';
import { readSigned } from './signing.ts';
import { openSoftware, SoftwareRootKeys } from './software.ts';

export const APP_VERSION = '0.1.0';
const STANDBY_LOOK_MS = 1_000;

/** What a harness may wrap: nothing else of the process can be changed from outside. */
export interface EnclaveParts {
  readonly clock: Clock;
  readonly database: (db: Database) => Database;
  readonly mirror: (mirror: Mirror) => Mirror;
}

/** Resolves when the process may end. */
export async function serveEnclave(
  config: EnclaveConfig,
  parts: EnclaveParts,
  say: (line: object) => void,
): Promise<void> {
  const db = await openMigrated(config);
  let stop: (reason: string) => void = () => undefined;
  const stopped = new Promise<string>((resolve) => {
    stop = resolve;
  });
  // Before anything that must be given back: a signal that meets no listener would end the process at once.
  onParentGone(() => stop('asked to'));
  // An embedded database opens in one process at a time: a lease in it that still runs was left by one that died.
  if (db.engine === 'pglite') await db.query('update lease set until = now()');
  const lease = await waitForLease(db, parts.clock, say, () => stop('the writer lease was lost'), stopped);
  if (lease === null) return db.close();
  // After the lease, because a rotation by the writer before us changed the root; and made only for an empty database,
  // because a root that has gone missing must be noticed.
  const [head] = await db.query('select 1 from head');
  const rootKeys = await openRootKeys(config, head === undefined);

  const mirrorKey = await rootKeys.mac(utf8ToBytes('kedge/mirror-key/v1'));
  const mirror = openFileMirror(
    config.mirror,
    (bytes) => createHmac('sha256', mirrorKey).update(bytes).digest(),
    lease.fence,
  );
  const enclave = await createEnclave({
    db: parts.database(db),
    rootKeys,
    mirror: parts.mirror(mirror),
    fence: lease.fence,
    clock: parts.clock,
    random: (length) => new Uint8Array(randomBytes(length)),
    operators: config.operators,
    opensPerMinuteMax: config.opensPerMinuteMax,
    cores: availableParallelism(),
    backups: backupFolder(config.backups),
    officers: config.officers,
  });
  const server = await listen(enclave, config.listen, (error) =>
    process.stderr.write(`enclave: ${describeBug(error)}\n`),
  );
  const { sealed } = await enclave.status();
  say({ ready: true, root_keys: rootKeys.kind, sealed });

  say({ stopping: await stopped });
  server.close();
  enclave.stop();
  // A writer that was overtaken may not write, and a database may be away: what isn't given back stays charged.
  await enclave.giveBackOpens().catch(() => undefined);
  await lease.release();
  mirror.close();
  await closeAll(db, rootKeys);
}

export async function migrateEnclave(config: EnclaveConfig, say: (line: object) => void): Promise<void> {
  const db = await openDatabase(config.database);
  const applied = await migrate(db, await migrationPlan());
  await db.close();
  say({ migrated: applied.map((migration) => migration.name) });
}

/** For `kedge doctor`: what a start would meet, as one line. With `rootOnly` the root keys alone, beside a running enclave. */
export async function checkInstallation(
  config: EnclaveConfig,
  clock: Clock,
  rootOnly: boolean,
  say: (line: object) => void,
): Promise<void> {
  const deps = { config, clock, plan: await migrationPlan(), openRootKeys: () => openRootKeys(config, false) };
  say(rootOnly ? { checks: await checkRoot(deps, true) } : await checkEnclave(deps));
}

/**
 * Puts a backup into an empty vault database and, for a software root, the root at its place. The enclave then starts
 * sealed, because there is no mirror. Throws `Error` with what to do next; nothing is overwritten.
 */
export async function restoreEnclave(
  config: EnclaveConfig,
  name: string,
  passphrase: string | null,
  say: (line: object) => void,
): Promise<void> {
  const folder = backupFolder(config.backups);
  const manifest = decodeManifest(await folder.read(name, 'manifest.json'));
  const said = JSON.parse(new TextDecoder().decode(manifest.document)) as {
    format: number;
    root_keys: string;
    identity: string;
    files: Record<string, string>;
  };
  if (said.format !== BACKUP_FORMAT)
    throw new Error(
      `This backup has format ${said.format}; this version reads format ${BACKUP_FORMAT}. Restore it with the version that made it.`,
    );
  if (said.root_keys !== config.root.kind)
    throw new Error(`This backup belongs to a ${said.root_keys} root, but ${config.root.kind} is configured.`);
  for (const [file, sha256] of Object.entries(said.files)) {
    if (sha256Hex(await folder.read(name, file)) !== sha256)
      throw new Error(`The file ${file} of this backup is not the one that its manifest names.`);
  }
  if (config.root.kind === 'software') {
    if (passphrase === null)
      throw new Error('This backup holds the root sealed under a passphrase; give it with --passphrase-file.');
    const root = await openRoot(await folder.read(name, 'root.age'), passphrase);
    await SoftwareRootKeys.importRoot(config.root.file, root);
    root.fill(0);
  }
  const rootKeys = await openRootKeys(config, false);
  if (readSigned(await rootKeys.identity(), 'backup-manifest', manifest) === null)
    throw new Error('The manifest is not signed by the enclave whose root this is.');
  const db = await openDatabase(config.database);
  await migrate(db, await migrationPlan());
  const rows = await loadTables(db, vaultLines(await folder.read(name, 'vault.jsonl.gz')));
  await closeAll(db, rootKeys);
  say({ restored: name, tables: vaultTables, rows });
}

async function openMigrated(config: EnclaveConfig): Promise<Database> {
  const db = await openDatabase(config.database, config.databaseLimits);
  if (db.engine === 'pglite') await migrate(db, await migrationPlan());
  else await assertMigrated(db, await migrationPlan());
  return db;
}

async function migrationPlan() {
  return { migrations: await readMigrations(new URL('./migrations/', import.meta.url)), appVersion: APP_VERSION };
}

export async function openRootKeys({ root }: EnclaveConfig, create: boolean): Promise<RootKeys> {
  if (root.kind === 'software') return openSoftware({ file: root.file, create });
  const pin = () => new Uint8Array(Buffer.from(readFileSync(root.pinFile, 'utf8').trim()));
  return openPkcs11({ module: root.module, tokenLabel: root.tokenLabel, pin, create });
}

async function waitForLease(
  db: Database,
  clock: Clock,
  say: (line: object) => void,
  onLost: () => void,
  stopped: Promise<string>,
): Promise<Lease | null> {
  const holder = randomUUID();
  const first = await acquireLease(db, clock, holder, onLost);
  if (first) return first;
  say({ standby: true });
  return new Promise((resolve, reject) => {
    const finish = (lease: Lease | null) => {
      stopLooking();
      resolve(lease);
    };
    const stopLooking = clock.every(STANDBY_LOOK_MS, async () => {
      const lease = await acquireLease(db, clock, holder, onLost).catch(reject);
      if (lease) finish(lease);
    });
    void stopped.then(() => finish(null));
  });
}

/** SIGTERM, SIGINT, or a parent that has died: a child of ours holds its stdin open only as long as the parent lives. */
function onParentGone(stop: () => void): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, stop);
  if (process.env.KEDGE_CHILD !== '1') return;
  process.stdin.once('end', stop).once('close', stop).resume();
}

async function closeAll(db: Database, rootKeys: RootKeys): Promise<void> {
  await db.close();
  await rootKeys.close();
}

/** The stack and nothing of the values: errors of ours carry no secret, but a library's might. */
function describeBug(error: unknown): string {
  return error instanceof Error
    ? `${error.name} at ${error.stack?.split('\n').slice(1, 4).join(' ').trim()}`
    : 'unknown error';
}
