/** Whose turn it is: several gateways on one database, one that was killed, and one that lost its turn. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { HOUR_MS, SECOND_MS } from '@kedge/core';
import { drivenClock } from '@kedge/core/testing';
import type { Database } from '@kedge/store';
import { createLog } from './log.ts';
import { createScheduler, type Job } from './scheduler.ts';
import { migratedDatabase } from './testing/gateway.ts';

describe('the scheduler', () => {
  it('lets one gateway run a job as long as it lives, however rarely that is', async (t) => {
    const db = await openDatabase(t);
    const [first, second] = [gatewayOn(db, 'first'), gatewayOn(db, 'second')];
    first.start();
    await first.run('hourly');
    await first.clock.advance(4 * SECOND_MS);
    await second.run('hourly');
    assert.deepEqual([first.runs, second.runs], [1, 0]);
    const [lease] = await db.query<{ left: number }>('select extract(epoch from until - now())::int as left from jobs');
    assert.ok(lease!.left <= 10, `the lease is held for another ${lease!.left} s`);

    await expire(db);
    await first.clock.advance(4 * SECOND_MS);
    await second.run('hourly');
    assert.equal(second.runs, 0, 'the lease was renewed');
    await expire(db);
    await second.run('hourly');
    assert.equal(second.runs, 1, 'a gateway that does not renew has lost its turn');
  });

  it('gives a gateway that was killed its turn back at once, while others wait', async (t) => {
    const db = await openDatabase(t);
    await gatewayOn(db, 'first').run('hourly'); // and is killed: nothing releases its lease
    const [again, other] = [gatewayOn(db, 'first'), gatewayOn(db, 'other')];
    await other.run('hourly');
    await again.run('hourly');
    assert.deepEqual([again.runs, other.runs], [1, 0]);
  });

  it('tells a run to stop when another gateway has got its turn', async (t) => {
    const db = await openDatabase(t);
    const seen: boolean[] = [];
    const slow: Job = {
      name: 'hourly',
      everyMs: HOUR_MS,
      async run(stopping) {
        seen.push(stopping());
        await expire(db);
        await other.run('hourly');
        await first.clock.advance(4 * SECOND_MS);
        seen.push(stopping());
      },
    };
    const [first, other] = [gatewayOn(db, 'first', slow), gatewayOn(db, 'other')];
    first.start();
    await first.run('hourly');
    assert.deepEqual([seen, other.runs], [[false, true], 1]);
  });

  it('leaves nothing behind when it stops', async (t) => {
    const db = await openDatabase(t);
    const gateway = gatewayOn(db, 'first');
    await gateway.run('hourly');
    await gateway.stop();
    assert.deepEqual(await db.query('select 1 from jobs'), []);
  });
});

async function openDatabase(t: TestContext): Promise<Database> {
  const db = await migratedDatabase();
  t.after(() => db.close());
  return db;
}

function gatewayOn(db: Database, name: string, job?: Job) {
  const clock = drivenClock();
  const gateway = { clock, runs: 0 };
  const counting: Job = {
    name: 'hourly',
    everyMs: HOUR_MS,
    run: async () => {
      gateway.runs += 1;
    },
  };
  return Object.assign(
    gateway,
    createScheduler({ db, clock, log: createLog('silent'), name, jobs: [job ?? counting] }),
  );
}

/** As if ten seconds had passed without a renewal. */
async function expire(db: Database): Promise<void> {
  await db.query(`update jobs set until = now() - interval '1 second'`);
}
