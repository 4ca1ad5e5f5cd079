/** The mirror of the sealed state on disk: torn, flipped, forged, foreign, and on a disk that is full. */
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { smallDisk } from '@kedge/store/testing';
import fc from 'fast-check';
import { type Mirror, type MirrorRecord, openFileMirror } from './mirror.ts';

const folder = mkdtempSync(join(tmpdir(), 'kedge-mirror-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const newFile = () => join(folder, `mirror-${++files}`);
const macOf = (key: string) => (bytes: Uint8Array) => new Uint8Array(createHmac('sha256', key).update(bytes).digest());
const mac = macOf('the key of this enclave');
const root = (byte: number) => new Uint8Array(32).fill(byte);
const record = (sequence: number, open = false): MirrorRecord => ({
  sequence,
  root: root(sequence % 251),
  previousRoot: root((sequence + 1) % 251),
  open,
});

function writeAll(file: string, ...records: readonly MirrorRecord[]): void {
  withMirror(file, (mirror) => {
    mirror.read();
    for (const one of records) mirror.write(one);
  });
}

function withMirror<T>(file: string, work: (mirror: Mirror) => T, key = mac): T {
  const mirror = openFileMirror(file, key);
  try {
    return work(mirror);
  } finally {
    mirror.close();
  }
}

const readBack = (file: string, key = mac) => withMirror(file, (mirror) => mirror.read(), key);

test('the newest of any number of records comes back, after a restart too, and the file stays small and private', () => {
  const file = newFile();
  assert.equal(readBack(file), null);
  for (let sequence = 0; sequence < 20; sequence++) {
    for (const open of [true, false]) {
      writeAll(file, record(sequence, open));
      assert.deepEqual(readBack(file), record(sequence, open));
    }
  }
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(file).size <= 512, true);
});

test('torn write: a slot that was written in part leaves the record before it, wherever it was torn', () => {
  const file = newFile();
  writeAll(file, record(1), record(2));
  const before = readFileSync(file);
  writeAll(file, record(3));
  const afterwards = readFileSync(file);
  const changed = [...afterwards.keys()].filter((at) => before[at] !== afterwards[at]);
  for (const torn of changed) {
    const mixed = Buffer.from(before);
    afterwards.copy(mixed, 0, 0, torn);
    writeFileSync(file, mixed);
    assert.deepEqual(readBack(file), record(2), `torn at byte ${torn}`);
  }
});

test('a first write that was torn leaves no record rather than a wrong one', () => {
  const file = newFile();
  writeAll(file, record(1));
  const whole = readFileSync(file);
  for (let length = 0; length < whole.length; length++) {
    truncateSync(file, 0);
    writeFileSync(file, whole.subarray(0, length));
    assert.equal(readBack(file), null, `${length} bytes`);
  }
});

test('bit-flip attack: a flipped bit in the newest slot leaves the one before, in both leaves none', () => {
  const file = newFile();
  writeAll(file, record(1), record(2));
  const whole = readFileSync(file);
  const read = (bytes: Buffer) => {
    writeFileSync(file, bytes);
    return readBack(file);
  };
  const lengthOfSlot = 125;
  fc.assert(
    fc.property(fc.nat(lengthOfSlot * 8 - 1), fc.nat(lengthOfSlot * 8 - 1), (bitA, bitB) => {
      const one = Buffer.from(whole);
      one[bitA >> 3]! ^= 1 << (bitA & 7); // the first slot holds the second record
      assert.deepEqual(read(one), record(1));
      one[256 + (bitB >> 3)]! ^= 1 << (bitB & 7);
      assert.equal(read(one), null);
    }),
    { numRuns: 300 },
  );
});

test('forged mirror: a thief of the disk without the root cannot write a record that is believed', () => {
  const file = newFile();
  writeAll(file, record(4), record(5));
  withMirror(file, (mirror) => mirror.write(record(99)), macOf('another key'));
  assert.deepEqual(readBack(file), record(5), 'the forged slot is passed over');
  withMirror(file, (mirror) => mirror.write(record(99)), macOf('another key'));
  assert.equal(readBack(file), null, 'at worst there is no mirror any more, and the enclave starts sealed');
  assert.equal(readBack(newFile()), null);
  const foreign = newFile();
  withMirror(foreign, (mirror) => mirror.write(record(1)), macOf('another key'));
  assert.equal(readBack(foreign), null);
});

test('replay attack: an old slot copied over the newer one brings back the older record, never a mixture', () => {
  const file = newFile();
  writeAll(file, record(1), record(2));
  const bytes = readFileSync(file);
  bytes.copy(bytes, 0, 256, 256 + 125);
  writeFileSync(file, bytes);
  assert.deepEqual(readBack(file), record(1), 'state.ts then finds a mirror that is older than the database');
});

test('paused writer: an enclave that was taken over from cannot write the mirror any more, and changes nothing in it', () => {
  const file = newFile();
  const first = openFileMirror(file, mac, 1n);
  first.write(record(5));
  const second = openFileMirror(file, mac, 2n);
  assert.deepEqual(second.read(), record(5));
  second.write(record(6));
  assert.throws(() => first.write(record(6, true)), { code: 'enclave_unavailable' });
  second.write(record(7));
  assert.throws(() => first.write(record(5)), { code: 'enclave_unavailable' });
  assert.deepEqual(readBack(file), record(7));
  first.close();
  second.close();
});

test('random bytes are never a record', () => {
  const file = newFile();
  for (let run = 0; run < 200; run++) {
    writeFileSync(file, randomBytes(512));
    assert.equal(readBack(file), null);
  }
});

test('a full disk is store_full; once there is space, the same mirror goes on and nothing was lost', (t) => {
  const disk = smallDisk(t, 1);
  if (disk === undefined) return;
  const file = join(disk, 'mirror');
  const ballast = join(disk, 'ballast');
  const fill = () => {
    for (let size = 1024 * 1024; size >= 512; size /= 2) {
      try {
        writeFileSync(`${ballast}-${size}`, new Uint8Array(size));
      } catch {
        // no space for so much: less
      }
    }
  };
  const mirror = openFileMirror(file, mac);
  fill();
  assert.throws(() => mirror.write(record(1)), { code: 'store_full' });
  assert.equal(mirror.read(), null);
  for (let size = 1024 * 1024; size >= 512; size /= 2) unlinkSync(`${ballast}-${size}`);
  mirror.write(record(1));
  mirror.write(record(2));
  mirror.close();
  assert.deepEqual(readBack(file), record(2));
});

test('a mirror that cannot be written for another reason is store_unavailable', () => {
  const file = newFile();
  const mirror = openFileMirror(file, mac);
  mirror.close();
  assert.throws(() => mirror.write(record(1)), { code: 'store_unavailable' });
});
