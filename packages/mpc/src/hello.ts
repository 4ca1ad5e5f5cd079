/**
 * Round 0 of every session: each participant says, signed, what it believes is being done, and adds a nonce, an ephemeral
 * X25519 key, its counters and the OT set-ups that it can use with each peer. All hellos together give the session id,
 * which nobody can choose or repeat.
 */
import { concat, equalBytes, Reader, u8, u64be, utf8 } from './bytes.ts';
import type { EnvelopeCrypto, IdentityKey } from './envelope-crypto.ts';
import { list, taggedHash } from './hash.ts';
import { deviceFingerprint, PARTIES_MAX, type Participant } from './participant.ts';
import type { Protocol } from './protocol.ts';
import { tags } from './tags.ts';

const VERSION = 1;
const SETUPS_MAX = 4;
const NAME_MAX = 32;
/** A resharing brings the dealers of one group and the receivers of another together. */
const PEERS_MAX = 2 * PARTIES_MAX;
export const HELLO_MAX =
  1 + 2 + 1 + NAME_MAX + 32 + 1 + 32 + 32 + 1 + 1 + PEERS_MAX * (1 + 8 + 1 + SETUPS_MAX * 32) + 64;

export interface HelloPeer {
  readonly address: number;
  readonly counter: bigint;
  /** Ids of OT set-ups that the sender can use with this peer, newest first. */
  readonly setups: readonly Uint8Array[];
}

export interface Hello {
  readonly address: number;
  readonly nonce: Uint8Array;
  readonly ephemeralKey: Uint8Array;
  /** The sender's store was restored from a backup since it last spoke. */
  readonly restored: boolean;
  readonly peers: readonly HelloPeer[];
  /** The signed part, as it was sent. */
  readonly body: Uint8Array;
  readonly signature: Uint8Array;
}

type Subject = Pick<Protocol<unknown>, 'name' | 'suite' | 'request'>;

export async function signHello(
  subject: Subject,
  hello: Omit<Hello, 'body' | 'signature'>,
  identity: IdentityKey,
): Promise<Hello> {
  const name = utf8(subject.name);
  const body = concat(
    Uint8Array.of(VERSION, subject.suite, name.length),
    name,
    taggedHash(tags.request, subject.request),
    u8(hello.address),
    hello.nonce,
    hello.ephemeralKey,
    Uint8Array.of(hello.restored ? 1 : 0, hello.peers.length),
    ...hello.peers.flatMap(({ address, counter, setups }) => [
      u8(address),
      u64be(counter),
      u8(setups.length),
      ...setups,
    ]),
  );
  return { ...hello, body, signature: await identity.sign(taggedHash(tags.helloSignature, body)) };
}

export const encodeHello = ({ body, signature }: Hello): Uint8Array => concat(body, signature);

/**
 * The hello, if it is about `subject`, comes from a participant and is signed by it; otherwise the reason to drop it.
 */
export async function openHello(
  subject: Subject,
  participants: readonly Participant[],
  bytes: Uint8Array,
  crypto: EnvelopeCrypto,
): Promise<Hello | string> {
  if (bytes.length > HELLO_MAX || bytes.length < 64) return 'a hello of an impossible length';
  const body = bytes.slice(0, -64);
  const signature = bytes.slice(-64);
  let hello: Hello;
  let isOurs: boolean;
  try {
    const reader = new Reader(body, 'hello');
    const start = reader.take(3);
    const name = reader.take(start[2]!);
    const request = reader.take(32);
    const expected = concat(
      Uint8Array.of(VERSION, subject.suite),
      utf8(subject.name),
      taggedHash(tags.request, subject.request),
    );
    isOurs = equalBytes(concat(start.subarray(0, 2), name, request), expected);
    const address = reader.u8();
    const nonce = reader.take(32);
    const ephemeralKey = reader.take(32);
    const flags = reader.u8();
    if (flags > 1) throw reader.malformed('unknown flags');
    const count = reader.u8();
    if (count > PEERS_MAX) throw reader.malformed('too many peers');
    const peers = Array.from({ length: count }, () => {
      const peer = { address: reader.u8(), counter: reader.u64() };
      const setups = reader.u8();
      if (setups > SETUPS_MAX) throw reader.malformed('too many set-ups');
      return { ...peer, setups: Array.from({ length: setups }, () => reader.take(32)) };
    });
    reader.end();
    hello = { address, nonce, ephemeralKey, restored: flags === 1, peers, body, signature };
  } catch (error) {
    return (error as Error).message;
  }
  if (!isOurs) return 'a hello for another request';
  const sender = participants.find(({ address }) => address === hello.address);
  if (!sender) return 'a hello of nobody in this session';
  const others = participants.filter(({ address }) => address !== hello.address).map(({ address }) => address);
  if (hello.peers.map(({ address }) => address).join() !== others.join()) return 'a hello for other participants';
  const digest = taggedHash(tags.helloSignature, body);
  if (!(await crypto.verify(sender.identityKey, digest, signature))) return 'a hello with a false signature';
  return hello;
}

export const helloDigest = ({ body }: Hello): Uint8Array => taggedHash(tags.hello, body);

/** Of all participants' hellos, in order of address. */
export function sessionId(protocol: Protocol<unknown>, hellos: readonly Hello[]): Uint8Array {
  const { keyId, groupId, sharingId, epoch } = protocol.sharing ?? noSharing;
  return taggedHash(
    tags.sessionId,
    u8(protocol.suite),
    utf8(protocol.name),
    keyId,
    groupId,
    sharingId,
    u64be(epoch),
    list(protocol.participants.map(({ address, identityKey }) => concat(u8(address), deviceFingerprint(identityKey)))),
    taggedHash(tags.request, protocol.request),
    list(hellos.map(({ nonce }) => nonce)),
    list(hellos.map(({ ephemeralKey }) => ephemeralKey)),
    list(hellos.map(helloDigest)),
  );
}

const noSharing = { keyId: new Uint8Array(32), groupId: new Uint8Array(16), sharingId: new Uint8Array(16), epoch: 0n };
