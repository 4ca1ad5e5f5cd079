/**
 * A project with approvers, as tests of recoveries need it: keys under a list of three (Ada and Bert vote with keys, Cleo
 * with a link), plans over a test wallet, and votes. It talks to the enclave directly, as a hostile gateway would.
 */
import { randomUUID } from 'node:crypto';
import {
  approverSubject,
  type BackupKeyEnvironment,
  type BackupKeyType,
  DAY_MS,
  type ListedApprover,
  type ListRules,
  listHash,
  planHash,
  type RecoveryPlan,
} from '@kedge/core';
import type { RecoveryView } from '../enclave.ts';
import type { RunningEnclave } from '../service.ts';
import type { TestEnclave } from './in-process.ts';
import { createTestKey, proveFor, type TestKey } from './user.ts';
import { createTestVault, type TestVault } from './vault.ts';

export interface OwnedKey {
  readonly key: string;
  readonly list: string;
  readonly publicKey: Uint8Array;
  readonly vault: TestVault;
}

export const approver = (id: string, key: TestKey | null, role: Partial<ListedApprover> = {}): ListedApprover => ({
  id,
  veto: false,
  mustApprove: false,
  key: key && { algorithm: key.algorithm, publicKey: key.publicKey },
  ...role,
});

export class TestApprovals {
  readonly opened: TestEnclave;
  readonly project: string;
  readonly user = 'customer-17';
  readonly ada = createTestKey();
  readonly bert = createTestKey();

  constructor(opened: TestEnclave, project: string = randomUUID()) {
    this.opened = opened;
    this.project = project;
  }

  get enclave(): RunningEnclave {
    return this.opened.enclave;
  }

  /** Two of three, no cooling. */
  rules(given: Partial<ListRules> = {}): ListRules {
    return {
      approvers: [approver('ada', this.ada), approver('bert', this.bert), approver('cleo', null)],
      policy: { kind: 'majority' },
      windowMs: 7 * DAY_MS,
      coolingPeriodMs: 0,
      linksSuffice: false,
      ...given,
    };
  }

  /** With a list of its own. An ed25519 key comes with a wallet that it has nothing to do with: it has no xpub. */
  async newKey(
    given: Partial<ListRules> = {},
    type: BackupKeyType = 'secp256k1',
    environment: BackupKeyEnvironment = 'HOT',
  ): Promise<OwnedKey> {
    const { enclave, project, user } = this;
    const [key, list] = [randomUUID() as string, randomUUID() as string];
    const wanted = { project, user, key, type, environment, nonce: null, signWith: null };
    const { publicKey } = await enclave.createBackupKey(wanted);
    await enclave.createApproverList({ project, list, rules: this.rules(given) });
    await enclave.bindApproverList({ project, user, key, list });
    const root = type === 'secp256k1' ? publicKey : (await this.newKey()).publicKey;
    return { key, list, publicKey, vault: createTestVault(enclave, root) };
  }

  plan({ key, list, vault }: OwnedKey, psbts: readonly Uint8Array[], given: Partial<RecoveryPlan> = {}): RecoveryPlan {
    return {
      project: this.project,
      recovery: randomUUID(),
      list,
      user: this.user,
      key,
      network: vault.codec.network,
      account: vault.descriptor.text,
      release: { kind: 'transactions', ids: psbts.map((psbt) => vault.codec.planId(psbt)) },
      sandbox: false,
      ...given,
    };
  }

  /** One coin, sent back to the wallet itself, and the plan to sign that. */
  spend(owned: OwnedKey): { psbt: Uint8Array; plan: RecoveryPlan } {
    const { vault } = owned;
    const psbt = vault.spend([vault.coin()], vault.descriptor, 60_000n);
    return { psbt, plan: this.plan(owned, [psbt]) };
  }

  async proveVote(plan: RecoveryPlan, id: string, key: TestKey, choice: 'approve' | 'reject'): Promise<string> {
    const parameters = { recovery: plan.recovery, plan: planHash(plan), choice };
    const subject = approverSubject(plan.project, plan.list, id);
    return (await proveFor(this.opened, key, { act: 'vote_recovery', subject, parameters })).text;
  }

  async vote(
    plan: RecoveryPlan,
    id: 'ada' | 'bert',
    choice: 'approve' | 'reject' = 'approve',
    key = this[id],
  ): Promise<RecoveryView> {
    const proof = await this.proveVote(plan, id, key, choice);
    return (await this.enclave.voteRecovery({ ...nameOf(plan), approver: id, choice, proof, token: null })).view;
  }

  async voteChange(
    name: { readonly project: string; readonly list: string; readonly change: string },
    rules: ListRules,
    id: 'ada' | 'bert',
    choice: 'approve' | 'reject' = 'approve',
  ) {
    const parameters = { change: name.change, rules: listHash(rules), choice };
    const subject = approverSubject(name.project, name.list, id);
    const { text } = await proveFor(this.opened, this[id], { act: 'vote_list_change', subject, parameters });
    return this.enclave.voteListChange({ ...name, approver: id, choice, proof: text, token: null });
  }

  /** Asked for, approved by two, alerted: ready, if there is nothing to wait for. */
  async approve(plan: RecoveryPlan): Promise<RecoveryView> {
    await this.enclave.requestRecovery({ plan });
    await this.enclave.noteRecoveryAlert({ ...nameOf(plan), channels: 1 });
    await this.vote(plan, 'ada');
    return this.vote(plan, 'bert');
  }

  async release(
    plan: RecoveryPlan,
    psbts: readonly Uint8Array[],
    vault: TestVault | null,
    more: Partial<Parameters<RunningEnclave['releaseRecovery']>[0]> = {},
  ) {
    return this.enclave.releaseRecovery({
      ...nameOf(plan),
      transactions: psbts,
      backup: vault && (await vault.backup()),
      thaws: [],
      rehearsed: null,
      ...more,
    });
  }
}

export function nameOf({ project, recovery }: RecoveryPlan): { readonly project: string; readonly recovery: string } {
  return { project, recovery };
}
