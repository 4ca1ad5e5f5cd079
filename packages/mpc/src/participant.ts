/**
 * Who takes part: devices, their pinned identity keys, and the descriptor of a group. Indices are x-coordinates of shares
 * and stand in the descriptor, never in a message, an array position or an order of connecting.
 */
import { concat, Reader, u8 } from './bytes.ts';
import { badInput, MpcError } from './errors.ts';
import { taggedHash } from './hash.ts';
import { assertIndices } from './secret-sharing.ts';
import { tags } from './tags.ts';

export const PARTIES_MAX = 20;

/** Of a session. `address` is the index in a group, or the place in the roster of a resharing. */
export interface Participant {
  readonly address: number;
  /** Ed25519 public key of the device, 32 bytes. */
  readonly identityKey: Uint8Array;
}

export interface Member {
  readonly index: number;
  readonly identityKey: Uint8Array;
}

/** Pinned by every member before a session: nothing in it is learnt from the relay. */
export interface GroupDescriptor {
  readonly threshold: number;
  /** Ascending by index. */
  readonly members: readonly Member[];
}

/** 32 bytes that stand for a device's identity key in session ids and key shares. */
export function deviceFingerprint(identityKey: Uint8Array): Uint8Array {
  return taggedHash(tags.deviceFingerprint, identityKey);
}

export function assertDescriptor({ threshold, members }: GroupDescriptor): void {
  if (members.length < 2 || members.length > PARTIES_MAX)
    throw badInput(`A group has 2 to ${PARTIES_MAX} members, not ${members.length}.`);
  if (!Number.isInteger(threshold) || threshold < 2 || threshold > members.length)
    throw badInput(`The threshold of a group of ${members.length} is 2 to ${members.length}, not ${threshold}.`);
  assertIndices(members.map(({ index }) => index));
  const keys = new Set(members.map(({ identityKey }) => identityKey.join()));
  if (keys.size !== members.length) throw badInput('A device is in the group twice.');
}

/** u8 t ‖ u8 n ‖ n × (u8 index ‖ identity key 32). Throws for a descriptor that breaks the rules. */
export function encodeDescriptor(descriptor: GroupDescriptor): Uint8Array {
  assertDescriptor(descriptor);
  const { threshold, members } = descriptor;
  return concat(
    u8(threshold),
    u8(members.length),
    ...members.flatMap(({ index, identityKey }) => [u8(index), identityKey]),
  );
}

export function decodeDescriptor(bytes: Uint8Array): GroupDescriptor {
  const reader = new Reader(bytes, 'group descriptor');
  const threshold = reader.u8();
  const members = Array.from({ length: reader.u8() }, () => ({
    index: reader.u8(),
    identityKey: reader.take(32).slice(),
  }));
  reader.end();
  try {
    assertDescriptor({ threshold, members });
  } catch (error) {
    throw new MpcError('bad_encoding', (error as Error).message);
  }
  return { threshold, members };
}

export function memberOf({ members }: GroupDescriptor, index: number): Member {
  const member = members.find((each) => each.index === index);
  if (!member) throw badInput(`There is no member ${index} in the group.`);
  return member;
}
