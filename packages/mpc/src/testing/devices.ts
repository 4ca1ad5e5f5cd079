/**
 * Devices in one process: each with an identity key, a journal, stores in memory, and a network between them that a test can
 * look into. The stores hold serialisable state, so that a test can crash a device, copy it, or set it back.
 */
import { webcrypto } from 'node:crypto';
import { toHex } from '../bytes.ts';
import { type EnvelopeCrypto, type IdentityKey, webCrypto, webIdentity } from '../envelope-crypto.ts';
import { type CounterWindow, judgeCounter } from '../hello-counter.ts';
import type { SessionJournal } from '../journal.ts';
import type { Notice } from '../notice.ts';
import { newSetup, type PairState, type SetupRecord } from '../pair-state.ts';
import type { GroupDescriptor } from '../participant.ts';
import type { Protocol } from '../protocol.ts';
import { createEntropy, type Entropy } from '../random.ts';
import { type Handled, type Out, type Outcome, Session } from '../session.ts';
import type { NewShares, SharingRecord, SharingStore } from '../sharing.ts';

const { subtle } = webcrypto as unknown as Crypto;

export const testCrypto: EnvelopeCrypto = webCrypto(subtle);

export const osEntropy = (): Entropy =>
  createEntropy(
    (length) => webcrypto.getRandomValues(new Uint8Array(length)),
    () => process.hrtime.bigint(),
  );

export class MemoryJournal implements SessionJournal {
  readonly counters = new Map<string, bigint>();
  readonly windows = new Map<string, CounterWindow>();
  readonly begun = new Set<string>();
  restored = false;

  async nextCounter(peer: Uint8Array): Promise<bigint> {
    const next = (this.counters.get(toHex(peer)) ?? 0n) + 1n;
    this.counters.set(toHex(peer), next);
    return next;
  }

  async isRestored(): Promise<boolean> {
    return this.restored;
  }

  async judge(...[peer, seen]: Parameters<SessionJournal['judge']>): ReturnType<SessionJournal['judge']> {
    const { verdict, window } = judgeCounter(this.windows.get(toHex(peer)) ?? [], seen);
    this.windows.set(toHex(peer), window);
    return verdict;
  }

  async begin(sid: Uint8Array): Promise<void> {
    if (this.begun.has(toHex(sid))) throw new Error('this session was begun before');
    this.begun.add(toHex(sid));
  }
}

/** One table, with a lock for each row: what two processes over one database are to each other. */
export class MemoryPairs implements PairState {
  readonly rows = new Map<string, SetupRecord>();
  readonly #locks = new Map<string, Promise<unknown>>();

  add(id: Uint8Array, status: 'pending' | 'active' = 'active'): void {
    this.rows.set(toHex(id), newSetup(id, status));
  }

  async read(id: Uint8Array): Promise<SetupRecord | null> {
    return this.rows.get(toHex(id)) ?? null;
  }

  async locked<T>(
    ids: readonly Uint8Array[],
    work: (write: (record: SetupRecord) => Promise<void>) => Promise<T>,
  ): Promise<T> {
    const held = ids.map((id) => this.#locks.get(toHex(id)) ?? Promise.resolve());
    const run = Promise.all(held).then(() =>
      work(async (record) => {
        this.rows.set(toHex(record.id), record);
      }),
    );
    for (const id of ids)
      this.#locks.set(
        toHex(id),
        run.catch(() => undefined),
      );
    return run;
  }
}

/** Keeps what a sharing's machine asks to be kept. */
export class MemorySharings implements SharingStore {
  readonly pending = new Map<string, { record: SharingRecord; own: NewShares }>();
  readonly confirmed = new Map<string, { record: SharingRecord; confirmations: readonly Notice[] }>();

  async savePending(record: SharingRecord, own: NewShares): Promise<void> {
    this.pending.set(toHex(record.sharingId), structuredClone({ record, own }));
  }

