/**
 * Rows as they cross HTTP: one function per noun of the API, called by routes and by nobody else. Each gives exactly
 * what core's schema names. A view is a fact about a row; it asks nobody and decides nothing.
 */

import type { Intent } from '@kedge/chains';
import { bytesToHex, type ResponseOf, schemeOf } from '@kedge/core';
import type { BackupKeyRow, KeyBackupRow } from './backup-key-store.ts';
import type {
  ApiKeyRow,
  ClientKeyRow,
  IntentRow,
  ProjectRow,
  TransactionRow,
  UserRow,
  VaultRow,
  WalletRow,
} from './store.ts';

type ItemOf<T extends { data: unknown[] }> = T['data'][number];

const timeView = (at: Date): string => at.toISOString();
const maybeTimeView = (at: Date | null): string | null => at && timeView(at);

export function projectView({ id, name, environment, created_at }: ProjectRow): ResponseOf<'createProject'> {
  return { id, name, environment, created_at: timeView(created_at) };
}

export function apiKeyView({
  id,
  kind,
  label,
  hint,
  scopes,
  created_at,
  revoked_at,
}: ApiKeyRow): ItemOf<ResponseOf<'listApiKeys'>> {
  return {
    id,
    kind,
    label,
    hint,
    scopes: scopes && [...scopes],
    created_at: timeView(created_at),
    revoked_at: maybeTimeView(revoked_at),
  };
}

export function userView({ id, email, external_id, created_at }: UserRow): ResponseOf<'getUser'> {
  return { id, email, external_id, created_at: timeView(created_at) };
}

export function clientKeyView({
  id,
  algorithm,
  public_key,
  label,
  created_at,
  revoked_at,
}: ClientKeyRow): ItemOf<ResponseOf<'listClientKeys'>> {
  return {
    id,
    algorithm,
    public_key: bytesToHex(public_key),
    label,
    created_at: timeView(created_at),
    revoked_at: maybeTimeView(revoked_at),
  };
}

export function vaultView({
  id,
  user_id,
  scheme,
  label,
  status,
  exported_at,
  created_at,
}: VaultRow): ResponseOf<'getVault'> {
  return { id, user_id, scheme, label, status, exported: exported_at !== null, created_at: timeView(created_at) };
}

export function walletView(row: WalletRow): ResponseOf<'getWallet'> {
  const { id, vault_id, scheme, chain, network, address, public_key, second_wrap, exported_at, created_at } = row;
  return {
    id,
    vault_id,
    chain,
    network,
    address,
    public_key: bytesToHex(public_key),
    second_wrap,
    custody: schemeOf(scheme).custody({ secondWrap: second_wrap }),
    exported_at: maybeTimeView(exported_at),
    created_at: timeView(created_at),
  };
}

export function intentView({ chain, network, from, outputs, allowances, feeMax, warnings }: Intent): IntentRow {
  return {
    chain,
    network,
    from,
    outputs: outputs.map(({ to, amount, asset, change }) => ({ to, amount: String(amount), asset, change })),
    allowances: allowances.map(({ spender, amount, asset }) => ({ spender, amount: String(amount), asset })),
    fee_max: feeMax === null ? null : String(feeMax),
    warnings: [...warnings],
  };
}

export function transactionView(row: TransactionRow): ResponseOf<'getTransaction'> {
  const { id, wallet_id, chain, tx_hash, raw, status, confirmations, receipt, intent, created_at } = row;
  return {
    id,
    wallet_id,
    chain,
    tx_hash,
    raw_tx: `0x${bytesToHex(raw)}`,
    status,
    confirmations,
    receipt,
    intent,
    created_at: timeView(created_at),
  };
}

export function backupKeyView(row: BackupKeyRow): ResponseOf<'getBackupKey'> {
  const { id, user_identifier, key_type, key_environment, public_key, customer_id, package_id, xpub } = row;
  return {
    key_id: id,
    user_identifier,
    key_type,
    key_environment,
    public_key: bytesToHex(public_key),
    customer_id,
    package_id,
    xpub,
    ...checkView(row),
    created_at: timeView(row.created_at),
  };
}

export function keyBackupView(row: KeyBackupRow): ItemOf<ResponseOf<'listKeyBackups'>> {
  const { id, backup_type, key_id, checksum, size, created_at } = row;
  return {
    backup_id: id,
    backup_type,
    key_id,
    checksum: checksum && bytesToHex(checksum),
    data_size: size,
    ...checkView(row),
    created_at: timeView(created_at),
  };
}

function checkView({ outcome, checked_at, proven_at }: Pick<KeyBackupRow, 'outcome' | 'checked_at' | 'proven_at'>) {
  return { outcome, checked_at: maybeTimeView(checked_at), last_proven_at: maybeTimeView(proven_at) };
}
