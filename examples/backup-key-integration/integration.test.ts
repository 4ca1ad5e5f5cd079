/**
 * The integration against a real gateway over HTTP and a real enclave: a wallet whose third key is the enclave's, a file
 * that knows nothing of it, and somebody on the way who changes answers.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { bitcoinNetworks, parseDescriptor } from '@kedge/chains';
import { backupKeys, createClient, thumbprintOf } from '@kedge/sdk';
import { createTestGateway, createTestProject, type TestGateway, type TestProject } from '@kedge/server/testing';
import { HDKey } from '@scure/bip32';
import { openCustomers } from './customers.ts';
import { createWallet, findUnrecoverable, type Integration } from './integration.ts';

const network = bitcoinNetworks.signet;
const versions = { public: 0x043587cf, private: 0x04358394 };
const xpubOf = (seed: number) => HDKey.fromMasterSeed(new Uint8Array(32).fill(seed), versions).publicExtendedKey;
const others = { owner: xpubOf(1), platform: xpubOf(2) };

describe('an integration of backup keys', () => {
  let gateway: TestGateway;
  let project: TestProject;
  let url: string;
  before(async () => {
    gateway = await createTestGateway();
    project = await createTestProject(gateway);
    await gateway.app.listen({ host: '127.0.0.1', port: 0 });
    url = `http://127.0.0.1:${(gateway.app.server.address() as AddressInfo).port}`;
  });
  after(() => gateway.close());

  /** `tamper` stands between the program and the service and may change what an answer says. */
  const integrationIn = (folder: string, tamper?: (path: string, answer: Record<string, unknown>) => void) => {
    const onTheWay: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      if (!tamper || response.status === 204) return response;
      const answer = (await response.json()) as Record<string, unknown>;
      tamper(new URL(String(input)).pathname, answer);
      return Response.json(answer, { status: response.status });
    };
    const integration: Integration = {
      service: backupKeys({
        client: createClient({ url, token: project.secretKey, fetch: onTheWay }),
        pin: thumbprintOf(project.publishableKey),
        project: project.id,
      }),
      customers: openCustomers(join(folder, 'customers.json')),
      network,
    };
    return integration;
  };
  const newFolder = () => mkdtempSync(join(tmpdir(), 'kedge-integration-'));
  const keysOf = async (customer: string) =>
    (await gateway.get('listBackupKeys', { as: project.secretKey })).data.filter(
      (key) => key.user_identifier === customer,
    );
  const refusals = async () =>
    (await gateway.events()).filter(({ type }) => type === 'backup_key.answer_refused').map(({ data }) => data);

  test('makes a wallet of two of three, with the key that the enclave checks, and keeps two ids', async () => {
    const folder = newFolder();
    const integration = integrationIn(folder);
    const { descriptor, firstAddress } = await createWallet(integration, 'customer-1', others);
    const [key] = await keysOf('customer-1');
    const parsed = parseDescriptor(descriptor, network);
    assert.deepEqual([parsed.threshold, parsed.keys.length], [2, 3]);
    for (const xpub of [others.owner, others.platform, key!.xpub!]) assert.equal(descriptor.includes(xpub), true);
    assert.match(firstAddress, /^tb1q/);

    const text = readFileSync(join(folder, 'customers.json'), 'utf8');
    const rows = JSON.parse(text) as Record<string, Record<string, string>>;
    assert.deepEqual(Object.keys(rows['customer-1']!).sort(), ['backupId', 'keyId']);
    assert.equal(rows['customer-1']!.keyId, key!.key_id);
    const third = parsed.keys[2]!;
    assert.equal(third.kind, 'extended');
    const chainCode = third.kind === 'extended' ? Buffer.from(third.key.chainCode).toString('hex') : '';
    for (const secret of [key!.public_key, key!.xpub!, chainCode, 'tpub']) assert.equal(text.includes(secret), false);

    assert.equal((await findUnrecoverable(integrationIn(folder))).size, 0, 'the ids are enough to check everything');
    await assert.rejects(createWallet(integrationIn(folder), 'customer-1', others), /already/);
  });

  test('a tampered answer stops the ceremony, is an event, and leaves no wallet and no row', async () => {
    const another = await integrationIn(newFolder()).service.create({ user_identifier: 'x', key_type: 'secp256k1' });
    for (const [at, change] of Object.entries({
      'another key': another,
      'a public key of somebody else': { public_key: `02${'11'.repeat(32)}` },
      'the attestation of another key': { attestation: another.attestation },
      'the signature of another key': { signature: another.signature },
    })) {
      const before = (await refusals()).length;
      const folder = newFolder();
      const integration = integrationIn(folder, (path, answer) => {
        if (path === '/v1/keys') Object.assign(answer, change);
      });
      await assert.rejects(createWallet(integration, `tampered ${at}`, others), { code: 'key_refused' }, at);
      assert.equal((await refusals()).length, before + 1, at);
      assert.equal(integration.customers.find(`tampered ${at}`), null, at);
      const stored = await gateway.get('listKeyBackups', { as: project.secretKey });
      const [key] = await keysOf(`tampered ${at}`);
      assert.equal(
        stored.data.some(({ key_id }) => key_id === key!.key_id),
        false,
        'no material for that key',
      );
    }
  });

  test('attack: an encryption key of somebody else gets no chain code', async () => {
    const rsa = await integrationIn(newFolder()).service.create({ user_identifier: 'y', key_type: 'rsa4096' });
    const integration = integrationIn(newFolder(), (path, answer) => {
      if (path === '/v1/encryption-key') answer.public_key = Buffer.from(rsa.public_key, 'hex').toString('base64');
    });
    await assert.rejects(createWallet(integration, 'customer-2', others), { code: 'key_refused' });
    assert.equal(integration.customers.find('customer-2'), null);
  });

  test('finds the customers whose backup would not help, and says why', async () => {
    const folder = newFolder();
    for (const customer of ['customer-3', 'customer-4']) await createWallet(integrationIn(folder), customer, others);
    const integration = integrationIn(folder);
    const { backupId } = integration.customers.find('customer-4')!;
    await gateway.db.query(
      'update key_backup_parts set bytes = set_byte(bytes, 7, get_byte(bytes, 7) # 1) where key_backup = $1',
      [backupId],
    );
    const found = await findUnrecoverable(integration);
    assert.deepEqual([...found.keys()], ['customer-4']);
    assert.match(found.get('customer-4')!, /Needs attention/);
  });
});
