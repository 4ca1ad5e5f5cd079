/** What wakes by itself: rehearsals that are overdue, changes that a crash cut off, and how much looking for it costs. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { DAY_MS, HOUR_MS, KedgeError, MINUTE_MS } from '@kedge/core';
import { createTestGateway, type TestGateway } from '../testing/gateway.ts';
import { createRecoveryWorld } from '../testing/recovery-world.ts';

describe('the jobs of recoveries', () => {
  let gateway: TestGateway;
  let enclaveIsAway = false;
  before(async () => {
    gateway = await createTestGateway({
      wrapEnclave: (enclave) =>
        new Proxy(enclave, {
          get: (target, method) =>
            enclaveIsAway && method !== 'status'
              ? () => Promise.reject(new KedgeError('enclave_unavailable'))
              : Reflect.get(target, method),
        }),
    });
  });
  after(() => gateway.close());

  it('tell of an overdue rehearsal once a period, however often they run and however long they slept', async () => {
    const { project, key } = await createRecoveryWorld(gateway);
    const call = { as: project.secretKey, params: { key_id: key } };
    await gateway.get('setDrills', { ...call, body: { every_days: 30, remind: ['olga@example.org'] } });
    const told = async () =>
      (await gateway.events()).filter(({ type, data }) => type === 'drill.overdue' && data.key === key).length;
    const run = async (passed: number) => {
      gateway.clock.jumpWall(passed);
      for (let times = 0; times < 3; times++) await gateway.scheduler.run('drills');
      await gateway.scheduler.run('mails');
      return [await told(), gateway.letters.filter(({ to }) => to === 'olga@example.org').length];
    };
    assert.deepEqual(await run(29 * DAY_MS), [0, 0]);
    assert.deepEqual(await run(2 * DAY_MS), [1, 1]);
    assert.deepEqual(await run(100 * DAY_MS), [2, 2], 'three periods asleep are told of once');
    assert.deepEqual(await run(20 * DAY_MS), [3, 3]);
    await gateway.get('setDrills', { ...call, body: { every_days: null } });
    assert.deepEqual(await run(400 * DAY_MS), [3, 3]);
  });

  it('bring a change of a list to the enclave when the request that wrote it down could not', async () => {
    const { project, list } = await createRecoveryWorld(gateway);
    const call = { as: project.secretKey, params: { list_id: list.approver_list_id } };
    const approvers = [{ name: 'Grace', email: 'grace@example.org' }];
    const body = { name: 'another', approvers, policy: { kind: 'majority' }, links_suffice: true };
    enclaveIsAway = true;
    assert.equal((await gateway.call('createListChange', { ...call, body })).status, 503);
    enclaveIsAway = false;
    gateway.clock.jumpWall(MINUTE_MS);
    for (const job of ['list-changes', 'mails', 'list-changes', 'mails']) await gateway.scheduler.run(job);
    const [change] = await gateway.db.query<{ id: string; status: string }>(
      'select id, status from list_changes where list = $1',
      [list.approver_list_id],
    );
    assert.equal(change!.status, 'open');
    const letters = gateway.letters.filter(({ text }) => text.includes(change!.id)).map(({ to }) => to);
    assert.deepEqual(letters.sort(), ['cara@example.org', 'dan@example.org']);
  });

  it('keep nobody waiting for one that fails', async () => {
    const worlds = [await createRecoveryWorld(gateway), await createRecoveryWorld(gateway)];
    const [broken, sound] = await Promise.all(worlds.map((world) => world.request()));
    await gateway.db.query('update recoveries set project = project, next_due_at = now() where id = any($1)', [
      [broken!.recovery_id, sound!.recovery_id],
    ]);
    enclaveIsAway = true;
    await gateway.scheduler.run('recoveries');
    enclaveIsAway = false;
    const due = await gateway.db.query<{ next_due_at: Date }>('select next_due_at from recoveries where id = any($1)', [
      [broken!.recovery_id, sound!.recovery_id],
    ]);
    for (const { next_due_at } of due) {
      const inMs = next_due_at.getTime() - gateway.clock.wallMs();
      assert.equal(inMs > 0 && inMs <= 2 * MINUTE_MS, true, 'asked again in a minute, not at once');
    }
  });

  it('do not sleep for years because the wall clock was years ahead for a moment', async () => {
    const world = await createRecoveryWorld(gateway, { coolingS: (2 * DAY_MS) / 1_000 });
    const recovery = await world.request();
    await world.approve(recovery);
    const dueInMs = async () => {
      const [row] = await gateway.db.query<{ next_due_at: Date }>('select next_due_at from recoveries where id = $1', [
        recovery.recovery_id,
      ]);
      return row!.next_due_at.getTime() - gateway.clock.wallMs();
    };
    const years = 5 * 365 * DAY_MS;
    for (const jump of [years, -years]) {
      gateway.clock.jumpWall(jump);
      await gateway.scheduler.run('recoveries');
    }
    assert.equal((await dueInMs()) <= DAY_MS, true, `looked at again in ${await dueInMs()} ms`);
    assert.equal((await world.get(recovery)).status, 'cooling');
  });

  it('look at what is due and not at what is open', async () => {
    const world = await createRecoveryWorld(gateway);
    const { recovery_id } = await world.request();
    await gateway.db.query(
      `insert into recoveries select (r).* from (
         select jsonb_populate_record(r, jsonb_build_object('id', gen_random_uuid(), 'next_due_at', now() + interval '90 days')) as r
         from recoveries r, generate_series(1, 5000) where r.id = $1) many`,
      [recovery_id],
    );
    await gateway.db.query('analyze recoveries');
    const now = new Date(gateway.clock.wallMs() - HOUR_MS);
    const plan = await gateway.db.query<{ 'QUERY PLAN': string }>(
      `explain (analyze, costs off, timing off, summary off)
       select * from recoveries where next_due_at <= '${now.toISOString()}' order by next_due_at, id limit 100`,
    );
    const text = plan.map((line) => line['QUERY PLAN']).join('\n');
    assert.match(text, /Index Scan using recoveries_due/);
    assert.doesNotMatch(text, /Sort|Seq Scan|Rows Removed/);
  });
});
