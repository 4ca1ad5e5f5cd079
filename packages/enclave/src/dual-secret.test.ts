/** dual-secret inside the enclave, attacked by a gateway that holds the socket and both databases. */
import assert from 'node:assert/strict';
import { createHash, createPublicKey, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DAY_MS, fromBase64Url, HOUR_MS, sealTo, toBase64Url, userSubject, utf8ToBytes } from '@kedge/core';
import { drivenClock } from '@kedge/core/testing';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { createTestKey, createTestUser, openTestEnclave, proveFor } from './testing/index.ts';

const project = '0198a000-0000-7000-8000-000000000001';

async function withWallet(options: Parameters<typeof openTestEnclave>[0] = {}) {
  const opened = await openTestEnclave(options);
  const user = await createTestUser(opened, project);
  return { opened, user, ...(await user.createWallet()) };
}

test('a wallet opens to its key, on either curve', async () => {
  const { user, wallet, publicKey } = await withWallet();
  assert.deepEqual(secp256k1.getPublicKey(await user.openWallet(wallet), true), publicKey);
  const ed = await user.createWallet('ed25519');
  assert.equal((await user.openWallet(ed.wallet)).length, 32);
  assert.ok(createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: toBase64Url(ed.publicKey) }, format: 'jwk' }));
});

test('creating a wallet twice gives the same key', async () => {
  const { user, wallet, publicKey } = await withWallet();
  assert.deepEqual((await user.createWallet('secp256k1', wallet)).publicKey, publicKey);
});

test('every ciphertext that was flipped, truncated or moved stays shut', async () => {
  const { opened, user, wallet } = await withWallet();
  const second = await user.createWallet();
  const statements = [
    'update wallets set payload = set_byte(payload, 90, get_byte(payload, 90) # 1)',
    'update wallets set outer_wrap = set_byte(outer_wrap, 30, get_byte(outer_wrap, 30) # 1)',
    'update wallets set payload = substring(payload from 1 for 200)',
    'update wallets set payload = (select payload from wallets other where other.id <> wallets.id)',
    'update wallets set outer_wrap = (select outer_wrap from wallets other where other.id <> wallets.id)',
    'update wallets set lookup = decode(md5(lookup::text), $$hex$$)',
    'update wallets set server_key = 2',
  ];
  const rows = await opened.db.query<{
    id: string;
    lookup: Uint8Array;
    server_key: number;
    outer_wrap: Uint8Array;
    payload: Uint8Array;
  }>('select * from wallets');
  for (const statement of statements) {
    await opened.db.query(statement);
    for (const target of [wallet, second.wallet])
      await assert.rejects(user.openWallet(target), { code: 'sealed_data_invalid' }, statement);
    for (const row of rows) {
      await opened.db.query(
        'update wallets set lookup = $2, server_key = $3, outer_wrap = $4, payload = $5 where id = $1',
        [row.id, row.lookup, row.server_key, row.outer_wrap, row.payload],
      );
    }
    await user.openWallet(wallet);
  }
});

test('the client secret of another user, or of the same user in another project, opens nothing', async () => {
  const { opened, user, wallet } = await withWallet();
  const other = await createTestUser(opened, project);
  await assert.rejects(user.openWallet(wallet, other.clientSecret), { code: 'sealed_data_invalid' });
  await assert.rejects(user.openWallet(wallet, user.clientSecret.subarray(0, 20)), { code: 'sealed_data_invalid' });
  await assert.rejects(user.openWallet(wallet, new Uint8Array()), { code: 'sealed_data_invalid' });
});

test('a replayed, expired, foreign or altered proof opens nothing', async () => {
  const { opened, user, wallet } = await withWallet();
  const call = { project, user: user.user, wallet, clientSecret: user.clientSecret };
  const answerKey = new Uint8Array(32).fill(9);
  const good = await user.prove({ act: 'open_wallet', parameters: { wallet }, answerKey });
  await opened.enclave.openWallet({ ...call, proof: good.text });
  await assert.rejects(opened.enclave.openWallet({ ...call, proof: good.text }), { code: 'proof_replayed' });

  const refused = async (proof: Promise<{ text: string }>, code: string) =>
    assert.rejects(opened.enclave.openWallet({ ...call, proof: (await proof).text }), { code });
  await refused(
    user.prove({ act: 'open_wallet', parameters: { wallet }, answerKey, lifetimeMs: 120_000 }),
    'proof_expired',
  );
  await refused(user.prove({ act: 'open_wallet', parameters: { wallet }, answerKey, lifetimeMs: -1 }), 'proof_expired');
  await refused(user.prove({ act: 'sign_in', parameters: { wallet }, answerKey }), 'proof_invalid');
  await refused(user.prove({ act: 'open_wallet', parameters: { wallet: randomUUID() }, answerKey }), 'proof_invalid');
  await refused(
    proveFor(opened, createTestKey(), {
      act: 'open_wallet',
      subject: userSubject(project, user.user),
      parameters: { wallet },
      answerKey,
    }),
    'proof_invalid',
  );
  const other = await createTestUser(opened, project);
  await refused(other.prove({ act: 'open_wallet', parameters: { wallet }, answerKey }), 'proof_invalid');

  const beforeRestart = await user.prove({ act: 'open_wallet', parameters: { wallet }, answerKey });
  await opened.restart();
  await assert.rejects(opened.enclave.openWallet({ ...call, proof: beforeRestart.text }), { code: 'proof_stale' });
});

