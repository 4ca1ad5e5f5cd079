/** Renewal of an OT set-up, with crashes and restored stores: honest devices must never look like attackers to each other. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { toHex } from '../bytes.ts';
import type { MpcError } from '../errors.ts';
import type { OtSetup } from '../key-share.ts';
import { newSetup } from '../pair-state.ts';
import { dealWallet } from '../testing/dealer.ts';
import { deviating, tampered } from '../testing/deviate.ts';
import { play, results, type Seat } from '../testing/devices.ts';
import { ecdsaSeats, fastArithmetic, type Holder, signersOf } from '../testing/wallets.ts';
import { renewSetup } from './renew.ts';

const digest = new Uint8Array(32).fill(1);
const ECDSA = 'ecdsa-secp256k1';

/** What a device has on disk for its one pair: set-ups newest first, and their rows. */
interface Disk {
  readonly setups: readonly OtSetup[];
  readonly rows: ReadonlyMap<string, ReturnType<typeof newSetup>>;
}

const diskOf = (holder: Holder): Disk =>
  structuredClone({ setups: [...holder.setups.values()].flat(), rows: holder.device.pairs.rows });

function restore(holder: Holder, peer: number, { setups, rows }: Disk): void {
  holder.setups.clear();
  holder.setups.set(peer, structuredClone([...setups]));
  holder.device.pairs.rows.clear();
  for (const [id, row] of rows) holder.device.pairs.rows.set(id, row);
}

/** Both seats of a renewal; `dies` is asked before each write of the second one, and kills it by throwing. */
function renewal(wallet: readonly Holder[], snapshots: Disk[][], dies: (write: number) => boolean): Seat<OtSetup>[] {
  const [a, b] = signersOf(wallet);
  return wallet.map((holder, at) => {
    let writes = 0;
    const peer = wallet[1 - at]!.index;
    const write = (change: () => void) => {
      writes++;
      if (at === 1 && dies(writes)) throw new Error('killed');
      change();
      snapshots[at]!.push(diskOf(holder));
    };
    return {
      address: holder.index,
      device: holder.device,
      protocol: renewSetup({
        sharing: holder.shares.get(ECDSA)!,
        pair: [a!, b!],
        replaces: holder.setups.get(peer)?.[0]?.id ?? null,
        reason: 'chosen',
        arithmetic: fastArithmetic,
        store: {
          savePending: async (setup) =>
            write(() => {
              holder.setups.set(peer, [structuredClone(setup), ...(holder.setups.get(peer) ?? [])]);
              holder.device.pairs.add(setup.id, 'pending');
            }),
          activate: async (id, replaces) =>
            write(() => {
              holder.device.pairs.rows.set(toHex(id), newSetup(id, 'active'));
              if (replaces) holder.device.pairs.rows.delete(toHex(replaces));
              holder.setups.set(
                peer,
                holder.setups.get(peer)!.filter((setup) => toHex(setup.id) === toHex(id)),
              );
            }),
        },
      }),
    };
  });
}

/** Signs, and gives what the two say; an honest pair never says poison. */
async function sign(wallet: readonly Holder[]): Promise<string[]> {
  const played = await play(ecdsaSeats(wallet, { digest }));
  return [...played.outcomes.values()].map((outcome) => {
    if (outcome.status !== 'aborted') return outcome.status;
    assert.notEqual(outcome.error.failure, 'poison');
    return outcome.error.code;
  });
}

describe('renewing an OT set-up', () => {
  test('a pair gets a new one and signs with it', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 2 });
    const before = wallet[0]!.setups.get(2)![0]!.id;
    results(await play(renewal(wallet, [[], []], () => false)));
    assert.notDeepEqual(wallet[0]!.setups.get(2)![0]!.id, before);
    assert.deepEqual(await sign(wallet), ['done', 'done']);
    assert.ok([...wallet[0]!.device.pairs.rows.values()].every(({ status }) => status === 'active'));
  });

  test('T-OT-5 killed at every write, and with either side set back to every earlier state: never poison', async () => {
    for (const kill of [1, 2, 99]) {
      const wallet = await dealWallet({ threshold: 2, count: 2 });
      const snapshots = [[diskOf(wallet[0]!)], [diskOf(wallet[1]!)]];
      await play(renewal(wallet, snapshots, (write) => write === kill)).catch((error) =>
        assert.match(String(error), /killed/),
      );
      assert.deepEqual(await sign(wallet), ['done', 'done'], `killed at write ${kill}`);
      for (const ours of snapshots[0]!)
        for (const theirs of snapshots[1]!) {
          restore(wallet[0]!, 2, ours);
          restore(wallet[1]!, 1, theirs);
          const said = await sign(wallet);
          assert.ok(
            said.every((each) => ['done', 'no_common_setup', 'aborted_by_peer', 'poisoned'].includes(each)),
            said.join(),
          );
        }
    }
  });

  test('T-OT-6 a set-up that fails its self-test is a fault of the peer, counted and never poison', async () => {
    for (const round of [2, 3, 4]) {
      const wallet = await dealWallet({ threshold: 2, count: 2 });
      const [honest, guesser] = renewal(wallet, [[], []], () => false);
      const flip = (bytes: Uint8Array) => bytes.fill(bytes[40]! ^ 1, 40, 41);
      const played = await play([
        honest!,
        deviating(guesser!, (at, step) => (at === round ? tampered(step, { pairwise: flip }) : step)),
      ]);
      const { error } = played.outcomes.get(1) as { error: MpcError };
      assert.deepEqual(
        [error.failure, error.code, error.culprits],
        ['peer_fault', 'setup_failed', [2]],
        `round ${round}`,
      );
      assert.ok(
        [...wallet[0]!.device.pairs.rows.values()].every(({ status }) => status === 'active'),
        'the old one stays',
      );
      assert.deepEqual(await sign(wallet), ['done', 'done']);
    }
  });
});
