/**
 * Identifiers. Those of the primary database are UUIDv7 (they sort by time, which helps there); those of the vault
 * database are UUIDv4 and HMACs, because a time in an id would let two stolen dumps be joined.
 * Each kind is a type of its own: a swapped id does not compile.
 */
import { v4, v7 } from 'uuid';
import type { Clock, RandomBytes } from './clock.ts';

declare const brand: unique symbol;
export type Id<Kind extends string> = string & { readonly [brand]: Kind };

export type ProjectId = Id<'project'>;
export type UserId = Id<'user'>;
export type VaultId = Id<'vault'>;
export type WalletId = Id<'wallet'>;
export type TransactionId = Id<'transaction'>;
export type ClientKeyId = Id<'client_key'>;
export type ApiKeyId = Id<'api_key'>;
export type BackupKeyId = Id<'backup_key'>;
export type KeyBackupId = Id<'key_backup'>;
export type ApproverListId = Id<'approver_list'>;
export type ApproverId = Id<'approver'>;
export type ListChangeId = Id<'list_change'>;
export type RecoveryId = Id<'recovery'>;
export type MailId = Id<'mail'>;
export type EventId = Id<'event'>;

/** A new id for the primary database (RFC 9562 UUIDv7). */
export function newId<T extends Id<string>>(clock: Pick<Clock, 'wallMs'>, random: RandomBytes): T {
  return v7({ msecs: clock.wallMs(), random: random(16) }) as T;
}

/** A new id for the vault database (RFC 9562 UUIDv4): it says nothing about when or whose. */
export function newVaultRowId(random: RandomBytes): string {
  return v4({ random: random(16) });
}
