/**
 * Bit vectors of the OT extension as 32-bit words. Bit j of a vector is bit (j mod 8) of byte ⌊j/8⌋ on the wire and bit
 * (j mod 32) of word ⌊j/32⌋ here, whatever the byte order of the machine. All of it works on secrets: no branch and no
 * index depends on a bit's value.
 */

/** All ones when bit `at` is set, else 0. */
export function maskOf(words: Int32Array, at: number): number {
  return -((words[at >>> 5]! >>> (at & 31)) & 1) | 0;
}

/** Low byte first; the length is a multiple of 4. */
export function toWords(bytes: Uint8Array): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const words = new Int32Array(bytes.length >>> 2);
  for (let k = 0; k < words.length; k++) words[k] = view.getInt32(4 * k, true);
  return words;
}

export function fromWords(words: Int32Array): Uint8Array {
  const bytes = new Uint8Array(4 * words.length);
  const view = new DataView(bytes.buffer);
  for (let k = 0; k < words.length; k++) view.setInt32(4 * k, words[k]!, true);
  return bytes;
}

/**
 * Columns to rows: bit i of row j is bit j of column i. `columns` holds `count` vectors of `width` words each, one after
 * the other; the first `rows` bits of each are wanted. Both `count` and `rows` are multiples of 32.
 */
export function transpose(columns: Int32Array, count: number, width: number, rows: number): Int32Array {
  const across = count >>> 5;
  const result = new Int32Array(rows * across);
  const block = new Int32Array(32);
  for (let down = 0; down < rows >>> 5; down++) {
    for (let right = 0; right < across; right++) {
      for (let k = 0; k < 32; k++) block[k] = columns[(32 * right + k) * width + down]!;
      transposeBlock(block);
      for (let k = 0; k < 32; k++) result[(32 * down + k) * across + right] = block[k]!;
    }
  }
  block.fill(0);
  return result;
}

/** In place, by swapping the off-diagonal quarters of ever smaller squares: 16×16, 8×8, down to single bits. */
function transposeBlock(block: Int32Array): void {
  let mask = 0x0000ffff;
  for (let size = 16; size !== 0; size >>>= 1, mask ^= mask << size) {
    for (let k = 0; k < 32; k = ((k | size) + 1) & ~size) {
      const swapped = ((block[k]! >>> size) ^ block[k | size]!) & mask;
      block[k] = block[k]! ^ (swapped << size);
      block[k | size] = block[k | size]! ^ swapped;
    }
  }
}
