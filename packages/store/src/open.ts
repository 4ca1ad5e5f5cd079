/**
 * Opens the database that a URL names: `pglite:memory`, `pglite:/absolute/path` or `postgres://…`.
 * The two processes call it once each, with the URL from their configuration. It never creates a PostgreSQL database.
 */
import { isAbsolute } from 'node:path';
import { type Database, StoreError } from './database.ts';
import { openPglite } from './pglite.ts';
import { openPostgres } from './postgres.ts';

export async function openDatabase(url: string): Promise<Database> {
  if (url === 'pglite:memory') return openPglite();
  const path = url.startsWith('pglite:') ? url.slice('pglite:'.length) : '';
  if (isAbsolute(path)) return openPglite({ dataDir: path });
  if (/^postgres(ql)?:\/\//.test(url)) return openPostgres({ url });
  // The URL may hold a password, so it is not repeated here.
  throw new StoreError('invalid', 'A database is named by pglite:memory, pglite:/absolute/path or postgres://….');
}
