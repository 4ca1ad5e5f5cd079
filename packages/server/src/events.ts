/**
 * What goes into the ledger: the types of the gateway's events and how a happening becomes the JSON text that is stored
 * and hashed. Routes and jobs describe a happening; `eventOf` adds id and time. An event holds ids and facts that a
 * stranger may read: never a secret, never an e-mail address, never a text that a caller chose.
 */
import { createHash } from 'node:crypto';
import {
  type Clock,
  type EventId,
  type LedgerEvent,
  newId,
  type ProjectId,
  type RandomBytes,
  type RecoveryStatus,
  toBase64Url,
} from '@kedge/core';
import type { Signed } from '@kedge/enclave/client';
import type { NewEvent } from '@kedge/store';

export type EventType =
  | 'project.created'
  | 'api_key.created'
  | 'api_key.revoked'
  | 'web_token.created'
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
  | 'backup_key.created'
  | 'backup_key.verified'
  | 'backup_key.xpub_registered'
  | 'backup_key.answer_refused'
  | 'key_backup.stored'
  | 'key_backup.verified'
  | 'approver_list.created'
  | 'approver_list.bound'
  | 'approver_list.change_requested'
  | 'approver_list.change_opened'
  | 'approver_list.change_voted'
  | 'approver_list.change_applied'
  | 'approver_list.change_declined'
  | `recovery.${RecoveryStatus}`
  | 'recovery.voted'
  | 'recovery.alerted'
  | 'recovery.reminder'
  | 'recovery.final_warning'
  | 'recovery.thaw_stored'
  | 'drill.started'
  | 'drill.scheduled'
  | 'drill.overdue'
  | 'drill.certificate_issued'
  | 'transaction.submitted'
  | 'transaction.broadcast'
  | 'transaction.included'
  | 'transaction.confirmed'
  | 'transaction.failed'
  | 'transaction.replaced'
  | 'transaction.expired'
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
  /** Id and time come from this instead of chance and clock: written again, it is the same event. */
  readonly origin?: { readonly id: EventId; readonly at: string };
}

export function eventOf(clock: Clock, random: RandomBytes, happening: Happening): NewEvent {
  const { type, project = null, user = null, data = {}, receipt } = happening;
  const { id, at } = happening.origin ?? {
    id: newId<EventId>(clock, random),
    at: new Date(clock.wallMs()).toISOString(),
  };
  const event: LedgerEvent = {
    id,
    type,
    at,
    project,
    user,
    data,
    ...(receipt ? { receipt: signedView(receipt) } : {}),
  };
  return { id: event.id, body: JSON.stringify(event) };
}

interface ServerKeyReceipt {
  readonly act: 'rotate' | 'finish_rotation' | 'destroy_server_key';
  readonly at: string;
  readonly version: number;
  /** Null when the schedule started a rotation. */
  readonly operator?: string | null;
  readonly operators?: readonly string[];
}

/**
 * What the enclave did with versions of the server key, from its receipt alone: so whoever has the receipt may tell of
 * it, the route that asked or the job that finds out after a crash, and the ledger holds it once.
 */
export function serverKeyHappening(receipt: Signed): Happening {
  const said = JSON.parse(new TextDecoder().decode(receipt.document)) as ServerKeyReceipt;
  const hash = createHash('sha256').update(receipt.document).digest();
  const id = newId<EventId>(
    { wallMs: () => Date.parse(said.at) },
    (length) => new Uint8Array(hash.subarray(0, length)),
  );
  const { version } = said;
  const origin = { id, at: said.at };
  switch (said.act) {
    case 'rotate':
      return { type: 'rotation.started', data: { operator: said.operator, version }, receipt, origin };
    case 'finish_rotation':
      return { type: 'rotation.finished', data: { version }, receipt, origin };
    case 'destroy_server_key':
      return { type: 'server_key.destroyed', data: { operators: said.operators, version }, receipt, origin };
  }
}

/** A signed document of the enclave as it crosses HTTP and as it stands in an event. */
export function signedView({ document, signature }: Signed): { document: string; signature: string } {
  return { document: toBase64Url(document), signature: toBase64Url(signature) };
}
