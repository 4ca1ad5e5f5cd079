/** `backup`: make one of the running service, check one offline, restore one into an empty state folder. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { equalBytes, fromBase64Url, sealTo, toBase64Url, utf8ToBytes } from '@kedge/core';
import { createWords, verifySigned } from '@kedge/sdk';
import { asOperator } from '../access.ts';
import { type Command, type Context, type Result, required } from '../command.ts';
import { startChild } from '../operator/children.ts';
import { localOperators, shippedEntries, writeServiceConfigs } from '../operator/service.ts';
import { createOperator, operatorNames } from '../operators.ts';
import { assertPrivate, type Home } from '../settings.ts';

export const backupCommands: readonly Command[] = [
  {
    words: 'backup create',
    usage: 'backup create [--passphrase-file F]',
    summary: 'both databases, enclave state and sealed root',
    run: create,
  },
  { words: 'backup verify', usage: 'backup verify FOLDER', summary: 'check a backup offline', run: verify },
  {
    words: 'backup restore',
    usage: 'backup restore FOLDER [--passphrase-file F]',
    summary: 'into an empty state folder; starts sealed',
    run: restore,
  },
];

interface Manifest {
  readonly format: number;
  readonly at: string;
  readonly sequence: number;
  readonly users: number;
  readonly root_keys: string;
  readonly identity: string;
  readonly files: Readonly<Record<string, string>>;
}

async function create(context: Context): Promise<Result> {
  const { client, connection, operator } = await asOperator(context);
  const { sealingKey, rootKeys } = await connection.attestation(true);
  const file = context.flag('passphrase-file');
  const made = rootKeys === 'software' && !file ? createWords() : null;
  const passphrase = file ? readFileSync(file, 'utf8').trim() : made;
  const sealed =
    rootKeys === 'software' && passphrase
      ? await sealTo(sealingKey, utf8ToBytes(passphrase), utf8ToBytes('kedge/backup-passphrase/v1'), new Uint8Array())
      : null;
  const parameters = { sealed_passphrase: sealed && new Uint8Array(createHash('sha256').update(sealed).digest()) };
  const backup = await client.call('createBackup', {
    body: { sealed_passphrase: sealed && toBase64Url(sealed) },
    proof: connection.prove(operator.key, { act: 'back_up', subject: operator.name, parameters }),
  });
  const folder = join(backup.folder, backup.name);
  const lines = [`The backup is in ${folder}. Copy the folder away from this machine.`];
  const { client_secrets: secrets, wallets } = backup.under_old_server_key;
  if (secrets + wallets > 0)
    lines.push(
      `Warning: a rotation is under way, and ${secrets} client secrets and ${wallets} wallets in this backup are still under an old server key.`,
      'When kedge rotate status says that it is finished, make another backup, before that version is destroyed.',
    );
  if (made) lines.push('', 'Its passphrase, shown this once; without it the root cannot be restored:', '', `  ${made}`);
  return {
    data: { name: backup.name, folder, passphrase: made, under_old_server_key: backup.under_old_server_key },
    lines,
  };
}

async function verify(context: Context): Promise<Result> {
  const folder = required(context, 0, 'The folder of the backup');
  const { manifest, problems } = await check(folder);
  const lines =
    problems.length > 0
      ? problems.map((problem) => `NOT GOOD: ${problem}`)
      : [
          `The backup of ${manifest.at} is whole: ${Object.keys(manifest.files).length} files, ${manifest.users} users, signed by the enclave.`,
        ];
  return { data: { ok: problems.length === 0, problems, manifest }, lines, exitCode: problems.length === 0 ? 0 : 1 };
}

async function check(folder: string): Promise<{ manifest: Manifest; problems: string[] }> {
  const { document, signature } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as {
    document: string;
    signature: string;
  };
  const manifest = JSON.parse(document) as Manifest;
  const problems: string[] = [];
  if (
    !(await verifySigned(fromBase64Url(manifest.identity), 'backup-manifest', {
      document: toBase64Url(utf8ToBytes(document)),
      signature,
    }))
  )
    problems.push('the manifest is not signed by its enclave');
  for (const [file, sha256] of Object.entries(manifest.files)) {
    if (!existsSync(join(folder, file))) problems.push(`${file} is missing`);
    else if (
      !equalBytes(
        utf8ToBytes(
          createHash('sha256')
            .update(readFileSync(join(folder, file)))
            .digest('hex'),
        ),
        utf8ToBytes(sha256),
      )
    )
      problems.push(`${file} is not the file that was signed`);
  }
  return { manifest, problems };
}

async function restore(context: Context): Promise<Result> {
  const folder = resolve(required(context, 0, 'The folder of the backup'));
  const { home } = context;
  const { manifest, problems } = await check(folder);
  if (problems.length > 0) throw new Error(`This backup is not whole: ${problems.join('; ')}. Use another one.`);
  assertPrivate(home);
  assertEmpty(home);
  if (operatorNames(home).length === 0) for (const name of localOperators) await createOperator(home, name);
  const settings = { ...home.settings, backups: dirname(folder) };
  writeServiceConfigs(
    { ...home, settings },
    { port: 0, rpcUrl: settings['evm.rpc_url'] || 'http://127.0.0.1:8545', chainId: settings['evm.chain_id'] },
  );
  const { enclave, gateway } = shippedEntries();
  const passphrase = context.flag('passphrase-file');
  await run(
    'enclave',
    [enclave[0]!, 'restore', basename(folder), ...(passphrase ? ['--passphrase-file', resolve(passphrase)] : [])],
    { KEDGE_ENCLAVE_CONFIG: home.file('run', 'enclave.json') },
  );
  await run('gateway', [gateway[0]!, 'restore', join(folder, 'primary.jsonl.gz')], {
    KEDGE_GATEWAY_CONFIG: home.file('run', 'gateway.json'),
  });
  return {
    data: { restored: folder, at: manifest.at, users: manifest.users },
    lines: [
      `Restored the backup of ${manifest.at} into ${home.path}.`,
      'The enclave starts sealed. Start the service, look at it, then two operators: kedge enclave accept-restore.',
    ],
  };
}

async function run(name: string, argv: readonly string[], env: Record<string, string>): Promise<void> {
  const child = startChild({ name, argv, env });
  await child.line((line) => 'restored' in line);
  await child.ended;
}

/** A restore never overwrites: databases, root and mirror must not exist. */
function assertEmpty(home: Home): void {
  const found = readdirSync(home.path).filter((entry) =>
    ['primary', 'vault', 'root.keys', 'mirror', 'gateway.key'].includes(entry),
  );
  if (found.length > 0)
    throw new Error(
      `The state folder ${home.path} is not empty (${found.join(', ')}). Restore into another one: --home FOLDER.`,
    );
}
