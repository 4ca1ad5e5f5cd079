/**
 * The SDK against a gateway: what is honest is believed, what was tampered with on the way is refused, reported and
 * never returned. Every field of the answer is changed in turn, in every way that a liar who can't sign has.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { parseExtendedKey } from '@kedge/chains';
import { hexToBytes, type ResponseOf, toBase64Url, utf8ToBytes } from '@kedge/core';
import { type BackupKeyService, backupKeys, createClient, thumbprintOf } from '@kedge/sdk';
import { createTestGateway, createTestProject, type TestGateway, type TestProject } from './testing/gateway.ts';

type Assigned = ResponseOf<'createBackupKey'>;
type Tampering = (path: string, answer: Record<string, unknown>) => void;

const wanted = () => ({ user_identifier: `customer-${randomUUID()}`, key_type: 'secp256k1' as const });

describe('backup keys through the SDK', () => {
  let gateway: TestGateway;
  let project: TestProject;
  let stranger: TestProject;
  let tamper: Tampering | null = null;
  let service: BackupKeyService;

  /** `fetch` over the gateway, with somebody in between. */
  const throughGateway: typeof fetch = async (input, init) => {
    const request = new Request(input, init);
    const { pathname, search } = new URL(request.url);
    const headers: Record<string, string> = {};
    request.headers.forEach((value, name) => {
      headers[name] = value;
    });
    const response = await gateway.app.inject({
      method: request.method as 'GET',
      url: pathname + search,
      headers,
      ...(request.body === null ? {} : { payload: Buffer.from(await request.arrayBuffer()) }),
    });
    const answer = response.body === '' ? null : (response.json() as Record<string, unknown>);
    if (answer !== null) tamper?.(pathname, answer);
    return new Response(answer === null ? null : JSON.stringify(answer), { status: response.statusCode });
  };
  const serviceOf = (of: TestProject, as = of.secretKey) =>
    backupKeys({
      client: createClient({
        url: 'http://gateway.test',
        token: as,
        fetch: throughGateway,
        wait: async () => undefined,
      }),
      pin: thumbprintOf(of.publishableKey),
      project: of.id,
    });
  const reports = async () =>
    (await gateway.events()).filter(({ type }) => type === 'backup_key.answer_refused').length;

  before(async () => {
    gateway = await createTestGateway();
    project = await createTestProject(gateway);
    stranger = await createTestProject(gateway);
    service = serviceOf(project);
  });
  after(() => gateway.close());

  test('a key is assigned and checked; what the integrator keeps is its id', async () => {
    for (const key_type of ['secp256k1', 'ed25519'] as const) {
      const { key_id } = await service.create({ ...wanted(), key_type });
      assert.equal((await service.verify(key_id)).outcome, 'passed');
    }
    const { signed_payload } = await service.create({
      ...wanted(),
      organisation: { customer_id: 'bank-1' },
      sign_with: ['user_id', 'key_fingerprint', 'external_customer_id', 'pulled_by_type'],
    });
    assert.match(String(signed_payload), /^\{"external_customer_id":"bank-1","key_fingerprint":/);
  });

  test('a web token with the scopes of these calls is enough', async () => {
    const body = { scopes: ['keys:write', 'backups:write'] };
    const { access_token } = await gateway.get('createToken', { as: project.secretKey, body });
    const limited = serviceOf(project, access_token);
    const { public_key } = await limited.create(wanted());
    const material = { chainCode: new Uint8Array(32).fill(1), publicKey: public_key, coin: 'btc', label: '' };
    await assert.rejects(limited.verifyBackup(await limited.store(material)), { code: 'forbidden' });
  });

  test('a tampered answer stops the ceremony and is an event, whichever field it is', async () => {
    const honest = await service.create(wanted());
    const other = await service.create(wanted());
    const foreign = await serviceOf(stranger).create(wanted());
    const rewritten = (signed: Assigned['attestation'], change: object) => {
      const said = JSON.parse(Buffer.from(signed.document, 'base64url').toString()) as object;
      return { ...signed, document: toBase64Url(utf8ToBytes(JSON.stringify({ ...said, ...change }))) };
    };
    const flipped = (base64: string) => base64.slice(0, 20) + (base64[20] === 'A' ? 'B' : 'A') + base64.slice(21);
    const lies: Record<string, (answer: Assigned) => Partial<Assigned>> = {
      'another public key': () => ({ public_key: other.public_key }),
      'another public key with its signature': () => ({ public_key: other.public_key, signature: other.signature }),
      'the whole answer for another key of the project': () => other,
      'the whole answer for another tenant': () => foreign,
      'an answer from before': () => honest,
      'another key id': () => ({ key_id: other.key_id }),
      'a broken signature': ({ signature }) => ({ signature: flipped(signature) }),
      'no signature': () => ({ signature: '' }),
      'a signature that is no base64': () => ({ signature: '!' }),
      'a signature with bytes behind it': ({ signature }) => ({
        signature: Buffer.concat([Buffer.from(signature, 'base64'), Buffer.of(0)]).toString('base64'),
      }),
      'a payload that nobody asked for': ({ public_key }) => ({ signed_payload: public_key }),
      'the attestation of another key': () => ({ attestation: other.attestation }),
      'an attestation with a broken signature': ({ attestation }) => ({
        attestation: { ...attestation, signature: flipped(attestation.signature) },
      }),
    };
    for (const [field, value] of Object.entries({
      project: stranger.id,
      user: 'customer-0',
      key_id: other.key_id,
      key_type: 'ed25519',
      key_environment: 'COLD',
      public_key: other.public_key,
      created_at: '2020-01-01T00:00:00.000Z',
      client_nonce: null,
    }))
      lies[`${field} in the attestation`] = ({ attestation }) => ({
        attestation: rewritten(attestation, { [field]: value }),
      });

    for (const [lie, change] of Object.entries(lies)) {
      const before = await reports();
      tamper = (path, answer) => {
        if (path === '/v1/keys') Object.assign(answer, change(answer as Assigned));
      };
      await assert.rejects(
        service.create(wanted()).finally(() => {
          tamper = null;
        }),
        { code: 'key_refused' },
        lie,
      );
      if (!lie.includes('tenant')) assert.equal(await reports(), before + 1, lie);
    }
  });

  test('fields under the signature that are not the request’s are refused', async () => {
    const request = { ...wanted(), sign_with: ['user_id' as const] };
    const more = await service.create({ ...request, sign_with: ['user_id', 'key_id'] });
    tamper = (path, answer) => {
      const { signature, signed_payload } = more;
      if (path === '/v1/keys') Object.assign(answer, { signature, signed_payload });
    };
    await assert.rejects(
      service.create(request).finally(() => {
        tamper = null;
      }),
      { code: 'key_refused' },
    );
  });

  test('another enclave than the pinned one is refused before anything is asked of it', async () => {
    const pin = thumbprintOf(project.publishableKey);
    const client = createClient({ url: 'http://gateway.test', token: project.secretKey, fetch: throughGateway });
    const elsewhere = backupKeys({ client, pin: `A${pin.slice(1, -1)}A`, project: project.id });
    const before = (await gateway.events()).length;
    await assert.rejects(elsewhere.create(wanted()), { code: 'enclave_unavailable' });
    assert.equal((await gateway.events()).length, before);
  });

  test('chain code and xpub at depth 0; stored, registered, and checked by the enclave', async () => {
    const { key_id, public_key } = await service.create(wanted());
    const { chainCode, xpub } = service.createXpub(public_key, 'test');
    const parsed = parseExtendedKey(xpub);
    assert.deepEqual([parsed.depth, parsed.parentFingerprint, parsed.childNumber], [0, 0, 0]);
    assert.deepEqual([parsed.chainCode, parsed.publicKey], [chainCode, hexToBytes(public_key)]);
    const material = { chainCode, publicKey: public_key, coin: 'btc', label: 'x'.repeat(64) };
    const backup = await service.store(material);
    await service.registerXpub(key_id, xpub);
    assert.equal((await service.verifyBackup(backup)).outcome, 'passed');
    const wrong = await service.store({ ...material, chainCode: new Uint8Array(32).fill(1) });
    assert.equal((await service.verifyBackup(wrong)).outcome, 'attention');
  });

  test('material that no recovery could use never leaves the client', async () => {
    const publicKey = '02'.repeat(33);
    const good = { chainCode: new Uint8Array(32).fill(1), publicKey, coin: 'btc', label: '' };
    for (const wrong of [
      { chainCode: new Uint8Array(31).fill(1) },
      { chainCode: new Uint8Array(33).fill(1) },
      { chainCode: new Uint8Array(32) },
      { label: 'x'.repeat(65) },
      { label: 'ü'.repeat(33) },
      { coin: 'c'.repeat(300) },
    ])
      await assert.rejects(service.store({ ...good, ...wrong }), { code: 'request_invalid' });
    const rest = JSON.stringify({ ...good, chainCode: '01'.repeat(32), coin: '' }).length;
    assert.match(await service.store({ ...good, coin: 'c'.repeat(446 - rest) }), /-7/, '446 bytes fit');
    await assert.rejects(service.store({ ...good, coin: 'c'.repeat(447 - rest) }), { code: 'request_invalid' });
  });

  test('an encryption key that the enclave did not sign gets nothing encrypted to it', async () => {
    const { public_key: hex } = await service.create({ ...wanted(), key_type: 'rsa4096' });
    for (const change of [{ public_key: Buffer.from(hex, 'hex').toString('base64') }, { version: 2 }]) {
      const before = await gateway.db.query('select 1 from key_backups');
      tamper = (path, answer) => {
        if (path === '/v1/encryption-key') Object.assign(answer, change);
      };
      const material = { chainCode: new Uint8Array(32).fill(1), publicKey: '02'.repeat(33), coin: 'btc', label: '' };
      await assert.rejects(
        service.store(material).finally(() => {
          tamper = null;
        }),
        { code: 'key_refused' },
      );
      assert.equal((await gateway.db.query('select 1 from key_backups')).length, before.length);
    }
  });

  test('a larger file is stored under a key of its own, and shows nothing of its content', async () => {
    const content = utf8ToBytes('a whole descriptor '.repeat(5_000));
    const backup = await service.storeFile(content, '02'.repeat(33));
    const parts = await gateway.db.query<{ bytes: Uint8Array }>(
      'select bytes from key_backup_parts where key_backup = $1 order by part',
      [backup],
    );
    const stored = Buffer.concat(parts.map(({ bytes }) => bytes));
    assert.deepEqual([...stored.subarray(0, 3)], [0x4b, 0x42, 1]);
    assert.equal(stored.includes('descriptor'), false);
    assert.equal(stored.length, 3 + 512 + 64 + 4 + content.length);
    assert.equal((await service.verifyBackup(backup)).outcome, 'not_checked');
  });
});
