/**
 * Randomness that survives one bad source (docs/mpc.md, "Randomness"): the operating system's, hedged with the long-term
 * share, a counter of the device, bytes taken when the process started, and the clock, all bound to the session. Each
 * purpose gives its bytes once; a second request for it is a bug, because it would be a nonce used twice.
 */
import { expand, extract } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concat, toInteger, u64be, utf8, wipe } from './bytes.ts';

/** Where a session takes its randomness from. The caller composes it; nothing here reads the machine by itself. */
export interface Entropy {
  /** From the operating system: `crypto.getRandomValues` or `node:crypto`. */
  readonly randomBytes: (length: number) => Uint8Array;
  /** 16 bytes taken once, when the process started: a machine that is cloned later differs in the session id at least. */
  readonly processStart: Uint8Array;
  /** Higher with every call, on this device. */
  readonly counter: () => bigint;
  /** A clock of high resolution. */
  readonly nowNs: () => bigint;
}

/** An `Entropy` over the given source; made once per process. */
export function createEntropy(randomBytes: (length: number) => Uint8Array, nowNs: () => bigint): Entropy {
  let count = 0n;
  return { randomBytes, processStart: randomBytes(16), counter: () => ++count, nowNs };
}

/**
 * Fresh bytes for a purpose that was not asked for before, to keep and to wipe: `SessionRandom.bytes`, where the caller puts
 * peer and direction before the purpose.
 */
export type RandomBytes = (purpose: string, length: number) => Uint8Array;

/** In 1..order-1, from 48 bytes. */
export function randomScalar(random: RandomBytes, purpose: string, order: bigint): bigint {
  const bytes = random(purpose, 48);
  const value = toInteger(bytes) % order;
  wipe(bytes);
  return value === 0n ? randomScalar(random, `${purpose}, again`, order) : value;
}

export class SessionRandom {
  #key: Uint8Array;
  readonly #given = new Set<string>();

  /** `salt` is the session id, or fresh random bytes before there is one; `share` the long-term secret, if any. */
  constructor(entropy: Entropy, salt: Uint8Array, share?: Uint8Array) {
    const material = concat(
      entropy.randomBytes(64),
      share ?? new Uint8Array(0),
      u64be(entropy.counter()),
      entropy.processStart,
      u64be(BigInt.asUintN(64, entropy.nowNs())),
    );
    this.#key = extract(sha256, material, salt);
    wipe(material);
  }

  /** From here on the bytes depend on what was received too. */
  mix(...received: readonly Uint8Array[]): void {
    const material = concat(...received);
    const next = extract(sha256, material, this.#key);
    wipe(material, this.#key);
    this.#key = next;
  }

  /** At most 8,160 bytes (RFC 5869). Throws when `purpose` was asked for before. */
  bytes(purpose: string, length: number): Uint8Array {
    if (this.#given.has(purpose)) throw new Error(`randomness for "${purpose}" was already used`);
    this.#given.add(purpose);
    return expand(sha256, this.#key, utf8(`kedge/v1/random/${purpose}`), length);
  }

  /** In 1..order-1: 48 bytes reduced, so the bias is below 2^-127. */
  scalar(purpose: string, order: bigint): bigint {
    return randomScalar((again, length) => this.bytes(again, length), purpose, order);
  }

  dispose(): void {
    wipe(this.#key);
  }
}
