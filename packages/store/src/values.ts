/**
 * How values cross between JavaScript and SQL, once for both engines: parameters go as PostgreSQL's text form and
 * results come back from it, so no driver's own habits show. `pglite.ts` and `postgres.ts` call it for every statement.
 * A type without a line in `parsers` stays the string PostgreSQL printed (numeric, for one: money is never a float).
 * It never guesses from a value's content, only from its type.
 */
import { type SqlValue, StoreError } from './database.ts';

/** The text forms of parameters. Arrays become SQL arrays; wrap one in an object to store it as jsonb. */
export function encodeParameters(params: readonly SqlValue[]): (string | null)[] {
  try {
    return params.map(encodeParameter);
  } catch (cause) {
    throw new StoreError('invalid', 'A parameter has no text form: an invalid date, or an object that is not JSON.', {
      cause,
    });
  }
}

function encodeParameter(value: SqlValue | undefined): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return value;
  if (value instanceof Uint8Array) return `\\x${bytesView(value).toString('hex')}`;
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return `{${value.map(encodeElement).join(',')}}`;
  if (typeof value === 'object') return JSON.stringify(value);
  return String(value);
}

function encodeElement(value: SqlValue): string {
  if (Array.isArray(value)) return encodeParameter(value) ?? 'NULL';
  const text = encodeParameter(value);
  return text === null ? 'NULL' : `"${text.replace(/["\\]/g, '\\$&')}"`;
}

type Parse = (text: string) => unknown;

/** The type numbers are fixed for ever by PostgreSQL's `pg_type.dat`. Second of each pair: its array type. */
const scalars: readonly (readonly [type: number, array: number, parse: Parse])[] = [
  [16, 1000, (text) => text === 't'], // bool
  [17, 1001, decodeBytes], // bytea
  [20, 1016, BigInt], // int8
  [21, 1005, Number], // int2
  [23, 1007, Number], // int4
  [25, 1009, String], // text
  [26, 1028, Number], // oid
  [114, 199, JSON.parse], // json
  [700, 1021, Number], // float4
  [701, 1022, Number], // float8
  [1043, 1015, String], // varchar
  [1184, 1185, decodeTime], // timestamptz
  [2950, 2951, String], // uuid
  [3802, 3807, JSON.parse], // jsonb
];

const parsers: ReadonlyMap<number, Parse> = new Map(
  scalars.flatMap(([type, array, parse]): [number, Parse][] => [
    [type, parse],
    [array, (text) => decodeArray(text, parse)],
  ]),
);

/** The parser of a result column of this type. */
export function parserOf(type: number): Parse {
  return parsers.get(type) ?? String;
}

/** Every type that has a parser of its own. */
export const parsedTypes: readonly number[] = [...parsers.keys()];

function decodeBytes(text: string): Uint8Array {
  // A plain Uint8Array on memory of its own: a Buffer would compare and serialise differently, and share its pool.
  return new Uint8Array(Buffer.from(text.slice(2), 'hex'));
}

function decodeTime(text: string): Date {
  // '2026-01-02 03:04:05.678901+00' to what Date understands: milliseconds, and minutes in the offset.
  return new Date(
    text
      .replace(' ', 'T')
      .replace(/(\.\d{3})\d+/, '$1')
      .replace(/([+-]\d\d)$/, '$1:00'),
  );
}

/** One-dimensional and nested arrays alike: `{a,"b \"c\"",NULL,{d}}`. */
function decodeArray(text: string, parse: Parse): unknown[] {
  const stack: unknown[][] = [[]];
  const token = /[{}]|"((?:[^"\\]|\\.)*)"|[^,{}"]+/g;
  // An array with odd bounds is printed as `[0:1]={a,b}`.
  for (const [whole, quoted] of text.slice(text.indexOf('{')).matchAll(token)) {
    const top = stack.at(-1)!;
    if (whole === '{') {
      const inner: unknown[] = [];
      top.push(inner);
      stack.push(inner);
    } else if (whole === '}') stack.pop();
    else if (quoted !== undefined) top.push(parse(quoted.replace(/\\(.)/g, '$1')));
    else top.push(whole === 'NULL' ? null : parse(whole));
  }
  return stack[0]![0] as unknown[];
}

function bytesView(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
