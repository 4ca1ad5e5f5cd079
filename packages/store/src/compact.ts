/**
 * Which statements rewrite tables so that superseded row versions leave the files and the log. Both engines run them,
 * and differ only in the settings of the log. CLUSTER copies the live rows into a new file; the checkpoint removes the
 * old file; switching the log to a new segment and a second checkpoint let the old segments go, and `wal_recycle = off`
 * deletes those instead of renaming them with the old bytes inside (PGlite: always set; PostgreSQL: the operator's).
 * The planner's statistics hold sample values, so they are made anew too. It never reaches what the file system keeps
 * of deleted files, replicas, or archived log: those need a disk that is encrypted or a key that is destroyed.
 */
import { type Queryable, StoreError } from './database.ts';

export async function compactTables(queryable: Pick<Queryable, 'query'>, tables: readonly string[]): Promise<void> {
  for (const table of tables) assertIdentifier(table);
  for (const table of tables) {
    const name = quoteIdentifier(table);
    const key = await primaryKeyOf(queryable, table);
    await queryable.query(writtenAtOnceSql(name, quoteIdentifier(key.column)));
    await queryable.query(`cluster ${name} using ${quoteIdentifier(key.index)}`);
    await queryable.query(`analyze ${name}`);
  }
  await ifPermitted(() => queryable.query('vacuum (full) pg_catalog.pg_statistic'));
  await ifPermitted(() => queryable.query('select pg_switch_wal()'));
  await ifPermitted(() => queryable.query('checkpoint'));
  // The segment that was current until now holds the old bytes and was needed until that checkpoint.
  await ifPermitted(() => queryable.query('select pg_switch_wal()'));
  await ifPermitted(() => queryable.query('checkpoint'));
}

/** A plain SQL name: what we would write without quotes. Everything else is refused rather than escaped. */
export function assertIdentifier(name: string): void {
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(name)) throw new StoreError('invalid', `"${name}" is not a table name.`);
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/**
 * CLUSTER keeps the number of the transaction that wrote each row, and these numbers are the order of writing. One
 * transaction over all rows (statements sent together are one) leaves one number. It locks the table as CLUSTER will:
 * locks on single rows could deadlock with a writer's.
 */
function writtenAtOnceSql(table: string, column: string): string {
  return `lock table ${table} in access exclusive mode; update ${table} set ${column} = ${column}`;
}

async function primaryKeyOf(
  queryable: Pick<Queryable, 'query'>,
  table: string,
): Promise<{ index: string; column: string }> {
  const [key] = await queryable.query<{ index: string; column: string }>(
    `select i.relname::text as index, a.attname::text as column
     from pg_index x join pg_class i on i.oid = x.indexrelid
     join pg_attribute a on a.attrelid = x.indrelid and a.attnum = x.indkey[0]
     where x.indrelid = to_regclass($1) and x.indisprimary`,
    [quoteIdentifier(table)],
  );
  if (!key) throw new StoreError('invalid', `There is no table "${table}" with a primary key.`);
  return key;
}

async function ifPermitted(run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    const sqlState = (error as { cause?: { code?: string } }).cause?.code;
    if (sqlState !== '42501') throw error; // an ordinary role may not; the server's own checkpoints come later
  }
}
