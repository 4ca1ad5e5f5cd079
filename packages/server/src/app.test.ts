/** The gateway from end to end, by requests to the value that `createGateway` gives: no port, and the real enclave. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { bytesToHex, fromBase64Url, verifyLedger } from '@kedge/core';
import { enclaveIdentity, thumbprint } from './identity.ts';
import {
  createTestGateway,
  createTestKey,
  createTestProject,
  createTestUser,
  sealWords,
  type TestGateway,
  type TestProject,
} from './testing/gateway.ts';

describe('the gateway', () => {
  let gateway: TestGateway;
  let project: TestProject;
  before(async () => {
    gateway = await createTestGateway();
    project = await createTestProject(gateway);
  });
  after(() => gateway.close());

  it('takes a user from sign-up to an opened wallet', async () => {
    const user = await createTestUser(gateway, project, { email: 'Eve@Example.org' });
    const wallet = await user.createWallet(await user.createVault());
    assert.match(wallet.address, /^0x[0-9a-fA-F]{40}$/);
    const key = await user.openWallet(wallet.id);
    assert.equal(key.length, 32);
    const { createECDH } = await import('node:crypto');
    const ecdh = createECDH('secp256k1');
    ecdh.setPrivateKey(key);
    assert.equal(ecdh.getPublicKey('hex', 'compressed'), wallet.public_key);
  });

  it('marks an exported wallet and its vault for ever', async () => {
    const user = await createTestUser(gateway, project);
    const vault = await user.createVault();
    const { id } = await user.createWallet(vault);
    await user.openWallet(id, 'export_wallet');
    const first = (await gateway.get('getWallet', { as: user.session, params: { wallet_id: id } })).exported_at;
    await gateway.clock.advance(1_000);
    await user.openWallet(id, 'export_wallet');
    assert.notEqual(first, null);
    assert.equal((await gateway.get('getWallet', { as: user.session, params: { wallet_id: id } })).exported_at, first);
    assert.equal((await gateway.get('getVault', { as: user.session, params: { vault_id: vault } })).exported, true);
  });

  it('lets the words recover an account by e-mail, and ends what was there before', async () => {
    const user = await createTestUser(gateway, project, { email: 'lost@example.org' });
    const key = createTestKey();
    const { sealed_recovery, prove } = await sealWords(gateway, 'recover', {
      subject: 'lost@example.org',
      key,
      words: user.words,
    });
    const recovered = await gateway.get('createRecovery', {
      as: project.publishableKey,
      body: { account: 'lost@example.org', sealed_recovery },
      proof: await prove(),
    });
    assert.equal(recovered.session.user_id, user.id);
    assert.equal((await gateway.call('getUser', { as: user.session, params: { user_id: user.id } })).status, 401);
    const keys = await gateway.get('listClientKeys', { as: recovered.session.token, params: { user_id: user.id } });
    assert.deepEqual(
      keys.data.filter((row) => row.revoked_at === null).map((row) => row.public_key),
      [bytesToHex(key.publicKey)],
    );
  });

  it('answers an unknown account like wrong words', async () => {
    const user = await createTestUser(gateway, project, { email: 'known@example.org' });
    const refusals = [];
    for (const account of ['known@example.org', 'unknown@example.org', user.id, crypto.randomUUID()]) {
      const { sealed_recovery, prove } = await sealWords(gateway, 'recover', {
        subject: account,
        key: createTestKey(),
        words: new Uint8Array(32),
      });
      const { status, body } = await gateway.call('createRecovery', {
        as: project.publishableKey,
        body: { account, sealed_recovery },
        proof: await prove(),
      });
      refusals.push({ status, body: { ...body, request_id: '' } });
    }
    assert.equal(refusals[0]?.status, 403);
    for (const refusal of refusals) assert.deepEqual(refusal, refusals[0]);
  });

  it('ends sessions that are idle for an hour', async () => {
    const user = await createTestUser(gateway, project);
    const status = async () =>
      (await gateway.call('getUser', { as: user.session, params: { user_id: user.id } })).status;
    await gateway.clock.advance(59 * 60_000);
    assert.equal(await status(), 200);
    await gateway.clock.advance(59 * 60_000);
    assert.equal(await status(), 200);
    await gateway.clock.advance(61 * 60_000);
    assert.equal(await status(), 401);
    project = await createTestProject(gateway);
  });

  it('pages through lists, newest first', async () => {
    const lister = await createTestProject(gateway);
    const ids = [];
    for (let i = 0; i < 3; i++) {
      ids.unshift((await createTestUser(gateway, lister)).id);
      await gateway.clock.advance(1);
    }
    const first = await gateway.get('listUsers', { as: lister.secretKey, query: { limit: '2' } });
    const second = await gateway.get('listUsers', {
      as: lister.secretKey,
      query: { limit: '2', cursor: first.next_cursor! },
    });
    assert.deepEqual(
      [...first.data, ...second.data].map(({ id }) => id),
      ids,
    );
    assert.equal(second.next_cursor, null);
  });

  it('gives publishable keys that pin the enclave', async () => {
    const identity = await enclaveIdentity(gateway.enclave.enclave);
    assert.equal(project.publishableKey.split('.')[1], thumbprint(identity));
    const { keys } = (await gateway.app.inject('/.well-known/kedge-enclave.json')).json();
    assert.equal(keys[0].kid, thumbprint(identity));
  });

  it('keeps a ledger that anybody can check against the signed head', async () => {
    await gateway.scheduler.run('heads');
    const operator = project.operator;
    const head = await gateway.get('getLedgerHead', { as: operator });
    const { data } = await gateway.get('listLedgerEvents', { as: operator, query: { limit: '1000' } });
    const entries = data.map(({ seq, body, hash }) => ({ seq, body, hash: Buffer.from(hash, 'hex') }));
    const verdict = verifyLedger(entries, { seq: head.seq, hash: new Uint8Array(Buffer.from(head.hash, 'hex')) });
    assert.deepEqual(verdict, { ok: true, events: head.seq });
    assert.equal(fromBase64Url(head.signature).length, 64);
  });

  it('writes no secret and no e-mail address into an event', async () => {
    const text = JSON.stringify(await gateway.events());
    // Signatures are random base64url: only what is as long as a token is one.
    assert.equal(/@|"(us|op)_[\w-]{43}"|(sk|pk)_(sandbox|production)_/.exec(text), null);
  });
});
