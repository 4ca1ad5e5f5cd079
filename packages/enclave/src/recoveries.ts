/**
 * Recoveries in the sealed state, from request to release: the enclave's own copy, which decides. The moves are those
 * of core's `recovery.ts`, the votes are counted by core's `approvers.ts`, the time is the enclave's. A recovery keeps the
 * rules of its list as they were when it began. What is signed at the end is `release.ts`'s affair; here is whether.
 */
import {
  assertMayAct,
  type CborValue,
  DAY_MS,
  type DrillCertificate,
  decodeCbor,
  encodeCbor,
  equalBytes,
  evaluateVotes,
  isOpenRecovery,
  KedgeError,
  type ListRules,
  moveRecovery,
  noteAlert,
  noteReminder,
  type Outcome,
  planHash,
  type Recovery,
  type RecoveryPlan,
  remindersDue,
  requestRecovery,
  startCooling,
  type TimeFacts,
  tickRecovery,
  type Vote,
  waitsFor,
} from '@kedge/core';
import type { ApproverLists } from './approver-lists.ts';
import type { RecoveryView } from './enclave-recovery.ts';
import { Mutex } from './mutex.ts';
import type { SealedState, StateChange } from './state.ts';
import { type GivenVote, openForMs, type Question, type VoteChecker } from './votes.ts';

export interface StoredRecovery {
  readonly plan: RecoveryPlan;
  readonly rules: ListRules;
  readonly openedAt: TimeFacts;
  /** See {@link ApproverLists.restores}. */
  readonly restores: number;
  readonly votes: readonly Vote[];
  readonly recovery: Recovery;
  /** SHA-256 over every digest that was signed; null before the release. */
  readonly released: Uint8Array | null;
  /** Of a rehearsal, once it was released: what was found then stays what is certified. */
  readonly certificate: DrillCertificate | null;
}

/** A release that nobody fetches is withdrawn: the wallet has gone on, and the approvers' word was about another day. */
const RELEASABLE_MS = 30 * DAY_MS;

export interface RecoveryName {
  readonly project: string;
  readonly recovery: string;
}

export class Recoveries {
  readonly #state: SealedState;
  readonly #lists: ApproverLists;
  readonly #votes: VoteChecker;
  readonly #now: () => TimeFacts;
  /** By id: a list's own lock doesn't keep two lists from beginning the same recovery. */
  readonly #beginning = new Mutex();

  constructor(state: SealedState, lists: ApproverLists, votes: VoteChecker, now: () => TimeFacts) {
    this.#state = state;
    this.#lists = lists;
    this.#votes = votes;
    this.#now = now;
  }

