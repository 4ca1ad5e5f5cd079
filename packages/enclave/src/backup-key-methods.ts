/**
 * What the gateway may ask about backup keys outside a recovery: to make one, to check one, the key for recovery
 * material, to check such material. `service.ts` puts these beside its other methods. Nothing here signs for a caller
 * with a backup key, and nothing decrypted here leaves: callers learn outcomes.
 */

import { createHash } from 'node:crypto';
import {
  bytesToHex,
  equalBytes,
  KedgeError,
  type KeyAttestation,
  type RandomBytes,
  type SignableField,
  signableFields,
  signedPayload,
  toBase64Url,
} from '@kedge/core';
import { type BackupKeyBirth, type BackupKeys, isPairOf } from './backup-keys.ts';
import type { Enclave, Signed } from './enclave.ts';
import type { EncryptionKeys } from './encryption-keys.ts';
import type { RootKeys } from './root-keys.ts';
import { signBare, signDocument } from './signing.ts';

interface BackupKeyParts {
  readonly rootKeys: RootKeys;
  readonly backupKeys: BackupKeys;
  readonly encryptionKeys: EncryptionKeys;
  readonly random: RandomBytes;
  /** The wall clock, RFC 3339. */
  readonly at: () => string;
  readonly receipt: (act: string, data: Readonly<Record<string, unknown>>) => Promise<Signed>;
}

type Methods = Pick<Enclave, 'createBackupKey' | 'verifyBackupKey' | 'encryptionKey' | 'verifyBackup'>;

export function backupKeyMethods({
  rootKeys,
  backupKeys,
  encryptionKeys,
  random,
  at,
  receipt,
}: BackupKeyParts): Methods {
  return {
    async createBackupKey({ project, user, key, type, environment, nonce, signWith }) {
      const name = { project, user, key };
      const birth = await backupKeys.create(name, { type, environment, createdAt: at(), nonce });
      if (!isAsWanted(birth, { type, environment, nonce }))
        throw new KedgeError('conflict', 'That key exists already, of another type, environment or nonce.');
      const publicKey = bytesToHex(birth.publicKey);
      const attested: KeyAttestation = {
        project,
        user,
        key_id: key,
        key_type: type,
        key_environment: environment,
        public_key: publicKey,
        created_at: birth.createdAt,
        client_nonce: nonce && toBase64Url(nonce),
      };
      const payload = signedPayload(
        publicKey,
        signWith && fieldsOf(signWith, { user, key, publicKey: birth.publicKey }),
      );
      return {
        publicKey: birth.publicKey,
        vendor: await signBare(rootKeys, payload),
        attestation: await signDocument(rootKeys, 'key-attestation', { ...attested }),
        receipt: await receipt('create_backup_key', { project, key, public_key: publicKey }),
      };
    },

    async verifyBackupKey({ project, user, key, publicKey }) {
      const outcome = await outcomeOf(
        await backupKeys.open({ project, user, key }).catch(nullIfDamaged),
        publicKey,
        random,
      );
      return { outcome, receipt: await receipt('verify_backup_key', { project, key, outcome }) };
    },

    async encryptionKey() {
      const { version, publicKey, createdAt } = await encryptionKeys.current(at());
      const said = {
        version,
        algorithm: 'RSA-OAEP-256',
        public_key: bytesToHex(publicKey),
        created_at: createdAt,
      };
      return { version, publicKey, signed: await signDocument(rootKeys, 'encryption-key', said) };
    },

    async verifyBackup({ project, backup, ...check }) {
      const finding = await encryptionKeys.check(check);
      return { finding, receipt: await receipt('verify_backup', { project, backup, finding }) };
    },
  };
}

async function outcomeOf(opened: Awaited<ReturnType<BackupKeys['open']>>, publicKey: Uint8Array, random: RandomBytes) {
  if (opened === null || !equalBytes(opened.birth.publicKey, publicKey)) return 'attention';
  if (opened.privateKey === null) return 'held_offline';
  return isPairOf(opened.birth, opened.privateKey, random(32)) ? 'passed' : 'attention';
}

function isAsWanted(birth: BackupKeyBirth, wanted: Pick<BackupKeyBirth, 'type' | 'environment' | 'nonce'>): boolean {
  const sameNonce =
    birth.nonce === null || wanted.nonce === null
      ? birth.nonce === wanted.nonce
      : equalBytes(birth.nonce, wanted.nonce);
  return birth.type === wanted.type && birth.environment === wanted.environment && sameNonce;
}

/** What is about the key the enclave says itself; the rest is the gateway's word, as it is in the vendor's form. */
function fieldsOf(
  given: { readonly [F in SignableField]: string | null },
  own: { readonly user: string; readonly key: string; readonly publicKey: Uint8Array },
): { readonly [F in SignableField]?: string } {
  const said: Partial<Record<SignableField, string>> = {
    user_id: own.user,
    key_id: own.key,
    key_fingerprint: createHash('sha256').update(own.publicKey).digest('hex'),
  };
  const fields: Partial<Record<SignableField, string>> = {};
  for (const field of signableFields) {
    const value = given[field];
    if (value !== null) fields[field] = said[field] ?? value;
  }
  return fields;
}

function nullIfDamaged(error: unknown): null {
  if (error instanceof KedgeError && error.code === 'sealed_data_invalid') return null;
  throw error;
}
