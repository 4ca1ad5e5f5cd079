/**
 * When a share comes into force, and when an old one may be forgotten (docs/mpc.md, "Commit"). Pure rules over what a device
 * has stored: the caller keeps a `SharingState` for each sharing and applies what these functions return in one transaction.
 * They answer the "forget-and-forgive" attack (ePrint 2020/1052): nobody can make some devices erase their old shares while
 * others never got a new one, and a device that has confirmed never deletes on its own.
 */
import { equalBytes } from './bytes.ts';
import { badInput, MpcError } from './errors.ts';
import type { Notice } from './notice.ts';
import { isProven, isSelfTest, type SelfTestSignature } from './self-test.ts';
import type { SharingRecord } from './sharing.ts';

export interface SharingState {
  readonly record: SharingRecord;
  readonly role: 'keygen' | 'reshare';
  /** Identity keys of those who dealt it; for keygen, everybody. Only all of them together can call it off. */
  readonly dealers: readonly Uint8Array[];
  /** Sharing ids that it retires. */
  readonly supersedes: readonly Uint8Array[];
  /** Null for a device that dealt and leaves: it follows the new sharing without a share of it. */
  readonly holder: Uint8Array | null;
  readonly status: 'pending' | 'active' | 'superseding' | 'erased' | 'discarded';
  /** We sent our `confirm`: the others may have completed without our knowing. */
  readonly confirmed: boolean;
  /** We signed ABORT, which is final for us. */
  readonly aborted: boolean;
  /** Ids of the sharings that superseded it when a human brought it back: those have no effect on it any more. */
  readonly reinstated: readonly Uint8Array[];
  /** Of others and ourselves, verified before they come here. */
  readonly notices: readonly Notice[];
  readonly selfTests: readonly SelfTestSignature[];
}

/** A human said so, having been told what it means. */
export interface Decision {
  readonly human: true;
}

/**
 * Adds what arrived, in whatever order and from whomever. Each notice is verified; one by a stranger is not kept, nor is a
 * confirmation of something else, which would keep the true one out. Self-tests are verified here, and one of each is kept.
 */
export function learn(
  state: SharingState,
  news: { notices?: readonly Notice[]; selfTests?: readonly SelfTestSignature[] },
): SharingState {
  const { notices = [], selfTests = [] } = news;
  const { sharingId, digest, receivers, roots } = state.record;
  const members = [...receivers.map(({ identityKey }) => identityKey), ...state.dealers];
  const added: Notice[] = [];
  for (const notice of notices) {
    const isKnown = [...state.notices, ...added].some(
      ({ kind, identityKey }) => kind === notice.kind && equalBytes(identityKey, notice.identityKey),
    );
    const isOfUs =
      members.some((key) => equalBytes(key, notice.identityKey)) && equalBytes(notice.sharingId, sharingId);
    const isTrue = notice.kind !== 'confirm' || equalBytes(notice.digest, digest);
    if (!isKnown && isOfUs && isTrue) added.push(notice);
  }
  const proofs = [...state.selfTests];
  for (const test of selfTests) {
    const isKnown = proofs.some((each) => equalBytes(each.digest, test.digest));
    if (!isKnown && roots.some((root) => isSelfTest(root, test))) proofs.push(test);
  }
  return { ...state, notices: [...state.notices, ...added], selfTests: proofs };
}

/** Every receiver confirmed this very sharing. */
export function isConfirmed({ record, notices }: SharingState): boolean {
  return record.receivers.every(({ identityKey }) =>
    notices.some(
      (notice) =>
        notice.kind === 'confirm' &&
        equalBytes(notice.identityKey, identityKey) &&
        equalBytes(notice.digest, record.digest),
    ),
  );
}

/** Self-tests of every root cover every receiver. Only then is an address shown. */
export function isTested({ record, selfTests }: SharingState): boolean {
  return record.roots.every((root) => isProven(root, selfTests));
}

/** May this share sign the self-tests? A share of a keygen once it is active; one of a resharing before that, and nothing else. */
export function maySelfTest(state: SharingState): boolean {
  if (!state.holder || state.aborted) return false;
  return state.status === 'active' || (state.role === 'reshare' && state.status === 'pending' && isConfirmed(state));
}

export const maySign = ({ status, holder }: SharingState): boolean => status === 'active' && holder !== null;

/**
 * All that follows from what is stored: pending shares that come into force, and the ones they supersede. Applied after
 * every `learn`; applying it twice changes nothing.
 */
export function settle(states: readonly SharingState[]): SharingState[] {
  const settled = states.map((state): SharingState => {
    if (state.status !== 'pending' || state.aborted || !isConfirmed(state)) return state;
    if (state.role === 'reshare' && state.holder && !isTested(state)) return state;
    return { ...state, status: 'active' };
  });
  const inForce = settled.filter(({ status }) => status === 'active');
  return settled.map((state) =>
    state.status === 'active' && inForce.some((next) => retires(next, state))
      ? { ...state, status: 'superseding' }
      : state,
  );
}

