/**
 * Queries on approver lists, their changes and which keys they decide over, on the primary database: a part of
 * `store.ts`, with the same rules. Routes, pages and jobs call them. What is stored is what the enclave was asked and
 * answered; a row here decides nothing.
 */
import type {
  ApproverId,
  ApproverListId,
  BackupKeyId,
  ListChangeId,
  Outcome,
  ProjectId,
  QuorumPolicy,
} from '@kedge/core';
import type { AcrossProjects, InProject } from './store.ts';

export interface ApproverRow {
  readonly id: ApproverId;
  readonly name: string;
  readonly email: string | null;
  readonly public_key: string | null;
  readonly veto: boolean;
  readonly must_approve: boolean;
}

/** What a list consists of, and what a change would make of it. */
export interface ListContent {
  readonly name: string;
  readonly approvers: readonly ApproverRow[];
  readonly policy: QuorumPolicy;
  readonly window_s: number;
  readonly cooling_period_s: number;
  readonly links_suffice: boolean;
}

export interface ApproverListRow extends ListContent {
  readonly id: ApproverListId;
  readonly created_at: Date;
}

export interface ListChangeRow {
  readonly id: ListChangeId;
  readonly project: ProjectId;
  readonly list: ApproverListId;
  /** `opening` until the enclave has it. */
  readonly status: 'opening' | 'open' | 'applied' | 'declined' | 'expired' | 'failed';
  readonly content: ListContent;
  readonly rules_hash: Uint8Array;
  readonly outcome: Outcome | null;
  readonly next_due_at: Date | null;
  readonly created_at: Date;
}

const listColumns = 'id, name, policy, window_s, cooling_period_s, links_suffice, created_at';
const changeColumns = 'id, project, list, status, content, rules_hash, outcome, next_due_at, created_at';
const approversOf = `(select coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'name', a.name, 'email', a.email,
  'public_key', a.public_key, 'veto', a.veto, 'must_approve', a.must_approve) order by a.position), '[]'::jsonb)
  from approvers a where a.project = l.project and a.list = l.id) as approvers`;

export async function insertApproverList(on: InProject, row: ApproverListRow): Promise<void> {
  const inserted = await on.query(
    `insert into approver_lists (project, id, name, policy, window_s, cooling_period_s, links_suffice, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing returning 1`,
    [row.id, row.name, row.policy, row.window_s, row.cooling_period_s, row.links_suffice, row.created_at],
  );
  if (inserted.length > 0) await insertApprovers(on, row.id, row.approvers);
}

/** What an approved change makes of the list. */
export async function replaceApproverList(on: InProject, list: ApproverListId, content: ListContent): Promise<void> {
  await on.query(
    `update approver_lists set name = $3, policy = $4, window_s = $5, cooling_period_s = $6, links_suffice = $7
     where project = $1 and id = $2`,
    [list, content.name, content.policy, content.window_s, content.cooling_period_s, content.links_suffice],
  );
  await on.query('delete from approvers where project = $1 and list = $2', [list]);
  await insertApprovers(on, list, content.approvers);
}

async function insertApprovers(on: InProject, list: ApproverListId, rows: readonly ApproverRow[]): Promise<void> {
  for (const [position, { id, name, email, public_key, veto, must_approve }] of rows.entries())
    await on.query(
      `insert into approvers (project, list, id, position, name, email, public_key, veto, must_approve)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [list, id, position, name, email, public_key, veto, must_approve],
    );
}

export async function findApproverList(on: InProject, id: string): Promise<ApproverListRow | null> {
  const [row] = await on.query<ApproverListRow>(
    `select ${listColumns}, ${approversOf} from approver_lists l where project = $1 and id = $2`,
    [id],
  );
  return row ?? null;
}

export function listApproverLists(on: InProject, before: string | null, limit: number): Promise<ApproverListRow[]> {
  return on.query(
    `select ${listColumns}, ${approversOf} from approver_lists l
     where project = $1 and ($2::uuid is null or id < $2) order by id desc limit $3`,
    [before, limit],
  );
}

/** False when another list decides already. */
export async function bindApproverList(on: InProject, key: BackupKeyId, list: ApproverListId): Promise<boolean> {
  const rows = await on.query(
    `update backup_keys set approver_list = $3
     where project = $1 and id = $2 and (approver_list is null or approver_list = $3) returning 1`,
    [key, list],
  );
  return rows.length > 0;
}

export async function findBoundList(on: InProject, key: BackupKeyId): Promise<ApproverListId | null> {
  const [row] = await on.read<{ approver_list: ApproverListId | null }>(
    'select approver_list from backup_keys where project = $1 and id = $2',
    [key],
  );
  return row?.approver_list ?? null;
}

/** False when the change is there already. */
export async function insertListChange(on: InProject, row: Omit<ListChangeRow, 'project'>): Promise<boolean> {
  const rows = await on.query(
    `insert into list_changes (project, id, list, status, content, rules_hash, outcome, next_due_at, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (id) do nothing returning 1`,
    [row.id, row.list, row.status, row.content, row.rules_hash, row.outcome, row.next_due_at, row.created_at],
  );
  return rows.length > 0;
}

export async function findListChange(on: InProject, list: string, id: string): Promise<ListChangeRow | null> {
  const [row] = await on.read<ListChangeRow>(
    `select ${changeColumns} from list_changes where project = $1 and list = $2 and id = $3`,
    [list, id],
  );
  return row ?? null;
}

/** For letters, which know no more than the change. */
export async function findListChangeById(on: InProject, id: string): Promise<ListChangeRow | null> {
  const [row] = await on.read<ListChangeRow>(
    `select ${changeColumns} from list_changes where project = $1 and id = $2`,
    [id],
  );
  return row ?? null;
}

export async function hasOpenChange(on: InProject, list: ApproverListId): Promise<boolean> {
  const rows = await on.query(
    `select 1 from list_changes where project = $1 and list = $2 and status in ('opening', 'open') limit 1`,
    [list],
  );
  return rows.length > 0;
}

/** False when it has gone on meanwhile: nothing that was decided is decided again. */
export async function updateListChange(
  on: InProject,
  id: ListChangeId,
  from: ListChangeRow['status'],
  to: Pick<ListChangeRow, 'status' | 'outcome' | 'next_due_at'>,
): Promise<boolean> {
  const rows = await on.query(
    `update list_changes set status = $4, outcome = $5, next_due_at = $6
     where project = $1 and id = $2 and status = $3 returning 1`,
    [id, from, to.status, to.outcome, to.next_due_at],
  );
  return rows.length > 0;
}

export function listDueChanges(on: AcrossProjects, now: Date, limit: number): Promise<ListChangeRow[]> {
  return on.query(
    `select ${changeColumns} from list_changes where next_due_at <= $1 order by next_due_at, id limit $2`,
    [now, limit],
  );
}

/** One that fails is not asked again at once, and keeps nobody waiting. */
export async function postponeListChange(on: InProject, id: ListChangeId, until: Date): Promise<void> {
  await on.query(
    'update list_changes set next_due_at = $3 where project = $1 and id = $2 and next_due_at is not null',
    [id, until],
  );
}
