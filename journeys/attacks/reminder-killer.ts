/**
 * The attack K2 on real processes: the gateway is killed while it writes, sends and notes the reminders of a seven-day
 * recovery, and started again. Each reminder must reach each participant once, the last warning too. `clock.test.ts` and
 * `clock.slow.ts` say how often.
 */
import { DAY_MS, HOUR_MS } from '@kedge/core';
import fc from 'fast-check';
import { check } from '../harness/journey.ts';
import type { World } from '../harness/world.ts';
import { type BackupKeyLife, FAMILY } from './backup-key-life.ts';

const DAYS = 7;
const STEP_MS = 2 * HOUR_MS;
/** Of the seven days all but the last have a reminder; the sixth also has the last warning. */
const REMINDERS = DAYS - 1;
const TURN_MS = 10_000;
const STEPS = (REMINDERS * DAY_MS) / STEP_MS;

/** Says how many of the kills hit one of the writes that were meant. */
export async function remindThroughKills(
  world: World,
  life: BackupKeyLife,
  { seed, kills }: { readonly seed: number; readonly kills: number },
): Promise<string> {
  const week = await life.newCase(DAYS * DAY_MS);
  await life.makeList(week);
  await life.startCooling(week);
  const [points] = fc.sample(
    fc.array(
      fc.record({
        write: fc.constantFrom('mails', 'recoveries', 'events', 'commit'),
        count: fc.integer({ min: 1, max: 2 }),
        side: fc.constantFrom('before', 'after'),
      }),
      { minLength: STEPS, maxLength: STEPS },
    ),
    { seed, numRuns: 1 },
  );
  let hits = 0;
  for (let step = 1; step <= STEPS; step++) {
    // Spread evenly, so that each ends with the last step of a day as soon as there are six.
    const isAttacked = Math.floor((step * kills) / STEPS) > Math.floor(((step - 1) * kills) / STEPS);
    if (!isAttacked) {
      await world.advance(STEP_MS);
      continue;
    }
    const { gateway } = world.service!.children;
    const { write, count, side } = points![step - 1]!;
    gateway.send({ die_at: `primary ${write} ${count} ${side}` });
    await gateway.line((line) => line.armed === true);
    // The time, and what is written because of it: the letters wait for the next turn of the job that sends.
    const lived = await advanceBy(world, [STEP_MS, TURN_MS, TURN_MS]);
    if (!lived) hits += 1;
    await world.kill();
    await world.start();
  }
  // The alert, six days, and the last warning.
  await life.lettersArrive(week, FAMILY, REMINDERS + 2);
  for (let turn = 0; turn < 10; turn++) await life.passes(HOUR_MS);
  const subjects = life.lettersTo(week, FAMILY).map((text) => /^Subject: (.*)$/im.exec(text)![1]!);
  check(subjects.length === REMINDERS + 2, `each letter came once: ${subjects.join(' | ')}`);
  return `${kills} kills, ${hits} of them at a write that was meant; ${subjects.length} letters`;
}

async function advanceBy(world: World, spans: readonly number[]): Promise<boolean> {
  try {
    for (const span of spans) await world.advance(span);
    return true;
  } catch {
    return false;
  }
}
