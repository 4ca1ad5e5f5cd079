/**
 * Numbered SQL migrations, each applied once and in its own transaction. Both processes call it at start, each on its
 * own database with its own folder of files; in production they only ask `pendingMigrations` and an operator migrates.
 * Two processes may start at once: an advisory lock makes the second wait and find the work done.
 * It never goes back: an older program meeting a newer schema is told which version to install.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { type Database, type Queryable, StoreError } from './database.ts';

export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

export interface MigrationPlan {
  readonly migrations: readonly Migration[];
  /** The version of the program; recorded with what it applies, for the message to an older one. */
  readonly appVersion: string;
}

interface AppliedMigration {
  readonly version: number;
  readonly name: string;
  readonly hash: string;
  readonly app_version: string;
}

const lockNumber = 5_330_001n; // any number that is ours alone; the sequencer has the next

/** Applies what is missing, in order, and gives what it applied. */
export async function migrate(db: Database, plan: MigrationPlan): Promise<Migration[]> {
  const migrations = inOrder(plan.migrations);
  const applied: Migration[] = [];
  for (;;) {
    const done = await db.transaction((tx) => applyNext(tx, migrations, plan.appVersion));
    if (!done) return applied;
    applied.push(done);
  }
}

/** What `migrate` would apply. Changes nothing, and throws like `migrate` on a schema it may not touch. */
export async function pendingMigrations(db: Database, plan: MigrationPlan): Promise<Migration[]> {
  return missing(inOrder(plan.migrations), await appliedMigrations(db));
}

/** For production starts: throws `StoreError('migration_pending')` if the schema is behind this program. */
export async function assertMigrated(db: Database, plan: MigrationPlan): Promise<void> {
  const pending = await pendingMigrations(db, plan);
  if (pending.length === 0) return;
  const names = pending.map(fileName).join(', ');
  throw new StoreError('migration_pending', `The database needs ${pending.length} migration(s) first: ${names}.`);
}

/** Reads `0001-name.sql`, `0002-name.sql`, … from a folder. Other files in it are refused, so none is forgotten. */
export async function readMigrations(directory: URL): Promise<Migration[]> {
  const base = directory.href.endsWith('/') ? directory : new URL(`${directory.href}/`);
  const names = (await readdir(base)).sort();
  return inOrder(
    await Promise.all(
      names.map(async (file) => {
        const [, version, name] = /^(\d{4})-([a-z0-9-]+)\.sql$/.exec(file) ?? [];
        if (!version || !name) throw new StoreError('invalid', `"${file}" is not named like 0001-name.sql.`);
        return { version: Number(version), name, sql: await readFile(new URL(file, base), 'utf8') };
      }),
    ),
  );
}

async function applyNext(
  tx: Queryable,
  migrations: readonly Migration[],
  appVersion: string,
): Promise<Migration | null> {
  await tx.query('select pg_advisory_xact_lock($1)', [lockNumber]);
  await tx.query(`create table if not exists schema_migrations (
    version integer primary key,
    name text not null,
    hash text not null,
    app_version text not null,
    applied_at timestamptz not null default now()
  )`);
  const [next] = missing(migrations, await appliedMigrations(tx));
  if (!next) return null;
  await tx.query(next.sql);
  await tx.query('insert into schema_migrations (version, name, hash, app_version) values ($1, $2, $3, $4)', [
    next.version,
    next.name,
    hashOf(next),
    appVersion,
  ]);
  return next;
}

/** Compares what is there with what this program knows, and refuses what it may not touch. */
function missing(migrations: readonly Migration[], applied: readonly AppliedMigration[]): Migration[] {
  const known = new Map(migrations.map((migration) => [migration.version, migration]));
  if (applied.some((row) => !known.has(row.version))) {
    const newest = applied.map((row) => row.app_version).reduce(laterVersion);
    throw new StoreError(
      'schema_too_new',
      `The database was migrated by a newer version of this program. Install version ${newest} or later.`,
    );
  }
  for (const row of applied) {
    const migration = known.get(row.version)!;
    if (row.hash !== hashOf(migration)) {
      throw new StoreError('invalid', `The migration ${fileName(migration)} was changed after it had been applied.`);
    }
  }
  const done = new Set(applied.map((row) => row.version));
  return migrations.filter((migration) => !done.has(migration.version));
}

async function appliedMigrations(queryable: Queryable): Promise<AppliedMigration[]> {
  const [table] = await queryable.query<{ found: boolean }>(
    `select to_regclass('schema_migrations') is not null as found`,
  );
  if (!table?.found) return [];
  return queryable.query<AppliedMigration>(
    'select version, name, hash, app_version from schema_migrations order by version',
  );
}

/** Sorted, and gapless from 1: a gap is a file that someone forgot to add. */
function inOrder(migrations: readonly Migration[]): Migration[] {
  const sorted = [...migrations].sort((a, b) => a.version - b.version);
  for (const [index, migration] of sorted.entries()) {
    if (migration.version !== index + 1) {
      throw new StoreError('invalid', `Migration ${index + 1} is missing or twice there, at ${fileName(migration)}.`);
    }
  }
  return sorted;
}

function fileName({ version, name }: Migration): string {
  return `${String(version).padStart(4, '0')}-${name}`;
}

function hashOf(migration: Migration): string {
  return createHash('sha256').update(migration.sql).digest('hex');
}

/** The later of two versions like `1.10.0`, compared by number in each place. */
function laterVersion(a: string, b: string): string {
  const [left, right] = [a, b].map((version) => version.split(/[.+-]/).map(Number)) as [number[], number[]];
  for (let place = 0; place < Math.max(left.length, right.length); place++) {
    const difference = (left[place] || 0) - (right[place] || 0);
    if (difference !== 0) return difference > 0 ? a : b;
  }
  return a;
}
