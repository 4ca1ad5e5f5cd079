/**
 * Queries on recoveries and rehearsals, the votes and links of both recoveries and list changes, thaws and drills, on the
 * primary database: a part of `store.ts`, with the same rules. Routes, pages and jobs call them. A recovery's row is what
 * the enclave last said of it, for people to read; nothing is released because of a row.
 */
import type {
  ApproverListId,
  BackupKeyId,
  KeyBackupId,
  Outcome,
  ProjectId,
  RecoveryId,
  RecoveryStatus,
  Reminder,
  WaitsFor,
} from '@kedge/core';
import type { AcrossProjects, InProject } from './store.ts';

export interface RecoveryRow {
  readonly id: RecoveryId;
  readonly project: ProjectId;
  readonly key_id: BackupKeyId;
  readonly list: ApproverListId;
  readonly network: string;
  readonly account: string;
  readonly sweep_to: string | null;
  readonly sandbox: boolean;
  /** `requested` until the enclave has it. */
  readonly status: RecoveryStatus;
  readonly plan_hash: Uint8Array;
  readonly backup_id: KeyBackupId | null;
  /** Whom to alert: an id for links and events, and the address. */
  readonly participants: readonly { readonly id: string; readonly email: string }[];
  readonly outcome: Outcome | null;
  readonly waits_for: readonly WaitsFor[];
  readonly cooling_left_s: number | null;
  readonly alerts_accepted: number;
  /** Those whose mails are written. */
  readonly reminders: readonly Reminder[];
  readonly timeline: readonly { readonly state: string; readonly at: string }[];
  /** When the window for votes closes. */
  readonly votes_until: Date;
  readonly transaction_ids: readonly string[];
  readonly certificate: Uint8Array | null;
  readonly certificate_signature: Uint8Array | null;
  readonly next_due_at: Date | null;
  readonly created_at: Date;
}

export interface PlannedTransactionRow {
  readonly plan_id: string;
  readonly bytes: Uint8Array;
}

const columns = `id, project, key_id, list, network, account, sweep_to, sandbox, status, plan_hash, backup_id, participants,
  outcome, waits_for, cooling_left_s, alerts_accepted, reminders, timeline, votes_until, transaction_ids, certificate,
  certificate_signature, next_due_at, created_at`;

export async function insertRehearsal(on: InProject, id: RecoveryId, key: BackupKeyId, at: Date): Promise<void> {
  await on.query(
    'insert into rehearsals (project, id, key_id, created_at) values ($1, $2, $3, $4) on conflict (id) do nothing',
    [id, key, at],
  );
}

export async function isRehearsalOf(on: InProject, id: string, key: BackupKeyId): Promise<boolean> {
  const rows = await on.read('select 1 from rehearsals where project = $1 and id = $2 and key_id = $3', [id, key]);
  return rows.length > 0;
}

/** False when a recovery of that id is there already. */
export async function insertRecovery(
  on: InProject,
  row: RecoveryRow,
  transactions: readonly PlannedTransactionRow[],
): Promise<boolean> {
  const inserted = await on.query(
    `insert into recoveries (project, id, key_id, list, network, account, sweep_to, sandbox, status, plan_hash, backup_id,
       participants, outcome, waits_for, cooling_left_s, reminders, timeline, transaction_ids, votes_until, next_due_at, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text::jsonb, $13, $14::text::jsonb, $15, $16::text::jsonb,
       $17::text::jsonb, $18::text::jsonb, $19, $20, $21)
     on conflict (id) do nothing returning 1`,
    [
      row.id,
      row.key_id,
      row.list,
      row.network,
      row.account,
      row.sweep_to,
      row.sandbox,
      row.status,
      row.plan_hash,
      row.backup_id,
      JSON.stringify(row.participants),
      row.outcome,
      JSON.stringify(row.waits_for),
      row.cooling_left_s,
      JSON.stringify(row.reminders),
      JSON.stringify(row.timeline),
      JSON.stringify(row.transaction_ids),
      row.votes_until,
      row.next_due_at,
      row.created_at,
    ],
  );
  if (inserted.length === 0) return false;
  for (const [position, { plan_id, bytes }] of transactions.entries())
    await on.query(
      'insert into recovery_transactions (project, recovery, position, plan_id, bytes) values ($1, $2, $3, $4, $5)',
      [row.id, position, plan_id, bytes],
    );
  return true;
}

