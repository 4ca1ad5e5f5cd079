/**
 * How a recovery goes on: what the enclave says of it becomes row, event, links and mails, in one commit. Routes, pages
 * and jobs all come through here, so a step that a crash cut off is taken up by the next of them: the enclave answers
 * the same again, and what is written twice is there once. Nothing is decided here.
 */
import {
  DAY_MS,
  errorEntry,
  HOUR_MS,
  KedgeError,
  type MailId,
  MINUTE_MS,
  newId,
  type ProjectId,
  type RecoveryPlan,
  type RecoveryStatus,
  type Reminder,
  SECOND_MS,
} from '@kedge/core';
import type { RecoveryView, Signed } from '@kedge/enclave/client';
import type { Queryable } from '@kedge/store';
import { findApproverList, type ListContent } from './approver-list-store.ts';
import { type BackupKeyRow, findBackupKey } from './backup-key-store.ts';
import type { Happening } from './events.ts';
import { newLink, TOKEN_BYTES } from './links.ts';
import { countAlertsSent, insertMail, type MailRow } from './mail-store.ts';
import {
  deleteLinks,
  deleteLinksOfKind,
  deleteThaws,
  findRecovery,
  insertLink,
  type LinkRow,
  listPlannedTransactions,
  lockRecovery,
  noteAlertsAccepted,
  type PlannedTransactionRow,
  type RecoveryRow,
  updateRecovery,
} from './recovery-store.ts';
import type { Services } from './services.ts';
import { type InProject, inProject } from './store.ts';

/** When the enclave's clocks lag behind ours: so long until it is asked again. */
const ASK_AGAIN_MS = 10 * MINUTE_MS;
/** A release that is not fetched. */
const RELEASABLE_TICK_MS = HOUR_MS;

const ranks: { readonly [S in RecoveryStatus]: number } = {
  requested: 0,
  approving: 1,
  cooling: 2,
  releasable: 3,
  released: 4,
  sweeping: 5,
  completed: 6,
  cancelled: 6,
  declined: 6,
  expired: 6,
  failed: 6,
};

/** An answer of the enclave, and what is to be written and told beside it. */
export interface Step {
  readonly view: RecoveryView;
  readonly receipt: Signed | null;
  readonly happenings?: readonly Happening[];
  write?(on: InProject, row: RecoveryRow): Promise<void>;
  /** Taken by the job, which has done whatever was due. */
  readonly isTurn?: boolean;
}

/** What a commit is made of. `apply` gives the row as it is then. */
export interface PlannedStep {
  readonly happenings: readonly Happening[];
  apply(tx: Queryable): Promise<RecoveryRow>;
}

export async function getRecovery(services: Services, project: ProjectId, id: string): Promise<RecoveryRow> {
  const row = await findRecovery(inProject(services.db, project), id);
  if (row === null) throw new KedgeError('not_found');
  return row;
}

/** What the approvers vote over. */
export function planFor(
  row: RecoveryRow,
  key: Pick<BackupKeyRow, 'user_identifier'>,
  transactions: readonly PlannedTransactionRow[],
): RecoveryPlan {
  return {
    project: row.project,
    recovery: row.id,
    list: row.list,
    user: key.user_identifier,
    key: row.key_id,
    network: row.network,
    account: row.account,
    release:
      row.sweep_to === null
        ? { kind: 'transactions', ids: transactions.map(({ plan_id }) => plan_id) }
        : { kind: 'sweep', destination: row.sweep_to },
    sandbox: row.sandbox,
  };
}

/**
 * Brings a recovery that was written down to the enclave, and asks people: the approvers to vote, the participants to
 * look. A refusal ends it, so that it stands in nobody's way; a failure on our side leaves it to the next turn.
 */
