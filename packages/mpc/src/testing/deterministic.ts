/** Devices whose every byte follows from a seed: the same traffic each time, so that it can be frozen and compared. */
import { createPrivateKey, createPublicKey, sign, webcrypto } from 'node:crypto';
import { shake256 } from '@noble/hashes/sha3.js';
import { concat, utf8 } from '../bytes.ts';
import type { EnvelopeCrypto, IdentityKey } from '../envelope-crypto.ts';
import { createEntropy } from '../random.ts';
import { type Device, MemoryJournal, MemoryPairs, MemorySharings, testCrypto } from './devices.ts';

const { subtle } = webcrypto as unknown as Crypto;
const ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');
const X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex');

export interface SeededDevice extends Device {
  readonly crypto: EnvelopeCrypto;
}

export function seededDevice(seed: string): SeededDevice {
  let drawn = 0;
  const draw = (length: number) => shake256(utf8(`${seed} ${drawn++}`), { dkLen: length });
  const key = createPrivateKey({ key: Buffer.from(concat(ED25519, draw(32))), format: 'der', type: 'pkcs8' });
  const publicKey = new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(12));
  const identity: IdentityKey = { publicKey, sign: (data) => new Uint8Array(sign(null, data, key)) };
  return {
    identity,
    entropy: createEntropy(draw, () => 0n),
    journal: new MemoryJournal(),
    pairs: new MemoryPairs(),
    sharings: new MemorySharings(),
    crypto: { ...testCrypto, createAgreement: () => seededAgreement(draw(32)) },
  };
}

async function seededAgreement(secret: Uint8Array) {
  const pkcs8 = Buffer.from(concat(X25519, secret));
  const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  const privateKey = await subtle.importKey('pkcs8', pkcs8, 'X25519', false, ['deriveBits']);
  return {
    publicKey: new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(12)),
    async agree(peer: Uint8Array) {
      const theirs = await subtle.importKey('raw', peer as Uint8Array<ArrayBuffer>, 'X25519', false, []);
      return new Uint8Array(await subtle.deriveBits({ name: 'X25519', public: theirs }, privateKey, 256));
    },
  };
}
