/** A request that takes too long is answered, changes nothing any more, and acts once when it is sent again. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Enclave } from '@kedge/enclave/client';
import {
  createTestGateway,
  createTestProject,
  createTestUser,
  createWalletParameters,
  type TestGateway,
} from './testing/gateway.ts';

it('is given up at its deadline, and sent again it has its effect once', async (t) => {
  const gateway = await createTestGateway();
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const holding = (enclave: Enclave): Enclave =>
    new Proxy(enclave, {
      get: (target, method) => {
        if (method !== 'createWallet') return Reflect.get(target, method);
        return async (call: Parameters<Enclave['createWallet']>[0]) => {
          const made = await target.createWallet(call);
          await held;
          return made;
        };
      },
    });
  const { db, enclave } = gateway;
  const hasty = await createTestGateway({
    db,
    enclave,
    wrapEnclave: holding,
    options: { name: 'hasty', requestMsMax: 300 },
  });
  t.after(async () => {
    await hasty.close();
    await gateway.close();
  });
  const project = await createTestProject(gateway);
  const user = await createTestUser(gateway, project);
  const vault = await user.createVault();
  const createWallet = async (by: TestGateway) =>
    by.call('createWallet', {
      as: user.session,
      params: { vault_id: vault },
      headers: { 'idempotency-key': 'one-wallet' },
      body: { chain: 'evm' },
      proof: await user.prove('create_wallet', createWalletParameters(vault)),
    });

  const givenUp = await createWallet(hasty);
  assert.deepEqual([givenUp.status, givenUp.code, givenUp.headers['retry-after']], [503, 'overloaded', '2']);
  assert.equal((await createWallet(gateway)).code, 'idempotency_running', 'the first has not ended');
  release();
  let again = await createWallet(gateway);
  while (again.code === 'idempotency_running') again = await createWallet(gateway);
  assert.equal(again.status, 201);
  assert.equal(again.headers['idempotency-replayed'], undefined, 'the one that was given up stored nothing');
  const { data } = await gateway.get('listWallets', { as: user.session, params: { vault_id: vault } });
  assert.deepEqual(
    data.map(({ id }) => id),
    [again.body.wallet.id],
  );
  assert.equal((await gateway.events()).filter(({ type }) => type === 'wallet.created').length, 1);
});
