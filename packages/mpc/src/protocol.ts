/**
 * What a protocol is to the session that runs it: rounds of broadcasts and pairwise messages, and synchronous steps from
 * one round to the next. A protocol never sees an envelope, a signature or the relay; the session never sees a share.
 */
import { concat, u64be } from './bytes.ts';
import type { EnvelopeCrypto, IdentityKey } from './envelope-crypto.ts';
import type { Participant } from './participant.ts';
import type { SessionRandom } from './random.ts';

/** Which sharing of which key a session is about. All but `epoch` are hashes, so nobody chooses them. */
export interface SharingRef {
  /** 32 bytes. */
  readonly keyId: Uint8Array;
  /** 16 bytes: the group across its refreshes. */
  readonly groupId: Uint8Array;
  /** 16 bytes: this one sharing. */
  readonly sharingId: Uint8Array;
  /** Counted per group, from 1. */
  readonly epoch: bigint;
}

/** 72 bytes, as every request and every stored share begins. */
export function encodeRef({ keyId, groupId, sharingId, epoch }: SharingRef): Uint8Array {
  return concat(keyId, groupId, sharingId, u64be(epoch));
}

/** What every participant receives in one round from one peer. Views: copy what is kept. */
export interface Received {
  readonly broadcast: Uint8Array;
  readonly pairwise: Uint8Array;
}

/** By session address, without our own. */
export type Inbox = ReadonlyMap<number, Received>;

export type Step<R> =
  | {
      readonly kind: 'send';
      /** The same bytes to everybody, in the transcript; a function where they are signed, called after `before`. */
      readonly broadcast?: Uint8Array | (() => Promise<Uint8Array>);
      readonly pairwise?: ReadonlyMap<number, Uint8Array>;
      /** Resolves when what must be durable before these messages leave is durable. A failure ends the session unsent. */
      readonly before?: () => Promise<void>;
    }
  | { readonly kind: 'done'; readonly result: R; readonly before?: () => Promise<void> };

export interface SessionContext {
  readonly sid: Uint8Array;
  /** Our own address. */
  readonly me: number;
  /** Addresses of the others, ascending. */
  readonly peers: readonly number[];
  readonly random: SessionRandom;
  readonly identity: IdentityKey;
  readonly crypto: EnvelopeCrypto;
  /** tr_r after the last complete round. */
  transcript(): Uint8Array;
  /** The OT set-up that this pair uses in this session; null when the two have none in common. */
  setupWith(peer: number): Uint8Array | null;
}

export interface Protocol<R> {
  readonly name: string;
  readonly suite: number;
  /** Null for a key that does not exist yet. */
  readonly sharing: SharingRef | null;
  /** Ascending by address, ourselves included. */
  readonly participants: readonly Participant[];
  /** Canonical bytes of what is being done; two participants with different ones never meet. */
  readonly request: Uint8Array;
  /** By peer address: ids of usable OT set-ups, newest first. */
  readonly setups?: ReadonlyMap<number, readonly Uint8Array[]>;
  /** The long-term share, to hedge the session's randomness with. */
  readonly secret?: Uint8Array;
  begin(context: SessionContext): Machine<R>;
}

/** One run of a protocol. Each step moves the state, so that none can run twice. Throws `MpcError`. */
export interface Machine<R> {
  /** The messages of round 1. */
  start(): Step<R>;
  /** Everybody's messages of `round`, complete and consistent. */
  step(round: number, inbox: Inbox): Step<R>;
  /** For what can't be synchronous: verifying a signature, or locking a pair around the judgement of its messages. */
  around?(round: number, inbox: Inbox, evaluate: () => Step<R>): Promise<Step<R>>;
  /** Wipes every secret. */
  dispose(): void;
}
