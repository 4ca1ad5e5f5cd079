/** Puts both engines through the suite, embedded ones in memory and on disk, and shows that the suite can fail. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { databaseCases, databaseConformance } from './conformance.ts';
import type { Database } from './database.ts';
import { openPglite } from './pglite.ts';
import { openPostgres } from './postgres.ts';
import { temporaryRoot } from './testing/files.ts';
import { emptyDataDir, memoryDatabase, type PostgresServer, startPostgres } from './testing/index.ts';

databaseConformance('PGlite in memory', memoryDatabase);

describe('on disk', () => {
  const directory = mkdtempSync(join(temporaryRoot, 'kedge-store-'));
  let count = 0;
  after(() => rmSync(directory, { recursive: true, force: true }));
  databaseConformance('PGlite in a directory', async () =>
    openPglite({ dataDir: join(directory, String(count++)), loadDataDir: await emptyDataDir() }),
  );
});

describe('on a server', () => {
  let server: PostgresServer;
  before(async () => {
    server = await startPostgres();
  });
  after(() => server.stop());
  databaseConformance('PostgreSQL', async () => openPostgres({ url: await server.url('conformance') }));
});

/** Forgets to roll back, to guard, to map errors, to keep types, to compact, to measure and to close. */
function brokenDatabase(db: Database): Database {
  const query: Database['query'] = async (sql, params) => {
    try {
      const rows = await db.query(sql, params);
      return JSON.parse(JSON.stringify(rows, (_, value) => (typeof value === 'bigint' ? Number(value) : value)));
    } catch (error) {
      throw (error as Error).cause;
    }
  };
  return {
    engine: 'pglite',
    query,
    read: query,
    transaction: (work) => work({ query, read: query }),
    compact: async () => {},
    sizeBytes: async () => 0,
    close: async () => {},
  };
}

test('the suite refuses a broken database in nearly every case', async () => {
  const db = await memoryDatabase();
  const broken = brokenDatabase(db);
  const passed: string[] = [];
  for (const { title, run } of databaseCases) {
    await run(broken, async () => broken).then(
      () => passed.push(title),
      () => {},
    );
  }
  await db.close();
  assert.deepStrictEqual(passed, [
    'query without parameters takes several statements and gives the rows of the last',
    'a transaction that resolves is kept, and gives the result of the work',
  ]);
});
