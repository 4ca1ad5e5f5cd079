/**
 * Building, broadcasting and following transactions. `app.ts` binds these. The gateway decodes what it is given from its
 * bytes and takes only what the wallet's own key signed; it can't change a signed transaction and never sees a key.
 * The row comes first and the node after it, so that nothing is on the chain that isn't in the database; and a nonce is
 * held from the building of a transfer on, so that two of them never share it.
 */
import { type Chain, createSpends } from '@kedge/chains';
import { assertVaultActive, hexToBytes, KedgeError, type ProjectId, type TransactionId } from '@kedge/core';
import type { Handlers } from '../binding.ts';
import { RequestInvalid } from '../problems.ts';
import {
  assertRoomForPlan,
  deletePlan,
  keepForSigned,
  PLAN_HELD_MS,
  type WalletOwner,
  walletReservations,
} from '../reservations.ts';
import type { Services } from '../services.ts';
import {
  findTransaction,
  type InProject,
  inProject,
  insertTransaction,
  listOpenTransactionsOf,
  listTransactions,
  pageOf,
  supersedeTransactions,
  type TransactionRow,
  type WalletRow,
} from '../store.ts';
import { followTransaction, isOpen, sendTransaction } from '../tracking.ts';
import { intentView, transactionView } from '../views.ts';
import { whoseOf } from './vaults.ts';
import { getWallet } from './wallets.ts';

type Routes = Pick<
  Handlers,
  'createTransfer' | 'deleteTransfer' | 'createTransaction' | 'listTransactions' | 'getTransaction'
>;

const UINT256_MAX = 2n ** 256n - 1n;

export function transactionRoutes(services: Services): Routes {
  const { db, chains, clock } = services;
  const ownedBy = (project: ProjectId, { user_id, id }: WalletRow): WalletOwner => ({ project, user_id, id });

  return {
    async createTransfer({ principal, params, body, resourceId }) {
      const wallet = await getWallet(services, principal, params.wallet_id);
      const chain = chains[wallet.chain];
      const amount = body.amount === 'all' ? ('all' as const) : BigInt(body.amount);
      if (amount !== 'all' && amount > UINT256_MAX)
        throw new RequestInvalid([{ path: 'body.amount', message: 'more than any chain can move' }]);
      const transfer = {
        from: wallet.address,
        to: chain.parseAddress(body.to),
        amount,
        asset: body.asset,
        feeLevel: body.fee_level,
        ...(body.fee_max === undefined ? {} : { feeMax: BigInt(body.fee_max) }),
      };
      const owner = ownedBy(principal.project, wallet);
      const nowMs = () => clock.wallMs();
      // Before a node is asked; the reservation counts again.
      await assertRoomForPlan(inProject(db, owner.project), owner, resourceId, new Date(nowMs()));
      const reservations = walletReservations(db, owner, nowMs);
      const spends = createSpends({ chain, reservations, nowMs, holdMs: PLAN_HELD_MS });
      const unsigned = await spends.plan(resourceId, transfer);
      const held = await reservations.find(chain.network, resourceId);
      return {
        id: resourceId,
        held_until: new Date(held?.heldUntilMs ?? clock.wallMs()).toISOString(),
        unsigned_tx: `0x${Buffer.from(unsigned).toString('hex')}`,
        intent: intentView(chain.decode(unsigned, wallet.address)),
      };
    },

    async deleteTransfer({ principal, params }) {
      const wallet = await getWallet(services, principal, params.wallet_id);
      const owner = ownedBy(principal.project, wallet);
      // Signed bytes may be anywhere by now, so what they use stays theirs.
      if (!(await deletePlan(inProject(db, owner.project), owner, wallet.network, params.transfer_id)))
        throw new KedgeError('not_found');
      return null;
    },

    async createTransaction({ principal, params, body, resourceId }) {
      const { project, user } = principal;
      const wallet = await getWallet(services, principal, params.wallet_id);
      assertVaultActive(wallet.vault_status);
      const chain = chains[wallet.chain];
      const raw = chain.final(hexToBytes(body.raw_tx.slice(2)));
      const intent = chain.decode(raw);
      if (intent.from !== wallet.address)
        throw new KedgeError('transaction_invalid', 'It is not signed by the key of this wallet.');
      const txHash = chain.transactionId(raw);
      const submitted = await services.ledger.write({
        happenings: [{ type: 'transaction.submitted', project, user, data: { wallet: wallet.id, tx_hash: txHash } }],
        next: async (tx) => {
          const row = await insertTransaction(inProject(tx, project), {
            id: resourceId as TransactionId,
            user_id: user,
            wallet_id: wallet.id,
            chain: wallet.chain,
            tx_hash: txHash,
            raw,
            intent: intentView(intent),
            created_at: new Date(clock.wallMs()),
          });
          if (row.id === resourceId) await supersede(inProject(tx, project), chain, row);
          if (isOpen(row.status))
            await keepForSigned(inProject(tx, project), ownedBy(project, wallet), {
              network: chain.network,
              id: row.id,
              account: wallet.address,
              final: raw,
              resources: [...chain.resources(raw)],
            });
          return row;
        },
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

/** More of one wallet wait in no pool. */
const OPEN_MAX = 1_000;

/** Notes on what this one takes the place of, by order of submission and not by anybody's clock, that it does. */
async function supersede(on: InProject, chain: Chain, { id, wallet_id, raw }: TransactionRow): Promise<void> {
  const used = new Set(chain.resources(raw));
  const open = await listOpenTransactionsOf(on, wallet_id, OPEN_MAX);
  const earlier = open.filter(
    (row) => row.id !== id && chain.resources(row.raw).some((resource) => used.has(resource)),
  );
  if (earlier.length > 0)
    await supersedeTransactions(
      on,
      earlier.map((row) => row.id),
      id,
    );
}
