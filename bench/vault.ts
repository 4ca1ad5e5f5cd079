/** What the questions about wallets share: the sealed wallets of an enclave over a database, without the rest of it. */
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, utf8ToBytes } from '@kedge/core';
import { type Database, migrate, readMigrations } from '@kedge/store';
import { acquireLease } from '../packages/enclave/src/lease.ts';
import { openFileMirror } from '../packages/enclave/src/mirror.ts';
import type { RootKeys } from '../packages/enclave/src/root-keys.ts';
import { ServerKeys } from '../packages/enclave/src/server-keys.ts';
import { ServiceTime } from '../packages/enclave/src/service-time.ts';
import { openSoftware } from '../packages/enclave/src/software.ts';
import { SealedState } from '../packages/enclave/src/state.ts';
import { createSealedWallets, type SealedWallets } from '../packages/enclave/src/wallets.ts';

export interface BenchVault {
  readonly rootKeys: RootKeys;
  readonly serverKeys: ServerKeys;
  readonly wallets: SealedWallets;
}

export const random = (length: number) => new Uint8Array(randomBytes(length));

/** On an empty database. */
export async function openVault(db: Database): Promise<BenchVault> {
  const folder = mkdtempSync(join(tmpdir(), 'kedge-bench-'));
  const clock = systemClock();
  await migrate(db, {
    migrations: await readMigrations(new URL('../packages/enclave/src/migrations/', import.meta.url)),
    appVersion: '0.1.0',
  });
  const rootKeys = await openSoftware({ file: join(folder, 'root'), create: true });
  const lease = await acquireLease(db, clock, 'bench', () => undefined);
  const key = await rootKeys.mac(utf8ToBytes('kedge/mirror-key/v1'));
  const mirror = openFileMirror(
    join(folder, 'mirror'),
    (bytes) => createHmac('sha256', key).update(bytes).digest(),
    lease!.fence,
  );
  const { state } = await SealedState.open({ db, mirror, fence: lease!.fence, rootKeys, random });
  const serverKeys = await ServerKeys.load(rootKeys, state, await ServiceTime.load(clock, state));
  return { rootKeys, serverKeys, wallets: createSealedWallets({ db, rootKeys, serverKeys, random }) };
}
