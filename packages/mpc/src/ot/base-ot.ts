/**
 * The 128 base OTs of a set-up, one direction: batched endemic OT (Masny and Rindal, ePrint 2019/706, in batches as in
 * ePrint 2021/682). Bob sends one point and Alice 256, in either order, and Bob ends with a pair of keys for each OT, Alice
 * with the key that her bit of Delta chose. Nobody may know a discrete logarithm of a point that was hashed, or Alice would
 * have both keys: hence RFC 9380, and never a hash times the generator. All of it is used up by `finish`.
 */
import { concat, Reader, toInteger, u8, wipe } from '../bytes.ts';
import { MpcError } from '../errors.ts';
import type { Group, Point } from '../group.ts';
import { taggedHash } from '../hash.ts';
import { type RandomBytes, randomScalar } from '../random.ts';
import { tags } from '../tags.ts';
import { maskOf, toWords } from './bits.ts';
import { type AliceSeeds, BASE_OTS, type BobSeeds } from './extension.ts';
import { hashToPoints } from './hash-to-curve.ts';
import { storeScalar } from './scalars.ts';

/** Y. */
export const BASE_OT_SENDER_BYTES = 33;
/** r_{i,0} ‖ r_{i,1} for each OT. */
export const BASE_OT_RECEIVER_BYTES = BASE_OTS * 2 * 33;

/** Bob, who will hold both keys of each OT. `group` is secp256k1. */
export class BaseOtSender {
  readonly message: Uint8Array;
  readonly #group: Group;
  readonly #otid: Uint8Array;
  #secret: Uint8Array | null;

  constructor(group: Group, otid: Uint8Array, random: RandomBytes) {
    const y = randomScalar(random, 'base OT: y', group.order);
    this.#group = group;
    this.#otid = otid;
    this.#secret = group.encodeScalar(y);
    this.message = group.encode(group.base(y));
  }

  /** Takes Alice's points. Throws `bad_encoding` before the first key is computed. */
  finish(points: Uint8Array): BobSeeds {
    const secret = this.#secret;
    this.#secret = null;
    if (!secret) throw new MpcError('session_over', 'This base OT is already finished.');
    try {
      const group = this.#group;
      const reader = new Reader(points, 'base OT');
      const received: { readonly bytes: Uint8Array; readonly point: Point }[] = [];
      for (let k = 0; k < 2 * BASE_OTS; k++) {
        const bytes = reader.take(33);
        received.push({ bytes, point: group.decode(bytes) });
      }
      reader.end();
      const asked = received.map((_, k) => ({ i: k >>> 1, choice: k & 1, other: received[k ^ 1]!.bytes }));
      const hashed = hashAll(group, this.#otid, asked);
      const brackets = received.map(({ point }, k) => {
        const bracket = group.add(point, hashed[k]!);
        if (group.isIdentity(bracket)) throw reader.malformed('a point cancels its hash');
        return bracket;
      });

      const y = toInteger(secret);
      const pairs = new Uint8Array(2 * BASE_OTS * 32);
      brackets.forEach((bracket, k) => {
        const pair = [received[k & ~1]!.bytes, received[k | 1]!.bytes] as const;
        const shared = group.mulSecret(bracket, y);
        putKey(pairs, k, group, { otid: this.#otid, i: k >>> 1, choice: k & 1, y: this.message, pair, shared });
      });
      return { pairs };
    } finally {
      wipe(secret);
    }
  }

  dispose(): void {
    wipe(this.#secret ?? undefined);
    this.#secret = null;
  }
}

/** Alice, whose Delta chooses. `group` is secp256k1. */
export class BaseOtReceiver {
  readonly message: Uint8Array;
  readonly #group: Group;
  readonly #otid: Uint8Array;
  #pending: { readonly delta: Uint8Array; readonly exponents: Uint8Array } | null;

  constructor(group: Group, otid: Uint8Array, random: RandomBytes) {
    const delta = random('base OT: Delta', BASE_OTS / 8);
    const choices = toWords(delta);
    const exponents = new Uint8Array(BASE_OTS * 32);
    const exponentsView = new DataView(exponents.buffer);
    const message = new Uint8Array(BASE_OT_RECEIVER_BYTES);
    const asked: Asked[] = [];
    for (let i = 0; i < BASE_OTS; i++) {
      const w = randomScalar(random, `base OT: w ${i}`, group.order);
      asked.push({ i, choice: maskOf(choices, i) & 1, other: group.encode(group.base(w)) });
    }
    const hashed = hashAll(group, otid, asked);
    for (let i = 0; i < BASE_OTS; i++) {
      const mask = maskOf(choices, i);
      const b = randomScalar(random, `base OT: b ${i}`, group.order);
      const v = asked[i]!.other;
      const u = group.encode(group.add(group.base(b), group.negate(hashed[i]!)));
      // The same steps for either choice; only the masks know which of the two comes first.
      for (let k = 0; k < 33; k++) {
        const swapped = (u[k]! ^ v[k]!) & mask;
        message[66 * i + k] = u[k]! ^ swapped;
        message[66 * i + 33 + k] = v[k]! ^ swapped;
      }
      storeScalar(exponentsView, 32 * i, b);
    }
    wipe(choices);
    this.#group = group;
    this.#otid = otid;
    this.#pending = { delta, exponents };
    this.message = message;
  }

  /** Takes Bob's Y. Throws `bad_encoding`. */
  finish(senderKey: Uint8Array): AliceSeeds {
    const pending = this.#pending;
    this.#pending = null;
    if (!pending) throw new MpcError('session_over', 'This base OT is already finished.');
    const { delta, exponents } = pending;
    const choices = toWords(delta);
    const seeds = new Uint8Array(BASE_OTS * 32);
    try {
      const group = this.#group;
      const key = group.decode(senderKey);
      for (let i = 0; i < BASE_OTS; i++) {
        const pair = [66 * i, 66 * i + 33].map((at) => this.message.subarray(at, at + 33)) as [Uint8Array, Uint8Array];
        const shared = group.mulSecret(key, toInteger(exponents.subarray(32 * i, 32 * i + 32)));
        const choice = maskOf(choices, i) & 1;
        putKey(seeds, i, group, { otid: this.#otid, i, choice, y: senderKey, pair, shared });
      }
      return { delta, seeds };
    } catch (error) {
      wipe(delta, seeds);
      throw error;
    } finally {
      wipe(choices, exponents);
    }
  }

  dispose(): void {
    wipe(this.#pending?.delta, this.#pending?.exponents);
    this.#pending = null;
  }
}

interface Asked {
  readonly i: number;
  readonly choice: number;
  /** The point that stands at the other choice. */
  readonly other: Uint8Array;
}

function hashAll(group: Group, otid: Uint8Array, asked: readonly Asked[]): Point[] {
  const messages = asked.map(({ i, choice, other }) => concat(otid, u8(i), u8(choice), other));
  const points = hashToPoints(group, messages, `kedge/v1/${tags.baseOtPoint}`);
  wipe(...messages);
  return points;
}

function putKey(
  keys: Uint8Array,
  at: number,
  group: Group,
  of: {
    readonly otid: Uint8Array;
    readonly i: number;
    readonly choice: number;
    readonly y: Uint8Array;
    readonly pair: readonly [Uint8Array, Uint8Array];
    readonly shared: Point;
  },
): void {
  const shared = group.encode(of.shared);
  const key = taggedHash(tags.baseOtKey, of.otid, u8(of.i), u8(of.choice), of.y, ...of.pair, shared);
  keys.set(key, 32 * at);
  wipe(shared, key);
}
