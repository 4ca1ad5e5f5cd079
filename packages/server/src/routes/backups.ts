/**
 * Backups, for operators. `app.ts` binds this. The gateway writes its dump first and the enclave its own after it, over
 * which it signs one manifest: so an account in the dump is always in the enclave's part. The operator's proof is
 * judged by the enclave; until it agreed, the folder holds nothing that has a manifest. A rotation may be under way, for
 * ever if a row is damaged: what the backup holds under an old server key is counted.
 */
import type { Handlers } from '../binding.ts';
import { writePrimaryDump } from '../dump.ts';
import { signedView } from '../events.ts';
import { bytesAt } from '../problems.ts';
import type { Services } from '../services.ts';
import { acrossProjects, insertBackup } from '../store.ts';
import { rotationStatus } from './rotations.ts';

type Routes = Pick<Handlers, 'createBackup'>;

export function backupRoutes(services: Services): Routes {
  const { db, enclave, clock, options } = services;
  return {
    async createBackup({ principal, body, proof, resourceId, commit }) {
      const { versions } = await rotationStatus(services);
      const old = versions.filter(({ state }) => state !== 'active');
      const left = {
        client_secrets: old.reduce((sum, version) => sum + version.client_secrets, 0),
        wallets: old.reduce((sum, version) => sum + version.wallets, 0),
      };
      await services.ledger.chain(); // so that the dump ends with chained events
      const madeAt = new Date(clock.wallMs());
      const name = backupName(madeAt, resourceId);
      const primary = await writePrimaryDump(db, options.backups, name);
      const sealedPassphrase =
        body.sealed_passphrase === null ? null : bytesAt('body.sealed_passphrase', body.sealed_passphrase);
      const { manifest, receipt } = await enclave.backUp({ proof: proof.text, name, primary, sealedPassphrase });
      return commit({
        happenings: [
          {
            type: 'backup.created',
            data: { operator: principal.operator, name, users: primary.users, under_old_server_key: left },
            receipt,
          },
        ],
        next: async (tx) => {
          await insertBackup(acrossProjects(tx), { name, made_at: madeAt, ...manifest });
          return { name, folder: options.backups, manifest: signedView(manifest), under_old_server_key: left };
        },
      });
    },
  };
}

/** Sorts by time; the end of the id keeps two of one second apart. */
function backupName(at: Date, id: string): string {
  return `${at.toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}-${id.slice(-12)}`;
}
