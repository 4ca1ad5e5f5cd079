/**
 * Reading and writing the bytes of Bitcoin's wire format: little-endian numbers and compact sizes. A reader never goes
 * past its end and takes only the shortest spelling of a size, so that one thing has one form. Used by `transaction.ts`
 * and `psbt.ts`; what is wrong surfaces as `RangeError`, which they turn into the caller's words.
 */

export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** A view of the next bytes, not a copy. */
  bytes(length: number): Uint8Array {
    if (length > this.left) throw new RangeError('it ends too early');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  u8(): number {
    return this.bytes(1)[0]!;
  }

  u32(): number {
    this.bytes(4);
    return this.#view.getUint32(this.#at - 4, true);
  }

  u64(): bigint {
    this.bytes(8);
    return this.#view.getBigUint64(this.#at - 8, true);
  }

  /** At most `max`, which must fit what is left: no length promises more than there is. */
  size(max = this.left): number {
    const first = this.u8();
    if (first < 0xfd) return this.#atMost(first, max);
    const length = first === 0xfd ? 2 : first === 0xfe ? 4 : 8;
    let value = 0n;
    this.bytes(length).forEach((byte, i) => {
      value |= BigInt(byte) << BigInt(8 * i);
    });
    if (value < (length === 2 ? 0xfdn : length === 4 ? 0x10000n : 0x100000000n))
      throw new RangeError('a size is spelled too long');
    if (value > BigInt(max)) throw new RangeError('it promises more than it holds');
    return Number(value);
  }

  /** Length and bytes. */
  prefixed(): Uint8Array {
    const length = this.size();
    return this.bytes(length);
  }

  end(): void {
    if (this.left > 0) throw new RangeError(`${this.left} bytes follow its end`);
  }

  #atMost(value: number, max: number): number {
    if (value > max) throw new RangeError('it promises more than it holds');
    return value;
  }
}

/** Writes into one buffer that doubles when it is full. */
export class Writer {
  #bytes = new Uint8Array(128);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  bytes(bytes: Uint8Array): this {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  u8(value: number): this {
    const at = this.#grow(1); // may replace the view
    this.#view.setUint8(at, value);
    return this;
  }

  u32(value: number): this {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
    return this;
  }

  u64(value: bigint): this {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, value, true);
    return this;
  }

  /** Below 2^32. */
  size(value: number): this {
    if (value < 0xfd) return this.u8(value);
    if (value > 0xffff) return this.u8(0xfe).u32(value);
    return this.u8(0xfd)
      .u8(value & 0xff)
      .u8(value >> 8);
  }

  prefixed(bytes: Uint8Array): this {
    return this.size(bytes.length).bytes(bytes);
  }

  done(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** Makes room for so many bytes, and gives the place at which they begin. */
  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}

/** Bytes a compact size takes. */
export function sizeLength(value: number): number {
  return value < 0xfd ? 1 : value <= 0xffff ? 3 : 5;
}
