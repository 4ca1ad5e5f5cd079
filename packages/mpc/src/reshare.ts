/**
 * Resharing: t holders of one sharing deal a new one of the same key, to the same devices (refresh), to others, with
 * another threshold, or to a second group beside the first (recovery group). What the new sharing retires is named in
 * `supersedes` and agreed by everybody; creating a recovery group retires nothing.
 */
import { compareBytes, concat, equalBytes, sized, u8, u64be } from './bytes.ts';
import { badInput } from './errors.ts';
import { mod } from './group.ts';
import { list, taggedHash } from './hash.ts';
import { assertPublicShare, type KeyShare, type PublicShare, publicShareOf } from './key-share.ts';
import { encodeSuites } from './keygen.ts';
import { deviceFingerprint, encodeDescriptor, type GroupDescriptor, type Participant } from './participant.ts';
import type { Protocol } from './protocol.ts';
import { lagrange } from './secret-sharing.ts';
import { type RootPlan, SharingMachine, type SharingResult, type SharingStore } from './sharing.ts';
import { assertSigners, type Signer } from './signers.ts';
import { type Arithmetic, nobleArithmetic, suiteOf } from './suite.ts';
import { tags } from './tags.ts';

/** Its chain code is handed on in the session: a new device does not have it yet. */
export type SourceSharing = Omit<PublicShare, 'chainCode'>;

/** What everybody pinned about the key before, from the account record: never from the session. */
export interface PinnedKey {
  readonly publicKey: Uint8Array;
  /** `chainCodeDigest` of its chain code. */
  readonly chainCodeDigest: Uint8Array;
}

export interface ReshareOptions {
  /** The sharing that is dealt from, of every root of the wallet, in the order of `suiteNames`. New devices get it signed. */
  readonly source: readonly SourceSharing[];
  /** The same keys as the user knows them. */
  readonly pinned: readonly PinnedKey[];
  /** Exactly t holders of the source. */
  readonly dealers: readonly Signer[];
  /**
   * The index of a dealer whose share was restored from a device backup, on a device that the source does not name; null
   * otherwise. The others agree to it by taking part: the request names the device.
   */
  readonly restored?: number | null;
  readonly descriptor: GroupDescriptor;
  /** `replace` retires what `supersedes` names; `add` retires nothing. */
  readonly mode: 'replace' | 'add';
  /** Sharing ids, 16 bytes each. */
  readonly supersedes: readonly Uint8Array[];
  /** 16 bytes for a group that exists; null for a new one. */
  readonly groupId: Uint8Array | null;
  /** 1 for a new group; else above every epoch of that group that anybody knows of. */
  readonly epoch: bigint;
  /** Why, and the approvals: whatever the devices showed to their users. */
  readonly purpose: Uint8Array;
  /** Our own shares, when we deal. */
  readonly own: readonly KeyShare[] | null;
  readonly nowMs: bigint;
  readonly store: SharingStore;
  readonly arithmetic?: Arithmetic;
}

/** A device of the session: with an index in the source, in the new sharing, or in both. 0 where it has none. */
export interface RosterEntry {
  readonly address: number;
  readonly identityKey: Uint8Array;
  readonly oldIndex: number;
  readonly newIndex: number;
}

export const chainCodeDigest = (chainCode: Uint8Array): Uint8Array => taggedHash(tags.chainCode, chainCode);

/** Sorted by fingerprint; the address is the place in it, from 1. An old index 1 and a new index 1 may be two devices. */
export function rosterOf(dealers: readonly Signer[], { members }: GroupDescriptor): RosterEntry[] {
  const keys = new Map([...dealers, ...members].map(({ identityKey }) => [identityKey.join(), identityKey]));
  return [...keys.values()]
    .map((identityKey) => ({ identityKey, fingerprint: deviceFingerprint(identityKey) }))
    .sort((a, b) => compareBytes(a.fingerprint, b.fingerprint))
    .map(({ identityKey }, at) => ({
      address: at + 1,
      identityKey,
      oldIndex: dealers.find((each) => equalBytes(each.identityKey, identityKey))?.index ?? 0,
      newIndex: members.find((each) => equalBytes(each.identityKey, identityKey))?.index ?? 0,
    }));
}

