/**
 * Approver lists in the sealed state: who decides over recoveries, which keys a list decides over, and the votes by which
 * a list changes. What is bound once is never unbound, and after it was made a list changes by the votes of its members
 * alone. A list is frozen while a recovery under it runs, and no recovery begins while a change is open.
 */
import {
  assertListRules,
  assertMayAct,
  type CborValue,
  decodeCbor,
  encodeCbor,
  equalBytes,
  evaluateVotes,
  KedgeError,
  type ListRules,
  listHash,
  type Outcome,
  type TimeFacts,
  type Vote,
} from '@kedge/core';
import { Mutex } from './mutex.ts';
import { isUsableKey } from './proofs.ts';
import type { SealedState, StateChange } from './state.ts';
import { type GivenVote, openForMs, type Question, type VoteChecker } from './votes.ts';

interface StoredList {
  readonly rules: ListRules;
  /** Recoveries under it that are not at their end. */
  readonly running: number;
  readonly change: OpenChange | null;
  /** The newest changes that are decided. */
  readonly decided: readonly { readonly id: string; readonly rules: Uint8Array; readonly outcome: Outcome }[];
}

interface OpenChange {
  readonly id: string;
  readonly rules: ListRules;
  readonly openedAt: TimeFacts;
  /** See {@link ApproverLists.restores}. */
  readonly restores: number;
  readonly votes: readonly Vote[];
}

/** What decides over a key, and the recovery of it that runs. */
export interface BoundKey {
  readonly list: string;
  readonly recovery: string | null;
}

export interface ListName {
  readonly project: string;
  readonly list: string;
}

/** Outcomes of changes that a list remembers, for those who ask again. */
const DECIDED_MAX = 16;

export class ApproverLists {
  readonly #state: SealedState;
  readonly #votes: VoteChecker;
  readonly #now: () => TimeFacts;
  readonly #mutex = new Mutex();
  #restores: number;

  private constructor(state: SealedState, votes: VoteChecker, now: () => TimeFacts, restores: number) {
    this.#state = state;
    this.#votes = votes;
    this.#now = now;
    this.#restores = restores;
  }

  static async load(state: SealedState, votes: VoteChecker, now: () => TimeFacts): Promise<ApproverLists> {
    const stored = await state.read(await state.key('restores'));
    return new ApproverLists(state, votes, now, stored === null ? 0 : Number(decodeCbor(stored)));
  }

  /**
   * How many restored states two operators have accepted. What was open before one is cancelled by it: a cancellation or
   * a rejection may be missing from what was restored.
   */
  get restores(): number {
    return this.#restores;
  }

