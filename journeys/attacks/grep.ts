/**
 * The thief who greps: looks for a secret in every file of a folder, in every spelling that a program gives to bytes.
 * Compressed files are opened. It looks at bytes alone and knows nothing of formats.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { gunzipSync } from 'node:zlib';

export interface Marker {
  readonly name: string;
  /** Text is looked for as its bytes in UTF-8, and in UTF-16. */
  readonly secret: Uint8Array | string;
}

interface Needle {
  readonly name: string;
  readonly form: string;
  readonly bytes: Buffer;
}

/** `name of the secret (form) in the place`, each once. */
export function grepFolder(folder: string, markers: readonly Marker[]): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const find = compile(markers);
  return entries.flatMap((entry) => {
    const path = join(entry.path, entry.name);
    const raw = readFileSync(path);
    const opened = raw[0] === 0x1f && raw[1] === 0x8b ? [gunzipSync(raw)] : [];
    return [raw, ...opened].flatMap((bytes) => find(bytes).map((hit) => `${hit} in ${relative(folder, path)}`));
  });
}

export function grepText(place: string, text: string, markers: readonly Marker[]): string[] {
  return compile(markers)(Buffer.from(text)).map((hit) => `${hit} in ${place}`);
}

/** One pass over the haystack for all needles: two bytes say whether any of them can begin here. */
function compile(markers: readonly Marker[]): (haystack: Buffer) => string[] {
  const byStart = new Map<number, Needle[]>();
  for (const needle of markers.flatMap(spellings)) {
    const start = needle.bytes.readUInt16BE(0);
    byStart.set(start, [...(byStart.get(start) ?? []), needle]);
  }
  const starts = new Uint8Array(65_536);
  for (const start of byStart.keys()) starts[start] = 1;
  return (haystack) => {
    const hits = new Set<string>();
    for (let at = 0, pair = haystack[0] ?? 0; at + 1 < haystack.length; at++) {
      pair = ((pair << 8) | haystack[at + 1]!) & 0xffff;
      if (starts[pair] === 0) continue;
      for (const { name, form, bytes } of byStart.get(pair)!) {
        if (haystack.compare(bytes, 0, bytes.length, at, Math.min(at + bytes.length, haystack.length)) === 0)
          hits.add(`${name} (${form})`);
      }
    }
    return [...hits];
  };
}

function spellings({ name, secret }: Marker): Needle[] {
  const bytes = Buffer.from(secret as Uint8Array);
  const text = typeof secret === 'string' ? secret : null;
  const hex = bytes.toString('hex');
  const forms: Record<string, Buffer> = {
    raw: bytes,
    reversed: Buffer.from(bytes).reverse(),
    hex: Buffer.from(hex),
    'upper-case hex': Buffer.from(hex.toUpperCase()),
    'reversed hex': Buffer.from(hex).reverse(),
    'hex in UTF-16': Buffer.from(hex, 'utf16le'),
    ...(text === null
      ? {}
      : { 'UTF-16': Buffer.from(text, 'utf16le'), 'in a URL': Buffer.from(encodeURIComponent(text)) }),
  };
  // In base64 the same bytes have three spellings, by what stands before them; the edges mix with the neighbours.
  for (const before of [0, 1, 2]) {
    const encoded = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    const inner = encoded.slice(Math.ceil((before * 4) / 3), Math.floor(((before + bytes.length) * 4) / 3));
    forms[`base64 +${before}`] = Buffer.from(inner);
    forms[`base64url +${before}`] = Buffer.from(inner.replaceAll('+', '-').replaceAll('/', '_'));
    forms[`base64 in UTF-16 +${before}`] = Buffer.from(inner, 'utf16le');
  }
  return Object.entries(forms).map(([form, spelled]) => ({ name, form, bytes: spelled }));
}
