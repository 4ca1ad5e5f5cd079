/**
 * The endpoints of approver lists, recoveries and rehearsals, a part of the table in `api.ts`. Every scheme recovers
 * through these; which keys sign at the end is the scheme's affair. Bytes that were made for wallets and for OpenSSL are
 * base64, all others base64url or hex. People who have only a link don't call these: the pages of the gateway do.
 */
import { z } from 'zod';
import {
  base64,
  base64Url,
  endpoint,
  hex,
  id,
  intentSchema,
  listOf,
  name,
  page,
  signedSchema,
  time,
  uuid,
} from './api-schema.ts';
import { APPROVERS_MAX, WINDOW_MS, WINDOW_MS_MAX, WINDOW_MS_MIN } from './approvers.ts';
import { COOLING_PERIOD_MS, COOLING_PERIOD_MS_MAX, recoveryStatuses } from './recovery.ts';
import { RELEASE_TRANSACTION_BYTES_MAX, RELEASE_TRANSACTIONS_MAX } from './recovery-plan.ts';

/** People who are alerted of one recovery, or reminded of one rehearsal. */
const PEOPLE_MAX = 50;
const EVERY_DAYS_MAX = 400;
const SEALED_SHARE_BYTES_MAX = 256;

const seconds = (ms: number) => ms / 1_000;
const email = z.email().max(254).toLowerCase();
const people = z
  .array(email)
  .max(PEOPLE_MAX)
  .refine((emails) => new Set(emails).size === emails.length, 'an address comes twice');
const choice = z.enum(['approve', 'reject']);
const network = z
  .string()
  .max(64)
  .regex(/^(bip122|eip155|solana):[A-Za-z0-9]{1,40}$/, 'a CAIP-2 name of Bitcoin, an EVM chain or Solana');
const transactions = z.array(base64(RELEASE_TRANSACTION_BYTES_MAX)).min(1).max(RELEASE_TRANSACTIONS_MAX);

const policy = z.union([
  z.strictObject({ kind: z.literal('majority') }),
  z.strictObject({ kind: z.literal('percentage'), percent: z.int().min(1).max(100) }),
  z.strictObject({ kind: z.literal('exact'), count: z.int().min(1).max(APPROVERS_MAX) }),
]);

const approverBody = z.strictObject({
  approver_id: uuid.optional().meta({ description: 'In a change: who of the present list this is.' }),
  name,
  email: email.optional().meta({ description: 'Where their link goes, if they have no key.' }),
  public_key: z
    .string()
    .max(100)
    .regex(/^(p256:[A-Za-z0-9_-]{87}|ed25519:[A-Za-z0-9_-]{43})$/, '`p256:` or `ed25519:` and base64url')
    .optional()
    .meta({ description: 'What their votes are signed with: `p256:` or `ed25519:` and base64url.' }),
  veto: z.boolean().default(false).meta({ description: 'One rejection by them declines.' }),
  must_approve: z.boolean().default(false).meta({ description: 'Nothing is approved without them.' }),
});

const listBody = z.strictObject({
  name,
  approvers: z.array(approverBody).min(1).max(APPROVERS_MAX),
  policy,
  window_s: z
    .int()
    .min(seconds(WINDOW_MS_MIN))
    .max(seconds(WINDOW_MS_MAX))
    .default(seconds(WINDOW_MS))
    .meta({ description: 'How long votes are taken.' }),
  cooling_period_s: z
    .int()
    .min(0)
    .max(seconds(COOLING_PERIOD_MS_MAX))
    .default(seconds(COOLING_PERIOD_MS))
    .meta({ description: 'How long, after the approval, everybody who was alerted may still cancel.' }),
  links_suffice: z.boolean().default(false).meta({
    description: 'Approvers who have only a link may decide alone. Whoever runs the gateway reads the links.',
  }),
});

const approverSchema = z
  .object({
    approver_id: uuid,
    name: z.string(),
    email: z.string().nullable(),
    public_key: z.string().nullable(),
    veto: z.boolean(),
    must_approve: z.boolean(),
  })
  .meta({ id: 'Approver' });

