/**
 * Backup keys over HTTP, as an integration of the vendor's would call: what it gets, what it is refused, and what the
 * checks say. The six calls of docs/systems/backup-key.md run here by curl, with a bearer token and nothing else.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { constants, createHash, createPublicKey, type KeyObject, publicEncrypt, randomUUID, verify } from 'node:crypto';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { formatExtendedKey, rootExtendedKey } from '@kedge/chains';
import { FILE_BYTES_MAX, hexToBytes, KedgeError } from '@kedge/core';
import { openTestEnclave } from '@kedge/enclave/testing';
import { type Database, openDatabase } from '@kedge/store';
import { startPostgres } from '@kedge/store/testing';
import {
  ada,
  createTestGateway,
  createTestProject,
  migratedDatabase,
  migrateForTest,
  type TestGateway,
  type TestProject,
} from './testing/gateway.ts';
import { formRequest } from './testing/requests.ts';

const run = promisify(execFile);
const chainCode = new Uint8Array(32).fill(9);

/** Base64. As the page says unless told otherwise. */
function encryptTo(key: KeyObject, plaintext: string, form: { padding?: number; oaepHash?: string } = {}): string {
  const usual = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
  return publicEncrypt({ key, ...usual, ...form }, Buffer.from(plaintext)).toString('base64');
}

test('a cold key is assigned, attested, and a check says that it is held offline', async (t) => {
  const enclave = await openTestEnclave({
    operators: new Map([['ada', ada]]),
    officers: [
      'age17q4ek63d6g5szznfha86tau95946f8vgqke9dr4xqwh75vuwjdss8tqqqz',
      'age14s940yfpgv4agmy0rfljpvshaqtf0d9kp7mdve69s8jghtd0msls09vgz8',
    ],
  });
  const gateway = await createTestGateway({ enclave });
  t.after(() => gateway.close());
  const { secretKey: as } = await createTestProject(gateway);
  for (const key_type of ['secp256k1', 'ed25519']) {
    const body = { user_identifier: 'customer-1', key_type, key_environment: 'COLD' };
    const { key_id, metadata, attestation } = await gateway.get('createBackupKey', { as, body });
    assert.equal(metadata.key_environment, 'COLD');
    assert.match(Buffer.from(attestation.document, 'base64url').toString(), /"key_environment":"COLD"/);
    const { is_key_valid, outcome, message } = await gateway.get('verifyBackupKey', { as, params: { key_id } });
    assert.deepEqual([is_key_valid, outcome], [null, 'held_offline']);
    assert.match(message, /sealed to officers/);
    const shown = await gateway.get('getBackupKey', { as, params: { key_id } });
    assert.deepEqual([shown.outcome, shown.last_proven_at], ['held_offline', null], 'nothing was proven');
    assert.notEqual(shown.checked_at, null);
  }
  enclave.enclave.stop();
});

const databases = { 'an embedded database': embedded, PostgreSQL: postgres };
for (const [name, open] of Object.entries(databases)) {
  describe(
    `backup keys over HTTP, on ${name}`,
    {
      skip: open === postgres && !existsSync('/usr/lib/postgresql') && 'PostgreSQL is not installed',
    },
    () => backupKeysOn(open),
  );
}

interface Opened {
  readonly db: Database;
  close(): Promise<unknown>;
}

async function embedded(): Promise<Opened> {
  const db = await migratedDatabase();
  return { db, close: () => db.close() };
}

async function postgres(): Promise<Opened> {
  const server = await startPostgres();
  const db = await openDatabase(await server.url('primary'));
  await migrateForTest(db);
  return { db, close: () => db.close().then(() => server.stop()) };
}

