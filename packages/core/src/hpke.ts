/**
 * One-shot sealing between a client and the enclave: HPKE base mode (RFC 9180) with X25519, HKDF-SHA256 and
 * AES-256-GCM. Messages are `enc (32) ‖ ciphertext`. The sealing key of the enclave is made anew at each start and
 * never stored, so yesterday's traffic can't be opened with today's keys.
 */
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { concatBytes } from './bytes.ts';
import type { RandomBytes } from './clock.ts';
import { KedgeError } from './errors.ts';

const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const ENC = 32;

export interface SealingKey {
  readonly publicKey: Uint8Array;
  /** Throws `KedgeError('request_invalid')` for what was not sealed to this key with this info and aad. */
  open(message: Uint8Array, info: Uint8Array, aad: Uint8Array): Promise<Uint8Array>;
}

export async function createSealingKey(random: RandomBytes): Promise<SealingKey> {
  const pair = await suite.kem.deriveKeyPair(toBuffer(random(32)));
  return {
    publicKey: new Uint8Array(await suite.kem.serializePublicKey(pair.publicKey)),
    async open(message, info, aad) {
      try {
        if (message.length < ENC + 16) throw new RangeError('too short');
        const enc = toBuffer(message.subarray(0, ENC));
        const opened = await suite.open(
          { recipientKey: pair.privateKey, enc, info: toBuffer(info) },
          toBuffer(message.subarray(ENC)),
          toBuffer(aad),
        );
        return new Uint8Array(opened);
      } catch (cause) {
        throw new KedgeError(
          'request_invalid',
          'The sealed message does not open: it was made for another enclave, act or key.',
          { cause },
        );
      }
    },
  };
}

/** Throws `KedgeError('proof_invalid')` when the key is not a point that anything can be sealed to. */
export async function sealTo(
  publicKey: Uint8Array,
  plaintext: Uint8Array,
  info: Uint8Array,
  aad: Uint8Array,
): Promise<Uint8Array> {
  try {
    const recipientPublicKey = await suite.kem.deserializePublicKey(toBuffer(publicKey));
    const { enc, ct } = await suite.seal(
      { recipientPublicKey, info: toBuffer(info) },
      toBuffer(plaintext),
      toBuffer(aad),
    );
    return concatBytes(new Uint8Array(enc), new Uint8Array(ct));
  } catch (cause) {
    throw new KedgeError('proof_invalid', 'Nothing can be sealed to the answer key of this proof.', { cause });
  }
}

/** A copy. Not by `slice`: of a Buffer that is a view, and its `buffer` the pool with whatever else lies there. */
function toBuffer(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