export function reshare(options: ReshareOptions): Protocol<SharingResult> {
  const { source, pinned, dealers, descriptor, mode, supersedes, epoch, purpose, own } = options;
  const { groupId, nowMs, store, restored = null, arithmetic = nobleArithmetic } = options;
  const [first] = source;
  if (!first || source.length !== pinned.length || (own && own.length !== source.length))
    throw badInput('Give the source, the pinned key and our own share of the same roots.');
  if (source.some((each) => !equalBytes(each.sharingId, first.sharingId) || !equalBytes(each.groupId, first.groupId)))
    throw badInput('The roots of a wallet are reshared from one sharing.');
  if (mode === 'add' && supersedes.length > 0) throw badInput('A resharing that adds a group supersedes nothing.');
  if (epoch < 1n || epoch >= 1n << 64n) throw badInput('Epochs are counted from 1, in 64 bits.');
  // An older epoch would let a device that confirmed take the source for a later sharing, and forget its new share.
  if (groupId ? equalBytes(groupId, first.groupId) && epoch <= first.epoch : epoch !== 1n)
    throw badInput('A new group begins with epoch 1, and every new sharing of a group has a higher one.');
  const roster = rosterOf(dealers, descriptor);
  const participants: Participant[] = roster.map(({ address, identityKey }) => ({ address, identityKey }));
  const roots = source.map((each, at) =>
    rootPlan(each, pinned[at]!, own?.[at] ?? null, { dealers, restored }, roster, arithmetic),
  );
  const request = concat(
    u8(mode === 'add' ? 1 : 0),
    u8(restored ?? 0),
    encodeSuites(source.map(({ suite }) => suite)),
    ...pinned.flatMap((key) => [key.publicKey, key.chainCodeDigest]),
    first.sharingId,
    u64be(first.epoch),
    ...source.flatMap(({ commitments, parties }) => [
      list(commitments),
      list(parties.map(({ index, fingerprint, publicShare }) => concat(u8(index), fingerprint, publicShare))),
    ]),
    list(roster.map((entry) => concat(deviceFingerprint(entry.identityKey), u8(entry.oldIndex), u8(entry.newIndex)))),
    encodeDescriptor(descriptor),
    list(supersedes),
    groupId ?? new Uint8Array(16),
    u64be(epoch),
    sized(purpose),
  );
  return {
    name: 'reshare',
    suite: 0,
    sharing: { ...first, keyId: taggedHash(tags.walletKeys, ...source.map(({ keyId }) => keyId)) },
    participants,
    request,
    ...(own ? { secret: concat(...own.map(({ secret }) => secret)) } : {}),
    begin: (context) => {
      const { oldIndex = 0 } = roster.find(({ address }) => address === context.me) ?? {};
      if (oldIndex > 0 && own?.[0]?.index !== oldIndex) throw badInput('We deal, so our own share is needed.');
      return new SharingMachine(
        {
          role: 'reshare',
          dealers: roster.filter(({ oldIndex }) => oldIndex > 0).map(({ address }) => address),
          receivers: descriptor.members.map(({ index, identityKey }) => ({
            index,
            identityKey,
            address: roster.find(({ newIndex }) => newIndex === index)!.address,
          })),
          threshold: descriptor.threshold,
          roots,
          groupId,
          epoch,
          createdAtMs: nowMs,
          store,
        },
        context,
      );
    },
  };
}

function rootPlan(
  source: SourceSharing,
  pinned: PinnedKey,
  own: KeyShare | null,
  { dealers, restored }: { dealers: readonly Signer[]; restored: number | null },
  roster: readonly RosterEntry[],
  arithmetic: Arithmetic,
): RootPlan {
  const suite = suiteOf(source.suite, arithmetic);
  const { group } = suite;
  assertPublicShare(source, arithmetic);
  assertSigners(source, dealers, { except: restored });
  if (!equalBytes(source.publicKey, pinned.publicKey)) throw badInput('The source is not a sharing of the pinned key.');
  if (own && (!equalBytes(own.sharingId, source.sharingId) || !equalBytes(own.keyId, source.keyId)))
    throw badInput('Our own share is not of the source.');
  if (own && !equalBytes(chainCodeDigest(own.chainCode), pinned.chainCodeDigest))
    throw badInput('Our own chain code is not that of the pinned key.');
  const indices = dealers.map(({ index }) => index);
  const lambda = (index: number) => lagrange(index, indices, group.order);
  const constants = new Map(
    roster
      .filter(({ oldIndex }) => oldIndex > 0)
      .map(({ address, oldIndex }) => {
        const share = group.decode(publicShareOf(source, oldIndex));
        return [address, group.mulPublic(share, lambda(oldIndex))] as const;
      }),
  );
  return {
    suite,
    known: {
      publicKey: group.decode(pinned.publicKey),
      chainCodeDigest: pinned.chainCodeDigest,
      chainCode: own?.chainCode ?? null,
      constants,
      constant: own && mod(lambda(own.index) * group.decodeScalar(own.secret), group.order),
    },
  };
}
