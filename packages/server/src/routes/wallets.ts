/**
 * Wallets. `app.ts` binds these. The enclave makes, keeps and opens the key; what passes here is its public half, and
 * an answer sealed to the one-time key of the caller's proof. An export is an opening after which wallet and vault are
 * marked exported for ever.
 */
import { assertVaultActive, hexToBytes, KedgeError, toBase64Url, type WalletId } from '@kedge/core';
import type { CarriedProof, Handlers } from '../binding.ts';
import { signedView } from '../events.ts';
import type { PrincipalOf } from '../principal.ts';
import { bytesAt, RequestInvalid } from '../problems.ts';
import type { Services } from '../services.ts';
import { findWallet, inProject, insertWallet, listWallets, markExported, pageOf, type WalletRow } from '../store.ts';
import { walletView } from '../views.ts';
import { ask, tell, withClientSecret } from './asking.ts';
import { getVault, whoseOf } from './vaults.ts';

type Routes = Pick<
  Handlers,
  'createWallet' | 'listWallets' | 'getWallet' | 'getBalance' | 'openWallet' | 'exportWallet'
>;

export function walletRoutes(services: Services): Routes {
  const { db, enclave, chains, clock } = services;

  /** Asks the enclave; a refusal for other reasons than the proof is an event as well. */
  const open = async (principal: PrincipalOf<'user'>, wallet: WalletRow, proof: CarriedProof) => {
    const { project, user } = principal;
    try {
      return await ask(services, principal, proof, () =>
        withClientSecret(services, project, user, (clientSecret) =>
          enclave.openWallet({ project, user, wallet: wallet.id, clientSecret, proof: proof.text }),
        ),
      );
    } catch (error) {
      if (error instanceof KedgeError) {
        services.metrics.openRefusals.inc({ code: error.code });
        if (isAboutTheWallet(error))
          await tell(services, 'wallet.open_refused', principal, { wallet: wallet.id, code: error.code });
      }
      throw error;
    }
  };

  return {
    async createWallet({ principal, params, body, proof, resourceId, commit }) {
      const { project, user } = principal;
      const vault = await getVault(services, principal, params.vault_id);
      assertVaultActive(vault.status);
      const chain = chains[body.chain];
      const given = body.second_wrap && {
        publicKey: secp256k1Key(body.second_wrap.public_key),
        sealedKey: bytesAt('body.second_wrap.sealed_key', body.second_wrap.sealed_key),
      };
      if (given) addressOf(chain, given.publicKey); // before a wallet exists that has no address
      const wallet = resourceId as WalletId;
      const { publicKey, receipt } = await ask(services, principal, proof, () =>
        withClientSecret(services, project, user, (clientSecret) =>
          enclave.createWallet({
            project,
            user,
            proof: proof.text,
            vault: vault.id,
            wallet,
            curve: chain.curve,
            clientSecret,
            sealedKey: given?.sealedKey ?? null,
            publicKey: given?.publicKey ?? null,
          }),
        ),
      );
      const row: WalletRow = {
        id: wallet,
        user_id: user,
        vault_id: vault.id,
        scheme: vault.scheme,
        vault_status: vault.status,
        chain: body.chain,
        network: chain.network,
        public_key: publicKey,
        address: addressOf(chain, publicKey),
        second_wrap: given !== null,
        exported_at: null,
        created_at: new Date(clock.wallMs()),
      };
      return commit({
        happenings: [
          {
            type: 'wallet.created',
            project,
            user,
            data: { vault: vault.id, wallet, chain: row.chain, address: row.address, second_wrap: row.second_wrap },
            receipt,
          },
        ],
        next: async (tx) => {
          await insertWallet(inProject(tx, project), row);
          return { wallet: walletView(row), receipt: signedView(receipt) };
        },
      });
    },

    async listWallets({ principal, params, query }) {
      const vault = await getVault(services, principal, params.vault_id);
      return pageOf(
        query,
        (before, limit) => listWallets(inProject(db, principal.project), vault.id, before, limit),
        walletView,
      );
    },

    getWallet: async ({ principal, params }) => walletView(await getWallet(services, principal, params.wallet_id)),

    async getBalance({ principal, params, query }) {
      const wallet = await getWallet(services, principal, params.wallet_id);
      const { confirmed, unconfirmed } = await chains[wallet.chain].balance(wallet.address, query.asset);
      return { amount: String(confirmed), unconfirmed: String(unconfirmed), asset: query.asset };
    },

    async openWallet({ principal, params, proof }) {
      const { project, user } = principal;
      const wallet = await getWallet(services, principal, params.wallet_id);
      assertVaultActive(wallet.vault_status);
      const { answer, receipt } = await open(principal, wallet, proof);
      await services.ledger.tell([{ type: 'wallet.opened', project, user, data: { wallet: wallet.id }, receipt }]);
      return { answer: toBase64Url(answer), receipt: signedView(receipt) };
    },

    async exportWallet({ principal, params, proof, commit }) {
      const { project, user } = principal;
      const wallet = await getWallet(services, principal, params.wallet_id);
      assertVaultActive(wallet.vault_status);
      const { answer, receipt } = await open(principal, wallet, proof);
      // Marked before the answer leaves: a key that may be out is never shown as one that isn't.
      return commit({
        happenings: [
          { type: 'wallet.exported', project, user, data: { vault: wallet.vault_id, wallet: wallet.id }, receipt },
        ],
        next: async (tx) => {
          await markExported(inProject(tx, project), wallet, new Date(clock.wallMs()));
          return { answer: toBase64Url(answer), receipt: signedView(receipt) };
        },
      });
    },
  };
}

export async function getWallet(
  services: Services,
  principal: PrincipalOf<'user' | 'secret_key'>,
  id: string,
): Promise<WalletRow> {
  const row = await findWallet(inProject(services.db, principal.project), whoseOf(principal), id);
  if (row === null) throw new KedgeError('not_found');
  return row;
}

/** Refusals that an operator must see; a service that is away is none. */
function isAboutTheWallet({ code }: KedgeError): boolean {
  return code === 'sealed_data_invalid' || code === 'open_limited' || code === 'open_breaker';
}

function secp256k1Key(hex: string): Uint8Array {
  const key = hexToBytes(hex);
  if (key.length !== 33) throw noPublicKey();
  return key;
}

function addressOf(chain: Services['chains']['evm'], publicKey: Uint8Array): string {
  try {
    return chain.address(chain.account(publicKey));
  } catch {
    throw noPublicKey();
  }
}

function noPublicKey(): RequestInvalid {
  return new RequestInvalid([
    { path: 'body.second_wrap.public_key', message: 'not a compressed public key of the curve' },
  ]);
}
