/** P14: checking recovery words, which is Argon2id and one HMAC, against the bare library at as many at once as cores. */

import { mkdtempSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { hashRaw } from '@node-rs/argon2';
import { openSoftware } from '../packages/enclave/src/software.ts';
import { RECOVERY_ARGON2, WordsHasher } from '../packages/enclave/src/words.ts';
import { measurePairs, type Question, single } from './measure.ts';
import { random } from './vault.ts';

const LOGINS = 500;
const BATCH = 16;
const MIB = 2 ** 20;

export const words: Question = {
  name: 'words',
  async run() {
    const cores = availableParallelism();
    const rootKeys = await openSoftware({
      file: join(mkdtempSync(join(tmpdir(), 'kedge-bench-words-')), 'root'),
      create: true,
    });
    const hasher = new WordsHasher(rootKeys, cores);
    const [salt, secret] = [random(16), random(32)];
    const queued = async (count: number, login: () => Promise<unknown>, atOnce: number) => {
      let left = count;
      await Promise.all(
        Array.from({ length: atOnce }, async () => {
          while (left-- > 0) await login();
        }),
      );
    };
    // More callers than cores on our side: the queue in front is part of what is measured.
    const ours = (count: number) => queued(count, () => hasher.fingerprint('bench', 'user', salt, secret), 4 * cores);
    const rate = await measurePairs({
      id: 'P14',
      what: `words checked, ${cores} at once`,
      count: BATCH,
      unit: 'per s',
      bar: { atLeast: 0.9 },
      ours: () => ours(BATCH),
      reference: () => queued(BATCH, () => hashRaw(secret, { ...RECOVERY_ARGON2, salt }), cores),
    });
    await ours(LOGINS);
    const memory = single({
      id: 'P14',
      what: `resident memory after ${LOGINS} queued logins`,
      value: process.memoryUsage.rss() / MIB,
      unit: 'MiB',
      bar: { atMost: (cores * RECOVERY_ARGON2.memoryCost) / 1_024 + 150 },
    });
    await rootKeys.close();
    return [rate, memory];
  },
};