test('right words end the enrolled keys, wrong words never do', async () => {
  const { user } = await withWallet();
  await assert.rejects(user.guessWrong(), { code: 'recovery_refused' });
  await user.signIn();
  await user.recover(user.recoverySecret);
  await assert.rejects(user.signIn(), { code: 'proof_invalid' });
});

test('guess limit: of many parallel tries ten are evaluated, also across restarts, until an hour of service has passed', async () => {
  const clock = drivenClock();
  const opened = await openTestEnclave({ clock });
  const user = await createTestUser(opened, project);
  const results = await Promise.all(
    Array.from({ length: 60 }, () => user.guessWrong().catch((error: { code: string }) => error.code)),
  );
  assert.equal(results.filter((code) => code === 'recovery_refused').length, 10);
  assert.equal(results.filter((code) => code === 'recovery_limited').length, 50);
  await opened.restart();
  await assert.rejects(user.recover(user.recoverySecret), { code: 'recovery_limited' });
  clock.jumpWall(2 * DAY_MS);
  await assert.rejects(
    user.recover(user.recoverySecret),
    { code: 'recovery_limited' },
    'moving the clock shortens nothing',
  );
  clock.jumpWall(-2 * DAY_MS);
  await clock.advance(HOUR_MS + 60_000);
  await user.recover(user.recoverySecret);
});

test('an account that does not exist fails like one that does, down to the eleventh try', async () => {
  const opened = await openTestEnclave();
  const stranger = await createTestUser(opened, project);
  const codes: string[] = [];
  for (let attempt = 0; attempt < 11; attempt++) {
    codes.push(await stranger.recoverAs('nobody@example.org').catch((error: { code: string }) => error.code));
  }
  assert.deepEqual(codes, [...Array(10).fill('recovery_refused'), 'recovery_limited']);
});

test('opening is limited: 30 a minute for a wallet, 500 a day for an account, a breaker over all', async () => {
  const clock = drivenClock();
  const { user, wallet } = await withWallet({ clock });
  for (let count = 0; count < 30; count++) await user.openWallet(wallet);
  await assert.rejects(user.openWallet(wallet), { code: 'open_limited' });
  await clock.advance(60_000);
  await user.openWallet(wallet);
  const breaker = await withWallet({ opensPerMinuteMax: 3 });
  for (let count = 0; count < 3; count++) await breaker.user.openWallet(breaker.wallet);
  await assert.rejects(breaker.user.openWallet(breaker.wallet), { code: 'open_breaker' });
});

