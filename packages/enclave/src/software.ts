/**
 * Root keys in a file: the backend for trying Kedge out, and for whoever has no hardware token. The enclave's entry opens
 * it; the keyring is read once into memory, so whoever reads the file or this process's memory has every key.
 * A change replaces the file as a whole and survives a crash at any point. The superseded file is overwritten before it
 * is unlinked, best effort: flash storage, snapshots and copying file systems may keep its old bytes.
 * It never prints a key, and never opens a file that other users of the machine can read.
 */
import {
  createCipheriv,
  createDecipheriv,
  createECDH,
  createHash,
  createHmac,
  createPrivateKey,
  createSecretKey,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, link, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { decode, encode, rfc8949EncodeOptions } from 'cborg';
import {
  lowS,
  type RootKeys,
  type RootKeysCapability,
  RootKeysError,
  type WrappingKey,
  wrappingKeyName,
} from './root-keys.ts';

export interface SoftwareOptions {
  /** The keyring, mode 0600. Its neighbours `<file>.new` and `<file>.old` exist during a change, or after a crash. */
  readonly file: string;
  /** Makes the keyring if the file doesn't exist. Never set it where keys are expected: a lost file must be noticed. */
  readonly create?: boolean;
  readonly random?: (length: number) => Uint8Array;
}

/**
 * Throws `RootKeysError`: 'no_key' if there is no file and `create` isn't set, 'refused' if other users may read it,
 * 'damaged' if its bytes aren't what we wrote, 'unavailable' if the disk fails. One process at a time may have it open.
 */
export async function openSoftware({
  file,
  create = false,
  random = randomBytes,
}: SoftwareOptions): Promise<SoftwareRootKeys> {
  return onDisk(file, async () => {
    await clearLeftovers(file);
    let bytes = await readPrivate(file);
    if (bytes === null && create) {
      await publishFirst(file, encodeKeyring(newKeyring(random)));
      bytes = await readPrivate(file);
    }
    if (bytes === null) {
      throw new RootKeysError(
        'no_key',
        `There is no key file at ${file}. Restore it from a backup, or create it if this enclave is new.`,
      );
    }
    const keyring = decodeKeyring(bytes, file);
    bytes.fill(0);
    return new SoftwareRootKeys(file, keyring, random);
  });
}

export class SoftwareRootKeys implements RootKeys {
  readonly kind = 'software';
  readonly #file: string;
  readonly #random: (length: number) => Uint8Array;
  /** The handles of node:crypto for the keys of #keyring; empty once closed. */
  readonly #wrapping = new Map<string, KeyObject>();
  readonly #mac: KeyObject;
  readonly #signing: KeyObject;
  readonly #publicKey: Uint8Array;
  #keyring: Keyring;
  #lastChange: Promise<void> = Promise.resolve();
  #closed = false;

  /** Use {@link openSoftware}. Takes the keyring over. */
  constructor(file: string, keyring: Keyring, random: (length: number) => Uint8Array) {
    this.#file = file;
    this.#random = random;
    this.#keyring = keyring;
    for (const [name, key] of keyring.wrapping) this.#wrapping.set(name, createSecretKey(key));
    this.#mac = createSecretKey(keyring.mac);
    const identity = identityKeys(keyring.identity);
    this.#signing = identity.signing;
    this.#publicKey = identity.publicKey;
  }

  /**
   * Puts an exported root at `file`, which must not exist. Throws `RootKeysError`: 'refused' if it does, 'damaged' if
   * `bytes` are no export. Keys destroyed since the export come back with it: destroy them again.
   */
  static async importRoot(file: string, bytes: Uint8Array): Promise<void> {
    const keyring = decodeKeyring(bytes, 'the export');
    await onDisk(file, async () => {
      const published = await publishFirst(file, encodeKeyring(keyring));
      wipeKeyring(keyring);
      if (!published)
        throw new RootKeysError('refused', `${file} exists already. Move it away first; an import replaces no keys.`);
    });
  }

  /** Every key, in the clear: for a backup that the caller seals at once and wipes. No other backend can do this. */
  exportRoot(): Uint8Array {
    this.#assertOpen();
    return encodeKeyring(this.#keyring);
  }

  createKey(key: WrappingKey): Promise<void> {
    return this.#change(key, (wrapping, name) => {
      if (wrapping.has(name)) return false;
      wrapping.set(name, this.#random(32));
      return true;
    });
  }

  async hasKey(key: WrappingKey): Promise<boolean> {
    this.#assertOpen();
    return this.#wrapping.has(wrappingKeyName(key));
  }

  destroyKey(key: WrappingKey): Promise<void> {
    return this.#change(key, (wrapping, name) => wrapping.delete(name));
  }

  async wrap(key: WrappingKey, plaintext: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
    const nonce = this.#random(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#wrappingKey(key), nonce).setAAD(aad);
    const ciphertext = cipher.update(plaintext);
    cipher.final();
    return joined(nonce, ciphertext, cipher.getAuthTag());
  }

  async unwrap(key: WrappingKey, wrapped: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
    const secret = this.#wrappingKey(key);
    if (wrapped.length < NONCE_BYTES + TAG_BYTES) throw refusedToUnwrap(key);
    const tagAt = wrapped.length - TAG_BYTES;
    const decipher = createDecipheriv('aes-256-gcm', secret, wrapped.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(aad).setAuthTag(wrapped.subarray(tagAt));
    const plaintext = decipher.update(wrapped.subarray(NONCE_BYTES, tagAt));
    try {
      decipher.final();
    } catch {
      plaintext.fill(0);
      throw refusedToUnwrap(key);
    }
    const opened = new Uint8Array(plaintext);
    plaintext.fill(0);
    return opened;
  }

  async mac(data: Uint8Array): Promise<Uint8Array> {
    this.#assertOpen();
    return new Uint8Array(createHmac('sha256', this.#mac).update(data).digest());
  }

  async sign(message: Uint8Array): Promise<Uint8Array> {
    this.#assertOpen();
    return lowS(new Uint8Array(sign('sha256', message, { key: this.#signing, dsaEncoding: 'ieee-p1363' })));
  }

  async identity(): Promise<Uint8Array> {
    this.#assertOpen();
    return this.#publicKey.slice();
  }

  async random(length: number): Promise<Uint8Array> {
    this.#assertOpen();
    return new Uint8Array(this.#random(length));
  }

  async capabilities(): Promise<readonly RootKeysCapability[]> {
    return (['wrap', 'mac', 'sign', 'random'] as const).map((operation) => ({ operation, where: 'in_enclave' }));
  }

  async close(): Promise<void> {
    await this.#lastChange;
    this.#closed = true;
    this.#wrapping.clear();
    wipeKeyring(this.#keyring);
  }

  #assertOpen(): void {
    if (this.#closed) throw new RootKeysError('unavailable', 'The root keys are closed. Open them again.');
  }

  #wrappingKey(key: WrappingKey): KeyObject {
    this.#assertOpen();
    const name = wrappingKeyName(key);
    const secret = this.#wrapping.get(name);
    if (secret === undefined)
      throw new RootKeysError(
        'no_key',
        `There is no wrapping key ${name}. Create it, or restore the root that held it.`,
      );
    return secret;
  }

  /** Changes run one after another; memory follows the disk, so a failed write changes nothing. */
  #change(key: WrappingKey, edit: (wrapping: Map<string, Uint8Array>, name: string) => boolean): Promise<void> {
    const name = wrappingKeyName(key);
    const change = this.#lastChange.then(async () => {
      this.#assertOpen();
      const wrapping = new Map(this.#keyring.wrapping);
      if (!edit(wrapping, name)) return;
      const next = { ...this.#keyring, wrapping };
      await onDisk(this.#file, () => replace(this.#file, encodeKeyring(next)));
      this.#keyring.wrapping.get(name)?.fill(0);
      this.#keyring = next;
      const secret = wrapping.get(name);
      if (secret === undefined) this.#wrapping.delete(name);
      else this.#wrapping.set(name, createSecretKey(secret));
    });
    this.#lastChange = change.catch(() => {});
    return change;
  }
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Not a Buffer: `slice` of a Buffer is no copy, which callers of these keys must be able to rely on. */
function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** One answer for every reason, so that it says nothing about which byte was wrong. */
function refusedToUnwrap(key: WrappingKey): RootKeysError {
  return new RootKeysError(
    'refused',
    `These bytes don't open under ${wrappingKeyName(key)} at this address. Restore the row from a backup.`,
  );
}

// The keyring and its bytes.

interface Keyring {
  /** The P-256 private scalar, 32 bytes. */
  readonly identity: Uint8Array;
  readonly mac: Uint8Array;
  /** By {@link wrappingKeyName}. */
  readonly wrapping: Map<string, Uint8Array>;
}

const FORMAT = 'kedge root keys v1';

function newKeyring(random: (length: number) => Uint8Array): Keyring {
  for (;;) {
    const identity = random(32);
    // 1 in 2^32 draws isn't a scalar of P-256.
    if (isScalar(identity)) return { identity, mac: random(32), wrapping: new Map() };
  }
}

/** `[FORMAT, keyring, SHA-256(keyring)]`: the sum is against rot; against people there is only the file's mode. */
function encodeKeyring({ identity, mac, wrapping }: Keyring): Uint8Array {
  const keyring = encode({ identity, mac, wrapping: Object.fromEntries(wrapping) }, rfc8949EncodeOptions);
  return encode([FORMAT, keyring, createHash('sha256').update(keyring).digest()], rfc8949EncodeOptions);
}

function decodeKeyring(bytes: Uint8Array, from: string): Keyring {
  try {
    const [format, inner, sum] = decode(bytes) as [string, Uint8Array, Uint8Array];
    if (format !== FORMAT) throw new RangeError('unknown format');
    if (!createHash('sha256').update(inner).digest().equals(sum)) throw new RangeError('wrong checksum');
    const { identity, mac, wrapping } = decode(inner) as {
      identity: Uint8Array;
      mac: Uint8Array;
      wrapping: Record<string, Uint8Array>;
    };
    // Copies: cborg's values may be views into `bytes`, which the caller wipes.
    const keyring: Keyring = {
      identity: identity.slice(),
      mac: mac.slice(),
      wrapping: new Map(Object.entries(wrapping).map(([name, key]) => [name, key.slice()])),
    };
    const lengths = [keyring.mac, ...keyring.wrapping.values()].map((key) => key.length);
    if (!isScalar(keyring.identity) || lengths.some((length) => length !== 32)) throw new RangeError('wrong length');
    inner.fill(0);
    return keyring;
  } catch (cause) {
    throw new RootKeysError(
      'damaged',
      `${from} holds no keyring of Kedge, or a damaged one. Restore it from a backup.`,
      { cause },
    );
  }
}

function wipeKeyring({ identity, mac, wrapping }: Keyring): void {
  for (const key of [identity, mac, ...wrapping.values()]) key.fill(0);
}

function isScalar(bytes: Uint8Array): boolean {
  try {
    createECDH('prime256v1').setPrivateKey(bytes);
    return bytes.length === 32;
  } catch {
    return false;
  }
}

/** Wraps the scalar as an RFC 5915 ECPrivateKey: node:crypto takes it from there without a detour through text. */
function identityKeys(scalar: Uint8Array): { signing: KeyObject; publicKey: Uint8Array } {
  const ecdh = createECDH('prime256v1');
  ecdh.setPrivateKey(scalar);
  const publicKey = new Uint8Array(ecdh.getPublicKey());
  const der = Buffer.concat([
    Buffer.from('30770201010420', 'hex'),
    scalar,
    Buffer.from('a00a06082a8648ce3d030107a14403420004', 'hex'),
    publicKey.subarray(1),
  ]);
  const signing = createPrivateKey({ key: der, format: 'der', type: 'sec1' });
  der.fill(0);
  return { signing, publicKey };
}

// The file. `.new` is written whole before it takes the name; `.old` is a second name of the file it supersedes, so that
// a crash in between leaves a name to overwrite it by.

async function replace(file: string, bytes: Uint8Array): Promise<void> {
  await clearLeftovers(file);
  await writeNew(file, bytes);
  await link(file, `${file}.old`);
  await rename(`${file}.new`, file);
  await syncDirectory(file);
  await overwriteAndUnlink(`${file}.old`);
}

/** False if the name was taken: `link` never replaces. */
async function publishFirst(file: string, bytes: Uint8Array): Promise<boolean> {
  await clearLeftovers(file);
  await writeNew(file, bytes);
  try {
    await link(`${file}.new`, file);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
    await overwriteAndUnlink(`${file}.new`);
    return false;
  }
  await unlink(`${file}.new`);
  await syncDirectory(file);
  return true;
}

/** After a crash or a full disk: a `.new` that never took the name, or an `.old` that wasn't overwritten yet. */
async function clearLeftovers(file: string): Promise<void> {
  const current = await inodeOf(file);
  for (const leftover of [`${file}.new`, `${file}.old`]) {
    const inode = await inodeOf(leftover);
    if (inode === null) continue;
    if (inode === current) await unlink(leftover);
    else await overwriteAndUnlink(leftover);
  }
}

/** Null if there is no such file. Mode and bytes are taken from one open file: nobody can swap it in between. */
async function readPrivate(file: string): Promise<Buffer | null> {
  const handle = await openIfExists(file, constants.O_RDONLY);
  if (handle === null) return null;
  try {
    const { mode } = await handle.stat();
    if ((mode & 0o077) !== 0) {
      const spelled = (mode & 0o777).toString(8).padStart(3, '0');
      throw new RootKeysError(
        'refused',
        `Other users may read ${file} (mode ${spelled}). Run: chmod 600 ${file} — and rotate the keys if others had access.`,
      );
    }
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

async function writeNew(file: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(`${file}.new`, 'wx', 0o600);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
    bytes.fill(0);
  }
}

async function overwriteAndUnlink(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    const { size } = await handle.stat();
    await handle.write(new Uint8Array(size), 0, size, 0);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await unlink(path);
}

async function syncDirectory(file: string): Promise<void> {
  const directory = await open(dirname(file), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function inodeOf(path: string): Promise<bigint | null> {
  const handle = await openIfExists(path, constants.O_RDONLY);
  if (handle === null) return null;
  try {
    return (await handle.stat({ bigint: true })).ino;
  } finally {
    await handle.close();
  }
}

async function openIfExists(path: string, flags: number): Promise<FileHandle | null> {
  try {
    return await open(path, flags);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

/** Gives what the disk says the name that callers know. */
async function onDisk<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RootKeysError) throw error;
    throw new RootKeysError(
      'unavailable',
      `The key file ${file} can't be read or written (${codeOf(error)}). Check the disk and the folder's owner.`,
      { cause: error },
    );
  }
}
