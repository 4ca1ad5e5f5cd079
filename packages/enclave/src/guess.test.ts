/**
 * The attack G1: guess an account's words as often and as parallel as the wire allows. At most ten tries an hour are
 * looked at; the rest costs the enclave no hash and tells the attacker nothing, not even for the right words. A try is
 * charged before it is looked at, so an enclave that is killed in between has charged it.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeCbor, fromBase64Url, recoveryInfo, sealTo } from '@kedge/core';
import { connectEnclave } from './client.ts';
import { listen } from './listener.ts';
import {
  createTestKey,
  createTestUser,
  openTestEnclave,
  proveFor,
  type TestEnclave,
  type TestKey,
} from './testing/index.ts';

const project = '0198a000-0000-7000-8000-000000000001';
const TRIES = 10_000;
const CONNECTIONS = 8;
const AT_ONCE = 100;

test('of ten thousand guesses over eight connections ten are looked at, exactly', async (t) => {
  const opened = await openTestEnclave();
  const user = await createTestUser(opened, project);
  const address = { socket: join(mkdtempSync(join(tmpdir(), 'kedge-guess-')), 'enclave.sock') };
  const bugs: unknown[] = [];
  const server = await listen(opened.enclave, address, (error) => bugs.push(error));
  t.after(() => server.close());

  const startedMs = performance.now();
  const outcomes = new Map<string, number>();
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const { enclave, close } = connectEnclave(address);
      const guess = await sealGuess(opened, user.user, new Uint8Array(randomBytes(32)));
      let left = TRIES / CONNECTIONS;
      const attack = async () => {
        while (left-- > 0) {
          const { code } = await enclave.recover(await guess()).then(
            () => ({ code: 'recovered' }),
            (error: { code: string }) => error,
          );
          outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, attack));
      close();
    }),
  );
  t.diagnostic(
    `${JSON.stringify(Object.fromEntries(outcomes))} in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`,
  );
  assert.deepEqual(Object.fromEntries(outcomes), { recovery_refused: 10, recovery_limited: TRIES - 10 });
  assert.deepEqual(bugs, []);
  await assert.rejects(user.recover(user.recoverySecret), { code: 'recovery_limited' });
});

test('an enclave killed between charging a try and looking at it never gives the try back', async () => {
  let writes = 0;
  let dieAt = Number.POSITIVE_INFINITY;
  const mayDie = () => {
    writes += 1;
    if (writes >= dieAt) throw new Error('killed');
  };
  const opened = await openTestEnclave({
    // The mirror closes when the charge is durable: that is just before the words are looked at.
    wrapMirror: (mirror) => ({
      ...mirror,
      write(record) {
        mirror.write(record);
        if (!record.open) mayDie();
      },
    }),
  });
  const user = await createTestUser(opened, project);
  for (let kill = 1; kill <= 10; kill++) {
    dieAt = writes + 1;
    await assert.rejects(user.recover(user.recoverySecret), /killed/, 'nobody learns whether the words were right');
    dieAt = Number.POSITIVE_INFINITY;
    await opened.restart();
  }
  await assert.rejects(user.recover(user.recoverySecret), { code: 'recovery_limited' });
});

/** The same sealed guess in a new proof each time: all that an attacker must make anew. */
async function sealGuess(
  opened: TestEnclave,
  user: string,
  recoverySecret: Uint8Array,
  key: TestKey = createTestKey(),
) {
  const document = new TextDecoder().decode((await opened.enclave.attestation()).document);
  const sealingKey = fromBase64Url((JSON.parse(document) as { sealing_key: string }).sealing_key);
  const aad = encodeCbor({ algorithm: key.algorithm, public_key: key.publicKey });
  const sealedRecovery = await sealTo(
    sealingKey,
    encodeCbor({ recovery_secret: recoverySecret, second_wrap: new Uint8Array() }),
    recoveryInfo('recover'),
    aad,
  );
  const parameters = { sealed_recovery: new Uint8Array(createHash('sha256').update(sealedRecovery).digest()) };
  return async () => ({
    project,
    user,
    sealedRecovery,
    proof: (await proveFor(opened, key, { act: 'recover', subject: user, parameters })).text,
  });
}
