/** The primary database as a dump and back: what it holds, what it leaves out, and that it restores whole. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { gunzipSync } from 'node:zlib';
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
});