const listFields = {
  name: z.string(),
  approvers: z.array(approverSchema),
  policy,
  window_s: z.int(),
  cooling_period_s: z.int(),
  links_suffice: z.boolean(),
};

export const approverListSchema = z
  .object({ approver_list_id: uuid, ...listFields, created_at: time })
  .meta({ id: 'ApproverList' });

const outcomeSchema = z
  .object({
    state: z.enum(['open', 'approved', 'declined', 'expired']),
    because: z.string().nullable().meta({ description: 'Which rule decided.' }),
    approvals: z.int().nullable(),
    rejections: z.int().nullable(),
    needed: z.int().nullable(),
  })
  .meta({ id: 'VotesOutcome', description: 'Counts while it is open, the reason afterwards.' });

const ballotSchema = z.object({ approver_id: uuid, choice, at: time });

export const listChangeSchema = z
  .object({
    change_id: uuid,
    approver_list_id: uuid,
    status: z.enum(['opening', 'open', 'applied', 'declined', 'expired', 'failed']),
    rules_hash: hex(32).meta({ description: 'What votes are over.' }),
    ...listFields,
    votes: outcomeSchema.nullable(),
    ballots: z.array(ballotSchema),
    created_at: time,
  })
  .meta({ id: 'ListChange' });

const recoveryFields = {
  recovery_id: uuid,
  key_id: uuid,
  approver_list_id: uuid,
  network: z.string(),
  account: z.string(),
  sandbox: z.boolean(),
  status: z.enum(recoveryStatuses),
  plan_hash: hex(32).meta({ description: 'What votes are over.' }),
  sweep_to: z.string().nullable(),
  votes: outcomeSchema.nullable(),
  waits_for: z.array(z.string()).meta({ description: 'What the release waits for while it is cooling.' }),
  cooling_left_s: z.int().nullable(),
  transaction_ids: z.array(z.string()),
  has_certificate: z.boolean(),
  created_at: time,
};

export const recoverySummarySchema = z.object(recoveryFields).meta({ id: 'RecoverySummary' });

export const recoverySchema = z
  .object({
    ...recoveryFields,
    user_identifier: z.string(),
    transactions: z.array(
      z.object({
        plan_id: z.string().meta({ description: 'What the plan names it by.' }),
        transaction: z.string().meta({ description: 'Base64.' }),
        intent: intentSchema,
      }),
    ),
    ballots: z.array(ballotSchema),
    timeline: z.array(z.object({ state: z.string(), at: time })),
  })
  .meta({ id: 'Recovery' });

const vote = z.strictObject({ approver_id: uuid, choice });
const ofChange = z.strictObject({ list_id: uuid, change_id: uuid });

