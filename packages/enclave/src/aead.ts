/** AES-256-GCM and HMAC of OpenSSL for core's sealed form (sealed.ts) and derivations. */
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import type { Aead, Hmac } from '@kedge/core';

const TAG = 16;

export const opensslAead: Aead = {
  seal(key, nonce, plaintext, aad) {
    const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG });
    cipher.setAAD(aad);
    return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  },
  open(key, nonce, ciphertext, aad) {
    if (ciphertext.length < TAG) return null;
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG });
    decipher.setAAD(aad);
    decipher.setAuthTag(ciphertext.subarray(-TAG));
    const plaintext = decipher.update(ciphertext.subarray(0, -TAG));
    try {
      decipher.final();
    } catch {
      plaintext.fill(0);
      return null;
    }
    return new Uint8Array(plaintext.buffer, plaintext.byteOffset, plaintext.length); // its own memory, to be wiped
  },
  hmacSha512: (key, data) => createHmac('sha512', key).update(data).digest(),
};

export const opensslHmac: Hmac = (key, data) => createHmac('sha256', key).update(data).digest();
