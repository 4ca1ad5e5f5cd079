/**
 * Rows of approver lists and recoveries as they cross HTTP, like `views.ts`: routes call these and nobody else does. The
 * intents are decoded from the stored bytes at each answer, so that no stored text can say something else than what
 * would be signed.
 */
import { bytesToHex, type Outcome, type ResponseOf } from '@kedge/core';
import type { ApproverListRow, ListChangeRow, ListContent } from './approver-list-store.ts';
import type { BackupKeyRow } from './backup-key-store.ts';
import { codecOf } from './codecs.ts';
import type { BallotRow, PlannedTransactionRow, RecoveryRow } from './recovery-store.ts';
import { intentView } from './views.ts';

type SummaryView = ResponseOf<'cancelRecovery'>;

export function approverListView(row: ApproverListRow): ResponseOf<'getApproverList'> {
  return { approver_list_id: row.id, ...contentView(row), created_at: row.created_at.toISOString() };
}

export function listChangeView(row: ListChangeRow, ballots: readonly BallotRow[]): ResponseOf<'getListChange'> {
  return {
    change_id: row.id,
    approver_list_id: row.list,
    status: row.status,
    rules_hash: bytesToHex(row.rules_hash),
    ...contentView(row.content),
    votes: row.outcome && outcomeView(row.outcome),
    ballots: ballots.map(ballotView),
    created_at: row.created_at.toISOString(),
  };
}

export function recoverySummaryView(row: RecoveryRow): SummaryView {
  return {
    recovery_id: row.id,
    key_id: row.key_id,
    approver_list_id: row.list,
    network: row.network,
    account: row.account,
    sandbox: row.sandbox,
    status: row.status,
    plan_hash: bytesToHex(row.plan_hash),
    sweep_to: row.sweep_to,
    votes: row.outcome && outcomeView(row.outcome),
    waits_for: [...row.waits_for],
    cooling_left_s: row.cooling_left_s,
    transaction_ids: [...row.transaction_ids],
    has_certificate: row.certificate !== null,
    created_at: row.created_at.toISOString(),
  };
}

export function recoveryView(
  row: RecoveryRow,
  key: Pick<BackupKeyRow, 'user_identifier'>,
  transactions: readonly PlannedTransactionRow[],
  ballots: readonly BallotRow[],
): ResponseOf<'getRecovery'> {
  const codec = codecOf(row.network);
  return {
    ...recoverySummaryView(row),
    user_identifier: key.user_identifier,
    transactions: transactions.map(({ plan_id, bytes }) => ({
      plan_id,
      transaction: Buffer.from(bytes).toString('base64'),
      intent: intentView(codec.decode(bytes, row.account)),
    })),
    ballots: ballots.map(ballotView),
    timeline: [...row.timeline],
  };
}

export function outcomeView(outcome: Outcome): NonNullable<SummaryView['votes']> {
  if (outcome.state !== 'open')
    return { state: outcome.state, because: outcome.because, approvals: null, rejections: null, needed: null };
  const { state, approvals, rejections, needed } = outcome;
  return { state, because: null, approvals, rejections, needed };
}

function contentView({ name, approvers, policy, window_s, cooling_period_s, links_suffice }: ListContent) {
  return {
    name,
    approvers: approvers.map(({ id, name, email, public_key, veto, must_approve }) => ({
      approver_id: id,
      name,
      email,
      public_key,
      veto,
      must_approve,
    })),
    policy,
    window_s,
    cooling_period_s,
    links_suffice,
  };
}

function ballotView({ approver, choice, at }: BallotRow) {
  return { approver_id: approver, choice, at: at.toISOString() };
}