function backupKeysOn(open: () => Promise<Opened>): void {
  let opened: Opened;
  let gateway: TestGateway;
  let project: TestProject;
  let stranger: TestProject;
  let away: KedgeError | null = null;
  before(async () => {
    opened = await open();
    gateway = await createTestGateway({
      db: opened.db,
      wrapEnclave: (enclave) =>
        new Proxy(enclave, {
          get: (target, name) => (away === null ? Reflect.get(target, name) : () => Promise.reject(away)),
        }),
    });
    project = await createTestProject(gateway);
    stranger = await createTestProject(gateway);
  });
  after(async () => {
    await gateway.close();
    await opened.close();
  });

  const create = (fields: object = {}, as = project.secretKey) =>
    gateway.call('createBackupKey', {
      as,
      body: { user_identifier: `customer-${randomUUID()}`, key_type: 'secp256k1', ...fields },
    });
  const keyOf = async (fields: object = {}) => (await create(fields)).body;
  const verifyKey = (key_id: string) => gateway.get('verifyBackupKey', { as: project.secretKey, params: { key_id } });
  const verifyBackup = (backup_id: string) =>
    gateway.get('verifyKeyBackup', { as: project.secretKey, params: { backup_id } });
  const identity = async () => {
    const response = await gateway.app.inject({ url: '/.well-known/kedge-enclave.json' });
    assert.equal(response.headers['cache-control'], 'public, max-age=600');
    const { keys } = response.json() as { keys: { kty: string; crv: string; x: string; y: string }[] };
    return createPublicKey({ key: keys[0]!, format: 'jwk' });
  };
  const encryptionKey = async () => {
    const { public_key } = await gateway.get('getEncryptionKey', { as: project.secretKey });
    return createPublicKey({ key: Buffer.from(public_key, 'base64'), format: 'der', type: 'spki' });
  };
  const encrypted = async (plaintext: string) => ({
    data: encryptTo(await encryptionKey(), plaintext),
    checksum: createHash('sha256').update(plaintext).digest('hex'),
  });
  const material = (publicKey: string, fields: object = {}) =>
    JSON.stringify({
      chainCode: Buffer.from(chainCode).toString('hex'),
      publicKey,
      coin: 'btc',
      label: 'savings',
      ...fields,
    });
  const store = async (public_key: string, plaintext: string) =>
    (
      await gateway.get('storeSecureData', {
        as: project.secretKey,
        body: { public_key, ...(await encrypted(plaintext)) },
      })
    ).backup_id;
  const xpubOf = (publicKey: string) => formatExtendedKey(rootExtendedKey(hexToBytes(publicKey), chainCode), 'test');

  test('a key is assigned in the vendor’s form, and its signature holds against the published key set', async () => {
    for (const key_type of ['secp256k1', 'ed25519']) {
      const { public_key, signature, signed_payload, signed_fields, customer_id } = await keyOf({ key_type });
      assert.deepEqual([signed_payload, signed_fields, customer_id], [null, [], null]);
      const signed = Buffer.from(signature, 'base64');
      assert.equal(verify('sha256', Buffer.from(public_key), await identity(), signed), true);
      assert.equal(verify('sha256', Buffer.from(`${public_key}0`), await identity(), signed), false);
    }
  });

  test('sign_with: the fields in the order of the request, the exact payload, and values of the request', async () => {
    const sign_with = ['user_id', 'external_customer_id', 'external_package_id', 'pulled_by_type', 'key_id'];
    const made = await keyOf({
      user_identifier: 'Zoë "17"',
      organisation: { customer_id: 'bank-1' },
      package: { package_id: 'gold' },
      sign_with,
    });
    assert.deepEqual(made.signed_fields, sign_with);
    assert.equal(
      made.signed_payload,
      `{"external_customer_id":"bank-1","external_package_id":"gold","key_id":"${made.key_id}","public_key":"${made.public_key}","pulled_by_type":"api_key","user_id":"Zoë \\"17\\""}`,
    );
    const signed = Buffer.from(made.signature, 'base64');
    assert.equal(verify('sha256', Buffer.from(made.signed_payload), await identity(), signed), true);
  });

  test('bad requests are 400 and say where', async () => {
    for (const [fields, path] of [
      [{ key_type: 'p256' }, 'body.key_type'],
      [{ key_environment: 'WARM' }, 'body.key_environment'],
      [{ key_environment: 'hot' }, 'body.key_environment'],
      [{ user_identifier: '' }, 'body.user_identifier'],
      [{ sign_with: ['public_key'] }, 'body.sign_with.0'],
      [{ sign_with: ['colour'] }, 'body.sign_with.0'],
      [{ sign_with: ['key_id', 'key_id'] }, 'body.sign_with'],
      [{ sign_with: ['external_customer_id'] }, 'body.sign_with'],
      [{ sign_with: ['key_id', 'external_package_id'] }, 'body.sign_with'],
      [{ client_nonce: 'AAAA' }, 'body.client_nonce'],
      [{ organisation: {} }, 'body.organisation.customer_id'],
    ] as const) {
      const { status, body } = await create(fields);
      const { issues } = body as unknown as { issues: { path: string }[] };
      assert.deepEqual([status, issues[0]?.path], [400, path], JSON.stringify(fields));
    }
  });

  test('401 without a token or with an ended one, 403 with one that may not', async () => {
    assert.equal((await create({}, undefined as never)).status, 201, 'the default is the secret key');
    const nobody = await gateway.call('createBackupKey', { body: {} });
    assert.deepEqual([nobody.status, nobody.code], [401, 'unauthenticated']);
    const { status, code } = await create({}, `${project.secretKey}x`);
    assert.deepEqual([status, code], [401, 'unauthenticated']);
    assert.deepEqual([(await create({}, project.publishableKey)).status], [403]);
  });

  test('409 for a second key of one type for one user of one organisation, also when two ask at once', async () => {
    const fields = { user_identifier: 'customer-1', organisation: { customer_id: 'bank-1' } };
    const statuses = await Promise.all([create(fields), create(fields)]);
    assert.deepEqual(statuses.map(({ status }) => status).sort(), [201, 409]);
    assert.deepEqual((await create(fields)).code, 'conflict');
    assert.equal((await create({ ...fields, key_type: 'ed25519' })).status, 201);
    assert.equal((await create(fields, stranger.secretKey)).status, 201, 'another project has users of its own');
    assert.equal((await create({ key_environment: 'COLD' })).code, 'cold_keys_unavailable');
  });

  test('a request sent again under its Idempotency-Key gives the same key', async () => {
    const request = {
      as: project.secretKey,
      headers: { 'idempotency-key': 'once' },
      body: { user_identifier: 'customer-2', key_type: 'ed25519' },
    };
    assert.deepEqual(await gateway.get('createBackupKey', request), await gateway.get('createBackupKey', request));
  });

  test('a key is checked by the enclave: passed, attention, and did_not_finish, which changes nothing', async () => {
    const { key_id } = await keyOf();
    const shown = () => gateway.get('getBackupKey', { as: project.secretKey, params: { key_id } });
    assert.deepEqual([(await shown()).outcome, (await shown()).last_proven_at], ['not_checked', null]);
    const { is_key_valid, outcome } = await verifyKey(key_id);
    assert.deepEqual([is_key_valid, outcome], [true, 'passed']);
    assert.notEqual((await shown()).last_proven_at, null);
    for (const code of ['enclave_unavailable', 'enclave_sealed', 'overloaded'] as const) {
      away = new KedgeError(code);
      const unfinished = await verifyKey(key_id).finally(() => {
        away = null;
      });
      assert.deepEqual([unfinished.is_key_valid, unfinished.outcome], [null, 'did_not_finish']);
    }
    assert.equal((await shown()).outcome, 'passed');
    await gateway.db.query(
      'update backup_keys set public_key = set_byte(public_key, 9, get_byte(public_key, 9) # 1) where id = $1',
      [key_id],
    );
    const wrong = await verifyKey(key_id);
    assert.deepEqual([wrong.is_key_valid, wrong.outcome], [false, 'attention']);
    assert.notEqual((await shown()).last_proven_at, null, 'it was proven once');
  });

  test('an xpub is registered once, if it is the root over that very key', async () => {
    const { key_id, public_key } = await keyOf();
    const other = await keyOf();
    const register = (xpub: string, id = key_id) =>
      gateway.call('registerXpub', { as: project.secretKey, params: { key_id: id }, body: { xpub } });
    const root = rootExtendedKey(hexToBytes(public_key), chainCode);
    assert.equal((await register(formatExtendedKey({ ...root, depth: 1 }, 'test'))).status, 400, 'depth 1');
    for (const wrong of [{}, { depth: 3, child: 7 }, { parent: 1 }, { child: 7 }, { child: 2 ** 31 }, { version: 1 }]) {
      const { status } = await register(extendedKey(root, wrong));
      assert.equal(status === 400, Object.keys(wrong).length > 0, JSON.stringify(wrong));
    }
    const zero = formatExtendedKey({ ...root, chainCode: new Uint8Array(32) }, 'test');
    assert.equal((await register(zero)).status, 400, 'a chain code of zeros');
    assert.equal((await register(xpubOf(other.public_key))).status, 400, 'another key');
    assert.equal((await register(`${xpubOf(public_key)}x`)).status, 400, 'a wrong checksum');
    const ed = await keyOf({ key_type: 'ed25519' });
    assert.equal((await register(xpubOf(public_key), ed.key_id)).status, 400, 'ed25519 has none');
    assert.equal((await register(xpubOf(public_key))).body.xpub, xpubOf(public_key));
    const another = formatExtendedKey(rootExtendedKey(hexToBytes(public_key), chainCode.with(0, 1)), 'test');
    assert.equal((await register(another)).status, 409);
  });

  test('recovery material is stored and checked, against the registered xpub too', async () => {
    const { key_id, public_key } = await keyOf();
    const good = await store(public_key, material(public_key));
    assert.deepEqual((await verifyBackup(good)).outcome, 'passed');
    await gateway.get('registerXpub', {
      as: project.secretKey,
      params: { key_id },
      body: { xpub: xpubOf(public_key) },
    });
    assert.deepEqual((await verifyBackup(good)).is_backup_valid, true);
    const foreign = await store(public_key, material(public_key, { chainCode: '08'.repeat(32) }));
    const found = await verifyBackup(foreign);
    assert.deepEqual([found.is_backup_valid, found.outcome], [false, 'attention']);
    assert.match(found.message, /does not belong to the registered xpub/);
    const { data } = await gateway.get('listKeyBackups', { as: project.secretKey, query: { limit: '2' } });
    assert.deepEqual(
      new Map(data.map(({ backup_id, key_id: of, outcome }) => [backup_id, [of, outcome]])),
      new Map([
        [foreign, [key_id, 'attention']],
        [good, [key_id, 'passed']],
      ]),
    );
    away = new KedgeError('enclave_unavailable');
    const unfinished = await verifyBackup(good).finally(() => {
      away = null;
    });
    assert.deepEqual([unfinished.is_backup_valid, unfinished.outcome], [null, 'did_not_finish']);
  });

  test('material that would not help in a recovery needs attention, and the check says why', async () => {
    const { public_key } = await keyOf();
    const checkOf = async (body: object) => {
      const { backup_id } = await gateway.get('storeSecureData', { as: project.secretKey, body });
      const { is_backup_valid, outcome, message } = await verifyBackup(backup_id);
      assert.deepEqual([is_backup_valid, outcome], [false, 'attention'], message);
      return message;
    };
    for (const bytes of [31, 33, 0])
      assert.match(
        await checkOf({
          public_key,
          ...(await encrypted(material(public_key, { chainCode: '09'.repeat(bytes) }))),
        }),
        /not 32 bytes that could be one/,
        `${bytes} bytes`,
      );
    const zeros = material(public_key, { chainCode: '00'.repeat(32) });
    assert.match(await checkOf({ public_key, ...(await encrypted(zeros)) }), /not 32 bytes/, 'all zero');
    const other = material((await keyOf()).public_key);
    assert.match(await checkOf({ public_key, ...(await encrypted(other)) }), /another public key/);
    const { data, checksum } = await encrypted(material(public_key));
    assert.match(
      await checkOf({ public_key, data, checksum: checksum.replace(/^./, 'f0'[+(checksum[0] === 'f')]!) }),
      /checksum/,
    );

    // Nobody needs its private half.
    const n = Buffer.alloc(512, 0xd1).toString('base64url');
    const elsewhere = createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' });
    for (const [why, wrong] of Object.entries({
      'of another enclave': encryptTo(elsewhere, material(public_key)),
      'another padding': encryptTo(await encryptionKey(), material(public_key), {
        padding: constants.RSA_PKCS1_PADDING,
      }),
      'SHA-1': encryptTo(await encryptionKey(), material(public_key), { oaepHash: 'sha1' }),
      damaged: Buffer.from(data, 'base64').fill(7, 100, 101).toString('base64'),
    }))
      assert.match(await checkOf({ public_key, data: wrong }), /does not decrypt/, why);
  });

  test('446 bytes fit under the enclave’s key, and not one more', async () => {
    const { public_key } = await keyOf();
    const room = 446 - material(public_key, { label: '' }).length;
    const backup = await store(public_key, material(public_key, { label: 'x'.repeat(room) }));
    assert.equal((await verifyBackup(backup)).outcome, 'passed');
    await assert.rejects(store(public_key, material(public_key, { label: 'x'.repeat(room + 1) })), {
      code: 'ERR_OSSL_RSA_DATA_TOO_LARGE_FOR_KEY_SIZE',
    });
  });

  test('400 for a checksum, a padding or data of another form', async () => {
    const { data, checksum } = await encrypted('x');
    const public_key = '02'.repeat(33);
    for (const wrong of [
      { checksum: 'abc' },
      { checksum: checksum.toUpperCase() },
      { checksum: `${checksum}00` },
      { padding_type: 'PKCS1' },
      { padding_type: 'oaep' },
      { data: data.slice(4) },
      { data: `${data.slice(0, -4)}!!!!` },
      { data: Buffer.alloc(512).toString('base64url') },
      { data: Buffer.alloc(513).toString('base64') },
      { public_key: '02' },
      { public_key: 'zz'.repeat(33) },
      { metadata: { colour: 'red' } },
    ]) {
      const body = { public_key, data, checksum, ...wrong };
      const { status, code } = await gateway.call('storeSecureData', { as: project.secretKey, body });
      assert.deepEqual([status, code], [400, 'request_invalid'], JSON.stringify(wrong).slice(0, 60));
    }
  });

  test('a file up to 10 MiB is kept as it came; what is larger is 413, what is no octet stream is 415', async () => {
    const file = new Uint8Array(FILE_BYTES_MAX).fill(3);
    const send = (request: object) => gateway.call('storeSecureFile', { as: project.secretKey, ...request });
    const checksum = createHash('sha256').update(file).digest('hex');
    const stored = await send(formRequest({ file, fields: { checksum, public_key: '02'.repeat(33) } }));
    assert.deepEqual(
      [stored.status, stored.body.checksum, stored.body.data_size, stored.body.backup_type],
      [201, checksum, FILE_BYTES_MAX, 'file'],
    );
    const checked = await verifyBackup(stored.body.backup_id);
    assert.deepEqual([checked.is_backup_valid, checked.outcome], [null, 'not_checked']);
    await gateway.db.query(`update key_backup_parts set bytes = '\\x00' where key_backup = $1 and part = 3`, [
      stored.body.backup_id,
    ]);
    assert.equal((await verifyBackup(stored.body.backup_id)).outcome, 'attention');

    for (const bytes of [FILE_BYTES_MAX + 1, FILE_BYTES_MAX + 200_000])
      assert.deepEqual((await send(formRequest({ file: new Uint8Array(bytes) }))).code, 'request_too_large');
    const small = new Uint8Array(10);
    assert.equal((await send(formRequest({ file: small, type: 'text/plain' }))).status, 415);
    assert.equal((await send({ body: { file: 'x' } })).status, 415, 'JSON');
    assert.equal((await send({})).status, 415, 'nothing');
    assert.equal((await send(formRequest({ file: small, fields: { checksum } }))).status, 400, 'another checksum');
    assert.equal((await send(formRequest({ file: small, fields: { colour: 'red' } }))).status, 400);
    assert.equal((await send(formRequest({ file: new Uint8Array() }))).status, 400, 'empty');
    const { headers } = formRequest({ file: small });
    assert.equal((await send({ headers, body: Buffer.from('no form') })).status, 400);
    const elsewhere = await gateway.call('createBackupKey', { as: project.secretKey, ...formRequest({ file: small }) });
    assert.equal(elsewhere.status, 415, 'no other endpoint takes forms');
  });

  test('partners say organisation, package and environment, and get the same keys and backups', async () => {
    const as = project.secretKey;
    const whole = {
      user_identifier: 'customer-3',
      key_type: 'ed25519',
      key_environment: 'HOT',
      organisation: { customer_id: 'bank-2' },
      package: { package_id: 'gold' },
    };
    for (const field of ['key_environment', 'organisation', 'package'] as const) {
      const { status, body } = await gateway.call('createPartnerKey', { as, body: { ...whole, [field]: undefined } });
      const { issues } = body as unknown as { issues: { path: string }[] };
      assert.deepEqual([status, issues[0]?.path], [400, `body.${field}`]);
    }
    const { key_id, public_key, customer_id, package_id } = await gateway.get('createPartnerKey', { as, body: whole });
    assert.deepEqual([customer_id, package_id], ['bank-2', 'gold']);
    assert.equal((await verifyKey(key_id)).outcome, 'passed');
    assert.equal((await gateway.call('createPartnerKey', { as, body: whole })).status, 409);
    assert.equal((await create(whole)).status, 409, 'they are the same keys');
    const body = { public_key, ...(await encrypted('{}')) };
    const data = await gateway.get('storePartnerData', { as, body });
    assert.deepEqual([data.key_id, (await verifyBackup(data.backup_id)).outcome], [key_id, 'passed']);
    assert.equal((await gateway.call('storePartnerData', { as, body: { ...body, checksum: 'abc' } })).status, 400);
    const file = await gateway.get('storePartnerFile', { as, ...formRequest({ file: new Uint8Array(10) }) });
    assert.equal(file.backup_type, 'file');
    const text = formRequest({ file: new Uint8Array(10), type: 'text/plain' });
    assert.equal((await gateway.call('storePartnerFile', { as, ...text })).status, 415);
  });

  test('every act is an event, with ids and outcomes, and names no customer', async () => {
    const events = (await gateway.events()).filter(({ type }) => /^(backup_key|key_backup)\./.test(type));
    const types = new Set(events.map(({ type }) => type));
    for (const type of ['created', 'verified', 'xpub_registered']) assert.equal(types.has(`backup_key.${type}`), true);
    for (const type of ['stored', 'verified']) assert.equal(types.has(`key_backup.${type}`), true);
    for (const text of ['customer-', 'bank-1', 'Zoë', 'savings'])
      assert.equal(JSON.stringify(events).includes(text), false, text);
  });

  test('six calls by curl with a bearer token and nothing else', async () => {
    await gateway.app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = gateway.app.server.address() as AddressInfo;
    const folder = mkdtempSync(join(tmpdir(), 'kedge-curl-'));
    const page = await readFile(new URL('../../../docs/systems/backup-key.md', import.meta.url), 'utf8');
    const script = /<!-- six calls -->\s*```sh\n([\s\S]*?)```/.exec(page)?.[1];
    assert.ok(script, 'the page has the six calls');
    writeFileSync(join(folder, 'calls.sh'), `set -euo pipefail\n${script}`);
    const { stdout } = await run('bash', ['calls.sh'], {
      cwd: folder,
      env: { PATH: process.env.PATH, URL: `http://127.0.0.1:${port}`, TOKEN: project.secretKey },
    });
    assert.deepEqual(
      [...stdout.matchAll(/"outcome":"(\w+)","message"/g)].map(([, outcome]) => outcome),
      ['passed', 'passed'],
      stdout,
    );
  });
}

/** BIP32 as text, with any metadata: our own writer refuses what can't be. */
function extendedKey(
  { chainCode, publicKey }: { readonly chainCode: Uint8Array; readonly publicKey: Uint8Array },
  { version = 0x043587cf, depth = 0, parent = 0, child = 0 },
): string {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(version, 0);
  head.writeUInt8(depth, 4);
  head.writeUInt32BE(parent, 5);
  head.writeUInt32BE(child, 9);
  const payload = Buffer.concat([head, chainCode, publicKey]);
  const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();
  const checked = Buffer.concat([payload, sha256(sha256(payload)).subarray(0, 4)]);
  const digits = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
  let text = '';
  for (let rest = BigInt(`0x${checked.toString('hex')}`); rest > 0n; rest /= 58n)
    text = digits[Number(rest % 58n)] + text;
  return text;
}
