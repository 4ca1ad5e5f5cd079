/**
 * Approver lists and recoveries as the gateway may ask for them; `service.ts` puts these beside its other methods. Each
 * answer that changes something comes with a receipt, which the gateway keeps as the event's.
 */
import { type ListRules, listHash, type Outcome, planHash, toBase64Url } from '@kedge/core';
import type { ApproverLists } from './approver-lists.ts';
import type { EnclaveRecoveries, Signed } from './enclave.ts';
import type { Recoveries, StoredRecovery } from './recoveries.ts';
import type { ReleaseGate } from './release.ts';
import type { RootKeys } from './root-keys.ts';
import { signDocument } from './signing.ts';

export function recoveryMethods({
  rootKeys,
  lists,
  recoveries,
  gate,
  receipt,
}: {
  readonly rootKeys: RootKeys;
  readonly lists: ApproverLists;
  readonly recoveries: Recoveries;
  readonly gate: ReleaseGate;
  readonly receipt: (act: string, data: Readonly<Record<string, unknown>>) => Promise<Signed>;
}): EnclaveRecoveries {
  const listReceipt = (act: string, { project, list }: { project: string; list: string }, rules: ListRules) =>
    receipt(act, { project, list, rules: toBase64Url(listHash(rules)) });
  const changeAnswer = async (
    act: string,
    { project, list, change }: { project: string; list: string; change: string },
    outcome: Outcome,
    data: Readonly<Record<string, unknown>> = {},
  ) => ({ outcome, receipt: await receipt(act, { project, list, change, outcome: outcome.state, ...data }) });
  const recoveryReceipt = (
    act: string,
    { plan, recovery }: StoredRecovery,
    data: Readonly<Record<string, unknown>> = {},
  ) =>
    receipt(act, {
      project: plan.project,
      recovery: plan.recovery,
      key: plan.key,
      plan: toBase64Url(planHash(plan)),
      sandbox: plan.sandbox,
      status: recovery.status,
      ...data,
    });
  const answer = async (act: string, stored: StoredRecovery, data: Readonly<Record<string, unknown>> = {}) => ({
    view: recoveries.view(stored),
    receipt: await recoveryReceipt(act, stored, data),
  });

  return {
    async createApproverList({ rules, ...name }) {
      await lists.create(name, rules);
      return { receipt: await listReceipt('create_approver_list', name, rules) };
    },
    async bindApproverList({ project, user, key, list }) {
      await lists.bind({ project, user, key }, list);
      const { rules } = await lists.get({ project, list });
      const data = { project, user, key, list, rules: toBase64Url(listHash(rules)) };
      return { receipt: await receipt('bind_approver_list', data) };
    },
    async openListChange({ rules, ...call }) {
      const outcome = await lists.openChange(call, call.change, rules);
      return changeAnswer('open_list_change', call, outcome, { rules: toBase64Url(listHash(rules)) });
    },
    async voteListChange({ approver, choice, proof, token, ...call }) {
      const outcome = await lists.voteChange(call, call.change, { approver, choice, proof, token });
      return changeAnswer('vote_list_change', call, outcome, { approver, choice });
    },
    listChange: async (call) => ({ outcome: await lists.change(call, call.change) }),
    listChangeTokens: async (call) => ({ tokens: await lists.changeTokens(call, call.change) }),

    throwAwayKey: (call) => gate.throwAwayKey(call),
    async requestRecovery({ plan }) {
      await gate.assertPlan(plan);
      return answer('request_recovery', await recoveries.request(plan));
    },
    recoveryTokens: async (call) => ({ tokens: await recoveries.tokens(call) }),
    async voteRecovery({ approver, choice, proof, token, ...call }) {
      return answer('vote_recovery', await recoveries.vote(call, { approver, choice, proof, token }), {
        approver,
        choice,
      });
    },
    noteRecoveryAlert: async ({ channels, ...call }) => ({
      view: recoveries.view(await recoveries.noteAlert(call, channels)),
    }),
    async tickRecovery(call) {
      const stored = await recoveries.tick(call);
      return answer('tick_recovery', stored);
    },
    cancelRecovery: async ({ by, ...call }) => answer('cancel_recovery', await recoveries.cancel(call), { by }),
    coldFiles: async (call) => ({ files: await gate.coldFiles(call) }),
    async releaseRecovery(call) {
      const { stored, signatures } = await gate.release(call);
      const { certificate } = stored;
      return {
        signatures,
        ...(await answer('release_recovery', stored, { signatures: signatures.length })),
        certificate: certificate && (await signDocument(rootKeys, 'drill-certificate', { ...certificate })),
      };
    },
    completeRecovery: async ({ outcome, ...call }) =>
      answer('complete_recovery', await recoveries.complete(call, outcome)),
  };
}
