/**
 * Private derivation, for whoever holds a key: the enclave, and the SDK on the user's side. BIP-32 on secp256k1 and
 * SLIP-10 on Ed25519, bytes in and bytes out. It is an entry of its own, `@kedge/core/private-keys`, so that who can
 * derive secrets is seen in the imports; gateway and chains never reach it. What it makes on the way is overwritten as
 * far as it holds it, which in JavaScript is best effort. It draws no randomness and keeps nothing.
 */
import { hmac } from '@noble/hashes/hmac.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { HARDENED_OFFSET, HDKey } from '@scure/bip32';

/** A BIP-32 extended private key (xprv). Secret: wipe `privateKey` when done; the chain code is not to be shown either. */
export interface ExtendedPrivateKey {
  /** 32 bytes, in 1 … n-1. */
  readonly privateKey: Uint8Array;
  readonly chainCode: Uint8Array;
  readonly depth: number;
  /** Below its parent; 2^31 and more are hardened. */
  readonly index: number;
  /** The first 4 bytes of the parent's hash; 0 for a master key. */
  readonly parentFingerprint: number;
}

/** SLIP-10 on Ed25519: a seed for that algorithm, and the chain code. */
export interface Ed25519Node {
  readonly privateKey: Uint8Array;
  readonly chainCode: Uint8Array;
}

/** 128 to 512 bits, as both standards say. */
const SEED_BYTES = { min: 16, max: 64 };
/** An extended key counts its depth in a byte. */
const DEPTH_MAX = 255;
const ED25519_SEED = new TextEncoder().encode('ed25519 seed');

/** Throws `RangeError` for a seed of another length, or the one in 2^127 that makes no key. */
export function masterKey(seed: Uint8Array): ExtendedPrivateKey {
  assertSeed(seed);
  return withKey(() => HDKey.fromMasterSeed(seed), exported);
}

/** `path` as `48h/0h/0h/2h`, from this key on; empty for the key itself. Throws `RangeError`. */
export function derivePrivate(parent: ExtendedPrivateKey, path: string): ExtendedPrivateKey {
  const steps = parsePath(path);
  let key = parent;
  for (const [at, index] of steps.entries()) {
    const child = withKey(
      () => toHDKey(key),
      (hdKey) => withKey(() => hdKey.deriveChild(index), exported),
    );
    if (at > 0) wipeKey(key);
    // The library goes on to the next index for the one in 2^127 that has no key. Then a path would have two names.
    if (child.index !== index) throw new RangeError('this path has no key; take the next index');
    key = child;
  }
  return steps.length === 0 ? copyOf(parent) : key;
}

/** The key's public half: SEC1 compressed (33 bytes), and its fingerprint (BIP-32: hash160's first 4 bytes). */
export function publicHalf(key: ExtendedPrivateKey): { readonly publicKey: Uint8Array; readonly fingerprint: number } {
  return withKey(
    () => toHDKey(key),
    (hdKey) => ({ publicKey: hdKey.publicKey!, fingerprint: hdKey.fingerprint }),
  );
}

/** `xprv…`, or the spelling that other version bytes give (SLIP-132). Throws `RangeError`. */
export function parseXprv(text: string, versions = XPRV): ExtendedPrivateKey {
  if (text.length > XPRV_LENGTH_MAX) throw notAnXprv();
  return withKey(() => {
    const key = HDKey.fromExtendedKey(text, versions);
    if (key.privateKey === null) throw notAnXprv();
    return key;
  }, exported);
}

export function formatXprv(key: ExtendedPrivateKey, versions = XPRV): string {
  return withKey(
    () => toHDKey(key, versions),
    (hdKey) => hdKey.privateExtendedKey,
  );
}

export function formatXpub(key: ExtendedPrivateKey, versions = XPRV): string {
  return withKey(
    () => toHDKey(key, versions),
    (hdKey) => hdKey.publicExtendedKey,
  );
}

