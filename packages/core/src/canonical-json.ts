/**
 * JSON in the one spelling of RFC 8785 (JCS): members sorted by UTF-16 code units, no spaces, numbers and strings as
 * ECMAScript writes them. The enclave signs documents of this form, so that anybody can rebuild the signed bytes from
 * the values. It only writes; whoever checks a signature does so over the bytes that came.
 */

/** Throws `RangeError` for what JSON can't hold: a lone surrogate, NaN, an infinity. Members that are undefined are left out. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    members.sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${members.map(([name, member]) => `${canonicalJson(name)}:${canonicalJson(member)}`).join(',')}}`;
  }
  if (typeof value === 'string' && /\p{Surrogate}/u.test(value)) throw new RangeError('a text that is no Unicode');
  if (typeof value === 'number' && !Number.isFinite(value)) throw new RangeError('a number that JSON lacks');
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new RangeError('a value that JSON lacks');
  return text;
}
