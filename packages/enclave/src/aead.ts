/** AES-256-GCM and HMAC of OpenSSL behind core's `Aead`; the sealed form itself is core/sealed.ts. */
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import type { Aead } from '@kedge/core';

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
    return new Uint8Array(plaintext);
  },
  hmac: (key, data) => createHmac('sha256', key).update(data).digest(),
};