  async saveConfirmed(record: SharingRecord, confirmations: readonly Notice[]): Promise<void> {
    this.confirmed.set(toHex(record.sharingId), structuredClone({ record, confirmations }));
  }
}

export interface Device {
  readonly identity: IdentityKey;
  readonly entropy: Entropy;
  readonly journal: MemoryJournal;
  readonly pairs: MemoryPairs;
  readonly sharings: MemorySharings;
}

export async function createDevice(entropy: Entropy = osEntropy(), identity?: IdentityKey): Promise<Device> {
  const pair = (await subtle.generateKey('Ed25519', false, ['sign', 'verify'])) as CryptoKeyPair;
  return {
    identity: identity ?? (await webIdentity(subtle, pair)),
    entropy,
    journal: new MemoryJournal(),
    pairs: new MemoryPairs(),
    sharings: new MemorySharings(),
  };
}

export async function createDevices(count: number): Promise<Device[]> {
  return Promise.all(Array.from({ length: count }, () => createDevice()));
}

/** Devices under the given indices, 1..n by default. */
export function groupOf(devices: readonly Device[], threshold: number, indices?: readonly number[]): GroupDescriptor {
  return {
    threshold,
    members: devices.map(({ identity }, at) => ({ index: indices?.[at] ?? at + 1, identityKey: identity.publicKey })),
  };
}

export interface Seat<R> {
  /** Session address. */
  readonly address: number;
  readonly device: Device;
  readonly protocol: Protocol<R>;
  /** WebCrypto by default. */
  readonly crypto?: EnvelopeCrypto;
}

export type Tamper = (message: Out & { readonly from: number }) => readonly Uint8Array[];

export interface Played<R> {
  readonly outcomes: ReadonlyMap<number, Outcome<R>>;
  readonly sessions: ReadonlyMap<number, Session<R>>;
  /** Everything that crossed the network, in order. */
  readonly traffic: readonly (Out & { readonly from: number })[];
}

export const openSeat = <R>({ address, device, protocol, crypto = testCrypto }: Seat<R>): Session<R> =>
  new Session({
    protocol,
    me: address,
    identity: device.identity,
    crypto,
    entropy: device.entropy,
    journal: device.journal,
  });

/**
 * Runs sessions against each other until nothing moves. `tamper` is the relay: it gets each message and gives what arrives
 * instead.
 */
export async function play<R>(seats: readonly Seat<R>[], tamper: Tamper = ({ bytes }) => [bytes]): Promise<Played<R>> {
  const sessions = new Map(seats.map((seat) => [seat.address, openSeat(seat)]));
  return converse(sessions, tamper);
}

export async function converse<R>(
  sessions: ReadonlyMap<number, Session<R>>,
  tamper: Tamper = ({ bytes }) => [bytes],
): Promise<Played<R>> {
  const outcomes = new Map<number, Outcome<R>>();
  const traffic: (Out & { readonly from: number })[] = [];
  const queue: { to: number; bytes: Uint8Array }[] = [];
  const take = (from: number, { out, outcome }: Handled<R>) => {
    outcomes.set(from, outcome);
    for (const message of out) {
      traffic.push({ ...message, from });
      for (const bytes of tamper({ ...message, from })) queue.push({ to: message.to, bytes });
    }
  };
  for (const [address, session] of sessions) take(address, await session.start());
  for (let next = queue.shift(); next; next = queue.shift()) {
    const session = sessions.get(next.to);
    if (session) take(next.to, await session.handle([next.bytes]));
  }
  for (const session of sessions.values()) session.dispose();
  return { outcomes, sessions, traffic };
}

/** The results, in order of address. Fails with the first abort. */
export function results<R>({ outcomes }: Played<R>): R[] {
  return [...outcomes]
    .sort(([a], [b]) => a - b)
    .map(([address, outcome]) => {
      if (outcome.status === 'done') return outcome.result;
      throw outcome.status === 'aborted' ? outcome.error : new Error(`session of ${address} did not end`);
    });
}
