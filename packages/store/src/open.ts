/**
 * Opens the database that a URL names: `pglite:memory`, `pglite:/absolute/path` or `postgres://…`.
 * The two processes call it once each, with the URL from their configuration. It never creates a PostgreSQL database.
 */
import { isAbsolute } from 'node:path';
import { type Database, StoreError } from './database.ts';
import { openPglite } from './pglite.ts';
import { openPostgres } from './postgres.ts';

export interface DatabaseLimits {
  /** How long one statement may run; rewriting tables has no limit. */
  readonly statementMsMax: number;
  /** How long a transaction may wait for its program, holding its locks. */
  readonly idleInTransactionMsMax: number;
}

export const databaseLimits: DatabaseLimits = { statementMsMax: 30_000, idleInTransactionMsMax: 60_000 };

/** Without limits for work that takes as long as it takes, like migrations. The embedded engine has none. */
export async function openDatabase(url: string, limits?: DatabaseLimits): Promise<Database> {
  if (url === 'pglite:memory') return openPglite();
  const path = url.startsWith('pglite:') ? url.slice('pglite:'.length) : '';
  if (isAbsolute(path)) return openPglite({ dataDir: path });
  if (/^postgres(ql)?:\/\//.test(url)) return openPostgres({ url, ...(limits && { limits }) });
  // The URL may hold a password, so it is not repeated here.
  throw new StoreError('invalid', 'A database is named by pglite:memory, pglite:/absolute/path or postgres://….');
}
