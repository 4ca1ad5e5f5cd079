/**
 * A whole enclave inside a test: real databases, real root keys, real mirror, a driven clock. `restart` throws the
 * process value away and opens it again over the same database and files, as a start after a stop or a crash would.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, type ProofKey, utf8ToBytes } from '@kedge/core';
import { drivenClock } from '@kedge/core/testing';
import { type Database, migrate, readMigrations } from '@kedge/store';
import { memoryDatabase } from '@kedge/store/testing';
import { backupFolder } from '../backup.ts';
import { acquireLease } from '../lease.ts';
import { type Mirror, openFileMirror } from '../mirror.ts';
import type { RootKeys } from '../root-keys.ts';
import { createEnclave, type RunningEnclave } from '../service.ts';
import { openSoftware } from '../software.ts';

/** A real disk takes its time for each of the thousand ticks of a week. */
const inMemory = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const folders: string[] = [];
process.once('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export interface TestEnclaveOptions {
  readonly clock?: Clock;
  readonly operators?: ReadonlyMap<string, ProofKey>;
  readonly opensPerMinuteMax?: number;
  readonly officers?: readonly string[];
  /** Empty; an embedded one unless given. The test closes it. */
  readonly db?: Database;
  readonly openRootKeys?: (folder: string) => Promise<RootKeys>;
  readonly wrapDatabase?: (db: Database) => Database;
  readonly wrapMirror?: (mirror: Mirror) => Mirror;
}

export interface TestEnclave {
  readonly folder: string;
  readonly db: Database;
  readonly clock: Clock;
  readonly mirrorFile: string;
  readonly backups: string;
  enclave: RunningEnclave;
  /** `db`: another database to come back to, as somebody who restores a dump would give it. */
  restart(db?: Database): Promise<RunningEnclave>;
}

export async function openTestEnclave(options: TestEnclaveOptions = {}): Promise<TestEnclave> {
  const folder = mkdtempSync(join(inMemory, 'kedge-enclave-'));
  folders.push(folder);
  const clock = options.clock ?? drivenClock();
  const db = options.db ?? (await memoryDatabase());
  await migrate(db, {
    migrations: await readMigrations(new URL('../migrations/', import.meta.url)),
    appVersion: '0.1.0',
  });
  const mirrorFile = join(folder, 'mirror');

  const start = async (database: Database): Promise<RunningEnclave> => {
    const rootKeys = await (options.openRootKeys?.(folder) ??
      openSoftware({ file: join(folder, 'root'), create: true }));
    await database.query('delete from lease');
    const lease = await acquireLease(database, drivenClock(), 'test', () => undefined);
    const key = await rootKeys.mac(utf8ToBytes('kedge/mirror-key/v1'));
    const mirror = openFileMirror(
      mirrorFile,
      (bytes) => createHmac('sha256', key).update(bytes).digest(),
      lease!.fence,
    );
    return createEnclave({
      db: options.wrapDatabase?.(database) ?? database,
      rootKeys,
      mirror: options.wrapMirror?.(mirror) ?? mirror,
      fence: lease!.fence,
      clock,
      random: (length) => new Uint8Array(randomBytes(length)),
      operators: options.operators ?? new Map(),
      opensPerMinuteMax: options.opensPerMinuteMax ?? 100_000,
      cores: 2,
      backups: backupFolder(join(folder, 'backups')),
      officers: options.officers ?? [],
    });
  };

  const test: TestEnclave = {
    folder,
    db,
    clock,
    mirrorFile,
    backups: join(folder, 'backups'),
    enclave: await start(db),
    async restart(other = db) {
      test.enclave.stop();
      test.enclave = await start(other);
      return test.enclave;
    },
  };
  return test;
}
