/** backup-key inside the enclave: what it makes and attests, what it says of its keys, and what a hostile gateway meets. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  constants,
  createHash,
  createPrivateKey,
  createPublicKey,
  publicEncrypt,
  randomBytes,
  randomUUID,
  sign,
  verify,
} from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type BackupKeyType, bytesToHex, concatBytes, decodeCbor, open as openSealed, utf8ToBytes } from '@kedge/core';
import { openDatabase } from '@kedge/store';
import { type PostgresServer, startPostgres } from '@kedge/store/testing';
import { Decrypter, generateIdentity, identityToRecipient } from 'age-encryption';
import { opensslAead } from './aead.ts';
import { openPkcs11 } from './pkcs11.ts';
import { p256Jwk } from './proofs.ts';
import type { RootKeys } from './root-keys.ts';
import { combineShares } from './secret-shares.ts';
import { readSigned } from './signing.ts';
import { openSoftware } from './software.ts';
import { createSoftHsmToken, createTestKey, openTestEnclave, proveFor, type TestEnclave } from './testing/index.ts';
import { findSoftHsm } from './testing/softhsm.ts';

const project = '0198a000-0000-7000-8000-000000000001';
const user = 'customer-17';
const noFields = {
  external_customer_id: null,
  external_package_id: null,
  pulled_by_id: null,
  pulled_by_type: null,
  user_id: null,
  key_id: null,
  key_fingerprint: null,
};

const wanted = (type: BackupKeyType = 'secp256k1', environment: 'HOT' | 'COLD' = 'HOT') =>
  ({ project, user, key: randomUUID() as string, type, environment, nonce: null, signWith: null }) as const;

const identityOf = async (opened: TestEnclave) => {
  const { document } = await opened.enclave.attestation();
  const { identity } = JSON.parse(new TextDecoder().decode(document)) as { identity: { x: string; y: string } };
  return new Uint8Array(
    Buffer.concat([Buffer.of(4), Buffer.from(identity.x, 'base64url'), Buffer.from(identity.y, 'base64url')]),
  );
};

/** By the program that everybody has: true when it says `Verified OK`. */
function opensslVerifies(folder: string, identity: Uint8Array, signature: Uint8Array, message: Uint8Array): boolean {
  const files = {
    key: join(folder, 'key.pem'),
    signature: join(folder, 'signature'),
    message: join(folder, 'message'),
  };
  const key = createPublicKey({ key: p256Jwk(identity), format: 'jwk' });
  writeFileSync(files.key, key.export({ format: 'pem', type: 'spki' }));
  writeFileSync(files.signature, signature);
  writeFileSync(files.message, message);
  try {
    const args = ['dgst', '-sha256', '-verify', files.key, '-signature', files.signature, files.message];
    return execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' }).includes('Verified OK');
  } catch {
    return false;
  }
}

/** Three people with an age identity each. */
async function createOfficers(): Promise<{ identities: string[]; officers: string[] }> {
  const identities = await Promise.all([generateIdentity(), generateIdentity(), generateIdentity()]);
  return { identities, officers: await Promise.all(identities.map((identity) => identityToRecipient(identity))) };
}

const roots: Readonly<Record<string, (folder: string) => Promise<RootKeys>>> = {
  software: (folder) => openSoftware({ file: join(folder, 'root'), create: true }),
  ...(findSoftHsm() === null
    ? {}
    : {
        softhsm: async (folder) => {
          const token = createSoftHsmToken(folder);
          process.env.SOFTHSM2_CONF = token.env.SOFTHSM2_CONF;
          const { module, tokenLabel, pin } = token;
          return openPkcs11({ module, tokenLabel, pin: () => pin, create: true });
        },
      }),
};