/**
 * Whether `next` takes the place of `state`: by name, and with all of its keys. A name alone could be that of another
 * wallet's sharing, or of one with roots that were not dealt again.
 */
function retires(next: SharingState, { record, reinstated }: SharingState): boolean {
  return (
    next.supersedes.some((id) => equalBytes(id, record.sharingId)) &&
    !reinstated.some((id) => equalBytes(id, next.record.sharingId)) &&
    record.roots.every(({ keyId }) => next.record.roots.some((root) => equalBytes(root.keyId, keyId)))
  );
}

/** May we sign ABORT? Never once the sharing is active here. */
export const mayAbort = ({ status, aborted }: SharingState): boolean => status === 'pending' && !aborted;

/** The caller has made our signed notice durable in the same transaction. */
export function abort(state: SharingState): SharingState {
  if (!mayAbort(state)) throw refused('A sharing that is in force here can not be called off.');
  return { ...state, aborted: true };
}

/**
 * May the pending share be deleted? When we never confirmed it; when all who dealt it called it off; or when a later sharing of
 * the same group, with us in it, is active here.
 */
export function mayDiscard(state: SharingState, all: readonly SharingState[]): boolean {
  if (state.status !== 'pending') return false;
  if (!state.confirmed) return true;
  const calledOff = state.dealers.every((dealer) =>
    state.notices.some(({ kind, identityKey }) => kind === 'abort' && equalBytes(identityKey, dealer)),
  );
  const [root] = state.record.roots;
  const replaced = all.some(
    (other) =>
      maySign(other) &&
      equalBytes(other.record.roots[0]!.groupId, root!.groupId) &&
      other.record.roots[0]!.epoch > root!.epoch,
  );
  return calledOff || replaced;
}

export function discard(state: SharingState, all: readonly SharingState[]): SharingState {
  if (!mayDiscard(state, all)) throw refused('Others may hold this sharing already, so our share of it stays.');
  return { ...state, status: 'discarded' };
}

/**
 * May a superseded share be erased? When every receiver of a sharing that supersedes it says that it is active there; or, when
 * a human decides, t'+1 of them. `backupProven`: where the key has a device backup, that of the new sharing is servable.
 */
export function mayErase(
  state: SharingState,
  all: readonly SharingState[],
  { backupProven, decision }: { backupProven: boolean; decision?: Decision },
): boolean {
  if (state.status !== 'superseding' || !backupProven) return false;
  return all.some((next) => {
    const isInForce = next.status === 'active' || next.status === 'superseding';
    if (!isInForce || !retires(next, state)) return false;
    const { receivers, roots } = next.record;
    const active = receivers.filter(({ identityKey }) =>
      next.notices.some((notice) => notice.kind === 'active' && equalBytes(notice.identityKey, identityKey)),
    ).length;
    const needed = decision ? Math.min(receivers.length, roots[0]!.threshold + 1) : receivers.length;
    return active >= needed;
  });
}

export function erase(...[state, all, conditions]: Parameters<typeof mayErase>): SharingState {
  if (!mayErase(state, all, conditions)) throw refused('Not everybody has the new share yet, so the old one stays.');
  return { ...state, status: 'erased' };
}

/**
 * Brings a superseded share back into force: a human decided, and a holder of the new sharing called it off. Without this
 * exit a group of two, one active and one aborted, would be stuck for ever.
 */
export function reinstate(state: SharingState, all: readonly SharingState[], _: Decision): SharingState {
  const successors = all.filter((next) => retires(next, state));
  const calledOff = successors.some(({ notices, record: { receivers } }) =>
    notices.some(
      ({ kind, identityKey }) =>
        kind === 'abort' && receivers.some((receiver) => equalBytes(receiver.identityKey, identityKey)),
    ),
  );
  if (state.status !== 'superseding' || !calledOff)
    throw refused(
      'The old share comes back only while nobody has erased it and a new holder called the new sharing off.',
    );
  const reinstated = [...state.reinstated, ...successors.map(({ record }) => record.sharingId)];
  return { ...state, status: 'active', reinstated };
}

function refused(message: string): MpcError {
  return new MpcError('not_allowed', message);
}

/** A new state, with nothing received yet. */
export function newSharing(
  start: Pick<SharingState, 'record' | 'role' | 'dealers' | 'supersedes' | 'holder' | 'confirmed'>,
): SharingState {
  if (start.dealers.length === 0) throw badInput('A sharing has dealers.');
  return { ...start, status: 'pending', aborted: false, reinstated: [], notices: [], selfTests: [] };
}
