/**
 * Backups, for operators. `app.ts` binds this. The gateway writes its dump first and the enclave its own after it, over
 * which it signs one manifest: so an account in the dump is always in the enclave's part. The operator's proof is
 * judged by the enclave; until it agreed, the folder holds nothing that has a manifest.
 */
import { KedgeError } from '@kedge/core';
import type { Handlers } from '../binding.ts';
import { writePrimaryDump } from '../dump.ts';
import { signedView } from '../events.ts';
import { bytesAt } from '../problems.ts';
import type { Services } from '../services.ts';
import { acrossProjects, insertBackup } from '../store.ts';

type Routes = Pick<Handlers, 'createBackup'>;

export function backupRoutes(services: Services): Routes {
  const { db, enclave, clock, options } = services;
  return {
    async createBackup({ principal, body, proof, resourceId, commit }) {
      if ((await enclave.rotation()).running) throw new KedgeError('backup_blocked');
      await services.ledger.chain(); // so that the dump ends with chained events
      const madeAt = new Date(clock.wallMs());
      const name = backupName(madeAt, resourceId);
      const primary = await writePrimaryDump(db, options.backups, name);
      const sealedPassphrase =
        body.sealed_passphrase === null ? null : bytesAt('body.sealed_passphrase', body.sealed_passphrase);
      const { manifest, receipt } = await enclave.backUp({ proof: proof.text, name, primary, sealedPassphrase });
      return commit({
        happenings: [
          { type: 'backup.created', data: { operator: principal.operator, name, users: primary.users }, receipt },
        ],
        next: async (tx) => {
          await insertBackup(acrossProjects(tx), { name, made_at: madeAt, ...manifest });
          return { name, folder: options.backups, manifest: signedView(manifest) };
        },
      });
    },
  };
}

/** Sorts by time; the end of the id keeps two of one second apart. */
function backupName(at: Date, id: string): string {
  return `${at.toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}-${id.slice(-12)}`;
}