/** SLIP-10 on Ed25519. Throws `RangeError`. */
export function ed25519Master(seed: Uint8Array): Ed25519Node {
  assertSeed(seed);
  return split(hmac(sha512, ED25519_SEED, seed));
}

/** Every step has to be hardened: this curve knows no other. Throws `RangeError`. */
export function deriveEd25519(parent: Ed25519Node, path: string): Ed25519Node {
  const steps = parsePath(path);
  if (steps.some((index) => index < HARDENED_OFFSET)) throw new RangeError('Ed25519 has hardened steps only: 44h/501h');
  let node: Ed25519Node = { privateKey: parent.privateKey.slice(), chainCode: parent.chainCode.slice() };
  for (const index of steps) {
    const data = new Uint8Array(37);
    data.set(node.privateKey, 1);
    new DataView(data.buffer).setUint32(33, index);
    const child = split(hmac(sha512, node.chainCode, data));
    data.fill(0);
    wipeKey(node);
    node = child;
  }
  return node;
}

/** Overwrites key and chain code. */
export function wipeKey({ privateKey, chainCode }: Ed25519Node): void {
  privateKey.fill(0);
  chainCode.fill(0);
}

/** BIP-32's version bytes of mainnet. */
const XPRV = { private: 0x0488ade4, public: 0x0488b21e };
/** 82 bytes in base58; decoding takes time that grows with the square. */
const XPRV_LENGTH_MAX = 112;

/** Indexes; hardened ones with their high bit set. */
function parsePath(path: string): readonly number[] {
  if (path === '') return [];
  const steps = path.split('/', DEPTH_MAX + 1);
  if (steps.length > DEPTH_MAX) throw new RangeError(`a path has at most ${DEPTH_MAX} steps`);
  return steps.map((step) => {
    const [, digits, hardened] = /^(0|[1-9][0-9]{0,9})(h?)$/.exec(step) ?? [];
    if (digits === undefined || Number(digits) >= HARDENED_OFFSET)
      throw new RangeError('a path is spelled 48h/0h/0h/2h');
    return Number(digits) + (hardened === 'h' ? HARDENED_OFFSET : 0);
  });
}

/** Whatever the library says, nothing of a key gets into the message. */
function withKey<T>(make: () => HDKey, use: (key: HDKey) => T): T {
  let key: HDKey;
  try {
    key = make();
  } catch (error) {
    if (error instanceof RangeError && error.message === NOT_A_KEY) throw error;
    throw notAnXprv();
  }
  try {
    return use(key);
  } finally {
    key.wipePrivateData();
  }
}

const NOT_A_KEY = 'this is no extended private key, or a character of it is wrong';

function notAnXprv(): RangeError {
  return new RangeError(NOT_A_KEY);
}

function toHDKey(
  { privateKey, chainCode, depth, index, parentFingerprint }: ExtendedPrivateKey,
  versions = XPRV,
): HDKey {
  return new HDKey({ privateKey, chainCode, depth, index, parentFingerprint, versions });
}

function exported(key: HDKey): ExtendedPrivateKey {
  const { depth, index, parentFingerprint } = key;
  return { privateKey: key.privateKey!, chainCode: key.chainCode!, depth, index, parentFingerprint };
}

function copyOf(key: ExtendedPrivateKey): ExtendedPrivateKey {
  return { ...key, privateKey: key.privateKey.slice(), chainCode: key.chainCode.slice() };
}

function split(hash: Uint8Array): Ed25519Node {
  const node = { privateKey: hash.slice(0, 32), chainCode: hash.slice(32) };
  hash.fill(0);
  return node;
}

function assertSeed(seed: Uint8Array): void {
  if (seed.length < SEED_BYTES.min || seed.length > SEED_BYTES.max)
    throw new RangeError(`a seed has ${SEED_BYTES.min} to ${SEED_BYTES.max} bytes`);
}
