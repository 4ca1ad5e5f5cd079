/**
 * Frozen transcripts: with seeded devices every message is the same, so a change of one byte of any protocol shows here. It
 * must be meant: run with FREEZE=1 to write `vectors/mpc-transcripts.json` anew, and say in docs/decisions.md what changed.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { toHex } from './bytes.ts';
import { encodeKeyShare, encodeOtSetup } from './key-share.ts';
import type { Protocol } from './protocol.ts';
import { Session } from './session.ts';
import type { Arithmetic } from './suite.ts';
import { type SeededDevice, seededDevice } from './testing/deterministic.ts';
import { converse, results, type Seat } from './testing/devices.ts';
import {
  ecdsaSeats,
  fastArithmetic,
  frostSeats,
  type Holder,
  holderOf,
  keygenSeats,
  reshareSeats,
} from './testing/wallets.ts';

const file = new URL('../../../vectors/mpc-transcripts.json', import.meta.url);
/** Longer messages stand as their SHA-256. */
const WHOLE_MAX = 512;

type Frozen = Record<string, readonly string[]>;

async function record<R>(seats: readonly Seat<R>[]): Promise<{ results: R[]; lines: string[] }> {
  const sessions = new Map(
    seats.map(({ address, device, protocol }) => {
      const { identity, entropy, journal, crypto } = device as SeededDevice;
      return [
        address,
        new Session({ protocol: protocol as Protocol<R>, me: address, identity, crypto, entropy, journal }),
      ] as const;
    }),
  );
  const played = await converse(sessions);
  const lines = played.traffic.map(({ from, to, bytes }) => `${from}>${to} ${bytes.length} ${shown(bytes)}`);
  return { results: results(played), lines };
}

const shown = (bytes: Uint8Array) =>
  bytes.length <= WHOLE_MAX ? toHex(bytes) : `sha256 ${createHash('sha256').update(bytes).digest('hex')}`;

async function everything(arithmetic: Arithmetic): Promise<Frozen> {
  const frozen: Frozen = {};
  const suites = ['ecdsa-secp256k1', 'eddsa-ed25519'] as const;
  const devices = ['first', 'second', 'third', 'fourth'].map((name) => seededDevice(`transcripts ${name}`));
  const made = await record(keygenSeats(devices.slice(0, 2), { threshold: 2, suites, arithmetic }));
  frozen['keygen 2-of-2'] = made.lines;
  const wallet: Holder[] = made.results.map((result, at) => holderOf(devices[at]!, result));
  frozen['key share of party 1'] = [...wallet[0]!.shares.values()].map((share) => shown(encodeKeyShare(share)));
  frozen['OT set-up of party 1'] = [...wallet[0]!.setups.values()].flat().map((setup) => shown(encodeOtSetup(setup)));
  const digest = new Uint8Array(32).fill(5);
  const ecdsa = await record(ecdsaSeats(wallet, { digest, path: [1, 2], arithmetic }));
  frozen['ECDSA 2-of-2'] = [...ecdsa.lines, toHex(ecdsa.results[0]!.bytes)];
  const frost = await record(frostSeats(wallet, { suite: 'eddsa-ed25519', message: digest, arithmetic }));
  frozen['Ed25519 2-of-2'] = [...frost.lines, toHex(frost.results[0]!.bytes)];
  const frostOnly = wallet.map((holder) => ({
    ...holder,
    shares: new Map([...holder.shares].filter(([suite]) => suite === 'eddsa-ed25519')),
  }));
  const again = await record(reshareSeats({ dealers: frostOnly, devices, threshold: 3, arithmetic }));
  frozen['reshare 2-of-2 to 3-of-4'] = again.lines;
  return frozen;
}

test('every message is the one that was frozen', async () => {
  const frozen = await everything(fastArithmetic);
  if (process.env.FREEZE === '1') {
    const source =
      'Ours: packages/mpc/src/transcripts.test.ts, from seeded devices. Messages above 512 bytes stand as their SHA-256.';
    writeFileSync(file, `${JSON.stringify({ source, licence: 'MIT', ...frozen }, null, 2)}\n`);
  }
  const { source, licence, ...expected } = JSON.parse(readFileSync(file, 'utf8')) as Frozen;
  assert.ok(source && licence);
  for (const name of Object.keys(expected)) assert.deepEqual(frozen[name], expected[name], name);
  assert.deepEqual(Object.keys(frozen), Object.keys(expected));
});
