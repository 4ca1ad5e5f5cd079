/**
 * The enclave killed before and after each durable write of each act: mirror, database, root keys. It then starts again
 * over what is left. It is never sealed, nothing that was acknowledged is lost, and doing the act again succeeds.
 * The points are found by counting, so a new write is covered the day it is written; they are listed as diagnostics.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { DAY_MS, linkEvent, MINUTE_MS } from '@kedge/core';
import { type DrivenClock, drivenClock } from '@kedge/core/testing';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { openSoftware } from './software.ts';
import { CrashPoints, Killed } from './testing/crash-points.ts';
import {
  createTestKey,
  createTestUser,
  createTestVault,
  nameOf,
  newTestUser,
  openTestEnclave,
  proveFor,
  TestApprovals,
  type TestEnclave,
  type TestUser,
} from './testing/index.ts';

const project = 'project';
const operators = new Map([
  ['ada', createTestKey()],
  ['bert', createTestKey()],
]);
const points = new CrashPoints();
const clock: DrivenClock = drivenClock();
let opened: TestEnclave;
/**
 * Has been there before the act: what was acknowledged to it must never be lost. Each act has another one, because an
 * account may be opened 500 times a day.
 */
let witness: TestUser;
let witnessed: { wallet: string; publicKey: Uint8Array };

before(async () => {
  opened = await openTestEnclave({
    clock,
    operators,
    openRootKeys: async (folder) =>
      points.wrapRootKeys(await openSoftware({ file: join(folder, 'root'), create: true })),
    wrapDatabase: points.wrapDatabase,
    wrapMirror: points.wrapMirror,
  });
});
after(async () => {
  opened.enclave.stop();
  await opened.db.close();
  rmSync(opened.folder, { recursive: true, force: true });
});

/** One try at an act, on things of its own. */
interface Attempt {
  run(): Promise<unknown>;
  /** After the death and the restart: does it again and looks. `acknowledged`: whether `run` had been answered. */
  check(acknowledged: boolean): Promise<void>;
}

async function killEverywhere(prepare: () => Promise<Attempt>, { mayBeSealed = false } = {}): Promise<string[]> {
  const hits: string[] = [];
  witness = await createTestUser(opened, project);
  witnessed = await witness.createWallet();
  for (const when of ['before', 'after'] as const) {
    for (let nth = 1; ; nth++) {
      const attempt = await prepare();
      points.arm(nth, when);
      const acknowledged = await attempt.run().then(
        () => true,
        (error: unknown) => assertDeath(error),
      );
      const { hit } = points;
      points.disarm();
      await opened.restart();
      const { sealed } = await opened.enclave.status();
      if (!mayBeSealed) assert.equal(sealed, null, `sealed after ${hit}`);
      try {
        await attempt.check(acknowledged);
        if (!mayBeSealed) await assertWitness();
      } catch (cause) {
        throw new Error(`after it was killed ${hit} (write ${nth}): ${String(cause)}`, { cause });
      }
      if (hit === null) break;
      hits.push(`killed ${when} write ${nth}: ${hit.slice(when.length + 1)}`);
    }
  }
  assert.equal(hits.length >= 2, true, 'the act wrote nothing');
  return hits;
}

function assertDeath(error: unknown): false {
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (cause instanceof Killed) return false;
  throw error;
}

/** Its own secret is rewrapped as a gateway would, should a rotation have retired the version. */
async function assertWitness(): Promise<void> {
  await witness.signIn();
  const key = await witness.openWallet(witnessed.wallet);
  assert.deepEqual(secp256k1.getPublicKey(key, true), witnessed.publicKey);
}

const proofOf = async (
  name: 'ada' | 'bert',
  act: 'rotate' | 'destroy_server_key' | 'accept_restore',
  parameters = {},
) => (await proveFor(opened, operators.get(name)!, { act, subject: name, parameters })).text;

function crashTest(title: string, prepare: () => Promise<Attempt>, options?: { mayBeSealed?: boolean }): void {
  test(`killed at every durable write: ${title}`, async (t) => {
    for (const hit of await killEverywhere(prepare, options)) t.diagnostic(hit);
  });
}

crashTest('sign-up', async () => {
  const user = newTestUser(opened, project);
  return {
    run: () => user.signUp(),
    async check(acknowledged) {
      if (acknowledged) await user.signIn();
      await user.signUp(); // the same again: the gateway never heard the answer
      await user.signIn();
      await user.openWallet((await user.createWallet()).wallet);
    },
  };
});

