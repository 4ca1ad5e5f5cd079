/** The output key of a Taproot address (BIP341): what a chain sees of a `schnorr-secp256k1` key, and what its shares are tweaked to. */
import { sha256 } from '@noble/hashes/sha2.js';
import { concat, toInteger, utf8 } from '../bytes.ts';
import { MpcError } from '../errors.ts';
import { type Group, type Point, secp256k1Group } from '../group.ts';

export interface TaprootOutput {
  /** P has an odd y: shares are negated before they are tweaked. */
  readonly isNegated: boolean;
  readonly tweak: bigint;
  /** Q = ±P + tG; its own y may be odd. */
  readonly point: Point;
  /** x(Q), 32 bytes. */
  readonly key: Uint8Array;
}

/** `publicKey` has 33 bytes; `merkleRoot` is empty for an output that only its key can spend. */
export function taprootOutput(
  publicKey: Uint8Array,
  merkleRoot: Uint8Array,
  group: Group = secp256k1Group,
): TaprootOutput {
  const isNegated = publicKey[0] === 3;
  const derived = group.decode(publicKey);
  const internal = isNegated ? group.negate(derived) : derived;
  const tweak = toInteger(taggedHashBip340('TapTweak', concat(publicKey.slice(1), merkleRoot)));
  const point = group.add(internal, group.base(tweak % group.order));
  if (tweak >= group.order || group.isIdentity(point))
    throw new MpcError('out_of_range', 'This key has no Taproot output; take the next one.');
  return { isNegated, tweak, point, key: group.encode(point).slice(1) };
}

function taggedHashBip340(tag: string, data: Uint8Array): Uint8Array {
  const prefix = sha256(utf8(tag));
  return sha256(concat(prefix, prefix, data));
}
