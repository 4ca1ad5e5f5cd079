/**
 * A hostile gateway with the socket and both databases, or a writer of rows, tries what the other attack tests don't.
 * Each of them succeeded once, or came close; the assertion says what must hold.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  createSealingKey,
  decodeCbor,
  encodeCbor,
  fromBase64Url,
  MINUTE_MS,
  recoveryInfo,
  sealTo,
  userSubject,
  utf8ToBytes,
} from '@kedge/core';
import { drivenClock } from '@kedge/core/testing';
import type { RootKeys } from './root-keys.ts';
import { openSoftware } from './software.ts';
import {
  createTestKey,
  createTestUser,
  openTestEnclave,
  proveFor,
  type TestEnclave,
  type TestKey,
} from './testing/index.ts';

const project = '0198a000-0000-7000-8000-000000000001';
const elsewhere = '0198a000-0000-7000-8000-000000000002';
const sha = (bytes: Uint8Array) => new Uint8Array(createHash('sha256').update(bytes).digest());
const random = (length: number) => new Uint8Array(randomBytes(length));

/** The gateway chooses project and user id of a sign-up, and may send any type. */
async function signUpAs(opened: TestEnclave, where: unknown, user: string, key: TestKey): Promise<Uint8Array> {
  const said = JSON.parse(new TextDecoder().decode((await opened.enclave.attestation()).document)) as {
    sealing_key: string;
  };
  const sealedRecovery = await sealTo(
    fromBase64Url(said.sealing_key),
    encodeCbor({ recovery_secret: random(32), second_wrap: new Uint8Array() }),
    recoveryInfo('sign_up'),
    encodeCbor({ algorithm: key.algorithm, public_key: key.publicKey }),
  );
  const proof = (
    await proveFor(opened, key, { act: 'sign_up', subject: '', parameters: { sealed_recovery: sha(sealedRecovery) } })
  ).text;
  return (await opened.enclave.signUp({ project: where as string, user, proof, sealedRecovery })).clientSecret;
}

async function openAs(
  opened: TestEnclave,
  where: unknown,
  user: string,
  key: TestKey,
  wallet: string,
  clientSecret: Uint8Array,
) {
  const answerKey = await createSealingKey(random);
  const { text, hash } = await proveFor(opened, key, {
    act: 'open_wallet',
    subject: userSubject(String(where), user),
    parameters: { wallet },
    answerKey: answerKey.publicKey,
  });
  const { answer } = await opened.enclave.openWallet({
    project: where as string,
    user,
    wallet,
    clientSecret,
    proof: text,
  });
  return (decodeCbor(await answerKey.open(answer, utf8ToBytes('kedge/answer/v1'), hash)) as { key: Uint8Array }).key;
}

async function twoOperators() {
  const keys = { alice: createTestKey(), bob: createTestKey() };
  const clock = drivenClock();
  return { keys, clock, operators: new Map(Object.entries(keys)) };
}

test('diverted proof: a gateway with an account of its own under the victim’s id in another project gets no wallet of the victim’s', async () => {
  const opened = await openTestEnclave();
  const victim = await createTestUser(opened, project);
  const thief = createTestKey();
  const thiefsSecret = await signUpAs(opened, elsewhere, victim.user, thief);
  const parameters = { algorithm: victim.key.algorithm, public_key: victim.key.publicKey };
  const enrol = await proveFor(opened, thief, {
    act: 'enroll_client_key',
    subject: userSubject(elsewhere, victim.user),
    parameters,
  });
  await opened.enclave.enrollClientKey({ project: elsewhere, user: victim.user, proof: enrol.text });

  // The victim asks for a wallet; the gateway carries the proof to the other project.
  const [vault, wallet] = [randomUUID(), randomUUID()];
  const { text: proof } = await victim.prove({
    act: 'create_wallet',
    parameters: { vault, curve: 'secp256k1', sealed_key: null, public_key: null },
  });
  const call = {
    project: elsewhere,
    user: victim.user,
    vault,
    wallet,
    curve: 'secp256k1' as const,
    clientSecret: thiefsSecret,
    sealedKey: null,
    publicKey: null,
    proof,
  };
  const made = await opened.enclave.createWallet(call).catch(() => null);
  const stolen = made && (await openAs(opened, elsewhere, victim.user, thief, wallet, thiefsSecret));
  assert.equal(stolen, null, 'the thief has the key to which the victim’s device will send money');
});