crashTest('a wallet is created', async () => {
  const wallet = randomBytes(16).toString('hex');
  let made: Uint8Array | null = null;
  return {
    run: async () => {
      made = (await witness.createWallet('secp256k1', wallet)).publicKey;
    },
    async check(acknowledged) {
      assert.equal(made !== null, acknowledged);
      const stored = await witness.openWallet(wallet).catch(() => null);
      const { publicKey } = await witness.createWallet('secp256k1', wallet);
      if (made) assert.deepEqual(publicKey, made);
      if (stored)
        assert.deepEqual(publicKey, secp256k1.getPublicKey(stored, true), 'another key than the one that was stored');
      assert.deepEqual(secp256k1.getPublicKey(await witness.openWallet(wallet), true), publicKey);
    },
  };
});

crashTest('a backup key is created', async () => {
  const key = randomBytes(16).toString('hex');
  const wanted = {
    project,
    user: 'customer',
    key,
    type: 'ed25519',
    environment: 'HOT',
    nonce: null,
    signWith: null,
  } as const;
  let made: Uint8Array | null = null;
  return {
    run: async () => {
      made = (await opened.enclave.createBackupKey(wanted)).publicKey;
    },
    async check(acknowledged) {
      assert.equal(made !== null, acknowledged);
      const { publicKey } = await opened.enclave.createBackupKey(wanted); // the same again: nobody heard the answer
      if (made) assert.deepEqual(publicKey, made);
      const { outcome } = await opened.enclave.verifyBackupKey({ project, user: 'customer', key, publicKey });
      assert.equal(outcome, 'passed');
    },
  };
});

crashTest(
  'a list is made and bound, a recovery asked for, voted on and released: one signature set, and no vote is lost',
  async () => {
    const approvals = new TestApprovals(opened);
    const { project: owner, user } = approvals;
    const [key, list] = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')];
    const wanted = {
      project: owner,
      user,
      key,
      type: 'secp256k1',
      environment: 'HOT',
      nonce: null,
      signWith: null,
    } as const;
    const { publicKey } = await opened.enclave.createBackupKey(wanted);
    const vault = createTestVault(opened.enclave, publicKey);
    const psbt = vault.spend([vault.coin()], vault.descriptor, 60_000n);
    const plan = approvals.plan({ key, list, publicKey, vault }, [psbt]);
    const other = vault.spend([vault.coin()], vault.descriptor, 60_000n);
    const voted: string[] = [];
    let signature: Uint8Array | null = null;
    const all = async () => {
      await opened.enclave.createApproverList({ project: owner, list, rules: approvals.rules() });
      await opened.enclave.bindApproverList({ project: owner, user, key, list });
      await opened.enclave.requestRecovery({ plan });
      await opened.enclave.noteRecoveryAlert({ ...nameOf(plan), channels: 1 });
      for (const name of ['ada', 'bert'] as const) {
        await approvals.vote(plan, name);
        voted.push(name);
      }
      return (await approvals.release(plan, [psbt], vault)).signatures[0]!.signature;
    };
    return {
      run: async () => {
        signature = await all();
      },
      async check(acknowledged) {
        if (voted.length > 0) {
          const { votes } = (await opened.enclave.tickRecovery(nameOf(plan))).view;
          if (votes.state === 'open')
            assert.equal(votes.approvals >= voted.length, true, 'an acknowledged vote is lost');
        }
        if (acknowledged) await assert.rejects(approvals.release(plan, [other], vault), { code: 'request_invalid' });
        const again = await all();
        if (signature !== null) assert.deepEqual(again, signature);
        await opened.enclave.completeRecovery({ ...nameOf(plan), outcome: 'completed' });
      },
    };
  },
);

crashTest('an account is recovered', async () => {
  const user = await createTestUser(opened, project);
  const { wallet, publicKey } = await user.createWallet();
  const [before_, recovered] = [user.key, createTestKey()];
  return {
    run: () => user.recover(user.recoverySecret, recovered),
    async check(acknowledged) {
      if (acknowledged)
        await assert.rejects(user.signIn(), { code: 'proof_invalid' }, 'a recovery ends the keys from before');
      user.key = recovered;
      await user.recover(user.recoverySecret, recovered);
      await user.signIn();
      assert.deepEqual(secp256k1.getPublicKey(await user.openWallet(wallet), true), publicKey);
      user.key = before_;
      await assert.rejects(user.signIn(), { code: 'proof_invalid' });
    },
  };
});

crashTest('words are guessed wrong: the try is charged before anybody learns that it was', async () => {
  const user = await createTestUser(opened, project);
  let learned = 0;
  const guess = () =>
    user.guessWrong().catch((error: { code?: string }) => {
      if (error.code !== 'recovery_refused') throw error;
      learned += 1;
    });
  for (let before_ = 0; before_ < 8; before_++) await guess();
  return {
    run: guess,
    async check() {
      await assert.rejects(
        (async () => {
          for (;;) await guess();
        })(),
        { code: 'recovery_limited' },
      );
      assert.equal(learned === 9 || learned === 10, true, `${learned} guesses were answered`);
    },
  };
});

