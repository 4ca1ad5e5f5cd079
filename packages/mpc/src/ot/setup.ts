/**
 * The OT set-up of one pair, both directions: base OTs (docs/mpc.md, "Pairwise set-up"), then one multiplication with
 * throw-away inputs that are shown and checked, so that a broken set-up is found here and not in a signature. A failure is
 * the peer's fault and is counted, never poison: this set-up was not used for anything yet.
 */
import { concat, Reader, u8 } from '../bytes.ts';
import { MpcError } from '../errors.ts';
import { type Group, mod } from '../group.ts';
import { taggedHash } from '../hash.ts';
import type { OtSetup } from '../key-share.ts';
import type { SessionRandom } from '../random.ts';
import { tags } from '../tags.ts';
import { BASE_OT_RECEIVER_BYTES, BASE_OT_SENDER_BYTES, BaseOtReceiver, BaseOtSender } from './base-ot.ts';
import { type AliceSeeds, type BobSeeds, Multiplier, type MultiplySession, multiply } from './multiply.ts';

export interface PairSetupOptions {
  readonly group: Group;
  /** 32 bytes, of this pair alone: the id of the session that makes it, or `setupId` where the session makes several. */
  readonly id: Uint8Array;
  /** Indices in the sharing that the set-up belongs to. */
  readonly own: number;
  readonly peer: number;
  readonly random: SessionRandom;
}

/** Of one pair in a session that makes many set-ups: poison is kept by id, and must not reach the other pairs. */
export function setupId(sid: Uint8Array, a: number, b: number): Uint8Array {
  return taggedHash(tags.otPair, sid, u8(Math.min(a, b)), u8(Math.max(a, b)));
}

/** otid: the id of one direction of a set-up. `bob` and `alice` are indices. */
export function setupDirection(id: Uint8Array, bob: number, alice: number): Uint8Array {
  return taggedHash(tags.otSetup, id, u8(bob), u8(alice));
}

export class PairSetup {
  static readonly OFFER_BYTES = BASE_OT_SENDER_BYTES + BASE_OT_RECEIVER_BYTES;
  readonly #options: PairSetupOptions;
  readonly #sender: BaseOtSender;
  readonly #receiver: BaseOtReceiver;
  #pairs: BobSeeds | null = null;
  #chosen: AliceSeeds | null = null;
  #multiplier: Multiplier | null = null;
  #inputs: readonly [bigint, bigint] = [0n, 0n];
  #shares: readonly [bigint, bigint] = [0n, 0n];
  #products: readonly [bigint, bigint] = [0n, 0n];

  constructor(options: PairSetupOptions) {
    this.#options = options;
    const { group, id, own, peer } = options;
    this.#sender = new BaseOtSender(group, setupDirection(id, own, peer), this.#random('base'));
    this.#receiver = new BaseOtReceiver(group, setupDirection(id, peer, own), this.#random('base'));
  }

  /** First flight: our sender key and our receiver's points. */
  offer(): Uint8Array {
    return concat(this.#sender.message, this.#receiver.message);
  }

  /** The peer's offer gives both directions; answers with the extension of the self-test. */
  answer(offer: Uint8Array): Uint8Array {
    const reader = new Reader(offer, 'base OT');
    const key = reader.take(BASE_OT_SENDER_BYTES);
    const points = reader.take(BASE_OT_RECEIVER_BYTES);
    reader.end();
    this.#chosen = this.#receiver.finish(key);
    this.#pairs = this.#sender.finish(points);
    const { own, peer } = this.#options;
    this.#multiplier = new Multiplier(this.#session(own, peer), this.#pairs, this.#random('test'));
    return this.#multiplier.message;
  }

  correct(extension: Uint8Array): Uint8Array {
    const { group, own, peer, random } = this.#options;
    this.#inputs = [
      random.scalar(`${this.#name} test input 1`, group.order),
      random.scalar(`${this.#name} test input 2`, group.order),
    ];
    const session = this.#session(peer, own);
    const { message, shares } = faultNotPoison(() =>
      multiply(session, this.#chosen!, extension, this.#inputs, this.#random('test correction')),
    );
    this.#shares = shares;
    return message;
  }

  /** After both checks passed on our side: what we put in and got out, of this test only. */
  reveal(correction: Uint8Array): Uint8Array {
    this.#products = faultNotPoison(() => this.#multiplier!.finish(correction));
    const { group } = this.#options;
    const shown = [...this.#inputs, ...this.#shares, this.#multiplier!.factor, ...this.#products];
    return concat(...shown.map((scalar) => group.encodeScalar(scalar)));
  }

  check(revealed: Uint8Array): void {
    const { order } = this.#options.group;
    const reader = new Reader(revealed, 'self-test');
    const next = () => this.#options.group.decodeScalar(reader.take(32));
    const theirs = {
      inputs: [next(), next()] as const,
      shares: [next(), next()] as const,
      factor: next(),
      products: [next(), next()] as const,
    };
    reader.end();
    const factor = this.#multiplier!.factor;
    for (const at of [0, 1] as const) {
      const here = mod(this.#products[at] + theirs.shares[at]! - factor * theirs.inputs[at]!, order);
      const there = mod(this.#shares[at] + theirs.products[at]! - theirs.factor * this.#inputs[at], order);
      if (here !== 0n || there !== 0n) throw setupFailed();
    }
  }

  /** Once, after `check`. */
  take(): OtSetup {
    const { id, own, peer } = this.#options;
    const setup = { id, own, peer, delta: this.#chosen!.delta, chosen: this.#chosen!.seeds, pairs: this.#pairs!.pairs };
    this.#pairs = null;
    this.#chosen = null;
    return setup;
  }

  dispose(): void {
    this.#sender.dispose();
    this.#receiver.dispose();
    this.#multiplier?.dispose();
    this.#pairs?.pairs.fill(0);
    this.#chosen?.delta.fill(0);
    this.#chosen?.seeds.fill(0);
    this.#inputs = this.#shares = this.#products = [0n, 0n];
  }

  get #name(): string {
    return `set-up ${this.#options.own}-${this.#options.peer}`;
  }

  #random(part: string): (purpose: string, length: number) => Uint8Array {
    return (purpose, length) => this.#options.random.bytes(`${this.#name} ${part} ${purpose}`, length);
  }

  #session(bob: number, alice: number): MultiplySession {
    const { id } = this.#options;
    return { sid: taggedHash(tags.otSelfTest, id), otid: setupDirection(id, bob, alice), bob, alice };
  }
}

function setupFailed(): MpcError {
  return new MpcError('setup_failed', 'The OT set-up with a peer does not work.', { failure: 'peer_fault' });
}

function faultNotPoison<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw error instanceof MpcError && error.failure === 'poison' ? setupFailed() : error;
  }
}
