/** `kedge backup-key` and keys with scopes, from the command line, against a real gateway over HTTP. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createTestGateway, createTestProject, type TestGateway, type TestProject } from '@kedge/server/testing';
import { parseLine, type Result } from '../command.ts';
import { commands } from './all.ts';

describe('kedge backup-key', () => {
  const home = mkdtempSync(join(tmpdir(), 'kedge-backup-keys-'));
  const secret = join(home, 'secret');
  let gateway: TestGateway;
  let project: TestProject;
  let url: string;
  before(async () => {
    gateway = await createTestGateway();
    project = await createTestProject(gateway);
    await gateway.app.listen({ host: '127.0.0.1', port: 0 });
    url = `http://127.0.0.1:${(gateway.app.server.address() as AddressInfo).port}`;
    writeFileSync(secret, `${project.secretKey}\n`, { mode: 0o600 });
  });
  after(async () => {
    await gateway.close();
    rmSync(home, { recursive: true });
  });

  const kedge = async (...words: string[]): Promise<Result> => {
    const line = parseLine([...words, '--home', home, '--url', url]);
    const command = commands.find((each) => each.words.split(' ').every((word, i) => line.words[i] === word))!;
    return command.run(line.context(command.words.split(' ').length));
  };
  const create = (...words: string[]) =>
    kedge('backup-key', 'create', ...words, '--secret-key-file', secret, '--key', project.publishableKey);

  test('create assigns a key that list shows and verify finds in the enclave', async () => {
    const made = await create('customer-1', '--project', project.id);
    const { key_id, public_key } = made.data as { key_id: string; public_key: string };
    assert.equal(made.lines[0], `${key_id}  ${public_key}`);
    await create('customer-2', '--project', project.id, '--type', 'ed25519');
    const checked = await kedge('backup-key', 'verify', key_id, '--secret-key-file', secret);
    assert.deepEqual([checked.exitCode, (checked.data as { outcome: string }).outcome], [0, 'passed']);
    const { lines } = await kedge('backup-key', 'list', '--secret-key-file', secret);
    assert.deepEqual(lines.map((line) => line.split(/\s+/).slice(1)).sort(), [
      ['ed25519', 'HOT', 'not_checked', 'customer-2'],
      ['secp256k1', 'HOT', 'passed', 'customer-1'],
    ]);
  });

  test('verify ends with 1 when a key needs attention', async () => {
    const { key_id } = (await create('customer-3', '--project', project.id)).data as { key_id: string };
    await gateway.enclave.db.query('update backup_keys set payload = set_byte(payload, 90, get_byte(payload, 90) # 1)');
    const { exitCode, lines } = await kedge('backup-key', 'verify', key_id, '--secret-key-file', secret);
    assert.equal(exitCode, 1);
    assert.match(lines[0]!, /Needs attention/);
    await gateway.enclave.db.query('update backup_keys set payload = set_byte(payload, 90, get_byte(payload, 90) # 1)');
  });

  test('list gives all, however many there are', async () => {
    const before = (await kedge('backup-key', 'list', '--secret-key-file', secret)).lines.length;
    const body = { user_identifier: 'many', key_type: 'ed25519' };
    for (let i = 0; i < 101; i++) await gateway.get('createBackupKey', { as: project.secretKey, body });
    assert.equal((await kedge('backup-key', 'list', '--secret-key-file', secret)).lines.length, before + 101);
  });

  test('what can not be done is said in a sentence', async () => {
    await assert.rejects(create('customer-4', '--project', '0198a000-0000-7000-8000-000000000001'), {
      code: 'key_refused',
    });
    await assert.rejects(create('customer-4'), /--project/);
    await assert.rejects(create('--project', project.id), /the user is missing/);
    await assert.rejects(create('customer-4', '--project', project.id, '--type', 'rsa'), /secp256k1, ed25519, rsa4096/);
    await assert.rejects(create('customer-4', '--project', project.id, '--cold'), { code: 'cold_keys_unavailable' });
    await assert.rejects(kedge('backup-key', 'list'), /KEDGE_SECRET_KEY/);
  });

  test('a secret key without the scope is told which one', async () => {
    const { key } = await gateway.get('createApiKey', {
      as: project.operator,
      params: { project_id: project.id },
      body: { kind: 'secret', scopes: ['keys:read'] },
    });
    writeFileSync(join(home, 'limited'), key);
    const as = ['--secret-key-file', join(home, 'limited')];
    assert.equal((await kedge('backup-key', 'list', ...as)).lines.length > 0, true);
    await assert.rejects(
      kedge('backup-key', 'create', 'x', '--project', project.id, '--key', project.publishableKey, ...as),
      { code: 'forbidden', message: /keys:write/ },
    );
    await assert.rejects(kedge('key', 'create', '--scopes', 'keys:read,keys:delete'), /no scope "keys:delete"/);
  });
});
