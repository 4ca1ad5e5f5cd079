/**
 * The embedded engine: PostgreSQL compiled to WebAssembly inside our own process, in memory or in a directory.
 * `open.ts` and the tests call it. It adds what PGlite leaves out: real fsync, one writer per directory, checkpoints
 * while running, and failing closed when the disk is full. There is one session, so everything waits in one queue.
 * It never runs a statement on an engine that crashed: the next call reopens the directory, as a restart would.
 * PGlite is pinned; on an upgrade `pglite.test.ts` shows whether fsync and recovery still hold.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { compactTables } from './compact.ts';
import { type Database, type Queryable, type SqlValue, StoreError } from './database.ts';
import { isSqlFailure, toStoreError } from './failure.ts';
import { lockDirectory } from './lock.ts';
import { sizeBytesSql } from './size.ts';
import { type Isolation, type RunStatement, TransactionGuard, withRetries } from './transaction.ts';
import { encodeParameters, parsedTypes, parserOf } from './values.ts';

export interface PgliteOptions {
  /** Absent: in memory, gone with the process. */
  dataDir?: string;
  /** A dump of a data directory to start from instead of an empty database. */
  loadDataDir?: Blob;
}

/** Below this much free space only reads run, so that the log always has room to finish and to recover. */
const reserveBytes = 16 * 2 ** 20;
/** A checkpoint frees log, but writes a little first; failing at that would stop the engine, and reads with it. */
const checkpointBytes = 2 * 2 ** 20;
/** A single-user PostgreSQL never checkpoints or vacuums by itself: log and tables would grow for ever. One segment is 1 MiB. */
const logSegmentsMax = 16;
const callsPerUpkeep = 64;

export async function openPglite(options: PgliteOptions = {}): Promise<Database> {
  if (options.dataDir === undefined) return new PgliteDatabase(await createLite(options), undefined, () => {});
  const dataDir = resolve(options.dataDir);
  mkdirSync(dirname(dataDir), { recursive: true });
  const release = lockDirectory(dataDir);
  try {
    if (!existsSync(join(dataDir, 'PG_VERSION'))) await createDataDir(dataDir, options.loadDataDir);
    return new PgliteDatabase(await openDataDir(dataDir), dataDir, release);
  } catch (error) {
    release();
    throw toStoreError(error);
  }
}

class PgliteDatabase implements Database {
  readonly engine = 'pglite';
  readonly #dataDir: string | undefined;
  readonly #release: () => void;
  readonly #guard = new TransactionGuard();
  #lite: PGlite | undefined;
  #closed = false;
  #queue: Promise<unknown> = Promise.resolve();
  #calls = 0;

  constructor(lite: PGlite, dataDir: string | undefined, release: () => void) {
    this.#lite = lite;
    this.#dataDir = dataDir;
    this.#release = release;
  }

