/** The same request again, raced, changed or cut short: it acts once, and its answer is the caller's alone. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { userSubject } from '@kedge/core';
import { type Database, StoreError } from '@kedge/store';
import {
  createTestGateway,
  createTestKey,
  createTestProject,
  createTestUser,
  createWalletParameters,
  migratedDatabase,
  sealWords,
  type TestGateway,
  type TestProject,
} from './testing/gateway.ts';

describe('a request with an Idempotency-Key', () => {
  let gateway: TestGateway;
  let project: TestProject;
  before(async () => {
    gateway = await createTestGateway();
    project = await createTestProject(gateway);
  });
  after(() => gateway.close());

  const signUp = async (on: TestGateway, key: string) => {
    const clientKey = createTestKey();
    const { sealed_recovery, prove } = await sealWords(on, 'sign_up', {
      subject: '',
      key: clientKey,
      words: new Uint8Array(32).fill(1),
    });
    return async (again: TestGateway = on) =>
      again.call('createUser', {
        as: project.publishableKey,
        headers: { 'idempotency-key': key },
        body: { external_id: key, sealed_recovery },
        proof: await prove(),
      });
  };

  it('has its effect once when it is sent five times', async () => {
    const send = await signUp(gateway, 'five-times');
    const first = await send();
    assert.equal(first.status, 201);
    for (let i = 0; i < 4; i++) {
      const again = await send();
      assert.deepEqual(again.body, first.body);
      assert.equal(again.headers['idempotency-replayed'], 'true');
    }
    const signedUp = (await gateway.events()).filter(
      ({ type, user }) => type === 'user.signed_up' && user === first.body.user.id,
    );
    assert.equal(signedUp.length, 1);
  });

  it('has its effect once when twenty race', async () => {
    const user = await createTestUser(gateway, project);
    const vault = await user.createVault();
    const send = async () =>
      gateway.call('createWallet', {
        as: user.session,
        params: { vault_id: vault },
        headers: { 'idempotency-key': 'race' },
        body: { chain: 'evm' },
        proof: await user.prove('create_wallet', createWalletParameters(vault)),
      });
    const answers = await Promise.all(Array.from({ length: 20 }, send));
    for (const { status, code } of answers)
      assert.ok(status === 201 || code === 'idempotency_running', `${status} ${code}`);
    const ids = new Set(answers.flatMap(({ status, body }) => (status === 201 ? [body.wallet.id] : [])));
    assert.equal(ids.size, 1);
    assert.equal((await gateway.get('listWallets', { as: user.session, params: { vault_id: vault } })).data.length, 1);
  });

  it('is refused with another body, and told from another body by more than the spelling', async () => {
    const user = await createTestUser(gateway, project);
    const send = (body: object) =>
      gateway.call('createVault', { as: user.session, headers: { 'idempotency-key': 'body' }, body });
    const first = await send({ scheme: 'dual-secret', label: 'one' });
    assert.equal((await send({ label: 'one', scheme: 'dual-secret' })).body.id, first.body.id);
    const other = await send({ scheme: 'dual-secret', label: 'two' });
    assert.deepEqual([other.status, other.code], [422, 'idempotency_mismatch']);
  });

  it('runs again after it failed', async () => {
    const user = await createTestUser(gateway, project);
    const vault = await user.createVault();
    const send = async (proof: string) =>
      gateway.call('createWallet', {
        as: user.session,
        params: { vault_id: vault },
        headers: { 'idempotency-key': 'failed' },
        body: { chain: 'evm' },
        proof,
      });
    assert.equal(
      (await send(await user.prove('create_wallet', createWalletParameters(user.id)))).code,
      'proof_invalid',
    );
    assert.equal((await send(await user.prove('create_wallet', createWalletParameters(vault)))).status, 201);
  });

  it('belongs to the key that proves it: a stranger with the same publishable key gets no session', async () => {
    const user = await createTestUser(gateway, project);
    const send = (proof: string) =>
      gateway.call('createSession', {
        as: project.publishableKey,
        headers: { 'idempotency-key': '1' },
        body: { user_id: user.id },
        proof,
      });
    assert.equal((await send(await user.prove('sign_in'))).status, 201);
    const stranger = createTestKey();
    assert.equal(
      (await send(await gateway.prove(stranger, { act: 'sign_in', subject: userSubject(project.id, user.id) }))).code,
      'proof_invalid',
    );
    // The victim's public key with the stranger's signature.
    const forged = { ...stranger, publicKey: user.key.publicKey };
    assert.equal(
      (await send(await gateway.prove(forged, { act: 'sign_in', subject: userSubject(project.id, user.id) }))).code,
      'proof_invalid',
    );
  });

  it('stores no answer in the clear', async () => {
    const rows = await gateway.db.query<{ response: Uint8Array }>(
      'select response from idempotency where response is not null',
    );
    assert.ok(rows.length > 0);
    for (const { response } of rows)
      assert.doesNotMatch(Buffer.from(response).toString('latin1'), /us_[\w-]{43}|user_id/);
  });

  it('heals a crash between the enclave and the commit', async () => {
    const db = await migratedDatabase();
    let isDead = false;
    const dying: Database = {
      ...proxied(db),
      query: (sql, params) => (isDead ? Promise.reject(new StoreError('unavailable', 'dead')) : db.query(sql, params)),
      read: (sql, params) => (isDead ? Promise.reject(new StoreError('unavailable', 'dead')) : db.read(sql, params)),
      transaction: (work, options) =>
        isDead ? Promise.reject(new StoreError('unavailable', 'dead')) : db.transaction(work, options),
    };
    const first = await createTestGateway({
      db,
      wrapDatabase: () => dying,
      wrapEnclave: (enclave) =>
        new Proxy(enclave, {
          get: (target, method) => async (call: never) => {
            const result = await (Reflect.get(target, method) as (call: never) => unknown)(call);
            if (method === 'signUp') isDead = true; // the process ends here
            return result;
          },
        }),
    });
    const outer = project;
    project = await createTestProject(first);
    const send = await signUp(first, 'crash');
    assert.equal((await send()).code, 'store_unavailable');

    const second = await createTestGateway({ db, enclave: first.enclave });
    const healed = await send(second);
    assert.equal(healed.status, 201);
    assert.deepEqual((await send(second)).body, healed.body);
    assert.equal((await second.get('listUsers', { as: project.secretKey })).data.length, 1);
    project = outer;
    isDead = false;
    await second.close();
    await first.close();
    await db.close();
  });
});

function proxied(db: Database): Database {
  return {
    engine: db.engine,
    query: (sql, params) => db.query(sql, params),
    read: (sql, params) => db.read(sql, params),
    transaction: (work, options) => db.transaction(work, options),
    compact: (tables) => db.compact(tables),
    sizeBytes: () => db.sizeBytes(),
    close: () => db.close(),
  };
}
