/**
 * What may go on at the same time: recoveries, changes of an approver list, lockdown and rotation, as one table. Every
 * route and the enclave ask here before they begin something. The idea behind each row: what protects the owner is always
 * allowed, what a thief in the owner's place would do waits for what the owner would do against it.
 */
import { KedgeError } from './errors.ts';
import { isOpenRecovery, type RecoveryStatus } from './recovery.ts';

/** Everything about a vault that such a decision depends on. */
export interface Situation {
  /** Of the vault's newest recovery; null without one. */
  readonly recovery: RecoveryStatus | null;
  /** A change of the approver list is voted on. */
  readonly listChangeOpen: boolean;
  readonly lockdown: boolean;
  /** The server key is being rotated. */
  readonly rotating: boolean;
}

export type VaultAct =
  | 'request_recovery'
  | 'vote_recovery'
  | 'cancel_recovery'
  | 'release_recovery'
  | 'open_list_change'
  | 'vote_list_change'
  | 'start_lockdown'
  | 'lift_lockdown'
  | 'start_rotation'
  | 'spend'
  | 'new_address';

type Decision = { readonly state: 'allow' } | { readonly state: 'deny'; readonly because: string };

const allow: Decision = { state: 'allow' };
const deny = (because: string): Decision => ({ state: 'deny', because });

/** One row for each act. */
const rules: { readonly [A in VaultAct]: (situation: Situation) => Decision } = {
  request_recovery: ({ recovery, listChangeOpen }) => {
    if (isRunning(recovery)) return deny('A recovery is running already. Wait for its end, or cancel it.');
    // Whoever changes the list and then recovers would have chosen the judges.
    if (listChangeOpen) return deny('A change of the approver list is open. Decide it first.');
    return allow;
  },
  vote_recovery: ({ recovery }) => (recovery === 'approving' ? allow : deny('No recovery is being voted on.')),
  // Always, up to the moment at which the enclave has signed.
  cancel_recovery: ({ recovery }) =>
    recovery !== null && isOpenRecovery(recovery) ? allow : deny('There is no recovery that could still be cancelled.'),
  release_recovery: ({ recovery, lockdown }) => {
    if (recovery !== 'releasable') return deny('No recovery is ready for release.');
    return lockdown ? deny('The vault is locked down. The release waits for its end.') : allow;
  },
  open_list_change: ({ recovery, listChangeOpen, lockdown }) => {
    if (isRunning(recovery)) return deny('The approver list is frozen while a recovery runs.');
    if (listChangeOpen) return deny('Another change of the list is open. Decide it first.');
    return lockdown ? deny('The vault is locked down. Change the list afterwards.') : allow;
  },
  vote_list_change: ({ listChangeOpen, lockdown }) => {
    if (!listChangeOpen) return deny('No change of the list is open.');
    return lockdown ? deny('The vault is locked down. Vote afterwards.') : allow;
  },
  // Doing it again while it lasts prolongs nothing and harms nothing.
  start_lockdown: () => allow,
  lift_lockdown: ({ lockdown }) => (lockdown ? allow : deny('The vault is not locked down.')),
  // Rotation changes how keys are wrapped and none of the keys; nothing has to wait for it, and it for nothing but itself.
  start_rotation: ({ rotating }) => (rotating ? deny('A rotation is running already.') : allow),
  spend: ({ recovery, lockdown }) => {
    if (lockdown) return deny('The vault is locked down. Nothing is spent until that ends.');
    // After the release the old vault is swept; another spend would race with it.
    return recovery === 'released' || recovery === 'sweeping'
      ? deny('The vault is being swept after a recovery.')
      : allow;
  },
  new_address: ({ recovery, lockdown }) => {
    if (lockdown) return deny('The vault is locked down. It gives no new addresses until that ends.');
    return recovery === 'released' || recovery === 'sweeping'
      ? deny('The vault is being left. Use the new one.')
      : allow;
  },
};

export function decideAct(act: VaultAct, situation: Situation): Decision {
  return rules[act](situation);
}

/** Throws `conflict` with the reason. */
export function assertMayAct(act: VaultAct, situation: Situation): void {
  const decision = decideAct(act, situation);
  if (decision.state === 'deny') throw new KedgeError('conflict', decision.because);
}

/** Not at its end yet, released or not. */
function isRunning(recovery: RecoveryStatus | null): boolean {
  return recovery !== null && (isOpenRecovery(recovery) || recovery === 'released' || recovery === 'sweeping');
}
