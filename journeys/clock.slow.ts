/** The attacks K1 and K2 on real processes: twenty clock schedules of one to three days, and fifty kills among the reminders of a week. */
import { randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { BackupKeyLife } from './attacks/backup-key-life.ts';
import { clockSchedules, playSchedule, yearsAhead } from './attacks/clock-mover.ts';
import { remindThroughKills } from './attacks/reminder-killer.ts';
import { World } from './harness/world.ts';

const seed = Number(process.env.CLOCK_SEED ?? randomInt(2 ** 31));
const SCHEDULES = 20;
const KILLS = 50;
/** With `--minutes`, a sample: schedules until a sixth of the minutes is used up, then a tenth of the kills. */
const sampleMs = (Number(process.env.KEDGE_MINUTES ?? 0) * 60_000) / 6;
const kills = sampleMs > 0 ? KILLS / 10 : KILLS;

for (const database of sampleMs > 0 ? (['pglite'] as const) : (['pglite', 'postgres'] as const)) {
  describe(`time, moved and cut off, on ${database}`, () => {
    let world: World;
    let life: BackupKeyLife;
    let startedMs = 0;
    before(async () => {
      world = await World.open({ database, hsm: 'software', prepared: true, timeGoesOn: true });
      await world.start();
      life = await BackupKeyLife.begin(world, () => Promise.resolve());
      startedMs = performance.now();
    });
    after(() => world.close());

    for (const [index, schedule] of [yearsAhead, ...clockSchedules(seed, SCHEDULES - 1, 3)].entries()) {
      test(`K1: no release before service time and wall clock have passed, nor two hours later: schedule ${index}`, async (t) => {
        t.diagnostic(`CLOCK_SEED=${seed}`);
        if (sampleMs > 0 && performance.now() - startedMs > sampleMs) return t.diagnostic('the time was up');
        t.diagnostic(await playSchedule(world, life, schedule));
      });
    }

    test(`K2: the reminders of a week come once each, through ${kills} kills`, async (t) => {
      t.diagnostic(`CLOCK_SEED=${seed}`);
      t.diagnostic(await remindThroughKills(world, life, { seed, kills }));
    });
  });
}
