/**
 * The platform's native X25519, Ed25519, AES-256-GCM and SHA-256, as one argument: the envelopes use nothing else, and `webCrypto`
 * is the same code in Node and in browsers. A server may pass quicker functions of its own (`@kedge/mpc/fast`).
 */

type Awaitable<T> = T | Promise<T>;

/** A device's long-term Ed25519 key. `sign` may be a key store's: the private key need not be in this process. */
export interface IdentityKey {
  readonly publicKey: Uint8Array;
  sign(data: Uint8Array): Awaitable<Uint8Array>;
}

/** One X25519 key pair of one session. */
export interface Agreement {
  readonly publicKey: Uint8Array;
  /** 32 bytes; rejects a peer key that leads to the all-zero secret (RFC 7748 §6.1). */
  agree(peer: Uint8Array): Awaitable<Uint8Array>;
}

export interface SealingKey {
  /** Ciphertext with its tag. A nonce of 12 bytes is used once with a key. */
  seal(nonce: Uint8Array, header: Uint8Array, plaintext: Uint8Array): Awaitable<Uint8Array>;
  /** Null when it was not sealed like this. */
  open(nonce: Uint8Array, header: Uint8Array, ciphertext: Uint8Array): Awaitable<Uint8Array | null>;
}

export interface EnvelopeCrypto {
  verify(publicKey: Uint8Array, data: Uint8Array, signature: Uint8Array): Awaitable<boolean>;
  createAgreement(): Awaitable<Agreement>;
  /** AES-256-GCM. */
  sealingKey(key: Uint8Array): Awaitable<SealingKey>;
  /** SHA-256: of whole envelopes, which are too long to be hashed in JavaScript three times over. */
  digest(data: Uint8Array): Awaitable<Uint8Array>;
}

export function webCrypto(subtle: SubtleCrypto): EnvelopeCrypto {
  return {
    async verify(publicKey, data, signature) {
      try {
        const key = await subtle.importKey('raw', copy(publicKey), 'Ed25519', false, ['verify']);
        return await subtle.verify('Ed25519', key, copy(signature), copy(data));
      } catch {
        return false; // not a key, or a signature of another length
      }
    },
    async createAgreement() {
      const pair = (await subtle.generateKey('X25519', false, ['deriveBits'])) as CryptoKeyPair;
      return {
        publicKey: new Uint8Array(await subtle.exportKey('raw', pair.publicKey)),
        async agree(peer) {
          const key = await subtle.importKey('raw', copy(peer), 'X25519', false, []);
          return new Uint8Array(await subtle.deriveBits({ name: 'X25519', public: key }, pair.privateKey, 256));
        },
      };
    },
    async sealingKey(bytes) {
      const key = await subtle.importKey('raw', copy(bytes), 'AES-GCM', false, ['encrypt', 'decrypt']);
      const parameters = (nonce: Uint8Array, header: Uint8Array) => ({
        name: 'AES-GCM',
        iv: copy(nonce),
        additionalData: copy(header),
      });
      return {
        seal: async (nonce, header, plaintext) =>
          new Uint8Array(await subtle.encrypt(parameters(nonce, header), key, copy(plaintext))),
        async open(nonce, header, ciphertext) {
          try {
            return new Uint8Array(await subtle.decrypt(parameters(nonce, header), key, copy(ciphertext)));
          } catch {
            return null;
          }
        },
      };
    },
    digest: async (data) => new Uint8Array(await subtle.digest('SHA-256', copy(data))),
  };
}

/** An identity key of WebCrypto. Ed25519 signatures of 64 bytes (RFC 8032). */
export async function webIdentity(subtle: SubtleCrypto, pair: CryptoKeyPair): Promise<IdentityKey> {
  return {
    publicKey: new Uint8Array(await subtle.exportKey('raw', pair.publicKey)),
    sign: async (data) => new Uint8Array(await subtle.sign('Ed25519', pair.privateKey, copy(data))),
  };
}

/** WebCrypto's types want bytes that can't be shared memory; ours never are. */
const copy = (bytes: Uint8Array) => bytes as Uint8Array<ArrayBuffer>;
