/**
 * Bytes and nothing else: fixed-width integers, comparison in constant time, and the strict reader that every decoder of
 * this package is written with. A reader never allocates more than it was given and ends with `end()`, so that trailing
 * bytes are an error everywhere.
 */
import { MpcError } from './errors.ts';

export const EMPTY = new Uint8Array(0);

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const u8 = (value: number): Uint8Array => Uint8Array.of(value);
export const u16be = (value: number): Uint8Array => Uint8Array.of(value >>> 8, value);
export const u32be = (value: number): Uint8Array => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);

export function u64be(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

/** A length in four bytes, then the bytes: what `Reader.sized` reads. */
export const sized = (bytes: Uint8Array): Uint8Array => concat(u32be(bytes.length), bytes);

/** For values of the same public length, secret or not. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let at = 0; at < a.length; at++) difference |= a[at]! ^ b[at]!;
  return difference === 0;
}

/** Order by bytes, as the lists of the protocols are sorted. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let at = 0; at < Math.min(a.length, b.length); at++) if (a[at] !== b[at]) return a[at]! - b[at]!;
  return a.length - b.length;
}

/** Best effort: JavaScript may have copied them. */
export function wipe(...secrets: readonly (ArrayBufferView | undefined)[]): void {
  for (const secret of secrets) {
    if (secret) new Uint8Array(secret.buffer, secret.byteOffset, secret.byteLength).fill(0);
  }
}

export function toHex(bytes: Uint8Array): string {
  let hex = '';
  for (const byte of bytes) hex += byte.toString(16).padStart(2, '0');
  return hex;
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Big-endian. */
export function toInteger(bytes: Uint8Array): bigint {
  let value = 0n;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  for (; at + 8 <= bytes.length; at += 8) value = (value << 64n) | view.getBigUint64(at);
  for (; at < bytes.length; at++) value = (value << 8n) | BigInt(bytes[at]!);
  return value;
}

/** Big-endian, 32 bytes. */
export function fromInteger(value: bigint): Uint8Array {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  for (let at = 24; at >= 0; at -= 8) {
    view.setBigUint64(at, value & 0xffffffffffffffffn);
    value >>= 64n;
  }
  return bytes;
}

/** Reads a message from the front to its last byte. Throws `bad_encoding` naming the message, without a culprit. */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  /** A view, not a copy. */
  take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw this.malformed('too short');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  u8(): number {
    return this.take(1)[0]!;
  }

  u16(): number {
    const [high, low] = this.take(2);
    return (high! << 8) | low!;
  }

  u32(): number {
    const bytes = this.take(4);
    return ((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0;
  }

  u64(): bigint {
    return toInteger(this.take(8));
  }

  /** A length in four bytes, then as many bytes. */
  sized(max: number): Uint8Array {
    const length = this.u32();
    if (length > max) throw this.malformed('too long');
    return this.take(length);
  }

  rest(): Uint8Array {
    return this.take(this.#bytes.length - this.#at);
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw this.malformed('too long');
  }

  malformed(why: string): MpcError {
    return new MpcError('bad_encoding', `The ${this.#what} is malformed: ${why}.`);
  }
}
