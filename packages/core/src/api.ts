/**
 * The only definition of what crosses HTTP: every endpoint with its path, who may call it, whether it takes a proof,
 * and the schemas of what goes in and out. The gateway's routes, the authorisation matrix, the OpenAPI document, the
 * SDK's client and `docs/api.md` all come from this table; an endpoint that isn't here doesn't exist.
 * Spelling: snake_case; times RFC 3339; bytes base64url unless a field says hex; amounts decimal strings in the
 * chain's smallest unit.
 */
import { z } from 'zod';
import {
  account,
  amount,
  asset,
  base64Url,
  type Endpoint,
  endpoint,
  evmHex,
  hex,
  id,
  intentSchema,
  listOf,
  name,
  page,
  principalKinds,
  scopeList,
  scopes,
  signedSchema,
  time,
  uuid,
} from './api-schema.ts';
import { backupKeyEndpoints } from './backup-key-api.ts';
import { recoveryEndpoints } from './recovery-api.ts';

export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    code: z.string(),
    detail: z.string(),
    next_step: z.string(),
    request_id: z.string(),
    issues: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details; `code` is stable, see docs/errors.md.' });

export const projectSchema = z
  .object({ id: uuid, name, environment: z.enum(['sandbox', 'production']), created_at: time })
  .meta({ id: 'Project' });

export const apiKeySchema = z
  .object({
    id: uuid,
    kind: z.enum(['secret', 'publishable']),
    label: z.string(),
    /** The first characters, to tell keys apart. */
    hint: z.string(),
    scopes: z
      .array(z.enum(scopes))
      .nullable()
      .meta({ description: 'What a secret key may do; null: all that secret keys may.' }),
    created_at: time,
    revoked_at: time.nullable(),
  })
  .meta({ id: 'ApiKey' });

export const userSchema = z
  .object({ id: uuid, email: z.string().nullable(), external_id: z.string().nullable(), created_at: time })
  .meta({ id: 'User' });

export const sessionSchema = z
  .object({ token: z.string().meta({ description: 'Shown once.' }), user_id: uuid, expires_at: time })
  .meta({ id: 'Session' });

export const clientKeySchema = z
  .object({
    id: uuid,
    algorithm: z.enum(['p256', 'ed25519']),
    public_key: hex(65),
    label: z.string(),
    created_at: time,
    revoked_at: time.nullable(),
  })
  .meta({ id: 'ClientKey' });

export const vaultSchema = z
  .object({
    id: uuid,
    user_id: uuid,
    scheme: z.enum(['dual-secret']),
    label: z.string(),
    status: z.enum(['setting_up', 'active', 'locked', 'recovering', 'closed']),
    exported: z.boolean().meta({ description: 'True for ever once a key of the vault was exported.' }),
    created_at: time,
  })
  .meta({ id: 'Vault' });

export const walletSchema = z
  .object({
    id: uuid,
    vault_id: uuid,
    chain: z.enum(['evm']),
    network: z.string(),
    address: z.string(),
    public_key: hex(33),
    second_wrap: z.boolean(),
    custody: z.string().meta({ description: 'In words: whether the operator alone could open this wallet.' }),
    exported_at: time.nullable(),
    created_at: time,
  })
  .meta({ id: 'Wallet' });

export const transactionSchema = z
  .object({
    id: uuid,
    wallet_id: uuid,
    chain: z.string(),
    tx_hash: z.string(),
    raw_tx: z.string(),
    status: z.enum(['submitted', 'broadcasting', 'confirming', 'completed', 'failed', 'replaced', 'expired']),
    confirmations: z.number().int(),
    receipt: z.record(z.string(), z.unknown()).nullable(),
    intent: intentSchema,
    created_at: time,
  })
  .meta({ id: 'Transaction' });

export const enclaveSchema = z
  .object({
    sealed: z.string().nullable(),
    root_keys: z.enum(['software', 'pkcs11']),
    notice: z.string(),
    sequence: z.number().int(),
    attestation: signedSchema,
  })
  .meta({ id: 'EnclaveView' });

