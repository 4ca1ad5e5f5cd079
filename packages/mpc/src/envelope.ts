/**
 * How a message travels over a relay that may read, change, repeat and drop everything: sealed for one recipient under a
 * key of this session and direction, and signed by the sender's identity key. Broadcasts are sealed like the rest, so the
 * relay learns neither keys nor signatures; the signature covers their digest, so that two different ones are evidence.
 */
import { expand, extract } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concat, equalBytes, Reader, sized, u8, u32be, utf8, wipe } from './bytes.ts';
import type { Agreement, EnvelopeCrypto, IdentityKey, SealingKey } from './envelope-crypto.ts';
import { taggedHash } from './hash.ts';
import { tags } from './tags.ts';

const VERSION = 1;
export const HEADER_BYTES = 44;
const TAG_BYTES = 16;
const SIGNATURE_BYTES = 64;
/** The largest message is a self-test of 19 OT set-ups, and those go to one peer each: 49 KB, and room for growth. */
export const BODY_MAX = 128 * 1024;
export const ENVELOPE_MAX = HEADER_BYTES + BODY_MAX + TAG_BYTES + SIGNATURE_BYTES;

export interface Header {
  readonly suite: number;
  readonly sid: Uint8Array;
  readonly round: number;
  readonly from: number;
  readonly to: number;
}

export interface Body {
  /** The sender's transcript after the round before. */
  readonly echo: Uint8Array;
  readonly broadcast: Uint8Array;
  readonly pairwise: Uint8Array;
}

/** Between us and one peer: a key for each direction. */
export interface Channel {
  readonly sending: SealingKey;
  readonly receiving: SealingKey;
}

/** k_ij = HKDF(X25519(eph_i, eph_j), salt = sid, info = direction). */
export async function openChannel(
  crypto: EnvelopeCrypto,
  agreement: Agreement,
  peerKey: Uint8Array,
  { sid, me, peer }: { sid: Uint8Array; me: number; peer: number },
): Promise<Channel> {
  const secret = await agreement.agree(peerKey);
  if (secret.every((byte) => byte === 0)) throw new Error('the shared secret is zero');
  const prk = extract(sha256, secret, sid);
  const key = async (from: number, to: number) => {
    const bytes = expand(sha256, prk, concat(utf8(`kedge/v1/${tags.channelKey}`), u8(from), u8(to)), 32);
    const sealing = await crypto.sealingKey(bytes);
    wipe(bytes);
    return sealing;
  };
  const channel = { sending: await key(me, peer), receiving: await key(peer, me) };
  wipe(secret, prk);
  return channel;
}

export const broadcastDigest = ({ sid, round, from }: Header, broadcast: Uint8Array): Uint8Array =>
  taggedHash(tags.broadcast, sid, u8(round), u8(from), broadcast);

/** Header ‖ ciphertext with tag ‖ signature. One round is sent once to one peer, so round is the nonce. */
export async function sealEnvelope(
  header: Header,
  body: Body,
  channel: Channel,
  identity: IdentityKey,
  crypto: EnvelopeCrypto,
): Promise<Uint8Array> {
  const plaintext = concat(body.echo, sized(body.broadcast), sized(body.pairwise));
  const head = encodeHeader(header, plaintext.length + TAG_BYTES);
  const ciphertext = await channel.sending.seal(nonceOf(header.round), head, plaintext);
  wipe(plaintext);
  const ciphertextDigest = await crypto.digest(ciphertext);
  const signature = await identity.sign(signed(head, broadcastDigest(header, body.broadcast), ciphertextDigest));
  return concat(head, ciphertext, signature);
}

/** Null when it is not an envelope of ours, whatever the reason. */
export function readHeader(bytes: Uint8Array): Header | null {
  if (bytes.length < HEADER_BYTES + TAG_BYTES + SIGNATURE_BYTES || bytes.length > ENVELOPE_MAX) return null;
  const reader = new Reader(bytes, 'envelope');
  if (reader.u8() !== VERSION) return null;
  const header = {
    suite: reader.u8(),
    sid: reader.take(32),
    round: reader.u8(),
    from: reader.u8(),
    to: reader.u8(),
  };
  const sequence = reader.take(3);
  const length = reader.u32();
  if (sequence.some((byte) => byte !== 0)) return null;
  return length === bytes.length - HEADER_BYTES - SIGNATURE_BYTES ? header : null;
}

export interface Opened {
  readonly body: Body;
  /**
   * What the peer signed as its broadcast of this round, without the rest of the envelope: head 44 ‖ digest of the ciphertext
   * 32 ‖ signature 64 ‖ broadcast. Two of them for one round with different broadcasts convict it.
   */
  readonly signedBroadcast: Uint8Array;
}

/** Opened and its signature verified; null otherwise. The header was read from the same bytes. */
export async function openEnvelope(
  bytes: Uint8Array,
  header: Header,
  channel: Channel,
  identityKey: Uint8Array,
  crypto: EnvelopeCrypto,
): Promise<Opened | null> {
  const envelope = bytes.slice(); // what is opened is what is verified, whatever becomes of the caller's buffer
  const head = envelope.subarray(0, HEADER_BYTES);
  const ciphertext = envelope.subarray(HEADER_BYTES, -SIGNATURE_BYTES);
  const signature = envelope.subarray(-SIGNATURE_BYTES);
  const plaintext = await channel.receiving.open(nonceOf(header.round), head, ciphertext);
  if (!plaintext) return null;
  let body: Body;
  try {
    const reader = new Reader(plaintext, 'envelope');
    body = { echo: reader.take(32), broadcast: reader.sized(BODY_MAX), pairwise: reader.sized(BODY_MAX) };
    reader.end();
  } catch {
    return null;
  }
  const digest = await crypto.digest(ciphertext);
  const statement = signed(head, broadcastDigest(header, body.broadcast), digest);
  if (!(await crypto.verify(identityKey, statement, signature))) return null;
  return { body, signedBroadcast: concat(head, digest, signature, body.broadcast) };
}

/** Whether the device with this key signed two different broadcasts for one round of one session. */
export async function convicts(
  identityKey: Uint8Array,
  first: Uint8Array,
  second: Uint8Array,
  crypto: EnvelopeCrypto,
): Promise<boolean> {
  const digests: Uint8Array[] = [];
  const rounds: string[] = [];
  for (const bytes of [first, second]) {
    const reader = new Reader(bytes, 'signed broadcast');
    const head = reader.take(HEADER_BYTES);
    const ciphertextDigest = reader.take(32);
    const signature = reader.take(SIGNATURE_BYTES);
    const [sid, round, from] = [head.slice(2, 34), head[34]!, head[35]!];
    const digest = broadcastDigest({ suite: head[1]!, sid, round, from, to: 0 }, reader.rest());
    if (!(await crypto.verify(identityKey, signed(head, digest, ciphertextDigest), signature))) return false;
    digests.push(digest);
    rounds.push(`${sid.join()} ${round} ${from}`);
  }
  return rounds[0] === rounds[1] && !equalBytes(digests[0]!, digests[1]!);
}

function encodeHeader(header: Header, length: number): Uint8Array {
  return concat(
    Uint8Array.of(VERSION, header.suite),
    header.sid,
    Uint8Array.of(header.round, header.from, header.to, 0, 0, 0),
    u32be(length),
  );
}

function signed(head: Uint8Array, digest: Uint8Array, ciphertextDigest: Uint8Array): Uint8Array {
  return taggedHash(tags.envelope, head, digest, ciphertextDigest);
}

function nonceOf(round: number): Uint8Array {
  const nonce = new Uint8Array(12);
  nonce[3] = round;
  return nonce;
}
