/**
 * The OT extension of docs/mpc.md: 128 base OTs become 416 correlated ones for one multiplication (SoftSpokenOT, ePrint
 * 2022/192, with k = 1, which is the repaired KOS protocol). Bob has the choice bits and both seeds of every base OT;
 * Alice has Delta and the seeds that Delta chose. Afterwards t_j = q_j ⊕ (β_j ? Delta : 0) for each row j.
 * A Bob who uses other choice bits in column i passes the check only if bit i of Delta is 0, so that one failure tells him
 * a bit: the caller must make it final.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { concat, equalBytes, Reader, u8, utf8, wipe } from '../bytes.ts';
import { MpcError } from '../errors.ts';
import { taggedHash } from '../hash.ts';
import { tags } from '../tags.ts';
import { fromWords, maskOf, toWords, transpose } from './bits.ts';
import { addSelected, ELEMENT_WORDS, shifts } from './gf128.ts';
import { PrefixedSha256 } from './sha256.ts';

/** Base OTs: the columns of the extension, and the strength of Delta. */
export const BASE_OTS = 128;
/** OTs for one multiplication: 256 bits of the order and twice 80 of statistical security. */
export const ROWS = 416;
/** Choice bits of one extension: the rows, and 128 that mask them in the check. In bytes 68. */
const CHOICE_WORDS = (ROWS + 128) / 32;
export const CHOICE_BYTES = 4 * CHOICE_WORDS;
/** u, x̃ and the hash of the t̃. */
export const EXTENSION_BYTES = BASE_OTS * CHOICE_BYTES + 16 + 32;

/** What Bob keeps of a set-up: k_{i,0} ‖ k_{i,1} for every base OT, 32 bytes each. */
export interface BobSeeds {
  readonly pairs: Uint8Array;
}

/** What Alice keeps of it: Delta in 16 bytes, and the k_i that it chose. */
export interface AliceSeeds {
  readonly delta: Uint8Array;
  readonly seeds: Uint8Array;
}

/** One multiplication, between the session addresses `bob` and `alice`, under the set-up `otid`. */
export interface MultiplySession {
  readonly sid: Uint8Array;
  readonly otid: Uint8Array;
  readonly bob: number;
  readonly alice: number;
}

/** The rows, four words each, and h ‖ x̃ ‖ h̃t, to which the rest of the multiplication is bound. */
export interface Extended {
  readonly rows: Int32Array;
  readonly bound: Uint8Array;
}

/** Bob's half. `choices` is x: 416 bits β, then 128 of mask. */
export function extend(
  oracles: Oracles,
  { pairs }: BobSeeds,
  choices: Int32Array,
): Extended & { readonly message: Uint8Array } {
  const keys = toWords(pairs);
  const zeros = new Int32Array(BASE_OTS * CHOICE_WORDS);
  const u = new Int32Array(BASE_OTS * CHOICE_WORDS);
  for (let i = 0; i < BASE_OTS; i++) {
    const at = i * CHOICE_WORDS;
    oracles.expand(i, keys, 16 * i, zeros, at);
    oracles.expand(i, keys, 16 * i + 8, u, at);
    for (let k = 0; k < CHOICE_WORDS; k++) u[at + k] = u[at + k]! ^ zeros[at + k]! ^ choices[k]!;
  }
  const columns = fromWords(u);
  const h = oracles.hash(3, columns);
  const weights = checkWeights(oracles, h);
  const xt = new Int32Array(ELEMENT_WORDS);
  combine(weights, choices, 0, xt, 0);
  const tt = new Int32Array(BASE_OTS * ELEMENT_WORDS);
  for (let i = 0; i < BASE_OTS; i++) combine(weights, zeros, i * CHOICE_WORDS, tt, i * ELEMENT_WORDS);
  const ttBytes = fromWords(tt);
  const ht = oracles.hash(5, ttBytes);
  const rows = transpose(zeros, BASE_OTS, CHOICE_WORDS, ROWS);
  wipe(keys, zeros, tt, ttBytes);
  const xtBytes = fromWords(xt);
  return { rows, bound: concat(h, xtBytes, ht), message: concat(columns, xtBytes, ht) };
}

