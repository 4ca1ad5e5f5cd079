/**
 * The gateway's part of a backup: its tables as gzipped lines in `<backups>/<name>/primary.jsonl.gz`, and back into an
 * empty database. The route for backups and the verbs `dump` and `restore` of `main.ts` call it. What is short-lived is
 * left out, so that no session, lease or stored answer comes back to life on a restored server.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { type Database, dumpTables, loadTables, type Queryable } from '@kedge/store';

/**
 * In the order of their foreign keys. Not here: sessions, operator_sessions, idempotency, jobs; recovery_links, thaws and
 * mails, as a restored enclave cancels what was open; and reservations, which a
 * restored gateway doesn't need: it sends its open transactions again, and the node then counts their nonces.
 */
const dumpedTables = [
  'projects',
  'api_keys',
  'users',
  'client_keys',
  'vaults',
  'wallets',
  'transactions',
  'approver_lists',
  'approvers',
  'list_changes',
  'backup_keys',
  'key_backups',
  'key_backup_parts',
  'rehearsals',
  'recoveries',
  'recovery_transactions',
  'recovery_votes',
  'drills',
  'events',
  'heads',
  'mirrors',
  'backups',
] as const;

export const PRIMARY_DUMP = 'primary.jsonl.gz';

export interface PrimaryDump {
  readonly sha256: Uint8Array;
  readonly users: number;
  /** The versions of the server key that its client secrets are under. */
  readonly serverKeys: readonly number[];
}

/** One consistent cut. Never overwrites. Durable when it resolves. */
export async function writePrimaryDump(db: Database, backups: string, name: string): Promise<PrimaryDump> {
  const folder = join(backups, name);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, PRIMARY_DUMP);
  const handle = await open(path, 'wx', 0o600);
  const hash = createHash('sha256');
  const content = await db.transaction(
    async (tx) => {
      const gzip = createGzip();
      gzip.on('data', (chunk: Buffer) => hash.update(chunk));
      await pipeline(Readable.from(linesOf(tx)), gzip, createWriteStream(path, { fd: handle.fd, autoClose: false }));
      const rows = await tx.query<{ server_key: number; count: number }>(
        'select server_key, count(*)::int as count from users group by server_key order by server_key',
      );
      return {
        users: rows.reduce((sum, { count }) => sum + count, 0),
        serverKeys: rows.map(({ server_key }) => server_key),
      };
    },
    { isolation: 'repeatable read' },
  );
  await handle.sync();
  await handle.close();
  return { sha256: new Uint8Array(hash.digest()), ...content };
}

async function* linesOf(tx: Queryable): AsyncGenerator<string> {
  for await (const line of dumpTables(tx, dumpedTables)) yield `${line}\n`;
}

/** Into a migrated, empty database; all or nothing. Gives the number of rows. */
export async function loadPrimaryDump(db: Database, path: string): Promise<number> {
  return loadTables(db, linesIn(path));
}

/** As they are asked for. Not `readline`: it lets go of the lines that come before somebody iterates, and a `begin` may be slower than a disk. */
async function* linesIn(path: string): AsyncGenerator<string> {
  const gunzip = createGunzip();
  createReadStream(path)
    .on('error', (error) => gunzip.destroy(error))
    .pipe(gunzip);
  const decoder = new TextDecoder();
  let begun = '';
  for await (const chunk of gunzip) {
    const lines = (begun + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n');
    begun = lines.pop()!;
    yield* lines;
  }
  if (begun !== '') yield begun;
}
