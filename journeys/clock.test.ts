/** The attacks K1 and K2 on real processes: a few clock schedules, and one kill among the reminders of a week. All are in `clock.slow.ts`. */
import { randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { BackupKeyLife } from './attacks/backup-key-life.ts';
import { clockSchedules, playSchedule, yearsAhead } from './attacks/clock-mover.ts';
import { remindThroughKills } from './attacks/reminder-killer.ts';
import { World } from './harness/world.ts';

const seed = Number(process.env.CLOCK_SEED ?? randomInt(2 ** 31));

describe('time, moved and cut off', () => {
  let world: World;
  let life: BackupKeyLife;
  before(async () => {
    world = await World.open({ database: 'pglite', hsm: 'software', prepared: true, timeGoesOn: true });
    await world.start();
    life = await BackupKeyLife.begin(world, () => Promise.resolve());
  });
  after(() => world.close());

  for (const [index, schedule] of [yearsAhead, ...clockSchedules(seed, 2, 1)].entries()) {
    test(`K1: no release before service time and wall clock have passed, nor two hours later: schedule ${index}`, async (t) => {
      t.diagnostic(`CLOCK_SEED=${seed}`);
      t.diagnostic(await playSchedule(world, life, schedule));
    });
  }

  test('K2: the reminders of a week come once each, though the gateway is killed among them', async (t) => {
    t.diagnostic(`CLOCK_SEED=${seed}`);
    t.diagnostic(await remindThroughKills(world, life, { seed, kills: 1 }));
  });
});
