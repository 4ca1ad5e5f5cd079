/**
 * A product becomes a sum: Bob's random b and Alice's a_1, a_2 become c_m + d_m = a_m·b modulo the order of secp256k1,
 * where Alice learns the c_m, Bob the d_m, and neither anything else (the random vector OLE of DKLs23, ePrint 2023/765).
 * Bob goes first with `Multiplier`, Alice answers with `multiply`, Bob finishes. Signing runs it in both directions for
 * each pair. Neither half knows who the peer is: callers wrap what reads the peer's bytes in `blaming`. A failed check has
 * class `poison`, because it may have told the peer a bit of a secret, and is written down before anything is sent.
 */
import { concat, equalBytes, Reader, toInteger, u8, wipe } from '../bytes.ts';
import { badInput, MpcError } from '../errors.ts';
import { mod, secp256k1Group } from '../group.ts';
import { type RandomBytes, randomScalar } from '../random.ts';
import { maskOf, toWords } from './bits.ts';
import {
  type AliceSeeds,
  type BobSeeds,
  CHOICE_BYTES,
  extend,
  type MultiplySession,
  Oracles,
  ROWS,
  receiveExtension,
} from './extension.ts';
import { gadget, selectFromGadget } from './gadget.ts';
import { addSelected, isCanonical, loadScalar, SCALAR_BYTES, storeScalar } from './scalars.ts';

export { type AliceSeeds, type BobSeeds, EXTENSION_BYTES, type MultiplySession } from './extension.ts';

/** In a row of corrections: one for a_1, one for a_2, and one for the input that only the check uses. */
const ROW_BYTES = 3 * SCALAR_BYTES;
/** ã, eta, and the hash of the mu. */
export const CORRECTION_BYTES = ROWS * ROW_BYTES + SCALAR_BYTES + 32;

const order = secp256k1Group.order;

/** Bob. One for each multiplication; `finish` uses it up. */
export class Multiplier {
  /** For Alice; `EXTENSION_BYTES`. */
  readonly message: Uint8Array;
  readonly #otid: Uint8Array;
  readonly #factor = new DataView(new ArrayBuffer(SCALAR_BYTES));
  #pending: { oracles: Oracles; rows: Int32Array; choices: Int32Array; bound: Uint8Array } | null;
  #disposed = false;

