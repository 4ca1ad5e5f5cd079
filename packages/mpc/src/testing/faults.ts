/** Resharing and keygen with one thing that goes wrong at one message, and what must hold whatever it is. Tests only. */
import assert from 'node:assert/strict';
import { equalBytes, toHex } from '../bytes.ts';
import type { Protocol } from '../protocol.ts';
import { chainCodeDigest, reshare, rosterOf } from '../reshare.ts';
import type { SharingResult } from '../sharing.ts';
import type { SuiteName } from '../suite.ts';
import { dealWallet } from './dealer.ts';
import { converse, createDevices, type Device, groupOf, openSeat, play, results, type Tamper } from './devices.ts';
import { Keeper, seatsOf, talk } from './keeper.ts';
import { fastArithmetic, signersOf } from './wallets.ts';

/** One thing that goes wrong, at one message. */
export type Fault =
  | { readonly kind: 'cut' | 'lose'; readonly at: number }
  | { readonly kind: 'die'; readonly at: number; readonly who: number };

/** Runs the session with the fault in it; gives how many messages there were. */
export async function runWith(
  seats: readonly { address: number; device: Device; protocol: Protocol<SharingResult> }[],
  fault: Fault | null,
): Promise<number> {
  let count = 0;
  let isOver = false;
  const dead = new Set<number>();
  const relay: Tamper = ({ from, to, bytes }) => {
    count++;
    if (fault && count === fault.at) {
      if (fault.kind === 'cut') isOver = true;
      if (fault.kind === 'lose') return [];
      if (fault.kind === 'die') dead.add(fault.who);
    }
    return isOver || dead.has(from) || dead.has(to) ? [] : [bytes];
  };
  await converse(new Map(seats.map((seat) => [seat.address, openSeat(seat)])), relay);
  return count;
}

export interface World {
  readonly keepers: readonly Keeper[];
  readonly old: Uint8Array;
  readonly threshold: number;
  readonly suite: SuiteName;
  run(fault: Fault | null): Promise<number>;
}

/** 2-of-3 to 2-of-3 with one device replaced: the first two deal, the third is lost, the fourth is new. */
export async function reshareWorld(
  mode: 'replace' | 'add' = 'replace',
  suite: SuiteName = 'eddsa-ed25519',
): Promise<World> {
  const wallet = await dealWallet({ threshold: 2, count: 3, suites: [suite] });
  const [fresh] = await createDevices(1);
  const keepers = [...wallet.map(({ device }) => device), fresh!].map((device) => new Keeper(device));
  const source = wallet[0]!.shares.get(suite)!;
  const receivers = wallet.map(({ device, index }) => ({
    index,
    address: index,
    identityKey: device.identity.publicKey,
  }));
  const record = { sharingId: source.sharingId, digest: source.confirmation, receivers, roots: [source] };
  wallet.forEach((holder, at) => {
    const keeper = keepers[at]!;
    keeper.shares.set(toHex(source.sharingId), [holder.shares.get(suite)!]);
    keeper.keepSetups(source.sharingId, [...holder.setups.values()].flat());
    keeper.states.push({
      record,
      role: 'keygen',
      dealers: receivers.map(({ identityKey }) => identityKey),
      supersedes: [],
      holder: keeper.key,
      status: 'active',
      confirmed: true,
      aborted: false,
      reinstated: [],
      notices: [],
      selfTests: [],
    });
  });
  const dealers = signersOf(wallet.slice(0, 2));
  const participants = [keepers[0]!, keepers[1]!, keepers[3]!];
  const devices = mode === 'add' ? [keepers[3]!.device, keepers[1]!.device] : participants.map(({ device }) => device);
  const descriptor = groupOf(devices, 2);
  const terms = {
    role: 'reshare' as const,
    dealers: dealers.map((each) => each.identityKey),
    supersedes: mode === 'add' ? [] : [source.sharingId],
  };
  const seats = () =>
    rosterOf(dealers, descriptor).map(({ address, identityKey }) => {
      const keeper = keepers.find(({ key }) => equalBytes(key, identityKey))!;
      keeper.terms = terms;
      const own = wallet.slice(0, 2).find(({ device }) => device === keeper.device);
      const protocol = reshare({
        source: [source],
        pinned: [{ publicKey: source.publicKey, chainCodeDigest: chainCodeDigest(source.chainCode) }],
        dealers,
        descriptor,
        mode,
        supersedes: terms.supersedes,
        groupId: mode === 'add' ? null : source.groupId,
        epoch: mode === 'add' ? 1n : 2n,
        purpose: new Uint8Array(0),
        own: own ? [own.shares.get(suite)!] : null,
        nowMs: 1n,
        store: keeper,
        arithmetic: fastArithmetic,
      });
      return { address, device: keeper.device, protocol };
    });
  return { keepers, old: source.sharingId, threshold: 2, suite, run: (fault) => runWith(seats(), fault) };
}

/** A full quorum of one sharing would sign; tried out for real when `sign` is set. */
export async function assertSpendable(
  { keepers, threshold, suite }: World,
  moment: string,
  sign = false,
): Promise<void> {
  const ids = [
    ...new Map(
      keepers.flatMap(({ states }) => states.map(({ record }) => [toHex(record.sharingId), record.sharingId])),
    ).values(),
  ];
  const quorum = ids
    .map((id) => keepers.filter((keeper) => keeper.signs(id)).map((keeper) => keeper.holder(id)))
    .find((holders) => holders.length >= threshold);
  assert.ok(quorum, `nobody can sign ${moment}`);
  if (!sign) return;
  const holders = quorum.slice(0, threshold).sort((a, b) => a.index - b.index);
  results(await play(seatsOf(suite, holders, new Uint8Array(32))));
}

export function faults(messages: number, devices: readonly number[]): Fault[] {
  const all: Fault[] = [];
  for (let at = 1; at <= messages; at++) {
    all.push({ kind: 'cut', at }, { kind: 'lose', at });
    for (const who of devices) all.push({ kind: 'die', at, who });
  }
  return all;
}

export const nameOf = (fault: Fault) => `${fault.kind} ${fault.at}${fault.kind === 'die' ? ` of ${fault.who}` : ''}`;

/**
 * The "forget-and-forgive" test for one fault: right after it, after forgetting what may be forgotten, and while the devices
 * talk and forget again, some full quorum of one sharing can sign.
 */
export async function survives(world: World, fault: Fault, sign: boolean): Promise<void> {
  const { keepers } = world;
  await world.run(fault);
  await assertSpendable(world, `right after ${nameOf(fault)}`);
  for (const keeper of keepers) keeper.forget();
  await assertSpendable(world, `after forgetting what may be forgotten, ${nameOf(fault)}`);
  const reachable = keepers.filter((_, at) => at !== 2);
  await talk(reachable);
  await assertSpendable(world, `once they talk again, ${nameOf(fault)}`);
  for (const keeper of reachable) {
    keeper.forget();
    await assertSpendable(world, `while they forget one by one, ${nameOf(fault)}`);
  }
  await talk(reachable);
  for (const keeper of reachable) keeper.forget();
  await assertSpendable(world, `in the end, ${nameOf(fault)}`, sign);
}
