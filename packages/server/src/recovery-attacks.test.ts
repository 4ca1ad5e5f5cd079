/** Recoveries that are asked for, or reported on, by somebody who means harm: what the gateway has to bound itself. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ProjectId, SECOND_MS } from '@kedge/core';
import { defaultLimits } from './limits.ts';
import { createTestGateway, createTestProject } from './testing/gateway.ts';
import { base64, createRecoveryWorld } from './testing/recovery-world.ts';

describe('a recovery', () => {
  it('that is over keeps the transactions it ended with: attack of the rewritten end', async (t) => {
    const gateway = await createTestGateway();
    t.after(() => gateway.close());
    const world = await createRecoveryWorld(gateway, { backup: true });
    const recovery = await world.request();
    await world.approve(recovery);
    await gateway.get('releaseRecovery', { ...world.of(recovery), body: {} });
    const complete = (id: string) =>
      gateway.get('completeRecovery', {
        ...world.of(recovery),
        body: { outcome: 'completed', transaction_ids: [id.repeat(64)] },
      });
    assert.deepEqual((await complete('a')).transaction_ids, ['a'.repeat(64)]);
    const told = (await gateway.events()).length;
    assert.deepEqual((await complete('b')).transaction_ids, ['a'.repeat(64)]);
    assert.equal((await gateway.events()).length, told);
    const { data } = await gateway.get('listRecoveries', { as: world.project.secretKey });
    assert.deepEqual(data[0]!.transaction_ids, ['a'.repeat(64)]);
  });

  it('is released with material that is known to be good: attack of the newer material that is worth nothing', async (t) => {
    const gateway = await createTestGateway();
    t.after(() => gateway.close());
    const world = await createRecoveryWorld(gateway, { backup: true });
    const { operator, id: project_id, secretKey: as } = world.project;
    const [good] = (await gateway.get('listKeyBackups', { as })).data;
    const { outcome } = await gateway.get('verifyKeyBackup', { as, params: { backup_id: good!.backup_id } });
    assert.equal(outcome, 'passed');
    const limited = await gateway.get('createApiKey', {
      as: operator,
      params: { project_id },
      body: { kind: 'secret', label: 'limited', scopes: ['backups:write'] },
    });
    const { public_key } = await gateway.get('getBackupKey', { as, params: { key_id: world.key } });
    const { version } = await gateway.get('getEncryptionKey', { as });
    await gateway.clock.advance(SECOND_MS);
    await gateway.get('storeSecureData', {
      as: limited.key,
      body: { public_key, data: base64(new Uint8Array(512).fill(1)), encryption_key_version: version },
    });
    const recovery = await world.request();
    await world.approve(recovery);
    const released = await gateway.call('releaseRecovery', { ...world.of(recovery), body: {} });
    assert.equal(released.status, 200, JSON.stringify(released.body));
  });

  it('names in full whoever cancels it: attack of the name that is too long', async (t) => {
    const issuer = `https://login.example/realms/${'r'.repeat(90)}`;
    let project = '';
    const gateway = await createTestGateway({
      issuer: () => ({
        read: async () => ({ issuer, subject: 'mallory', project: project as ProjectId, scopes: ['recoveries:write'] }),
      }),
    });
    t.after(() => gateway.close());
    const world = await createRecoveryWorld(gateway);
    project = world.project.id;
    const recovery = await world.request();
    await gateway.get('cancelRecovery', { ...world.of(recovery), as: 'eyJhbGciOi' });
    const told = (await gateway.events()).find(({ type }) => type === 'recovery.cancelled');
    assert.match(String(told?.data.by), / mallory$/);
  });

  it('is asked for so often in an hour and no more, by whichever key: attack of the mail bomb', async (t) => {
    const gateway = await createTestGateway({
      options: { limits: { ...defaultLimits, votesAskedPerProjectPerHour: 3 } },
    });
    t.after(() => gateway.close());
    const world = await createRecoveryWorld(gateway);
    const { operator, id: project_id, secretKey } = world.project;
    const another = await gateway.get('createApiKey', {
      as: operator,
      params: { project_id },
      body: { kind: 'secret', label: 'limited', scopes: ['recoveries:write', 'recoveries:read'] },
    });
    // What strangers and keys for other purposes send counts for nothing.
    const keyForKeys = await gateway.get('createApiKey', {
      as: operator,
      params: { project_id },
      body: { kind: 'secret', label: 'keys', scopes: ['keys:read'] },
    });
    for (const as of [world.project.publishableKey, keyForKeys.key, undefined])
      for (let i = 0; i < 4; i++)
        assert.match(
          String((await gateway.call('createKeyRecovery', { as, params: { key_id: world.key }, body: {} })).code),
          /forbidden|unauthenticated/,
        );
    const codes: (string | undefined)[] = [];
    for (const as of [secretKey, another.key, another.key, another.key, secretKey]) {
      const asked = await gateway.call('createKeyRecovery', {
        as,
        params: { key_id: world.key },
        body: {
          network: world.vault.codec.network,
          account: world.vault.descriptor.text,
          sweep_to: world.vault.codec.address(world.vault.descriptor.text),
          participants: ['victim@example.org'],
        },
      });
      codes.push(asked.code);
      if (asked.code === undefined) await gateway.get('cancelRecovery', world.of(asked.body));
      else assert.equal(Number(asked.headers['retry-after']) > 60, true);
    }
    assert.deepEqual(codes, [undefined, undefined, undefined, 'rate_limited', 'rate_limited']);
    // Another project is not held up by it.
    const other = await createRecoveryWorld(gateway);
    assert.equal((await other.request()).status, 'approving');
    assert.notEqual((await createTestProject(gateway)).id, project_id);
  });
});
