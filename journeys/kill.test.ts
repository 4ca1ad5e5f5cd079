/** The attack S2 on real processes: a dozen kills, at each kind of durable write. All points are in `kill.slow.ts`. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BackupKeyLife, type backupKeyActs } from './attacks/backup-key-life.ts';
import { DualSecretLife, type dualSecretActs } from './attacks/dual-secret-life.ts';
import { type Kill, Killer } from './attacks/killer.ts';
import { World } from './harness/world.ts';

const dualSecretKills: readonly Kill<(typeof dualSecretActs)[number]>[] = [
  { during: 'sign-up', process: 'enclave', at: 'vault state 1 before' },
  { during: 'sign-up', process: 'enclave', at: 'mirror closed 1 before' },
  { during: 'sign-up', process: 'gateway', at: 'primary users 1 before' },
  { during: 'sign-up', process: 'gateway', at: 'primary users 1 after' },
  { during: 'create wallet', process: 'enclave', at: 'vault wallets 1 after' },
  { during: 'create wallet', process: 'gateway', at: 'primary wallets 1 after' },
  { during: 'recover', process: 'enclave', at: 'vault state 2 after' },
  { during: 'recover', process: 'gateway', at: 'primary client_keys 1 before' },
  { during: 'rotate: start', process: 'enclave', at: 'mirror opened 1 after' },
  { during: 'rotate: start', process: 'enclave', at: 'vault state 1 after' },
  { during: 'rotate: rewrap', process: 'gateway', at: 'primary users 1 after' },
  { during: 'rotate: finish', process: 'enclave', at: 'vault compact 1 after' },
];

const backupKeyKills: readonly Kill<(typeof backupKeyActs)[number]>[] = [
  { during: 'make list', process: 'gateway', at: 'primary approver_lists 1 before' },
  { during: 'make list', process: 'enclave', at: 'vault state 2 after' },
  { during: 'request', process: 'gateway', at: 'primary recoveries 1 after' },
  { during: 'request', process: 'enclave', at: 'mirror opened 1 after' },
  { during: 'vote by key', process: 'enclave', at: 'vault state 1 after' },
  { during: 'vote by link', process: 'gateway', at: 'primary recovery_votes 1 before' },
  { during: 'alert', process: 'gateway', at: 'primary mails 2 after' },
  { during: 'alert', process: 'gateway', at: 'primary mails 3 before' },
  { during: 'remind', process: 'gateway', at: 'primary mails 1 after' },
  { during: 'release', process: 'enclave', at: 'vault state 1 after' },
  { during: 'release', process: 'gateway', at: 'primary recoveries 1 before' },
  { during: 'complete', process: 'gateway', at: 'primary recoveries 1 after' },
];

describe('killed with -9 at any moment, the service loses nothing that it answered and shows nothing half made', () => {
  let world: World;
  let killer: Killer<(typeof dualSecretActs)[number]>;
  before(async () => {
    world = await World.open({ database: 'pglite', hsm: 'software', prepared: true });
    killer = await Killer.start(world, DualSecretLife.begin);
  });
  after(() => world.close());

  for (const kill of dualSecretKills) {
    test(`${kill.during}: ${kill.process}, ${kill.at}`, async (t) => {
      const startMs = await killer.kill(kill);
      assert.notEqual(startMs, null, 'the point was passed');
      t.diagnostic(`back after ${(Number(startMs) / 1000).toFixed(1)} s`);
    });
  }
});

describe('killed with -9 during a recovery, it signs once, loses no vote and sends each letter once', () => {
  let world: World;
  let killer: Killer<(typeof backupKeyActs)[number]>;
  before(async () => {
    world = await World.open({ database: 'pglite', hsm: 'software', prepared: true, timeGoesOn: true });
    killer = await Killer.start(world, BackupKeyLife.begin);
  });
  after(() => world.close());

  for (const kill of backupKeyKills) {
    test(`${kill.during}: ${kill.process}, ${kill.at}`, async (t) => {
      const startMs = await killer.kill(kill);
      assert.notEqual(startMs, null, 'the point was passed');
      t.diagnostic(`back after ${(Number(startMs) / 1000).toFixed(1)} s`);
    });
  }
});
