/**
 * A robber in the place of the gateway, who wants one signature by a backup key: it holds the enclave's socket, knows
 * every id and the wallet's descriptor, and has recovery material of its own making. It lacks the approvers' keys.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { bitcoinCodec, bitcoinNetworks, parseDescriptor } from '@kedge/chains';
import { approverSubject, type ListRules, planHash, type RecoveryPlan } from '@kedge/core';
import { connectEnclave } from '@kedge/enclave/client';
import type { World } from '../harness/world.ts';
import { createForger } from './hostile-gateway.ts';

export interface RobberyResult {
  readonly signatures: number;
  readonly refused: readonly { readonly call: string; readonly code: string }[];
}

export async function robRecovery(
  world: World,
  victim: {
    readonly project: string;
    readonly user: string;
    readonly key: string;
    readonly list: string;
    readonly approver: string;
    readonly descriptor: string;
    /** A recovery that was released: its plan, what it signed, and another transaction of the same wallet. */
    readonly used: { readonly recovery: string; readonly transaction: Uint8Array; readonly other: Uint8Array };
  },
): Promise<RobberyResult> {
  const { project, user, key, list } = victim;
  const { enclave, close } = connectEnclave({ socket: world.home.file('run', 'enclave.sock') });
  const own = await createForger(enclave);
  const { address } = parseDescriptor(victim.descriptor, bitcoinNetworks.regtest).derive({ change: 0, index: 9 });
  const planOf = (given: Partial<RecoveryPlan> = {}): RecoveryPlan => ({
    project,
    recovery: randomUUID(),
    list,
    user,
    key,
    network: bitcoinNetworks.regtest.caip2,
    account: victim.descriptor,
    release: { kind: 'sweep', destination: address },
    sandbox: false,
    ...given,
  });
  const ownRules: ListRules = {
    approvers: [{ id: 'robber', veto: false, mustApprove: false, key: own.key }],
    policy: { kind: 'majority' },
    windowMs: 3_600_000,
    coolingPeriodMs: 0,
    linksSuffice: false,
  };
  const release = (recovery: string, transactions: readonly Uint8Array[], of = project) =>
    enclave.releaseRecovery({
      project: of,
      recovery,
      transactions,
      backup: { version: 1, data: new Uint8Array(randomBytes(512)) },
      thaws: [],
      rehearsed: null,
    });
  /** Asked for and not approved: what the votes of the gateway's own making come to. */
  const ids = [bitcoinCodec(bitcoinNetworks.regtest).planId(victim.used.other)];
  const asked = planOf({ release: { kind: 'transactions', ids } });
  await enclave.requestRecovery({ plan: asked });
  const forgedVote = async (approver: string) =>
    enclave.voteRecovery({
      project,
      recovery: asked.recovery,
      approver,
      choice: 'approve',
      proof: await own.prove('vote_recovery', approverSubject(project, list, approver), {
        recovery: asked.recovery,
        plan: planHash(asked),
        choice: 'approve',
      }),
      token: null,
    });

  const calls: Readonly<Record<string, () => Promise<unknown>>> = {
    'a signature outside a recovery': () => release(randomUUID(), [victim.used.other]),
    'a signature with votes missing': () => release(asked.recovery, [victim.used.other]),
    'a vote with a key of one’s own': () => forgedVote(victim.approver),
    'a vote by nobody of the list': () => forgedVote('robber'),
    'a second recovery while one runs': () => enclave.requestRecovery({ plan: planOf() }),
    'another content for the list': () => enclave.createApproverList({ project, list, rules: ownRules }),
    'another list for the key': async () => {
      const other = randomUUID();
      await enclave.createApproverList({ project, list: other, rules: ownRules });
      return enclave.bindApproverList({ project, user, key, list: other });
    },
    'a change of the frozen list': () =>
      enclave.openListChange({ project, list, change: randomUUID(), rules: ownRules }),
    'the key in a project of one’s own': async () => {
      const mine = { project: 'robber', list: randomUUID() as string };
      await enclave.createApproverList({ ...mine, rules: ownRules });
      await enclave.bindApproverList({ ...mine, user, key });
      return enclave.requestRecovery({ plan: planOf(mine) });
    },
    'another transaction for a release that was used': () => release(victim.used.recovery, [victim.used.other]),
    'a used release in a project of one’s own': () =>
      release(victim.used.recovery, [victim.used.transaction], 'robber'),
    'the real wallet as a rehearsal': () => enclave.requestRecovery({ plan: planOf({ sandbox: true }) }),
  };
  const refused: { call: string; code: string }[] = [];
  let signatures = 0;
  for (const [call, attempt] of Object.entries(calls)) {
    try {
      await attempt();
      signatures += 1;
    } catch (error) {
      refused.push({ call, code: String((error as { code?: string }).code) });
    }
  }
  await enclave.cancelRecovery({ project, recovery: asked.recovery, by: 'journey' });
  close();
  return { signatures, refused };
}
