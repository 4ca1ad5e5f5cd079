/**
 * Every query of the gateway on the primary database: small functions, one statement each. Those on a project's rows
 * take an `InProject`, whose `query` accepts no SQL that doesn't name the project, so a forgotten scope doesn't compile;
 * the few that look across projects take `AcrossProjects` and are called by sign-in, operators and jobs alone.
 * Functions that change state are called inside a commit, with its transaction; bookkeeping that is no fact about a
 * customer (session use, idempotency, leases, heads, mirrors) is written directly.
 */
import type {
  ApiKeyId,
  ClientKeyId,
  ProjectId,
  Scope,
  TransactionId,
  UserId,
  VaultId,
  VaultStatus,
  WalletId,
} from '@kedge/core';
import { fromBase64Url, toBase64Url } from '@kedge/core';
import type { Queryable, SqlValue } from '@kedge/store';
import { RequestInvalid } from './problems.ts';

/** SQL that names its project: in a condition, or as the first column of an insert. `$1` is always the project. */
type ScopedSql = `${string}project = $1${string}` | `insert into ${string} (project, ${string}`;

/** The rows of one project, and of nobody else. */
export interface InProject {
  readonly project: ProjectId;
  /** Runs one statement; `params` are `$2…`. */
  query<Row extends object>(sql: ScopedSql, params?: readonly SqlValue[]): Promise<Row[]>;
  /** The same for a lookup by a key. */
  read<Row extends object>(sql: ScopedSql, params: readonly SqlValue[]): Promise<Row[]>;
}

export function inProject(on: Queryable, project: ProjectId): InProject {
  return {
    project,
    query: (sql, params = []) => on.query(sql, [project, ...params]),
    read: (sql, params) => on.read(sql, [project, ...params]),
  };
}

/** All projects at once. Made where somebody may look at all of them, and nowhere else. */
export interface AcrossProjects {
  readonly across: 'projects';
  query<Row extends object>(sql: string, params?: readonly SqlValue[]): Promise<Row[]>;
  /** The same for a lookup by a key. */
  read<Row extends object>(sql: string, params: readonly SqlValue[]): Promise<Row[]>;
}

export function acrossProjects(on: Queryable): AcrossProjects {
  return {
    across: 'projects',
    query: (sql, params) => on.query(sql, params),
    read: (sql, params) => on.read(sql, params),
  };
}

/** Whose rows inside the project: one user's, or everybody's (null). */
export type Whose = UserId | null;

// ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface Page {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

export interface PageOf<T> {
  readonly data: T[];
  readonly next_cursor: string | null;
}

/** Newest first. Asks for one row more than the page holds, to know whether there is a next one. */
export async function pageOf<Row extends { readonly id: string }, View>(
  { limit, cursor }: Page,
  list: (before: string | null, limit: number) => Promise<Row[]>,
  view: (row: Row) => View,
): Promise<PageOf<View>> {
  const rows = await list(cursor === undefined ? null : idOfCursor(cursor), limit + 1);
  const shown = rows.slice(0, limit);
  return { data: shown.map(view), next_cursor: rows.length > limit ? cursorOf(shown.at(-1)!.id) : null };
}

function cursorOf(id: string): string {
  return toBase64Url(Buffer.from(id.replaceAll('-', ''), 'hex'));
}

function idOfCursor(cursor: string): string {
  try {
    const bytes = fromBase64Url(cursor);
    if (bytes.length !== 16) throw new RangeError('not an id');
    return Buffer.from(bytes).toString('hex');
  } catch {
    throw new RequestInvalid([{ path: 'query.cursor', message: 'not a cursor that this list gave' }]);
  }
}

// ── projects and their keys ──────────────────────────────────────────────────────────────────────────────────────

export interface ProjectRow {
  readonly id: ProjectId;
  readonly name: string;
  readonly environment: 'sandbox' | 'production';
  readonly created_at: Date;
}

export interface ApiKeyRow {
  readonly id: ApiKeyId;
  readonly project: ProjectId;
  readonly kind: 'secret' | 'publishable';
  readonly label: string;
  readonly hint: string;
  /** Of a secret key; null: all. */
  readonly scopes: readonly Scope[] | null;
  readonly created_at: Date;
  readonly revoked_at: Date | null;
}

export async function insertProject(on: AcrossProjects, row: ProjectRow): Promise<void> {
  await on.query(
    'insert into projects (id, name, environment, created_at) values ($1, $2, $3, $4) on conflict (id) do nothing',
    [row.id, row.name, row.environment, row.created_at],
  );
}

