/**
 * What routes share when they ask the enclave: a refused proof becomes an event before it becomes an answer, a client
 * secret that a rotation replaced under a running request is read again, and sessions are made in one way. Nothing
 * here judges a proof.
 */
import { type ClientKeyId, KedgeError, newId, type ProjectId, type ResponseOf, type UserId } from '@kedge/core';
import type { Queryable } from '@kedge/store';
import type { CarriedProof } from '../binding.ts';
import type { EventType } from '../events.ts';
import { newToken, SESSION_MS } from '../principal.ts';
import type { Services } from '../services.ts';
import {
  acrossProjects,
  type ClientKeyRow,
  enrollClientKey,
  findProject,
  findUser,
  inProject,
  insertSession,
  type UserRow,
} from '../store.ts';

/** `user` is null while nobody has shown to be an existing user: strangers can't fill a ledger with refusals. */
export interface Asker {
  readonly project: ProjectId;
  readonly user: UserId | null;
}

/** Calls the enclave; a refusal of the proof is written down as `proof.refused`. */
export async function ask<T>(
  services: Services,
  { project, user }: Asker,
  proof: CarriedProof,
  call: () => Promise<T>,
): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof KedgeError && error.code.startsWith('proof_') && user !== null) {
      await tell(services, 'proof.refused', { project, user }, { act: proof.decoded.document.act, code: error.code });
    }
    throw error;
  }
}

/** An event without a change: something was refused. */
export async function tell(
  services: Services,
  type: EventType,
  { project, user }: Asker,
  data: Readonly<Record<string, unknown>>,
): Promise<void> {
  await services.ledger.tell([{ type, project, ...(user === null ? {} : { user }), data }]);
}

/** Calls with the user's sealed client secret; once more with the newest if a rotation replaced it meanwhile. */
export async function withClientSecret<T>(
  services: Services,
  project: ProjectId,
  user: UserId,
  call: (clientSecret: Uint8Array) => Promise<T>,
): Promise<T> {
  try {
    return await call((await getUser(services, project, user)).client_secret);
  } catch (error) {
    if (!(error instanceof KedgeError) || error.code !== 'client_secret_superseded') throw error;
    return call((await getUser(services, project, user)).client_secret);
  }
}

export async function getUser(services: Services, project: ProjectId, id: string): Promise<UserRow> {
  const row = await findUser(inProject(services.db, project), id);
  if (row === null) throw new KedgeError('not_found');
  return row;
}

export async function getProject(services: Services, id: string) {
  const row = await findProject(acrossProjects(services.db), id);
  if (row === null) throw new KedgeError('not_found');
  return row;
}

/** The key that signed the proof, which the enclave has just accepted for this user, as an enrolled one. */
export function enrollProofKey(
  services: Services,
  tx: Queryable,
  { project, user }: { readonly project: ProjectId; readonly user: UserId },
  proof: CarriedProof,
  label: string,
): Promise<ClientKeyRow> {
  const { algorithm, publicKey } = proof.decoded.key;
  return enrollClientKey(inProject(tx, project), user, {
    id: newId<ClientKeyId>(services.clock, services.random),
    algorithm,
    public_key: publicKey,
    label,
    created_at: new Date(services.clock.wallMs()),
  });
}

export async function openSession(
  services: Services,
  tx: Queryable,
  { project, user, clientKey }: { readonly project: ProjectId; readonly user: UserId; readonly clientKey: ClientKeyId },
): Promise<ResponseOf<'createSession'>> {
  const token = newToken(services.random, 'us');
  const now = services.clock.wallMs();
  const session = { user_id: user, used_at: new Date(now), expires_at: new Date(now + SESSION_MS) };
  await insertSession(inProject(tx, project), { ...session, token_hash: token.hash, client_key: clientKey });
  return { token: token.text, user_id: user, expires_at: session.expires_at.toISOString() };
}
