/**
 * The file mirror: where the sealed state says, outside the vault database, how far it has come. A database that was
 * rolled back no longer fits its mirror. The file has two slots of fixed size, written in turn and fsynced, so a torn
 * write leaves the one before; each carries a MAC, so a thief of the disk can't write one, and the fence of its writer,
 * so an enclave that was paused while another took over can't overwrite what that one wrote. Whoever rolls back the
 * database and every mirror at once is not noticed: see docs/threat-model.md.
 */
import { closeSync, fdatasyncSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { equalBytes, KedgeError } from '@kedge/core';

export interface MirrorRecord {
  readonly sequence: number;
  readonly root: Uint8Array;
  /** The root before this write: what an intent that was never committed falls back to. */
  readonly previousRoot: Uint8Array;
  /** Written before the database commit; closed before anybody is answered. */
  readonly open: boolean;
}

/** Durable when `write` returns. */
export interface Mirror {
  read(): MirrorRecord | null;
  /** `overFence`: also over the record of a later writer, for a restore that two operators accepted. */
  write(record: MirrorRecord, options?: { readonly overFence?: boolean }): void;
  close(): void;
}

const SLOT = 256;
const BODY = 4 + 8 + 8 + 8 + 1 + 32 + 32;

/**
 * `mac`: keyed, 32 bytes; the enclave passes one derived from its root. `fence`: of the writer lease; not needed to read.
 * `write` throws `KedgeError('store_unavailable' | 'store_full')`, and `('enclave_unavailable')` under an older fence.
 */
export function openFileMirror(file: string, mac: (bytes: Uint8Array) => Uint8Array, fence = 0n): Mirror {
  const fd = openSync(file, openFlags(file), 0o600);
  const folder = openSync(dirname(file), 'r');
  fsyncSync(folder);
  closeSync(folder);

  const readSlot = (slot: number): Slot | null => {
    const bytes = new Uint8Array(BODY + 32);
    if (readSync(fd, bytes, 0, bytes.length, slot * SLOT) !== bytes.length) return null;
    if (!equalBytes(bytes.subarray(BODY), mac(bytes.subarray(0, BODY)))) return null;
    const view = new DataView(bytes.buffer);
    return {
      counter: view.getBigUint64(4),
      fence: view.getBigUint64(12),
      record: {
        sequence: Number(view.getBigUint64(20)),
        open: bytes[28] === 1,
        root: bytes.slice(29, 61),
        previousRoot: bytes.slice(61, 93),
      },
    };
  };
  const newest = (): Slot | null => {
    const [first, second] = [readSlot(0), readSlot(1)];
    return first && second ? (first.counter > second.counter ? first : second) : (first ?? second);
  };

  return {
    read: () => newest()?.record ?? null,
    write({ sequence, root, previousRoot, open }, { overFence = false } = {}) {
      try {
        const last = newest();
        if (last && last.fence > fence && !overFence)
          throw new KedgeError('enclave_unavailable', 'Another enclave has taken over.');
        const counter = (last?.counter ?? 0n) + 1n;
        const bytes = new Uint8Array(BODY + 32);
        const view = new DataView(bytes.buffer);
        bytes.set([0x4b, 0x4d, 0x49, 1]);
        view.setBigUint64(4, counter);
        view.setBigUint64(12, fence);
        view.setBigUint64(20, BigInt(sequence));
        bytes[28] = open ? 1 : 0;
        bytes.set(root, 29);
        bytes.set(previousRoot, 61);
        bytes.set(mac(bytes.subarray(0, BODY)), BODY);
        writeSync(fd, bytes, 0, bytes.length, Number(counter % 2n) * SLOT);
        fdatasyncSync(fd);
      } catch (cause) {
        if (cause instanceof KedgeError) throw cause;
        const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC';
        throw new KedgeError(
          full ? 'store_full' : 'store_unavailable',
          'The mirror of the enclave state cannot be written.',
          { cause },
        );
      }
    },
    close: () => closeSync(fd),
  };
}

interface Slot {
  readonly counter: bigint;
  readonly fence: bigint;
  readonly record: MirrorRecord;
}

function openFlags(file: string): string {
  try {
    closeSync(openSync(file, 'r'));
    return 'r+';
  } catch {
    return 'w+';
  }
}