export async function findRecovery(on: InProject, id: string): Promise<RecoveryRow | null> {
  const [row] = await on.read<RecoveryRow>(`select ${columns} from recoveries where project = $1 and id = $2`, [id]);
  return row ?? null;
}

/** The same, kept from changing until the transaction ends. */
export async function lockRecovery(on: InProject, id: RecoveryId): Promise<RecoveryRow> {
  const [row] = await on.query<RecoveryRow>(
    `select ${columns} from recoveries where project = $1 and id = $2 for update`,
    [id],
  );
  return row!;
}

export function listRecoveries(on: InProject, before: string | null, limit: number): Promise<RecoveryRow[]> {
  return on.query(
    `select ${columns} from recoveries
     where project = $1 and ($2::uuid is null or id < $2) order by id desc limit $3`,
    [before, limit],
  );
}

/** The newest of a key that is no rehearsal. */
export async function findNewestRecovery(on: InProject, key: BackupKeyId): Promise<RecoveryRow | null> {
  const [row] = await on.query<RecoveryRow>(
    `select ${columns} from recoveries where project = $1 and key_id = $2 and not sandbox order by id desc limit 1`,
    [key],
  );
  return row ?? null;
}

/** Those whose time has come, of all projects; the cost is that of what is due and not of what is open. */
export function listDueRecoveries(on: AcrossProjects, now: Date, limit: number): Promise<RecoveryRow[]> {
  return on.query(`select ${columns} from recoveries where next_due_at <= $1 order by next_due_at, id limit $2`, [
    now,
    limit,
  ]);
}

/**
 * Those that time is at work on are looked at once a day at least. One planned for later was planned by a wall clock that
 * was ahead, and would sleep until it is there again.
 */
export async function wakeOversleepers(on: AcrossProjects, now: Date): Promise<void> {
  await on.query(
    `update recoveries set next_due_at = $1
     where status in ('cooling', 'releasable') and next_due_at > $1::timestamptz + interval '1 day 1 minute'`,
    [now],
  );
}

export function listPlannedTransactions(on: InProject, recovery: RecoveryId): Promise<PlannedTransactionRow[]> {
  return on.query(
    'select plan_id, bytes from recovery_transactions where project = $1 and recovery = $2 order by position',
    [recovery],
  );
}

export async function updateRecovery(
  on: InProject,
  id: RecoveryId,
  row: Pick<
    RecoveryRow,
    'status' | 'outcome' | 'waits_for' | 'cooling_left_s' | 'reminders' | 'timeline' | 'next_due_at'
  >,
): Promise<void> {
  await on.query(
    `update recoveries set status = $3, outcome = $4, waits_for = $5::text::jsonb, cooling_left_s = $6,
       reminders = $7::text::jsonb, timeline = $8::text::jsonb, next_due_at = $9
     where project = $1 and id = $2`,
    [
      id,
      row.status,
      row.outcome,
      JSON.stringify(row.waits_for),
      row.cooling_left_s,
      JSON.stringify(row.reminders),
      JSON.stringify(row.timeline),
      row.next_due_at,
    ],
  );
}

/** One that fails is not asked again at once, and keeps nobody waiting. */
export async function postponeRecovery(on: InProject, id: RecoveryId, until: Date): Promise<void> {
  await on.query('update recoveries set next_due_at = $3 where project = $1 and id = $2 and next_due_at is not null', [
    id,
    until,
  ]);
}

/** Something happened that the enclave should hear of before the next tick. */
export async function wakeRecovery(on: InProject, id: string, at: Date): Promise<void> {
  await on.query(
    `update recoveries set next_due_at = least(next_due_at, $3::timestamptz)
     where project = $1 and id = $2 and next_due_at is not null`,
    [id, at],
  );
}

