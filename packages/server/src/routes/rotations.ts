/**
 * Rotation of the server key, for operators. `app.ts` binds these. Starting is one act here; the work is that of the job
 * in `jobs/rotation.ts`, which goes on whoever asks. Destroying an old version takes two operators, and the enclave
 * counts them.
 */
import type { ResponseOf } from '@kedge/core';
import type { ServerKeyVersion } from '@kedge/enclave/client';
import type { Handlers } from '../binding.ts';
import { serverKeyHappening } from '../events.ts';
import type { Services } from '../services.ts';
import { acrossProjects, countSecretsByServerKey } from '../store.ts';

type Routes = Pick<Handlers, 'startRotation' | 'getRotation' | 'destroyServerKey'>;

export function rotationRoutes(services: Services): Routes {
  const { enclave } = services;
  return {
    async startRotation({ proof, commit }) {
      const { receipt } = await enclave.startRotation({ proof: proof.text });
      const rotation = await rotationStatus(services);
      return commit({ happenings: [serverKeyHappening(receipt)], next: async () => rotation });
    },

    getRotation: () => rotationStatus(services),

    async destroyServerKey({ params, body, proof, commit }) {
      const { receipt } = await enclave.destroyServerKey({
        version: params.version,
        proofs: [proof.text, body.second_proof],
      });
      const rotation = await rotationStatus(services);
      return commit({ happenings: [serverKeyHappening(receipt)], next: async () => rotation });
    },
  };
}

/** The enclave counts wallets, our database client secrets; `done` of `total` is how many are under the active version. */
export async function rotationStatus({
  db,
  enclave,
}: Pick<Services, 'db' | 'enclave'>): Promise<ResponseOf<'getRotation'>> {
  const { running, versions } = await enclave.rotation();
  const secrets = await countSecretsByServerKey(acrossProjects(db));
  const rows = versions.map(({ version, state, wallets, destroyableInMs }) => ({
    version,
    state,
    client_secrets: secrets.get(version) ?? 0,
    wallets,
    destroyable_in_s: destroyableInMs === null ? null : Math.ceil(destroyableInMs / 1_000),
  }));
  const count = (of: typeof rows) => of.reduce((sum, row) => sum + row.client_secrets + row.wallets, 0);
  return { running, versions: rows, done: count(rows.filter((row) => row.state === 'active')), total: count(rows) };
}

export function activeVersion(versions: readonly Pick<ServerKeyVersion, 'version' | 'state'>[]): number {
  const active = versions.find(({ state }) => state === 'active');
  if (active === undefined) throw new Error('the enclave names no active server key');
  return active.version;
}
