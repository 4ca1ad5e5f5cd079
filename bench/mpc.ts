/**
 * Threshold signing, both parties in one process, with everything a signature costs besides the network: stored shares
 * decoded, hellos and envelopes sealed, signed, opened and checked. `--peer` names the folder of
 * @silencelaboratories/dkls-wasm-ll-node, a DKLs23 library in WebAssembly to compare with; its licence does not allow it
 * among our dependencies, so it is installed elsewhere and loaded only from there. Without it those times stand alone.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import {
  type Arithmetic,
  decodeKeyShare,
  decodeOtSetup,
  encodeKeyShare,
  encodeOtSetup,
  type Group,
  keygen,
  nobleArithmetic,
  type Protocol,
  Session,
  signEcdsa,
  signFrost,
} from '@kedge/mpc';
import { nodeCrypto, nodeIdentity, openFastSecp256k1 } from '@kedge/mpc/fast';
import {
  bareEd25519,
  createDevice,
  type Device,
  dealWallet,
  groupOf,
  type Holder,
  signersOf,
  testCrypto as webCrypto,
} from '@kedge/mpc/testing';
import { build } from 'esbuild';
import { PrefixedSha256 } from '../packages/mpc/src/ot/sha256.ts';
import { measureTimes, type Question, type Row, single } from './measure.ts';

const KB = 1_000;
const PATH = [0, 7];
const NOTHING = new Uint8Array(0);

const fastArithmetic: Arithmetic = {
  ...nobleArithmetic,
  secp256k1: openFastSecp256k1((length) => new Uint8Array(randomBytes(length))),
};

export const mpc: Question = {
  name: 'mpc',
  async run({ peer }) {
    const library = peer === null ? null : openPeer(peer);
    const devices = await createServers(3);
    const two = await dealWallet({ threshold: 2, count: 2, devices: devices.slice(0, 2) });
    const web = await dealWallet({ threshold: 2, count: 2 });
    const suites = ['ecdsa-secp256k1', 'eddsa-ed25519'] as const;
    const three = await dealWallet({ threshold: 2, count: 3, suites, devices });
    const peerShares = library?.makeShares() ?? [];
    const peerSigns = library && (async () => library.sign(peerShares));
    const message = new Uint8Array(randomBytes(200));
    const bare = bareEd25519(message);
    const rows: Row[] = [];
    for (const { id, name, wallet, arithmetic, atMost } of [
      { id: 'M1', name: 'as in a browser: noble, WebCrypto', wallet: web, arithmetic: nobleArithmetic, atMost: 0.6 },
      { id: 'M2', name: 'as on a server', wallet: two, arithmetic: fastArithmetic, atMost: 0.25 },
    ]) {
      const load = stored(wallet, arithmetic);
      rows.push(
        await measureTimes({
          id,
          what: `ECDSA signature by 2 of 2, ${name}`,
          bar: { atMost },
          ours: () => exchange(ecdsaSeats(load(), arithmetic)),
          reference: peerSigns,
        }),
      );
    }
    rows.push(
      await measureTimes({
        id: 'M3',
        what: 'keygen of an ECDSA root by 2 of 2, as on a server',
        bar: { atMost: 0.6 },
        ours: () => exchange(keygenSeats(devices.slice(0, 2), fastArithmetic)),
        reference: library && (async () => library.makeShares()),
      }),
      await measureTimes({
        id: 'M4',
        what: 'Ed25519 signature by 2 of 3 ÷ the calls of noble alone',
        bar: { atMost: 1.1 },
        ours: () => exchange(frostSeats(three.slice(0, 2), message)),
        reference: async () => bare(),
      }),
    );
    const { bytes } = await exchange(ecdsaSeats(two, fastArithmetic));
    rows.push(
      told('M5', 'bytes of an ECDSA signature by 2 of 2, both directions', bytes / KB, 'KB', 105),
      told('M6', 'stored share of 2 of 2 with its OT set-up', storedBytes(two[0]!) / KB, 'KB', 13),
      told('M6', 'stored share of 2 of 3 with its OT set-ups', storedBytes(three[0]!) / KB, 'KB', 26),
      told('M7', 'in a browser, minified and gzipped', (await bundleBytes()) / KB, 'KB', 75),
    );
    for (const [what, count] of await countOperations(two))
      rows.push(told('M8', what, count, 'a party', limits[what]!));
    return rows;
  },
};

/** What one party of two does for one signature at the root key, stored shares decoded before. */
const limits: Readonly<Record<string, number>> = {
  'multiplications of the base point': 5,
  'multiplications by a secret': 1,
  'multiplications by a public scalar': 2,
  'points decoded': 5,
  'compressions of our SHA-256': 7_300,
};

