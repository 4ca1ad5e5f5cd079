/**
 * A device of the example: an identity key, and in memory what a real device keeps in its database. `journal`, `pairs` and
 * `sharings` are the three promises that `@kedge/mpc` asks of a store; over a database each method is one transaction that
 * is durable before it resolves, and the shares are sealed. `converse` is the relay: it carries bytes that it can't read.
 */
import {
  type CounterWindow,
  createEntropy,
  type Entropy,
  type IdentityKey,
  judgeCounter,
  type KeyShare,
  newSetup,
  type OtSetup,
  type PairState,
  type Protocol,
  Session,
  type SessionJournal,
  type SetupRecord,
  type SharingResult,
  type SharingStore,
  type Signer,
  type SuiteName,
  webCrypto,
  webIdentity,
} from '@kedge/mpc';

const { subtle } = globalThis.crypto;

export interface Device {
  readonly name: string;
  readonly identity: IdentityKey;
  readonly journal: SessionJournal;
  readonly pairs: PairState;
  readonly sharings: SharingStore;
  /** Of the sharing that is in force. */
  shares: ReadonlyMap<SuiteName, KeyShare>;
  setups: ReadonlyMap<number, readonly OtSetup[]>;
  /** Takes what a keygen or a resharing made for this device into use, in the place of what it had. */
  adopt(result: SharingResult): void;
}

/** One for the process, as the counter in it must never repeat. */
const entropy: Entropy = createEntropy(
  (length) => globalThis.crypto.getRandomValues(new Uint8Array(length)),
  () => BigInt(Math.round(performance.now() * 1e6)),
);

export async function createDevice(name: string): Promise<Device> {
  const pair = (await subtle.generateKey('Ed25519', false, ['sign', 'verify'])) as CryptoKeyPair;
  const setupRecords = new Map<string, SetupRecord>();
  const device: Device = {
    name,
    identity: await webIdentity(subtle, pair),
    journal: createJournal(),
    pairs: createPairs(setupRecords),
    sharings: { savePending: async () => undefined, saveConfirmed: async () => undefined },
    shares: new Map(),
    setups: new Map(),
    adopt({ own }) {
      if (!own) throw new Error(`${name} holds no share of this`);
      device.shares = new Map(own.shares.map((share) => [share.suite, share]));
      device.setups = new Map(own.setups.map((setup) => [setup.peer, [setup]]));
      for (const { id } of own.setups) setupRecords.set(id.join(), newSetup(id, 'active'));
    },
  };
  return device;
}

function createJournal(): SessionJournal {
  const counters = new Map<string, bigint>();
  const windows = new Map<string, CounterWindow>();
  const begun = new Set<string>();
  return {
    async nextCounter(peer) {
      const next = (counters.get(peer.join()) ?? 0n) + 1n;
      counters.set(peer.join(), next);
      return next;
    },
    isRestored: async () => false,
    async judge(peer, seen) {
      const { verdict, window } = judgeCounter(windows.get(peer.join()) ?? [], seen);
      windows.set(peer.join(), window);
      return verdict;
    },
    async begin(sid) {
      if (begun.has(sid.join())) throw new Error('this session was begun before');
      begun.add(sid.join());
    },
  };
}

function createPairs(records: Map<string, SetupRecord>): PairState {
  let queue: Promise<unknown> = Promise.resolve(); // one lock for all of them: here nobody waits for it
  return {
    read: async (id) => records.get(id.join()) ?? null,
    locked(_, work) {
      const turn = queue.then(() =>
        work(async (record) => {
          records.set(record.id.join(), record);
        }),
      );
      queue = turn.catch(() => undefined);
      return turn;
    },
  };
}

/** The index of a device in the sharing that it holds, with the key by which the others know it. */
export function signerOf({ shares, identity }: Device): Signer {
  const [share] = shares.values();
  return { index: share!.index, identityKey: identity.publicKey };
}

export interface Seat<R> {
  /** The address in the session: the index in the group, or the place in the roster of a resharing. */
  readonly address: number;
  readonly device: Device;
  readonly protocol: Protocol<R>;
}

/** Runs one session on every seat, and carries each message to the one it is for. The results are in the order of `seats`. */
export async function converse<R>(seats: readonly Seat<R>[]): Promise<R[]> {
  const sessions = new Map(
    seats.map(({ address, device: { identity, journal }, protocol }) => [
      address,
      new Session({ protocol, me: address, identity, journal, crypto: webCrypto(subtle), entropy }),
    ]),
  );
  const results = new Map<number, R>();
  const onTheWay: { readonly to: number; readonly bytes: Uint8Array }[] = [];
  const take = (from: number, { out, outcome }: Awaited<ReturnType<Session<R>['start']>>) => {
    onTheWay.push(...out);
    if (outcome.status === 'aborted') throw outcome.error;
    if (outcome.status === 'done') results.set(from, outcome.result);
  };
  try {
    for (const [address, session] of sessions) take(address, await session.start());
    for (let next = onTheWay.shift(); next; next = onTheWay.shift())
      take(next.to, await sessions.get(next.to)!.handle([next.bytes]));
  } finally {
    for (const session of sessions.values()) session.dispose();
  }
  return seats.map(({ address }) => results.get(address)!);
}
