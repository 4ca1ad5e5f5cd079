/**
 * A key share as it is kept: KeyShare v1 and, apart from it, the OT set-ups with each peer, so that one can be renewed
 * without touching the other. These bytes are secret; the caller stores them sealed, bound to device, key and sharing.
 */
import { concat, Reader, u8, u16be, u64be, utf8, wipe } from './bytes.ts';
import { badInput, MpcError } from './errors.ts';
import { taggedHash } from './hash.ts';
import { PARTIES_MAX } from './participant.ts';
import { encodeRef, type SharingRef } from './protocol.ts';
import { evaluateCommitments } from './secret-sharing.ts';
import { type Arithmetic, nobleArithmetic, type SuiteName, suiteNames, suiteOf, suiteWithId } from './suite.ts';
import { tags } from './tags.ts';

const SHARE_MAGIC = utf8('MPCS');
const SETUP_MAGIC = utf8('MPCO');
const VERSION = 1;
export const OT_COUNT = 128;

export interface ShareParty {
  readonly index: number;
  /** 32 bytes: `deviceFingerprint` of its identity key. */
  readonly fingerprint: Uint8Array;
  /** X_m, this party's public share. */
  readonly publicShare: Uint8Array;
}

/** What may be shown to others of a sharing: needed to reshare, to verify, and to restore. The chain code is confidential. */
export interface PublicShare extends SharingRef {
  readonly suite: SuiteName;
  readonly threshold: number;
  /** Ascending by index. */
  readonly parties: readonly ShareParty[];
  /** X, the root public key: 33 bytes, or 32 for ed25519. */
  readonly publicKey: Uint8Array;
  readonly chainCode: Uint8Array;
  /** C_0..C_{t-1}; C_0 is X. */
  readonly commitments: readonly Uint8Array[];
}

export interface KeyShare extends PublicShare {
  /** Our own, among the parties. */
  readonly index: number;
  /** s_i, 32 bytes in the scalar encoding of the suite. Secret. */
  readonly secret: Uint8Array;
  /** By peer index, 32 bytes each; for ECDSA only. Secret. */
  readonly zeroSeeds: ReadonlyMap<number, Uint8Array>;
  /** What all parties confirmed, 32 bytes. */
  readonly confirmation: Uint8Array;
  readonly createdAtMs: bigint;
}

/** The OT set-up with one peer, in both roles. Secret. */
export interface OtSetup {
  /** 32 bytes; no other pair has it. */
  readonly id: Uint8Array;
  readonly own: number;
  readonly peer: number;
  /** As the one who inputs shares: choice bits and the chosen seeds. */
  readonly delta: Uint8Array;
  readonly chosen: Uint8Array;
  /** As the one who multiplies: both seeds of each transfer. */
  readonly pairs: Uint8Array;
}

export function keyIdOf(suite: SuiteName, publicKey: Uint8Array): Uint8Array {
  return taggedHash(tags.keyId, u8(suiteNames.indexOf(suite) + 1), publicKey);
}

export function encodeKeyShare(share: KeyShare): Uint8Array {
  const { parties, zeroSeeds } = share;
  const peers = parties.filter(({ index }) => index !== share.index);
  return concat(
    SHARE_MAGIC,
    u16be(VERSION),
    u8(suiteNames.indexOf(share.suite) + 1),
    encodeRef(share),
    Uint8Array.of(share.threshold, parties.length, share.index),
    ...parties.flatMap(({ index, fingerprint, publicShare }) => [u8(index), fingerprint, publicShare]),
    share.publicKey,
    share.chainCode,
    ...share.commitments,
    share.secret,
    ...(share.suite === 'ecdsa-secp256k1' ? peers.map(({ index }) => zeroSeeds.get(index)!) : []),
    share.confirmation,
    u64be(share.createdAtMs),
  );
}

/**
 * Throws `bad_encoding` for anything that `encodeKeyShare` does not write, and for a share that does not lie on the
 * polynomial of its own commitments.
 */
