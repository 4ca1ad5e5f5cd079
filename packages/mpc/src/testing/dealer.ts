/**
 * Wallets at once, for tests whose subject is not keygen: a dealer who knows the key deals the shares and the OT set-ups.
 * What it makes is what a keygen makes, byte for byte of the same form. It exists in tests only.
 */
import { randomBytes } from 'node:crypto';
import { toInteger } from '../bytes.ts';
import { mod } from '../group.ts';
import { type KeyShare, keyIdOf, type OtSetup } from '../key-share.ts';
import { deviceFingerprint } from '../participant.ts';
import { evaluate } from '../secret-sharing.ts';
import { suiteOf } from '../suite.ts';
import { dealSetup as dealSeeds } from './dealt-setup.ts';
import { createDevices } from './devices.ts';
import { fastArithmetic, type Holder, type WalletOptions } from './wallets.ts';

const bytes = (length: number) => new Uint8Array(randomBytes(length));

export async function dealWallet(options: WalletOptions): Promise<Holder[]> {
  const {
    threshold,
    count,
    suites = ['ecdsa-secp256k1'],
    indices = Array.from({ length: count }, (_, at) => at + 1),
  } = options;
  const devices = options.devices ?? (await createDevices(count));
  const [groupId, sharingId, chainCode, confirmation] = [bytes(16), bytes(16), bytes(32), bytes(32)];
  const zeroSeeds = new Map<string, Uint8Array>();
  const zeroSeed = (a: number, b: number) => {
    const name = `${Math.min(a, b)} ${Math.max(a, b)}`;
    if (!zeroSeeds.has(name)) zeroSeeds.set(name, bytes(32));
    return zeroSeeds.get(name)!;
  };
  const holders = indices.map(
    (index, at): Holder => ({ index, device: devices[at]!, shares: new Map(), setups: new Map() }),
  );
  for (const name of suites) {
    const { group } = suiteOf(name, fastArithmetic);
    const coefficients = Array.from({ length: threshold }, () => mod(toInteger(bytes(48)), group.order));
    const publicKey = group.encode(group.base(coefficients[0]!));
    const secrets = indices.map((index) => evaluate(coefficients, index, group.order));
    const parties = indices.map((index, at) => ({
      index,
      fingerprint: deviceFingerprint(devices[at]!.identity.publicKey),
      publicShare: group.encode(group.base(secrets[at]!)),
    }));
    holders.forEach((holder, at) => {
      const share: KeyShare = {
        suite: name,
        keyId: keyIdOf(name, publicKey),
        groupId,
        sharingId,
        epoch: 1n,
        threshold,
        index: holder.index,
        parties,
        publicKey,
        chainCode,
        commitments: coefficients.map((coefficient) => group.encode(group.base(coefficient))),
        secret: group.encodeScalar(secrets[at]!),
        zeroSeeds: new Map(
          name === 'ecdsa-secp256k1'
            ? indices.filter((peer) => peer !== holder.index).map((peer) => [peer, zeroSeed(peer, holder.index)])
            : [],
        ),
        confirmation,
        createdAtMs: 1_700_000_000_000n,
      };
      (holder.shares as Map<string, KeyShare>).set(name, share);
    });
  }
  if (suites.includes('ecdsa-secp256k1'))
    holders.forEach((a, at) => {
      for (const b of holders.slice(at + 1)) dealSetup(a, b);
    });
  return holders;
}

/** A new set-up between two holders, newest first in both lists. */
export function dealSetup(a: Holder, b: Holder): void {
  const id = bytes(32);
  const forward = dealDirection();
  const backward = dealDirection();
  const setups: readonly [Holder, OtSetup][] = [
    [a, { id, own: a.index, peer: b.index, ...forward.alice, pairs: backward.pairs }],
    [b, { id, own: b.index, peer: a.index, ...backward.alice, pairs: forward.pairs }],
  ];
  for (const [holder, setup] of setups) {
    holder.setups.set(setup.peer, [setup, ...(holder.setups.get(setup.peer) ?? [])]);
    holder.device.pairs.add(id);
  }
}

function dealDirection() {
  const { alice, bob } = dealSeeds((_, length) => bytes(length));
  return { alice: { delta: alice.delta, chosen: alice.seeds }, pairs: bob.pairs };
}
