/**
 * The enclave as everybody may see it, and how two operators unseal it after a restore. `app.ts` binds these. The view
 * answers while the enclave is sealed; it says in words what kind of root the keys have.
 */
import type { ResponseOf } from '@kedge/core';
import type { Handlers } from '../binding.ts';
import { signedView } from '../events.ts';
import type { Services } from '../services.ts';
import { acrossProjects, storeMirror } from '../store.ts';

type Routes = Pick<Handlers, 'getEnclave' | 'acceptRestore'>;

const notices: { readonly [kind in ResponseOf<'getEnclave'>['root_keys']]: string } = {
  software:
    'The root keys are in a file on this machine. Software is not hardware: whoever copies the file and both databases has every key.',
  pkcs11: 'The root keys are in a hardware module behind PKCS#11.',
};

export function enclaveRoutes(services: Services): Routes {
  const { db, enclave, clock } = services;
  return {
    getEnclave: () => enclaveView(services),

    async acceptRestore({ principal, body, proof, commit }) {
      const { receipt } = await enclave.acceptRestore({ proofs: [proof.text, body.second_proof] });
      // The mirror of before would seal the enclave again at its next start.
      await storeMirror(acrossProjects(db), await enclave.mirror(), new Date(clock.wallMs()));
      const view = await enclaveView(services);
      return commit({
        happenings: [{ type: 'enclave.restore_accepted', data: { operator: principal.operator }, receipt }],
        next: async () => view,
      });
    },
  };
}

export async function enclaveView({ enclave }: Pick<Services, 'enclave'>): Promise<ResponseOf<'getEnclave'>> {
  const { sealed, rootKeys, sequence } = await enclave.status();
  return {
    sealed,
    root_keys: rootKeys,
    notice: notices[rootKeys],
    sequence,
    attestation: signedView(await enclave.attestation()),
  };
}
