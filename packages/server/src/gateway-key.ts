/**
 * The gateway's own key: 32 bytes in a 0600 file, made at the first start. It seals the stored answers of idempotent
 * requests, which may hold session tokens, so that a dump of the database shows none. It opens nothing of a wallet.
 * Losing it costs the answers of the last day, and web tokens of the last hour.
 */

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import type { Clock, RandomBytes } from '@kedge/core';
import { createWebTokens, type WebTokens } from './web-tokens.ts';

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export interface GatewayKey {
  /** AES-256-GCM: `nonce (12) ‖ ciphertext ‖ tag (16)`. `address` says where it is stored and must be the same to open. */
  seal(plaintext: string, address: Uint8Array): Uint8Array;
  /** Null when it was sealed under another key or for another place. */
  open(sealed: Uint8Array, address: Uint8Array): string | null;
  /** Issues and reads web tokens, with a signing key that follows from this one. */
  webTokens(clock: Clock): WebTokens;
}

export function gatewayKey(key: Uint8Array, random: RandomBytes): GatewayKey {
  return {
    webTokens: (clock) => createWebTokens(clock, key),
    seal(plaintext, address) {
      const nonce = random(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(address);
      return new Uint8Array(
        Buffer.concat([nonce, cipher.update(plaintext, 'utf8'), cipher.final(), cipher.getAuthTag()]),
      );
    },
    open(sealed, address) {
      if (sealed.length < NONCE_BYTES + TAG_BYTES) return null;
      const end = sealed.length - TAG_BYTES;
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      })
        .setAAD(address)
        .setAuthTag(sealed.subarray(end));
      try {
        return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, end)), decipher.final()]).toString('utf8');
      } catch {
        return null;
      }
    },
  };
}

/** Reads the file, or makes it. Refuses one that others may read. */
export function readOrMakeKeyFile(path: string, random: RandomBytes): Uint8Array {
  try {
    const fd = openSync(path, 'wx', 0o600);
    const key = random(KEY_BYTES);
    writeSync(fd, key);
    fsyncSync(fd);
    closeSync(fd);
    return key;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  if ((statSync(path).mode & 0o077) !== 0) throw new Error(`${path} may be read by others: chmod 600 it.`);
  const key = new Uint8Array(readFileSync(path));
  if (key.length !== KEY_BYTES)
    throw new Error(`${path} is not a gateway key: it has ${key.length} bytes instead of ${KEY_BYTES}.`);
  return key;
}