test('a rotation rewraps everything; the old version then opens nothing and is destroyed by two operators after seven days', async () => {
  const clock = drivenClock();
  const [first, second] = [createTestKey(), createTestKey()];
  const opened = await openTestEnclave({
    clock,
    operators: new Map([
      ['ada', first],
      ['bert', second],
    ]),
  });
  const user = await createTestUser(opened, project);
  const { wallet, publicKey } = await user.createWallet();
  const oldSecret = user.clientSecret;
  const oldRow = (await opened.db.query<{ outer_wrap: Uint8Array }>('select outer_wrap from wallets'))[0]!;
  const asAda = (act: 'rotate' | 'destroy_server_key', parameters = {}) =>
    proveFor(opened, first, { act, subject: 'ada', parameters });

  await opened.enclave.startRotation({ proof: (await asAda('rotate')).text });
  await assert.rejects(opened.enclave.startRotation({ proof: (await asAda('rotate')).text }), {
    code: 'rotation_running',
  });
  await user.openWallet(wallet);
  await assert.rejects(opened.enclave.finishRotation(), { code: 'rotation_running' });
  const { secrets } = await opened.enclave.rewrapClientSecrets({
    secrets: [{ project, user: user.user, clientSecret: oldSecret }],
  });
  user.clientSecret = secrets[0]!;
  assert.deepEqual(await opened.enclave.rewrapWallets({ limit: 10 }), { rewrapped: 1, left: 0 });
  await assert.rejects(
    opened.enclave.finishRotation(),
    { code: 'rotation_running' },
    'what was sealed just before must have arrived',
  );
  await clock.advance(60_000);
  await opened.enclave.finishRotation();
  assert.deepEqual(secp256k1.getPublicKey(await user.openWallet(wallet), true), publicKey);
  await assert.rejects(user.openWallet(wallet, oldSecret), { code: 'client_secret_superseded' });
  await opened.db.query('update wallets set server_key = 1, outer_wrap = $1', [oldRow.outer_wrap]);
  await assert.rejects(user.openWallet(wallet), { code: 'sealed_data_invalid' });

  const destroy = async (by: readonly [string, typeof first][]) =>
    opened.enclave.destroyServerKey({
      version: 1,
      proofs: await Promise.all(
        by.map(
          async ([subject, key]) =>
            (await proveFor(opened, key, { act: 'destroy_server_key', subject, parameters: { version: 1 } })).text,
        ),
      ),
    });
  await assert.rejects(
    destroy([
      ['ada', first],
      ['bert', second],
    ]),
    { code: 'server_key_waiting' },
  );
  clock.jumpWall(30 * DAY_MS);
  await assert.rejects(
    destroy([
      ['ada', first],
      ['bert', second],
    ]),
    { code: 'server_key_waiting' },
  );
  clock.jumpWall(-30 * DAY_MS);
  await clock.advance(7 * DAY_MS + 600_000);
  await assert.rejects(destroy([['ada', first]]), { code: 'two_operators_needed' });
  await assert.rejects(
    destroy([
      ['ada', first],
      ['ada', first],
    ]),
    { code: 'two_operators_needed' },
  );
  await assert.rejects(
    destroy([
      ['ada', first],
      ['bert', first],
    ]),
    { code: 'proof_invalid' },
  );
  await destroy([
    ['ada', first],
    ['bert', second],
  ]);
  assert.deepEqual(
    (await opened.enclave.rotation()).versions.map(({ version, state }) => [version, state]),
    [
      [1, 'destroyed'],
      [2, 'active'],
    ],
  );
  await opened.restart();
});

test('a damaged wallet keeps the old version from being retired and holds up no other wallet', async () => {
  const clock = drivenClock();
  const operator = createTestKey();
  const opened = await openTestEnclave({ clock, operators: new Map([['ada', operator]]) });
  const user = await createTestUser(opened, project);
  for (let count = 0; count < 3; count++) await user.createWallet();
  await opened.db.query(
    'update wallets set outer_wrap = set_byte(outer_wrap, 30, get_byte(outer_wrap, 30) # 1) where id = (select min(id::text)::uuid from wallets)',
  );
  await opened.enclave.startRotation({
    proof: (await proveFor(opened, operator, { act: 'rotate', subject: 'ada' })).text,
  });
  assert.deepEqual(await opened.enclave.rewrapWallets({ limit: 10 }), { rewrapped: 2, left: 1 });
  await clock.advance(60_000);
  await assert.rejects(opened.enclave.finishRotation(), { code: 'rotation_running' });
});

async function withBackup() {
  const operator = createTestKey();
  const made = await withWallet({ operators: new Map([['ada', operator]]) });
  const { opened } = made;
  const { document } = await opened.enclave.attestation();
  const { sealing_key: sealingKey } = JSON.parse(new TextDecoder().decode(document)) as { sealing_key: string };
  const sealedPassphrase = await sealTo(
    fromBase64Url(sealingKey),
    utf8ToBytes('correct horse battery staple'),
    utf8ToBytes('kedge/backup-passphrase/v1'),
    new Uint8Array(),
  );
  const parameters = { sealed_passphrase: createHash('sha256').update(sealedPassphrase).digest() };
  const { text: proof } = await proveFor(opened, operator, { act: 'back_up', subject: 'ada', parameters });
  const backUp = (serverKeys: readonly number[]) =>
    opened.enclave.backUp({
      proof,
      name: 'today',
      primary: { sha256: new Uint8Array(32), users: 1, serverKeys },
      sealedPassphrase,
    });
  return { ...made, backUp, written: (file: string) => existsSync(join(opened.backups, 'today', file)) };
}

test('wallets open while the passphrase of a backup is stretched', async () => {
  const { user, wallet, backUp, written } = await withBackup();
  const backup = backUp([1]);
  let opens = 0;
  while (opens < 5 && !written('root.age')) {
    const stretching = written('vault.jsonl.gz');
    await user.openWallet(wallet);
    if (stretching && !written('root.age')) opens += 1;
  }
  await backup;
  assert.equal(opens, 5);
  assert.equal(written('manifest.json'), true);
});

test('a dump of client secrets under a version that opens nothing gets no manifest', async () => {
  const { backUp, written } = await withBackup();
  await assert.rejects(backUp([1, 7]), { code: 'backup_blocked' });
  assert.equal(written('manifest.json'), false);
});