const told = (id: string, what: string, value: number, unit: string, atMost: number): Row =>
  single({ id, what, value, unit, bar: { atMost } });

// ── ours ─────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Seat<R> {
  readonly address: number;
  readonly device: Device;
  readonly protocol: Protocol<R>;
}

const servers = new Set<Device>();

/** Devices with the quick functions of `@kedge/mpc/fast` for their envelopes. */
async function createServers(count: number): Promise<Device[]> {
  const made: Device[] = [];
  while (made.length < count)
    made.push(await createDevice(undefined, nodeIdentity(generateKeyPairSync('ed25519').privateKey)));
  for (const device of made) servers.add(device);
  return made;
}

/** Runs the sessions against each other until all are done, and says how many bytes crossed. */
async function exchange<R>(seats: readonly Seat<R>[]): Promise<{ results: R[]; bytes: number }> {
  const sessions = new Map(
    seats.map(({ address, device, protocol }) => {
      const { identity, entropy, journal } = device;
      const crypto = servers.has(device) ? nodeCrypto : webCrypto;
      return [address, new Session({ protocol, me: address, identity, crypto, entropy, journal })];
    }),
  );
  const results: R[] = [];
  const queue: { readonly to: number; readonly bytes: Uint8Array }[] = [];
  let bytes = 0;
  const take = ({ out, outcome }: Awaited<ReturnType<Session<R>['handle']>>) => {
    queue.push(...out);
    if (outcome.status === 'aborted') throw outcome.error;
    if (outcome.status === 'done') results.push(outcome.result);
  };
  for (const session of sessions.values()) take(await session.start());
  for (let next = queue.shift(); next; next = queue.shift()) {
    bytes += next.bytes.length;
    take(await sessions.get(next.to)!.handle([next.bytes]));
  }
  if (results.length < seats.length) throw new Error('a session did not end');
  return { results, bytes };
}

/** The wallet as two databases hold it: each call decodes it, as a server does that was asked for a signature. */
function stored(holders: readonly Holder[], arithmetic: Arithmetic): () => Holder[] {
  const rows = holders.map((holder) => ({
    holder,
    share: encodeKeyShare(holder.shares.get('ecdsa-secp256k1')!),
    setups: [...holder.setups].map(([peer, setups]) => [peer, setups.map(encodeOtSetup)] as const),
  }));
  return () =>
    rows.map(({ holder, share, setups }) => ({
      ...holder,
      shares: new Map([['ecdsa-secp256k1', decodeKeyShare(share, arithmetic)]]),
      setups: new Map(setups.map(([peer, encoded]) => [peer, encoded.map(decodeOtSetup)])),
    }));
}

function ecdsaSeats(holders: readonly Holder[], arithmetic: Arithmetic, path: readonly number[] = PATH) {
  const signers = signersOf(holders);
  const digest = new Uint8Array(randomBytes(32));
  return holders.map(({ index, device, shares, setups }) => ({
    address: index,
    device,
    protocol: signEcdsa({
      share: shares.get('ecdsa-secp256k1')!,
      setups,
      pairs: device.pairs,
      signers,
      path,
      digest,
      intent: NOTHING,
      beforeRelease: async () => undefined,
      arithmetic,
    }),
  }));
}

function keygenSeats(devices: readonly Device[], arithmetic: Arithmetic) {
  const descriptor = groupOf(devices, devices.length);
  return devices.map((device, at) => ({
    address: at + 1,
    device,
    protocol: keygen({
      descriptor,
      suites: ['ecdsa-secp256k1'],
      purpose: NOTHING,
      nowMs: 1_700_000_000_000n,
      store: device.sharings,
      arithmetic,
    }),
  }));
}

function frostSeats(holders: readonly Holder[], message: Uint8Array) {
  const signers = signersOf(holders);
  return holders.map(({ index, device, shares }) => ({
    address: index,
    device,
    protocol: signFrost({
      share: shares.get('eddsa-ed25519')!,
      signers,
      path: PATH,
      message,
      taproot: null,
      intent: NOTHING,
      beforeRelease: async () => undefined,
    }),
  }));
}

const storedBytes = ({ shares, setups }: Holder): number =>
  [
    encodeKeyShare(shares.get('ecdsa-secp256k1')!),
    ...[...setups.values()].flatMap((each) => each.map(encodeOtSetup)),
  ].reduce((sum, { length }) => sum + length, 0);

async function bundleBytes(): Promise<number> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../packages/mpc/src/index.ts', import.meta.url))],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
  });
  return gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
}