export async function findProject(on: AcrossProjects, id: string): Promise<ProjectRow | null> {
  const [row] = await on.query<ProjectRow>('select id, name, environment, created_at from projects where id = $1', [
    id,
  ]);
  return row ?? null;
}

export function listProjects(on: AcrossProjects, before: string | null, limit: number): Promise<ProjectRow[]> {
  return on.query(
    `select id, name, environment, created_at from projects
     where $1::uuid is null or id < $1 order by id desc limit $2`,
    [before, limit],
  );
}

const apiKeyColumns = 'id, project, kind, label, hint, scopes, created_at, revoked_at';

export async function insertApiKey(
  on: InProject,
  row: Omit<ApiKeyRow, 'project' | 'revoked_at'> & { readonly hash: Uint8Array },
): Promise<void> {
  await on.query(
    `insert into api_keys (project, id, kind, label, hint, hash, scopes, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [row.id, row.kind, row.label, row.hint, row.hash, row.scopes && [...row.scopes], row.created_at],
  );
}

export function listApiKeys(on: InProject, before: string | null, limit: number): Promise<ApiKeyRow[]> {
  return on.query(
    `select ${apiKeyColumns} from api_keys
     where project = $1 and ($2::uuid is null or id < $2) order by id desc limit $3`,
    [before, limit],
  );
}

/** False when there is no such key, or it was revoked before. */
export async function revokeApiKey(on: InProject, id: string, at: Date): Promise<boolean> {
  const rows = await on.query(
    'update api_keys set revoked_at = $3 where project = $1 and id = $2 and revoked_at is null returning 1',
    [id, at],
  );
  return rows.length > 0;
}

export async function findApiKey(on: AcrossProjects, hash: Uint8Array): Promise<ApiKeyRow | null> {
  const [row] = await on.read<ApiKeyRow>(
    `select ${apiKeyColumns} from api_keys where hash = $1 and revoked_at is null`,
    [hash],
  );
  return row ?? null;
}

export async function findApiKeyById(on: AcrossProjects, id: ApiKeyId): Promise<ApiKeyRow | null> {
  const [row] = await on.read<ApiKeyRow>(`select ${apiKeyColumns} from api_keys where id = $1 and revoked_at is null`, [
    id,
  ]);
  return row ?? null;
}

// ── users, their client keys and sessions ────────────────────────────────────────────────────────────────────────

export interface UserRow {
  readonly id: UserId;
  readonly email: string | null;
  readonly external_id: string | null;
  readonly client_secret: Uint8Array;
  readonly server_key: number;
  readonly created_at: Date;
}

export interface ClientKeyRow {
  readonly id: ClientKeyId;
  readonly algorithm: 'p256' | 'ed25519';
  readonly public_key: Uint8Array;
  readonly label: string;
  readonly created_at: Date;
  readonly revoked_at: Date | null;
}

const userColumns = 'id, email, external_id, client_secret, server_key, created_at';
const clientKeyColumns = 'id, algorithm, public_key, label, created_at, revoked_at';

export async function insertUser(on: InProject, row: UserRow): Promise<void> {
  await on.query(
    `insert into users (project, id, email, external_id, client_secret, server_key, created_at)
     values ($1, $2, $3, $4, $5, $6, $7)`,
    [row.id, row.email, row.external_id, row.client_secret, row.server_key, row.created_at],
  );
}

export async function findUser(on: InProject, id: string): Promise<UserRow | null> {
  const [row] = await on.read<UserRow>(`select ${userColumns} from users where project = $1 and id = $2`, [id]);
  return row ?? null;
}

/** By id or by e-mail, in one statement either way, so that the time tells nothing. */
export async function findUserByAccount(on: InProject, account: string): Promise<UserRow | null> {
  const [row] = await on.query<UserRow>(
    `select ${userColumns} from users where project = $1 and (id::text = $2 or email = $2)`,
    [account],
  );
  return row ?? null;
}

/** Whether an e-mail or an external id is taken. */
export async function findUserByNames(
  on: InProject,
  email: string | null,
  externalId: string | null,
): Promise<UserRow | null> {
  const [row] = await on.query<UserRow>(
    `select ${userColumns} from users where project = $1 and (email = $2 or external_id = $3) limit 1`,
    [email, externalId],
  );
  return row ?? null;
}

export function listUsers(on: InProject, before: string | null, limit: number): Promise<UserRow[]> {
  return on.query(
    `select ${userColumns} from users
     where project = $1 and ($2::uuid is null or id < $2) order by id desc limit $3`,
    [before, limit],
  );
}

/** Adds the key, or takes back its revocation: the enclave has enrolled it, and the enclave is the one who knows. */
export async function enrollClientKey(
  on: InProject,
  user: UserId,
  row: Omit<ClientKeyRow, 'revoked_at'>,
): Promise<ClientKeyRow> {
  const [enrolled] = await on.query<ClientKeyRow>(
    `insert into client_keys (project, user_id, id, algorithm, public_key, label, created_at)
     values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (project, user_id, public_key) do update set revoked_at = null
     returning ${clientKeyColumns}`,
    [user, row.id, row.algorithm, row.public_key, row.label, row.created_at],
  );
  return enrolled!;
}

export async function findClientKey(on: InProject, user: UserId, id: string): Promise<ClientKeyRow | null> {
  const [row] = await on.query<ClientKeyRow>(
    `select ${clientKeyColumns} from client_keys where project = $1 and user_id = $2 and id = $3`,
    [user, id],
  );
  return row ?? null;
}

export function listClientKeys(
  on: InProject,
  user: UserId,
  before: string | null,
  limit: number,
): Promise<ClientKeyRow[]> {
  return on.query(
    `select ${clientKeyColumns} from client_keys
     where project = $1 and user_id = $2 and ($3::uuid is null or id < $3) order by id desc limit $4`,
    [user, before, limit],
  );
}

/** Revokes one key, or all of the user (null). */
export async function revokeClientKeys(on: InProject, user: UserId, id: ClientKeyId | null, at: Date): Promise<void> {
  await on.query(
    `update client_keys set revoked_at = $4
     where project = $1 and user_id = $2 and ($3::uuid is null or id = $3) and revoked_at is null`,
    [user, id, at],
  );
}

export interface SessionRow {
  readonly project: ProjectId;
  readonly user_id: UserId;
  readonly used_at: Date;
  readonly expires_at: Date;
}

export async function insertSession(
  on: InProject,
  row: Omit<SessionRow, 'project'> & { readonly token_hash: Uint8Array; readonly client_key: ClientKeyId },
): Promise<void> {
  await on.query(
    `insert into sessions (project, token_hash, user_id, client_key, created_at, used_at, expires_at)
     values ($1, $2, $3, $4, $5, $5, $6)`,
    [row.token_hash, row.user_id, row.client_key, row.used_at, row.expires_at],
  );
}

export async function findSession(on: AcrossProjects, tokenHash: Uint8Array): Promise<SessionRow | null> {
  const [row] = await on.read<SessionRow>(
    'select project, user_id, used_at, expires_at from sessions where token_hash = $1',
    [tokenHash],
  );
  return row ?? null;
}

export async function touchSession(on: AcrossProjects, tokenHash: Uint8Array, at: Date): Promise<void> {
  await on.query('update sessions set used_at = $2 where token_hash = $1', [tokenHash, at]);
}

export async function deleteSession(on: InProject, tokenHash: Uint8Array): Promise<void> {
  await on.query('delete from sessions where project = $1 and token_hash = $2', [tokenHash]);
}

/** Ends the sessions that one key opened, or all of the user (null). */
export async function deleteSessionsOf(on: InProject, user: UserId, clientKey: ClientKeyId | null): Promise<void> {
  await on.query('delete from sessions where project = $1 and user_id = $2 and ($3::uuid is null or client_key = $3)', [
    user,
    clientKey,
  ]);
}

export interface OperatorSessionRow {
  readonly operator: string;
  readonly used_at: Date;
  readonly expires_at: Date;
}

export async function insertOperatorSession(
  on: AcrossProjects,
  row: OperatorSessionRow & { readonly token_hash: Uint8Array },
): Promise<void> {
  await on.query(
    'insert into operator_sessions (token_hash, operator, created_at, used_at, expires_at) values ($1, $2, $3, $3, $4)',
    [row.token_hash, row.operator, row.used_at, row.expires_at],
  );
}

export async function findOperatorSession(
  on: AcrossProjects,
  tokenHash: Uint8Array,
): Promise<OperatorSessionRow | null> {
  const [row] = await on.read<OperatorSessionRow>(
    'select operator, used_at, expires_at from operator_sessions where token_hash = $1',
    [tokenHash],
  );
  return row ?? null;
}

export async function touchOperatorSession(on: AcrossProjects, tokenHash: Uint8Array, at: Date): Promise<void> {
  await on.query('update operator_sessions set used_at = $2 where token_hash = $1', [tokenHash, at]);
}

export async function deleteOperatorSession(on: AcrossProjects, tokenHash: Uint8Array): Promise<void> {
  await on.query('delete from operator_sessions where token_hash = $1', [tokenHash]);
}

// ── vaults, wallets, transactions ────────────────────────────────────────────────────────────────────────────────

export interface VaultRow {
  readonly id: VaultId;
  readonly user_id: UserId;
  readonly scheme: 'dual-secret';
  readonly label: string;
  readonly status: VaultStatus;
  readonly exported_at: Date | null;
  readonly created_at: Date;
}

const vaultColumns = 'id, user_id, scheme, label, status, exported_at, created_at';

export async function insertVault(on: InProject, row: VaultRow): Promise<void> {
  await on.query(
    `insert into vaults (project, id, user_id, scheme, label, status, created_at)
     values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing`,
    [row.id, row.user_id, row.scheme, row.label, row.status, row.created_at],
  );
}

export async function findVault(on: InProject, whose: Whose, id: string): Promise<VaultRow | null> {
  const [row] = await on.read<VaultRow>(
    `select ${vaultColumns} from vaults
     where project = $1 and ($2::uuid is null or user_id = $2) and id = $3`,
    [whose, id],
  );
  return row ?? null;
}

export function listVaults(on: InProject, whose: Whose, before: string | null, limit: number): Promise<VaultRow[]> {
  return on.query(
    `select ${vaultColumns} from vaults
     where project = $1 and ($2::uuid is null or user_id = $2) and ($3::uuid is null or id < $3) order by id desc limit $4`,
    [whose, before, limit],
  );
}

export interface WalletRow {
  readonly id: WalletId;
  readonly user_id: UserId;
  readonly vault_id: VaultId;
  readonly scheme: 'dual-secret';
  readonly vault_status: VaultStatus;
  readonly chain: 'evm';
  readonly network: string;
  readonly public_key: Uint8Array;
  readonly address: string;
  readonly second_wrap: boolean;
  readonly exported_at: Date | null;
  readonly created_at: Date;
}

const walletQuery = `select w.id, w.user_id, w.vault_id, v.scheme, v.status as vault_status, w.chain, w.network, w.public_key,
  w.address, w.second_wrap, w.exported_at, w.created_at from wallets w join vaults v on v.id = w.vault_id`;

export async function insertWallet(
  on: InProject,
  row: Omit<WalletRow, 'scheme' | 'vault_status' | 'exported_at'>,
): Promise<void> {
  await on.query(
    `insert into wallets (project, id, user_id, vault_id, chain, network, public_key, address, second_wrap, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (id) do nothing`,
    [
      row.id,
      row.user_id,
      row.vault_id,
      row.chain,
      row.network,
      row.public_key,
      row.address,
      row.second_wrap,
      row.created_at,
    ],
  );
}

export async function findWallet(on: InProject, whose: Whose, id: string): Promise<WalletRow | null> {
  const [row] = await on.read<WalletRow>(
    `${walletQuery}
     where w.project = $1 and ($2::uuid is null or w.user_id = $2) and w.id = $3`,
    [whose, id],
  );
  return row ?? null;
}

export function listWallets(on: InProject, vault: VaultId, before: string | null, limit: number): Promise<WalletRow[]> {
  return on.query(
    `${walletQuery}
     where w.project = $1 and w.vault_id = $2 and ($3::uuid is null or w.id < $3) order by w.id desc limit $4`,
    [vault, before, limit],
  );
}

/** The first time stays for ever. */
export async function markExported(on: InProject, wallet: WalletRow, at: Date): Promise<void> {
  await on.query('update wallets set exported_at = coalesce(exported_at, $3) where project = $1 and id = $2', [
    wallet.id,
    at,
  ]);
  await on.query('update vaults set exported_at = coalesce(exported_at, $3) where project = $1 and id = $2', [
    wallet.vault_id,
    at,
  ]);
}

export type TransactionStatus =
  | 'submitted'
  | 'broadcasting'
  | 'confirming'
  | 'completed'
  | 'failed'
  | 'replaced'
  | 'expired';

/** An intent as it crosses HTTP and as it is stored: amounts are decimal strings. */
export interface IntentRow {
  readonly chain: string;
  readonly network: string;
  readonly from: string | null;
  readonly outputs: {
    readonly to: string;
    readonly amount: string;
    readonly asset: string;
    readonly change: boolean;
  }[];
  readonly allowances: { readonly spender: string; readonly amount: string; readonly asset: string }[];
  readonly fee_max: string | null;
  readonly warnings: string[];
}

export interface TransactionRow {
  readonly id: TransactionId;
  readonly project: ProjectId;
  readonly user_id: UserId;
  readonly wallet_id: WalletId;
  readonly chain: 'evm';
  readonly tx_hash: string;
  readonly raw: Uint8Array;
  readonly status: TransactionStatus;
  readonly confirmations: number;
  readonly receipt: Record<string, unknown> | null;
  readonly intent: IntentRow;
  /** The later transaction of the wallet that uses the same nonce or coins. */
  readonly superseded_by: TransactionId | null;
  readonly created_at: Date;
}

const transactionColumns =
  'id, project, user_id, wallet_id, chain, tx_hash, raw, status, confirmations, receipt, intent, superseded_by, created_at';

/** The row of these bytes: the one that was there before, if there was one. */
export async function insertTransaction(
  on: InProject,
  row: Omit<TransactionRow, 'project' | 'status' | 'confirmations' | 'receipt' | 'superseded_by'>,
): Promise<TransactionRow> {
  const [stored] = await on.query<TransactionRow>(
    `insert into transactions (project, id, user_id, wallet_id, chain, tx_hash, raw, status, intent, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, 'submitted', $8, $9)
     on conflict (wallet_id, tx_hash) do update set tx_hash = excluded.tx_hash
     returning ${transactionColumns}`,
    [row.id, row.user_id, row.wallet_id, row.chain, row.tx_hash, row.raw, row.intent, row.created_at],
  );
  return stored!;
}

/** Moves the status on, unless somebody else moved it meanwhile: then null. */
export async function moveTransaction(
  on: InProject,
  from: TransactionRow,
  to: Pick<TransactionRow, 'status' | 'confirmations' | 'receipt'>,
): Promise<TransactionRow | null> {
  const [moved] = await on.query<TransactionRow>(
    `update transactions set status = $4, confirmations = $5, receipt = $6
     where project = $1 and id = $2 and status = $3 returning ${transactionColumns}`,
    [from.id, from.status, to.status, to.confirmations, to.receipt],
  );
  return moved ?? null;
}

export async function findTransaction(on: InProject, whose: Whose, id: string): Promise<TransactionRow | null> {
  const [row] = await on.query<TransactionRow>(
    `select ${transactionColumns} from transactions
     where project = $1 and ($2::uuid is null or user_id = $2) and id = $3`,
    [whose, id],
  );
  return row ?? null;
}

export function listTransactions(
  on: InProject,
  wallet: WalletId,
  before: string | null,
  limit: number,
): Promise<TransactionRow[]> {
  return on.query(
    `select ${transactionColumns} from transactions
     where project = $1 and wallet_id = $2 and ($3::uuid is null or id < $3) order by id desc limit $4`,
    [wallet, before, limit],
  );
}

/** What is not final yet, oldest first, after `after`. */
export function listOpenTransactions(
  on: AcrossProjects,
  after: string | null,
  limit: number,
): Promise<TransactionRow[]> {
  return on.query(
    `select ${transactionColumns} from transactions
     where status in ('submitted', 'broadcasting', 'confirming') and ($1::uuid is null or id > $1) order by id limit $2`,
    [after, limit],
  );
}

/** What of a wallet is not final yet. */
export function listOpenTransactionsOf(on: InProject, wallet: WalletId, limit: number): Promise<TransactionRow[]> {
  return on.query(
    `select ${transactionColumns} from transactions
     where project = $1 and wallet_id = $2 and status in ('submitted', 'broadcasting', 'confirming')
     order by id limit $3`,
    [wallet, limit],
  );
}

export async function supersedeTransactions(on: InProject, ids: readonly string[], by: TransactionId): Promise<void> {
  await on.query('update transactions set superseded_by = $3 where project = $1 and id = any($2::uuid[])', [ids, by]);
}

// ── rotation of the server key ───────────────────────────────────────────────────────────────────────────────────

export interface SealedSecretRow {
  readonly id: UserId;
  readonly project: ProjectId;
  readonly client_secret: Uint8Array;
  readonly server_key: number;
  readonly refused_key: number | null;
}

export function listSecretsToRewrap(
  on: AcrossProjects,
  active: number,
  after: string | null,
  limit: number,
): Promise<SealedSecretRow[]> {
  return on.query(
    `select id, project, client_secret, server_key, refused_key from users
     where server_key <> $1 and ($2::uuid is null or id > $2) order by id limit $3`,
    [active, after, limit],
  );
}

/** Compare and set on the old server key: a row that changed meanwhile is left. Gives how many were replaced. */
export async function replaceSecrets(
  on: AcrossProjects,
  rows: readonly (Pick<SealedSecretRow, 'id' | 'server_key'> & { readonly next: Uint8Array })[],
  active: number,
): Promise<number> {
  const replaced = await on.query(
    `update users set client_secret = decode(given.next, 'hex'), server_key = $4, refused_key = null
     from unnest($1::uuid[], $2::int[], $3::text[]) as given (id, server_key, next)
     where users.id = given.id and users.server_key = given.server_key returning 1`,
    [
      rows.map((row) => row.id),
      rows.map((row) => row.server_key),
      rows.map((row) => Buffer.from(row.next).toString('hex')),
      active,
    ],
  );
  return replaced.length;
}

export async function markSecretsRefused(on: AcrossProjects, users: readonly UserId[], active: number): Promise<void> {
  await on.query('update users set refused_key = $2 where id = any($1::uuid[])', [users, active]);
}

export async function countSecretsByServerKey(on: AcrossProjects): Promise<ReadonlyMap<number, number>> {
  const rows = await on.query<{ server_key: number; count: number }>(
    'select server_key, count(*)::int as count from users group by server_key',
  );
  return new Map(rows.map((row) => [row.server_key, row.count]));
}

// ── ledger heads, mirrors, backups ───────────────────────────────────────────────────────────────────────────────

export interface HeadRow {
  readonly seq: bigint;
  readonly hash: Uint8Array;
  readonly signature: Uint8Array;
  readonly signed_at: Date;
}

export async function insertHead(on: AcrossProjects, row: HeadRow): Promise<void> {
  await on.query(
    `insert into heads (seq, hash, signature, signed_at) values ($1, $2, $3, $4)
     on conflict (seq) do update set signature = excluded.signature, signed_at = excluded.signed_at`,
    [row.seq, row.hash, row.signature, row.signed_at],
  );
}

export async function findHead(on: AcrossProjects): Promise<HeadRow | null> {
  const [row] = await on.query<HeadRow>('select seq, hash, signature, signed_at from heads order by seq desc limit 1');
  return row ?? null;
}

export async function findEventHash(on: AcrossProjects, seq: number): Promise<Uint8Array | null> {
  const [row] = await on.read<{ hash: Uint8Array }>('select hash from events where seq = $1', [seq]);
  return row?.hash ?? null;
}

export interface MirrorRow {
  readonly document: Uint8Array;
  readonly signature: Uint8Array;
}

export async function storeMirror(on: AcrossProjects, mirror: MirrorRow, at: Date): Promise<void> {
  await on.query(
    `insert into mirrors (id, document, signature, stored_at) values (1, $1, $2, $3)
     on conflict (id) do update set document = excluded.document, signature = excluded.signature, stored_at = excluded.stored_at`,
    [mirror.document, mirror.signature, at],
  );
}

export async function findMirror(on: AcrossProjects): Promise<MirrorRow | null> {
  const [row] = await on.query<MirrorRow>('select document, signature from mirrors where id = 1');
  return row ?? null;
}

export async function insertBackup(
  on: AcrossProjects,
  row: MirrorRow & { readonly name: string; readonly made_at: Date },
): Promise<void> {
  await on.query(
    'insert into backups (name, made_at, manifest, signature) values ($1, $2, $3, $4) on conflict (name) do nothing',
    [row.name, row.made_at, row.document, row.signature],
  );
}

export async function findLastBackupAt(on: AcrossProjects): Promise<Date | null> {
  const [row] = await on.query<{ made_at: Date | null }>('select max(made_at) as made_at from backups');
  return row?.made_at ?? null;
}

// ── what has had its time ────────────────────────────────────────────────────────────────────────────────────────

export async function purge(
  on: AcrossProjects,
  { answersBefore, now, idleSince }: { answersBefore: Date; now: Date; idleSince: Date },
): Promise<void> {
  await on.query('delete from idempotency where started_at < $1', [answersBefore]);
  await on.query('delete from sessions where expires_at < $1 or used_at < $2', [now, idleSince]);
  await on.query('delete from operator_sessions where expires_at < $1 or used_at < $2', [now, idleSince]);
  await on.query('delete from reservations where final is null and held_until < $1', [now]);
}