/** Alice's half. Throws `check_failed`, class `poison`, when Bob's columns do not agree with each other. */
export function receiveExtension(oracles: Oracles, { delta, seeds }: AliceSeeds, message: Uint8Array): Extended {
  const reader = new Reader(message, 'OT extension');
  const columns = reader.take(BASE_OTS * CHOICE_BYTES);
  const xtBytes = reader.take(16);
  const ht = reader.take(32);
  reader.end();

  const u = toWords(columns);
  const xt = toWords(xtBytes);
  const h = oracles.hash(3, columns);
  const weights = checkWeights(oracles, h);
  const choice = toWords(delta);
  const keys = toWords(seeds);
  const q = new Int32Array(BASE_OTS * CHOICE_WORDS);
  const qt = new Int32Array(BASE_OTS * ELEMENT_WORDS);
  let qtBytes: Uint8Array | undefined;
  try {
    for (let i = 0; i < BASE_OTS; i++) {
      const at = i * CHOICE_WORDS;
      const chosen = maskOf(choice, i);
      oracles.expand(i, keys, 8 * i, q, at);
      for (let k = 0; k < CHOICE_WORDS; k++) q[at + k] = q[at + k]! ^ (u[at + k]! & chosen);
      const to = i * ELEMENT_WORDS;
      combine(weights, q, at, qt, to);
      for (let k = 0; k < ELEMENT_WORDS; k++) qt[to + k] = qt[to + k]! ^ (xt[k]! & chosen);
    }
    qtBytes = fromWords(qt);
    if (!equalBytes(oracles.hash(5, qtBytes), ht)) {
      throw new MpcError('check_failed', 'The columns of the OT extension contradict each other.', {
        failure: 'poison',
      });
    }
    return { rows: transpose(q, BASE_OTS, CHOICE_WORDS, ROWS), bound: concat(h, xtBytes, ht) };
  } finally {
    wipe(choice, keys, q, qt, qtBytes);
  }
}

/**
 * The random oracles of one multiplication. Each is SHA-256 of PFX, a number of one byte that tells it from the others, and
 * fields of fixed length, where PFX binds session, set-up and direction.
 */
export class Oracles {
  readonly #sha256: PrefixedSha256;
  /** Where `scalar` leaves its result, 32 bytes big-endian; an integer below 2^256. */
  readonly digest: DataView;

  constructor({ sid, otid, bob, alice }: MultiplySession) {
    const session = taggedHash(tags.multiplySession, sid, otid, u8(bob), u8(alice));
    this.#sha256 = new PrefixedSha256(concat(sha256(utf8(`kedge/v1/${tags.otOracles}`)), session));
    this.digest = this.#sha256.digest;
  }

  /** PRG: 68 bytes as 17 words to `to[at]`, from the key in 8 words of `keys`, for column i. */
  expand(i: number, keys: Int32Array, keyAt: number, to: Int32Array, at: number): void {
    for (let part = 0; part < 3; part++) {
      this.#sha256.short((1 << 24) | (i << 8) | part, keys, keyAt, 8);
      const words = Math.min(8, CHOICE_WORDS - 8 * part);
      for (let k = 0; k < words; k++) to[at + 8 * part + k] = this.digest.getInt32(4 * k, true);
    }
  }

  /**
   * RO: for entry m of row j, from the four words of `rows` at `at`. It is taken modulo q without being any wider than q,
   * which costs nothing for secp256k1, whose q is within a factor 1 - 2^-127 of 2^256. Not so for another curve.
   */
  scalar(j: number, m: number, rows: Int32Array, at: number): void {
    this.#sha256.short((2 << 24) | (j << 8) | m, rows, at, 4);
  }

  /** The oracles that are called a few times only: 3 to 8. */
  hash(number: number, ...parts: readonly Uint8Array[]): Uint8Array {
    return this.#sha256.long(u8(number), ...parts);
  }

  dispose(): void {
    this.#sha256.dispose();
  }
}

/** χ_0, χ_1, χ_2 in all their 128 shifts and χ_3 in 32: one weight for each of the 416 bits. Public, like h. */
function checkWeights(oracles: Oracles, h: Uint8Array): Int32Array {
  const weights = new Int32Array(ROWS * ELEMENT_WORDS);
  for (let m = 0; 128 * m < ROWS; m++) {
    const chi = toWords(oracles.hash(4, u8(m), h).subarray(0, 16));
    weights.set(shifts(chi, Math.min(128, ROWS - 128 * m)), 128 * m * ELEMENT_WORDS);
  }
  return weights;
}

/** R(v): the 416 bits weighed, plus the last 128 as they are. */
function combine(weights: Int32Array, vectors: Int32Array, at: number, to: Int32Array, toAt: number): void {
  const sum = vectors.slice(at + ROWS / 32, at + CHOICE_WORDS);
  addSelected(sum, weights, vectors, at, ROWS / 32);
  to.set(sum, toAt);
  wipe(sum);
}