  constructor(session: MultiplySession, seeds: BobSeeds, random: RandomBytes) {
    const bits = random('multiply: choice bits', CHOICE_BYTES);
    const choices = toWords(bits);
    wipe(bits);
    this.#otid = session.otid;
    storeScalar(this.#factor, 0, selectFromGadget(session.otid, choices));
    const oracles = new Oracles(session);
    const { rows, bound, message } = extend(oracles, seeds, choices);
    this.#pending = { oracles, rows, choices, bound };
    this.message = message;
  }

  /** b. There until `dispose`. */
  get factor(): bigint {
    if (this.#disposed) throw new MpcError('session_over', 'This multiplication was disposed of.');
    return loadScalar(this.#factor, 0);
  }

  /** d_1, d_2. Throws `bad_encoding`, or `check_failed` with class `poison`; and `session_over` the second time. */
  finish(correction: Uint8Array): readonly [bigint, bigint] {
    const pending = this.#pending;
    this.#pending = null;
    if (!pending) throw new MpcError('session_over', 'This multiplication is already finished.');
    const { oracles, rows, choices, bound } = pending;
    const scalar = oracles.digest;
    const mu = new Uint8Array(ROWS * SCALAR_BYTES);
    try {
      const { corrections, eta, muHash } = readCorrection(correction);
      const [theta1, theta2] = challenges(oracles, bound, corrections);
      const corrected = viewOf(corrections);
      const minusEta = new DataView(new ArrayBuffer(SCALAR_BYTES));
      storeScalar(minusEta, 0, order - toInteger(eta));
      const muView = viewOf(mu);
      const weights = gadget(this.#otid);
      let d1 = 0n;
      let d2 = 0n;
      for (let j = 0; j < ROWS; j++) {
        const chosen = maskOf(choices, j);
        oracles.scalar(j, 0, rows, 4 * j);
        addSelected(scalar, corrected, j * ROW_BYTES, chosen);
        const first = loadScalar(scalar, 0);
        oracles.scalar(j, 1, rows, 4 * j);
        addSelected(scalar, corrected, j * ROW_BYTES + SCALAR_BYTES, chosen);
        const second = loadScalar(scalar, 0);
        oracles.scalar(j, 2, rows, 4 * j);
        addSelected(scalar, corrected, j * ROW_BYTES + 2 * SCALAR_BYTES, chosen);
        addSelected(scalar, minusEta, 0, chosen);
        storeScalar(muView, j * SCALAR_BYTES, (loadScalar(scalar, 0) + theta1 * first + theta2 * second) % order);
        d1 += weights[j]! * first;
        d2 += weights[j]! * second;
      }
      if (!equalBytes(oracles.hash(8, mu), muHash)) {
        throw new MpcError('check_failed', 'The corrections of the multiplication contradict each other.', {
          failure: 'poison',
        });
      }
      return [d1 % order, d2 % order];
    } finally {
      oracles.dispose();
      wipe(rows, choices, mu);
    }
  }

  dispose(): void {
    this.#disposed = true;
    this.#pending?.oracles.dispose();
    wipe(this.#factor, this.#pending?.rows, this.#pending?.choices);
    this.#pending = null;
  }
}

/** Alice, with her inputs a_1, a_2 in 0..order-1: c_1, c_2, and for Bob `CORRECTION_BYTES`. */
export function multiply(
  session: MultiplySession,
  seeds: AliceSeeds,
  extension: Uint8Array,
  inputs: readonly [bigint, bigint],
  random: RandomBytes,
): { readonly message: Uint8Array; readonly shares: readonly [bigint, bigint] } {
  const oracles = new Oracles(session);
  let rows: Int32Array | undefined;
  let flipped: Int32Array | undefined;
  const mu = new Uint8Array(ROWS * SCALAR_BYTES);
  try {
    const [a1, a2] = inputs;
    for (const a of inputs) if (a < 0n || a >= order) throw badInput('An input of the multiplication is not reduced.');
    const extended = receiveExtension(oracles, seeds, extension);
    rows = extended.rows;
    flipped = flip(rows, seeds.delta);
    const checkInput = randomScalar(random, 'multiply: check input', order);
    const corrections = new Uint8Array(ROWS * ROW_BYTES);
    const corrected = viewOf(corrections);
    const pads: bigint[] = [];
    // Reduced before it is sent, always: the integer would carry from one secret into the other.
    const lifted = [a1 + 2n * order, a2 + 2n * order, checkInput + 2n * order] as const;
    for (let j = 0; j < ROWS; j++) {
      for (let m = 0; m < 3; m++) {
        oracles.scalar(j, m, rows, 4 * j);
        const pad = loadScalar(oracles.digest, 0);
        oracles.scalar(j, m, flipped, 4 * j);
        const correction = (pad - loadScalar(oracles.digest, 0) + lifted[m]!) % order;
        storeScalar(corrected, j * ROW_BYTES + m * SCALAR_BYTES, correction);
        pads.push(pad);
      }
    }
    const [theta1, theta2] = challenges(oracles, extended.bound, corrections);
    const muView = viewOf(mu);
    const weights = gadget(session.otid);
    let c1 = 0n;
    let c2 = 0n;
    for (let j = 0; j < ROWS; j++) {
      const first = pads[3 * j]!;
      const second = pads[3 * j + 1]!;
      storeScalar(muView, j * SCALAR_BYTES, (pads[3 * j + 2]! + theta1 * first + theta2 * second) % order);
      c1 += weights[j]! * first;
      c2 += weights[j]! * second;
    }
    const eta = new Uint8Array(SCALAR_BYTES);
    storeScalar(viewOf(eta), 0, (checkInput + theta1 * a1 + theta2 * a2) % order);
    return { message: concat(corrections, eta, oracles.hash(8, mu)), shares: [mod(-c1, order), mod(-c2, order)] };
  } finally {
    oracles.dispose();
    wipe(rows, flipped, mu);
  }
}

/** Every scalar is checked, whatever the choice bits are: a check of the chosen rows only would answer which they are. */
export function readCorrection(message: Uint8Array) {
  const reader = new Reader(message, 'multiplication');
  const corrections = reader.take(ROWS * ROW_BYTES);
  const eta = reader.take(SCALAR_BYTES);
  const muHash = reader.take(32);
  reader.end();
  const view = viewOf(message);
  for (let at = 0; at < ROWS * ROW_BYTES + SCALAR_BYTES; at += SCALAR_BYTES) {
    if (!isCanonical(view, at)) throw reader.malformed('a scalar is not canonical');
  }
  return { corrections, eta, muHash };
}

/** theta_1 and theta_2, fixed by everything that was sent before them. */
function challenges(oracles: Oracles, bound: Uint8Array, corrections: Uint8Array): readonly [bigint, bigint] {
  const w = oracles.hash(7, bound, corrections);
  return [toInteger(oracles.hash(6, u8(1), w)) % order, toInteger(oracles.hash(6, u8(2), w)) % order];
}

/** q_j ⊕ Delta for every row. */
function flip(rows: Int32Array, delta: Uint8Array): Int32Array {
  const difference = toWords(delta);
  const flipped = rows.map((word, at) => word ^ difference[at & 3]!);
  wipe(difference);
  return flipped;
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
