/** The day's limit on openings, over stops, crashes and floods. The state is a map here: what it promises is in state.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToHex, DAY_MS, MINUTE_MS, utf8ToBytes } from '@kedge/core';
import { drivenClock } from '@kedge/core/testing';
import { Accounts, OPENS_PER_DAY_MAX } from './accounts.ts';
import { ServiceTime } from './service-time.ts';
import type { SealedState, StateChange } from './state.ts';

const [project, user] = ['project', 'user'];

async function openAccounts() {
  const rows = new Map<string, Uint8Array>();
  const test = { writes: 0 };
  const state = {
    key: async (...parts: readonly string[]) => utf8ToBytes(parts.join('/')),
    read: async (key: Uint8Array) => rows.get(bytesToHex(key)) ?? null,
    async write(changes: readonly StateChange[]) {
      await new Promise((resolve) => setImmediate(resolve));
      for (const { key, value } of changes) rows.set(bytesToHex(key), value!);
      test.writes += 1;
    },
  } as unknown as SealedState;
  const clock = drivenClock();
  const time = await ServiceTime.load(clock, state);
  const start = () => Accounts.load(state, time);
  const first = await start();
  await first.change(project, user, async () => ({
    next: {
      salt: new Uint8Array(16),
      fingerprint: new Uint8Array(32),
      secondWrap: new Uint8Array(),
      keys: [],
      tries: [],
      opens: { dayStartMs: 0, charged: 0 },
    },
    result: undefined,
  }));
  const charged = async (accounts: Accounts) => (await accounts.get(project, user)).opens.charged;
  return Object.assign(test, { clock, time, start, charged });
}

/** Gives how many were charged before the limit. */
async function openUntilLimited(accounts: Accounts, most = Number.POSITIVE_INFINITY): Promise<number> {
  for (let opens = 0; ; opens++) {
    if (opens === most) return opens;
    const refused = await accounts.chargeOpen(project, user).then(
      () => null,
      (error: { code: string }) => error.code,
    );
    if (refused === null) continue;
    assert.equal(refused, 'open_limited');
    return opens;
  }
}

test('500 openings a day are 500, however often the enclave is stopped', async () => {
  const opened = await openAccounts();
  let opens = 0;
  for (const count of [1, 7, 30, 2, 18, 100, 5, 77, 1, 1, 600]) {
    const accounts = await opened.start();
    opens += await openUntilLimited(accounts, count);
    await accounts.giveBackOpens(() => 0);
    assert.equal(await opened.charged(accounts), opens);
  }
  assert.equal(opens, OPENS_PER_DAY_MAX);
});

test('a crash gives an account not one opening more, and costs it fewer than were used since the start', async () => {
  for (const count of [1, 2, 3, 8, 16, 32, 60]) {
    const opened = await openAccounts();
    let opens = 0;
    for (let last = count; last === count; opens += last) last = await openUntilLimited(await opened.start(), count);
    assert.ok(opens <= OPENS_PER_DAY_MAX && opens > OPENS_PER_DAY_MAX / 2, `${opens} openings, ${count} a run`);
    if (count === 1) assert.equal(opens, OPENS_PER_DAY_MAX);
  }
});

test('what is given back cannot be used as well', async () => {
  const opened = await openAccounts();
  const accounts = await opened.start();
  await openUntilLimited(accounts, 17);
  const [, during] = await Promise.all([accounts.giveBackOpens(() => 0), openUntilLimited(accounts, 40)]);
  const after = await openUntilLimited(await opened.start());
  assert.ok(17 + during + after <= OPENS_PER_DAY_MAX, `${17 + during + after} openings`);
});

test('of 600 openings at once 500 are answered, each charged before it is', async () => {
  const opened = await openAccounts();
  const accounts = await opened.start();
  const before = opened.writes;
  const answers = await Promise.allSettled(
    Array.from({ length: 600 }, async () => {
      await accounts.chargeOpen(project, user);
      return opened.charged(accounts);
    }),
  );
  const chargedAt = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  assert.equal(chargedAt.length, OPENS_PER_DAY_MAX);
  for (const [index, charged] of chargedAt.entries())
    assert.ok(charged > index, `opening ${index} was answered at ${charged}`);
  assert.ok(opened.writes - before < 30, `${opened.writes - before} writes`);
});

test('a day later they are counted anew', async () => {
  const opened = await openAccounts();
  const accounts = await opened.start();
  assert.equal(await openUntilLimited(accounts), OPENS_PER_DAY_MAX);
  opened.clock.jumpWall(DAY_MS);
  assert.equal(await openUntilLimited(accounts), 0, 'moving the clock shortens nothing');
  opened.clock.jumpWall(-DAY_MS);
  for (let passedMs = 0; passedMs < DAY_MS; passedMs += 10 * MINUTE_MS) {
    await opened.clock.advance(10 * MINUTE_MS);
    await opened.time.tick();
  }
  assert.equal(await openUntilLimited(accounts), OPENS_PER_DAY_MAX);
});