async function countOperations(holders: readonly Holder[]): Promise<[what: string, count: number][]> {
  const counts = { base: 0, mulSecret: 0, mulPublic: 0, decode: 0, compressions: 0 };
  const { secp256k1 } = nobleArithmetic;
  const counting: Group = { ...secp256k1 };
  for (const name of ['base', 'mulSecret', 'mulPublic', 'decode'] as const)
    Object.assign(counting, {
      [name]: (...operands: unknown[]) => {
        counts[name]++;
        return (secp256k1[name] as (...operands: unknown[]) => unknown)(...operands);
      },
    });
  const { short, long } = PrefixedSha256.prototype;
  PrefixedSha256.prototype.short = function (...call) {
    counts.compressions++;
    short.apply(this, call);
  };
  PrefixedSha256.prototype.long = function (...parts) {
    counts.compressions += Math.ceil((parts.reduce((sum, { length }) => sum + length, 0) + 9) / 64);
    return long.apply(this, [...parts]);
  };
  try {
    await exchange(ecdsaSeats(holders, { ...nobleArithmetic, secp256k1: counting }, []));
  } finally {
    Object.assign(PrefixedSha256.prototype, { short, long });
  }
  return [
    ['multiplications of the base point', counts.base / 2],
    ['multiplications by a secret', counts.mulSecret / 2],
    ['multiplications by a public scalar', counts.mulPublic / 2],
    ['points decoded', counts.decode / 2],
    ['compressions of our SHA-256', counts.compressions / 2],
  ];
}

// ── the library to compare with ──────────────────────────────────────────────────────────────────────────────────

interface PeerMessage {
  readonly from_id: number;
  readonly to_id?: number;
  clone(): PeerMessage;
}

interface PeerKeygen {
  createFirstMessage(): PeerMessage;
  handleMessages(messages: PeerMessage[], commitments?: Uint8Array[]): PeerMessage[];
  calculateChainCodeCommitment(): Uint8Array;
  keyshare(): { toBytes(): Uint8Array };
}

interface PeerSign {
  createFirstMessage(): PeerMessage;
  handleMessages(messages: PeerMessage[]): PeerMessage[];
  lastMessage(digest: Uint8Array): PeerMessage;
  combine(messages: PeerMessage[]): Uint8Array[];
}

interface PeerLibrary {
  readonly KeygenSession: new (participants: number, threshold: number, party: number) => PeerKeygen;
  readonly SignSession: new (share: object, path: string) => PeerSign;
  readonly Keyshare: { fromBytes(bytes: Uint8Array): object };
}

/** Of 2 of 2, with messages handed over as they are: it has no channel of its own. */
function openPeer(folder: string) {
  const { KeygenSession, SignSession, Keyshare } = createRequire(import.meta.url)(resolve(folder)) as PeerLibrary;
  const copies = (messages: readonly PeerMessage[]) => messages.map((message) => message.clone());
  const fromOthers = (messages: readonly PeerMessage[], me: number) =>
    copies(messages.filter(({ from_id }) => from_id !== me));
  const toMe = (messages: readonly PeerMessage[], me: number) => copies(messages.filter(({ to_id }) => to_id === me));
  return {
    makeShares(): Uint8Array[] {
      const parties = [0, 1].map((party) => new KeygenSession(2, 2, party));
      const first = parties.map((party) => party.createFirstMessage());
      const second = parties.flatMap((party, me) => party.handleMessages(fromOthers(first, me)));
      const commitments = parties.map((party) => party.calculateChainCodeCommitment());
      const third = parties.flatMap((party, me) => party.handleMessages(toMe(second, me)));
      const fourth = parties.flatMap((party, me) => party.handleMessages(toMe(third, me), commitments));
      parties.forEach((party, me) => {
        party.handleMessages(fromOthers(fourth, me));
      });
      return parties.map((party) => party.keyshare().toBytes());
    },
    sign(shares: readonly Uint8Array[]): Uint8Array[] {
      const parties = shares.map((bytes) => new SignSession(Keyshare.fromBytes(bytes), `m/${PATH.join('/')}`));
      const first = parties.map((party) => party.createFirstMessage());
      const second = parties.flatMap((party, me) => party.handleMessages(fromOthers(first, me)));
      const third = parties.flatMap((party, me) => party.handleMessages(toMe(second, me)));
      parties.forEach((party, me) => {
        party.handleMessages(toMe(third, me));
      });
      const digest = new Uint8Array(randomBytes(32));
      const last = parties.map((party) => party.lastMessage(digest));
      return parties.map((party, me) => party.combine(fromOthers(last, me)))[0]!;
    },
  };
}
