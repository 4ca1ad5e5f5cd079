/** The pages and checks an operator looks at: health, readiness, metrics, and what they say when a part is gone. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KedgeError } from '@kedge/core';
import { parseConfig } from './config.ts';
import { createTestGateway, createTestProject } from './testing/gateway.ts';

describe('the operator’s pages', () => {
  it('is ready as long as heads are signed, and stops being so when the newest grows old', async (t) => {
    const gateway = await createTestGateway();
    t.after(() => gateway.close());
    const ready = async () => (await gateway.app.inject('/readyz')).statusCode;
    assert.equal(await ready(), 200);
    await createTestProject(gateway);
    await gateway.scheduler.run('heads');
    assert.equal(await ready(), 200);
    gateway.clock.jumpWall(6 * 60_000);
    assert.equal(await ready(), 503);
    await gateway.scheduler.run('heads');
    assert.equal(await ready(), 200);
  });

  it('says which part is not well, and lives on without an enclave', async (t) => {
    const away = new Proxy({}, { get: () => () => Promise.reject(new KedgeError('enclave_unavailable')) });
    const gateway = await createTestGateway({ wrapEnclave: () => away as never });
    t.after(() => gateway.close());
    await gateway.start();
    const { checks } = (await gateway.app.inject('/readyz')).json();
    assert.deepEqual([checks.database.ok, checks.enclave.ok], [true, false]);
    assert.equal((await gateway.app.inject('/healthz')).statusCode, 200);
    assert.equal((await gateway.app.inject('/')).statusCode, 200);
    const enclave = await gateway.call('getEnclave');
    assert.deepEqual([enclave.status, enclave.code], [503, 'enclave_unavailable']);
    assert.match(
      (await gateway.app.inject('/metrics')).body,
      /kedge_enclave_failures_total\{method="status",code="enclave_unavailable"\}/,
    );
  });

  it('shows its ledger to an enclave that it has not met, which seals itself if events are missing', async (t) => {
    const before = await createTestGateway();
    t.after(() => before.close());
    await createTestProject(before);
    await before.scheduler.run('heads');
    const { enclave } = before;
    await enclave.restart();
    const after = await createTestGateway({ enclave }); // over an empty database
    t.after(() => after.close());
    await assert.rejects(after.scheduler.run('heads'), { code: 'enclave_sealed' });
    assert.match((await after.get('getEnclave')).sealed ?? '', /older than the enclave remembers/);
  });

  it('serves pages without scripts, documents every endpoint and loads nothing from outside', async (t) => {
    const gateway = await createTestGateway();
    t.after(() => gateway.close());
    const home = await gateway.app.inject('/');
    assert.match(home.body, /Software is not hardware/);
    assert.doesNotMatch(home.body, /<script/);
    assert.match(String(home.headers['content-security-policy']), /default-src 'none'/);
    const docs = await gateway.app.inject('/docs/');
    assert.equal(docs.statusCode, 200);
    assert.doesNotMatch(docs.body, /https?:\/\//);
    const document = (await gateway.app.inject('/openapi.json')).json();
    assert.equal(document.openapi, '3.1.0');
    assert.equal(document.paths['/v1/wallets/{wallet_id}/open'].post.parameters[1].name, 'Kedge-Proof');
    assert.match((await gateway.app.inject('/.well-known/security.txt')).body, /^Contact: /);
    assert.match((await gateway.app.inject('/metrics')).body, /kedge_database_bytes \d+/);
  });

  const config = {
    database: 'pglite:memory',
    enclave: { socket: '/s' },
    evm: { rpcUrl: 'http://127.0.0.1:1', chainId: 1 },
    mail: { transport: 'outbox', folder: '/nowhere', from: 'kedge@example.org' },
    backups: '/b',
    gatewayKeyFile: '/k',
  };

  it('refuses a public bind that nothing encrypts', () => {
    assert.throws(() => parseConfig({ ...config, listen: { host: '0.0.0.0' } }), /without TLS/);
    assert.equal(parseConfig({ ...config, listen: { host: '0.0.0.0' }, trustedProxy: '10.0.0.1' }).listen.port, 8_420);
    assert.equal(parseConfig(config).listen.host, '127.0.0.1');
    assert.throws(() => parseConfig({ ...config, databse: '' }), /databse/);
  });

  it('names a host in links, and nothing that would break them: attack of the alert that opens nothing', () => {
    const urlOf = (publicUrl: string) => parseConfig({ ...config, publicUrl }).publicUrl;
    assert.equal(urlOf('https://keys.example/'), 'https://keys.example');
    assert.equal(urlOf('https://keys.example/kedge/'), 'https://keys.example/kedge');
    for (const wrong of [
      'javascript:alert(1)',
      'https://keys.example?a=b',
      'https://keys.example#a',
      'https://u:p@keys.example',
    ])
      assert.throws(() => urlOf(wrong), /publicUrl/, wrong);
  });
});
