/**
 * The ledger, for operators and auditors. `app.ts` binds these. Events come as the very text that was hashed, with the
 * head that the enclave signed, so that whoever reads can check them offline with core's `verifyLedger`.
 */
import { bytesToHex, KedgeError, toBase64Url } from '@kedge/core';
import type { Handlers } from '../binding.ts';
import { enclaveIdentity, publicKeyOf } from '../identity.ts';
import type { Services } from '../services.ts';
import { acrossProjects, findHead } from '../store.ts';

type Routes = Pick<Handlers, 'listLedgerEvents' | 'getLedgerHead'>;

export function ledgerRoutes({ db, enclave, ledger }: Services): Routes {
  return {
    async listLedgerEvents({ query }) {
      const events = await ledger.sequencer.read(query);
      return { data: events.map(({ seq, body, hash }) => ({ seq, body, hash: bytesToHex(hash) })) };
    },

    async getLedgerHead() {
      // The newest there can be. A sealed or absent enclave signs none; then the last one stands.
      await ledger.signHeads().catch((error: unknown) => {
        if (!(error instanceof KedgeError)) throw error;
      });
      const head = await findHead(acrossProjects(db));
      if (head === null) throw new KedgeError('not_found', 'No head has been signed yet.');
      return {
        seq: Number(head.seq),
        hash: bytesToHex(head.hash),
        signature: toBase64Url(head.signature),
        identity: bytesToHex(publicKeyOf(await enclaveIdentity(enclave))),
        signed_at: head.signed_at.toISOString(),
      };
    },
  };
}
