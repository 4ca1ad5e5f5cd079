/**
 * Canonical bytes: deterministically encoded CBOR (RFC 8949 §4.2.1). What people sign with their devices and what runs
 * between gateway and enclave is encoded here and nowhere else, so that one value has one spelling.
 */
import { decode, encode, rfc8949EncodeOptions } from 'cborg';
import { equalBytes } from './bytes.ts';

export type CborValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly CborValue[]
  | { readonly [key: string]: CborValue };

/** Throws `RangeError` for a number that is no safe integer. */
export function encodeCbor(value: CborValue): Uint8Array {
  return encode(value, options);
}

const options = {
  ...rfc8949EncodeOptions,
  typeEncoders: {
    number(value: number) {
      if (!Number.isSafeInteger(value)) throw new RangeError('only whole numbers have one spelling');
      return null; // as usual
    },
  },
};

/** Strict: refuses another spelling of the same value, duplicate keys, floats, undefined and trailing bytes. Throws. */
export function decodeCbor(bytes: Uint8Array): CborValue {
  const value = decode(bytes, {
    strict: true,
    rejectDuplicateMapKeys: true,
    allowUndefined: false,
    allowIndefinite: false,
    allowInfinity: false,
    allowNaN: false,
    allowBigInt: false,
  }) as CborValue;
  if (!equalBytes(encodeCbor(value), bytes)) throw new RangeError('not deterministically encoded');
  return value;
}
