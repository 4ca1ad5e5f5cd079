/**
 * SHA-256 (FIPS 180-4) of messages that all begin with the same 64 bytes: the state after that block is kept, so that an
 * oracle call of the OT extension costs one compression and allocates nothing. A multiplication makes 3,744 such calls,
 * and they are most of its time. Tagged hashes do not come here, they belong to `hash.ts`. Everything this keeps is
 * secret or derived from secrets until `dispose`.
 */
import { wipe } from '../bytes.ts';

export class PrefixedSha256 {
  readonly #start = new Int32Array(8);
  readonly #state = new Int32Array(8);
  readonly #schedule = new Int32Array(64);
  readonly #block = new Uint8Array(64);
  readonly #blockView = new DataView(this.#block.buffer);
  readonly #digest = new Uint8Array(32);
  /** What `short` computed last, big-endian. Overwritten by the next call. */
  readonly digest = new DataView(this.#digest.buffer);

  /** `prefix` is 64 bytes. */
  constructor(prefix: Uint8Array) {
    if (prefix.length !== 64) throw new Error('the prefix must be one block');
    this.#start.set(initial);
    this.#block.set(prefix);
    this.#compressBlock(this.#start, this.#blockView, 0);
  }

  /**
   * prefix ‖ `head` in four bytes ‖ `count` ≤ 12 words from `words[at]`, each as four bytes, low byte first.
   * The digest is left in `digest`.
   */
  short(head: number, words: Int32Array, at: number, count: number): void {
    const schedule = this.#schedule;
    schedule[0] = head;
    for (let k = 0; k < count; k++) {
      const word = words[at + k]!;
      schedule[k + 1] = (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
    }
    schedule[count + 1] = 0x80000000;
    for (let k = count + 2; k < 15; k++) schedule[k] = 0;
    schedule[15] = (64 + 4 + 4 * count) * 8;
    const state = this.#state;
    compress(this.#start, schedule, state);
    const digest = this.digest;
    for (let k = 0; k < 8; k++) digest.setInt32(4 * k, state[k]!);
  }

  /** prefix ‖ parts, of any length below 2^28. A fresh array. */
  long(...parts: readonly Uint8Array[]): Uint8Array {
    const state = this.#state;
    const block = this.#block;
    state.set(this.#start);
    let filled = 0;
    let length = 64;
    for (const part of parts) {
      length += part.length;
      const head = Math.min((64 - filled) & 63, part.length);
      block.set(part.subarray(0, head), filled);
      filled += head;
      if (filled === 64) {
        this.#compressBlock(state, this.#blockView, 0);
        filled = 0;
      }
      let at = head;
      if (part.length - at >= 64) {
        const view = new DataView(part.buffer, part.byteOffset, part.length);
        for (; at + 64 <= part.length; at += 64) this.#compressBlock(state, view, at);
      }
      block.set(part.subarray(at), filled);
      filled += part.length - at;
    }
    block[filled++] = 0x80;
    if (filled > 56) {
      block.fill(0, filled);
      this.#compressBlock(state, this.#blockView, 0);
      filled = 0;
    }
    block.fill(0, filled);
    this.#blockView.setUint32(60, length * 8);
    this.#compressBlock(state, this.#blockView, 0);
    const digest = new Uint8Array(32);
    const view = new DataView(digest.buffer);
    for (let k = 0; k < 8; k++) view.setInt32(4 * k, state[k]!);
    return digest;
  }

  /** No call after this one means anything. */
  dispose(): void {
    wipe(this.#start, this.#state, this.#schedule, this.#block, this.#digest);
  }

  #compressBlock(state: Int32Array, view: DataView, at: number): void {
    const schedule = this.#schedule;
    for (let k = 0; k < 16; k++) schedule[k] = view.getInt32(at + 4 * k);
    compress(state, schedule, state);
  }
}

const initial = Int32Array.of(
  0x6a09e667,
  0xbb67ae85,
  0x3c6ef372,
  0xa54ff53a,
  0x510e527f,
  0x9b05688c,
  0x1f83d9ab,
  0x5be0cd19,
);

// biome-ignore format: eight to a line, as FIPS 180-4 prints them.
const constants = Int32Array.of(
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
);

/** The first 16 words of `schedule` are the block; the other 48 are filled in here. `to` may be `from`. */
function compress(from: Int32Array, schedule: Int32Array, to: Int32Array): void {
  for (let t = 16; t < 64; t++) {
    const w15 = schedule[t - 15]!;
    const w2 = schedule[t - 2]!;
    const s0 = ((w15 >>> 7) | (w15 << 25)) ^ ((w15 >>> 18) | (w15 << 14)) ^ (w15 >>> 3);
    const s1 = ((w2 >>> 17) | (w2 << 15)) ^ ((w2 >>> 19) | (w2 << 13)) ^ (w2 >>> 10);
    schedule[t] = (schedule[t - 16]! + s0 + schedule[t - 7]! + s1) | 0;
  }
  let a = from[0]!;
  let b = from[1]!;
  let c = from[2]!;
  let d = from[3]!;
  let e = from[4]!;
  let f = from[5]!;
  let g = from[6]!;
  let h = from[7]!;
  for (let t = 0; t < 64; t++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const first = (h + s1 + (g ^ (e & (f ^ g))) + constants[t]! + schedule[t]!) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const second = (s0 + ((a & b) | (c & (a | b)))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + first) | 0;
    d = c;
    c = b;
    b = a;
    a = (first + second) | 0;
  }
  to[0] = (from[0]! + a) | 0;
  to[1] = (from[1]! + b) | 0;
  to[2] = (from[2]! + c) | 0;
  to[3] = (from[3]! + d) | 0;
  to[4] = (from[4]! + e) | 0;
  to[5] = (from[5]! + f) | 0;
  to[6] = (from[6]! + g) | 0;
  to[7] = (from[7]! + h) | 0;
}