for (const [kind, open] of Object.entries(roots)) {
  describe(`backup keys on ${kind}`, () => {
    let opened: TestEnclave;
    let identities: string[];
    let rootKeys: RootKeys;
    before(async () => {
      const { officers, ...their } = await createOfficers();
      identities = their.identities;
      const openRootKeys = async (folder: string) => {
        rootKeys = await open(folder);
        return rootKeys;
      };
      opened = await openTestEnclave({ openRootKeys, officers });
    });
    after(async () => {
      opened.enclave.stop();
      await opened.db.close();
    });

    test('a key of each type is born, attested, signed as the vendor signs, and verifies', async () => {
      const identity = await identityOf(opened);
      const lengths = { secp256k1: [33], ed25519: [32], rsa4096: [550] };
      for (const type of ['secp256k1', 'ed25519', 'rsa4096'] as const) {
        const nonce = new Uint8Array(randomBytes(32));
        const key = { ...wanted(type), nonce };
        const { publicKey, vendor, attestation } = await opened.enclave.createBackupKey(key);
        assert.deepEqual([publicKey.length], lengths[type]);
        assert.equal(vendor.payload, bytesToHex(publicKey));
        assert.equal(opensslVerifies(opened.folder, identity, vendor.signature, utf8ToBytes(vendor.payload)), true);
        const said = readSigned(identity, 'key-attestation', attestation);
        assert.equal(new TextDecoder().decode(attestation.document).startsWith('{"client_nonce":'), true, 'sorted');
        assert.deepEqual(
          { ...said, created_at: undefined },
          {
            project,
            user,
            key_id: key.key,
            key_type: type,
            key_environment: 'HOT',
            public_key: bytesToHex(publicKey),
            client_nonce: Buffer.from(nonce).toString('base64url'),
            created_at: undefined,
          },
        );
        const { outcome } = await opened.enclave.verifyBackupKey({ project, user, key: key.key, publicKey });
        assert.equal(outcome, 'passed');
      }
    });

    test('a cold key is answered as held offline, and two officers, but not one, have it from a dump and the server key', async () => {
      const key = wanted('secp256k1', 'COLD');
      const { publicKey } = await opened.enclave.createBackupKey(key);
      const { outcome } = await opened.enclave.verifyBackupKey({ project, user, key: key.key, publicKey });
      assert.equal(outcome, 'held_offline');
      const content = await openColdContent(opened, rootKeys, key);
      const shares = await Promise.all(
        content.officers.map(async (file, at) => {
          const decrypter = new Decrypter();
          decrypter.addIdentity(identities[at]!);
          const share = await decrypter.decrypt(file);
          return { index: share[0]!, bytes: share.slice(1) };
        }),
      );
      const address = ['kedge/backup-key/payload/v1', project, user, key.key, 'cold'];
      assert.equal(openSealed(opensslAead, shares[0]!.bytes, content.cold, address), null, 'one officer has nothing');
      for (const pair of [
        [0, 1],
        [2, 0],
        [1, 2],
      ] as const) {
        const pkcs8 = openSealed(opensslAead, combineShares(pair.map((at) => shares[at]!)), content.cold, address)!;
        const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' });
        const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
        assert.deepEqual(Buffer.from(x!, 'base64url'), Buffer.from(publicKey.slice(1)));
        assert.equal(
          verify('sha256', publicKey, createPublicKey(privateKey), sign('sha256', publicKey, privateKey)),
          true,
        );
      }
    });
  });
}

