/**
 * Recoveries on the side of the people: an integrator who settles which approvers decide over a key and checks that the
 * enclave settled just that, and an approver who reads what a recovery would sign, from its own bytes, before voting on
 * it with a key. What a gateway claims about a plan, an intent or a list is worked out again here and compared.
 */
import { findCodec, type Intent } from '@kedge/chains';
import {
  approverSubject,
  bytesToHex,
  COOLING_PERIOD_MS,
  fromBase64Url,
  type Given,
  KedgeError,
  type ListRules,
  listHash,
  listRulesOf,
  planHash,
  type RecoveryPlan,
  type ResponseOf,
  SECOND_MS,
  toBase64Url,
  WINDOW_MS,
} from '@kedge/core';
import type { Client } from './client.ts';
import type { ClientKey } from './client-key.ts';
import type { Connection } from './connection.ts';
import { verifySigned } from './trust.ts';

export interface RecoveryOptions {
  readonly connection: Connection;
  /** With a secret key of the project; an approver's votes need the publishable key alone. */
  readonly client: Client;
  /** The id of the project. */
  readonly project: string;
}

type WantedList = Given<'createApproverList', 'body'>;

/** A recovery as its own bytes tell it. */
export interface ReadRecovery {
  readonly plan: RecoveryPlan;
  /** What each transaction does; empty for a sweep, which is known by its destination. */
  readonly intents: readonly Intent[];
}

export interface RecoveryService {
  /**
   * Writes down who decides, and binds it to the key. Throws `KedgeError('key_refused')` if the enclave did not confirm
   * exactly that: then somebody else may decide over the key, and it must not be used.
   */
  protect(
    keyId: string,
    user: string,
    wanted: WantedList,
  ): Promise<{ readonly listId: string; readonly rules: ListRules }>;
  /** Asks for it, and reads it. Throws `KedgeError('request_invalid')` where the gateway shows another thing than it names. */
  read(recoveryId: string): Promise<ReadRecovery>;
  vote(
    plan: RecoveryPlan,
    approver: { readonly id: string; readonly key: ClientKey },
    choice: 'approve' | 'reject',
  ): Promise<ResponseOf<'voteRecovery'>>;
}

export function recoveries({ connection, client, project }: RecoveryOptions): RecoveryService {
  /** What a receipt says, if the pinned enclave signed it. */
  const confirmed = async (receipt: { readonly document: string; readonly signature: string }) => {
    const { identity } = await connection.attestation();
    if (!(await verifySigned(identity, 'receipt', receipt)))
      throw new KedgeError('key_refused', 'The receipt of the approver list is not one that the enclave signed.');
    return JSON.parse(new TextDecoder().decode(fromBase64Url(receipt.document))) as Readonly<Record<string, unknown>>;
  };

  return {
    async protect(keyId, user, wanted) {
      const made = await client.call('createApproverList', { body: wanted });
      const rules = listRulesOf(made);
      if (!isAsWanted(wanted, made)) throw new KedgeError('key_refused', 'The approver list is not as it was wanted.');
      const bound = await client.call('bindApproverList', {
        params: { key_id: keyId },
        body: { approver_list_id: made.approver_list_id },
      });
      const said = await confirmed(bound.receipt);
      const expected: Readonly<Record<string, string>> = {
        act: 'bind_approver_list',
        project,
        user,
        key: keyId,
        list: made.approver_list_id,
        rules: toBase64Url(listHash(rules)),
      };
      if (!Object.entries(expected).every(([field, value]) => said[field] === value))
        throw new KedgeError('key_refused', 'The enclave confirmed another approver list for this key.');
      return { listId: made.approver_list_id, rules };
    },

    async read(recoveryId) {
      const shown = await client.call('getRecovery', { params: { recovery_id: recoveryId } });
      if (shown.recovery_id !== recoveryId)
        throw new KedgeError('request_invalid', 'The service shows another recovery than the one that was asked for.');
      return readRecovery(shown, project);
    },

    vote(plan, { id, key }, choice) {
      return client.call('voteRecovery', {
        params: { recovery_id: plan.recovery },
        body: { approver_id: id, choice },
        proof: connection.prove(key, {
          act: 'vote_recovery',
          subject: approverSubject(plan.project, plan.list, id),
          parameters: { recovery: plan.recovery, plan: planHash(plan), choice },
        }),
      });
    },
  };
}

/** The plan that a vote would be over, made from the transactions themselves. */
export function readRecovery(shown: ResponseOf<'getRecovery'>, project: string): ReadRecovery {
  const codec = findCodec(shown.network);
  if (codec === null)
    throw new KedgeError('request_invalid', 'The recovery is on a chain that this version does not know. Update it.');
  const transactions = shown.transactions.map(({ transaction }) =>
    Uint8Array.from(atob(transaction), (char) => char.charCodeAt(0)),
  );
  const plan: RecoveryPlan = {
    project,
    recovery: shown.recovery_id,
    list: shown.approver_list_id,
    user: shown.user_identifier,
    key: shown.key_id,
    network: shown.network,
    account: shown.account,
    release:
      shown.sweep_to === null
        ? { kind: 'transactions', ids: transactions.map((transaction) => codec.planId(transaction)) }
        : { kind: 'sweep', destination: shown.sweep_to },
    sandbox: shown.sandbox,
  };
  if (bytesToHex(planHash(plan)) !== shown.plan_hash)
    throw new KedgeError(
      'request_invalid',
      'The service asks for a vote over another plan than it shows. Do not vote; ask the operator why.',
    );
  return { plan, intents: transactions.map((transaction) => codec.decode(transaction, shown.account)) };
}

/** Ids of approvers are the service's; everything that decides is the caller's. */
function isAsWanted(wanted: WantedList, made: ResponseOf<'createApproverList'>): boolean {
  const policy = JSON.stringify(sorted(made.policy)) === JSON.stringify(sorted(wanted.policy));
  // What was left out is the documented default, and not what the service would like it to be.
  const scalars =
    made.window_s === (wanted.window_s ?? WINDOW_MS / SECOND_MS) &&
    made.cooling_period_s === (wanted.cooling_period_s ?? COOLING_PERIOD_MS / SECOND_MS) &&
    made.links_suffice === (wanted.links_suffice ?? false);
  const approvers =
    made.approvers.length === wanted.approvers.length &&
    made.approvers.every((approver, at) => {
      const { public_key = null, veto = false, must_approve = false } = wanted.approvers[at]!;
      return approver.public_key === public_key && approver.veto === veto && approver.must_approve === must_approve;
    });
  return policy && scalars && approvers;
}

function sorted(record: object): readonly (readonly [string, unknown])[] {
  return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
}