export async function openRecovery(services: Services, row: RecoveryRow): Promise<PlannedStep> {
  const { enclave, db } = services;
  const on = inProject(db, row.project);
  const list = await findApproverList(on, row.list);
  const key = await findBackupKey(on, row.key_id);
  // From the rows alone: after a crash it is the same plan.
  const plan = planFor(row, key!, await listPlannedTransactions(on, row.id));
  const opened = await enclave.requestRecovery({ plan }).catch(async (error: unknown) => {
    if (isRefusal(error)) await failRecovery(services, row);
    throw error;
  });
  const { tokens } = await enclave.recoveryTokens({ project: row.project, recovery: row.id });
  const voters = votersOf(list!, new Map(tokens.map(({ approver, token }) => [approver, token])));
  return planStep(services, row, {
    ...opened,
    async write(on) {
      for (const { approver, email, token } of voters) {
        if (token !== undefined)
          await insertLink(
            on,
            newLink(services, { kind: 'vote_recovery', subject: row.id, recipient: approver, email }, token),
          );
        await writeMail(services, on, row.id, 'vote_requested', { id: approver, email });
      }
      for (const { id, email } of row.participants) {
        const of = { kind: 'cancel_recovery', subject: row.id, recipient: id, email } as const;
        await insertLink(on, newLink(services, of, services.random(TOKEN_BYTES)));
        await writeMail(services, on, row.id, 'alert', { id, email });
      }
    },
  });
}

/** Throws `overloaded` from `apply` when another step came in between: asked again, the enclave says the same. */
export function planStep(services: Services, row: RecoveryRow, step: Step): PlannedStep {
  const { view } = step;
  const at = new Date(services.clock.wallMs());
  const goesOn = ranks[view.status] > ranks[row.status];
  const reminders = view.reminders.filter((reminder) => !row.reminders.includes(reminder));
  const about = { project: row.project, data: { recovery: row.id } };
  const told: Happening[] = [...(step.happenings ?? [])];
  if (goesOn)
    told.push({
      type: `recovery.${view.status}`,
      project: row.project,
      data: { recovery: row.id, sandbox: row.sandbox },
    });
  for (const reminder of reminders)
    told.push(
      reminder === 'final_warning'
        ? { type: 'recovery.final_warning', ...about }
        : { type: 'recovery.reminder', project: row.project, data: { recovery: row.id, reminder } },
    );
  const [first, ...others] = told;
  const happenings = first === undefined ? [] : [step.receipt ? { ...first, receipt: step.receipt } : first, ...others];
  const next: RecoveryRow = goesOn || view.status === row.status ? rowAfter(row, view, reminders, at) : row;

  return {
    happenings,
    async apply(tx) {
      const on = inProject(tx, row.project);
      const now = await lockRecovery(on, row.id);
      if (now.status !== row.status || now.reminders.length !== row.reminders.length)
        throw new KedgeError('overloaded', 'The recovery has just gone on. Look at it, and ask again.', {
          retryAfterS: 1,
        });
      await updateRecovery(on, row.id, { ...next, next_due_at: nextLook(row, now, next, step.isTurn === true) });
      await step.write?.(on, row);
      for (const reminder of reminders) await writeReminder(services, on, row, reminder);
      if (goesOn) await clearUp(on, row.id, view.status);
      return next;
    },
  };
}

/**
 * When to look next. A turn of the job has done what was due when it began; any other step leaves that to the job: an alert
 * that was sent, for one, is not told to the enclave by a vote.
 */
function nextLook(before: RecoveryRow, now: RecoveryRow, next: RecoveryRow, isTurn: boolean): Date | null {
  const { next_due_at: due } = next;
  const isDone = isTurn && now.next_due_at?.getTime() === before.next_due_at?.getTime();
  return isDone || due === null || now.next_due_at === null || due < now.next_due_at ? due : now.next_due_at;
}

/** For jobs and pages, which answer nobody whose request is stored. */
export async function takeStep(services: Services, step: PlannedStep): Promise<RecoveryRow> {
  if (step.happenings.length > 0) return services.ledger.write({ happenings: step.happenings, next: step.apply });
  // Only when it is due next has changed: no fact about a customer.
  return services.db.transaction(step.apply);
}

/** Lets time do what it does, and brings our copy up to date. */
export async function tickRecovery(services: Services, row: RecoveryRow): Promise<RecoveryRow> {
  if (row.status === 'requested') return takeStep(services, await openRecovery(services, row));
  await noteAlerts(services, row);
  const ticked = await services.enclave.tickRecovery({ project: row.project, recovery: row.id });
  return takeStep(services, planStep(services, row, { ...ticked, isTurn: true }));
}