describe('a backup key', () => {
  let opened: TestEnclave;
  before(async () => {
    opened = await openTestEnclave();
  });
  after(async () => {
    opened.enclave.stop();
    await opened.db.close();
  });

  test('is signed with the fields that were asked for, in canonical JSON, and the public key is always among them', async () => {
    const key = {
      ...wanted(),
      signWith: { ...noFields, user_id: 'a lie', key_fingerprint: 'a lie', pulled_by_id: 'ü"' },
    };
    const { vendor, publicKey } = await opened.enclave.createBackupKey(key);
    const fingerprint = createHash('sha256').update(publicKey).digest('hex');
    assert.equal(
      vendor.payload,
      `{"key_fingerprint":"${fingerprint}","public_key":"${bytesToHex(publicKey)}","pulled_by_id":"ü\\"","user_id":"${user}"}`,
    );
    assert.equal(
      opensslVerifies(opened.folder, await identityOf(opened), vendor.signature, utf8ToBytes(vendor.payload)),
      true,
    );
  });

  test('has an attestation that holds for no other document and no other kind', async () => {
    const identity = await identityOf(opened);
    const { attestation, vendor } = await opened.enclave.createBackupKey({ ...wanted(), nonce: new Uint8Array(16) });
    const said = JSON.parse(new TextDecoder().decode(attestation.document)) as Record<string, string>;
    for (const field of Object.keys(said)) {
      const document = utf8ToBytes(JSON.stringify({ ...said, [field]: `${said[field]}0` }));
      assert.equal(readSigned(identity, 'key-attestation', { ...attestation, document }), null, field);
    }
    for (const kind of ['receipt', 'attestation', 'encryption-key'] as const)
      assert.equal(readSigned(identity, kind, attestation), null, kind);
    // The bare signature passes for no document, and no document's for a bare one.
    const bare = { document: utf8ToBytes(vendor.payload), signature: vendor.signature.slice(0, 64) };
    assert.equal(readSigned(identity, 'key-attestation', bare), null);
    assert.equal(opensslVerifies(opened.folder, identity, vendor.signature, attestation.document), false);
  });

  test('cannot be cold where nobody could thaw it', async () => {
    await assert.rejects(opened.enclave.createBackupKey(wanted('ed25519', 'COLD')), { code: 'cold_keys_unavailable' });
  });

  describe('recovery material', () => {
    const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash('sha256').update(bytes).digest());
    const chainCode = new Uint8Array(32).fill(7);
    const publicKey = new Uint8Array(33).fill(2);
    let spki: Uint8Array;
    before(async () => {
      spki = (await opened.enclave.encryptionKey()).publicKey;
    });

    const encrypt = (plaintext: Uint8Array, to: Uint8Array = spki) =>
      new Uint8Array(
        publicEncrypt(
          {
            key: createPublicKey({ key: Buffer.from(to), format: 'der', type: 'spki' }),
            padding: constants.RSA_PKCS1_OAEP_PADDING,
            oaepHash: 'sha256',
          },
          plaintext,
        ),
      );
    const material = (fields: object = {}) =>
      utf8ToBytes(
        JSON.stringify({
          chainCode: bytesToHex(chainCode),
          publicKey: bytesToHex(publicKey),
          coin: 'btc',
          label: 'savings',
          ...fields,
        }),
      );
    const findingOf = async (
      plaintext: Uint8Array,
      check: { data?: Uint8Array; checksum?: Uint8Array; chainCode?: Uint8Array | null } = {},
    ) => {
      const call = { project, backup: randomUUID(), version: 1, data: encrypt(plaintext), checksum: sha256(plaintext) };
      return (await opened.enclave.verifyBackup({ ...call, publicKey, chainCode, ...check })).finding;
    };

    test('is good when checksum, public key and the xpub’s chain code fit, and when there is less to compare', async () => {
      assert.equal(await findingOf(material()), 'good');
      assert.equal(await findingOf(material(), { chainCode: null }), 'good');
      assert.equal(await findingOf(utf8ToBytes('whatever a client keeps'), { chainCode: null }), 'good');
    });

    test('is found out when its chain code is not that of the registered xpub', async () => {
      assert.equal(await findingOf(material(), { chainCode: chainCode.with(31, 8) }), 'xpub_differs');
      assert.equal(await findingOf(utf8ToBytes('no chain code at all')), 'xpub_differs');
    });

    test('is found out when its chain code has 31 or 33 bytes, is all zero, or is no hex', async () => {
      for (const wrong of ['07'.repeat(31), '07'.repeat(33), '00'.repeat(32), 'zz'.repeat(32), 7, null])
        assert.equal(await findingOf(material({ chainCode: wrong })), 'chain_code_invalid', String(wrong));
    });

    test('is found out when it belongs to another key, when the checksum is of something else', async () => {
      assert.equal(await findingOf(material({ publicKey: '03'.repeat(33) })), 'key_differs');
      assert.equal(await findingOf(material(), { checksum: sha256(material({ coin: 'eth' })) }), 'checksum_differs');
    });

    test('for another enclave, or damaged, is said to be for another enclave', async () => {
      const other = await opened.enclave.createBackupKey(wanted('rsa4096'));
      assert.equal(await findingOf(material(), { data: encrypt(material(), other.publicKey) }), 'not_for_this_enclave');
      const damaged = encrypt(material());
      damaged[100]! ^= 1;
      assert.equal(await findingOf(material(), { data: damaged }), 'not_for_this_enclave');
      assert.equal(await findingOf(material(), { data: new Uint8Array(512) }), 'not_for_this_enclave');
    });

    test('of 446 bytes fits, one byte more does not', () => {
      assert.equal(encrypt(new Uint8Array(446)).length, 512);
      assert.throws(() => encrypt(new Uint8Array(447)));
    });

    test('has one key that stays the same over restarts, signed by the enclave', async () => {
      await opened.restart();
      const again = await opened.enclave.encryptionKey();
      assert.deepEqual(again.publicKey, spki);
      const said = readSigned(await identityOf(opened), 'encryption-key', again.signed);
      assert.deepEqual([said?.version, said?.public_key], [1, bytesToHex(spki)]);
    });

    test('never comes back: answers and receipts hold nothing of it', async () => {
      const plaintext = material();
      const answer = await opened.enclave.verifyBackup({
        project,
        backup: randomUUID(),
        version: 1,
        data: encrypt(plaintext),
        checksum: sha256(plaintext),
        publicKey,
        chainCode,
      });
      const text = `${answer.finding}${new TextDecoder().decode(answer.receipt.document)}`;
      for (const secret of [bytesToHex(chainCode), Buffer.from(chainCode).toString('base64url'), 'savings'])
        assert.equal(text.includes(secret), false);
    });
  });
});

