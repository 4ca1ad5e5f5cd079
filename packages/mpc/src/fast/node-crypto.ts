/**
 * The envelopes' cryptography through `node:crypto`, for servers: the same X25519, Ed25519, AES-256-GCM and SHA-256 of
 * OpenSSL that WebCrypto gives in Node, but on the spot. WebCrypto sends every call through the thread pool, and a signature
 * makes some forty of them. The cost is that a call blocks the thread, for at most a fifth of a millisecond.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { concat } from '../bytes.ts';
import type { EnvelopeCrypto, IdentityKey } from '../envelope-crypto.ts';

const TAG_BYTES = 16;
const KEY_BYTES = 32;

export const nodeCrypto: EnvelopeCrypto = {
  verify(publicKey, data, signature) {
    try {
      return verify(null, data, publicKeyOf('Ed25519', publicKey), signature);
    } catch {
      return false; // not a key
    }
  },
  createAgreement() {
    const { publicKey, privateKey } = generateKeyPairSync('x25519');
    return {
      publicKey: rawKey(publicKey),
      agree: (peer) => plain(diffieHellman({ privateKey, publicKey: publicKeyOf('X25519', peer) })),
    };
  },
  sealingKey(bytes) {
    const key = createSecretKey(bytes); // a copy: the caller wipes its own
    return {
      seal(nonce, header, plaintext) {
        const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
        cipher.setAAD(header);
        return concat(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
      },
      open(nonce, header, ciphertext) {
        if (ciphertext.length < TAG_BYTES) return null;
        const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
        decipher.setAAD(header);
        decipher.setAuthTag(ciphertext.subarray(-TAG_BYTES));
        const plaintext = decipher.update(ciphertext.subarray(0, -TAG_BYTES));
        try {
          decipher.final(); // nothing is left in it: GCM is a stream
        } catch {
          plaintext.fill(0);
          return null;
        }
        return plain(plaintext);
      },
    };
  },
  digest: (data) => plain(createHash('sha256').update(data).digest()),
};

/** An identity key of `node:crypto`: an Ed25519 private key, from PKCS #8 or as `generateKeyPairSync` gives it. */
export function nodeIdentity(privateKey: KeyObject): IdentityKey {
  if (privateKey.asymmetricKeyType !== 'ed25519') throw new Error('an identity key is an Ed25519 key');
  return {
    publicKey: rawKey(createPublicKey(privateKey)),
    sign: (data) => plain(sign(null, data, privateKey)),
  };
}

/** JWK both ways: OpenSSL takes ten times as long to read or write DER. */
function publicKeyOf(crv: 'Ed25519' | 'X25519', raw: Uint8Array): KeyObject {
  if (raw.length !== KEY_BYTES) throw new Error(`an ${crv} key has ${KEY_BYTES} bytes`);
  const x = Buffer.from(raw).toString('base64url');
  return createPublicKey({ key: { kty: 'OKP', crv, x }, format: 'jwk' });
}

const rawKey = (key: KeyObject): Uint8Array =>
  Uint8Array.from(Buffer.from(key.export({ format: 'jwk' }).x!, 'base64url'));

/** The same memory, so that wiping it wipes it, but no `Buffer`, whose `slice` is a view where ours copies. */
const plain = (bytes: Buffer): Uint8Array => new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