  /** The same plan again gives the recovery as it is. Throws `not_found`, `conflict`. */
  request(plan: RecoveryPlan): Promise<StoredRecovery> {
    const { project, recovery, list, sandbox } = plan;
    const begin = async () => {
      const existing = await this.#find(plan);
      if (existing !== null) {
        if (!equalBytes(planHash(existing.plan), planHash(plan)))
          throw new KedgeError('conflict', 'That recovery exists already, of another plan.');
        return this.#settled(existing);
      }
      const bound = await this.#lists.findBound(plan);
      if (bound === null)
        throw new KedgeError('conflict', 'No approver list decides over this key. Bind one, then ask again.');
      if (bound.list !== list) throw new KedgeError('conflict', 'Another approver list decides over this key.');
      const { rules, change } = await this.#lists.get({ project, list });
      if (!sandbox) {
        const current = bound.recovery === null ? null : await this.get({ project, recovery: bound.recovery });
        assertMayAct('request_recovery', {
          recovery: current?.recovery.status ?? null,
          listChangeOpen: change !== null,
          lockdown: false,
          rotating: false,
        });
      }
      const { coolingPeriodMs } = rules;
      const started: StoredRecovery = {
        plan,
        rules,
        openedAt: this.#now(),
        restores: this.#lists.restores,
        votes: [],
        recovery: moveRecovery(requestRecovery({ coolingPeriodMs, sandbox }), 'approving'),
        released: null,
        certificate: null,
      };
      const changes = [await this.#change(started)];
      // A rehearsal stands in nobody's way: it neither freezes the list nor keeps a recovery waiting.
      if (!sandbox)
        changes.push(await this.#lists.runningChange(plan, 1), await this.#lists.boundChange(plan, { list, recovery }));
      await this.#state.write(changes);
      return started;
    };
    return this.#beginning.run(`${project}/${recovery}`, () => this.#lists.alone(plan, begin));
  }

  /** As time has left it. Throws `not_found`. */
  async get(name: RecoveryName): Promise<StoredRecovery> {
    const stored = await this.#find(name);
    if (stored === null) throw new KedgeError('not_found', 'There is no such recovery.');
    return this.#settled(stored);
  }

  vote(name: RecoveryName, vote: GivenVote): Promise<StoredRecovery> {
    return this.update(name, async (stored) => {
      const question = this.#question(stored);
      const before = stored.votes.find(({ approver }) => approver === vote.approver);
      // Asked again after the answer was lost, perhaps when it has been decided already.
      if (before?.choice !== vote.choice)
        assertMayAct('vote_recovery', { ...situation, recovery: stored.recovery.status });
      return this.#settled({ ...stored, votes: await this.#votes.add(question, vote) });
    });
  }

  async tokens(name: RecoveryName) {
    return this.#votes.tokens(this.#question(await this.get(name)));
  }

  noteAlert(name: RecoveryName, channels: number): Promise<StoredRecovery> {
    return this.update(name, async (stored) => {
      if (!isOpenRecovery(stored.recovery.status) || stored.recovery.alertsAccepted >= channels) return stored;
      const more = channels - stored.recovery.alertsAccepted;
      return this.#settled({ ...stored, recovery: noteAlert(stored.recovery, more) });
    });
  }

  tick(name: RecoveryName): Promise<StoredRecovery> {
    return this.update(name, async (stored) => {
      const due = remindersDue(stored.recovery, this.#now());
      return this.#settled({ ...stored, recovery: due.reduce(noteReminder, stored.recovery) });
    });
  }

  cancel(name: RecoveryName): Promise<StoredRecovery> {
    return this.update(name, async (stored) => {
      if (stored.recovery.status === 'cancelled') return stored;
      assertMayAct('cancel_recovery', { ...situation, recovery: stored.recovery.status });
      return { ...stored, recovery: moveRecovery(stored.recovery, 'cancelled') };
    });
  }

  complete(name: RecoveryName, outcome: 'completed' | 'failed'): Promise<StoredRecovery> {
    return this.update(name, async (stored) => {
      if (stored.recovery.status === outcome) return stored;
      if (stored.recovery.status !== 'released')
        throw new KedgeError('conflict', `Nothing was released: the recovery is ${stored.recovery.status}.`);
      return { ...stored, recovery: moveRecovery(stored.recovery, outcome) };
    });
  }

  /** Reads, lets `next` decide, writes if anything changed; alone under the recovery's list. Time does its part first. */
  async update(name: RecoveryName, next: (stored: StoredRecovery) => Promise<StoredRecovery>): Promise<StoredRecovery> {
    const { plan } = await this.get(name);
    return this.#lists.alone(plan, async () => {
      const before = await this.#find(name);
      if (before === null) throw new KedgeError('not_found', 'There is no such recovery.');
      const settled = this.#settled(before);
      let after: StoredRecovery;
      try {
        after = await next(settled);
      } catch (error) {
        await this.#write(before, settled); // that the window closed is true whatever was asked
        throw error;
      }
      await this.#write(before, after);
      return after;
    });
  }

  view(stored: StoredRecovery): RecoveryView {
    const now = this.#now();
    const { recovery } = stored;
    const isCooling = recovery.status === 'cooling';
    const since = recovery.coolingSince;
    const passed = since === null ? 0 : Math.min(now.serviceMs - since.serviceMs, now.wallMs - since.wallMs);
    return {
      status: recovery.status,
      votes: this.#outcome(stored),
      waitsFor: isCooling ? waitsFor(recovery, now) : [],
      coolingLeftMs: isCooling ? Math.max(0, Math.ceil(recovery.coolingPeriodMs - passed)) : null,
      reminders: recovery.reminders,
    };
  }

  #question({ plan, rules, openedAt, votes }: StoredRecovery): Question {
    return {
      act: 'vote_recovery',
      project: plan.project,
      list: plan.list,
      rules,
      parameters: { recovery: plan.recovery, plan: planHash(plan) },
      address: ['recovery', plan.project, plan.recovery],
      votes,
      elapsedMs: openForMs(openedAt, this.#now()),
    };
  }

  #outcome({ rules, votes, openedAt }: StoredRecovery): Outcome {
    return evaluateVotes(rules, votes, { openedAtMs: 0, nowMs: openForMs(openedAt, this.#now()) });
  }

  /** What votes and time have made of it. */
  #settled(stored: StoredRecovery): StoredRecovery {
    const now = this.#now();
    let { recovery } = stored;
    if (stored.restores !== this.#lists.restores && isOpenRecovery(recovery.status))
      recovery = moveRecovery(recovery, 'cancelled');
    if (recovery.status === 'approving') {
      const { state } = this.#outcome(stored);
      if (state === 'approved') recovery = startCooling(recovery, now);
      else if (state !== 'open') recovery = moveRecovery(recovery, state);
    }
    recovery = tickRecovery(recovery, now);
    if (recovery.status === 'releasable' && recovery.coolingSince !== null) {
      if (openForMs(recovery.coolingSince, now) >= recovery.coolingPeriodMs + RELEASABLE_MS)
        recovery = moveRecovery(recovery, 'expired');
    }
    return recovery === stored.recovery ? stored : { ...stored, recovery };
  }

  /** With what frees list and key, when the recovery has come to its end. */
  async #write(before: StoredRecovery, after: StoredRecovery): Promise<void> {
    if (after === before) return;
    const changes = [await this.#change(after)];
    const { plan } = after;
    if (!plan.sandbox && isRunning(before) && !isRunning(after)) {
      changes.push(await this.#lists.runningChange(plan, -1));
      // Another one may have begun since time ended this one.
      if ((await this.#lists.findBound(plan))?.recovery === plan.recovery)
        changes.push(await this.#lists.boundChange(plan, { list: plan.list, recovery: null }));
    }
    await this.#state.write(changes);
  }

  async #find(name: RecoveryName): Promise<StoredRecovery | null> {
    const value = await this.#state.read(await this.#key(name));
    return value === null ? null : (decodeCbor(value) as unknown as StoredRecovery);
  }

  async #change(stored: StoredRecovery): Promise<StateChange> {
    return { key: await this.#key(stored.plan), value: encodeCbor(stored as unknown as CborValue) };
  }

  #key({ project, recovery }: RecoveryName): Promise<Uint8Array> {
    return this.#state.key('recovery', project, recovery);
  }
}

/** The scheme has no lockdown, and a rotation changes nothing for a recovery. */
export const situation = { listChangeOpen: false, lockdown: false, rotating: false } as const;

function isRunning({ recovery: { status } }: StoredRecovery): boolean {
  return isOpenRecovery(status) || status === 'released' || status === 'sweeping';
}
