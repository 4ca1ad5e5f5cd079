/**
 * The gateway's ledger: writing with events, chaining them, having the enclave sign heads. Routes and jobs write through
 * `write`, which is store's `commit` with the events made here; chaining runs right after commits, many commits at once.
 * Before it signs for a boot of the enclave that it has not met, it shows that enclave our last head and mirror, so that
 * a rolled-back database or a rolled-back enclave seals itself. It remembers; it decides nothing.
 */
import { createHash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { type Clock, KedgeError, linkEvent, type RandomBytes, toBase64Url } from '@kedge/core';
import type { Enclave } from '@kedge/enclave/client';
import {
  commit,
  createEventWriter,
  createSequencer,
  type Database,
  type Queryable,
  type Sequencer,
} from '@kedge/store';
import { eventOf, type Happening } from './events.ts';
import { acrossProjects, findEventHash, findHead, findMirror, insertHead, storeMirror } from './store.ts';

/** The enclave takes at most so many events between two heads. */
const HEAD_EVENTS_MAX = 1_000;
/** Between two runs of the chain while events keep coming: each then takes many. */
const CHAIN_PAUSE_MS = 25;

export interface Ledger {
  readonly sequencer: Sequencer;
  /** The only way to change a customer's state: the change and what tells of it, in one transaction. */
  write<T>(change: { readonly happenings: readonly Happening[]; next(tx: Queryable): Promise<T> }): Promise<T>;
  /** Tells of something that changed no row, durably; what is told at the same time shares one commit. */
  tell(happenings: readonly Happening[]): Promise<void>;
  /** Chains what waits. Calls made while it runs become one more run. */
  chain(): Promise<void>;
  /** Signs heads up to the newest event and keeps the enclave's mirror. Throws what the enclave throws. */
  signHeads(): Promise<void>;
}

export interface LedgerDeps {
  readonly db: Database;
  readonly enclave: Enclave;
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** Told of a failure to chain; the events wait for the next run. */
  onChainFailure(error: unknown): void;
}

export function createLedger({ db, enclave, clock, random, onChainFailure }: LedgerDeps): Ledger {
  const sequencer = createSequencer(db, { link: linkEvent });
  const on = acrossProjects(db);
  const chain = coalesced(() => sequencer.run().then(() => {}, onChainFailure), CHAIN_PAUSE_MS);
  const writeEvents = createEventWriter(db);
  let metBoot = '';
  let unsigned = 0;

  const ledger: Ledger = {
    sequencer,
    async write({ happenings, next }) {
      const events = happenings.map((happening) => eventOf(clock, random, happening));
      const result = await commit(db, { events, next });
      chainAfter(events.length);
      return result;
    },
    async tell(happenings) {
      const events = happenings.map((happening) => eventOf(clock, random, happening));
      await writeEvents(events);
      chainAfter(events.length);
    },
    chain,
    signHeads: coalesced(async () => {
      await meetEnclave();
      await chain();
      await signUpToNewest();
      await storeMirror(on, await enclave.mirror(), new Date(clock.wallMs()));
    }),
  };
  return ledger;

  function chainAfter(count: number): void {
    void chain();
    unsigned += count;
    if (unsigned < HEAD_EVENTS_MAX) return;
    unsigned = 0;
    // A head that can't be signed now is signed by the next tick, and /readyz watches its age.
    void ledger.signHeads().catch(onChainFailure);
  }

  async function meetEnclave(): Promise<void> {
    const status = await enclave.status();
    const boot = toBase64Url(status.boot);
    if (boot === metBoot) return;
    const mirror = await findMirror(on);
    if (mirror !== null) await enclave.checkMirror({ mirror });
    const head = await findHead(on);
    // The hash of our event at the enclave's place, not of our head: it is the events that must not have changed.
    const seq = status.ledger?.seq ?? Number(head?.seq ?? 0);
    const hash = seq === 0 ? null : await findEventHash(on, seq);
    await enclave.checkLedger(hash === null ? null : { seq, hash });
    metBoot = boot;
  }

  async function signUpToNewest(): Promise<void> {
    const { ledger: signed, sealed } = await enclave.status();
    if (sealed !== null) throw new KedgeError('enclave_sealed', sealed);
    for (let after = signed?.seq ?? 0; ; ) {
      const events = await sequencer.read({ after, limit: HEAD_EVENTS_MAX });
      const last = events.at(-1);
      if (last === undefined) return refreshHead(after);
      const bodyHashes = events.map(({ body }) => new Uint8Array(createHash('sha256').update(body).digest()));
      const { signature } = await enclave.signHead({ seq: last.seq, hash: last.hash, bodyHashes });
      await insertHead(on, { seq: BigInt(last.seq), hash: last.hash, signature, signed_at: new Date(clock.wallMs()) });
      after = last.seq;
    }
  }

  /** Nothing new: the same head is signed again, so that its age shows that the enclave still agrees. */
  async function refreshHead(seq: number): Promise<void> {
    const hash = seq === 0 ? null : await findEventHash(on, seq);
    if (hash === null) return;
    const { signature } = await enclave.signHead({ seq, hash, bodyHashes: [] });
    await insertHead(on, { seq: BigInt(seq), hash, signature, signed_at: new Date(clock.wallMs()) });
  }
}

/** Never two at once: a call during a run waits for one further run, which all such calls share and which starts after a pause. */
export function coalesced(run: () => Promise<void>, pauseMs = 0): () => Promise<void> {
  let running: Promise<void> | null = null;
  let next: Promise<void> | null = null;
  const begin = () => {
    const current = run().finally(() => {
      running = null;
    });
    running = current;
    return current;
  };
  return () => {
    if (next !== null) return next;
    if (running === null) return begin();
    next = running
      .catch(() => {})
      .then(() => (pauseMs > 0 ? setTimeout(pauseMs) : undefined))
      .then(() => {
        next = null;
        return begin();
      });
    return next;
  };
}
