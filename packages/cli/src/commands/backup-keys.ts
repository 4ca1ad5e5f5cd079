/**
 * `backup-key`: assigning a backup key, what there is, and whether the enclave still has one. These act as a project's
 * backend, so they take its secret key from `KEDGE_SECRET_KEY` or a file, never from the command line, where others on the
 * machine could read it. A new key is shown only if the pinned enclave attested it for this request.
 */
import { readFileSync } from 'node:fs';
import { type BackupKeyType, backupKeyTypes, PAGE_SIZE_MAX, type ResponseOf } from '@kedge/core';
import { backupKeys, type Client, createClient, thumbprintOf } from '@kedge/sdk';
import { service, serviceUrl } from '../access.ts';
import { type Command, type Context, type Result, required } from '../command.ts';

export const backupKeyCommands: readonly Command[] = [
  {
    words: 'backup-key create',
    usage: 'backup-key create USER --project ID [--type secp256k1|ed25519|rsa4096] [--cold] [--secret-key-file FILE]',
    summary: 'assign a backup key to a user of yours, and check who made it',
    run: create,
  },
  {
    words: 'backup-key list',
    usage: 'backup-key list [--secret-key-file FILE]',
    summary: 'the backup keys of the project, with what the last check said',
    run: list,
  },
  {
    words: 'backup-key verify',
    usage: 'backup-key verify KEY_ID [--secret-key-file FILE]',
    summary: 'whether the enclave still has a backup key and can use it',
    run: verify,
  },
];

async function create(context: Context): Promise<Result> {
  const type = context.flag('type') ?? 'secp256k1';
  if (!isBackupKeyType(type)) throw new Error(`The type is ${backupKeyTypes.join(', ')}.`);
  const project = context.flag('project') ?? process.env.KEDGE_PROJECT;
  if (!project) throw new Error('Name the project with --project ID: a key of another one would be refused.');
  const user = required(context, 0, 'What you call the user');
  const keys = backupKeys({ client: backend(context), pin: thumbprintOf(service(context).publishableKey), project });
  const key = await keys.create({
    user_identifier: user,
    key_type: type,
    key_environment: context.on('cold') ? 'COLD' : 'HOT',
  });
  return { data: key, lines: [`${key.key_id}  ${key.public_key}`, 'Attested by the enclave for this request.'] };
}

async function list(context: Context): Promise<Result> {
  const client = backend(context);
  const data: ResponseOf<'listBackupKeys'>['data'] = [];
  let cursor: string | null = null;
  do {
    const query: { limit: number; cursor?: string } = { limit: PAGE_SIZE_MAX, ...(cursor ? { cursor } : {}) };
    const page: ResponseOf<'listBackupKeys'> = await client.call('listBackupKeys', { query });
    data.push(...page.data);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return {
    data,
    lines: data.map(
      ({ key_id, key_type, key_environment, outcome, user_identifier }) =>
        `${key_id}  ${key_type.padEnd(9)}  ${key_environment.padEnd(4)}  ${outcome.padEnd(14)}  ${user_identifier}`,
    ),
  };
}

/** Ends with 1 unless all is well as far as anybody can look. */
async function verify(context: Context): Promise<Result> {
  const params = { key_id: required(context, 0, 'The id of the key') };
  const data = await backend(context).call('verifyBackupKey', { params });
  return { data, lines: [data.message], exitCode: ['passed', 'held_offline'].includes(data.outcome) ? 0 : 1 };
}

function backend(context: Context): Client {
  const file = context.flag('secret-key-file');
  const token = file === undefined ? process.env.KEDGE_SECRET_KEY : readFileSync(file, 'utf8').trim();
  if (!token)
    throw new Error(
      'No secret key: set KEDGE_SECRET_KEY, or name a file with --secret-key-file FILE. See kedge key create.',
    );
  return createClient({ url: serviceUrl(context), token });
}

function isBackupKeyType(text: string): text is BackupKeyType {
  return backupKeyTypes.some((type) => type === text);
}
