/** Commits and their chain, on both engines: state and event together, gapless order, safe to repeat. */
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import { commit, createEventWriter, eventsSql } from './commit.ts';
import type { Database } from './database.ts';
import { openPostgres } from './postgres.ts';
import { createSequencer } from './sequencer.ts';
import { memoryDatabase, type PostgresServer, startPostgres } from './testing/index.ts';

function link(previous: Uint8Array | null, seq: number, body: string): Uint8Array {
  const hash = createHash('sha256').update(previous ?? 'genesis');
  return new Uint8Array(hash.update(`${seq}:${body}`).digest());
}

const event = (body: string) => ({ id: randomUUID(), body });
const nothing = async () => {};
const schema = `${eventsSql} create table accounts (id integer primary key, balance integer not null)`;

describe('on PGlite', () => {
  ledgerTests(memoryDatabase);
});

describe('on PostgreSQL', () => {
  let server: PostgresServer;
  before(async () => {
    server = await startPostgres();
  });
  after(() => server.stop());
  ledgerTests(async () => openPostgres({ url: await server.url('ledger') }));
});

function ledgerTests(open: () => Promise<Database>): void {
  let db: Database;
  before(async () => {
    db = await open();
    await db.query(schema);
  });
  beforeEach(() => db.query('truncate events, accounts'));
  after(() => db.close());

  test('a commit keeps state and events together and gives the result of the change', async () => {
    const result = await commit(db, {
      next: (tx) => tx.query('insert into accounts values (1, 10) returning balance'),
      events: [event('account.opened')],
    });
    assert.deepStrictEqual(result, [{ balance: 10 }]);
    assert.deepStrictEqual(await db.query('select body, seq, hash from events'), [
      { body: 'account.opened', seq: null, hash: null },
    ]);
  });

  test('events may be told from the result of the change', async () => {
    await commit(db, { next: async () => 42, events: (answer) => [event(`answer ${answer}`), event('second')] });
    assert.deepStrictEqual(await db.query('select body from events order by body'), [
      { body: 'answer 42' },
      { body: 'second' },
    ]);
  });

  test('events told at the same time are all there, and a bad one fails alone', async () => {
    const tell = createEventWriter(db);
    const old = event('old');
    await tell([old]);
    const many = Array.from({ length: 600 }, (_, index) => [event(`told ${index}`), event(`and ${index}`)]);
    const bad = [[{ id: old.id, body: 'another' }], [{ id: 'no uuid', body: '' }], []];
    const results = await Promise.allSettled([...many.slice(0, 300), ...bad, ...many.slice(300), [old]].map(tell));
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []));
    assert.deepStrictEqual(refused, ['duplicate', 'invalid', 'invalid']);
    const rows = await db.query<{ body: string }>('select body from events');
    const expected = ['old', ...many.flat().map(({ body }) => body)];
    assert.deepStrictEqual(rows.map(({ body }) => body).sort(), expected.sort());
    await tell([event('afterwards')]);
  });

  test('no event, no change; and a failed change leaves no event', async () => {
    const next = (tx: { query: Database['query'] }) => tx.query('insert into accounts values (1, 10)');
    await assert.rejects(commit(db, { next, events: [] }), { code: 'invalid' });
    await assert.rejects(commit(db, { next, events: [{ id: 'no uuid', body: '' }] }), { code: 'invalid' });
    await commit(db, { next, events: [event('kept')] });
    await assert.rejects(commit(db, { next, events: [event('lost')] }), { code: 'duplicate' });
    assert.deepStrictEqual(await db.query('select body from events'), [{ body: 'kept' }]);
    assert.deepStrictEqual(await db.query('select id from accounts'), [{ id: 1 }]);
  });

  test('the same event again is no second event, and the same id with another body is refused', async () => {
    const once = event('happened');
    const sequencer = createSequencer(db, { link });
    await commit(db, { next: nothing, events: [once] });
    await commit(db, { next: nothing, events: [once] });
    assert.equal(await sequencer.run(), 1);
    await commit(db, { next: nothing, events: [once, event('new')] });
    assert.equal(await sequencer.run(), 1);
    await assert.rejects(commit(db, { next: nothing, events: [{ id: once.id, body: 'something else' }] }), {
      code: 'duplicate',
      constraint: 'events_pkey',
    });
  });

  test('the chain is gapless from 1, in the order of the commits, and each hash follows from the one before', async () => {
    const sequencer = createSequencer(db, { link });
    assert.equal(await sequencer.head(), null);
    assert.equal(await sequencer.run(), 0);
    const bodies = Array.from({ length: 2500 }, (_, index) => `event ${index}`);
    for (let from = 0; from < bodies.length; from += 250) {
      await commit(db, { next: nothing, events: bodies.slice(from, from + 250).map(event) });
      if (from === 500) assert.equal(await sequencer.run(), 750);
    }
    assert.equal(await sequencer.run(), 1750);
    const chained = [];
    for (let after = 0; ; after += 1000) {
      const page = await sequencer.read({ after, limit: 5000 });
      chained.push(...page);
      if (page.length < 1000) break;
    }
    let previous: Uint8Array | null = null;
    for (const [index, { seq, hash, body }] of chained.entries()) {
      assert.equal(seq, index + 1);
      previous = link(previous, seq, body);
      assert.deepStrictEqual(hash, previous);
    }
    assert.deepStrictEqual(
      chained
        .slice(0, 250)
        .map(({ body }) => body)
        .sort(),
      bodies.slice(0, 250).sort(),
    );
    assert.deepStrictEqual(await sequencer.head(), { seq: 2500, hash: previous });
  });

  test('several sequencers and writers at once make one chain without gap or fork', async () => {
    const sequencers = [1, 2, 3].map(() => createSequencer(db, { link }));
    const writes = Array.from({ length: 30 }, (_, index) => commit(db, { next: nothing, events: [event(`${index}`)] }));
    const runs = sequencers.map((sequencer) => sequencer.run());
    await Promise.all([...writes, ...runs]);
    await sequencers[0]!.run();
    const chained = await sequencers[0]!.read({ after: 0, limit: 100 });
    assert.deepStrictEqual(
      chained.map(({ seq }) => seq),
      Array.from({ length: 30 }, (_, index) => index + 1),
    );
    assert.deepStrictEqual(
      chained.reduce<Uint8Array | null>((previous, { seq, body }) => link(previous, seq, body), null),
      chained.at(-1)!.hash,
    );
  });

  test('the lag is the age of the oldest event that waits', async () => {
    const sequencer = createSequencer(db, { link });
    assert.equal(await sequencer.lagMs(), 0);
    await commit(db, { next: nothing, events: [event('old'), event('new')] });
    await db.query(`update events set added_at = now() - interval '7 days' where body = 'old'`);
    const lagMs = await sequencer.lagMs();
    assert.ok(lagMs >= 7 * 864e5 && lagMs < 7 * 864e5 + 60_000, `${lagMs} ms`);
    await sequencer.run();
    assert.equal(await sequencer.lagMs(), 0);
    const [first] = await sequencer.read({ after: 0, limit: 1 });
    assert.equal(first?.body, 'old');
  });
}
