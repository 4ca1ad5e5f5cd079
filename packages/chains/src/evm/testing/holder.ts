/** Test support: a holder of one EVM key, and the vectors it is checked against. Tests of this folder use it; nothing ships it. */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import type { TestHolder } from '../../chain.conformance.ts';
import type { ChainCodec, KeySignature } from '../../chain.ts';

export interface EvmHolder extends TestHolder {
  signDigest(digest: Uint8Array): Uint8Array;
}

export function holderOf(privateKey: Uint8Array): EvmHolder {
  const publicKey = secp256k1.getPublicKey(privateKey, true);
  const signDigest = (digest: Uint8Array) => secp256k1.sign(digest, privateKey, { prehash: false });
  return {
    publicKey,
    signDigest,
    sign: (digests) =>
      digests.map(({ input, digest }): KeySignature => ({ input, publicKey, signature: signDigest(digest) })),
  };
}

export function newHolder(): EvmHolder {
  return holderOf(secp256k1.utils.randomSecretKey());
}

export function signWith(codec: ChainCodec, unsigned: Uint8Array, holder: TestHolder): Uint8Array {
  return codec.final(codec.attach(unsigned, holder.sign(codec.digests(unsigned))));
}

export function toHex(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes).toString('hex')}`;
}

export function fromHex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.slice(2), 'hex'));
}
