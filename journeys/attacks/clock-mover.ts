/**
 * The attack K1 on real processes: somebody who moves wall clocks, freezes the machine and switches the service off and on,
 * so that a cooling period be over sooner. A model beside the processes counts what has really passed, with the rule that
 * core's own test uses; at every step the recovery is looked at and its release is asked for. `clock.test.ts` and
 * `clock.slow.ts` choose how many schedules.
 */
import { DAY_MS, HOUR_MS, MINUTE_MS, serviceGainMs } from '@kedge/core';
import fc from 'fast-check';
import { check } from '../harness/journey.ts';
import type { World } from '../harness/world.ts';
import type { BackupKeyLife } from './backup-key-life.ts';

const YEAR_MS = 365 * DAY_MS;
/** The world advances the enclave by so much at a time. */
const LOOK_MS = 10 * MINUTE_MS;
/** When all clocks say so, the release is there after no more service than this. */
const LATE_MS_MAX = 2 * HOUR_MS;
/** A release that nobody fetched is withdrawn when the longer of the clocks says so: a wall clock ten years on does. */
const WITHDRAWN_MS = 30 * DAY_MS;

type Move =
  | { readonly kind: 'run'; readonly ms: number }
  | { readonly kind: 'pause'; readonly ms: number }
  | { readonly kind: 'jump'; readonly ms: number }
  | { readonly kind: 'stop'; readonly clean: boolean; readonly ms: number };

export interface Schedule {
  readonly days: number;
  /** Whether a release is asked for at every step; if not, nothing but time wakes the gateway. */
  readonly tries: boolean;
  readonly moves: readonly Move[];
}

const hours = (most: number) => fc.integer({ min: 0, max: most * HOUR_MS });
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('run' as const), ms: hours(5) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('pause' as const), ms: hours(5) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('jump' as const),
      ms: fc.oneof(
        fc.constantFrom(-1_000, 1_000, HOUR_MS, -HOUR_MS, DAY_MS, -DAY_MS),
        fc.integer({ min: -10 * YEAR_MS, max: 10 * YEAR_MS }),
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('stop' as const), clean: fc.boolean(), ms: hours(48) }) },
);

export function clockSchedules(seed: number, count: number, daysMax: number): Schedule[] {
  const schedule = fc.record({
    days: fc.integer({ min: 1, max: daysMax }),
    tries: fc.boolean(),
    moves: fc.array(move, { minLength: 8, maxLength: 16 }),
  });
  return fc.sample(schedule, { seed, numRuns: count });
}

/** For an hour the wall clock was years ahead, and nobody asks: whoever planned by it must not sleep for years. */
export const yearsAhead: Schedule = {
  days: 1,
  tries: false,
  moves: [
    { kind: 'jump', ms: 5 * YEAR_MS },
    { kind: 'run', ms: HOUR_MS },
    { kind: 'jump', ms: -5 * YEAR_MS },
  ],
};

/** How it ended: after how much service, and what became of it. Throws when it was early or late. */
export async function playSchedule(
  world: World,
  life: BackupKeyLife,
  { days, tries, moves }: Schedule,
): Promise<string> {
  const period = days * DAY_MS;
  const recovery = await life.newCase(period);
  await life.makeList(recovery);
  const startedMs = performance.now();
  await life.startCooling(recovery);

  // What has passed since: by the machine's own clock, as service, and on the wall.
  const passed = { really: 0, service: 0, wall: 0 };
  let unseenJumpMs = 0;
  let serviceWhenDue: number | null = null;
  const look = (ms: number) => {
    passed.really += ms;
    passed.wall += ms;
    passed.service += serviceGainMs({ wallMs: ms + unseenJumpMs, monotonicMs: ms });
    unseenJumpMs = 0;
  };
  const run = async (ms: number) => {
    await world.advance(ms);
    for (let leftMs = ms; leftMs > 0; leftMs -= LOOK_MS) look(Math.min(leftMs, LOOK_MS));
  };
  const jump = async (ms: number) => {
    await world.jumpWall(ms);
    passed.wall += ms;
    unseenJumpMs += ms;
  };

  /** True when it is over. */
  const isOver = async () => {
    // The test itself takes time too, on every clock.
    const slackMs = performance.now() - startedMs + 1_000;
    const mayBeDue = passed.service + slackMs >= period && passed.wall + slackMs >= period;
    const isDue = passed.service >= period && passed.wall >= period;
    if (!isDue) serviceWhenDue = null;
    else serviceWhenDue ??= passed.service;
    const { status, waits_for } = await life.look(recovery);
    const state = `${status} after ${hoursOf(passed.really)} in all, ${hoursOf(passed.service)} of service, ${hoursOf(passed.wall)} on the wall`;
    if (status === 'cooling') {
      if (!mayBeDue && tries) {
        const early = await life.release(recovery).then(
          () => 'released',
          ({ code }: { code?: string }) => code,
        );
        check(early === 'conflict', `a release is refused (${early}) while it is ${state}`);
      }
      const lateMs = serviceWhenDue === null ? 0 : passed.service - serviceWhenDue;
      check(lateMs <= LATE_MS_MAX, `${state} of ${days} days, waiting for [${waits_for}], is not late`);
      return false;
    }
    check(mayBeDue, `${state} of ${days} days is not early`);
    if (status === 'expired') check(passed.wall + slackMs >= period + WITHDRAWN_MS, `${state} was not withdrawn early`);
    else {
      check(status === 'releasable', `${state}: it can be released`);
      await life.release(recovery);
    }
    return true;
  };

  for (const move of moves) {
    if (move.kind === 'run') await run(move.ms);
    else if (move.kind === 'jump') await jump(move.ms);
    else if (move.kind === 'pause') {
      await world.pause(move.ms);
      look(move.ms);
    } else {
      await (move.clean ? world.stop() : world.kill());
      // Switched off, it has no wall clock that ticks; it finds another time when it starts.
      await world.jumpWall(move.ms);
      await world.start();
      passed.really += move.ms;
      passed.wall += move.ms;
      unseenJumpMs = 0;
    }
    if (await isOver()) return told(days, passed);
  }
  // At last somebody sets the clock right and leaves it alone.
  await jump(passed.really - passed.wall);
  for (let more = 0; more <= period + LATE_MS_MAX + HOUR_MS; more += HOUR_MS) {
    await run(HOUR_MS);
    if (await isOver()) return told(days, passed);
  }
  throw new Error('it never ended');
}

function told(days: number, passed: { readonly really: number; readonly service: number; readonly wall: number }) {
  return `${days} days: over after ${hoursOf(passed.really)}, ${hoursOf(passed.service)} of service, ${hoursOf(passed.wall)} on the wall`;
}

function hoursOf(ms: number): string {
  return `${(ms / HOUR_MS).toFixed(2)} h`;
}
