/**
 * The endpoints of the scheme backup-key, a part of the table in `api.ts`. Paths and fields are named as integrations of
 * the vendor's know them; what is ours stands beside.
 */
import { z } from 'zod';
import { base64Url, endpoint, id, listOf, page, signedSchema, time, uuid } from './api-schema.ts';
import { backupKeyEnvironments, backupKeyTypes, checkOutcomes, signableFields } from './schemes/backup-key.ts';

/** How integrators name users, customers and packages of theirs. */
const foreignName = z
  .string()
  .min(1)
  .max(128)
  .regex(/^\P{C}*$/u, 'no control characters');
/** A public key of any type that we know, and of types that others have. */
const anyPublicKey = z
  .string()
  .min(32)
  .max(4096)
  .regex(/^([0-9a-f]{2})*$/, 'lower-case hex');
const sha256Hex = z
  .string()
  .max(64)
  .regex(/^[0-9a-f]{64}$/, 'SHA-256 in lower-case hex');
const keyType = z.enum(backupKeyTypes);
const keyEnvironment = z.enum(backupKeyEnvironments);
const outcome = z.enum(checkOutcomes);
const organisation = z.strictObject({ customer_id: foreignName, customer_name: foreignName.optional() });
const boughtPackage = z.strictObject({ package_id: foreignName, package_name: foreignName.optional() });
const encryptionKeyVersion = z.coerce.number().int().min(1).max(1_000_000).default(1);
const checked = {
  outcome: outcome.meta({ description: 'Of the last check that was finished.' }),
  checked_at: time.nullable(),
  last_proven_at: time.nullable(),
};

export const backupKeySchema = z
  .object({
    key_id: uuid,
    user_identifier: z.string(),
    key_type: keyType,
    key_environment: keyEnvironment,
    public_key: z.string(),
    customer_id: z.string().nullable(),
    package_id: z.string().nullable(),
    xpub: z.string().nullable(),
    ...checked,
    created_at: time,
  })
  .meta({ id: 'BackupKey' });

export const keyBackupSchema = z
  .object({
    backup_id: uuid,
    backup_type: z.enum(['data', 'file']),
    key_id: uuid.nullable(),
    checksum: z.string().nullable(),
    data_size: z.number().int(),
    ...checked,
    created_at: time,
  })
  .meta({ id: 'KeyBackup' });

