/**
 * Queries on the mails that wait, on the primary database: a part of `store.ts`, with the same rules. A row is written in
 * the commit of what it tells of, and names an occasion, so that it is written once. The text is not stored: the job
 * that sends makes it from the rows that it is about.
 */
import type { MailId, ProjectId } from '@kedge/core';
import type { AcrossProjects, InProject } from './store.ts';

export type MailKind =
  | 'vote_requested'
  | 'change_vote_requested'
  | 'alert'
  | 'reminder'
  | 'final_warning'
  | 'drill_overdue';

export interface MailRow {
  readonly id: MailId;
  readonly project: ProjectId;
  /** The recovery, list change or key that it is about. */
  readonly subject: string;
  readonly kind: MailKind;
  /** Once for each recipient: the kind, and what tells two of a kind apart. */
  readonly occasion: string;
  readonly recipient: string;
  readonly email: string;
  readonly attempts: number;
  readonly created_at: Date;
}

export async function insertMail(on: InProject, row: Omit<MailRow, 'project' | 'attempts'>): Promise<void> {
  await on.query(
    `insert into mails (project, id, subject, kind, occasion, recipient, email, next_due_at, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $8) on conflict do nothing`,
    [row.id, row.subject, row.kind, row.occasion, row.recipient, row.email, row.created_at],
  );
}

export function listDueMails(on: AcrossProjects, now: Date, limit: number): Promise<MailRow[]> {
  return on.query(
    `select id, project, subject, kind, occasion, recipient, email, attempts, created_at from mails
     where next_due_at <= $1 order by next_due_at, id limit $2`,
    [now, limit],
  );
}

/** Noted before it is sent, with when it may be tried again. False when another gateway has it. */
export async function noteMailAttempt(on: InProject, mail: MailRow, next: Date): Promise<boolean> {
  const rows = await on.query(
    `update mails set attempts = attempts + 1, next_due_at = $4
     where project = $1 and id = $2 and attempts = $3 and next_due_at is not null returning 1`,
    [mail.id, mail.attempts, next],
  );
  return rows.length > 0;
}

export async function noteMailSent(on: InProject, id: MailId, at: Date): Promise<void> {
  await on.query('update mails set sent_at = $3, next_due_at = null where project = $1 and id = $2', [id, at]);
}

/** Not to be sent any more: tried often enough, or about something that is over. */
export async function dropMail(on: InProject, id: MailId): Promise<void> {
  await on.query('update mails set next_due_at = null where project = $1 and id = $2', [id]);
}

/** People whose first alert the mail server has taken. */
export async function countAlertsSent(on: InProject, recovery: string): Promise<number> {
  const [row] = await on.query<{ count: number }>(
    `select count(*)::int as count from mails
     where project = $1 and subject = $2 and kind = 'alert' and sent_at is not null`,
    [recovery],
  );
  return row!.count;
}