test('type confusion: a project in a list, or a wallet in a list, is another name and opens nothing', async () => {
  const opened = await openTestEnclave();
  const victim = await createTestUser(opened, project);
  const { wallet } = await victim.createWallet();
  const thief = createTestKey();
  await signUpAs(opened, [project], victim.user, thief).catch(() => null);
  await assert.rejects(openAs(opened, [project], victim.user, thief, wallet, victim.clientSecret));
  await assert.rejects(openAs(opened, project, victim.user, thief, wallet, victim.clientSecret), {
    code: 'proof_invalid',
  });
  await victim.openWallet(wallet);
});

test('type confusion: a project that is no string gets no account, so the proof is what refuses', async () => {
  const opened = await openTestEnclave();
  const victim = await createTestUser(opened, project);
  const { wallet } = await victim.createWallet();
  const thief = createTestKey();
  await signUpAs(opened, [project], victim.user, thief).catch(() => null);
  await assert.rejects(
    openAs(opened, [project], victim.user, thief, wallet, victim.clientSecret),
    (error: { code?: string }) => ['proof_invalid', 'request_invalid'].includes(error.code ?? ''),
  );
});

test('type confusion: a head whose hash is a list is not stored for good', async () => {
  const opened = await openTestEnclave();
  const bodyHash = random(32);
  const { linkBodyHash } = await import('@kedge/core');
  const hash = linkBodyHash(null, 1, bodyHash);
  await opened.enclave
    .signHead({ seq: 1, hash: [...hash] as unknown as Uint8Array, bodyHashes: [bodyHash] })
    .catch(() => null);
  await opened.restart();
  const seq = (await opened.enclave.status()).ledger?.seq ?? 0;
  const next = linkBodyHash(seq === 0 ? null : hash, seq + 1, bodyHash);
  await opened.enclave.signHead({ seq: seq + 1, hash: next, bodyHashes: [bodyHash] });
});

test('two rotations at once make one version, and finishing what there is leaves an active one', async () => {
  const { keys, clock, operators } = await twoOperators();
  let creations = 0;
  const slow = (keysOf: RootKeys): RootKeys =>
    new Proxy(keysOf, {
      get(target, name) {
        const value = Reflect.get(target, name, target) as unknown;
        if (typeof value !== 'function') return value;
        if (name !== 'createKey') return value.bind(target);
        return async (key: { version: number }) => {
          await target.createKey(key as never);
          // A token under load.
          const turns = key.version === 2 && ++creations > 2 ? 20_000 : 0;
          for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
        };
      },
    });
  const opened = await openTestEnclave({
    clock,
    operators,
    openRootKeys: async (folder) => slow(await openSoftware({ file: join(folder, 'root'), create: true })),
  });
  const user = await createTestUser(opened, project);
  const { wallet } = await user.createWallet();
  const start = async () =>
    opened.enclave.startRotation({
      proof: (await proveFor(opened, keys.alice, { act: 'rotate', subject: 'alice' })).text,
    });
  await Promise.allSettled([start(), start()]);
  user.clientSecret = (
    await opened.enclave.rewrapClientSecrets({
      secrets: [{ project, user: user.user, clientSecret: user.clientSecret }],
    })
  ).secrets[0]!;
  await opened.enclave.rewrapWallets({ limit: 10 });
  await clock.advance(2 * MINUTE_MS);
  await opened.enclave.finishRotation();
  await opened.enclave.finishRotation().catch(() => null);
  const { versions } = await opened.enclave.rotation();
  assert.deepEqual(
    versions.map(({ version, state }) => [version, state]),
    [
      [1, 'retired'],
      [2, 'active'],
    ],
  );
  await user.openWallet(wallet);
});

test('a sign-up during the start of a rotation names the version that its client secret is under', async () => {
  const { keys, clock, operators } = await twoOperators();
  let hold: Promise<void> | null = null;
  let entered: () => void = () => undefined;
  const opened = await openTestEnclave({
    clock,
    operators,
    openRootKeys: async (folder) => {
      const root = await openSoftware({ file: join(folder, 'root'), create: true });
      const wrap = root.wrap.bind(root);
      root.wrap = async (key, plaintext, aad) => {
        const wrapped = await wrap(key, plaintext, aad);
        if (hold && key.purpose === 'client_secret') {
          entered();
          await hold;
        }
        return wrapped;
      };
      return root;
    },
  });
  let release: () => void = () => undefined;
  hold = new Promise((resolve) => {
    release = resolve;
  });
  const reached = new Promise<void>((resolve) => {
    entered = resolve;
  });
  const enclave = opened.enclave;
  const signUp = enclave.signUp.bind(enclave);
  let named: number | null = null;
  enclave.signUp = async (call) => {
    const made = await signUp(call);
    named = made.serverKey;
    return made;
  };
  const signing = signUpAs(opened, project, randomUUID(), createTestKey());
  await reached;
  await enclave.startRotation({
    proof: (await proveFor(opened, keys.alice, { act: 'rotate', subject: 'alice' })).text,
  });
  release();
  const clientSecret = await signing;
  assert.equal(named, new DataView(clientSecret.buffer, clientSecret.byteOffset).getUint32(0));
});

