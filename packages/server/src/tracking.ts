/**
 * The life of a submitted transaction: sent to the node, seen in a block, final, failed or replaced. Routes call it for the one
 * that is asked for, the job `transactions` for all that are open. Every change of status is one commit with its event;
 * confirmations in between are read from the chain, not stored. Sending twice does no harm.
 */
import { ChainError, type TransactionState } from '@kedge/chains';
import { KedgeError } from '@kedge/core';
import type { EventType } from './events.ts';
import { keepForSigned, releaseSigned } from './reservations.ts';
import type { Services } from './services.ts';
import { findTransaction, inProject, moveTransaction, type TransactionRow, type TransactionStatus } from './store.ts';

/** Whether the chain has not decided yet, so that the transaction keeps what it uses. */
export function isOpen(status: TransactionStatus): boolean {
  return status === 'submitted' || status === 'broadcasting' || status === 'confirming';
}

/** Hands the bytes to the node. Throws `transaction_rejected` when it refuses them; if it is away, the job sends them later. */
export async function sendTransaction(services: Services, row: TransactionRow): Promise<TransactionRow> {
  if (row.status !== 'submitted' && row.status !== 'failed') return followTransaction(services, row);
  if (row.receipt !== null) return row; // failed in a block: the nonce is used
  if (row.status === 'submitted' && (await isSuperseded(services, row))) return row;
  try {
    await services.chains[row.chain].broadcast(row.raw);
  } catch (error) {
    if (!(error instanceof ChainError)) throw error;
    if (error.code !== 'rejected' && error.code !== 'insufficient_funds') return row;
    if (row.status !== 'failed')
      await move(services, row, 'transaction.failed', { status: 'failed', confirmations: 0, receipt: null });
    throw error.code === 'rejected' ? new KedgeError('transaction_rejected', error.message) : error;
  }
  return move(services, row, 'transaction.broadcast', { status: 'broadcasting', confirmations: 0, receipt: null });
}

/** As the chain sees it now; as it was stored when the node is away. */
export async function followTransaction(services: Services, row: TransactionRow): Promise<TransactionRow> {
  if (row.status === 'completed' || row.status === 'expired') return row;
  if (row.status === 'submitted') {
    try {
      return await sendTransaction(services, row);
    } catch (error) {
      // Whoever asks what became of it wants the row, refused or not.
      if (!(error instanceof KedgeError) && !(error instanceof ChainError)) throw error;
      return (await findTransaction(inProject(services.db, row.project), null, row.id)) ?? row;
    }
  }
  let state: TransactionState;
  try {
    state = await services.chains[row.chain].track(row.tx_hash, row.raw);
  } catch (error) {
    if (error instanceof ChainError) return row;
    throw error;
  }
  // What a block decided, a reorg may undo until it is deep; what a node refused, it may have passed on all the same. Whoever
  // asks is told what became of it.
  if (!isOpen(row.status) && state.status !== 'confirming') return row;
  switch (state.status) {
    case 'unknown': // the node forgot it, or the block with it: send it again
      if (!(await isSuperseded(services, row))) await services.chains[row.chain].broadcast(row.raw).catch(ignoreChain);
      return { ...row, confirmations: 0 };
    case 'broadcasting':
      return { ...row, confirmations: 0 };
    case 'replaced':
    case 'expired':
      return move(services, row, `transaction.${state.status}`, {
        status: state.status,
        confirmations: 0,
        receipt: null,
      });
    case 'failed':
      return move(services, row, 'transaction.failed', {
        status: 'failed',
        confirmations: row.confirmations,
        receipt: state.receipt,
      });
    case 'confirming': {
      const { confirmations, receipt } = state;
      if (confirmations >= services.options.confirmations) {
        return move(services, row, 'transaction.confirmed', { status: 'completed', confirmations, receipt });
      }
      if (row.status === 'confirming') return { ...row, confirmations, receipt };
      return move(services, row, 'transaction.included', { status: 'confirming', confirmations, receipt });
    }
  }
}

/** Whether another transaction is meant to take the place of this one: sent again, it could win after all. */
async function isSuperseded({ db }: Services, { project, superseded_by: by }: TransactionRow): Promise<boolean> {
  const later = by === null ? null : await findTransaction(inProject(db, project), null, by);
  return later !== null && isOpen(later.status);
}

type Step = Pick<TransactionRow, 'status' | 'confirmations' | 'receipt'>;

/** One step and its event; if somebody else was faster, what they made of it. */
async function move(
  { db, ledger, chains }: Services,
  row: TransactionRow,
  type: EventType,
  to: Step,
): Promise<TransactionRow> {
  const { id: transaction, project, user_id: user, wallet_id: wallet, tx_hash, intent } = row;
  const { network, resources } = chains[row.chain];
  try {
    return await ledger.write({
      happenings: [{ type, project, user, data: { transaction, wallet, tx_hash } }],
      next: async (tx) => {
        const moved = await moveTransaction(inProject(tx, project), row, to);
        if (moved === null) throw new Overtaken();
        const on = inProject(tx, project);
        if (!isOpen(to.status)) await releaseSigned(on, wallet, row.raw);
        else if (!isOpen(row.status) && intent.from !== null)
          await keepForSigned(
            on,
            { project, user_id: user, id: wallet },
            { network, id: transaction, account: intent.from, final: row.raw, resources: [...resources(row.raw)] },
          );
        return moved;
      },
    });
  } catch (error) {
    if (!(error instanceof Overtaken)) throw error;
    return (await findTransaction(inProject(db, project), null, transaction)) ?? row;
  }
}

/** Rolls the commit back: the row has moved on. */
class Overtaken extends Error {}

function ignoreChain(error: unknown): void {
  if (!(error instanceof ChainError)) throw error;
}
