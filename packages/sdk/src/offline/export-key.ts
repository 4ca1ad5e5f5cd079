/**
 * Leaving: one wallet key in the forms that other people's software opens. This assembles nothing and talks to nobody;
 * it spells a key that its owner already holds. The result is the key in the clear, or sealed under a passphrase.
 */
import { bytesToHex, concatBytes, KedgeError, utf8ToBytes } from '@kedge/core';
import { ctr } from '@noble/ciphers/aes.js';
import { ed25519 } from '@noble/curves/ed25519.js';
import { scryptAsync } from '@noble/hashes/scrypt.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { createBase58check } from '@scure/base';

/** `hex`: the scalar. `keystore`: Web3 Secret Storage v3. `wif`: Bitcoin mainnet, compressed. `solana`: keypair file. */
export type ExportFormat = 'hex' | 'keystore' | 'wif' | 'solana';

const PASSPHRASE_CHARS_MIN = 12;
/** As wallets write it: 128 MiB, about a second. */
const SCRYPT = { N: 131_072, r: 8, p: 1, dkLen: 32 } as const;

export interface ExportOptions {
  /** For `keystore`: at least 12 characters. */
  readonly passphrase?: string;
  /** For `keystore`: the address, 0x and hex. */
  readonly address?: string;
  readonly random?: (length: number) => Uint8Array;
}

/** `key`: 32 bytes. Throws `KedgeError('request_invalid')`. */
export async function exportKey(key: Uint8Array, format: ExportFormat, options: ExportOptions = {}): Promise<string> {
  if (key.length !== 32) throw new KedgeError('request_invalid', 'A wallet key has 32 bytes.');
  switch (format) {
    case 'hex':
      return `${bytesToHex(key)}\n`;
    case 'wif':
      return `${createBase58check(sha256).encode(concatBytes(Uint8Array.of(0x80), key, Uint8Array.of(0x01)))}\n`;
    case 'solana':
      return `${JSON.stringify([...key, ...ed25519.getPublicKey(key)])}\n`;
    case 'keystore':
      return keystore(key, options);
  }
}

/** Web3 Secret Storage Definition, version 3: scrypt, AES-128-CTR, MAC = keccak256(derived[16..32] ‖ ciphertext). */
async function keystore(
  key: Uint8Array,
  { passphrase = '', address, random = (length) => crypto.getRandomValues(new Uint8Array(length)) }: ExportOptions,
): Promise<string> {
  if (passphrase.length < PASSPHRASE_CHARS_MIN)
    throw new KedgeError(
      'request_invalid',
      `A keystore needs a passphrase of at least ${PASSPHRASE_CHARS_MIN} characters.`,
    );
  const salt = random(32);
  const iv = random(16);
  const derived = await scryptAsync(utf8ToBytes(passphrase), salt, SCRYPT);
  const ciphertext = ctr(derived.subarray(0, 16), iv).encrypt(key);
  const mac = keccak_256(concatBytes(derived.subarray(16, 32), ciphertext));
  derived.fill(0);
  const id = bytesToHex(random(16)).replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, '$1-$2-4$3-8$4-$5');
  return `${JSON.stringify({
    version: 3,
    id,
    ...(address === undefined ? {} : { address: address.toLowerCase().replace(/^0x/, '') }),
    crypto: {
      cipher: 'aes-128-ctr',
      cipherparams: { iv: bytesToHex(iv) },
      ciphertext: bytesToHex(ciphertext),
      kdf: 'scrypt',
      kdfparams: { n: SCRYPT.N, r: SCRYPT.r, p: SCRYPT.p, dklen: SCRYPT.dkLen, salt: bytesToHex(salt) },
      mac: bytesToHex(mac),
    },
  })}\n`;
}
