/** The primary database as a dump and back: what it holds, what it leaves out, and that it restores whole. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createGunzip, gunzipSync } from 'node:zlib';
import { loadPrimaryDump, PRIMARY_DUMP, writePrimaryDump } from './dump.ts';
import { createTestGateway, createTestProject, createTestUser, migratedDatabase } from './testing/gateway.ts';

describe('a dump of the primary database', () => {
  it('comes back whole into an empty database, without sessions', async (t) => {
    const gateway = await createTestGateway();
    t.after(() => gateway.close());
    const project = await createTestProject(gateway);
    const user = await createTestUser(gateway, project, { email: 'kept@example.org' });
    const { id } = await user.createWallet(await user.createVault());
    await gateway.scheduler.run('heads');

    const backups = mkdtempSync(join(tmpdir(), 'kedge-dump-'));
    const { sha256, users } = await writePrimaryDump(gateway.db, backups, 'one');
    const bytes = readFileSync(join(backups, 'one', PRIMARY_DUMP));
    assert.equal(users, 1);
    assert.deepEqual(new Uint8Array(createHash('sha256').update(bytes).digest()), sha256);
    assert.doesNotMatch(gunzipSync(bytes).toString(), /sessions|idempotency/);
    await assert.rejects(writePrimaryDump(gateway.db, backups, 'one'), { code: 'EEXIST' });

    const db = await migratedDatabase();
    t.after(() => db.close());
    await loadPrimaryDump(db, join(backups, 'one', PRIMARY_DUMP));
    const restored = await createTestGateway({ db, enclave: gateway.enclave });
    t.after(() => restored.close());
    assert.equal((await restored.call('getUser', { as: user.session, params: { user_id: user.id } })).status, 401);
    assert.equal((await restored.get('getWallet', { as: project.secretKey, params: { wallet_id: id } })).id, id);
    await restored.scheduler.run('heads');
    assert.equal((await restored.get('getEnclave')).sealed, null);
  });

  it('loses no line to a database that is slower than the disk', { timeout: 60_000 }, async (t) => {
    const gateway = await createTestGateway();
    t.after(() => gateway.close());
    const project = await createTestProject(gateway);
    for (const name of ['a', 'b', 'c']) await createTestUser(gateway, project, { email: `${name}@example.org` });
    const backups = mkdtempSync(join(tmpdir(), 'kedge-dump-'));
    await writePrimaryDump(gateway.db, backups, 'one');
    const path = join(backups, 'one', PRIMARY_DUMP);
    const lines = gunzipSync(readFileSync(path)).toString().trimEnd().split('\n').length;

    const db = await migratedDatabase();
    t.after(() => db.close());
    const slow = new Proxy(db, {
      get(target, name) {
        if (name !== 'transaction') return Reflect.get(target, name, target).bind?.(target);
        return async (...args: Parameters<typeof db.transaction>) => {
          // By now whoever reads ahead has read everything.
          for await (const _ of createReadStream(path).pipe(createGunzip()));
          for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
          return target.transaction(...args);
        };
      },
    });
    assert.equal(await loadPrimaryDump(slow, path), lines);
  });

  it('of which the file is gone or damaged says so', async (t) => {
    const db = await migratedDatabase();
    t.after(() => db.close());
    const folder = mkdtempSync(join(tmpdir(), 'kedge-dump-'));
    await assert.rejects(loadPrimaryDump(db, join(folder, 'gone')), { code: 'ENOENT' });
    writeFileSync(join(folder, 'damaged'), 'not gzip');
    await assert.rejects(loadPrimaryDump(db, join(folder, 'damaged')), { code: 'Z_DATA_ERROR' });
  });
});
