/** Recoveries: which moves there are, that no clock shortens a wait (K1), reminders once each, and what may happen meanwhile (K4). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { serviceGainMs } from './clock.ts';
import { assertMayAct, decideAct, type Situation, type VaultAct } from './conflicts.ts';
import { KedgeError } from './errors.ts';
import {
  COOLING_PERIOD_MS,
  isOpenRecovery,
  lengthenCooling,
  moveRecovery,
  noteAlert,
  noteReminder,
  type Recovery,
  type RecoveryStatus,
  recoveryStatuses,
  remindersDue,
  requestRecovery,
  startCooling,
  type TimeFacts,
  tickRecovery,
  waitsFor,
} from './recovery.ts';

const DAY = 24 * 3_600_000;
const start: TimeFacts = { serviceMs: 5 * DAY, wallMs: 1_800_000_000_000, chainMs: null };
const at = (days: number): TimeFacts => ({
  serviceMs: start.serviceMs + days * DAY,
  wallMs: start.wallMs + days * DAY,
  chainMs: null,
});
const cooling = (): Recovery =>
  noteAlert(startCooling(requestRecovery({ coolingPeriodMs: COOLING_PERIOD_MS, sandbox: false }), start), 1);
const reminded = (recovery: Recovery): Recovery =>
  (['day_1', 'day_2', 'day_3', 'day_4'] as const).reduce(noteReminder, recovery);

describe('moves', () => {
  test('a recovery goes from request to completion, and its end is its end', () => {
    let recovery = moveRecovery(requestRecovery({ coolingPeriodMs: COOLING_PERIOD_MS, sandbox: false }), 'approving');
    recovery = reminded(noteAlert(startCooling(recovery, start), 2));
    recovery = tickRecovery(recovery, at(7));
    assert.equal(recovery.status, 'releasable');
    recovery = moveRecovery(moveRecovery(moveRecovery(recovery, 'released'), 'sweeping'), 'completed');
    for (const to of recoveryStatuses)
      if (to !== 'cooling' && to !== 'releasable') assert.throws(() => moveRecovery(recovery, to), isCode('conflict'));
  });

  test('nothing leads to a release but cooling, and a cancelled recovery never releases', () => {
    const of = (status: RecoveryStatus): Recovery => ({ ...cooling(), status });
    for (const from of recoveryStatuses) {
      const releases = () => moveRecovery(of(from), 'released');
      if (from === 'releasable') releases();
      else assert.throws(releases, isCode('conflict'), from);
      assert.equal(tickRecovery(of(from), at(1_000)).status, from === 'cooling' ? 'cooling' : from);
    }
  });

  test('whatever can still become a release can be cancelled, and nothing else', () => {
    for (const status of recoveryStatuses) {
      const cancels = () => moveRecovery({ ...cooling(), status }, 'cancelled');
      if (isOpenRecovery(status)) assert.equal(cancels().status, 'cancelled');
      else assert.throws(cancels, isCode('conflict'));
    }
  });

  test('a cooling period is lengthened, never shortened, and of nothing that is over', () => {
    const recovery = reminded(cooling());
    assert.throws(() => lengthenCooling(recovery, COOLING_PERIOD_MS - 1), isCode('request_invalid'));
    const longer = lengthenCooling(recovery, 2 * COOLING_PERIOD_MS);
    assert.equal(tickRecovery(longer, at(13.9)).status, 'cooling');
    assert.equal(tickRecovery(longer, at(14)).status, 'releasable');
    assert.throws(
      () => lengthenCooling({ ...recovery, status: 'cancelled' }, 2 * COOLING_PERIOD_MS),
      isCode('conflict'),
    );
    for (const period of [-1, 0.5, Number.NaN, 91 * DAY])
      assert.throws(() => requestRecovery({ coolingPeriodMs: period, sandbox: false }), isCode('request_invalid'));
  });

  test('a rehearsal waits for nothing and reminds nobody', () => {
    const rehearsal = startCooling(requestRecovery({ coolingPeriodMs: COOLING_PERIOD_MS, sandbox: true }), start);
    assert.deepEqual(remindersDue(rehearsal, at(3)), []);
    assert.equal(tickRecovery(rehearsal, start).status, 'releasable');
  });
});

describe('a release waits for', () => {
  const ready = reminded(cooling());
  for (const [what, recovery, now] of [
    ['service_time', ready, { ...at(7), serviceMs: at(7).serviceMs - 1 }],
    ['wall_clock', ready, { ...at(7), wallMs: at(7).wallMs - 1 }],
    [
      'chain_clock',
      { ...ready, coolingSince: { ...start, chainMs: 1_000 } },
      { ...at(7), chainMs: 1_000 + 7 * DAY - 1 },
    ],
    ['chain_clock', { ...ready, coolingSince: { ...start, chainMs: 1_000 } }, at(7)],
    ['alert', { ...ready, alertsAccepted: 0 }, at(7)],
    ['reminders', { ...ready, reminders: ready.reminders.slice(1) }, at(7)],
    ['service_time', ready, { ...at(7), serviceMs: Number.NaN }],
    ['wall_clock', ready, { ...at(7), wallMs: Number.NaN }],
  ] as const) {
    test(`${what}, whatever else holds`, () => {
      assert.deepEqual(waitsFor(recovery, now), [what]);
      assert.equal(tickRecovery(recovery, now).status, 'cooling');
    });
  }
});

test('reminders come on days 1 to 6 and the last warning on day 6, each once, replayed or not', () => {
  let recovery = cooling();
  const sent: string[] = [];
  for (let hour = 0; hour <= 7 * 24; hour++) {
    for (let replay = 0; replay < 2; replay++) {
      for (const reminder of remindersDue(recovery, at(hour / 24))) {
        sent.push(`${reminder} after ${hour / 24}`);
        recovery = noteReminder(recovery, reminder);
      }
    }
  }
  assert.deepEqual(sent, [1, 2, 3, 4, 5, 6].map((day) => `day_${day} after ${day}`).concat('final_warning after 6'));
});

test('K1: over 5,000 random clock schedules no release comes before all its clocks say so, nor later than its next tick', () => {
  // A schedule: what the machine's two clocks do between ticks, and whether the service restarts.
  const step = fc.record({
    realMs: fc.integer({ min: 0, max: 5 * 3_600_000 }),
    wallJumpMs: fc.oneof(
      { weight: 8, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.constantFrom(-1_000, 1_000, 3_600_000, -3_600_000) },
      { weight: 1, arbitrary: fc.integer({ min: -10 * 365 * DAY, max: 10 * 365 * DAY }) },
    ),
    frozen: fc.boolean(),
    restart: fc.integer({ min: 0, max: 19 }).map((dice) => dice === 0),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 50, maxLength: 400 }), (schedule) => {
      const period = DAY;
      let [realMs, wallMs, monotonicMs, serviceMs] = [0, start.wallMs, 0, 0];
      let seen = { wallMs, monotonicMs };
      let recovery = noteAlert(
        startCooling(requestRecovery({ coolingPeriodMs: period, sandbox: false }), {
          serviceMs,
          wallMs,
          chainMs: null,
        }),
        1,
      );
      for (const { realMs: passed, wallJumpMs, frozen, restart } of schedule) {
        realMs += passed;
        wallMs += (frozen ? 0 : passed) + wallJumpMs;
        monotonicMs += passed;
        // The gap of a restart adds nothing: the clocks are looked at anew.
        if (!restart)
          serviceMs += serviceGainMs({ wallMs: wallMs - seen.wallMs, monotonicMs: monotonicMs - seen.monotonicMs });
        seen = { wallMs, monotonicMs };
        const now = { serviceMs, wallMs, chainMs: null };
        recovery = tickRecovery(recovery, now);
        const due = serviceMs >= period && wallMs >= start.wallMs + period;
        assert.equal(recovery.status === 'releasable', due);
        if (recovery.status === 'releasable') {
          assert.ok(realMs >= period, `released after ${realMs} ms of real time`);
          break;
        }
      }
    }),
    { numRuns: 5_000 },
  );
});

describe('K4: what may go on at the same time', () => {
  const situations: Situation[] = [];
  for (const recovery of [null, ...recoveryStatuses])
    for (const listChangeOpen of [false, true])
      for (const lockdown of [false, true])
        for (const rotating of [false, true]) situations.push({ recovery, listChangeOpen, lockdown, rotating });
  const may = (act: VaultAct, situation: Situation) => decideAct(act, situation).state === 'allow';

  test('in every one of the 96 situations the rules that protect the owner hold', () => {
    assert.equal(situations.length, 96);
    for (const situation of situations) {
      const { recovery, listChangeOpen, lockdown, rotating } = situation;
      const text = JSON.stringify(situation);
      assert.equal(may('cancel_recovery', situation), recovery !== null && isOpenRecovery(recovery), text);
      assert.ok(may('start_lockdown', situation), text);
      assert.equal(may('lift_lockdown', situation), lockdown, text);
      if (lockdown)
        for (const act of ['spend', 'new_address', 'release_recovery', 'open_list_change', 'vote_list_change'] as const)
          assert.ok(!may(act, situation), text);
      // The list can't change while somebody is judged by it, and nobody is judged while it changes.
      if (recovery !== null && isOpenRecovery(recovery)) assert.ok(!may('open_list_change', situation), text);
      if (listChangeOpen) assert.ok(!may('request_recovery', situation), text);
      assert.ok(!(may('request_recovery', situation) && recovery !== null && isOpenRecovery(recovery)), text);
      assert.equal(may('release_recovery', situation), recovery === 'releasable' && !lockdown, text);
      assert.equal(may('start_rotation', situation), !rotating, text);
      // A rotation changes none of the other answers.
      for (const act of [
        'spend',
        'request_recovery',
        'release_recovery',
        'cancel_recovery',
        'open_list_change',
      ] as const)
        assert.equal(may(act, situation), may(act, { ...situation, rotating: !rotating }), text);
    }
  });

  test('no situation is a trap: there is always a way to a situation in which the vault spends', () => {
    for (const situation of situations) {
      const ways: Situation[] = [situation];
      if (situation.lockdown && may('lift_lockdown', situation)) ways.push({ ...situation, lockdown: false });
      if (may('cancel_recovery', situation))
        ways.push(...ways.map((way) => ({ ...way, recovery: 'cancelled' as const })));
      // A sweep ends by itself.
      if (situation.recovery === 'released' || situation.recovery === 'sweeping')
        ways.push(...ways.map((way) => ({ ...way, recovery: 'completed' as const })));
      assert.ok(
        ways.some((way) => may('spend', way)),
        JSON.stringify(situation),
      );
    }
  });

  test('what is denied says why, in a sentence', () => {
    for (const situation of situations) {
      for (const act of [
        'request_recovery',
        'vote_recovery',
        'release_recovery',
        'open_list_change',
        'spend',
      ] as const) {
        if (may(act, situation)) assertMayAct(act, situation);
        else
          assert.throws(
            () => assertMayAct(act, situation),
            (error) => isCode('conflict')(error) && /\.$/.test(String(error)),
          );
      }
    }
  });
});

function isCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof KedgeError && error.code === code;
}
