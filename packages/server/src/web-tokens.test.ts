/** Web tokens: good for an hour, for what they say, as long as the secret key behind them, and for nothing else. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type EndpointName, endpoints, HOUR_MS, type Scope } from '@kedge/core';
import { createTestGateway, type TestGateway } from './testing/gateway.ts';
import { type Customer, createCustomer, requests } from './testing/requests.ts';

describe('a web token', () => {
  let gateway: TestGateway;
  let customer: Customer;
  before(async () => {
    gateway = await createTestGateway();
    customer = await createCustomer(gateway);
  });
  after(() => gateway.close());

  const tokenWith = async (scopes?: Scope[], as = customer.project.secretKey) =>
    (await gateway.get('createToken', { as, body: scopes ? { scopes } : {} })).access_token;
  const statusOf = async (name: EndpointName, as: string, on = customer) =>
    (await gateway.call(name, { ...(await requests[name](gateway, on)), as })).status;

  test('does what its scopes say, and without scopes what the secret key may', async () => {
    const names = (Object.keys(endpoints) as EndpointName[]).filter(
      (name) =>
        endpoints[name].principals.some((kind) => kind === 'secret_key') && endpoints[name].path !== '/v1/tokens',
    );
    const limited = await tokenWith(['keys:read', 'backups:write']);
    const whole = await tokenWith();
    for (const name of names) {
      const { scope, principals } = endpoints[name] as { scope?: Scope; principals: readonly string[] };
      const may = scope === 'keys:read' || scope === 'backups:write' || principals.includes('anonymous');
      assert.equal((await statusOf(name, limited)) === 403, !may, `${name} ${scope}`);
      if (scope === undefined) continue;
      const fresh = await createCustomer(gateway, customer.project); // what a token did stands in the way of doing it again
      assert.notEqual(await statusOf(name, whole, fresh), 403, name);
    }
    assert.equal(await statusOf('listUsers', whole), 200);
  });

  test('makes no other token', async () => {
    for (const token of [await tokenWith(), await tokenWith(['keys:read'])])
      assert.equal(await statusOf('createToken', token), 403);
  });

  test('altered in any part, unsigned, or signed in another way is no credential', async () => {
    const token = await tokenWith(['keys:read']);
    const [header, body, signature] = token.split('.') as [string, string, string];
    const spelled = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as object;
    const none = spelled({ alg: 'none', typ: 'JWT' });
    const hs256 = spelled({ alg: 'HS256', typ: 'JWT' });
    const hmac = createHmac('sha256', new Uint8Array(32).fill(7)).update(`${hs256}.${body}`).digest('base64url');
    for (const wrong of [
      `${header}.${spelled({ ...claims, scopes: null })}.${signature}`,
      `${header}.${body}.${signature.slice(0, -2)}AA`,
      `${header}.${body}.`,
      `${header}.${body}`,
      `${none}.${body}.`,
      `${none}.${body}.${signature}`,
      `${hs256}.${body}.${hmac}`,
      `${token}.${signature}`,
      `${header}..${signature}`,
      `${token}=`,
    ])
      assert.equal(await statusOf('listBackupKeys', wrong), 401, wrong.slice(-30));
    assert.equal(await statusOf('listBackupKeys', token), 200);
  });

  test('is over after an hour, and with the secret key it was made with', async () => {
    const token = await tokenWith();
    gateway.clock.advance(HOUR_MS - 2_000);
    assert.equal(await statusOf('listBackupKeys', token), 200);
    gateway.clock.advance(2_000);
    assert.equal(await statusOf('listBackupKeys', token), 401);

    const other = await createCustomer(gateway);
    const fresh = await tokenWith(undefined, other.project.secretKey);
    assert.equal(await statusOf('listBackupKeys', fresh), 200);
    await gateway.db.query('update api_keys set revoked_at = now() where project = $1', [other.project.id]);
    assert.equal(await statusOf('listBackupKeys', fresh), 401);
  });

  test('is named in the ledger without being in it', async () => {
    const token = await tokenWith(['keys:write']);
    const events = await gateway.events();
    assert.deepEqual(events.at(-1)?.type, 'web_token.created');
    assert.equal(JSON.stringify(events).includes(token.split('.')[2]!), false);
  });
});
