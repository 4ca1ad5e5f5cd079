/** The three forms of a database URL; the third is used by `postgres.test.ts`. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase } from './open.ts';
import { openPglite } from './pglite.ts';
import { temporaryDirectory } from './testing/files.ts';
import { emptyDataDir } from './testing/index.ts';

test('a pglite: URL opens the directory it names', async (t) => {
  const dataDir = join(temporaryDirectory(t), 'deep', 'db');
  const made = await openPglite({ dataDir, loadDataDir: await emptyDataDir() });
  await made.query('create table here (id integer)');
  await made.close();
  const db = await openDatabase(`pglite:${dataDir}`);
  assert.deepStrictEqual(await db.query('select * from here'), []);
  await db.close();
});

test('another URL is refused without repeating it, for it may hold a password', async () => {
  for (const url of ['', 'pglite:', 'pglite:relative/path', 'mysql://root:hunter2@db', '/var/lib/db']) {
    await assert.rejects(openDatabase(url), (error: { code?: string; message: string }) => {
      return error.code === 'invalid' && !error.message.includes('hunter2');
    });
  }
});
