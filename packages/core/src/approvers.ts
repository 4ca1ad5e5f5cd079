/**
 * Approver lists: who has a vote, how many votes decide, and what the votes so far amount to. This is the only quorum
 * evaluator: recoveries, changes of a list and spending policies all ask it. Pure: votes come with their times, and what
 * they amount to at a moment is a function of both, so that votes which race give one answer whatever the order of rows.
 */
import { KedgeError } from './errors.ts';

export interface Approver {
  /** Unique in the list. */
  readonly id: string;
  /** One rejection by this approver declines at once. */
  readonly veto: boolean;
  /** Without this approver's approval nothing is approved. */
  readonly mustApprove: boolean;
}

export type QuorumPolicy =
  /** More than half. */
  | { readonly kind: 'majority' }
  /** 1 to 100, rounded up to whole approvers. */
  | { readonly kind: 'percentage'; readonly percent: number }
  | { readonly kind: 'exact'; readonly count: number };

export interface ApproverList {
  readonly approvers: readonly Approver[];
  readonly policy: QuorumPolicy;
  /** How long votes are taken after the question was put. */
  readonly windowMs: number;
}

export interface Vote {
  readonly approver: string;
  readonly choice: 'approve' | 'reject';
  readonly atMs: number;
}

/** What the votes amount to. `because` names the rule that decided. */
export type Outcome =
  | { readonly state: 'open'; readonly approvals: number; readonly rejections: number; readonly needed: number }
  | { readonly state: 'approved'; readonly because: 'threshold' }
  | { readonly state: 'declined'; readonly because: 'veto' | 'threshold' | 'all_voted' | 'must_approve' }
  | { readonly state: 'expired'; readonly because: 'window' };

export const APPROVERS_MAX = 50;
export const WINDOW_MS = 7 * 24 * 3_600_000;
export const WINDOW_MS_MIN = 3_600_000;
export const WINDOW_MS_MAX = 90 * 24 * 3_600_000;

/** Throws `request_invalid` for a list by which nothing could ever be decided, or anything at once. */
export function assertApproverList({ approvers, policy, windowMs }: ApproverList): void {
  const count = approvers.length;
  if (count < 1 || count > APPROVERS_MAX)
    throw invalid(`An approver list has 1 to ${APPROVERS_MAX} approvers, not ${count}.`);
  if (new Set(approvers.map(({ id }) => id)).size !== count) throw invalid('An approver stands in the list twice.');
  if (
    policy.kind === 'percentage' &&
    !(Number.isInteger(policy.percent) && policy.percent >= 1 && policy.percent <= 100)
  )
    throw invalid('A percentage is a whole number from 1 to 100.');
  if (policy.kind === 'exact' && !(Number.isInteger(policy.count) && policy.count >= 1 && policy.count <= count))
    throw invalid(`An exact count is from 1 to the ${count} approvers there are; more could never be reached.`);
  if (!(Number.isInteger(windowMs) && windowMs >= WINDOW_MS_MIN && windowMs <= WINDOW_MS_MAX))
    throw invalid('The window for votes is from one hour to 90 days.');
}

/** Votes that decide: approvals approve, and as many rejections decline. */
export function quorumOf({ approvers, policy }: ApproverList): number {
  const count = approvers.length;
  if (policy.kind === 'majority') return Math.floor(count / 2) + 1;
  if (policy.kind === 'percentage') return Math.max(1, Math.ceil((count * policy.percent) / 100));
  return policy.count;
}

/**
 * Takes the votes in the order of their times, and evaluates after each: window closed, veto, threshold (as many
 * rejections decline; all voted and neither reached declines), must-approve. The first outcome stands: what comes later
 * changes nothing. A vote by nobody of the list and a second one by the same approver are not counted.
 */
export function evaluateVotes(
  list: ApproverList,
  votes: readonly Vote[],
  { openedAtMs, nowMs }: { readonly openedAtMs: number; readonly nowMs: number },
): Outcome {
  const closesAtMs = openedAtMs + list.windowMs;
  const choices = new Map<string, Vote['choice']>();
  // Votes of one moment count in the order of their approvers' names, so that the order of rows says nothing.
  const ordered = [...votes].sort((a, b) => a.atMs - b.atMs || (a.approver < b.approver ? -1 : 1));
  for (const { approver, choice, atMs } of ordered) {
    if (atMs > nowMs || atMs >= closesAtMs) break;
    if (choices.has(approver) || !list.approvers.some(({ id }) => id === approver)) continue;
    choices.set(approver, choice);
    const decided = decide(list, choices);
    if (decided !== null) return decided;
  }
  if (nowMs >= closesAtMs) return { state: 'expired', because: 'window' };
  return { state: 'open', ...tally(choices), needed: quorumOf(list) };
}

/** Throws `conflict` or `not_found` where {@link evaluateVotes} would not count this vote, so that the voter hears of it. */
export function assertMayVote(
  list: ApproverList,
  votes: readonly Vote[],
  vote: Vote,
  { openedAtMs }: { readonly openedAtMs: number },
): void {
  if (!list.approvers.some(({ id }) => id === vote.approver)) throw new KedgeError('not_found');
  if (votes.some(({ approver }) => approver === vote.approver))
    throw new KedgeError('conflict', 'You have voted already. A vote is not changed.');
  const { state } = evaluateVotes(list, votes, { openedAtMs, nowMs: vote.atMs });
  if (state !== 'open') throw new KedgeError('conflict', `The vote is over: ${state}.`);
}

function decide(list: ApproverList, choices: ReadonlyMap<string, Vote['choice']>): Outcome | null {
  const chose = (choice: Vote['choice']) => list.approvers.filter(({ id }) => choices.get(id) === choice);
  const [approved, rejected] = [chose('approve'), chose('reject')];
  const needed = quorumOf(list);
  if (rejected.some(({ veto }) => veto)) return { state: 'declined', because: 'veto' };
  const everybody = choices.size === list.approvers.length;
  if (approved.length < needed) {
    if (rejected.length >= needed) return { state: 'declined', because: 'threshold' };
    return everybody ? { state: 'declined', because: 'all_voted' } : null;
  }
  if (rejected.some(({ mustApprove }) => mustApprove)) return { state: 'declined', because: 'must_approve' };
  const waitsFor = list.approvers.some(({ id, mustApprove }) => mustApprove && !choices.has(id));
  return waitsFor ? null : { state: 'approved', because: 'threshold' };
}

function tally(choices: ReadonlyMap<string, Vote['choice']>): { approvals: number; rejections: number } {
  const approvals = [...choices.values()].filter((choice) => choice === 'approve').length;
  return { approvals, rejections: choices.size - approvals };
}

function invalid(what: string): KedgeError {
  return new KedgeError('request_invalid', what);
}