crashTest('the words are replaced', async () => {
  const user = await createTestUser(opened, project);
  const [oldWords, newWords] = [user.recoverySecret, new Uint8Array(randomBytes(32))];
  return {
    run: () => user.replaceWords(newWords),
    async check(acknowledged) {
      // Either the old words hold or the new ones; once it was answered, only the new ones.
      const works = (secret: Uint8Array, by = createTestKey()) =>
        user.recover(secret, by).then(
          () => {
            user.key = by;
            return true;
          },
          () => false,
        );
      const newWork = await works(newWords);
      assert.equal(await works(oldWords), !newWork);
      if (acknowledged) assert.equal(newWork, true);
      await user.replaceWords(newWords);
      assert.deepEqual([await works(oldWords), await works(newWords)], [false, true]);
    },
  };
});

crashTest('a client key is enrolled', async () => {
  const user = await createTestUser(opened, project);
  const [first, other] = [user.key, createTestKey()];
  return {
    run: () => user.enrollAnother(other),
    async check(acknowledged) {
      user.key = other;
      if (acknowledged) await user.signIn();
      user.key = first;
      await user.signIn();
      await user.enrollAnother(other);
      user.key = other;
      await user.signIn();
    },
  };
});

crashTest('service time ticks', async () => ({
  run: async () => {
    const before_ = (await opened.enclave.status()).sequence;
    await clock.advance(MINUTE_MS);
    if ((await opened.enclave.status()).sequence === before_) throw new Killed('the tick was not written');
  },
  check: async () => {
    const { sequence } = await opened.enclave.status();
    await clock.advance(MINUTE_MS);
    assert.equal((await opened.enclave.status()).sequence, sequence + 1);
  },
}));

crashTest('a ledger head is signed', async () => {
  const status = await opened.enclave.status();
  const from = status.ledger ?? { seq: 0, hash: null };
  const body = JSON.stringify({ id: from.seq + 1 });
  const head = {
    seq: from.seq + 1,
    hash: linkEvent(from.hash, from.seq + 1, body),
    bodyHashes: [new Uint8Array(createHash('sha256').update(body).digest())],
  };
  return {
    run: () => opened.enclave.signHead(head),
    async check(acknowledged) {
      const { ledger } = await opened.enclave.status();
      if (acknowledged) assert.equal(ledger?.seq, head.seq);
      // The gateway reads the enclave's head and goes on from there, or signs the same head again.
      if (ledger?.seq !== head.seq) await opened.enclave.signHead(head);
      assert.equal(
        (await opened.enclave.signHead({ ...head, bodyHashes: [] })).signature.length,
        64,
        'the same head is signed again',
      );
      await assert.rejects(opened.enclave.signHead({ ...head, hash: new Uint8Array(32), bodyHashes: [] }), {
        code: 'conflict',
      });
    },
  };
});

crashTest('the enclave starts again after it was killed in the middle of a write', async () => {
  const user = await createTestUser(opened, project);
  points.arm(2, 'before'); // the mirror has announced the write, the database has not committed it
  await assert.rejects(user.enrollAnother());
  points.disarm();
  return {
    run: () => opened.restart(),
    async check() {
      await user.signIn();
      await user.enrollAnother();
    },
  };
});

/** Ends the rotation that is running, and hands the witness its rewrapped secret, as the gateway does. */
async function finishRotation(): Promise<void> {
  const { secrets } = await opened.enclave.rewrapClientSecrets({
    secrets: [{ project, user: witness.user, clientSecret: witness.clientSecret }],
  });
  witness.clientSecret = secrets[0]!;
  while ((await opened.enclave.rewrapWallets({ limit: 1_000 })).left > 0);
  await clock.advance(MINUTE_MS);
  await opened.enclave.finishRotation();
}

const startRotation = async () => opened.enclave.startRotation({ proof: await proofOf('ada', 'rotate') });
const statesOf = async () => (await opened.enclave.rotation()).versions.map(({ state }) => state);

crashTest('a rotation is started', async () => ({
  run: startRotation,
  async check(acknowledged) {
    const { running } = await opened.enclave.rotation();
    if (acknowledged) assert.equal(running, true);
    if (!running) await startRotation();
    await assert.rejects(startRotation(), { code: 'rotation_running' });
    await finishRotation();
    const states = await statesOf();
    assert.deepEqual(
      [states.at(-1), states.filter((state) => state === 'active').length, states.includes('decrypt_only')],
      ['active', 1, false],
    );
  },
}));

