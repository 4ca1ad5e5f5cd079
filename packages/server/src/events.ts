/**
 * What goes into the ledger: the types of the gateway's events and how a happening becomes the JSON text that is stored
 * and hashed. Routes and jobs describe a happening; `eventOf` adds id and time. An event holds ids and facts that a
 * stranger may read: never a secret, never an e-mail address, never a text that a caller chose.
 */
import {
  type Clock,
  type EventId,
  type LedgerEvent,
  newId,
  type ProjectId,
  type RandomBytes,
  toBase64Url,
} from '@kedge/core';
import type { Signed } from '@kedge/enclave/client';
import type { NewEvent } from '@kedge/store';

export type EventType =
  | 'project.created'
  | 'api_key.created'
  | 'api_key.revoked'
  | 'user.signed_up'
  | 'user.recovered'
  | 'user.recovery_refused'
  | 'user.recovery_words_replaced'
  | 'user.client_secret_refused'
  | 'session.created'
  | 'session.ended'
  | 'client_key.enrolled'
  | 'client_key.revoked'
  | 'vault.created'
  | 'wallet.created'
  | 'wallet.opened'
  | 'wallet.open_refused'
  | 'wallet.exported'
  | 'transaction.submitted'
  | 'transaction.broadcast'
  | 'transaction.included'
  | 'transaction.confirmed'
  | 'transaction.failed'
  | 'rotation.started'
  | 'rotation.advanced'
  | 'rotation.finished'
  | 'server_key.destroyed'
  | 'backup.created'
  | 'enclave.restore_accepted'
  | 'proof.refused';

export interface Happening {
  readonly type: EventType;
  readonly project?: ProjectId;
  readonly user?: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly receipt?: Signed;
}

export function eventOf(clock: Clock, random: RandomBytes, happening: Happening): NewEvent {
  const { type, project = null, user = null, data = {}, receipt } = happening;
  const event: LedgerEvent = {
    id: newId<EventId>(clock, random),
    type,
    at: new Date(clock.wallMs()).toISOString(),
    project,
    user,
    data,
    ...(receipt ? { receipt: signedView(receipt) } : {}),
  };
  return { id: event.id, body: JSON.stringify(event) };
}

/** A signed document of the enclave as it crosses HTTP and as it stands in an event. */
export function signedView({ document, signature }: Signed): { document: string; signature: string } {
  return { document: toBase64Url(document), signature: toBase64Url(signature) };
}
