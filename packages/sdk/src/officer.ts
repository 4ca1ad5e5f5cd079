/**
 * An officer's part in the release of a cold key: what comes out of their age file is sealed to the enclave for one
 * recovery. The share is in the clear for a moment on the officer's own machine; the service that carries it can't open it.
 */
import { encodeCbor, sealTo, utf8ToBytes } from '@kedge/core';
import { Decrypter } from 'age-encryption';

/**
 * `file`: the officer's, of `GET /v1/recoveries/{id}/cold_files`. `identity`: `AGE-SECRET-KEY-1…`, as the officer keeps it.
 * `sealingKey`: from an attestation that was checked; the enclave makes a new one at each start.
 * Gives null for a file that is another officer's.
 */
export async function sealThaw(
  file: Uint8Array,
  identity: string,
  {
    project,
    recovery,
    sealingKey,
  }: { readonly project: string; readonly recovery: string; readonly sealingKey: Uint8Array },
): Promise<Uint8Array | null> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  let share: Uint8Array;
  try {
    share = await decrypter.decrypt(file);
  } catch {
    return null;
  }
  try {
    return await sealTo(sealingKey, share, utf8ToBytes('kedge/thaw/v1'), encodeCbor({ project, recovery }));
  } finally {
    share.fill(0);
  }
}
