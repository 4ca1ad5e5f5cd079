/**
 * Signed statements about a sharing, by which keygen and resharing are committed: "I hold it" (confirm), "it is in force
 * here" (active), "I gave it up" (abort), "my old share is gone" (erased). They contain nothing secret, so anybody may keep and forward them,
 * and a device that missed the last message of a session can still complete from them.
 */
import { concat, Reader, u8 } from './bytes.ts';
import type { EnvelopeCrypto, IdentityKey } from './envelope-crypto.ts';
import { taggedHash } from './hash.ts';
import { deviceFingerprint } from './participant.ts';
import { tags } from './tags.ts';

const kinds = ['confirm', 'active', 'abort', 'erased'] as const;
export type NoticeKind = (typeof kinds)[number];

export interface Notice {
  readonly kind: NoticeKind;
  /** 16 bytes. */
  readonly sharingId: Uint8Array;
  /** 32 bytes: for `confirm` what is confirmed, which binds the whole sharing; zeros otherwise. */
  readonly digest: Uint8Array;
  /** Ed25519 public key of the device that says so. */
  readonly identityKey: Uint8Array;
  readonly signature: Uint8Array;
}

export async function signNotice(
  kind: NoticeKind,
  sharingId: Uint8Array,
  digest: Uint8Array,
  identity: IdentityKey,
): Promise<Notice> {
  const unsigned = { kind, sharingId, digest, identityKey: identity.publicKey };
  return { ...unsigned, signature: await identity.sign(signed(unsigned)) };
}

/** Whether the device with this key said so. Which devices count is the caller's affair. */
export async function verifyNotice(notice: Notice, crypto: EnvelopeCrypto): Promise<boolean> {
  return crypto.verify(notice.identityKey, signed(notice), notice.signature);
}

export function encodeNotice(notice: Notice): Uint8Array {
  return concat(u8(kinds.indexOf(notice.kind)), notice.sharingId, notice.digest, notice.identityKey, notice.signature);
}

export function decodeNotice(bytes: Uint8Array): Notice {
  const reader = new Reader(bytes, 'notice');
  const kind = kinds[reader.u8()];
  if (!kind) throw reader.malformed('of an unknown kind');
  const take = (length: number) => reader.take(length).slice();
  const notice = { kind, sharingId: take(16), digest: take(32), identityKey: take(32), signature: take(64) };
  reader.end();
  return notice;
}

function signed({ kind, sharingId, digest, identityKey }: Omit<Notice, 'signature'>): Uint8Array {
  return taggedHash(tags.notice, u8(kinds.indexOf(kind)), sharingId, digest, deviceFingerprint(identityKey));
}