export const rotationSchema = z
  .object({
    running: z.boolean(),
    versions: z.array(
      z.object({
        version: z.number().int(),
        state: z.enum(['active', 'decrypt_only', 'retired', 'destroyed']),
        client_secrets: z.number().int(),
        wallets: z.number().int(),
        destroyable_in_s: z.number().nullable(),
      }),
    ),
    done: z.number().int(),
    total: z.number().int(),
  })
  .meta({ id: 'Rotation' });

export const ledgerEntrySchema = z
  .object({ seq: z.number().int(), body: z.string(), hash: hex(32) })
  .meta({ id: 'LedgerEntry' });
export const ledgerHeadSchema = z
  .object({ seq: z.number().int(), hash: hex(32), signature: base64Url(64), identity: hex(65), signed_at: time })
  .meta({ id: 'LedgerHead' });

const opened = z.object({
  answer: base64Url(4096).meta({ description: 'HPKE `enc ‖ ct` to the answer key of the proof.' }),
  receipt: signedSchema,
});
const secondProof = z.strictObject({
  second_proof: z.string().max(4096).meta({ description: 'The same act, proven by another operator.' }),
});

export const endpoints = {
  getEnclave: endpoint({
    method: 'GET',
    path: '/v1/enclave',
    summary: 'The enclave: its attestation, and whether it is sealed.',
    principals: principalKinds,
    response: enclaveSchema,
    status: 200,
  }),
  createOperatorSession: endpoint({
    method: 'POST',
    path: '/v1/operator_sessions',
    summary: 'Sign in as an operator.',
    proof: 'operator_sign_in',
    principals: ['anonymous'],
    response: z.object({ token: z.string(), operator: z.string(), expires_at: time }),
    status: 201,
  }),
  createProject: endpoint({
    method: 'POST',
    path: '/v1/projects',
    summary: 'Create a project.',
    principals: ['operator'],
    body: z.strictObject({ name, environment: z.enum(['sandbox', 'production']) }),
    response: projectSchema,
    status: 201,
  }),
  listProjects: endpoint({
    method: 'GET',
    path: '/v1/projects',
    summary: 'All projects.',
    principals: ['operator'],
    query: page,
    response: listOf(projectSchema),
    status: 200,
  }),
  createApiKey: endpoint({
    method: 'POST',
    path: '/v1/projects/{project_id}/api_keys',
    summary: 'Make a secret or publishable key; it is shown once.',
    principals: ['operator'],
    params: id('project_id'),
    body: z
      .strictObject({
        kind: z.enum(['secret', 'publishable']),
        label: name.default('key'),
        scopes: scopeList.optional().meta({ description: 'Limits a secret key to these; all, if left out.' }),
      })
      .refine(({ kind, scopes }) => kind === 'secret' || scopes === undefined, {
        path: ['scopes'],
        message: 'a publishable key has no scopes',
      }),
    response: apiKeySchema.extend({ key: z.string() }).meta({ id: 'NewApiKey' }),
    status: 201,
  }),
  listApiKeys: endpoint({
    method: 'GET',
    path: '/v1/projects/{project_id}/api_keys',
    summary: 'The keys of a project.',
    principals: ['operator'],
    params: id('project_id'),
    query: page,
    response: listOf(apiKeySchema),
    status: 200,
  }),
  revokeApiKey: endpoint({
    method: 'DELETE',
    path: '/v1/projects/{project_id}/api_keys/{api_key_id}',
    summary: 'Revoke a key at once.',
    principals: ['operator'],
    params: z.strictObject({ project_id: uuid, api_key_id: uuid }),
    response: z.null(),
    status: 204,
  }),

  createToken: endpoint({
    method: 'POST',
    path: '/v1/tokens',
    summary: 'A web token for an hour, for a secret key.',
    principals: ['secret_key'],
    scope: 'any',
    body: z.strictObject({
      scopes: scopeList
        .optional()
        .meta({ description: 'What the token may do; all that the secret key may, if left out.' }),
    }),
    response: z.object({
      access_token: z.string().meta({ description: 'A JWT. Shown once.' }),
      token_type: z.literal('Bearer'),
      expires_in: z.number().int().meta({ description: 'Seconds.' }),
      scopes: z.array(z.enum(scopes)).nullable(),
    }),
    status: 201,
  }),
  createUser: endpoint({
    method: 'POST',
    path: '/v1/users',
    summary: 'Sign up.',
    proof: 'sign_up',
    principals: ['publishable_key', 'secret_key'],
    body: z.strictObject({
      email: z.email().max(254).toLowerCase().optional(),
      external_id: z.string().min(1).max(128).optional(),
      label: name.default('first device'),
      sealed_recovery: base64Url(1024),
    }),
    response: z.object({
      user: userSchema,
      session: sessionSchema,
      client_key: clientKeySchema,
      receipt: signedSchema,
    }),
    status: 201,
  }),
  listUsers: endpoint({
    method: 'GET',
    path: '/v1/users',
    summary: 'The users of the project.',
    principals: ['secret_key'],
    query: page,
    response: listOf(userSchema),
    status: 200,
  }),
  getUser: endpoint({
    method: 'GET',
    path: '/v1/users/{user_id}',
    summary: 'One user.',
    principals: ['secret_key', 'user'],
    params: id('user_id'),
    response: userSchema,
    status: 200,
  }),
  createSession: endpoint({
    method: 'POST',
    path: '/v1/sessions',
    summary: 'Sign in with an enrolled key.',
    proof: 'sign_in',
    principals: ['publishable_key', 'secret_key'],
    body: z.strictObject({ user_id: uuid }),
    response: sessionSchema,
    status: 201,
  }),
  deleteSession: endpoint({
    method: 'DELETE',
    path: '/v1/sessions/current',
    summary: 'Sign out.',
    principals: ['user', 'operator'],
    response: z.null(),
    status: 204,
  }),
  createRecovery: endpoint({
    method: 'POST',
    path: '/v1/recoveries',
    summary: 'Recover an account with its 12 words.',
    proof: 'recover',
    principals: ['publishable_key', 'secret_key'],
    body: z.strictObject({ account, label: name.default('recovered device'), sealed_recovery: base64Url(1024) }),
    response: z.object({
      session: sessionSchema,
      client_key: clientKeySchema,
      second_wrap: base64Url(256).meta({ description: 'The wrap secret of the account, sealed under the words.' }),
      receipt: signedSchema,
    }),
    status: 201,
  }),
  replaceRecoveryWords: endpoint({
    method: 'PUT',
    path: '/v1/users/{user_id}/recovery_words',
    summary: 'Replace the 12 words; the old ones stop.',
    proof: 'replace_words',
    principals: ['user'],
    params: id('user_id'),
    body: z.strictObject({ sealed_recovery: base64Url(1024) }),
    response: z.object({ receipt: signedSchema }),
    status: 200,
  }),
  createClientKey: endpoint({
    method: 'POST',
    path: '/v1/users/{user_id}/client_keys',
    summary: 'Enrol a further client key.',
    proof: 'enroll_client_key',
    principals: ['user'],
    params: id('user_id'),
    body: z.strictObject({ algorithm: z.enum(['p256', 'ed25519']), public_key: hex(65), label: name }),
    response: z.object({ client_key: clientKeySchema, receipt: signedSchema }),
    status: 201,
  }),
  listClientKeys: endpoint({
    method: 'GET',
    path: '/v1/users/{user_id}/client_keys',
    summary: 'The enrolled keys of a user.',
    principals: ['user'],
    params: id('user_id'),
    query: page,
    response: listOf(clientKeySchema),
    status: 200,
  }),
  revokeClientKey: endpoint({
    method: 'DELETE',
    path: '/v1/users/{user_id}/client_keys/{client_key_id}',
    summary: 'Revoke a client key.',
    proof: 'revoke_client_key',
    principals: ['user'],
    params: z.strictObject({ user_id: uuid, client_key_id: uuid }),
    response: z.null(),
    status: 204,
  }),

  createVault: endpoint({
    method: 'POST',
    path: '/v1/vaults',
    summary: 'Create a vault.',
    principals: ['user'],
    body: z.strictObject({ scheme: z.enum(['dual-secret']), label: name }),
    response: vaultSchema,
    status: 201,
  }),
  listVaults: endpoint({
    method: 'GET',
    path: '/v1/vaults',
    summary: 'The vaults of the user, or of the project.',
    principals: ['user', 'secret_key'],
    query: page,
    response: listOf(vaultSchema),
    status: 200,
  }),
  getVault: endpoint({
    method: 'GET',
    path: '/v1/vaults/{vault_id}',
    summary: 'One vault.',
    principals: ['user', 'secret_key'],
    params: id('vault_id'),
    response: vaultSchema,
    status: 200,
  }),
  createWallet: endpoint({
    method: 'POST',
    path: '/v1/vaults/{vault_id}/wallets',
    summary: 'Create a wallet.',
    proof: 'create_wallet',
    principals: ['user'],
    params: id('vault_id'),
    body: z.strictObject({
      chain: z.enum(['evm']),
      second_wrap: z
        .strictObject({ public_key: hex(33), sealed_key: base64Url(256) })
        .nullable()
        .default(null)
        .meta({ description: 'Present when the client made the key and sealed it under the words.' }),
    }),
    response: z.object({ wallet: walletSchema, receipt: signedSchema }),
    status: 201,
  }),
  listWallets: endpoint({
    method: 'GET',
    path: '/v1/vaults/{vault_id}/wallets',
    summary: 'The wallets of a vault.',
    principals: ['user', 'secret_key'],
    params: id('vault_id'),
    query: page,
    response: listOf(walletSchema),
    status: 200,
  }),
  getWallet: endpoint({
    method: 'GET',
    path: '/v1/wallets/{wallet_id}',
    summary: 'One wallet.',
    principals: ['user', 'secret_key'],
    params: id('wallet_id'),
    response: walletSchema,
    status: 200,
  }),
  getBalance: endpoint({
    method: 'GET',
    path: '/v1/wallets/{wallet_id}/balance',
    summary: 'What the chain says the wallet holds.',
    principals: ['user', 'secret_key'],
    params: id('wallet_id'),
    query: z.strictObject({ asset }),
    response: z.object({
      amount: amount.meta({ description: 'What blocks say.' }),
      unconfirmed: z
        .string()
        .regex(/^(0|-?[1-9][0-9]{0,77})$/)
        .meta({ description: 'What transactions on their way would add; negative if they take.' }),
      asset: z.string(),
    }),
    status: 200,
  }),
  openWallet: endpoint({
    method: 'POST',
    path: '/v1/wallets/{wallet_id}/open',
    summary: 'Open a wallet: its key, sealed to the caller.',
    proof: 'open_wallet',
    principals: ['user'],
    params: id('wallet_id'),
    response: opened,
    status: 200,
  }),
  exportWallet: endpoint({
    method: 'POST',
    path: '/v1/wallets/{wallet_id}/export',
    summary: 'Open a wallet to leave; it stays marked exported.',
    proof: 'export_wallet',
    principals: ['user'],
    params: id('wallet_id'),
    response: opened,
    status: 200,
  }),
  createTransfer: endpoint({
    method: 'POST',
    path: '/v1/wallets/{wallet_id}/transfers',
    summary: 'Build an unsigned transfer, to be checked and signed on the device.',
    principals: ['user', 'secret_key'],
    params: id('wallet_id'),
    body: z.strictObject({
      to: z.string().max(128),
      amount: z.union([amount, z.literal('all')]).meta({ description: '`all`: what the wallet holds, less the fee.' }),
      asset,
      fee_level: z.enum(['slow', 'recommended', 'fast']).default('recommended'),
      fee_max: amount.optional().meta({ description: 'The most that the fee may come to.' }),
    }),
    response: z.object({
      id: uuid,
      held_until: time.meta({ description: 'Until then no other transfer of the wallet gets what this one uses.' }),
      unsigned_tx: evmHex(4096),
      intent: intentSchema,
    }),
    status: 200,
  }),
  deleteTransfer: endpoint({
    method: 'DELETE',
    path: '/v1/wallets/{wallet_id}/transfers/{transfer_id}',
    summary: 'Give up an unsigned transfer; what it held is free at once.',
    principals: ['user', 'secret_key'],
    params: z.strictObject({ wallet_id: uuid, transfer_id: uuid }),
    response: z.null(),
    status: 204,
  }),
  createTransaction: endpoint({
    method: 'POST',
    path: '/v1/wallets/{wallet_id}/transactions',
    summary: 'Broadcast a signed transaction.',
    principals: ['user'],
    params: id('wallet_id'),
    body: z.strictObject({ raw_tx: evmHex(16384) }),
    response: transactionSchema,
    status: 201,
  }),
  listTransactions: endpoint({
    method: 'GET',
    path: '/v1/wallets/{wallet_id}/transactions',
    summary: 'The transactions of a wallet.',
    principals: ['user', 'secret_key'],
    params: id('wallet_id'),
    query: page,
    response: listOf(transactionSchema),
    status: 200,
  }),
  getTransaction: endpoint({
    method: 'GET',
    path: '/v1/transactions/{transaction_id}',
    summary: 'One transaction, as the chain sees it now.',
    principals: ['user', 'secret_key'],
    params: id('transaction_id'),
    response: transactionSchema,
    status: 200,
  }),

  ...backupKeyEndpoints,
  ...recoveryEndpoints,

  startRotation: endpoint({
    method: 'POST',
    path: '/v1/rotations',
    summary: 'Make a new server key and rewrap everything under it.',
    proof: 'rotate',
    principals: ['operator'],
    response: rotationSchema,
    status: 201,
  }),
  getRotation: endpoint({
    method: 'GET',
    path: '/v1/rotations/current',
    summary: 'The versions of the server key and how far a rotation is.',
    principals: ['operator'],
    response: rotationSchema,
    status: 200,
  }),
  destroyServerKey: endpoint({
    method: 'POST',
    path: '/v1/server_keys/{version}/destroy',
    summary: 'Destroy a retired server key; two operators.',
    proof: 'destroy_server_key',
    principals: ['operator'],
    params: z.strictObject({
      version: z.coerce
        .number()
        .int()
        .min(1)
        .max(2 ** 31 - 1),
    }),
    body: secondProof,
    response: rotationSchema,
    status: 200,
  }),
  createBackup: endpoint({
    method: 'POST',
    path: '/v1/backups',
    summary: 'Write a backup of both databases, the enclave state and the sealed root.',
    proof: 'back_up',
    principals: ['operator'],
    body: z.strictObject({ sealed_passphrase: base64Url(1024).nullable() }),
    response: z.object({
      name: z.string(),
      folder: z.string(),
      manifest: signedSchema,
      under_old_server_key: z
        .object({ client_secrets: z.int(), wallets: z.int() })
        .meta({ description: 'What a rotation had not rewrapped yet: once it has, make another backup.' }),
    }),
    status: 201,
    slow: true,
  }),
  acceptRestore: endpoint({
    method: 'POST',
    path: '/v1/enclave/accept_restore',
    summary: 'Unseal after a restore; two operators.',
    proof: 'accept_restore',
    principals: ['operator'],
    body: secondProof,
    response: enclaveSchema,
    status: 200,
  }),
  listLedgerEvents: endpoint({
    method: 'GET',
    path: '/v1/ledger/events',
    summary: 'The ledger, in order.',
    principals: ['operator'],
    query: z.strictObject({
      after: z.coerce.number().int().min(0).default(0),
      limit: z.coerce.number().int().min(1).max(1000).default(100),
    }),
    response: z.object({ data: z.array(ledgerEntrySchema) }),
    status: 200,
  }),
  getLedgerHead: endpoint({
    method: 'GET',
    path: '/v1/ledger/head',
    summary: 'The newest head, signed by the enclave.',
    principals: ['operator'],
    response: ledgerHeadSchema,
    status: 200,
  }),
} satisfies Record<string, Endpoint>;

export type EndpointName = keyof typeof endpoints;

type Out<T> = T extends z.ZodType ? z.output<T> : undefined;
type In<T> = T extends z.ZodType ? z.input<T> : undefined;
type Field<E, K extends string> = E extends { readonly [P in K]: infer S } ? S : undefined;

/** What a handler gets for an endpoint: parsed. */
export type Parsed<N extends EndpointName, K extends 'params' | 'query' | 'body' | 'upload'> = Out<
  Field<(typeof endpoints)[N], K>
>;
/** What a caller gives for an endpoint. */
export type Given<N extends EndpointName, K extends 'params' | 'query' | 'body' | 'upload'> = In<
  Field<(typeof endpoints)[N], K>
>;
export type ResponseOf<N extends EndpointName> = z.output<(typeof endpoints)[N]['response']>;