export async function noteAlertsAccepted(on: InProject, id: RecoveryId, accepted: number): Promise<void> {
  await on.query('update recoveries set alerts_accepted = $3 where project = $1 and id = $2', [id, accepted]);
}

export async function noteCompletion(on: InProject, id: RecoveryId, transactionIds: readonly string[]): Promise<void> {
  await on.query('update recoveries set transaction_ids = $3::text::jsonb where project = $1 and id = $2', [
    id,
    JSON.stringify(transactionIds),
  ]);
}

/** False when there is one already. */
export async function storeCertificate(
  on: InProject,
  id: RecoveryId,
  certificate: { readonly document: Uint8Array; readonly signature: Uint8Array },
): Promise<boolean> {
  const rows = await on.query(
    `update recoveries set certificate = $3, certificate_signature = $4
     where project = $1 and id = $2 and certificate is null returning 1`,
    [id, certificate.document, certificate.signature],
  );
  return rows.length > 0;
}

/**
 * The newest recovery material that is this key's and that the enclave could open; what passed its check comes before what
 * was not checked, or material that somebody stores on top would stand in the way of what is good.
 */
export async function findNewestBackup(on: InProject, key: BackupKeyId): Promise<KeyBackupId | null> {
  const [row] = await on.query<{ id: KeyBackupId }>(
    `select id from key_backups where project = $1 and key_id = $2 and backup_type = 'data'
     order by case outcome when 'passed' then 0 when 'attention' then 2 else 1 end, id desc limit 1`,
    [key],
  );
  return row?.id ?? null;
}

// ── votes and links, of recoveries and of list changes ───────────────────────────────────────────────────────────

export interface BallotRow {
  readonly approver: string;
  readonly choice: 'approve' | 'reject';
  readonly at: Date;
}

export async function insertVote(on: InProject, subject: string, { approver, choice, at }: BallotRow): Promise<void> {
  await on.query(
    `insert into recovery_votes (project, subject, approver, choice, at) values ($1, $2, $3, $4, $5)
     on conflict (project, subject, approver) do nothing`,
    [subject, approver, choice, at],
  );
}

export function listVotes(on: InProject, subject: string): Promise<BallotRow[]> {
  return on.query(
    'select approver, choice, at from recovery_votes where project = $1 and subject = $2 order by at, approver',
    [subject],
  );
}

export type LinkKind = 'vote_recovery' | 'vote_change' | 'cancel_recovery';

export interface LinkRow {
  readonly token_hash: Uint8Array;
  readonly project: ProjectId;
  readonly kind: LinkKind;
  readonly subject: string;
  readonly recipient: string;
  readonly email: string;
  readonly sealed_token: Uint8Array;
  readonly used_at: Date | null;
}

const linkColumns = 'token_hash, project, kind, subject, recipient, email, sealed_token, used_at';

export async function insertLink(on: InProject, row: Omit<LinkRow, 'project' | 'used_at'>): Promise<void> {
  await on.query(
    `insert into recovery_links (project, token_hash, kind, subject, recipient, email, sealed_token)
     values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing`,
    [row.token_hash, row.kind, row.subject, row.recipient, row.email, row.sealed_token],
  );
}

/** By what the link holds: it is all that its bearer shows. */
export async function findLink(on: AcrossProjects, tokenHash: Uint8Array): Promise<LinkRow | null> {
  const [row] = await on.read<LinkRow>(`select ${linkColumns} from recovery_links where token_hash = $1`, [tokenHash]);
  return row ?? null;
}

export async function findLinkOf(
  on: InProject,
  of: Pick<LinkRow, 'subject' | 'kind' | 'recipient'>,
): Promise<LinkRow | null> {
  const [row] = await on.read<LinkRow>(
    `select ${linkColumns} from recovery_links where project = $1 and subject = $2 and kind = $3 and recipient = $4`,
    [of.subject, of.kind, of.recipient],
  );
  return row ?? null;
}