/** The enclave releases nothing that nobody was told of. It takes the number, so that telling it again changes nothing. */
async function noteAlerts(services: Services, row: RecoveryRow): Promise<void> {
  const { db, enclave, ledger } = services;
  if (row.sandbox || row.status === 'requested') return;
  const channels = await countAlertsSent(inProject(db, row.project), row.id);
  if (channels <= row.alerts_accepted) return;
  await enclave.noteRecoveryAlert({ project: row.project, recovery: row.id, channels });
  await ledger.write({
    happenings: [{ type: 'recovery.alerted', project: row.project, data: { recovery: row.id, channels } }],
    next: (tx) => noteAlertsAccepted(inProject(tx, row.project), row.id, channels),
  });
}

export function writeMail(
  { clock, random }: Pick<Services, 'clock' | 'random'>,
  on: InProject,
  subject: string,
  kind: MailRow['kind'],
  { id, email }: { readonly id: string; readonly email: string },
  occasion: string = kind,
): Promise<void> {
  return insertMail(on, {
    id: newId<MailId>(clock, random),
    subject,
    kind,
    occasion,
    recipient: id,
    email,
    created_at: new Date(clock.wallMs()),
  });
}

/** Our own failures pass; what the enclave says of the request stays as it is. */
export function isRefusal(error: unknown): boolean {
  return error instanceof KedgeError && errorEntry(error.code).status < 500;
}

async function failRecovery(services: Services, row: RecoveryRow): Promise<void> {
  const view = {
    status: 'failed',
    votes: row.outcome ?? { state: 'open', approvals: 0, rejections: 0, needed: 0 },
    waitsFor: [],
    coolingLeftMs: null,
    reminders: [],
  } as const;
  await takeStep(services, planStep(services, row, { view, receipt: null }));
}

/** Whom to ask: everybody of the list who has an address. Those without a token vote with their key. */
function votersOf({ approvers }: ListContent, tokens: ReadonlyMap<string, Uint8Array>) {
  return approvers.flatMap(({ id, email }) => (email === null ? [] : [{ approver: id, email, token: tokens.get(id) }]));
}

async function writeReminder(services: Services, on: InProject, row: RecoveryRow, reminder: Reminder): Promise<void> {
  const kind = reminder === 'final_warning' ? 'final_warning' : 'reminder';
  for (const participant of row.participants) await writeMail(services, on, row.id, kind, participant, reminder);
}

/** Links and parts of keys end with what they were for. */
async function clearUp(on: InProject, id: RecoveryRow['id'], status: RecoveryStatus): Promise<void> {
  if (ranks[status] >= ranks.cooling) await deleteLinksOfKind(on, id, 'vote_recovery' satisfies LinkRow['kind']);
  if (ranks[status] < ranks.released) return;
  await deleteLinks(on, id);
  // A release may be asked for again until it is known how it ended.
  if (ranks[status] >= ranks.completed) await deleteThaws(on, id);
}

function rowAfter(row: RecoveryRow, view: RecoveryView, reminders: readonly Reminder[], at: Date): RecoveryRow {
  const { status, votes, waitsFor, coolingLeftMs } = view;
  return {
    ...row,
    status,
    outcome: votes,
    waits_for: waitsFor,
    cooling_left_s: coolingLeftMs === null ? null : Math.ceil(coolingLeftMs / SECOND_MS),
    reminders: [...row.reminders, ...reminders],
    timeline: status === row.status ? row.timeline : [...row.timeline, { state: status, at: at.toISOString() }],
    next_due_at: nextDueAt(row, view, at.getTime()),
  };
}

/** When time may change something next. */
function nextDueAt(row: RecoveryRow, { status, coolingLeftMs }: RecoveryView, nowMs: number): Date | null {
  const inMs = (ms: number) => new Date(nowMs + ms);
  switch (status) {
    case 'requested':
      return inMs(0);
    case 'approving':
      return inMs(Math.max(ASK_AGAIN_MS, row.votes_until.getTime() - nowMs));
    case 'cooling': {
      const leftMs = coolingLeftMs ?? 0;
      if (leftMs === 0) return inMs(row.sandbox ? 0 : ASK_AGAIN_MS);
      // Reminders come by whole days since the cooling began, counted from its end.
      return inMs(Math.max(SECOND_MS, leftMs % DAY_MS || DAY_MS));
    }
    case 'releasable':
      return inMs(RELEASABLE_TICK_MS);
    default:
      return null;
  }
}
