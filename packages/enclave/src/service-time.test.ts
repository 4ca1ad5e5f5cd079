/** Service time under clocks that jump, stop and lie: never more than the service was really up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Clock, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '@kedge/core';
import fc from 'fast-check';
import { ServiceTime } from './service-time.ts';
import type { SealedState } from './state.ts';

/** The one row that service time needs, without the database under it. */
function rowInMemory(): SealedState {
  let row: Uint8Array | null = null;
  const state: Pick<SealedState, 'key' | 'read' | 'write'> = {
    key: async () => new Uint8Array(32),
    read: async () => row,
    async write([change]) {
      row = change!.value;
    },
  };
  return state as SealedState;
}

/** A machine: real time passes; what its clocks show is another matter. */
class Machine implements Clock {
  realMs = 0;
  shownWallMs = Date.UTC(2026, 0, 1);
  shownMonotonicMs = 0;
  wallMs = () => this.shownWallMs;
  monotonicMs = () => this.shownMonotonicMs;
  every = () => () => undefined;

  pass(ms: number, { wall = true, monotonic = true }: { wall?: boolean; monotonic?: boolean } = {}): void {
    this.realMs += ms;
    if (wall) this.shownWallMs += ms;
    if (monotonic) this.shownMonotonicMs += ms;
  }
}

type Step =
  | { readonly kind: 'tick' | 'look' }
  | {
      readonly kind: 'pass' | 'frozen wall' | 'frozen monotonic' | 'pause of the machine' | 'off' | 'jump';
      readonly ms: number;
    };

const spans = fc.oneof(
  fc.integer({ min: 0, max: 2 * MINUTE_MS }),
  fc.constantFrom(SECOND_MS, MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, DAY_MS, 3_650 * DAY_MS),
  fc.integer({ min: 0, max: 30 * DAY_MS }),
);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('tick' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('look' as const) }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: spans }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constantFrom(
          'frozen wall' as const,
          'frozen monotonic' as const,
          'pause of the machine' as const,
          'off' as const,
        ),
        ms: spans,
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('jump' as const),
        ms: fc.tuple(spans, fc.constantFrom(1, -1)).map(([ms, sign]) => ms * sign),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('jump' as const), ms: fc.constant(Number.NaN) }) },
  ),
  { maxLength: 60 },
);

test('whatever the clocks do, in 5,000 schedules, service time is never more than real service, and never goes back', async () => {
  let accrued = 0;
  await fc.assert(
    fc.asyncProperty(steps, async (schedule) => {
      const machine = new Machine();
      const state = rowInMemory();
      let time = await ServiceTime.load(machine, state);
      let servedMs = 0;
      let durableMs = 0;
      const assertTrue = () => {
        const now = time.nowMs();
        assert.equal(now <= servedMs + 1e-6, true, `${now} ms after ${servedMs} ms of service`);
        assert.equal(now >= durableMs, true, `back from ${durableMs} ms to ${now} ms`);
      };
      for (const step of schedule) {
        switch (step.kind) {
          case 'tick':
            await time.tick();
            durableMs = time.nowMs();
            break;
          case 'look':
            break;
          case 'pass':
            machine.pass(step.ms);
            servedMs += step.ms;
            break;
          case 'frozen wall':
            machine.pass(step.ms, { wall: false });
            servedMs += step.ms;
            break;
          case 'frozen monotonic':
            machine.pass(step.ms, { monotonic: false });
            servedMs += step.ms;
            break;
          case 'pause of the machine': // the process stands still, and CLOCK_MONOTONIC with it; the wall goes on
            machine.pass(step.ms, { monotonic: false });
            break;
          case 'off':
            machine.pass(step.ms, { monotonic: false });
            machine.shownMonotonicMs = 0;
            time = await ServiceTime.load(machine, state);
            break;
          case 'jump':
            machine.shownWallMs += step.ms;
            break;
        }
        assertTrue();
      }
      accrued += time.nowMs();
    }),
    { numRuns: 5_000 },
  );
  assert.notEqual(accrued, 0, 'the schedules showed nothing');
});

test('with ticks as they come, an hour of service is an hour, less than a tick lost at each restart', async () => {
  const machine = new Machine();
  const state = rowInMemory();
  let time = await ServiceTime.load(machine, state);
  for (let minute = 0; minute < 60; minute++) {
    machine.pass(MINUTE_MS);
    await time.tick();
  }
  assert.equal(time.nowMs(), HOUR_MS);
  machine.pass(MINUTE_MS - 1); // not ticked: lost
  time = await ServiceTime.load(machine, state);
  assert.equal(time.nowMs(), HOUR_MS);
});

test('switching the service off for seven days shortens no wait', async () => {
  const machine = new Machine();
  const state = rowInMemory();
  await (await ServiceTime.load(machine, state)).tick();
  machine.pass(7 * DAY_MS, { monotonic: false });
  machine.shownMonotonicMs = 0;
  assert.equal((await ServiceTime.load(machine, state)).nowMs(), 0);
});

test('between two ticks no more than ten minutes are gained, however long they are apart', async () => {
  const machine = new Machine();
  const time = await ServiceTime.load(machine, rowInMemory());
  machine.pass(DAY_MS);
  assert.equal(time.nowMs(), 10 * MINUTE_MS);
  await time.tick();
  await time.tick();
  assert.equal(time.nowMs(), 10 * MINUTE_MS);
});

test('a tick that could not be written does not lose time: the next one makes it up', async () => {
  const machine = new Machine();
  const state = rowInMemory();
  const time = await ServiceTime.load(machine, state);
  const { write } = state;
  state.write = async () => Promise.reject(new Error('no space'));
  machine.pass(MINUTE_MS);
  await assert.rejects(time.tick(), /no space/);
  state.write = write;
  machine.pass(MINUTE_MS);
  await time.tick();
  assert.equal((await ServiceTime.load(machine, state)).nowMs(), 2 * MINUTE_MS);
});
