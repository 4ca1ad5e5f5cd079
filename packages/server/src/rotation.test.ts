/** A rotation driven by the gateway's job: under traffic, and held up by a client secret that does not open. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KedgeError, MINUTE_MS } from '@kedge/core';
import type { Enclave } from '@kedge/enclave/client';
import {
  ada,
  createTestGateway,
  createTestProject,
  createTestUser,
  signInOperator,
  type TestGateway,
} from './testing/gateway.ts';
import { createCustomer, requests } from './testing/requests.ts';

/** The enclave keeps the old version for a minute of service time, for requests that are under way. */
const untilRetirable = (gateway: TestGateway) => gateway.clock.advance(2 * MINUTE_MS);

describe('a rotation of the server key', () => {
  it('rewraps every secret and wallet under traffic, then retires the old version', async (t) => {
    const gateway = await createTestGateway({ options: { rotationBatch: 2 } });
    t.after(() => gateway.close());
    const project = await createTestProject(gateway);
    const users = [];
    for (let i = 0; i < 5; i++) users.push(await createTestUser(gateway, project));
    const wallets = await Promise.all(users.map(async (user) => user.createWallet(await user.createVault())));
    const keys = await Promise.all(users.map((user, i) => user.openWallet(wallets[i]!.id)));

    const started = await gateway.get('startRotation', {
      as: project.operator,
      proof: await gateway.prove(ada, { act: 'rotate', subject: 'ada' }),
    });
    assert.deepEqual([started.running, started.done, started.total], [true, 0, 10]);
    const late = await createTestUser(gateway, project);
    const [, during] = await Promise.all([gateway.scheduler.run('rotation'), users[0]!.openWallet(wallets[0]!.id)]);
    assert.deepEqual(during, keys[0]);

    await untilRetirable(gateway);
    await gateway.scheduler.run('rotation');
    const finished = await gateway.get('getRotation', { as: project.operator });
    assert.deepEqual([finished.running, finished.done, finished.total], [false, 11, 11]);
    assert.deepEqual(
      finished.versions.map(({ state }) => state),
      ['retired', 'active'],
    );
    for (const [i, user] of users.entries()) assert.deepEqual(await user.openWallet(wallets[i]!.id), keys[i]);
    await late.createWallet(await late.createVault());
  });

  it('waits for a client secret that does not open, says so once, and ends when it is mended', async (t) => {
    const gateway = await createTestGateway();
    t.after(() => gateway.close());
    const project = await createTestProject(gateway);
    const user = await createTestUser(gateway, project);
    await createTestUser(gateway, project);
    const [row] = await gateway.db.query<{ client_secret: Uint8Array }>(
      'select client_secret from users where id = $1',
      [user.id],
    );
    const broken = row!.client_secret.slice();
    broken[20]! ^= 1;
    await gateway.db.query('update users set client_secret = $2 where id = $1', [user.id, broken]);

    await gateway.get('startRotation', {
      as: project.operator,
      proof: await gateway.prove(ada, { act: 'rotate', subject: 'ada' }),
    });
    await gateway.scheduler.run('rotation');
    await gateway.scheduler.run('rotation');
    await untilRetirable(gateway);
    await gateway.scheduler.run('rotation');
    const stuck = await gateway.get('getRotation', { as: await signInOperator(gateway) });
    assert.deepEqual([stuck.running, stuck.total - stuck.done], [true, 1]);
    assert.equal((await gateway.events()).filter(({ type }) => type === 'user.client_secret_refused').length, 1);

    const request = await requests.createBackup(gateway, await createCustomer(gateway));
    const backup = await gateway.get('createBackup', { as: project.operator, ...request });
    assert.deepEqual(backup.under_old_server_key, { client_secrets: 1, wallets: 0 });

    await gateway.db.query('update users set client_secret = $2 where id = $1', [user.id, row!.client_secret]);
    await gateway.scheduler.run('rotation');
    assert.equal((await gateway.get('getRotation', { as: project.operator })).running, false);
  });

  it('is in the ledger, once, even if its start and its end were answered to nobody', async (t) => {
    let deaf = true;
    const gateway = await createTestGateway({ wrapEnclave: (enclave) => losingAnswers(enclave, () => deaf) });
    t.after(() => gateway.close());
    const { operator } = await createTestProject(gateway);
    const start = async () =>
      gateway.call('startRotation', {
        as: operator,
        proof: await gateway.prove(ada, { act: 'rotate', subject: 'ada' }),
      });
    const told = async () =>
      (await gateway.events()).flatMap(({ type, data }) =>
        type.startsWith('rotation.') ? [`${type} ${data.version}`] : [],
      );
    assert.equal((await start()).code, 'enclave_unavailable');
    assert.deepEqual(await told(), []);
    await gateway.scheduler.run('rotation');
    await gateway.scheduler.run('rotation');
    assert.deepEqual(await told(), ['rotation.started 2']);
    await untilRetirable(gateway);
    await assert.rejects(gateway.scheduler.run('rotation'), { code: 'enclave_unavailable' });
    await gateway.scheduler.run('rotation');
    assert.deepEqual(await told(), ['rotation.started 2', 'rotation.finished 2']);

    deaf = false;
    assert.equal((await start()).status, 201);
    await gateway.scheduler.run('rotation');
    assert.deepEqual(await told(), ['rotation.started 2', 'rotation.finished 2', 'rotation.started 3']);
  });
});

/** The enclave does what it is asked, and dies before it says so. */
function losingAnswers(enclave: Enclave, deaf: () => boolean): Enclave {
  const lose = async <T>(answer: Promise<T>): Promise<T> => {
    const given = await answer;
    if (deaf()) throw new KedgeError('enclave_unavailable');
    return given;
  };
  return new Proxy(enclave, {
    get: (target, method) => {
      if (method === 'startRotation') return (call: { proof: string }) => lose(target.startRotation(call));
      if (method === 'finishRotation') return () => lose(target.finishRotation());
      return Reflect.get(target, method);
    },
  });
}
