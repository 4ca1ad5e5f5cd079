/**
 * The queries on backup keys and recovery material, scoped to a project like those of `store.ts`, beside which they
 * stand. Routes call them; whoever changes state passes the transaction of a commit.
 */
import type { BackupKeyEnvironment, BackupKeyId, BackupKeyType, CheckOutcome, KeyBackupId } from '@kedge/core';
import type { InProject } from './store.ts';

/** What the last check said, and when one last proved the thing good. */
interface Checked {
  readonly outcome: CheckOutcome;
  readonly checked_at: Date | null;
  readonly proven_at: Date | null;
}

export interface BackupKeyRow extends Checked {
  readonly id: BackupKeyId;
  readonly user_identifier: string;
  readonly key_type: BackupKeyType;
  readonly key_environment: BackupKeyEnvironment;
  readonly public_key: Uint8Array;
  readonly customer_id: string | null;
  readonly customer_name: string | null;
  readonly package_id: string | null;
  readonly package_name: string | null;
  readonly xpub: string | null;
  readonly created_at: Date;
}

export interface KeyBackupRow extends Checked {
  readonly id: KeyBackupId;
  readonly backup_type: 'data' | 'file';
  readonly key_id: BackupKeyId | null;
  readonly public_key: Uint8Array | null;
  readonly checksum: Uint8Array | null;
  readonly size: number;
  readonly encryption_key: number;
  readonly description: string | null;
  readonly content_type: string | null;
  readonly original_filename: string | null;
  readonly created_at: Date;
}

const keyColumns = `id, user_identifier, key_type, key_environment, public_key, customer_id, customer_name, package_id,
  package_name, xpub, outcome, checked_at, proven_at, created_at`;
const backupColumns = `id, backup_type, key_id, public_key, checksum, size, encryption_key, description, content_type,
  original_filename, outcome, checked_at, proven_at, created_at`;
const PART_BYTES = 512 * 1024;

export async function insertBackupKey(on: InProject, row: BackupKeyRow): Promise<void> {
  await on.query(
    `insert into backup_keys (project, id, user_identifier, key_type, key_environment, public_key, customer_id,
       customer_name, package_id, package_name, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict (id) do nothing`,
    [
      row.id,
      row.user_identifier,
      row.key_type,
      row.key_environment,
      row.public_key,
      row.customer_id,
      row.customer_name,
      row.package_id,
      row.package_name,
      row.created_at,
    ],
  );
}

export async function findBackupKey(on: InProject, id: string): Promise<BackupKeyRow | null> {
  const [row] = await on.read<BackupKeyRow>(`select ${keyColumns} from backup_keys where project = $1 and id = $2`, [
    id,
  ]);
  return row ?? null;
}

export async function findBackupKeyOf(
  on: InProject,
  of: Pick<BackupKeyRow, 'user_identifier' | 'customer_id' | 'key_type'>,
): Promise<BackupKeyRow | null> {
  const [row] = await on.read<BackupKeyRow>(
    `select ${keyColumns} from backup_keys
     where project = $1 and user_identifier = $2 and customer_id = $3 and key_type = $4`,
    [of.user_identifier, of.customer_id, of.key_type],
  );
  return row ?? null;
}

export async function findBackupKeyByPublicKey(on: InProject, publicKey: Uint8Array): Promise<BackupKeyRow | null> {
  const [row] = await on.read<BackupKeyRow>(
    `select ${keyColumns} from backup_keys where project = $1 and public_key = $2`,
    [publicKey],
  );
  return row ?? null;
}

export function listBackupKeys(on: InProject, before: string | null, limit: number): Promise<BackupKeyRow[]> {
  return on.query(
    `select ${keyColumns} from backup_keys
     where project = $1 and ($2::uuid is null or id < $2) order by id desc limit $3`,
    [before, limit],
  );
}

/** False when another xpub is registered already: what backups are compared with doesn't change. */
export async function registerXpub(on: InProject, id: BackupKeyId, xpub: string): Promise<boolean> {
  const rows = await on.query(
    'update backup_keys set xpub = $3 where project = $1 and id = $2 and (xpub is null or xpub = $3) returning 1',
    [id, xpub],
  );
  return rows.length > 0;
}

export async function noteKeyCheck(on: InProject, id: BackupKeyId, outcome: CheckOutcome, at: Date): Promise<void> {
  await on.query(
    `update backup_keys set outcome = $3, checked_at = $4, proven_at = case when $3 = 'passed' then $4 else proven_at end
     where project = $1 and id = $2`,
    [id, outcome, at],
  );
}

export async function insertKeyBackup(on: InProject, row: KeyBackupRow, content: Uint8Array): Promise<void> {
  const inserted = await on.query(
    `insert into key_backups (project, id, backup_type, key_id, public_key, checksum, size, encryption_key, description,
       content_type, original_filename, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (id) do nothing returning 1`,
    [
      row.id,
      row.backup_type,
      row.key_id,
      row.public_key,
      row.checksum,
      row.size,
      row.encryption_key,
      row.description,
      row.content_type,
      row.original_filename,
      row.created_at,
    ],
  );
  if (inserted.length === 0) return;
  for (let part = 0; part * PART_BYTES < content.length; part++) {
    const bytes = content.subarray(part * PART_BYTES, (part + 1) * PART_BYTES);
    await on.query('insert into key_backup_parts (project, key_backup, part, bytes) values ($1, $2, $3, $4)', [
      row.id,
      part,
      bytes,
    ]);
  }
}

export async function findKeyBackup(on: InProject, id: string): Promise<KeyBackupRow | null> {
  const [row] = await on.read<KeyBackupRow>(`select ${backupColumns} from key_backups where project = $1 and id = $2`, [
    id,
  ]);
  return row ?? null;
}

/** What was stored, whole. */
export async function readKeyBackup(on: InProject, id: KeyBackupId): Promise<Uint8Array> {
  const rows = await on.query<{ bytes: Uint8Array }>(
    'select bytes from key_backup_parts where project = $1 and key_backup = $2 order by part',
    [id],
  );
  return new Uint8Array(Buffer.concat(rows.map(({ bytes }) => bytes)));
}

export function listKeyBackups(on: InProject, before: string | null, limit: number): Promise<KeyBackupRow[]> {
  return on.query(
    `select ${backupColumns} from key_backups
     where project = $1 and ($2::uuid is null or id < $2) order by id desc limit $3`,
    [before, limit],
  );
}

export async function noteBackupCheck(on: InProject, id: KeyBackupId, outcome: CheckOutcome, at: Date): Promise<void> {
  await on.query(
    `update key_backups set outcome = $3, checked_at = $4, proven_at = case when $3 = 'passed' then $4 else proven_at end
     where project = $1 and id = $2`,
    [id, outcome, at],
  );
}
