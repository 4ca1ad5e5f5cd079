/**
 * The life of a submitted transaction: sent to the node, seen in a block, final or failed. Routes call it for the one
 * that is asked for, the job `transactions` for all that are open. Every change of status is one commit with its event;
 * confirmations in between are read from the chain, not stored. Sending twice does no harm.
 */
import { ChainError, type TransactionState } from '@kedge/chains';
import { KedgeError } from '@kedge/core';
import type { EventType } from './events.ts';
import type { Services } from './services.ts';
import { findTransaction, inProject, moveTransaction, type TransactionRow } from './store.ts';

/** Hands the bytes to the node. Throws `transaction_rejected` when it refuses them; if it is away, the job sends them later. */
export async function sendTransaction(services: Services, row: TransactionRow): Promise<TransactionRow> {
  if (row.status !== 'submitted' && row.status !== 'failed') return followTransaction(services, row);
  if (row.receipt !== null) return row; // failed in a block: the nonce is used
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
  if (row.status === 'failed' || row.status === 'completed') return row;
  if (row.status === 'submitted') return sendTransaction(services, row);
  let state: TransactionState;
  try {
    state = await services.chains[row.chain].track(row.tx_hash);
  } catch (error) {
    if (error instanceof ChainError) return row;
    throw error;
  }
  switch (state.status) {
    case 'unknown': // the node forgot it, or the block with it: send it again
      await services.chains[row.chain].broadcast(row.raw).catch(ignoreChain);
      return { ...row, confirmations: 0 };
    case 'broadcasting':
      return { ...row, confirmations: 0 };
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

type Step = Pick<TransactionRow, 'status' | 'confirmations' | 'receipt'>;

/** One step and its event; if somebody else was faster, what they made of it. */
async function move({ db, ledger }: Services, row: TransactionRow, type: EventType, to: Step): Promise<TransactionRow> {
  const { id: transaction, project, user_id: user, wallet_id: wallet, tx_hash } = row;
  try {
    return await ledger.write({
      happenings: [{ type, project, user, data: { transaction, wallet, tx_hash } }],
      next: async (tx) => {
        const moved = await moveTransaction(inProject(tx, project), row, to);
        if (moved === null) throw new Overtaken();
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