const plainEndpoints = {
  createBackupKey: endpoint({
    method: 'POST',
    path: '/v1/keys',
    summary: 'Assign a backup key, born in the enclave.',
    principals: ['secret_key'],
    scope: 'keys:write',
    body: z.strictObject({
      user_identifier: foreignName,
      key_type: keyType,
      key_environment: keyEnvironment.default('HOT'),
      organisation: organisation.optional(),
      package: boughtPackage.optional(),
      sign_with: z
        .array(z.enum(signableFields))
        .min(1)
        .max(signableFields.length)
        .refine((fields) => new Set(fields).size === fields.length, 'a field comes twice')
        .optional()
        .meta({ description: 'What the signature covers beside the public key, which is always covered.' }),
      client_nonce: base64Url(64)
        .optional()
        .meta({ description: '16 to 64 random bytes, covered by the attestation.' }),
    }),
    response: z.object({
      key_id: uuid,
      public_key: z.string().meta({ description: 'Hex: compressed SEC1, Ed25519, or SubjectPublicKeyInfo in DER.' }),
      signature: z.string().meta({
        description: 'Base64 of DER: ECDSA P-256 with SHA-256 over the UTF-8 of `signed_payload`, or of `public_key`.',
      }),
      signed_payload: z
        .string()
        .nullable()
        .meta({ description: 'With `sign_with`: JSON in the spelling of RFC 8785.' }),
      signed_fields: z.array(z.enum(signableFields)),
      customer_id: z.string().nullable(),
      package_id: z.string().nullable(),
      metadata: z.object({ key_type: keyType, key_environment: keyEnvironment, created_at: time }),
      attestation: signedSchema,
    }),
    status: 201,
  }),
  listBackupKeys: endpoint({
    method: 'GET',
    path: '/v1/keys',
    summary: 'The backup keys of the project.',
    principals: ['secret_key'],
    scope: 'keys:read',
    query: page,
    response: listOf(backupKeySchema),
    status: 200,
  }),
  getBackupKey: endpoint({
    method: 'GET',
    path: '/v1/keys/{key_id}',
    summary: 'One backup key.',
    principals: ['secret_key'],
    scope: 'keys:read',
    params: id('key_id'),
    response: backupKeySchema,
    status: 200,
  }),
  verifyBackupKey: endpoint({
    method: 'GET',
    path: '/v1/keys/{key_id}/verify',
    summary: 'Whether the enclave still has the key and can use it.',
    principals: ['secret_key'],
    scope: 'keys:read',
    params: id('key_id'),
    response: z.object({ is_key_valid: z.boolean().nullable(), outcome, message: z.string() }),
    status: 200,
  }),
  registerXpub: endpoint({
    method: 'PUT',
    path: '/v1/keys/{key_id}/xpub',
    summary: 'Register the xpub of a backup key, once; stored chain codes are compared with it.',
    principals: ['secret_key'],
    scope: 'keys:write',
    params: id('key_id'),
    body: z.strictObject({ xpub: z.string().max(112) }),
    response: backupKeySchema,
    status: 200,
  }),
  reportBackupKey: endpoint({
    method: 'POST',
    path: '/v1/keys/{key_id}/reports',
    summary: 'Report that a client refused the answer about a key.',
    principals: ['secret_key'],
    scope: 'keys:write',
    params: id('key_id'),
    body: z.strictObject({ reason: z.enum(['signature', 'attestation', 'identity']) }),
    response: z.null(),
    status: 204,
  }),
  getEncryptionKey: endpoint({
    method: 'GET',
    path: '/v1/encryption-key',
    summary: 'The key of the enclave for recovery material: RSA-4096, OAEP with SHA-256.',
    principals: ['secret_key'],
    scope: 'backups:write',
    response: z.object({
      version: z.number().int(),
      algorithm: z.literal('RSA-OAEP-256'),
      public_key: z.string().meta({ description: 'Base64 of SubjectPublicKeyInfo in DER.' }),
      signed: signedSchema,
    }),
    status: 200,
  }),
  storeSecureData: endpoint({
    method: 'POST',
    path: '/v1/secure/data',
    summary: 'Store recovery material, encrypted to the key of the enclave.',
    principals: ['secret_key'],
    scope: 'backups:write',
    body: z.strictObject({
      public_key: anyPublicKey,
      data: z.string().max(1024).meta({ description: 'Base64 of the 512 bytes that RSA-4096 gives.' }),
      checksum: sha256Hex.optional().meta({ description: 'SHA-256 of the plaintext.' }),
      padding_type: z.literal('OAEP').default('OAEP'),
      encryption_key_version: encryptionKeyVersion,
      metadata: z
        .strictObject({
          description: foreignName.optional(),
          content_type: foreignName.optional(),
          original_filename: foreignName.optional(),
        })
        .optional(),
    }),
    response: keyBackupSchema,
    status: 201,
  }),
  storeSecureFile: endpoint({
    method: 'POST',
    path: '/v1/secure/file',
    summary: 'Store a file of at most 10 MiB that its owner has encrypted.',
    principals: ['secret_key'],
    scope: 'backups:write',
    upload: z.strictObject({
      public_key: anyPublicKey.optional(),
      checksum: sha256Hex.optional().meta({ description: 'SHA-256 of the file as it is sent.' }),
      encryption_key_version: encryptionKeyVersion,
      description: foreignName.optional(),
    }),
    response: keyBackupSchema,
    status: 201,
  }),
  listKeyBackups: endpoint({
    method: 'GET',
    path: '/v1/backups',
    summary: 'The recovery material of the project, without its content.',
    principals: ['secret_key'],
    scope: 'backups:read',
    query: page,
    response: listOf(keyBackupSchema),
    status: 200,
  }),
  verifyKeyBackup: endpoint({
    method: 'GET',
    path: '/v1/backups/{backup_id}/verify',
    summary: 'Whether the enclave could use the recovery material.',
    principals: ['secret_key'],
    scope: 'backups:read',
    params: id('backup_id'),
    response: z.object({ is_backup_valid: z.boolean().nullable(), outcome, message: z.string() }),
    status: 200,
  }),
} as const;

/** The same calls for a platform that serves organisations: whose key it is, and in which package, must be said. */
const partnerEndpoints = {
  createPartnerKey: endpoint({
    ...plainEndpoints.createBackupKey,
    path: '/v1/partner/keys',
    summary: 'Assign a backup key for a user of an organisation.',
    body: plainEndpoints.createBackupKey.body.extend({
      key_environment: keyEnvironment,
      organisation,
      package: boughtPackage,
    }),
  }),
  storePartnerData: endpoint({
    ...plainEndpoints.storeSecureData,
    path: '/v1/partner/secure/data',
    summary: 'The same as POST /v1/secure/data.',
  }),
  storePartnerFile: endpoint({
    ...plainEndpoints.storeSecureFile,
    path: '/v1/partner/secure/file',
    summary: 'The same as POST /v1/secure/file.',
  }),
} as const;

export const backupKeyEndpoints = { ...plainEndpoints, ...partnerEndpoints } as const;
