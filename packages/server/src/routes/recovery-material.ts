/**
 * Recovery material, encrypted by its owner before it comes here. `app.ts` binds these. What can be seen from outside is
 * checked when it comes: sizes, spelling, padding. Whether it would help in a recovery only the enclave can say, and it
 * says only that; the gateway never opens any.
 */
import { createHash } from 'node:crypto';
import { parseExtendedKey } from '@kedge/chains';
import { type CheckOutcome, equalBytes, hexToBytes, KedgeError, type KeyBackupId } from '@kedge/core';
import type { BackupFinding } from '@kedge/enclave/client';
import {
  findBackupKey,
  findBackupKeyByPublicKey,
  findKeyBackup,
  insertKeyBackup,
  type KeyBackupRow,
  listKeyBackups,
  noteBackupCheck,
  readKeyBackup,
} from '../backup-key-store.ts';
import type { Handlers } from '../binding.ts';
import type { Happening } from '../events.ts';
import { RequestInvalid } from '../problems.ts';
import type { Services } from '../services.ts';
import { type InProject, inProject, pageOf } from '../store.ts';
import { keyBackupView } from '../views.ts';
import { nullIfOurs, validityOf } from './backup-keys.ts';

type Routes = Pick<Handlers, 'storeSecureData' | 'storeSecureFile' | 'listKeyBackups' | 'verifyKeyBackup'>;

/** What RSA-4096 gives, whatever was encrypted. */
const RSA_BYTES = 512;

const messages: { readonly [F in BackupFinding | 'did_not_finish' | 'not_checked' | 'file_damaged']: string } = {
  good: 'All passed: it decrypts, its checksum fits, and so does what is registered for its key.',
  not_for_this_enclave:
    'Needs attention: it does not decrypt with the key of this enclave. Encrypt and store it again.',
  checksum_differs: 'Needs attention: what is inside is not what the checksum was made of. Encrypt and store it again.',
  chain_code_invalid: 'Needs attention: the chain code inside is not 32 bytes that could be one. Store the right one.',
  key_differs: 'Needs attention: it is material for another public key. Store that of this key.',
  xpub_differs:
    'Needs attention: the chain code inside does not belong to the registered xpub, so a recovery would sign for another wallet. Store the right one.',
  did_not_finish: 'Didn’t finish, on our side: this says nothing about the backup. Check again later.',
  not_checked: 'Not checked: only you can open this file. What is stored is still what you sent.',
  file_damaged: 'Needs attention: what is stored is no longer what you sent. Store it again.',
};

