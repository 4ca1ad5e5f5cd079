/**
 * The RSA-4096 keys to which clients encrypt recovery material (RSA-OAEP, SHA-256 for hash and MGF1), and the check of
 * such material. A key is kept like a backup key, in a row that looks like any other, under the name of the enclave
 * itself. What is decrypted here is compared and wiped; nothing of it leaves.
 */
import { constants, createHash, type KeyObject, privateDecrypt } from 'node:crypto';
import { equalBytes, hexToBytes, KedgeError } from '@kedge/core';
import type { BackupKeys } from './backup-keys.ts';
import type { BackupFinding } from './enclave.ts';

/** Versions count from 1. There is one so far; a row of stored material says which it is under. */
const ENCRYPTION_KEY_VERSION = 1;
const OWN = { project: 'enclave', user: 'enclave' } as const;

interface BackupCheck {
  readonly version: number;
  /** RSA ciphertext, 512 bytes. */
  readonly data: Uint8Array;
  /** SHA-256 of the plaintext, where the caller gave one. */
  readonly checksum: Uint8Array | null;
  /** The backup key that the material belongs to, where it is one of ours. */
  readonly publicKey: Uint8Array | null;
  /** The chain code inside the xpub that was registered for that key. */
  readonly chainCode: Uint8Array | null;
}

export interface EncryptionKeys {
  /** SubjectPublicKeyInfo in DER. Made at the first call, which takes seconds. */
  current(createdAt: string): Promise<{ version: number; publicKey: Uint8Array; createdAt: string }>;
  check(call: BackupCheck): Promise<BackupFinding>;
  /**
   * The chain code in material that names this public key: for a release, inside the enclave; the caller wipes it.
   * Throws `request_invalid`.
   */
  chainCode(call: {
    readonly version: number;
    readonly data: Uint8Array;
    readonly publicKey: Uint8Array;
  }): Promise<Uint8Array>;
}

export function createEncryptionKeys(keys: BackupKeys): EncryptionKeys {
  const nameOf = (version: number) => ({ ...OWN, key: `encryption-key/${version}` });
  /** Null when it doesn't decrypt. */
  const openMaterial = async (version: number, data: Uint8Array) => {
    const opened = await keys.open(nameOf(version));
    return opened?.privateKey ? decrypt(opened.privateKey, data) : null;
  };
  return {
    async current(createdAt) {
      const wanted = { type: 'rsa4096', environment: 'HOT', createdAt, nonce: null } as const;
      const birth = await keys.create(nameOf(ENCRYPTION_KEY_VERSION), wanted);
      return { version: ENCRYPTION_KEY_VERSION, publicKey: birth.publicKey, createdAt: birth.createdAt };
    },

    async check({ version, data, checksum, publicKey, chainCode }) {
      const plaintext = await openMaterial(version, data);
      if (plaintext === null) return 'not_for_this_enclave';
      try {
        return judge(plaintext, checksum, publicKey, chainCode);
      } finally {
        plaintext.fill(0);
      }
    },

    async chainCode({ version, data, publicKey }) {
      const plaintext = await openMaterial(version, data);
      const material = plaintext && materialOf(plaintext);
      plaintext?.fill(0);
      // Who stored it is the gateway's word; that it names this key is not.
      if (material === null || !isHexOf(material.publicKey, publicKey))
        throw new KedgeError(
          'request_invalid',
          'The backup is not recovery material of this key. Name another backup.',
        );
      const chainCode = chainCodeOf(material.chainCode);
      if (chainCode === null)
        throw new KedgeError('request_invalid', 'The backup holds no chain code. Name the one with the wallet’s.');
      return chainCode;
    },
  };
}

/** Null when it doesn't decrypt. OpenSSL's OAEP takes the same time for whatever is wrong. */
function decrypt(key: KeyObject, data: Uint8Array): Uint8Array | null {
  try {
    return privateDecrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, data);
  } catch {
    return null;
  }
}

function judge(
  plaintext: Uint8Array,
  checksum: Uint8Array | null,
  publicKey: Uint8Array | null,
  registered: Uint8Array | null,
): BackupFinding {
  if (checksum !== null && !equalBytes(createHash('sha256').update(plaintext).digest(), checksum))
    return 'checksum_differs';
  const material = materialOf(plaintext);
  if (material.publicKey !== undefined && publicKey !== null && !isHexOf(material.publicKey, publicKey))
    return 'key_differs';
  if (material.chainCode === undefined) return registered === null ? 'good' : 'xpub_differs';
  const chainCode = chainCodeOf(material.chainCode);
  if (chainCode === null) return 'chain_code_invalid';
  const same = registered === null || equalBytes(chainCode, registered);
  chainCode.fill(0);
  return same ? 'good' : 'xpub_differs';
}

/** The form that our SDK writes: `{chainCode, publicKey, coin, label}`. Other material is the client's own affair. */
function materialOf(plaintext: Uint8Array): { readonly chainCode?: unknown; readonly publicKey?: unknown } {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(plaintext));
    return value !== null && typeof value === 'object' ? value : {};
  } catch {
    return {};
  }
}

function isHexOf(text: unknown, bytes: Uint8Array): boolean {
  return text === Buffer.from(bytes).toString('hex');
}

/** 32 bytes in hex that are not all zero; null for anything else. */
function chainCodeOf(text: unknown): Uint8Array | null {
  if (typeof text !== 'string' || !/^[0-9a-f]{64}$/.test(text) || /^0+$/.test(text)) return null;
  return hexToBytes(text);
}
