/**
 * The fingerprint of the 12 words: HMAC by the root over user, salt and Argon2id of the recovery secret. The words and
 * the secret derived from them have 128 bits, so Argon2id is for parity with passphrases; the HMAC is what keeps a
 * thief of the database from trying anything. At most as many hashes run at once as there are cores, few more wait.
 */

import { concatBytes, KedgeError, utf8ToBytes } from '@kedge/core';
import { hashRaw } from '@node-rs/argon2';
import type { RootKeys } from './root-keys.ts';

/** OWASP's minimum for Argon2id (algorithm 2 of the library): 19 MiB, 2 passes, 1 lane. */
export const RECOVERY_ARGON2 = {
  algorithm: 2,
  memoryCost: 19_456,
  timeCost: 2,
  parallelism: 1,
  outputLen: 32,
} as const;
const WAITING_MAX = 64;

export class WordsHasher {
  readonly #rootKeys: RootKeys;
  readonly #atOnce: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(rootKeys: RootKeys, cores: number) {
    this.#rootKeys = rootKeys;
    this.#atOnce = cores;
  }

  /** 32 bytes. Throws `KedgeError('overloaded')` when too many wait already. */
  async fingerprint(project: string, user: string, salt: Uint8Array, recoverySecret: Uint8Array): Promise<Uint8Array> {
    await this.#enter();
    try {
      const hash = await hashRaw(recoverySecret, { ...RECOVERY_ARGON2, salt });
      return await this.#rootKeys.mac(concatBytes(utf8ToBytes(`kedge/words/v1\0${project}\0${user}\0`), salt, hash));
    } finally {
      this.#leave();
    }
  }

  async #enter(): Promise<void> {
    if (this.#running < this.#atOnce) {
      this.#running += 1;
      return;
    }
    if (this.#waiting.length >= WAITING_MAX)
      throw new KedgeError('overloaded', 'Too many recoveries at once.', { retryAfterS: 5 });
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#running -= 1;
  }
}
