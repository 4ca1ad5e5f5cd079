/**
 * An empty database in memory for a test, in a fraction of the time a first one takes. Tests of every package call it.
 * The first call on a machine makes a template and keeps it in the folder for caches, later ones load it.
 * Data never touches the disk, only the empty template does.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { PGlite } from '@electric-sql/pglite';
import type { Database } from '../database.ts';
import { openPglite } from '../pglite.ts';

/** An engine that lives for seconds isn't worth compiling a second time, for speed. */
setFlagsFromString('--liftoff-only');

let template: Promise<Blob> | undefined;

/** Close it: PGlite holds a timer that keeps the process alive. */
export async function memoryDatabase(): Promise<Database> {
  return openPglite({ loadDataDir: await emptyDataDir() });
}

/** The dump of an empty data directory, for `openPglite({ dataDir, loadDataDir })`. */
export function emptyDataDir(): Promise<Blob> {
  template ??= loadTemplate();
  return template;
}

async function loadTemplate(): Promise<Blob> {
  const version = pgliteVersion();
  const cache = new URL('../../node_modules/.cache/kedge/', import.meta.url);
  const file = new URL(`pglite-${version}-empty-2.tar`, cache);
  const found = await readFile(file).catch(() => undefined);
  if (found) return new Blob([new Uint8Array(found)]);
  const made = await makeTemplate();
  await mkdir(cache, { recursive: true });
  const draft = new URL(`${file.href}.${process.pid}`);
  await writeFile(draft, new Uint8Array(await made.arrayBuffer()));
  await rename(draft, file); // whole or not at all: other processes look for it, too
  return made;
}

async function makeTemplate(): Promise<Blob> {
  const lite = await PGlite.create({
    initDbStartParams: ['--wal-segsize=1'],
    startParams: [...PGlite.defaultStartParams, '-c', 'wal_recycle=off'],
  });
  // Loading takes as long as the template is large: without the two spare databases and old log it is half.
  await lite.exec('update pg_database set datistemplate = false');
  await lite.exec('drop database template0');
  await lite.exec('drop database template1');
  await lite.exec('select pg_switch_wal()');
  await lite.exec('checkpoint');
  const dump = await lite.dumpDataDir('none');
  await lite.close();
  return dump;
}

function pgliteVersion(): string {
  const main = createRequire(import.meta.url).resolve('@electric-sql/pglite');
  const { version } = createRequire(main)('../package.json') as { version: string };
  return version;
}
