/**
 * JWTs of a configured issuer: what they may do, and every way of making one that the issuer never signed. The issuer is
 * a real server on this machine with keys of its own; its tokens are signed here by OpenSSL, not by the library that
 * reads them.
 */
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { MINUTE_MS, SECOND_MS } from '@kedge/core';
import { parseConfig } from './config.ts';
import { createTokenIssuer } from './issuer.ts';
import { createTestGateway, type TestGateway } from './testing/gateway.ts';
import { type Customer, createCustomer, requests } from './testing/requests.ts';

const ISSUER = 'https://login.example';
const AUDIENCE = 'https://keys.example';

type Algorithm = 'ES256' | 'RS256' | 'EdDSA';

interface IssuerKey {
  readonly alg: Algorithm;
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

function createKey(alg: Algorithm, kid: string = randomUUID()): IssuerKey {
  const pair =
    alg === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : alg === 'RS256'
        ? generateKeyPairSync('rsa', { modulusLength: 2048 })
        : generateKeyPairSync('ed25519');
  return { alg, kid, ...pair };
}

const jwkOf = ({ alg, kid, publicKey }: IssuerKey) => ({
  ...publicKey.export({ format: 'jwk' }),
  alg,
  kid,
  use: 'sig',
});
const keySet = (...keys: readonly IssuerKey[]) => JSON.stringify({ keys: keys.map(jwkOf) });
const spelled = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

function signed(key: IssuerKey, claims: object, header: object = {}): string {
  const text = `${spelled({ alg: key.alg, kid: key.kid, ...header })}.${spelled(claims)}`;
  const input = { key: key.privateKey, dsaEncoding: 'ieee-p1363' as const };
  return `${text}.${sign(key.alg === 'EdDSA' ? null : 'sha256', Buffer.from(text), input).toString('base64url')}`;
}

describe('a token of the configured issuer', () => {
  const keys = { ES256: createKey('ES256'), RS256: createKey('RS256'), EdDSA: createKey('EdDSA') };
  const key = keys.ES256;
  let server: Server;
  let answer: RequestListener;
  let asked = 0;
  let jwksUrl: string;
  let gateway: TestGateway;
  let customer: Customer;
  let stranger: Customer;

  const give = (text: string) => {
    answer = (_, response) => response.end(text);
  };
  before(async () => {
    server = createServer((request, response) => {
      asked += 1;
      answer(request, response);
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
    gateway = await createTestGateway({
      issuer: (clock) =>
        createTokenIssuer({ issuer: ISSUER, audience: AUDIENCE, jwksUrl, clock, fetch, timeoutMs: 200 }),
    });
    customer = await createCustomer(gateway);
    stranger = await createCustomer(gateway);
  });
  after(async () => {
    await gateway.close();
    server.closeAllConnections();
    server.close();
  });
  beforeEach(async () => {
    // Each test begins with an issuer that is well, and with keys that were just read.
    give(keySet(...Object.values(keys)));
    await gateway.clock.advance(20 * MINUTE_MS);
    assert.equal((await ask(signed(key, claims()))).status, 200);
    asked = 0;
  });

  const nowS = () => Math.floor(gateway.clock.wallMs() / SECOND_MS);
  const claims = (fields: object = {}) => ({
    iss: ISSUER,
    aud: AUDIENCE,
    sub: 'backend-7',
    kedge_project: customer.project.id,
    scope: 'openid keys:read keys:write',
    iat: nowS(),
    exp: nowS() + 600,
    ...fields,
  });
  const ask = (as: string) => gateway.call('listBackupKeys', { as });
  const refused = async (token: string, why: string) => {
    const { status, code } = await ask(token);
    assert.deepEqual([status, code], [401, 'unauthenticated'], why);
  };

  test('is taken in the place of a secret key, signed as ES256, RS256 or EdDSA', async () => {
    for (const each of Object.values(keys)) assert.equal((await ask(signed(each, claims()))).status, 200, each.alg);
    assert.equal((await ask(signed(key, claims({ aud: ['https://other.example', AUDIENCE] })))).status, 200);
    assert.equal(asked, 0, 'the keys were known');
  });

  test('may do what its scope says, and nothing without one', async () => {
    const may = async (scope: string | undefined, name: 'listBackupKeys' | 'storeSecureData' | 'listUsers') => {
      const as = signed(key, claims({ scope }));
      const { status, body } = await gateway.call(name, { ...(await requests[name](gateway, customer)), as });
      return status === 403 ? (body as unknown as { detail: string }).detail : status;
    };
    assert.equal(await may('backups:write', 'storeSecureData'), 201);
    assert.match(String(await may('backups:write', 'listBackupKeys')), /keys:read/);
    for (const scope of [undefined, '', 'admin', '*', 'keys:*', 'KEYS:READ', 'keys:read,backups:read'])
      assert.match(String(await may(scope, 'listBackupKeys')), /keys:read/, scope);
    assert.match(String(await may('keys:read keys:write backups:read backups:write', 'listUsers')), /without limits/);
    const all = signed(key, claims({ scope: 'keys:read keys:write backups:read backups:write' }));
    assert.equal((await gateway.call('createToken', { as: all, body: {} })).status, 403, 'it makes no other token');
  });

  test('acts for the project that it names, and for no other', async () => {
    const params = { key_id: customer.backupKey };
    const read = (fields: object) => gateway.call('getBackupKey', { as: signed(key, claims(fields)), params });
    assert.equal((await read({})).status, 200);
    assert.equal((await read({ kedge_project: stranger.project.id })).status, 404);
    for (const kedge_project of [randomUUID(), 'default', null, undefined])
      assert.equal((await read({ kedge_project })).status, 401);
  });

  test('stored answers and signed names are those of its subject, in its project', async () => {
    const create = (fields: object) =>
      gateway.call('createBackupKey', {
        as: signed(key, claims(fields)),
        headers: { 'idempotency-key': 'once' },
        body: { user_identifier: 'customer-9', key_type: 'ed25519', sign_with: ['pulled_by_id', 'pulled_by_type'] },
      });
    const first = await create({});
    assert.match(String(first.body.signed_payload), /"pulled_by_id":"backend-7","pulled_by_type":"issued_token"/);
    assert.deepEqual((await create({ jti: 'another token' })).body, first.body);
    for (const fields of [{ sub: 'backend-8' }, { kedge_project: stranger.project.id }])
      assert.notEqual((await create(fields)).body.key_id, first.body.key_id, JSON.stringify(fields));
  });

  test('attack: alg none, and an algorithm that is not one of the three', async () => {
    const [, body, signature] = signed(key, claims()).split('.');
    for (const alg of ['none', 'None', 'NONE', 'ES384', 'PS256', '', null])
      for (const end of ['', signature])
        await refused(`${spelled({ alg, kid: key.kid })}.${body}.${end}`, `${alg} ${end}`);
  });

  test('attack: alg confusion, with the published key as the secret of an HMAC', async () => {
    for (const each of Object.values(keys)) {
      const published = [
        JSON.stringify(jwkOf(each)),
        each.publicKey.export({ format: 'pem', type: 'spki' }),
        each.publicKey.export({ format: 'der', type: 'spki' }),
      ];
      for (const alg of ['HS256', each.alg]) {
        const text = `${spelled({ alg, kid: each.kid })}.${spelled(claims())}`;
        for (const secret of published)
          await refused(`${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`, alg);
      }
    }
    await refused(signed(keys.RS256, claims(), { kid: keys.ES256.kid }), 'an RSA signature under the id of an EC key');
    await refused(signed(keys.RS256, claims(), { kid: keys.ES256.kid, alg: 'ES256' }), 'the same, called ES256');
  });

  test('attack: a key that came with the token, or an address for one', async () => {
    const own = createKey('ES256');
    for (const header of [
      { jwk: jwkOf(own), kid: key.kid },
      { jwk: jwkOf(own) },
      { jku: 'http://127.0.0.1:1/keys', kid: key.kid },
      { x5u: 'http://127.0.0.1:1/chain', kid: key.kid },
    ])
      await refused(signed(own, claims(), header), JSON.stringify(header));
    await refused(signed(key, claims(), { crit: ['exp'] }), 'an extension that must be understood');
    await refused(signed(key, claims(), { kid: undefined }), 'no key id');
  });

  test('attack: a token for another audience, of another issuer, without a subject, or changed', async () => {
    for (const fields of [
      { aud: 'https://other.example' },
      { aud: `${AUDIENCE}/` },
      { aud: [] },
      { aud: undefined },
      { iss: 'https://evil.example' },
      { iss: `${ISSUER}/` },
      { iss: undefined },
      { sub: undefined },
      { sub: '' },
      { sub: 'x'.repeat(256) },
      { sub: 'two\nlines' },
    ])
      await refused(signed(key, claims(fields)), JSON.stringify(fields));
    const [header, , signature] = signed(key, claims()).split('.');
    await refused(`${header}.${spelled(claims({ scope: 'backups:read' }))}.${signature}`, 'changed claims');
  });

  test('attack: an expired token, one of tomorrow, and one that would hold for longer than a day', async () => {
    const [minute, day] = [60, 86_400];
    for (const [fields, status] of [
      [{ iat: nowS() - minute, exp: nowS() - 29 }, 200],
      [{ iat: nowS() - minute, exp: nowS() - 31 }, 401],
      [{ nbf: nowS() + 29 }, 200],
      [{ nbf: nowS() + 31 }, 401],
      [{ iat: nowS() + 29 }, 200],
      [{ iat: nowS() + 31 }, 401],
      [{ exp: nowS() + day }, 200],
      [{ exp: nowS() + day + 1 }, 401],
      [{ iat: nowS() - day - minute, exp: nowS() + minute }, 401],
      [{ exp: undefined }, 401],
      [{ iat: undefined }, 401],
      [{ exp: 'tomorrow' }, 401],
    ] as const)
      assert.equal((await ask(signed(key, claims(fields)))).status, status, JSON.stringify(fields));
    const token = signed(key, claims());
    await gateway.clock.advance(10 * MINUTE_MS + 29 * SECOND_MS);
    assert.equal((await ask(token)).status, 200);
    await gateway.clock.advance(SECOND_MS);
    await refused(token, 'time went on');
  });

  test('attack: the key id of another issuer, and invented ones, make it be asked once in half a minute', async () => {
    const foreign = createKey('ES256');
    await gateway.clock.advance(30 * SECOND_MS);
    await refused(signed(foreign, claims()), 'a key that the issuer does not have');
    assert.equal(asked, 1, 'perhaps it was new');
    for (let i = 0; i < 20; i++) await refused(signed(foreign, claims(), { kid: `invented-${i}` }), 'again');
    assert.equal(asked, 1);
    await refused(signed(foreign, claims({ iss: 'https://evil.example' })), 'of another issuer');
    await refused(signed(foreign, claims(), { kid: key.kid }), 'its own key under a known id');
    await gateway.clock.advance(30 * SECOND_MS);
    await Promise.all(Array.from({ length: 20 }, () => refused(signed(foreign, claims()), 'many at once')));
    assert.equal(asked, 2);
  });

  test('a new key is found at its first token; one that was withdrawn ends after ten minutes', async () => {
    const fresh = createKey('EdDSA');
    give(keySet(key, fresh));
    await gateway.clock.advance(30 * SECOND_MS);
    assert.equal((await ask(signed(fresh, claims()))).status, 200);
    assert.equal(asked, 1);
    give(keySet(fresh));
    await gateway.clock.advance(10 * MINUTE_MS - SECOND_MS);
    assert.equal((await ask(signed(key, claims()))).status, 200);
    await gateway.clock.advance(SECOND_MS);
    await refused(signed(key, claims()), 'withdrawn');
    assert.equal((await ask(signed(fresh, claims()))).status, 200);
  });

  const unread: Readonly<Record<string, RequestListener>> = {
    'attack: keys swapped by a redirect': (request, response) => {
      if (request.url === '/swapped') response.end(keySet(createKey('ES256', key.kid)));
      else response.writeHead(302, { location: '/swapped' }).end();
    },
    'attack: a key set that is too big': (_, response) => {
      response.end(JSON.stringify({ keys: [jwkOf(createKey('ES256', key.kid))], more: 'x'.repeat(64 * 1024) }));
    },
    'an issuer that answers with an error': (_, response) => {
      response.writeHead(500).end(keySet(createKey('ES256', key.kid)));
    },
    'an issuer that answers with something else': (_, response) => void response.end('<html>'),
    'an issuer that never answers': () => undefined,
    'an issuer that is down': (request) => void request.socket.destroy(),
  };
  for (const [title, listener] of Object.entries(unread)) {
    test(`${title}: the keys that are known go on for an hour, and then nobody can say`, async () => {
      answer = listener;
      await gateway.clock.advance(10 * MINUTE_MS);
      assert.equal((await ask(signed(key, claims()))).status, 200);
      assert.equal(asked, 1);
      assert.equal((await ask(signed(key, claims()))).status, 200);
      assert.equal(asked, 1, 'not for each request');
      await gateway.clock.advance(50 * MINUTE_MS - SECOND_MS);
      assert.equal((await ask(signed(key, claims()))).status, 200);
      await gateway.clock.advance(SECOND_MS);
      const { status, code, headers } = await ask(signed(key, claims()));
      assert.deepEqual([status, code, headers['retry-after']], [503, 'issuer_unavailable', '30']);
      assert.equal((await gateway.call('listBackupKeys', { as: customer.project.secretKey })).status, 200);
      give(keySet(key));
      await gateway.clock.advance(30 * SECOND_MS);
      assert.equal((await ask(signed(key, claims()))).status, 200, 'it is back');
    });
  }

  test('a key set with keys that are none refuses those, and takes the others', async () => {
    const weak: IssuerKey = { alg: 'RS256', kid: 'weak', ...generateKeyPairSync('rsa', { modulusLength: 1024 }) };
    const secret = { kty: 'oct', kid: 'secret', alg: 'HS256', k: 'AAAA' };
    const broken = { kty: 'EC', crv: 'P-256', kid: 'broken', x: 'AAAA', y: 'AAAA' };
    give(JSON.stringify({ keys: [secret, broken, jwkOf(weak), jwkOf(key)] }));
    await gateway.clock.advance(10 * MINUTE_MS);
    assert.equal((await ask(signed(key, claims()))).status, 200);
    await refused(signed(weak, claims()), 'RSA of 1,024 bits');
    await refused(signed(key, claims(), { kid: 'broken' }), 'no point');
    const text = `${spelled({ alg: 'HS256', kid: 'secret' })}.${spelled(claims())}`;
    const hmac = createHmac('sha256', Buffer.from('AAAA', 'base64url')).update(text).digest('base64url');
    await refused(`${text}.${hmac}`, 'a symmetric key in the set');
  });

  test('without a configured issuer there is none', async (t) => {
    const plain = await createTestGateway();
    t.after(() => plain.close());
    const { status } = await plain.call('listBackupKeys', { as: signed(key, claims()) });
    assert.equal(status, 401);
    assert.equal(asked, 0);
  });

  test('its keys are configured over https, or on this machine', () => {
    const configOf = (url: string) =>
      parseConfig({
        database: 'pglite:memory',
        enclave: { socket: '/s' },
        evm: { rpcUrl: 'http://127.0.0.1:1', chainId: 1 },
        mail: { transport: 'outbox', folder: '/nowhere', from: 'kedge@example.org' },
        backups: '/b',
        gatewayKeyFile: '/k',
        auth: { issuer: ISSUER, audience: AUDIENCE, jwksUrl: url },
      }).auth?.jwksUrl;
    for (const url of ['https://login.example/keys', 'http://127.0.0.1:9/keys', 'http://[::1]/k', 'http://localhost/k'])
      assert.equal(configOf(url), url);
    for (const url of ['http://login.example/keys', 'http://127.0.0.1.evil.example/k', 'http://10.0.0.1/k'])
      assert.throws(() => configOf(url), /without TLS/, url);
    assert.throws(() => configOf('https://ada:secret@login.example/keys'), /user or password/);
    for (const url of ['file:///etc/keys', 'keys', 'ftp://login.example/keys']) assert.throws(() => configOf(url));
  });
});
