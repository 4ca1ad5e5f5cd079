/**
 * The life of an OT set-up as the caller's database keeps it (docs/mpc.md, "Failures"). A peer that cheats in a check learns
 * one bit of our secret from our failing, so a verdict is durable before anything is sent, verdicts are taken one at a time
 * across all processes, and a set-up that failed once is never used again. `judged` is the only way to run such a check.
 */
import { equalBytes, toHex } from './bytes.ts';
import { MpcError } from './errors.ts';

/** Evaluations that were begun and never ended, by crashes or failed writes, before a set-up counts as poisoned. */
const UNFINISHED_MAX = 3;

/** One row. The keys of a poisoned set-up are erased in the transaction that writes it; only this stays. */
export interface SetupRecord {
  /** 32 bytes. */
  readonly id: Uint8Array;
  readonly status: 'pending' | 'active' | 'poisoned';
  /** The session that is judging a message of the peer at this moment. */
  readonly evaluating: Uint8Array | null;
  readonly unfinished: number;
  readonly reason: string | null;
}

export interface PairState {
  /** Null for a set-up that is not there, as after a restore: then it is renewed. */
  read(id: Uint8Array): Promise<SetupRecord | null>;
  /**
   * Runs `work` while nobody else, in any process, is inside `locked` for one of these ids; never across a wait for the
   * network. A `write` resolves when it is durable. Ids come sorted, so that two callers can't wait for each other.
   */
  locked<T>(
    ids: readonly Uint8Array[],
    work: (write: (record: SetupRecord) => Promise<void>) => Promise<T>,
  ): Promise<T>;
}

export const newSetup = (id: Uint8Array, status: 'pending' | 'active'): SetupRecord => ({
  id,
  status,
  evaluating: null,
  unfinished: 0,
  reason: null,
});

/** For every record found at start-up, and for one whose last verdict was never written. */
export function afterCrash(record: SetupRecord): SetupRecord {
  if (record.evaluating === null) return record;
  const unfinished = record.unfinished + 1;
  const poisoned = record.status !== 'poisoned' && unfinished >= UNFINISHED_MAX;
  return {
    ...record,
    evaluating: null,
    unfinished,
    ...(poisoned ? { status: 'poisoned' as const, reason: `${unfinished} evaluations never ended` } : {}),
  };
}

/**
 * Evaluates checks that could poison the set-ups of `peers` (session address to set-up id): locks them, refuses those that
 * are not active, writes that the evaluation has begun, runs it, writes the verdict, and only then lets the result out.
 */
export async function judged<T>(
  pairs: PairState,
  peers: ReadonlyMap<number, Uint8Array>,
  sid: Uint8Array,
  evaluate: () => T,
): Promise<T> {
  const ids = [...peers.values()].sort((a, b) => (toHex(a) < toHex(b) ? -1 : 1));
  return pairs.locked(ids, async (write) => {
    const records: SetupRecord[] = [];
    for (const id of ids) records.push(await usable(pairs, peers, id));
    // A pending set-up is here only because the peer's hello named it too, and that counts as its confirmation.
    const begun = records.map((record): SetupRecord => {
      const after = afterCrash(record);
      return { ...after, status: after.status === 'pending' ? 'active' : after.status, evaluating: sid };
    });
    for (const record of begun) {
      if (record.status !== 'poisoned') continue;
      await write({ ...record, evaluating: null });
      throw unusable(peers, record.id);
    }
    for (const record of begun) await write(record);
    let failure: unknown = null;
    let result: T | undefined;
    try {
      result = evaluate();
    } catch (error) {
      failure = error;
    }
    const poisoned = failure instanceof MpcError && failure.failure === 'poison' ? failure : null;
    for (const record of begun) {
      const isCulprit = poisoned?.culprits.some((peer) => equalBytes(peers.get(peer)!, record.id));
      const verdict = isCulprit ? { status: 'poisoned' as const, reason: poisoned!.message } : {};
      await write({ ...record, evaluating: null, ...verdict });
    }
    if (failure) throw failure;
    return result as T;
  });
}

/** Once more, right before a reply leaves: another session may have poisoned the pair since. */
export async function assertUsable(pairs: PairState, peers: ReadonlyMap<number, Uint8Array>): Promise<void> {
  for (const id of peers.values()) await usable(pairs, peers, id);
}

async function usable(pairs: PairState, peers: ReadonlyMap<number, Uint8Array>, id: Uint8Array): Promise<SetupRecord> {
  const record = await pairs.read(id);
  if (!record || record.status === 'poisoned') throw unusable(peers, id);
  return record;
}

function unusable(peers: ReadonlyMap<number, Uint8Array>, id: Uint8Array): MpcError {
  const culprits = [...peers].filter(([, other]) => equalBytes(other, id)).map(([peer]) => peer);
  return new MpcError('poisoned', 'The OT set-up with a peer may not be used; have it renewed.', { culprits });
}