  async query<Row extends object>(sql: string, params: readonly SqlValue[] = []): Promise<Row[]> {
    this.#guard.assertOutside();
    return this.#exclusive(async (run, readOnly) => {
      if (!readOnly) return (await run(sql, params)) as Row[];
      return this.#guard.run('begin read only', run, (tx) => tx.query<Row>(sql, params));
    });
  }

  read<Row extends object>(sql: string, params: readonly SqlValue[]): Promise<Row[]> {
    return this.query(sql, params);
  }

  async transaction<T>(work: (tx: Queryable) => Promise<T>, options: { isolation?: Isolation } = {}): Promise<T> {
    this.#guard.assertOutside();
    const begin = `begin isolation level ${options.isolation ?? 'read committed'}`;
    return withRetries(() =>
      this.#exclusive((run, readOnly) => this.#guard.run(readOnly ? `${begin} read only` : begin, run, work)),
    );
  }

  async compact(tables: readonly string[]): Promise<void> {
    this.#guard.assertOutside();
    await this.#exclusive(async (run, readOnly) => {
      if (readOnly) throw new StoreError('full', 'There is too little free space to rewrite tables.');
      await compactTables({ query: run as Queryable['query'] }, tables);
    });
  }

  async sizeBytes(): Promise<number> {
    const [row] = await this.query<{ bytes: bigint }>(sizeBytesSql);
    return Number(row!.bytes);
  }

  async close(): Promise<void> {
    this.#guard.assertOutside();
    if (this.#closed) return;
    this.#closed = true;
    await this.#queue;
    try {
      if (this.#lite) await closeLite(this.#lite);
    } finally {
      this.#lite = undefined;
      this.#release();
    }
  }

  /** Runs `work` alone on the one session; `readOnly` says that free space is short. */
  #exclusive<T>(work: (run: RunStatement, readOnly: boolean) => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new StoreError('unavailable', 'The database is closed.'));
    const result = this.#queue.then(async () => {
      const lite = await this.#liveLite();
      const run: RunStatement = (sql, params) => this.#run(lite, sql, params);
      return work(run, await this.#makeRoom(lite, run));
    });
    this.#queue = result.catch(() => {});
    return result;
  }

  async #run(lite: PGlite, sql: string, params: readonly SqlValue[] = []): Promise<object[]> {
    if (lite !== this.#lite) throw new StoreError('unavailable', 'The database engine stopped in this transaction.');
    const values = encodeParameters(params);
    try {
      if (values.length > 0) return (await lite.query<object>(sql, values)).rows;
      return ((await lite.exec(sql)).at(-1)?.rows as object[] | undefined) ?? [];
    } catch (error) {
      if (hasStopped(error)) {
        this.#lite = undefined;
        abandonLite(lite);
      }
      if (isSqlFailure(error) && error.code === '25006') {
        throw new StoreError('full', 'Free space is short, so nothing can be written.', { cause: error });
      }
      throw toStoreError(error);
    }
  }

  async #liveLite(): Promise<PGlite> {
    if (this.#lite) return this.#lite;
    if (this.#dataDir === undefined) throw new StoreError('unavailable', 'The database in memory has crashed.');
    if (freeBytes(this.#dataDir) < reserveBytes) {
      throw new StoreError('full', 'The engine stopped for want of space, and needs some to recover.');
    }
    this.#lite = await openDataDir(this.#dataDir).catch((error) => {
      throw toStoreError(error); // and the next call tries again
    });
    return this.#lite;
  }

  /** Does what a server's background processes would; gives true if free space is short. */
  async #makeRoom(lite: PGlite, run: RunStatement): Promise<boolean> {
    const free = this.#dataDir === undefined ? Number.POSITIVE_INFINITY : freeBytes(this.#dataDir);
    const short = free < reserveBytes;
    if (!short) {
      if (++this.#calls % callsPerUpkeep !== 0) return false;
      await vacuumWhereDue(run);
    }
    if (logSegments(lite) <= (short ? 2 : logSegmentsMax) || free < checkpointBytes) return short;
    await run('checkpoint');
    return short && freeBytes(this.#dataDir!) < reserveBytes;
  }
}

/** The rule of thumb of PostgreSQL's own autovacuum; row versions that nobody can see make room for new ones. */
async function vacuumWhereDue(run: RunStatement): Promise<void> {
  await run('select pg_stat_force_next_flush()');
  const due = (await run(
    `select format('%I.%I', schemaname, relname) as name from pg_stat_all_tables
     where n_dead_tup > 500 + 0.2 * n_live_tup and schemaname <> 'pg_toast'`,
  )) as { name: string }[];
  for (const { name } of due) await run(`vacuum ${name}`);
}

/** A PANIC or FATAL ends the engine, and so does anything that is not an answer of PostgreSQL. */
function hasStopped(error: unknown): boolean {
  return !isSqlFailure(error) || error.severity === 'PANIC' || error.severity === 'FATAL';
}

