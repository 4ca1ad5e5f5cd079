/**
 * age files under a passphrase, with the stretching done by OpenSSL on the thread pool: age-encryption's own scrypt is
 * JavaScript and would hold up every opening for seconds. `backup.ts` seals and opens the software root with it. The
 * stanza is age's (age-encryption.org/v1, "The scrypt recipient type"), so any age tool opens what is sealed here.
 */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import { concatBytes, utf8ToBytes } from '@kedge/core';
import { type Identity, type Recipient, Stanza } from 'age-encryption';

/** As age itself chooses: about a second, and 256 MiB. */
const WORK_FACTOR = 18;
/** A file may come from anywhere: more than this would take 1 GiB. */
const WORK_FACTOR_MAX = 20;
const LABEL = utf8ToBytes('age-encryption.org/v1/scrypt');
const BLOCK = 8;
const TAG_BYTES = 16;
/** Each key seals one file key, so the nonce may be zero. */
const NONCE = new Uint8Array(12);

export function passphraseRecipient(passphrase: string, workFactor = WORK_FACTOR): Recipient {
  return {
    async wrapFileKey(fileKey) {
      const salt = new Uint8Array(randomBytes(16));
      const key = await stretch(passphrase, salt, workFactor);
      const cipher = createCipheriv('chacha20-poly1305', key, NONCE, { authTagLength: TAG_BYTES });
      const body = Buffer.concat([cipher.update(fileKey), cipher.final(), cipher.getAuthTag()]);
      key.fill(0);
      return [new Stanza(['scrypt', base64(salt), String(workFactor)], new Uint8Array(body))];
    },
  };
}

/** Null for another passphrase, and for what is sealed to something else. Throws for a stanza that age would refuse. */
export function passphraseIdentity(passphrase: string): Identity {
  return {
    async unwrapFileKey(stanzas) {
      const stanza = stanzas.find(({ args }) => args[0] === 'scrypt');
      if (stanza === undefined) return null;
      const [, saltText = '', factorText = ''] = stanza.args;
      const salt = new Uint8Array(Buffer.from(saltText, 'base64'));
      const workFactor = /^[1-9][0-9]?$/.test(factorText) ? Number(factorText) : Number.NaN;
      if (stanzas.length !== 1 || stanza.args.length !== 3 || base64(salt) !== saltText || salt.length !== 16)
        throw new Error('The scrypt stanza is not of the form that age writes.');
      if (!(workFactor <= WORK_FACTOR_MAX)) throw new Error('The scrypt work factor is not one that is taken here.');
      const key = await stretch(passphrase, salt, workFactor);
      const tagAt = stanza.body.length - TAG_BYTES;
      try {
        const decipher = createDecipheriv('chacha20-poly1305', key, NONCE, { authTagLength: TAG_BYTES });
        decipher.setAuthTag(stanza.body.subarray(tagAt));
        return new Uint8Array(Buffer.concat([decipher.update(stanza.body.subarray(0, tagAt)), decipher.final()]));
      } catch {
        return null;
      } finally {
        key.fill(0);
      }
    },
  };
}

function stretch(passphrase: string, salt: Uint8Array, workFactor: number): Promise<Buffer> {
  const cost = 2 ** workFactor;
  const options = { N: cost, r: BLOCK, p: 1, maxmem: 256 * cost * BLOCK };
  return new Promise((resolve, reject) => {
    scrypt(passphrase, concatBytes(LABEL, salt), 32, options, (error, key) => (error ? reject(error) : resolve(key)));
  });
}

/** age spells it without padding. */
function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64').replaceAll('=', '');
}
