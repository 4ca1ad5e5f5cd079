/** The attack S2 on real processes, at every durable write of every act, before and after: each until an act ends without passing it. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { BackupKeyLife, backupKeyActs } from './attacks/backup-key-life.ts';
import { DualSecretLife, dualSecretActs } from './attacks/dual-secret-life.ts';
import { Killer, type Life, type ServiceIsUp } from './attacks/killer.ts';
import { World } from './harness/world.ts';

/** What every act may write. */
const enclaveWrites = ['mirror opened', 'mirror closed', 'vault state'];
const gatewayWrites = ['primary idempotency', 'primary commit', 'primary events', 'primary compact'];
/** An act has fewer writes of a kind; beyond are those of jobs, which never end. */
const COUNT_MAX = 4;

/** With `--minutes`, a sample: the acts in a random order, until a sixth of the minutes is used up by each life. */
const sampleMs = (Number(process.env.KEDGE_MINUTES ?? 0) * 60_000) / 6;
const seed = Number(process.env.KILL_SEED ?? randomInt(100));

for (const database of sampleMs > 0 ? (['pglite'] as const) : (['pglite', 'postgres'] as const)) {
  killEverywhere('dual-secret', database, dualSecretActs, DualSecretLife.begin, {
    enclave: ['vault wallets', 'vault compact'],
    gateway: ['users', 'wallets', 'client_keys', 'sessions'],
  });
  killEverywhere('backup-key', database, backupKeyActs, BackupKeyLife.begin, {
    enclave: [],
    gateway: [
      ...['approver_lists', 'approvers', 'backup_keys', 'recoveries', 'recovery_transactions'],
      ...['recovery_votes', 'recovery_links', 'mails'],
    ],
  });
}

function killEverywhere<Act extends string>(
  scheme: string,
  database: 'pglite' | 'postgres',
  acts: readonly Act[],
  begin: (world: World, up: ServiceIsUp) => Promise<Life<Act>>,
  own: { readonly enclave: readonly string[]; readonly gateway: readonly string[] },
): void {
  const writes = {
    enclave: [...enclaveWrites, ...own.enclave],
    gateway: [...gatewayWrites, ...own.gateway.map((table) => `primary ${table}`)],
  };
  const first = seed % acts.length;

  describe(`${scheme}, killed with -9 at every durable write, on ${database}`, () => {
    let world: World;
    let killer: Killer<Act>;
    let startedMs = 0;
    before(async () => {
      const timeGoesOn = scheme === 'backup-key';
      world = await World.open({ database, hsm: 'software', prepared: true, timeGoesOn });
      killer = await Killer.start(world, begin);
      startedMs = performance.now();
    });
    after(() => world.close());
    const timeIsUp = () => sampleMs > 0 && performance.now() - startedMs > sampleMs;

    for (const during of [...acts.slice(first), ...acts.slice(0, first)]) {
      for (const process of ['enclave', 'gateway'] as const) {
        test(`${during}: every write of the ${process}`, async (t) => {
          let kills = 0;
          for (const write of writes[process]) {
            for (const side of ['before', 'after'] as const) {
              for (let count = 1; count <= COUNT_MAX && !timeIsUp(); count++) {
                if ((await killer.kill({ during, process, at: `${write} ${count} ${side}` })) === null) break;
                kills += 1;
              }
            }
          }
          t.diagnostic(`${kills} kills${timeIsUp() ? `, then the time was up (KILL_SEED=${seed})` : ''}`);
          if (!timeIsUp()) assert.notEqual(kills, 0, 'every act writes something');
        });
      }
    }
  });
}