/** Makes the directory under another name and moves it in place whole: a kill in between leaves nothing to repair. */
async function createDataDir(dataDir: string, loadDataDir: Blob | undefined): Promise<void> {
  const draft = `${dataDir}.creating`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true, mode: 0o700 });
  const lite = await createLite({ dataDir: draft, ...(loadDataDir && { loadDataDir }) });
  await closeLite(lite);
  syncTree(draft);
  renameSync(draft, dataDir);
  syncPath(dirname(dataDir));
}

async function openDataDir(dataDir: string): Promise<PGlite> {
  const lite = await createLite({ dataDir });
  installFsync(lite);
  syncTree(dataDir); // what recovery wrote before the hook was there
  return lite;
}

async function createLite(options: PgliteOptions): Promise<PGlite> {
  const settings = [
    'fsync=on',
    'wal_sync_method=fsync',
    'wal_recycle=off',
    'shared_buffers=16MB',
    'timezone=UTC',
    'jit=off',
  ];
  const lite = await PGlite.create({
    ...options,
    // '-F' turns fsync off.
    startParams: [
      ...PGlite.defaultStartParams.filter((param) => param !== '-F'),
      ...settings.flatMap((setting) => ['-c', setting]),
    ],
    initDbStartParams: ['--wal-segsize=1'],
  });
  // Our own mapping alone, for every type either side knows.
  for (const type of Object.keys(lite.serializers)) lite.serializers[Number(type)] = String;
  for (const type of [...Object.keys(lite.parsers).map(Number), ...parsedTypes]) lite.parsers[type] = parserOf(type);
  return lite;
}

/** PGlite's file system on Node has no fsync at all: PostgreSQL asks, and nobody does it. */
function installFsync(lite: PGlite): void {
  const nodeFiles = lite.Module.NODEFS as unknown as {
    stream_ops: { fsync?: (stream: { nfd?: number; node: unknown }) => number };
    realPath(node: unknown): string;
  };
  nodeFiles.stream_ops.fsync = (stream) => {
    try {
      // A directory is opened without a descriptor, yet a new log segment is only safe when its directory is.
      if (stream.nfd !== undefined) fsyncSync(stream.nfd);
      else syncPath(nodeFiles.realPath(stream.node));
      return 0;
    } catch {
      return 29; // EIO as WASI counts; PostgreSQL stops then, and recovers from the log
    }
  };
}

async function closeLite(lite: PGlite): Promise<void> {
  const files = openFiles(lite);
  await lite.close();
  closeFiles(files);
}

/** Ends a crashed engine without an orderly close: the directory stays as the crash left it. */
function abandonLite(lite: PGlite): void {
  closeFiles(openFiles(lite)); // first, so that nothing more can be written
  try {
    (lite.Module as unknown as { _emscripten_force_exit(status: number): void })._emscripten_force_exit(1);
  } catch {
    // It ends by throwing. Without it, a timer of the dead engine would keep the process alive.
  }
}

type OpenFile = { nfd?: number } | null | undefined;

function openFiles(lite: PGlite): OpenFile[] {
  return (lite.Module.FS as unknown as { streams: OpenFile[] }).streams;
}

/** PGlite leaves its files open when it ends. */
function closeFiles(files: readonly OpenFile[]): void {
  for (const file of files) {
    if (file?.nfd === undefined) continue;
    closeSync(file.nfd);
    delete file.nfd;
  }
}

function syncTree(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) syncTree(path);
    else if (entry.isFile()) syncPath(path);
  }
  syncPath(directory);
}

function syncPath(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

function logSegments(lite: PGlite): number {
  const names = (lite.Module.FS as unknown as { readdir(path: string): string[] }).readdir(
    `${PGlite.paths.PGDATA}/pg_wal`,
  );
  return names.filter((name) => /^[0-9A-F]{24}$/.test(name)).length;
}
