/** Secret keys that are limited to scopes: what they reach, what they are told, and that nothing makes them wider. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type EndpointName, endpoints, type Scope, scopes } from '@kedge/core';
import { createTestGateway, type TestGateway } from './testing/gateway.ts';
import { type Customer, createCustomer, requests } from './testing/requests.ts';

describe('a secret key with scopes', () => {
  let gateway: TestGateway;
  let customer: Customer;
  before(async () => {
    gateway = await createTestGateway();
    customer = await createCustomer(gateway);
  });
  after(() => gateway.close());

  const create = (body: object) =>
    gateway.call('createApiKey', {
      as: customer.project.operator,
      params: { project_id: customer.project.id },
      body: { kind: 'secret', ...body },
    });
  const keyWith = async (...given: Scope[]) => (await create({ scopes: given })).body.key;
  const ask = async (name: EndpointName, as: string) =>
    gateway.call(name, { ...(await requests[name](gateway, customer)), as });
  const tokenBy = (as: string, asked?: Scope[]) =>
    gateway.call('createToken', { as, body: asked ? { scopes: asked } : {} });

  test('does what its scopes say, is told which one is missing, and reaches nothing that has none', async () => {
    const key = await keyWith('keys:read', 'backups:write');
    for (const name of Object.keys(endpoints) as EndpointName[]) {
      const { scope, principals } = endpoints[name] as { scope?: Scope | 'any'; principals: readonly string[] };
      if (!principals.includes('secret_key')) continue;
      const { status, body } = await ask(name, key);
      const may = ['any', 'keys:read', 'backups:write'].includes(scope ?? '') || principals.includes('anonymous');
      assert.equal(status === 403, !may, name);
      if (may) continue;
      const { detail } = body as unknown as { detail: string };
      assert.match(detail, scope === undefined ? /one without limits/ : new RegExp(`the scope ${scope}\\.`), name);
    }
  });

  test('without a list may do everything, as do keys from before there were lists', async () => {
    for (const name of ['listUsers', 'listBackupKeys', 'storeSecureData'] as const) {
      assert.equal((await ask(name, customer.project.secretKey)).status < 300, true, name);
      assert.equal((await ask(name, (await create({})).body.key)).status < 300, true, name);
    }
  });

  test('makes tokens of its own scopes or fewer, and none that may more', async () => {
    const key = await keyWith('keys:read', 'keys:write');
    const same = await tokenBy(key);
    assert.deepEqual([same.status, same.body.scopes], [201, ['keys:read', 'keys:write']]);
    assert.equal((await ask('listBackupKeys', same.body.access_token)).status, 200);
    assert.equal((await ask('listUsers', same.body.access_token)).status, 403);
    const fewer = (await tokenBy(key, ['keys:write'])).body.access_token;
    assert.equal((await ask('listBackupKeys', fewer)).status, 403);
    const wider = await tokenBy(key, ['keys:read', 'backups:read']);
    assert.deepEqual([wider.status, wider.code], [403, 'forbidden']);
    assert.match((wider.body as unknown as { detail: string }).detail, /backups:read/);
    assert.equal((await tokenBy(fewer)).status, 403, 'a token makes no other token');
  });

  test('attack: with every scope there is, to choose the judges of a key that has none', async () => {
    const key = await keyWith(...scopes);
    for (const as of [key, (await tokenBy(customer.project.secretKey, [...scopes])).body.access_token])
      assert.equal((await ask('bindApproverList', as)).status, 403);
    assert.equal((await ask('bindApproverList', customer.project.secretKey)).status, 200);
  });

  test('attack: a token from before its key was limited may no more than the key', async () => {
    const { key, id } = (await create({})).body;
    const token = (await tokenBy(key)).body.access_token;
    const limited = (await tokenBy(key, ['keys:read', 'backups:read'])).body.access_token;
    await gateway.db.query(`update api_keys set scopes = '{keys:read}' where id = $1`, [id]);
    for (const each of [key, token, limited]) {
      assert.equal((await ask('listBackupKeys', each)).status, 200);
      assert.equal((await ask('listKeyBackups', each)).status, 403);
      assert.equal((await ask('listUsers', each)).status, 403);
    }
  });

  test('shows its scopes in the list and in the ledger', async () => {
    const { id, scopes: shown } = (await create({ scopes: ['backups:read'] })).body;
    assert.deepEqual(shown, ['backups:read']);
    const { data } = await gateway.get('listApiKeys', {
      as: customer.project.operator,
      params: { project_id: customer.project.id },
    });
    assert.deepEqual(data.find((key) => key.id === id)?.scopes, ['backups:read']);
    const created = (await gateway.events()).filter(({ type }) => type === 'api_key.created');
    assert.deepEqual(created.at(-1)?.data.scopes, ['backups:read']);
  });

  test('takes known scopes, each once, and at least one; a publishable key takes none', async () => {
    for (const wrong of [
      { scopes: [] },
      { scopes: ['keys:read', 'keys:read'] },
      { scopes: ['keys:delete'] },
      { scopes: ['any'] },
      { scopes: 'keys:read' },
      { scopes: [...scopes, 'keys:read'] },
      { kind: 'publishable', scopes: ['keys:read'] },
    ]) {
      const { status, code } = await create(wrong);
      assert.deepEqual([status, code], [400, 'request_invalid'], JSON.stringify(wrong));
    }
    assert.equal((await create({ kind: 'publishable' })).status, 201);
  });
});
