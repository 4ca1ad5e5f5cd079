/**
 * Looking at a database without changing what is in it: does it answer, who holds its lock, does its schema fit this
 * program, does its clock agree with ours. Both processes call it for `kedge doctor`, each on its own database. It
 * never makes a database that isn't there and never migrates one.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, StoreError } from './database.ts';
import { type MigrationPlan, pendingMigrations } from './migrate.ts';
import { openDatabase } from './open.ts';

/** One line of the doctor's. `code` names the check when it is fine, and the finding when it isn't. */
export interface Check {
  readonly code: string;
  readonly ok: boolean;
  readonly detail: string;
}

export interface CheckedDatabase {
  readonly checks: readonly Check[];
  /** Open, and the caller's to close; null when there is nothing that this program could read. */
  readonly db: Database | null;
}

/** A proof is good for 60 s, so clocks that are further apart than this will soon refuse users. */
const CLOCK_OFF_MS_MAX = 10_000;

/** `name`: "primary" or "vault", for the sentences. */
export async function checkDatabase(
  name: string,
  url: string,
  plan: MigrationPlan,
  wallMs: () => number,
): Promise<CheckedDatabase> {
  const fine = (code: string, detail: string): Check => ({ code, ok: true, detail: `${name} database: ${detail}` });
  const bad = (code: string, detail: string): Check => ({ code, ok: false, detail: `${name} database: ${detail}` });
  if (url.startsWith('pglite:') && !existsSync(join(url.slice('pglite:'.length), 'PG_VERSION'))) {
    return { checks: [fine('database', 'not made yet; the first start makes it')], db: null };
  }
  let db: Database;
  try {
    db = await openDatabase(url);
  } catch (error) {
    const locked = error instanceof StoreError && error.code === 'locked';
    return { checks: [bad(locked ? 'database_locked' : 'database_unavailable', sentenceOf(error))], db: null };
  }
  const checks = [fine('database', `answers (${db.engine === 'pglite' ? 'embedded' : 'PostgreSQL'})`)];
  try {
    const apartMs = await clockApartMs(db, wallMs);
    if (Math.abs(apartMs) > CLOCK_OFF_MS_MAX) {
      const s = Math.round(Math.abs(apartMs) / 1000);
      checks.push(bad('clock_jumped', `its clock is ${s} s ${apartMs > 0 ? 'ahead of' : 'behind'} this machine's`));
    }
    const pending = await pendingMigrations(db, plan);
    if (pending.length === 0) return { checks: [...checks, fine('migrations', 'the schema is of this version')], db };
    const names = pending.map(({ version, name: title }) => `${String(version).padStart(4, '0')}-${title}`).join(', ');
    checks.push(
      db.engine === 'pglite'
        ? fine('migrations', `the next start applies ${names}`)
        : bad('migration_pending', `it needs ${names} first`),
    );
  } catch (error) {
    const tooNew = error instanceof StoreError && error.code === 'schema_too_new';
    checks.push(bad(tooNew ? 'schema_too_new' : 'database_unavailable', sentenceOf(error)));
  }
  await db.close();
  return { checks, db: null };
}

/** How far the database's clock is ahead of ours, with the time of the question taken out. */
async function clockApartMs(db: Database, wallMs: () => number): Promise<number> {
  const before = wallMs();
  const [row] = await db.query<{ now: Date }>('select clock_timestamp() as now');
  return row!.now.getTime() - (before + wallMs()) / 2;
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
