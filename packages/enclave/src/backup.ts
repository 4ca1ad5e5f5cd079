/**
 * The enclave's part of a backup: the vault database as lines, the root sealed under a passphrase as an age file, and
 * a signed manifest over everything. A hardware root stays in its hardware, with the backup its maker provides. The
 * folder is an argument; `main.ts` passes one on disk.
 */
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { open as openFile, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync, gzip } from 'node:zlib';
import { bytesToHex, fromBase64Url, KedgeError, toBase64Url, utf8ToBytes } from '@kedge/core';
import { type Database, dumpTables } from '@kedge/store';
import { Decrypter, Encrypter } from 'age-encryption';
import type { Signed } from './enclave.ts';
import { passphraseIdentity, passphraseRecipient } from './passphrase.ts';
import type { RootKeys } from './root-keys.ts';
import { SoftwareRootKeys } from './software.ts';

/** Every table but the lease, which belongs to a running enclave. */
export const vaultTables = ['head', 'state', 'wallets', 'backup_keys'] as const;
export const BACKUP_FORMAT = 1;
const NAME = /^[0-9a-z-]{1,64}$/;

/** Where backups go. `write` is durable when it resolves and never overwrites. */
export interface BackupFolder {
  write(name: string, file: string, bytes: Uint8Array): Promise<void>;
  read(name: string, file: string): Promise<Uint8Array>;
}

export function backupFolder(path: string): BackupFolder {
  const fileIn = (name: string, file: string) => {
    if (!NAME.test(name)) throw new KedgeError('request_invalid', 'That is not the name of a backup.');
    return join(path, name, file);
  };
  return {
    async write(name, file, bytes) {
      const target = fileIn(name, file); // first: the name may be anybody's
      mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
      const handle = await openFile(target, 'wx', 0o600);
      try {
        await handle.writeFile(bytes);
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
    read: async (name, file) => new Uint8Array(await readFile(fileIn(name, file))),
  };
}

export interface BackupRequest {
  readonly db: Database;
  readonly rootKeys: RootKeys;
  readonly folder: BackupFolder;
  readonly name: string;
  readonly primary: { readonly sha256: Uint8Array; readonly users: number };
  /** UTF-8; null with a hardware root. */
  readonly passphrase: Uint8Array | null;
  readonly sequence: number;
  readonly at: string;
}

/** Writes `vault.jsonl.gz` and, for a software root, `root.age`; gives the content of the manifest. */
export async function writeBackup(request: BackupRequest): Promise<Readonly<Record<string, unknown>>> {
  const { db, rootKeys, folder, name, primary, passphrase } = request;
  const lines: string[] = [];
  await db.transaction(
    async (tx) => {
      lines.length = 0;
      for await (const line of dumpTables(tx, vaultTables)) lines.push(line);
    },
    { isolation: 'repeatable read' },
  );
  const vault = await promisify(gzip)(utf8ToBytes(lines.join('\n')));
  await folder.write(name, 'vault.jsonl.gz', vault);
  const files: Record<string, string> = {
    'primary.jsonl.gz': bytesToHex(primary.sha256),
    'vault.jsonl.gz': sha256Hex(vault),
  };
  if (rootKeys instanceof SoftwareRootKeys) {
    if (passphrase === null) throw new KedgeError('request_invalid', 'A backup of a software root needs a passphrase.');
    const root = await sealRoot(rootKeys, new TextDecoder().decode(passphrase));
    await folder.write(name, 'root.age', root);
    files['root.age'] = sha256Hex(root);
  }
  return {
    format: BACKUP_FORMAT,
    at: request.at,
    sequence: request.sequence,
    users: primary.users,
    root_keys: rootKeys.kind,
    identity: toBase64Url(await rootKeys.identity()),
    files,
  };
}

async function sealRoot(rootKeys: SoftwareRootKeys, passphrase: string): Promise<Uint8Array> {
  const encrypter = new Encrypter();
  encrypter.addRecipient(passphraseRecipient(passphrase));
  const root = rootKeys.exportRoot();
  const sealed = await encrypter.encrypt(root);
  root.fill(0);
  return sealed;
}

/** The bytes of the keyring. Throws `KedgeError('request_invalid')` for a wrong passphrase. */
export async function openRoot(sealed: Uint8Array, passphrase: string): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(passphraseIdentity(passphrase));
  try {
    return await decrypter.decrypt(sealed);
  } catch (cause) {
    throw new KedgeError('request_invalid', 'The passphrase does not open the root of this backup.', { cause });
  }
}

export function vaultLines(bytes: Uint8Array): string[] {
  const text = gunzipSync(bytes).toString('utf8');
  return text === '' ? [] : text.split('\n');
}

/** `{document, signature}` as JSON, the document as the text that was signed. */
export function encodeManifest({ document, signature }: Signed): Uint8Array {
  return utf8ToBytes(
    JSON.stringify({ document: new TextDecoder().decode(document), signature: toBase64Url(signature) }, null, 1),
  );
}

export function decodeManifest(bytes: Uint8Array): Signed {
  const { document, signature } = JSON.parse(new TextDecoder().decode(bytes)) as {
    document: string;
    signature: string;
  };
  return { document: utf8ToBytes(document), signature: fromBase64Url(signature) };
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
