/**
 * Extended public keys (BIP32) as text, in the plain spelling and in the SLIP-132 ones that other wallets want. A public
 * key and a chain code make one too. Private ones are recognised, refused and never decoded further: whoever pasted one
 * is told so, and the text appears in no error.
 */

import { secp256k1 } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { createBase58check } from '@scure/base';
import { HARDENED_OFFSET, HDKey } from '@scure/bip32';
import { ChainError } from '../chain.ts';

export interface ExtendedPublicKey {
  readonly depth: number;
  /** Big-endian 32 bits; 0 at depth 0. */
  readonly parentFingerprint: number;
  readonly childNumber: number;
  /** 32 bytes. */
  readonly chainCode: Uint8Array;
  /** SEC1 compressed, 33 bytes. */
  readonly publicKey: Uint8Array;
}

export type ExtendedKeyNetwork = 'mainnet' | 'test';

/**
 * What a SLIP-132 spelling says the key is for. `any` is BIP32's own (xpub, tpub): the descriptor says what for.
 */
export type ExtendedKeyUse = 'any' | 'p2sh-p2wpkh' | 'p2wpkh' | 'p2sh-p2wsh' | 'p2wsh';

/** BIP32 and SLIP-132. */
const versions: { readonly [N in ExtendedKeyNetwork]: { readonly [U in ExtendedKeyUse]: number } } = {
  mainnet: {
    any: 0x0488b21e,
    'p2sh-p2wpkh': 0x049d7cb2,
    p2wpkh: 0x04b24746,
    'p2sh-p2wsh': 0x0295b43f,
    p2wsh: 0x02aa7ed3,
  },
  test: { any: 0x043587cf, 'p2sh-p2wpkh': 0x044a5262, p2wpkh: 0x045f1cf6, 'p2sh-p2wsh': 0x024289ef, p2wsh: 0x02575483 },
};
const privateVersions = [
  0x0488ade4, 0x049d7878, 0x04b2430c, 0x0295b005, 0x02aa7a99, 0x04358394, 0x044a4e28, 0x045f18bc, 0x024285b5,
  0x02575048,
];

const EXTENDED_KEY_BYTES = 78;
/** 78 bytes and a checksum never take more characters in base 58. */
const EXTENDED_KEY_LENGTH_MAX = 112;
const base58check = createBase58check(sha256);

export interface ParsedExtendedKey extends ExtendedPublicKey {
  readonly network: ExtendedKeyNetwork;
  readonly use: ExtendedKeyUse;
}

/** Throws `key_invalid`; for a private key with a message of its own, in which the key is not. */
export function parseExtendedKey(text: string): ParsedExtendedKey {
  let bytes: Uint8Array;
  try {
    if (text.length > EXTENDED_KEY_LENGTH_MAX) throw new RangeError('too long');
    bytes = base58check.decode(text);
  } catch {
    throw invalid('a character is wrong or missing');
  }
  if (bytes.length !== EXTENDED_KEY_BYTES)
    throw invalid(`it has ${bytes.length} bytes instead of ${EXTENDED_KEY_BYTES}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const version = view.getUint32(0);
  if (privateVersions.includes(version)) {
    bytes.fill(0);
    throw new ChainError(
      'key_invalid',
      'This is an extended PRIVATE key. Kedge asks for public ones only; whoever has seen it can spend. Move the funds to a new key.',
    );
  }
  const kind = kindOf(version);
  if (kind === null) throw invalid('it starts like no key of Bitcoin');
  const key = {
    ...kind,
    depth: view.getUint8(4),
    parentFingerprint: view.getUint32(5),
    childNumber: view.getUint32(9),
    chainCode: bytes.slice(13, 45),
    publicKey: bytes.slice(45),
  };
  assertExtendedKey(key);
  return key;
}

/** Throws `key_invalid` where a field can't be. */
export function formatExtendedKey(
  key: ExtendedPublicKey,
  network: ExtendedKeyNetwork,
  use: ExtendedKeyUse = 'any',
): string {
  assertExtendedKey(key);
  const bytes = new Uint8Array(EXTENDED_KEY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, versions[network][use]);
  view.setUint8(4, key.depth);
  view.setUint32(5, key.parentFingerprint);
  view.setUint32(9, key.childNumber);
  bytes.set(key.chainCode, 13);
  bytes.set(key.publicKey, 45);
  return base58check.encode(bytes);
}

/**
 * The root of its own tree, from a public key (33 bytes, compressed) and a chain code (32 bytes): depth 0, parent and
 * child number zero, as BIP32 demands of keys without a parent. Throws `key_invalid`, for an all-zero chain code too.
 */
export function rootExtendedKey(publicKey: Uint8Array, chainCode: Uint8Array): ExtendedPublicKey {
  const key = {
    depth: 0,
    parentFingerprint: 0,
    childNumber: 0,
    chainCode: chainCode.slice(),
    publicKey: publicKey.slice(),
  };
  if (chainCode.every((byte) => byte === 0)) throw invalid('its chain code is all zero, which nothing random is');
  assertExtendedKey(key);
  return key;
}

/** First four bytes of HASH160 of the public key, 8 lower-case hex digits. */
export function fingerprintOf(publicKey: Uint8Array): string {
  return new HDKey({ publicKey, chainCode: new Uint8Array(32) }).fingerprint.toString(16).padStart(8, '0');
}

/** A child without private key: unhardened steps only. The result derives on without parsing again. */
export function derivationOf(key: ExtendedPublicKey): HDKey {
  return new HDKey({
    publicKey: key.publicKey,
    chainCode: key.chainCode,
    depth: key.depth,
    index: key.childNumber,
    parentFingerprint: key.parentFingerprint,
  });
}

/** BIP32: the first hardened index, and so one more than the last that a public key derives. */
export const HARDENED = HARDENED_OFFSET;

function kindOf(version: number): { network: ExtendedKeyNetwork; use: ExtendedKeyUse } | null {
  for (const network of ['mainnet', 'test'] as const) {
    for (const [use, known] of Object.entries(versions[network])) {
      if (known === version) return { network, use: use as ExtendedKeyUse };
    }
  }
  return null;
}

/** BIP32 "Serialization format" and its invalid test vectors: a root has no parent, and the point is on the curve. */
function assertExtendedKey(key: ExtendedPublicKey): void {
  const isU32 = (value: number) => Number.isInteger(value) && value >= 0 && value <= 0xffffffff;
  if (
    !Number.isInteger(key.depth) ||
    key.depth < 0 ||
    key.depth > 255 ||
    !isU32(key.parentFingerprint) ||
    !isU32(key.childNumber)
  )
    throw invalid('depth, parent or child number is no such number');
  if (key.depth === 0 && (key.parentFingerprint !== 0 || key.childNumber !== 0))
    throw invalid('it claims to be a root and to have a parent');
  if (key.chainCode.length !== 32) throw invalid(`its chain code has ${key.chainCode.length} bytes instead of 32`);
  try {
    if (key.publicKey.length !== 33) throw new RangeError('not compressed');
    secp256k1.Point.fromBytes(key.publicKey);
  } catch {
    throw invalid('its public key is no compressed point of secp256k1');
  }
}

function invalid(reason: string): ChainError {
  return new ChainError(
    'key_invalid',
    `This is no extended public key: ${reason}. Copy it again, whole, from the wallet that shows it.`,
  );
}