  /** To be written together with the acceptance; `done` once it is. */
  async restoreChange(): Promise<{ change: StateChange; done: () => void }> {
    const next = this.#restores + 1;
    return {
      change: { key: await this.#state.key('restores'), value: encodeCbor(next) },
      done: () => {
        this.#restores = next;
      },
    };
  }

  /** Everything that reads and writes a list, or a recovery under it, does so one after the other. */
  alone<T>({ project, list }: ListName, work: () => Promise<T>): Promise<T> {
    return this.#mutex.run(`${project}/${list}`, work);
  }

  create(name: ListName, rules: ListRules): Promise<void> {
    assertRules(rules);
    return this.alone(name, async () => {
      const existing = await this.#find(name);
      if (existing === null) return this.#write(name, { rules, running: 0, change: null, decided: [] });
      if (!equalBytes(listHash(existing.rules), listHash(rules)))
        throw new KedgeError('conflict', 'That approver list exists already, with another content.');
    });
  }

  /** For good. The same list again changes nothing. */
  async bind({ project, user, key }: { project: string; user: string; key: string }, list: string): Promise<void> {
    await this.get({ project, list });
    await this.#mutex.run(`key ${project}/${user}/${key}`, async () => {
      const bound = await this.findBound({ project, user, key });
      if (bound?.list === list) return;
      if (bound !== null)
        throw new KedgeError('conflict', 'Another approver list decides over this key, and stays. Change its members.');
      await this.#state.write([await this.boundChange({ project, user, key }, { list, recovery: null })]);
    });
  }

  async findBound(name: { project: string; user: string; key: string }): Promise<BoundKey | null> {
    const value = await this.#state.read(await this.#boundKey(name));
    return value === null ? null : (decodeCbor(value) as unknown as BoundKey);
  }

  /** To be written together with a recovery. */
  async boundChange(name: { project: string; user: string; key: string }, bound: BoundKey): Promise<StateChange> {
    return { key: await this.#boundKey(name), value: encodeCbor({ ...bound }) };
  }

  /** As it is now: a change whose window is over is over. Throws `not_found`. */
  async get(name: ListName): Promise<StoredList> {
    const list = await this.#find(name);
    if (list === null) throw new KedgeError('not_found', 'There is no such approver list.');
    return this.#settled(list);
  }

  /** To be written together with the recovery that begins (1) or ends (-1). */
  async runningChange(name: ListName, by: 1 | -1): Promise<StateChange> {
    const list = await this.get(name);
    return this.#change(name, { ...list, running: Math.max(0, list.running + by) });
  }

  openChange(name: ListName, change: string, rules: ListRules): Promise<Outcome> {
    assertRules(rules);
    return this.alone(name, async () => {
      const list = await this.get(name);
      const known = list.change?.id === change ? listHash(list.change.rules) : findDecided(list, change)?.rules;
      if (known !== undefined) {
        if (!equalBytes(known, listHash(rules)))
          throw new KedgeError('conflict', 'That change exists, of other rules.');
        return outcomeOf(list, change, this.#now());
      }
      assertMayAct('open_list_change', {
        recovery: list.running > 0 ? 'approving' : null,
        listChangeOpen: list.change !== null,
        lockdown: false,
        rotating: false,
      });
      const opened = {
        ...list,
        change: { id: change, rules, openedAt: this.#now(), restores: this.#restores, votes: [] },
      };
      await this.#write(name, opened);
      return outcomeOf(opened, change, this.#now());
    });
  }

  /** The deciding vote applies the change in the same write. */
  voteChange(name: ListName, change: string, vote: GivenVote): Promise<Outcome> {
    return this.alone(name, async () => {
      const list = await this.get(name);
      if (list.change?.id !== change) {
        outcomeOf(list, change, this.#now()); // not_found for one that never was
        throw new KedgeError('conflict', 'The vote on this change is over.');
      }
      const votes = await this.#votes.add(this.#question(name, list, list.change), vote);
      const next = this.#settled({ ...list, change: { ...list.change, votes } });
      await this.#write(name, next);
      return outcomeOf(next, change, this.#now());
    });
  }

  /** Closes one whose window is over. */
  change(name: ListName, change: string): Promise<Outcome> {
    return this.alone(name, async () => {
      const list = await this.get(name);
      if (findDecided(list, change) !== undefined) await this.#write(name, list);
      return outcomeOf(list, change, this.#now());
    });
  }

  async changeTokens(name: ListName, change: string) {
    const list = await this.get(name);
    if (list.change?.id !== change) throw new KedgeError('not_found', 'No such change is open.');
    return this.#votes.tokens(this.#question(name, list, list.change));
  }

  /** Votes on a change are by the present members, those who are to leave among them. */
  #question({ project, list }: ListName, { rules }: StoredList, change: OpenChange): Question {
    return {
      act: 'vote_list_change',
      project,
      list,
      rules,
      parameters: { change: change.id, rules: listHash(change.rules) },
      address: ['list-change', project, list, change.id],
      votes: change.votes,
      elapsedMs: openForMs(change.openedAt, this.#now()),
    };
  }

  /** Decided changes leave the place of the open one; an approved one is then the rules. */
  #settled(list: StoredList): StoredList {
    const { change } = list;
    if (change === null) return list;
    const isCurrent = change.restores === this.#restores;
    const outcome: Outcome = isCurrent
      ? tally(list.rules, change, this.#now())
      : { state: 'expired', because: 'window' };
    if (outcome.state === 'open') return list;
    return {
      ...list,
      rules: outcome.state === 'approved' ? change.rules : list.rules,
      change: null,
      decided: [...list.decided, { id: change.id, rules: listHash(change.rules), outcome }].slice(-DECIDED_MAX),
    };
  }

  async #find(name: ListName): Promise<StoredList | null> {
    const value = await this.#state.read(await this.#listKey(name));
    return value === null ? null : (decodeCbor(value) as unknown as StoredList);
  }

  async #write(name: ListName, list: StoredList): Promise<void> {
    await this.#state.write([await this.#change(name, list)]);
  }

  async #change(name: ListName, list: StoredList): Promise<StateChange> {
    return { key: await this.#listKey(name), value: encodeCbor(list as unknown as CborValue) };
  }

  #listKey({ project, list }: ListName): Promise<Uint8Array> {
    return this.#state.key('approver-list', project, list);
  }

  #boundKey({ project, user, key }: { project: string; user: string; key: string }): Promise<Uint8Array> {
    return this.#state.key('approver-list-of', project, user, key);
  }
}

/** Core's rules, and that each key is one: an approver whose key nobody has could be waited for, for ever. */
function assertRules(rules: ListRules): void {
  assertListRules(rules);
  if (!rules.approvers.every(({ key }) => key === null || isUsableKey(key)))
    throw new KedgeError('request_invalid', 'The key of an approver is no public key of its algorithm.');
}

function tally(rules: ListRules, { votes, openedAt }: OpenChange, now: TimeFacts): Outcome {
  return evaluateVotes(rules, votes, { openedAtMs: 0, nowMs: openForMs(openedAt, now) });
}

function findDecided(list: StoredList, change: string) {
  return list.decided.find(({ id }) => id === change);
}

function outcomeOf(list: StoredList, change: string, now: TimeFacts): Outcome {
  if (list.change?.id === change) return tally(list.rules, list.change, now);
  const decided = findDecided(list, change);
  if (decided === undefined) throw new KedgeError('not_found', 'There is no such change of the approver list.');
  return decided.outcome;
}
