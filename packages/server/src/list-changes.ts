/**
 * How a change of an approver list goes on: what the enclave says of its votes becomes row, event, links and mails, and
 * an approval becomes the list, in one commit. Routes, pages and jobs all come through here, so a step that a crash cut
 * off is taken up by the next of them. Who may vote, and whether it was enough, the enclave says.
 */
import { KedgeError, MINUTE_MS, type Outcome, type ProjectId, SECOND_MS } from '@kedge/core';
import type { Signed } from '@kedge/enclave/client';
import type { Queryable } from '@kedge/store';
import {
  findApproverList,
  findListChange,
  type ListChangeRow,
  replaceApproverList,
  updateListChange,
} from './approver-list-store.ts';
import type { Happening } from './events.ts';
import { newLink } from './links.ts';
import { rulesOf } from './list-content.ts';
import { isRefusal, writeMail } from './recovery-progress.ts';
import { deleteLinks, insertLink } from './recovery-store.ts';
import type { Services } from './services.ts';
import { type InProject, inProject } from './store.ts';

/** When the enclave's clocks lag behind ours: so long until it is asked again. */
const ASK_AGAIN_MS = 10 * MINUTE_MS;

export interface ChangeStep {
  readonly outcome: Outcome;
  readonly receipt: Signed | null;
  /** When the window for votes is over, by the present list; known when it opens. */
  readonly closesAt?: Date;
  readonly happenings?: readonly Happening[];
  write?(on: InProject): Promise<void>;
}

export interface PlannedChangeStep {
  readonly happenings: readonly Happening[];
  apply(tx: Queryable): Promise<ListChangeRow>;
}

export async function getListChange(services: Services, project: ProjectId, list: string, id: string) {
  const row = await findListChange(inProject(services.db, project), list, id);
  if (row === null) throw new KedgeError('not_found');
  return row;
}

/** Brings a change that was written down to the enclave, and asks the present approvers. A refusal ends it. */
export async function openListChange(services: Services, row: ListChangeRow): Promise<PlannedChangeStep> {
  const { enclave, db } = services;
  const { project, id: change } = row;
  const list = await findApproverList(inProject(db, project), row.list);
  const opened = await enclave
    .openListChange({ project, list: row.list, change, rules: rulesOf(row.content) })
    .catch(async (error: unknown) => {
      if (isRefusal(error)) await failListChange(services, row);
      throw error;
    });
  const tokens = new Map<string, Uint8Array>();
  if (opened.outcome.state === 'open')
    for (const { approver, token } of (await enclave.listChangeTokens({ project, list: row.list, change })).tokens)
      tokens.set(approver, token);
  const about = { list: row.list, change };
  return planChangeStep(services, row, {
    ...opened,
    closesAt: new Date(services.clock.wallMs() + list!.window_s * SECOND_MS),
    happenings: [{ type: 'approver_list.change_opened', project, data: about }],
    async write(on) {
      for (const { id, email } of list!.approvers) {
        if (email === null) continue;
        const token = tokens.get(id);
        if (token !== undefined)
          await insertLink(
            on,
            newLink(services, { kind: 'vote_change', subject: change, recipient: id, email }, token),
          );
        await writeMail(services, on, change, 'change_vote_requested', { id, email });
      }
    },
  });
}

/** Throws `overloaded` from `apply` when another step came in between: asked again, the enclave says the same. */
export function planChangeStep(services: Services, row: ListChangeRow, step: ChangeStep): PlannedChangeStep {
  const { outcome } = step;
  const nowMs = services.clock.wallMs();
  const status = statusOf(outcome);
  const isOver = status !== 'open' && row.status !== status;
  const next: ListChangeRow = {
    ...row,
    status,
    outcome,
    next_due_at:
      status === 'open'
        ? new Date(Math.max(nowMs + ASK_AGAIN_MS, (step.closesAt ?? row.next_due_at)?.getTime() ?? 0))
        : null,
  };
  const told: Happening[] = [...(step.happenings ?? [])];
  if (isOver)
    told.push({
      type: status === 'applied' ? 'approver_list.change_applied' : 'approver_list.change_declined',
      project: row.project,
      data: { list: row.list, change: row.id, because: outcome.state === 'open' ? null : outcome.because },
    });
  const [first, ...others] = told;
  return {
    happenings: first === undefined ? [] : [step.receipt ? { ...first, receipt: step.receipt } : first, ...others],
    async apply(tx) {
      const on = inProject(tx, row.project);
      if (!(await updateListChange(on, row.id, row.status, next)))
        throw new KedgeError('overloaded', 'The change has just gone on. Look at it, and ask again.', {
          retryAfterS: 1,
        });
      await step.write?.(on);
      if (!isOver) return next;
      if (status === 'applied') await replaceApproverList(on, row.list, row.content);
      await deleteLinks(on, row.id);
      return next;
    },
  };
}

export async function takeChangeStep(services: Services, step: PlannedChangeStep): Promise<ListChangeRow> {
  if (step.happenings.length > 0) return services.ledger.write({ happenings: step.happenings, next: step.apply });
  return services.db.transaction(step.apply);
}

/** Lets time do what it does. */
export async function tickListChange(services: Services, row: ListChangeRow): Promise<ListChangeRow> {
  if (row.status === 'opening') return takeChangeStep(services, await openListChange(services, row));
  const { outcome } = await services.enclave.listChange({ project: row.project, list: row.list, change: row.id });
  return takeChangeStep(services, planChangeStep(services, row, { outcome, receipt: null }));
}

function statusOf({ state }: Outcome): ListChangeRow['status'] {
  return state === 'approved' ? 'applied' : state;
}

async function failListChange(services: Services, row: ListChangeRow): Promise<void> {
  await services.ledger.write({
    happenings: [
      {
        type: 'approver_list.change_declined',
        project: row.project,
        data: { list: row.list, change: row.id, because: 'refused' },
      },
    ],
    next: (tx) =>
      updateListChange(inProject(tx, row.project), row.id, row.status, {
        status: 'failed',
        outcome: null,
        next_due_at: null,
      }),
  });
}