/** An RSA key takes seconds to make, and the engine sees a row of bytes whatever is in it. */
const engines: Readonly<Record<string, { types: readonly BackupKeyType[]; open?: () => Promise<PostgresServer> }>> = {
  'an embedded database': { types: ['secp256k1', 'ed25519', 'rsa4096'] },
  PostgreSQL: { types: ['secp256k1', 'ed25519'], open: () => startPostgres() },
};

for (const [engine, { types, open }] of Object.entries(engines)) {
  const skip = open !== undefined && !existsSync('/usr/lib/postgresql') && 'PostgreSQL is not installed';
  describe(`a backup key in ${engine}`, { skip }, () => {
    const operators = new Map([['ada', createTestKey()]]);
    let server: PostgresServer | undefined;
    let opened: TestEnclave;
    before(async () => {
      server = await open?.();
      const db = server && (await openDatabase(await server.url('vault')));
      opened = await openTestEnclave({ operators, officers: (await createOfficers()).officers, ...(db ? { db } : {}) });
      assert.equal(opened.db.engine, server ? 'postgres' : 'pglite');
    });
    after(async () => {
      opened.enclave.stop();
      await opened.db.close();
      await server?.stop();
    });

    test('is the same when asked for twice, and refuses to become another', async () => {
      const key = wanted();
      const first = await opened.enclave.createBackupKey(key);
      const again = await opened.enclave.createBackupKey(key);
      assert.deepEqual(again.publicKey, first.publicKey);
      assert.deepEqual(again.attestation.document, first.attestation.document);
      const raced = wanted();
      const both = await Promise.all([opened.enclave.createBackupKey(raced), opened.enclave.createBackupKey(raced)]);
      assert.deepEqual(both[0].publicKey, both[1].publicKey);
      for (const other of [
        { type: 'ed25519' as const },
        { environment: 'COLD' as const },
        { nonce: new Uint8Array(16) },
      ])
        await assert.rejects(opened.enclave.createBackupKey({ ...key, ...other }), { code: 'conflict' });
    });

    test('lies in a row that has the size of every other, and names nobody', async () => {
      for (const type of types) {
        for (const environment of ['HOT', 'COLD'] as const)
          await opened.enclave.createBackupKey({ ...wanted(type, environment), user: 'somebody@example.org' });
      }
      if (types.includes('rsa4096')) await opened.enclave.encryptionKey();
      const sizes = await opened.db.query<{ size: number; count: number }>(
        'select length(lookup) + length(outer_wrap) + length(payload) as size, count(*)::int as count from backup_keys group by 1',
      );
      assert.equal(sizes.length, 1, JSON.stringify(sizes));
      const dump = JSON.stringify(await opened.db.query('select * from backup_keys'));
      for (const text of [project, 'somebody', user]) assert.equal(dump.includes(text), false, text);
    });

    test('every ciphertext that was flipped, truncated or moved fails the check and opens nothing', async () => {
      const [key, other] = [wanted(), wanted('ed25519')];
      const { publicKey } = await opened.enclave.createBackupKey(key);
      await opened.enclave.createBackupKey(other);
      const rows = await opened.db.query<{
        id: string;
        outer_wrap: Uint8Array;
        payload: Uint8Array;
        lookup: Uint8Array;
      }>('select * from backup_keys');
      for (const statement of [
        'update backup_keys set payload = set_byte(payload, 90, get_byte(payload, 90) # 1)',
        'update backup_keys set outer_wrap = set_byte(outer_wrap, 30, get_byte(outer_wrap, 30) # 1)',
        'update backup_keys set payload = substring(payload from 1 for 200)',
        'update backup_keys set payload = (select payload from backup_keys other where other.id <> backup_keys.id limit 1)',
        'update backup_keys set lookup = decode(md5(lookup::text), $$hex$$)',
        'update backup_keys set server_key = 2',
      ]) {
        await opened.db.query(statement);
        const { outcome } = await opened.enclave.verifyBackupKey({ project, user, key: key.key, publicKey });
        assert.equal(outcome, 'attention', statement);
        for (const row of rows)
          await opened.db.query(
            'update backup_keys set lookup = $2, server_key = 1, outer_wrap = $3, payload = $4 where id = $1',
            [row.id, row.lookup, row.outer_wrap, row.payload],
          );
      }
      const { outcome } = await opened.enclave.verifyBackupKey({ project, user, key: key.key, publicKey });
      assert.equal(outcome, 'passed');
    });

    test('is not found under another project, user or key, nor confirmed for another public key', async () => {
      const key = wanted();
      const { publicKey } = await opened.enclave.createBackupKey(key);
      const asked = { project, user, key: key.key, publicKey };
      for (const wrong of [
        { project: randomUUID() },
        { user: 'customer-18' },
        { key: randomUUID() },
        { publicKey: publicKey.with(5, publicKey[5]! ^ 1) },
      ])
        assert.equal((await opened.enclave.verifyBackupKey({ ...asked, ...wrong })).outcome, 'attention');
    });

    test('survives a rotation of the server key, which leaves nothing under the old version', async () => {
      const key = wanted();
      const { publicKey } = await opened.enclave.createBackupKey(key);
      const { text: proof } = await proveFor(opened, operators.get('ada')!, { act: 'rotate', subject: 'ada' });
      await opened.enclave.startRotation({ proof });
      const counts = async () => (await opened.enclave.rotation()).versions.map(({ wallets }) => wallets > 0);
      assert.deepEqual(await counts(), [true, false]);
      await assert.rejects(opened.enclave.finishRotation(), { code: 'rotation_running' });
      let batches = 0;
      for (; (await opened.enclave.rewrapWallets({ limit: 3 })).left > 0; batches++) assert.equal(batches < 100, true);
      assert.deepEqual(await counts(), [false, true]);
      const { outcome } = await opened.enclave.verifyBackupKey({ project, user, key: key.key, publicKey });
      assert.equal(outcome, 'passed');
    });
  });
}

/** What somebody with the vault database and the root has. */
async function openColdContent(opened: TestEnclave, rootKeys: RootKeys, { key }: { readonly key: string }) {
  const part = (text: string) => {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, utf8ToBytes(text).length);
    return concatBytes(length, utf8ToBytes(text));
  };
  const name = concatBytes(...['kedge/backup-key-lookup/v1', project, user, key].map(part));
  const lookup = (await rootKeys.mac(name)).slice(0, 20);
  const [row] = await opened.db.query<{ server_key: number; outer_wrap: Uint8Array; payload: Uint8Array }>(
    'select * from backup_keys where lookup = $1',
    [lookup],
  );
  const aad = concatBytes(
    ...['kedge/backup-key/server-wrap/v1', bytesToHex(lookup), String(row!.server_key)].map(part),
  );
  const dataKey = await rootKeys.unwrap({ purpose: 'wallet', version: row!.server_key }, row!.outer_wrap, aad);
  const payload = openSealed(opensslAead, dataKey, row!.payload, ['kedge/backup-key/payload/v1', project, user, key]);
  return decodeCbor(payload!) as unknown as { cold: Uint8Array; officers: Uint8Array[]; hot?: Uint8Array };
}