export function decodeKeyShare(bytes: Uint8Array, arithmetic: Arithmetic = nobleArithmetic): KeyShare {
  const reader = new Reader(bytes, 'key share');
  if (reader.take(4).join() !== SHARE_MAGIC.join()) throw reader.malformed('not a key share');
  if (reader.u16() !== VERSION) throw reader.malformed('a version that this program does not know');
  const suite = named(() => suiteWithId(reader.u8()), reader);
  const { group } = suiteOf(suite, arithmetic);
  const take = (length: number) => reader.take(length).slice();
  const ref = { keyId: take(32), groupId: take(16), sharingId: take(16), epoch: reader.u64() };
  const [threshold, count, index] = [reader.u8(), reader.u8(), reader.u8()];
  if (threshold < 2 || count < threshold || count > PARTIES_MAX || ref.epoch === 0n)
    throw reader.malformed('numbers out of range');
  const parties = Array.from({ length: count }, () => ({
    index: reader.u8(),
    fingerprint: take(32),
    publicShare: take(group.pointBytes),
  }));
  if (
    parties.some((party, at) => party.index <= (parties[at - 1]?.index ?? 0)) ||
    !parties.some((p) => p.index === index)
  )
    throw reader.malformed('indices');
  const share: KeyShare = {
    suite,
    ...ref,
    threshold,
    index,
    parties,
    publicKey: take(group.pointBytes),
    chainCode: take(32),
    commitments: Array.from({ length: threshold }, () => take(group.pointBytes)),
    secret: take(32),
    zeroSeeds: new Map(
      suite === 'ecdsa-secp256k1'
        ? parties.flatMap((party) => (party.index === index ? [] : [[party.index, take(32)]]))
        : [],
    ),
    confirmation: take(32),
    createdAtMs: reader.u64(),
  };
  reader.end();
  assertPublicShare(share, arithmetic);
  const own = parties.find((party) => party.index === index)!;
  if (!group.equals(group.base(group.decodeScalar(share.secret)), group.decode(own.publicShare)))
    throw reader.malformed('the share does not fit its public share');
  return share;
}

/** C_0 = X, X_m = Σ m^k C_k for every party, keyId of X: what everybody can check of a sharing. Throws `mixed_sharings`. */
export function assertPublicShare(
  share: Omit<PublicShare, 'chainCode'>,
  arithmetic: Arithmetic = nobleArithmetic,
): void {
  const { group } = suiteOf(share.suite, arithmetic);
  const commitments = share.commitments.map((point) => group.decode(point));
  const fits =
    commitments.length === share.threshold &&
    share.commitments[0]!.join() === share.publicKey.join() &&
    keyIdOf(share.suite, share.publicKey).join() === share.keyId.join() &&
    share.parties.every(({ index, publicShare }) =>
      group.equals(evaluateCommitments(group, commitments, index), group.decode(publicShare)),
    );
  if (!fits) throw new MpcError('mixed_sharings', 'The public shares do not belong to one sharing of this key.');
}

export const SETUP_BYTES = 4 + 2 + 32 + 2 + 16 + OT_COUNT * 32 + OT_COUNT * 64;

export function encodeOtSetup(setup: OtSetup): Uint8Array {
  const { id, own, peer, delta, chosen, pairs } = setup;
  return concat(SETUP_MAGIC, u16be(VERSION), id, Uint8Array.of(own, peer), delta, chosen, pairs);
}

export function decodeOtSetup(bytes: Uint8Array): OtSetup {
  const reader = new Reader(bytes, 'OT set-up');
  if (reader.take(4).join() !== SETUP_MAGIC.join()) throw reader.malformed('not an OT set-up');
  if (reader.u16() !== VERSION) throw reader.malformed('a version that this program does not know');
  const setup = {
    id: reader.take(32).slice(),
    own: reader.u8(),
    peer: reader.u8(),
    delta: reader.take(16).slice(),
    chosen: reader.take(OT_COUNT * 32).slice(),
    pairs: reader.take(OT_COUNT * 64).slice(),
  };
  reader.end();
  if (setup.own === 0 || setup.peer === 0 || setup.own === setup.peer) throw reader.malformed('indices');
  return setup;
}

export function wipeOtSetup({ delta, chosen, pairs }: OtSetup): void {
  wipe(delta, chosen, pairs);
}

export function wipeKeyShare({ secret, zeroSeeds }: KeyShare): void {
  wipe(secret, ...zeroSeeds.values());
}

export function publicShareOf(share: Pick<PublicShare, 'parties'>, index: number): Uint8Array {
  const party = share.parties.find((each) => each.index === index);
  if (!party) throw badInput(`There is no party ${index} in this sharing.`);
  return party.publicShare;
}

function named<T>(read: () => T, reader: Reader): T {
  try {
    return read();
  } catch (error) {
    throw reader.malformed((error as Error).message);
  }
}
