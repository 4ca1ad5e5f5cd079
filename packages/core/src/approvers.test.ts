/** Approver lists: the order of evaluation, every small list exhaustively, and a thousand races. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  type Approver,
  type ApproverList,
  assertApproverList,
  assertMayVote,
  evaluateVotes,
  quorumOf,
  type Vote,
  WINDOW_MS,
} from './approvers.ts';
import { KedgeError } from './errors.ts';

const openedAtMs = 1_000_000;
const plain = (id: string): Approver => ({ id, veto: false, mustApprove: false });
const listOf = (
  approvers: readonly Approver[],
  policy: ApproverList['policy'] = { kind: 'majority' },
): ApproverList => ({
  approvers,
  policy,
  windowMs: WINDOW_MS,
});
const votesOf = (text: string): Vote[] =>
  text
    .split(' ')
    .filter(Boolean)
    .map((word, i) => ({
      approver: word.slice(1),
      choice: word[0] === '+' ? 'approve' : 'reject',
      atMs: openedAtMs + 1 + i,
    }));
const outcome = (list: ApproverList, text: string, nowMs = openedAtMs + 1_000) =>
  evaluateVotes(list, votesOf(text), { openedAtMs, nowMs });

describe('the quorum', () => {
  const people = (count: number) => Array.from({ length: count }, (_, i) => plain(String(i)));

  test('a majority is more than half', () => {
    assert.deepEqual(
      [1, 2, 3, 4, 5, 6, 50].map((count) => quorumOf(listOf(people(count)))),
      [1, 2, 2, 3, 3, 4, 26],
    );
  });

  test('a percentage is rounded up, and at least one', () => {
    const of = (count: number, percent: number) => quorumOf(listOf(people(count), { kind: 'percentage', percent }));
    assert.deepEqual(
      [of(3, 50), of(3, 66), of(3, 67), of(3, 100), of(10, 1), of(50, 51), of(1, 1)],
      [2, 2, 3, 3, 1, 26, 1],
    );
  });

  test('lists by which nothing could be decided are refused', () => {
    for (const list of [
      listOf([]),
      listOf([plain('a'), plain('a')]),
      listOf(people(51)),
      listOf(people(3), { kind: 'exact', count: 4 }),
      listOf(people(3), { kind: 'exact', count: 0 }),
      listOf(people(3), { kind: 'exact', count: 1.5 }),
      listOf(people(3), { kind: 'percentage', percent: 0 }),
      listOf(people(3), { kind: 'percentage', percent: 101 }),
      { ...listOf(people(3)), windowMs: 1 },
      { ...listOf(people(3)), windowMs: Number.POSITIVE_INFINITY },
    ]) {
      assert.throws(() => assertApproverList(list), isCode('request_invalid'));
    }
    assertApproverList(listOf(people(50), { kind: 'exact', count: 50 }));
  });
});

describe('the order of evaluation', () => {
  const three = listOf([plain('a'), plain('b'), plain('c')]);

  test('two of three approve, and two of three decline', () => {
    assert.equal(outcome(three, '+a').state, 'open');
    assert.deepEqual(outcome(three, '+a +b'), { state: 'approved', because: 'threshold' });
    assert.deepEqual(outcome(three, '-a +b -c'), { state: 'declined', because: 'threshold' });
  });

  test('the first outcome stands, whatever comes later', () => {
    assert.equal(outcome(three, '+a +b -c').state, 'approved');
    assert.equal(outcome(three, '-a -b +c').state, 'declined');
  });

  test('a veto declines at once, before a threshold is looked at', () => {
    const list = listOf([{ ...plain('a'), veto: true }, plain('b'), plain('c')]);
    assert.deepEqual(outcome(list, '+b -a +c'), { state: 'declined', because: 'veto' });
    assert.equal(outcome(list, '+b +c -a').state, 'approved');
    assert.deepEqual(outcome(listOf([{ ...plain('a'), veto: true }, plain('b')], { kind: 'exact', count: 2 }), '-a'), {
      state: 'declined',
      because: 'veto',
    });
  });

  test('all voted and neither threshold reached declines', () => {
    const list = listOf([plain('a'), plain('b'), plain('c')], { kind: 'exact', count: 3 });
    assert.deepEqual(outcome(list, '+a +b -c'), { state: 'declined', because: 'all_voted' });
  });

  test('who must approve is waited for beyond the threshold, and declines by rejecting there', () => {
    const list = listOf([{ ...plain('a'), mustApprove: true }, plain('b'), plain('c')]);
    assert.equal(outcome(list, '+b +c').state, 'open');
    assert.equal(outcome(list, '+b +c +a').state, 'approved');
    assert.deepEqual(outcome(list, '+b +c -a'), { state: 'declined', because: 'must_approve' });
    assert.deepEqual(outcome(list, '-a +b +c'), { state: 'declined', because: 'must_approve' });
  });

  test('a closed window comes before everything: a late vote counts for nothing', () => {
    const late: Vote[] = [
      { approver: 'a', choice: 'approve', atMs: openedAtMs + 1 },
      { approver: 'b', choice: 'approve', atMs: openedAtMs + WINDOW_MS },
    ];
    assert.deepEqual(evaluateVotes(three, late, { openedAtMs, nowMs: openedAtMs + WINDOW_MS }), {
      state: 'expired',
      because: 'window',
    });
    assert.equal(evaluateVotes(three, late, { openedAtMs, nowMs: openedAtMs + WINDOW_MS - 1 }).state, 'open');
    // What was decided inside the window stays decided after it.
    assert.equal(outcome(three, '+a +b', openedAtMs + 10 * WINDOW_MS).state, 'approved');
  });

  test('strangers and second votes are not counted, and their voters hear of it', () => {
    assert.equal(outcome(three, '+a +a +x +y').state, 'open');
    assert.equal(outcome(three, '-a +a +b').state, 'open');
    const cast = votesOf('+a');
    const vote = (approver: string): Vote => ({ approver, choice: 'approve', atMs: openedAtMs + 9 });
    assert.throws(() => assertMayVote(three, cast, vote('a'), { openedAtMs }), isCode('conflict'));
    assert.throws(() => assertMayVote(three, cast, vote('x'), { openedAtMs }), isCode('not_found'));
    assert.throws(() => assertMayVote(three, votesOf('+a +b'), vote('c'), { openedAtMs }), isCode('conflict'));
    assertMayVote(three, cast, vote('b'), { openedAtMs });
  });
});

test('for every list of up to four and every set of votes: never both, never without its quorum, never against a veto', () => {
  const flags = [
    { veto: false, mustApprove: false },
    { veto: true, mustApprove: false },
    { veto: false, mustApprove: true },
    { veto: true, mustApprove: true },
  ];
  for (let count = 1; count <= 4; count++) {
    for (let roles = 0; roles < 4 ** count; roles++) {
      const approvers = Array.from({ length: count }, (_, i) => ({
        id: String(i),
        ...flags[Math.floor(roles / 4 ** i) % 4]!,
      }));
      for (let exact = 1; exact <= count; exact++) {
        const list = listOf(approvers, { kind: 'exact', count: exact });
        for (let cast = 0; cast < 3 ** count; cast++) {
          const choices = approvers.map((_, i) => Math.floor(cast / 3 ** i) % 3);
          const votes = choices.flatMap((choice, i): Vote[] =>
            choice === 0
              ? []
              : [{ approver: String(i), choice: choice === 1 ? 'approve' : 'reject', atMs: openedAtMs + 1 }],
          );
          const { state } = evaluateVotes(list, votes, { openedAtMs, nowMs: openedAtMs + 2 });
          const approvals = choices.filter((choice) => choice === 1).length;
          const rejected = approvers.filter((_, i) => choices[i] === 2);
          if (state === 'approved') {
            assert.ok(approvals >= exact);
            assert.ok(approvers.every(({ mustApprove }, i) => !mustApprove || choices[i] === 1));
          }
          if (state === 'open') {
            assert.ok(choices.includes(0), 'nobody is left to vote');
            assert.ok(!rejected.some(({ veto }) => veto));
          }
          if (choices.every((choice) => choice === 1)) assert.equal(state, 'approved');
          if (choices.every((choice) => choice === 2)) assert.equal(state, 'declined');
        }
      }
    }
  }
});

test('a thousand races: the rows may come in any order, the outcome is one', () => {
  const approver = fc.record({ veto: fc.boolean(), mustApprove: fc.boolean() });
  const list = fc.array(approver, { minLength: 1, maxLength: 8 }).chain((roles) =>
    fc.record({
      list: fc.integer({ min: 1, max: roles.length }).map((count) =>
        listOf(
          roles.map((role, i) => ({ id: String(i), ...role })),
          { kind: 'exact', count },
        ),
      ),
      votes: fc.array(
        fc.record({
          approver: fc.integer({ min: 0, max: roles.length }).map(String),
          choice: fc.constantFrom('approve' as const, 'reject' as const),
          atMs: fc.integer({ min: openedAtMs, max: openedAtMs + 5 }),
        }),
        { maxLength: 20 },
      ),
      order: fc.array(fc.nat(), { minLength: 20, maxLength: 20 }),
    }),
  );
  fc.assert(
    fc.property(list, ({ list: approvers, votes, order }) => {
      // One vote a person, as the store keeps it.
      const cast = [...new Map(votes.map((vote) => [vote.approver, vote])).values()];
      const shuffled = cast
        .map((vote, i) => ({ vote, at: order[i]! }))
        .sort((a, b) => a.at - b.at)
        .map(({ vote }) => vote);
      const when = { openedAtMs, nowMs: openedAtMs + 10 };
      assert.deepEqual(evaluateVotes(approvers, shuffled, when), evaluateVotes(approvers, cast, when));
      // Nothing that comes later changes an outcome.
      for (let nowMs = openedAtMs; nowMs < openedAtMs + 10; nowMs++) {
        const before = evaluateVotes(approvers, cast, { openedAtMs, nowMs });
        if (before.state !== 'open') assert.deepEqual(evaluateVotes(approvers, cast, when), before);
      }
    }),
    { numRuns: 1_000 },
  );
});

function isCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof KedgeError && error.code === code;
}
