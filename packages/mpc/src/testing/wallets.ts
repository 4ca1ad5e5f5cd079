/** Keys for tests: made by real keygen sessions, with the quick backend unless the pure one is the subject. */
import { randomBytes } from 'node:crypto';
import { equalBytes } from '../bytes.ts';
import { type EcdsaSignature, signEcdsa } from '../ecdsa/sign.ts';
import { openFastSecp256k1 } from '../fast/index.ts';
import { type SchnorrSignature, signFrost } from '../frost/sign.ts';
import { ed25519Group } from '../group.ts';
import type { KeyShare, OtSetup } from '../key-share.ts';
import { keygen } from '../keygen.ts';
import type { Protocol } from '../protocol.ts';
import { chainCodeDigest, reshare, rosterOf } from '../reshare.ts';
import type { SharingResult } from '../sharing.ts';
import type { Signer } from '../signers.ts';
import type { Arithmetic, SuiteName } from '../suite.ts';
import { createDevices, type Device, groupOf, play, results, type Seat } from './devices.ts';

export const fastArithmetic: Arithmetic = {
  secp256k1: openFastSecp256k1((length) => new Uint8Array(randomBytes(length))),
  ed25519: ed25519Group,
};

/** One device's part of a wallet. */
export interface Holder {
  readonly index: number;
  readonly device: Device;
  readonly shares: ReadonlyMap<SuiteName, KeyShare>;
  /** By peer index. */
  readonly setups: Map<number, OtSetup[]>;
}

export interface WalletOptions {
  readonly threshold: number;
  readonly count: number;
  readonly suites?: readonly SuiteName[];
  readonly arithmetic?: Arithmetic;
  readonly indices?: readonly number[];
  /** As many as `count`; new ones by default. */
  readonly devices?: readonly Device[];
}

export function keygenSeats(
  devices: readonly Device[],
  { threshold, suites = ['ecdsa-secp256k1'], arithmetic = fastArithmetic, indices }: Omit<WalletOptions, 'count'>,
): Seat<SharingResult>[] {
  const descriptor = groupOf(devices, threshold, indices);
  return descriptor.members.map(({ index }, at) => ({
    address: index,
    device: devices[at]!,
    protocol: keygen({
      descriptor,
      suites,
      purpose: new Uint8Array(0),
      nowMs: 1_700_000_000_000n,
      store: devices[at]!.sharings,
      arithmetic,
    }),
  }));
}

export async function createWallet(options: WalletOptions): Promise<Holder[]> {
  const devices = options.devices ?? (await createDevices(options.count));
  return results(await play(keygenSeats(devices, options))).map((result, at) => holderOf(devices[at]!, result));
}

/** Puts the set-ups into the device's table as active, as a caller does with everybody's confirmation. */
export function holderOf(device: Device, { own }: SharingResult): Holder {
  const setups = new Map<number, OtSetup[]>();
  for (const setup of own!.setups) {
    setups.set(setup.peer, [setup]);
    device.pairs.add(setup.id);
  }
  return {
    index: own!.shares[0]!.index,
    device,
    shares: new Map(own!.shares.map((share) => [share.suite, share])),
    setups,
  };
}

export interface SignOptions {
  readonly digest: Uint8Array;
  readonly path?: readonly number[];
  readonly arithmetic?: Arithmetic;
  readonly beforeRelease?: () => Promise<void>;
}

/** Each signer's protocol, so that a test can replace one of them. */
export function ecdsaSeats(holders: readonly Holder[], options: SignOptions): Seat<EcdsaSignature>[] {
  const signers = holders.map(({ index, device }) => ({ index, identityKey: device.identity.publicKey }));
  return holders.map((holder) => ({
    address: holder.index,
    device: holder.device,
    protocol: ecdsaProtocol(holder, signers, options),
  }));
}

export function ecdsaProtocol(
  holder: Holder,
  signers: readonly Signer[],
  { digest, path = [], arithmetic = fastArithmetic, beforeRelease = async () => undefined }: SignOptions,
): Protocol<EcdsaSignature> {
  return signEcdsa({
    share: holder.shares.get('ecdsa-secp256k1')!,
    setups: holder.setups,
    pairs: holder.device.pairs,
    signers,
    path,
    digest,
    intent: new Uint8Array(0),
    beforeRelease,
    arithmetic,
  });
}

export interface FrostOptions {
  readonly suite: 'schnorr-secp256k1' | 'eddsa-ed25519';
  readonly message: Uint8Array;
  readonly path?: readonly number[];
  readonly taproot?: { readonly merkleRoot: Uint8Array } | null;
  readonly arithmetic?: Arithmetic;
  readonly beforeRelease?: () => Promise<void>;
}

export function frostSeats(holders: readonly Holder[], options: FrostOptions): Seat<SchnorrSignature>[] {
  const signers = signersOf(holders);
  return holders.map((holder) => ({
    address: holder.index,
    device: holder.device,
    protocol: frostProtocol(holder, signers, options),
  }));
}

export function frostProtocol(
  holder: Holder,
  signers: readonly Signer[],
  {
    suite,
    message,
    path = [],
    taproot = null,
    arithmetic = fastArithmetic,
    beforeRelease = async () => undefined,
  }: FrostOptions,
): Protocol<SchnorrSignature> {
  const share = holder.shares.get(suite)!;
  return signFrost({ share, signers, path, message, taproot, intent: new Uint8Array(0), beforeRelease, arithmetic });
}

export const signersOf = (holders: readonly Holder[]): Signer[] =>
  holders.map(({ index, device }) => ({ index, identityKey: device.identity.publicKey }));

export interface ReshareTestOptions {
  readonly dealers: readonly Holder[];
  /** The new group, in order of index. */
  readonly devices: readonly Device[];
  readonly threshold: number;
  readonly indices?: readonly number[];
  readonly mode?: 'replace' | 'add';
  readonly arithmetic?: Arithmetic;
}

/** Every seat of a resharing of all roots that the dealers hold. */
export function reshareSeats(options: ReshareTestOptions): Seat<SharingResult>[] {
  const { dealers, devices, threshold, indices, mode = 'replace', arithmetic = fastArithmetic } = options;
  const descriptor = groupOf(devices, threshold, indices);
  const signers = signersOf(dealers);
  const source = [...dealers[0]!.shares.values()];
  const all = [...new Set([...dealers.map(({ device }) => device), ...devices])];
  return rosterOf(signers, descriptor).map(({ address, identityKey }) => {
    const device = all.find(({ identity }) => equalBytes(identity.publicKey, identityKey))!;
    const dealer = dealers.find((each) => each.device === device);
    return {
      address,
      device,
      protocol: reshare({
        source,
        pinned: source.map(({ publicKey, chainCode }) => ({ publicKey, chainCodeDigest: chainCodeDigest(chainCode) })),
        dealers: signers,
        descriptor,
        mode,
        supersedes: mode === 'add' ? [] : [source[0]!.sharingId],
        groupId: mode === 'add' ? null : source[0]!.groupId,
        epoch: mode === 'add' ? 1n : source[0]!.epoch + 1n,
        purpose: new Uint8Array(0),
        own: dealer ? [...dealer.shares.values()] : null,
        nowMs: 1_700_000_000_000n,
        store: device.sharings,
        arithmetic,
      }),
    };
  });
}

/** The new holders, in order of their new index. */
export async function reshareWallet(options: ReshareTestOptions): Promise<Holder[]> {
  const seats = reshareSeats(options);
  const made = results(await play(seats));
  return options.devices.map((device) => holderOf(device, made[seats.findIndex((seat) => seat.device === device)]!));
}
