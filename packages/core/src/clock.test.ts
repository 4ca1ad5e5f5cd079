/** The driven clock of tests: seven days pass as they would, tick by tick, in no time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, systemClock } from './clock.ts';
import { drivenClock } from './testing/driven-clock.ts';

test('nothing happens unless the clock is advanced', async () => {
  const clock = drivenClock();
  let runs = 0;
  clock.every(SECOND_MS, async () => {
    runs += 1;
  });
  const before = clock.wallMs();
  assert.equal(clock.wallMs(), before);
  assert.equal(clock.monotonicMs(), 0);
  await clock.advance(0);
  assert.equal(runs, 0);
});

test('advancing moves wall and monotonic time alike; a jump moves the wall alone', async () => {
  const clock = drivenClock();
  const wall = clock.wallMs();
  await clock.advance(7 * DAY_MS);
  assert.deepEqual([clock.wallMs() - wall, clock.monotonicMs()], [7 * DAY_MS, 7 * DAY_MS]);
  clock.jumpWall(-DAY_MS);
  assert.deepEqual([clock.wallMs() - wall, clock.monotonicMs()], [6 * DAY_MS, 7 * DAY_MS]);
});

test('a timer runs at each step of at most ten minutes, sees the time of that step, and never twice at once', async () => {
  const clock = drivenClock();
  const seen: number[] = [];
  let running = 0;
  clock.every(MINUTE_MS, async () => {
    running += 1;
    assert.equal(running, 1);
    await Promise.resolve();
    seen.push(clock.monotonicMs());
    running -= 1;
  });
  await clock.advance(HOUR_MS);
  assert.deepEqual(
    seen,
    [1, 2, 3, 4, 5, 6].map((step) => step * 10 * MINUTE_MS),
  );
});

test('a timer that is not due does not run, and a stopped one never does', async () => {
  const clock = drivenClock();
  let runs = 0;
  const stop = clock.every(DAY_MS, async () => {
    runs += 1;
  });
  await clock.advance(23 * HOUR_MS);
  assert.equal(runs, 0);
  await clock.advance(HOUR_MS);
  assert.equal(runs, 1);
  stop();
  await clock.advance(2 * DAY_MS);
  assert.equal(runs, 1);
});

test('the clock of the machine tells the time and only ever counts up', () => {
  const clock = systemClock();
  const [wall, monotonic] = [clock.wallMs(), clock.monotonicMs()];
  assert.equal(Math.abs(wall - Date.now()) < MINUTE_MS, true);
  assert.equal(clock.monotonicMs() >= monotonic, true);
});

test('the clock of the machine runs a timer again only when the run before has ended', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let runs = 0;
  let finish = () => {};
  const stop = systemClock().every(SECOND_MS, () => {
    runs += 1;
    return new Promise((resolve) => {
      finish = resolve;
    });
  });
  t.mock.timers.tick(5 * SECOND_MS);
  assert.equal(runs, 1);
  finish();
  stop();
});