export async function useLink(on: InProject, of: Pick<LinkRow, 'subject' | 'kind' | 'recipient'>, at: Date) {
  await on.query(
    `update recovery_links set used_at = $5
     where project = $1 and subject = $2 and kind = $3 and recipient = $4 and used_at is null`,
    [of.subject, of.kind, of.recipient, at],
  );
}

/** Links die with what they are about. */
export async function deleteLinks(on: InProject, subject: string): Promise<void> {
  await on.query('delete from recovery_links where project = $1 and subject = $2', [subject]);
}

export async function deleteLinksOfKind(on: InProject, subject: string, kind: LinkKind): Promise<void> {
  await on.query('delete from recovery_links where project = $1 and subject = $2 and kind = $3', [subject, kind]);
}

// ── thaws ────────────────────────────────────────────────────────────────────────────────────────────────────────

export async function insertThaw(on: InProject, id: string, recovery: RecoveryId, share: Uint8Array): Promise<void> {
  await on.query(
    'insert into thaws (project, id, recovery, sealed_share) values ($1, $2, $3, $4) on conflict (id) do nothing',
    [id, recovery, share],
  );
}

/** The newest: older ones may be of the same officer, or for an enclave that has restarted since. */
export async function listNewestThaws(on: InProject, recovery: RecoveryId, limit: number): Promise<Uint8Array[]> {
  const rows = await on.query<{ sealed_share: Uint8Array }>(
    'select sealed_share from thaws where project = $1 and recovery = $2 order by id desc limit $3',
    [recovery, limit],
  );
  return rows.map(({ sealed_share }) => sealed_share);
}

export async function countThaws(on: InProject, recovery: RecoveryId): Promise<number> {
  const [row] = await on.query<{ count: number }>(
    'select count(*)::int as count from thaws where project = $1 and recovery = $2',
    [recovery],
  );
  return row!.count;
}

export async function deleteThaws(on: InProject, recovery: RecoveryId): Promise<void> {
  await on.query('delete from thaws where project = $1 and recovery = $2', [recovery]);
}

// ── drills ───────────────────────────────────────────────────────────────────────────────────────────────────────

export interface DrillRow {
  readonly project: ProjectId;
  readonly key_id: BackupKeyId;
  readonly every_days: number;
  readonly remind: readonly string[];
  readonly next_due_at: Date;
}

export async function setDrill(on: InProject, row: Omit<DrillRow, 'project'>): Promise<void> {
  await on.query(
    `insert into drills (project, key_id, every_days, remind, next_due_at) values ($1, $2, $3, $4::text::jsonb, $5)
     on conflict (project, key_id) do update
     set every_days = excluded.every_days, remind = excluded.remind, next_due_at = excluded.next_due_at`,
    [row.key_id, row.every_days, JSON.stringify(row.remind), row.next_due_at],
  );
}

export async function deleteDrill(on: InProject, key: BackupKeyId): Promise<void> {
  await on.query('delete from drills where project = $1 and key_id = $2', [key]);
}

export function listDueDrills(on: AcrossProjects, now: Date, limit: number): Promise<DrillRow[]> {
  return on.query(
    `select project, key_id, every_days, remind, next_due_at from drills where next_due_at <= $1
     order by next_due_at, key_id limit $2`,
    [now, limit],
  );
}

/** To the next period. False when it is somewhere else meanwhile: this period was told of, or a rehearsal succeeded. */
export async function advanceDrill(on: InProject, key: BackupKeyId, from: Date, to: Date): Promise<boolean> {
  const rows = await on.query(
    'update drills set next_due_at = $4 where project = $1 and key_id = $2 and next_due_at = $3 returning 1',
    [key, from, to],
  );
  return rows.length > 0;
}

/** After a rehearsal that succeeded: the next one is due a whole period later. */
export async function restartDrill(on: InProject, key: BackupKeyId, at: Date): Promise<void> {
  await on.query(
    `update drills set next_due_at = $3::timestamptz + make_interval(days => every_days)
     where project = $1 and key_id = $2`,
    [key, at],
  );
}