crashTest('wallets are rewrapped', async () => {
  await startRotation();
  return {
    run: () => opened.enclave.rewrapWallets({ limit: 1_000 }),
    async check(acknowledged) {
      await assertWitness(); // in the middle of a rotation both versions open
      if (acknowledged) assert.equal((await opened.enclave.rewrapWallets({ limit: 1_000 })).rewrapped, 0);
      await finishRotation();
    },
  };
});

crashTest('a rotation is finished', async () => {
  await startRotation();
  const { secrets } = await opened.enclave.rewrapClientSecrets({
    secrets: [{ project, user: witness.user, clientSecret: witness.clientSecret }],
  });
  witness.clientSecret = secrets[0]!;
  while ((await opened.enclave.rewrapWallets({ limit: 1_000 })).left > 0);
  await clock.advance(MINUTE_MS);
  return {
    run: () => opened.enclave.finishRotation(),
    async check(acknowledged) {
      const { running } = await opened.enclave.rotation();
      if (acknowledged) assert.equal(running, false);
      if (running) await finishRotation();
      await assert.rejects(opened.enclave.finishRotation(), { code: 'rotation_not_running' });
      assert.equal((await statesOf()).includes('decrypt_only'), false);
    },
  };
});

test('seven days of service pass, so that the versions which the rotations above retired can be destroyed', async () => {
  await clock.advance(7 * DAY_MS + MINUTE_MS);
  assert.equal(
    (await opened.enclave.rotation()).versions.some(({ destroyableInMs }) => destroyableInMs === 0),
    true,
  );
});

crashTest('a server key is destroyed', async () => {
  const { versions } = await opened.enclave.rotation();
  const { version } = versions.find(({ destroyableInMs }) => destroyableInMs === 0)!;
  const destroy = async () =>
    opened.enclave.destroyServerKey({
      version,
      proofs: [
        await proofOf('ada', 'destroy_server_key', { version }),
        await proofOf('bert', 'destroy_server_key', { version }),
      ],
    });
  const stateNow = async () =>
    (await opened.enclave.rotation()).versions.find((known) => known.version === version)!.state;
  const inBackend = async () => {
    const rootKeys = await openSoftware({ file: join(opened.folder, 'root') });
    const held = await Promise.all(
      (['wallet', 'client_secret'] as const).map((purpose) => rootKeys.hasKey({ purpose, version })),
    );
    await rootKeys.close();
    return held;
  };
  return {
    run: destroy,
    async check(acknowledged) {
      if (acknowledged) assert.equal(await stateNow(), 'destroyed');
      if ((await stateNow()) === 'retired') await destroy();
      assert.equal(await stateNow(), 'destroyed');
      assert.deepEqual(await inBackend(), [false, false], 'a start finishes a destruction that was interrupted');
      await assert.rejects(destroy(), { code: 'server_key_not_retired' });
    },
  };
});

crashTest(
  'two operators accept a restored database',
  async () => {
    rmSync(opened.mirrorFile, { force: true });
    await opened.restart();
    const accept = async () =>
      opened.enclave.acceptRestore({
        proofs: [await proofOf('ada', 'accept_restore'), await proofOf('bert', 'accept_restore')],
      });
    const user = witness;
    return {
      run: accept,
      async check(acknowledged) {
        const { sealed } = await opened.enclave.status();
        if (acknowledged) assert.equal(sealed, null);
        if (sealed !== null) {
          await assert.rejects(user.signIn(), { code: 'enclave_sealed' });
          await accept();
          await opened.restart();
        }
        await assertWitness();
        // However it went, it never went without halving the guesses.
        const guesser = await createTestUser(opened, project);
        for (let guess = 0; guess < 5; guess++)
          await assert.rejects(guesser.guessWrong(), { code: 'recovery_refused' });
        await assert.rejects(guesser.guessWrong(), { code: 'recovery_limited' });
      },
    };
  },
  { mayBeSealed: true },
);

test('killed at every durable write: the very first start', async (t) => {
  const nothingYet = async () => {
    for (const table of ['state', 'head', 'wallets']) await opened.db.query(`delete from ${table}`);
    for (const file of [opened.mirrorFile, join(opened.folder, 'root')]) rmSync(file, { force: true });
  };
  for (const when of ['before', 'after'] as const) {
    for (let nth = 1; ; nth++) {
      await nothingYet();
      points.arm(nth, when);
      await opened.restart().catch(assertDeath);
      const { hit } = points;
      points.disarm();
      await opened.restart();
      assert.equal((await opened.enclave.status()).sealed, null, `sealed after it was killed ${hit}`);
      const user = await createTestUser(opened, project);
      await user.openWallet((await user.createWallet()).wallet);
      if (hit === null) break;
      t.diagnostic(`killed ${when} write ${nth}: ${hit.slice(when.length + 1)}`);
    }
  }
});
