/**
 * Building, broadcasting and following transactions. `app.ts` binds these. The gateway decodes what it is given from its
 * bytes and takes only what the wallet's own key signed; it can't change a signed transaction and never sees a key.
 * The row comes first and the node after it, so that nothing is on the chain that isn't in the database.
 */
import { assertVaultActive, hexToBytes, KedgeError, type TransactionId } from '@kedge/core';
import type { Handlers } from '../binding.ts';
import { RequestInvalid } from '../problems.ts';
import type { Services } from '../services.ts';
import { findTransaction, inProject, insertTransaction, listTransactions, pageOf } from '../store.ts';
import { followTransaction, sendTransaction } from '../tracking.ts';
import { intentView, transactionView } from '../views.ts';
import { whoseOf } from './vaults.ts';
import { getWallet } from './wallets.ts';

type Routes = Pick<Handlers, 'createTransfer' | 'createTransaction' | 'listTransactions' | 'getTransaction'>;

const UINT256_MAX = 2n ** 256n - 1n;

export function transactionRoutes(services: Services): Routes {
  const { db, chains, clock } = services;
  return {
    async createTransfer({ principal, params, body }) {
      const wallet = await getWallet(services, principal, params.wallet_id);
      const chain = chains[wallet.chain];
      const amount = BigInt(body.amount);
      if (amount > UINT256_MAX)
        throw new RequestInvalid([{ path: 'body.amount', message: 'more than any chain can move' }]);
      const transfer = { from: wallet.address, to: chain.parseAddress(body.to), amount, feeLevel: body.fee_level };
      const unsigned = await chain.build(transfer);
      return { unsigned_tx: `0x${Buffer.from(unsigned).toString('hex')}`, intent: intentView(chain.decode(unsigned)) };
    },

    async createTransaction({ principal, params, body, resourceId }) {
      const { project, user } = principal;
      const wallet = await getWallet(services, principal, params.wallet_id);
      assertVaultActive(wallet.vault_status);
      const chain = chains[wallet.chain];
      const raw = hexToBytes(body.raw_tx.slice(2));
      const intent = chain.decode(raw);
      if (intent.from !== wallet.address)
        throw new KedgeError('transaction_invalid', 'It is not signed by the key of this wallet.');
      const txHash = chain.transactionId(raw);
      const submitted = await services.ledger.write({
        happenings: [{ type: 'transaction.submitted', project, user, data: { wallet: wallet.id, tx_hash: txHash } }],
        next: (tx) =>
          insertTransaction(inProject(tx, project), {
            id: resourceId as TransactionId,
            user_id: user,
            wallet_id: wallet.id,
            chain: chain.name,
            tx_hash: txHash,
            raw,
            intent: intentView(intent),
            created_at: new Date(clock.wallMs()),
          }),
      });
      return transactionView(await sendTransaction(services, submitted));
    },

    async listTransactions({ principal, params, query }) {
      const wallet = await getWallet(services, principal, params.wallet_id);
      return pageOf(
        query,
        (before, limit) => listTransactions(inProject(db, principal.project), wallet.id, before, limit),
        transactionView,
      );
    },

    async getTransaction({ principal, params }) {
      const stored = await findTransaction(inProject(db, principal.project), whoseOf(principal), params.transaction_id);
      if (stored === null) throw new KedgeError('not_found');
      return transactionView(await followTransaction(services, stored));
    },
  };
}