export const recoveryEndpoints = {
  createApproverList: endpoint({
    method: 'POST',
    path: '/v1/approver_lists',
    summary: 'Write down who decides over recoveries.',
    principals: ['secret_key'],
    scope: 'approvers:write',
    body: listBody,
    response: approverListSchema.extend({ receipt: signedSchema }).meta({ id: 'NewApproverList' }),
    status: 201,
  }),
  listApproverLists: endpoint({
    method: 'GET',
    path: '/v1/approver_lists',
    summary: 'The approver lists of the project.',
    principals: ['secret_key'],
    scope: 'approvers:read',
    query: page,
    response: listOf(approverListSchema),
    status: 200,
  }),
  getApproverList: endpoint({
    method: 'GET',
    path: '/v1/approver_lists/{list_id}',
    summary: 'One approver list, as its votes have left it.',
    principals: ['secret_key'],
    scope: 'approvers:read',
    params: id('list_id'),
    response: approverListSchema,
    status: 200,
  }),
  bindApproverList: endpoint({
    method: 'PUT',
    path: '/v1/keys/{key_id}/approver_list',
    summary: 'Say which list decides over a key: once, for good.',
    principals: ['secret_key'],
    // No scope: what is settled for good is not for a limited key or token.
    params: id('key_id'),
    body: z.strictObject({ approver_list_id: uuid }),
    response: z.object({ key_id: uuid, approver_list_id: uuid, receipt: signedSchema }),
    status: 200,
  }),
  createListChange: endpoint({
    method: 'POST',
    path: '/v1/approver_lists/{list_id}/changes',
    summary: 'Ask the present approvers for another content of their list.',
    principals: ['secret_key'],
    scope: 'approvers:write',
    params: id('list_id'),
    body: listBody,
    response: listChangeSchema,
    status: 201,
  }),
  getListChange: endpoint({
    method: 'GET',
    path: '/v1/approver_lists/{list_id}/changes/{change_id}',
    summary: 'A change of a list, and its votes.',
    principals: ['secret_key'],
    scope: 'approvers:read',
    params: ofChange,
    response: listChangeSchema,
    status: 200,
  }),
  voteListChange: endpoint({
    method: 'POST',
    path: '/v1/approver_lists/{list_id}/changes/{change_id}/votes',
    summary: 'Vote on a change, by an approver with a key.',
    proof: 'vote_list_change',
    principals: ['publishable_key', 'secret_key'],
    scope: 'approvers:write',
    params: ofChange,
    body: vote,
    response: z.object({ votes: outcomeSchema, receipt: signedSchema }),
    status: 201,
  }),

  createRehearsal: endpoint({
    method: 'POST',
    path: '/v1/keys/{key_id}/rehearsals',
    summary: 'Get a throw-away key to rehearse the recovery of a key with.',
    principals: ['secret_key'],
    scope: 'recoveries:write',
    params: id('key_id'),
    response: z.object({
      recovery_id: uuid,
      public_key: z.string().meta({ description: 'Hex. It plays the backup key and is worth nothing.' }),
    }),
    status: 201,
  }),
  setDrills: endpoint({
    method: 'PUT',
    path: '/v1/keys/{key_id}/drills',
    summary: 'Say how often the recovery of a key should be rehearsed, and whom to remind.',
    principals: ['secret_key'],
    scope: 'recoveries:write',
    params: id('key_id'),
    body: z.strictObject({
      every_days: z.int().min(1).max(EVERY_DAYS_MAX).nullable().meta({ description: 'Null: no more reminders.' }),
      remind: people.default([]),
    }),
    response: z.object({ key_id: uuid, every_days: z.int().nullable(), next_due_at: time.nullable() }),
    status: 200,
  }),
  createKeyRecovery: endpoint({
    method: 'POST',
    path: '/v1/keys/{key_id}/recoveries',
    summary: 'Ask for a release by a backup key; its approvers vote.',
    principals: ['secret_key'],
    scope: 'recoveries:write',
    params: id('key_id'),
    body: z.strictObject({
      network,
      account: z.string().min(1).max(4_096).meta({ description: 'An output descriptor on Bitcoin, else the address.' }),
      transactions: transactions.optional().meta({ description: 'Exactly these, unsigned: a PSBT on Bitcoin.' }),
      sweep_to: z
        .string()
        .min(1)
        .max(128)
        .optional()
        .meta({ description: 'Instead: whatever pays to this address alone. Bitcoin.' }),
      backup_id: uuid.optional().meta({ description: 'The recovery material with the chain code; else the newest.' }),
      sandbox: z.boolean().default(false),
      recovery_id: uuid.optional().meta({ description: 'Of a rehearsal.' }),
      participants: people
        .default([])
        .meta({ description: 'Whom to alert. Each may cancel. A real recovery needs one.' }),
    }),
    response: recoverySchema,
    status: 201,
    large: true,
  }),
  listRecoveries: endpoint({
    method: 'GET',
    path: '/v1/recoveries',
    summary: 'The recoveries and rehearsals of the project.',
    principals: ['secret_key'],
    scope: 'recoveries:read',
    query: page,
    response: listOf(recoverySummarySchema),
    status: 200,
  }),
  getRecovery: endpoint({
    method: 'GET',
    path: '/v1/recoveries/{recovery_id}',
    summary: 'One recovery: what it would sign, who voted, what it waits for.',
    principals: ['secret_key'],
    scope: 'recoveries:read',
    params: id('recovery_id'),
    response: recoverySchema,
    status: 200,
  }),
  voteRecovery: endpoint({
    method: 'POST',
    path: '/v1/recoveries/{recovery_id}/votes',
    summary: 'Vote on a recovery, by an approver with a key.',
    proof: 'vote_recovery',
    principals: ['publishable_key', 'secret_key'],
    scope: 'recoveries:write',
    params: id('recovery_id'),
    body: vote,
    response: z.object({ status: recoveryFields.status, votes: outcomeSchema, receipt: signedSchema }),
    status: 201,
  }),
  cancelRecovery: endpoint({
    method: 'POST',
    path: '/v1/recoveries/{recovery_id}/cancel',
    summary: 'Cancel a recovery, up to its release.',
    principals: ['secret_key'],
    scope: 'recoveries:write',
    params: id('recovery_id'),
    response: recoverySummarySchema,
    status: 200,
  }),
  getColdFiles: endpoint({
    method: 'GET',
    path: '/v1/recoveries/{recovery_id}/cold_files',
    summary: 'The age files of a cold key, one for each officer, while a recovery is releasable.',
    principals: ['secret_key'],
    scope: 'recoveries:read',
    params: id('recovery_id'),
    response: z.object({ files: z.array(z.string()).meta({ description: 'Base64 of age files.' }) }),
    status: 200,
  }),
  createThaw: endpoint({
    method: 'POST',
    path: '/v1/recoveries/{recovery_id}/thaws',
    summary: 'Hand in an officer’s part of a cold key, sealed to the enclave.',
    principals: ['secret_key'],
    scope: 'recoveries:write',
    params: id('recovery_id'),
    body: z.strictObject({ sealed_share: base64Url(SEALED_SHARE_BYTES_MAX) }),
    response: z.object({ thaws: z.int().meta({ description: 'How many are there now; a release takes two.' }) }),
    status: 201,
  }),
  releaseRecovery: endpoint({
    method: 'POST',
    path: '/v1/recoveries/{recovery_id}/release',
    summary: 'Have the enclave sign what was approved; again, the same signatures.',
    principals: ['secret_key'],
    scope: 'recoveries:write',
    params: id('recovery_id'),
    body: z.strictObject({
      transactions: transactions
        .optional()
        .meta({ description: 'For a sweep; or the same ones with a fresh blockhash on Solana.' }),
      backup_id: uuid.optional(),
    }),
    response: z.object({
      status: recoveryFields.status,
      signatures: z.array(
        z.object({
          transaction: z.int().meta({ description: 'Which of the transactions, from 0.' }),
          input: z.int(),
          public_key: hex(33),
          signature: hex(64).meta({ description: 'ECDSA `r ‖ s`, or Ed25519.' }),
        }),
      ),
      transactions: z
        .array(z.string().nullable())
        .meta({ description: 'Base64, with the signatures where they fit; null where they don’t.' }),
      receipt: signedSchema,
    }),
    status: 200,
    large: true,
  }),
  completeRecovery: endpoint({
    method: 'POST',
    path: '/v1/recoveries/{recovery_id}/complete',
    summary: 'Say how a release ended, so that another recovery may begin.',
    principals: ['secret_key'],
    scope: 'recoveries:write',
    params: id('recovery_id'),
    body: z.strictObject({
      outcome: z.enum(['completed', 'failed']),
      transaction_ids: z
        .array(
          z
            .string()
            .max(128)
            .regex(/^[A-Za-z0-9]+$/, 'letters and digits'),
        )
        .max(RELEASE_TRANSACTIONS_MAX)
        .default([]),
    }),
    response: recoverySummarySchema,
    status: 200,
  }),
  getCertificate: endpoint({
    method: 'GET',
    path: '/v1/recoveries/{recovery_id}/certificate',
    summary: 'What the enclave attests of a rehearsal that succeeded.',
    principals: ['secret_key'],
    scope: 'recoveries:read',
    params: id('recovery_id'),
    response: z.object({
      document: z.string().meta({ description: 'Base64 of JSON.' }),
      signature: z.string().meta({ description: 'Base64 of `r ‖ s`.' }),
      signed_message: z.string().meta({ description: 'Base64 of the bytes that are signed, as they are.' }),
      signature_der: z.string().meta({ description: 'Base64 of the same signature in DER, as OpenSSL takes it.' }),
    }),
    status: 200,
  }),
} as const;
