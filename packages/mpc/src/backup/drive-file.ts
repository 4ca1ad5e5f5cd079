/**
 * What the user keeps on a drive of their choice: the device's half of the backup key, sealed under what the enclave's
 * passcode function gives for the right code. A drive provider who reads it can only guess through the enclave's counter.
 */
import { expand, extract } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concat, Reader, u16be, utf8, wipe } from '../bytes.ts';
import type { EnvelopeCrypto } from '../envelope-crypto.ts';
import { MpcError } from '../errors.ts';
import { taggedHash } from '../hash.ts';
import { tags } from '../tags.ts';

const MAGIC = utf8('MPCD');
const VERSION = 1;
const HEAD_BYTES = 4 + 2 + 16 + 32 + 33 + 33;
export const DRIVE_FILE_BYTES = HEAD_BYTES + 32 + 16;

export interface DriveFile {
  readonly backupId: Uint8Array;
  readonly ctx: Uint8Array;
  readonly deviceKey: Uint8Array;
  readonly serverKey: Uint8Array;
}

/** `passcodeOutput` is the result of the enclave's OPRF for the passcode, at least 32 bytes. */
export async function sealDriveFile(
  file: DriveFile,
  decryptionShare: Uint8Array,
  passcodeOutput: Uint8Array,
  crypto: EnvelopeCrypto,
): Promise<Uint8Array> {
  const head = concat(MAGIC, u16be(VERSION), file.backupId, file.ctx, file.deviceKey, file.serverKey);
  const key = await keyOf(file.backupId, passcodeOutput, crypto);
  return concat(head, await key.seal(nonceOf(head), head, decryptionShare));
}

/** Throws `bad_encoding` for something else than a drive file. */
export function readDriveFile(bytes: Uint8Array): DriveFile {
  const reader = new Reader(bytes, 'drive file');
  if (bytes.length !== DRIVE_FILE_BYTES) throw reader.malformed('not of its length');
  if (reader.take(4).join() !== MAGIC.join()) throw reader.malformed('not a drive file');
  if (reader.u16() !== VERSION) throw reader.malformed('a version that this program does not know');
  const take = (length: number) => reader.take(length).slice();
  return { backupId: take(16), ctx: take(32), deviceKey: take(33), serverKey: take(33) };
}

/** q_D. Throws `wrong_key` when the passcode was another one, or the file is damaged. */
export async function openDriveFile(
  bytes: Uint8Array,
  passcodeOutput: Uint8Array,
  crypto: EnvelopeCrypto,
): Promise<Uint8Array> {
  const { backupId } = readDriveFile(bytes);
  const key = await keyOf(backupId, passcodeOutput, crypto);
  const head = bytes.slice(0, HEAD_BYTES);
  const share = await key.open(nonceOf(head), head, bytes.slice(HEAD_BYTES));
  if (!share) throw new MpcError('wrong_key', 'The drive file does not open: take another copy of it.');
  return share;
}

/** The head names what is sealed, Q_D, and where it belongs: another file under the same key has another nonce. */
const nonceOf = (head: Uint8Array) => taggedHash(tags.driveNonce, head).subarray(0, 12);

async function keyOf(backupId: Uint8Array, passcodeOutput: Uint8Array, crypto: EnvelopeCrypto) {
  const prk = extract(sha256, passcodeOutput, backupId);
  const bytes = expand(sha256, prk, utf8(`kedge/v1/${tags.driveKey}`), 32);
  const key = await crypto.sealingKey(bytes);
  wipe(prk, bytes);
  return key;
}
