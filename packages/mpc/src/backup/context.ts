/**
 * A device backup: the device's key share encrypted to a key that device and server hold together, so that the ciphertext,
 * the server and the user's drive each learn nothing alone. One backup belongs to one sharing; its context binds every
 * hash and proof to it. Only the device's share is ever encrypted like this: two would be the whole key.
 */
import { u8, u64be } from '../bytes.ts';
import { badInput } from '../errors.ts';
import type { Point } from '../group.ts';
import { taggedHash } from '../hash.ts';
import { type PublicShare, publicShareOf } from '../key-share.ts';
import { deviceFingerprint } from '../participant.ts';
import { chainCodeDigest } from '../reshare.ts';
import { type Arithmetic, suiteNames } from '../suite.ts';
import { tags } from '../tags.ts';

/** The two public halves of the joint key, 33 bytes each, and the name that the session gave the backup. */
export interface JointKey {
  /** 16 bytes. */
  readonly backupId: Uint8Array;
  readonly deviceKey: Uint8Array;
  readonly serverKey: Uint8Array;
}

export interface BackupSubject {
  readonly sharing: PublicShare;
  /** Whose share it is, in the sharing. */
  readonly index: number;
  readonly deviceIdentity: Uint8Array;
  readonly serverIdentity: Uint8Array;
}

export interface BackupContext extends JointKey {
  /** ctx, 32 bytes. */
  readonly ctx: Uint8Array;
  /** X_i: from the verifier's own data, never from a backup. */
  readonly publicShare: Uint8Array;
  readonly suite: PublicShare['suite'];
}

export function backupContext(
  key: JointKey,
  { sharing, index, deviceIdentity, serverIdentity }: BackupSubject,
): BackupContext {
  const publicShare = publicShareOf(sharing, index);
  const ctx = taggedHash(
    tags.backupContext,
    key.backupId,
    u8(suiteNames.indexOf(sharing.suite) + 1),
    sharing.keyId,
    sharing.groupId,
    sharing.sharingId,
    u64be(sharing.epoch),
    u8(index),
    publicShare,
    chainCodeDigest(sharing.chainCode),
    deviceFingerprint(deviceIdentity),
    deviceFingerprint(serverIdentity),
    key.deviceKey,
    key.serverKey,
  );
  return { ...key, ctx, publicShare, suite: sharing.suite };
}

/** Q = Q_D + Q_S. */
export function jointPoint({ secp256k1: group }: Arithmetic, { deviceKey, serverKey }: JointKey): Point {
  const joint = group.add(group.decode(deviceKey), group.decode(serverKey));
  if (group.isIdentity(joint)) throw badInput('The two halves of the backup key cancel out.');
  return joint;
}
