/**
 * Tables as lines of JSON and back, for backups that either engine can read: `{"table":"…","row":{…}}`, rows in the
 * order of their primary keys. Backup and restore call it. Values that JSON lacks are marked `{"$bytes": base64}`,
 * `{"$bigint": digits}`, `{"$date": microseconds included}`; every other type is `{"$text": PostgreSQL's own text form}`,
 * so nothing is rounded. It holds one page of rows in memory, never a table, and it never encrypts: its caller does.
 */
import { assertIdentifier, quoteIdentifier } from './compact.ts';
import { type Database, type Queryable, type SqlValue, StoreError } from './database.ts';

/** A page is about this large; the row count follows from the size of the rows before. */
const pageBytes = 2 ** 20;
const pageRowsMax = 1000;

interface Column {
  readonly name: string;
  readonly type: string;
  readonly keyPosition: number | null;
}

type Marked = { $bytes: string } | { $bigint: string } | { $date: string } | { $text: string };
type DumpValue = string | number | boolean | null | Marked;
type DumpRow = Record<string, DumpValue>;

/** Lines without line ends. Give a `repeatable read` transaction, or pages of different moments are mixed. */
export async function* dumpTables(tx: Queryable, tables: readonly string[]): AsyncGenerator<string> {
  for (const table of tables) {
    const columns = await columnsOf(tx, table);
    let last: DumpRow | undefined;
    let pageRows = 16;
    for (;;) {
      const rows = await readPage(tx, table, columns, last, pageRows);
      let bytes = 0;
      for (const row of rows) {
        const line = JSON.stringify({ table, row });
        bytes += line.length;
        yield line;
      }
      if (rows.length < pageRows) break;
      last = rows.at(-1)!;
      pageRows = Math.max(1, Math.min(pageRowsMax, Math.floor((pageBytes * rows.length) / bytes)));
    }
  }
}

/** Loads what `dumpTables` gave into tables that exist and are empty, all or nothing. Gives the number of rows. */
export async function loadTables(db: Database, lines: AsyncIterable<string> | Iterable<string>): Promise<number> {
  // A source of lines can be read once, so a retried transaction must not find it half empty.
  let started = false;
  return db.transaction(async (tx) => {
    if (started) throw new StoreError('unavailable', 'Loading was interrupted; start again from the first line.');
    started = true;
    const columnsByTable = new Map<string, readonly Column[]>();
    let count = 0;
    let batch: { table: string; rows: DumpRow[]; bytes: number } = { table: '', rows: [], bytes: 0 };
    const flush = async () => {
      if (batch.rows.length > 0) await insertRows(tx, batch.table, columnsByTable.get(batch.table)!, batch.rows);
    };
    for await (const line of lines) {
      const { table, row } = parseLine(line);
      const columns = columnsByTable.get(table) ?? (await emptyTable(tx, table));
      columnsByTable.set(table, columns);
      const isFull = batch.bytes > pageBytes || (batch.rows.length + 1) * columns.length > 10_000; // 65,535 parameters
      if (table !== batch.table || isFull) {
        await flush();
        batch = { table, rows: [], bytes: 0 };
      }
      batch.rows.push(row);
      batch.bytes += line.length;
      count++;
    }
    await flush();
    return count;
  });
}

async function readPage(
  tx: Queryable,
  table: string,
  columns: readonly Column[],
  last: DumpRow | undefined,
  limit: number,
): Promise<DumpRow[]> {
  const key = columns.filter((column) => column.keyPosition !== null).sort((a, b) => a.keyPosition! - b.keyPosition!);
  if (key.length === 0) throw new StoreError('invalid', `The table "${table}" has no primary key.`);
  const names = key.map((column) => `t.${quoteIdentifier(column.name)}`).join(', ');
  const values = key.map((column, index) => `$${index + 1}::${column.type}`).join(', ');
  const rows = await tx.query<Record<string, SqlValue>>(
    `select ${columns.map(selectedAs).join(', ')} from ${quoteIdentifier(table)} t
     ${last ? `where (${names}) > (${values})` : ''} order by ${names} limit ${limit}`,
    last ? key.map((column) => unmark(last[column.name]!)) : [],
  );
  return rows.map((row) => Object.fromEntries(columns.map((column) => [column.name, mark(column, row[column.name]!)])));
}

/** Types that JSON or a marker can hold exactly. */
const plainTypes: ReadonlySet<string> = new Set(['boolean', 'bytea', 'bigint', 'smallint', 'integer', 'text', 'uuid']);

function selectedAs({ name, type }: Column): string {
  const column = quoteIdentifier(name);
  if (type === 'timestamp with time zone') {
    return `to_char(t.${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as ${column}`;
  }
  return plainTypes.has(type) ? `t.${column}` : `t.${column}::text as ${column}`;
}

function mark({ type }: Column, value: SqlValue): DumpValue {
  if (value === null) return null;
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64') };
  if (typeof value === 'bigint') return { $bigint: String(value) };
  if (type === 'timestamp with time zone') return { $date: value as string };
  if (!plainTypes.has(type)) return { $text: value as string };
  return value as string | number | boolean;
}

function unmark(value: DumpValue): SqlValue {
  if (value === null || typeof value !== 'object') return value;
  if ('$bytes' in value) return Buffer.from(value.$bytes, 'base64');
  if ('$bigint' in value) return BigInt(value.$bigint);
  return '$date' in value ? value.$date : value.$text;
}

async function insertRows(
  tx: Queryable,
  table: string,
  columns: readonly Column[],
  rows: readonly DumpRow[],
): Promise<void> {
  const params: SqlValue[] = [];
  const tuples = rows.map((row) => {
    for (const name of Object.keys(row)) {
      if (!columns.some((column) => column.name === name)) {
        throw new StoreError('invalid', `The table "${table}" has no column "${name}".`);
      }
    }
    return `(${columns.map((column) => `$${params.push(unmark(row[column.name] ?? null))}::${column.type}`).join(', ')})`;
  });
  const names = columns.map((column) => quoteIdentifier(column.name)).join(', ');
  await tx.query(
    `insert into ${quoteIdentifier(table)} (${names}) overriding system value values ${tuples.join(', ')}`,
    params,
  );
}

async function emptyTable(tx: Queryable, table: string): Promise<readonly Column[]> {
  const columns = await columnsOf(tx, table);
  const rows = await tx.query(`select 1 from ${quoteIdentifier(table)} limit 1`);
  if (rows.length > 0) throw new StoreError('invalid', `The table "${table}" is not empty.`);
  return columns;
}

async function columnsOf(tx: Queryable, table: string): Promise<readonly Column[]> {
  assertIdentifier(table);
  const columns = await tx.query<{ name: string; type: string; key_position: number | null }>(
    `select a.attname::text as name, format_type(a.atttypid, null) as type,
            array_position(x.indkey::int2[], a.attnum) as key_position
     from pg_attribute a left join pg_index x on x.indrelid = a.attrelid and x.indisprimary
     where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
     order by a.attnum`,
    [quoteIdentifier(table)],
  );
  if (columns.length === 0) throw new StoreError('invalid', `There is no table "${table}".`);
  return columns.map(({ name, type, key_position }) => ({ name, type, keyPosition: key_position }));
}

function parseLine(line: string): { table: string; row: DumpRow } {
  try {
    const { table, row } = JSON.parse(line);
    if (typeof table === 'string' && typeof row === 'object' && row !== null) return { table, row };
  } catch {
    // said below
  }
  throw new StoreError('invalid', 'A line of the dump is not {"table":…,"row":…}.');
}