export function recoveryMaterialRoutes(services: Services): Routes {
  const { db, enclave, clock } = services;

  const rowOf = async (
    on: InProject,
    id: string,
    given: Omit<KeyBackupRow, 'id' | 'key_id' | 'outcome' | 'checked_at' | 'proven_at' | 'created_at'>,
  ): Promise<KeyBackupRow> => {
    const key = given.public_key && (await findBackupKeyByPublicKey(on, given.public_key));
    const checked = { outcome: 'not_checked' as const, checked_at: null, proven_at: null };
    const created_at = new Date(clock.wallMs());
    return { ...given, ...checked, id: id as KeyBackupId, key_id: key?.id ?? null, created_at };
  };
  const stored = (project: InProject['project'], row: KeyBackupRow): Happening => ({
    type: 'key_backup.stored',
    project,
    data: { backup: row.id, key: row.key_id, backup_type: row.backup_type, size: row.size },
  });

  return {
    async storeSecureData({ principal, body, resourceId, commit }) {
      const { project } = principal;
      const data = base64At('body.data', body.data);
      if (data.length !== RSA_BYTES)
        throw new RequestInvalid([
          { path: 'body.data', message: `RSA-4096 gives ${RSA_BYTES} bytes, not ${data.length}` },
        ]);
      const row = await rowOf(inProject(db, project), resourceId, {
        backup_type: 'data',
        public_key: hexToBytes(body.public_key),
        checksum: body.checksum === undefined ? null : hexToBytes(body.checksum),
        size: data.length,
        encryption_key: body.encryption_key_version,
        description: body.metadata?.description ?? null,
        content_type: body.metadata?.content_type ?? null,
        original_filename: body.metadata?.original_filename ?? null,
      });
      return commit({
        happenings: [stored(project, row)],
        next: async (tx) => {
          await insertKeyBackup(inProject(tx, project), row, data);
          return keyBackupView(row);
        },
      });
    },

    async storeSecureFile({ principal, upload, resourceId, commit }) {
      const { project } = principal;
      const { file, fields } = upload;
      if (file.bytes.length === 0) throw new RequestInvalid([{ path: 'body.file', message: 'the file is empty' }]);
      const checksum = new Uint8Array(createHash('sha256').update(file.bytes).digest());
      if (fields.checksum !== undefined && !equalBytes(hexToBytes(fields.checksum), checksum))
        throw new RequestInvalid([{ path: 'body.checksum', message: 'it is not the SHA-256 of the file that came' }]);
      const row = await rowOf(inProject(db, project), resourceId, {
        backup_type: 'file',
        public_key: fields.public_key === undefined ? null : hexToBytes(fields.public_key),
        checksum,
        size: file.bytes.length,
        encryption_key: fields.encryption_key_version,
        description: fields.description ?? null,
        content_type: 'application/octet-stream',
        original_filename: file.name,
      });
      return commit({
        happenings: [stored(project, row)],
        next: async (tx) => {
          await insertKeyBackup(inProject(tx, project), row, file.bytes);
          return keyBackupView(row);
        },
      });
    },

    listKeyBackups: ({ principal, query }) =>
      pageOf(query, (before, limit) => listKeyBackups(inProject(db, principal.project), before, limit), keyBackupView),

    async verifyKeyBackup({ principal, params, commit }) {
      const { project } = principal;
      const on = inProject(db, project);
      const row = await findKeyBackup(on, params.backup_id);
      if (row === null) throw new KedgeError('not_found');
      const content = await readKeyBackup(on, row.id);
      const checked = row.backup_type === 'file' ? checkFile(row, content) : await checkData(on, row, content);
      const answer = (outcome: CheckOutcome, message: string) => ({
        is_backup_valid: validityOf(outcome),
        outcome,
        message,
      });
      if (checked === null) return answer('did_not_finish', messages.did_not_finish);
      const { outcome, finding, receipt } = checked;
      return commit({
        happenings: [
          {
            type: 'key_backup.verified',
            project,
            data: { backup: row.id, outcome, finding },
            ...(receipt ? { receipt } : {}),
          },
        ],
        next: async (tx) => {
          await noteBackupCheck(inProject(tx, project), row.id, outcome, new Date(clock.wallMs()));
          return answer(outcome, messages[finding]);
        },
      });
    },
  };

  /** Null when the enclave couldn't look. */
  async function checkData(on: InProject, row: KeyBackupRow, data: Uint8Array) {
    if (data.length !== RSA_BYTES) return { outcome: 'attention', finding: 'file_damaged', receipt: null } as const;
    const key = row.key_id && (await findBackupKey(on, row.key_id));
    const checked = await enclave
      .verifyBackup({
        project: on.project,
        backup: row.id,
        version: row.encryption_key,
        data,
        checksum: row.checksum,
        publicKey: key ? key.public_key : null,
        chainCode: key?.xpub ? parseExtendedKey(key.xpub).chainCode : null,
      })
      .catch(nullIfOurs);
    if (checked === null) return null;
    const outcome: CheckOutcome = checked.finding === 'good' ? 'passed' : 'attention';
    return { outcome, ...checked };
  }
}

/** We can't open it, and its owner's own check can; that what is stored is what came, we can say. */
function checkFile(row: KeyBackupRow, content: Uint8Array) {
  const same = row.checksum !== null && equalBytes(createHash('sha256').update(content).digest(), row.checksum);
  return same
    ? ({ outcome: 'not_checked', finding: 'not_checked', receipt: null } as const)
    : ({ outcome: 'attention', finding: 'file_damaged', receipt: null } as const);
}

/** RFC 4648 §4 with padding, in its one spelling. */
function base64At(path: `body.${string}`, text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw new RequestInvalid([{ path, message: 'not base64 with padding' }]);
  return new Uint8Array(bytes);
}
