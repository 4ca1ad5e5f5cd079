/**
 * Approver lists, what they decide over, and their changes. `app.ts` binds these. The enclave keeps who decides; here it
 * is told, once, and what it answers is written down beside the names and addresses that it need not know.
 */
import {
  type ApproverListId,
  assertMayAct,
  KedgeError,
  type ListChangeId,
  listHash,
  type ProjectId,
  SECOND_MS,
} from '@kedge/core';
import {
  type ApproverListRow,
  bindApproverList,
  findApproverList,
  findListChange,
  hasOpenChange,
  insertApproverList,
  insertListChange,
  listApproverLists,
} from '../approver-list-store.ts';
import type { Handlers } from '../binding.ts';
import { signedView } from '../events.ts';
import { getListChange, openListChange, planChangeStep } from '../list-changes.ts';
import { contentOf, rulesOf } from '../list-content.ts';
import { insertVote, listVotes } from '../recovery-store.ts';
import { approverListView, listChangeView, outcomeView } from '../recovery-views.ts';
import type { Services } from '../services.ts';
import { inProject, pageOf } from '../store.ts';
import { getBackupKey } from './backup-keys.ts';

type Routes = Pick<
  Handlers,
  | 'createApproverList'
  | 'listApproverLists'
  | 'getApproverList'
  | 'bindApproverList'
  | 'createListChange'
  | 'getListChange'
  | 'voteListChange'
>;

export function approverListRoutes(services: Services): Routes {
  const { db, enclave, clock, ledger } = services;

  return {
    async createApproverList({ principal: { project }, body, resourceId, commit }) {
      const list = resourceId as ApproverListId;
      const row: ApproverListRow = {
        id: list,
        ...contentOf(body, list),
        created_at: new Date(clock.wallMs()),
      };
      const { receipt } = await enclave.createApproverList({ project, list, rules: rulesOf(row) });
      return commit({
        happenings: [{ type: 'approver_list.created', project, data: { list }, receipt }],
        next: async (tx) => {
          await insertApproverList(inProject(tx, project), row);
          return { ...approverListView(row), receipt: signedView(receipt) };
        },
      });
    },

    listApproverLists: ({ principal, query }) =>
      pageOf(
        query,
        (before, limit) => listApproverLists(inProject(db, principal.project), before, limit),
        approverListView,
      ),

    getApproverList: async ({ principal, params }) =>
      approverListView(await getApproverList(services, principal.project, params.list_id)),

    async bindApproverList({ principal, params, body, commit }) {
      const { project } = principal;
      const key = await getBackupKey(services, principal, params.key_id);
      const { id: list } = await getApproverList(services, project, body.approver_list_id);
      const { receipt } = await enclave.bindApproverList({ project, user: key.user_identifier, key: key.id, list });
      return commit({
        happenings: [{ type: 'approver_list.bound', project, data: { key: key.id, list }, receipt }],
        next: async (tx) => {
          if (!(await bindApproverList(inProject(tx, project), key.id, list)))
            throw new KedgeError('conflict', 'Another approver list decides over this key, and stays.');
          return { key_id: key.id, approver_list_id: list, receipt: signedView(receipt) };
        },
      });
    },

    async createListChange({ principal: { project }, params, body, resourceId, commit }) {
      const on = inProject(db, project);
      const list = await getApproverList(services, project, params.list_id);
      const id = resourceId as ListChangeId;
      const now = new Date(clock.wallMs());
      if ((await findListChange(on, list.id, id)) === null) {
        const present = list.approvers.map((approver) => approver.id);
        const content = contentOf(body, id, present);
        assertMayAct('open_list_change', {
          recovery: null, // the enclave knows which recoveries run under the list
          listChangeOpen: await hasOpenChange(on, list.id),
          lockdown: false,
          rotating: false,
        });
        await ledger.write({
          happenings: [{ type: 'approver_list.change_requested', project, data: { list: list.id, change: id } }],
          next: (tx) =>
            insertListChange(inProject(tx, project), {
              id,
              list: list.id,
              status: 'opening',
              content,
              rules_hash: listHash(rulesOf(content)),
              outcome: null,
              next_due_at: new Date(now.getTime() + OPENING_MS),
              created_at: now,
            }),
        });
      }
      const row = await getListChange(services, project, list.id, id);
      if (row.status === 'failed')
        throw new KedgeError('conflict', 'The enclave refused this change. Send it as a new request.');
      if (row.status !== 'opening') return listChangeView(row, await listVotes(on, id));
      const step = await openListChange(services, row);
      return commit({
        happenings: step.happenings,
        next: async (tx) => listChangeView(await step.apply(tx), []),
      });
    },

    async getListChange({ principal: { project }, params }) {
      const row = await getListChange(services, project, params.list_id, params.change_id);
      return listChangeView(row, await listVotes(inProject(db, project), row.id));
    },

    async voteListChange({ principal: { project }, params, body, proof, commit }) {
      const row = await getListChange(services, project, params.list_id, params.change_id);
      const { approver_id: approver, choice } = body;
      const voted = await enclave.voteListChange({
        project,
        list: row.list,
        change: row.id,
        approver,
        choice,
        proof: proof.text,
        token: null,
      });
      const current = await getListChange(services, project, row.list, row.id);
      const step = planChangeStep(services, current, {
        ...voted,
        happenings: [{ type: 'approver_list.change_voted', project, data: { change: row.id, approver, choice } }],
        write: (on) => insertVote(on, row.id, { approver, choice, at: new Date(clock.wallMs()) }),
      });
      return commit({
        happenings: step.happenings,
        next: async (tx) => {
          await step.apply(tx);
          return { votes: outcomeView(voted.outcome), receipt: signedView(voted.receipt) };
        },
      });
    },
  };
}

/** The request that wrote it down has so long to bring it to the enclave itself. */
const OPENING_MS = 30 * SECOND_MS;

async function getApproverList(services: Services, project: ProjectId, id: string): Promise<ApproverListRow> {
  const row = await findApproverList(inProject(services.db, project), id);
  if (row === null) throw new KedgeError('not_found');
  return row;
}