test('a head row set back to write 0 without a mirror does not start unsealed', async () => {
  const opened = await openTestEnclave();
  await createTestUser(opened, project);
  await opened.db.query('update head set sequence = 0');
  rmSync(opened.mirrorFile);
  assert.notEqual((await (await opened.restart()).status()).sealed, null);
});

test('a restored database with a fresh lease beside the old mirror can be accepted by two operators', async () => {
  const { keys, operators, clock } = await twoOperators();
  const opened = await openTestEnclave({ operators, clock });
  await opened.db.query('update lease set fence = 5');
  const { openFileMirror } = await import('./mirror.ts');
  const { createHmac } = await import('node:crypto');
  const root = await openSoftware({ file: join(opened.folder, 'root'), create: false });
  const key = await root.mac(utf8ToBytes('kedge/mirror-key/v1'));
  openFileMirror(opened.mirrorFile, (bytes) => createHmac('sha256', key).update(bytes).digest(), 5n).write({
    sequence: 99,
    root: new Uint8Array(32),
    previousRoot: new Uint8Array(32),
    open: false,
  });
  await opened.restart(); // a lease of its own, with fence 1
  assert.notEqual((await opened.enclave.status()).sealed, null);
  const proofs = await Promise.all(
    (['alice', 'bob'] as const).map(
      async (subject) => (await proveFor(opened, keys[subject], { act: 'accept_restore', subject })).text,
    ),
  );
  await opened.enclave.acceptRestore({ proofs });
});

test('who is a user: an unknown name is not limited by tries at another unknown name', async () => {
  const opened = await openTestEnclave();
  const user = await createTestUser(opened, project);
  const slotOf = (name: string) => createHash('sha256').update(`${project}/${name}`).digest().readUInt32BE(0) % 1_024;
  const target = 'is-she-here@example.com';
  let other = 0;
  while (slotOf(`x${other}@example.com`) !== slotOf(target)) other++;
  for (let n = 0; n < 10; n++)
    await assert.rejects(user.recoverAs(`x${other}@example.com`), { code: 'recovery_refused' });
  await assert.rejects(user.recoverAs(target), { code: 'recovery_refused' });
});

test('a backup whose name leaves the folder makes nothing outside', async () => {
  const { keys, operators, clock } = await twoOperators();
  const opened = await openTestEnclave({ operators, clock });
  const proof = (
    await proveFor(opened, keys.alice, { act: 'back_up', subject: 'alice', parameters: { sealed_passphrase: null } })
  ).text;
  const call = {
    proof,
    name: '../escaped',
    primary: { sha256: random(32), users: 0, serverKeys: [] },
    sealedPassphrase: null,
  };
  await assert.rejects(opened.enclave.backUp(call), { code: 'request_invalid' });
  assert.equal(existsSync(join(opened.folder, 'escaped')), false);
});

test('a message about the words cannot be presented by another key, or for another act', async () => {
  const opened = await openTestEnclave();
  const user = await createTestUser(opened, project);
  const said = JSON.parse(new TextDecoder().decode((await opened.enclave.attestation()).document)) as {
    sealing_key: string;
  };
  const aad = encodeCbor({ algorithm: user.key.algorithm, public_key: user.key.publicKey });
  const secret = encodeCbor({ recovery_secret: user.recoverySecret, second_wrap: new Uint8Array() });
  for (const [act, by] of [
    ['recover', createTestKey()],
    ['sign_up', user.key],
  ] as const) {
    const sealedRecovery = await sealTo(fromBase64Url(said.sealing_key), secret, recoveryInfo(act), aad);
    const { text: proof } = await proveFor(opened, by, {
      act: 'recover',
      subject: user.user,
      parameters: { sealed_recovery: sha(sealedRecovery) },
    });
    await assert.rejects(opened.enclave.recover({ project, user: user.user, proof, sealedRecovery }), {
      code: 'request_invalid',
    });
  }
  await user.signIn();
});

test('prototype pollution: a map with __proto__ is no value of the wire', () => {
  const key = [...new TextEncoder().encode('__proto__')];
  const bytes = Uint8Array.from([0xa1, 0x69, ...key, 0xa1, 0x61, 0x78, 0x01]);
  try {
    assert.equal(Object.getPrototypeOf(decodeCbor(bytes)), Object.prototype);
  } catch (error) {
    assert.ok(error instanceof Error);
  }
  assert.equal(({} as { x?: number }).x, undefined);
});
