/**
 * DANGER: whole private keys. Everything in this folder ends the safety of shares: it puts t of them together, for export
 * and for disaster recovery without the service. It runs offline, on the owner's own device; nothing here reads a network,
 * a clock or a disk, and nothing outside this folder assembles a key.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { createBase58check } from '@scure/base';
import { concat, equalBytes, toInteger, u8, u32be, utf8, wipe } from '../bytes.ts';
import { derive } from '../derive.ts';
import { badInput, MpcError } from '../errors.ts';
import { ed25519Group, mod } from '../group.ts';
import { assertPublicShare, type KeyShare, publicShareOf } from '../key-share.ts';
import { combine } from '../secret-sharing.ts';
import { type Arithmetic, nobleArithmetic, type SuiteName, suiteOf } from '../suite.ts';
import { tags } from '../tags.ts';

const base58check = createBase58check(sha256);
const XPRV = 0x0488ade4;
const XPUB = 0x0488b21e;

/** The root private key. Secret; `wipe()` it. */
export interface WholeKey {
  readonly suite: SuiteName;
  /** x, 32 bytes in the scalar encoding of the suite: big-endian for secp256k1, little-endian for ed25519. */
  readonly scalar: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly chainCode: Uint8Array;
  wipe(): void;
}

/**
 * From t or more shares of one sharing. Throws `mixed_sharings` for shares that do not belong together, and `bad_share` with
 * the index of a share that is not on its polynomial. With more than t shares every further one is checked too.
 */
export function assembleWholeKey(shares: readonly KeyShare[], arithmetic: Arithmetic = nobleArithmetic): WholeKey {
  const [first] = shares;
  if (!first) throw badInput('There are no shares.');
  for (const share of shares) {
    const same =
      share.suite === first.suite &&
      equalBytes(share.keyId, first.keyId) &&
      equalBytes(share.sharingId, first.sharingId) &&
      share.epoch === first.epoch &&
      equalBytes(share.chainCode, first.chainCode);
    if (!same)
      throw new MpcError(
        'mixed_sharings',
        `Share ${share.index} is of epoch ${share.epoch} or of another group: fetch one of the same backup.`,
      );
    assertPublicShare(share, arithmetic);
  }
  const indices = new Set(shares.map(({ index }) => index));
  if (indices.size !== shares.length) throw badInput('A share was given twice.');
  if (shares.length < first.threshold) throw badInput(`${first.threshold} shares are needed; ${shares.length} given.`);
  const { group } = suiteOf(first.suite, arithmetic);
  const scalars = new Map<number, bigint>();
  for (const { index, secret } of shares) {
    const scalar = group.decodeScalar(secret);
    if (!group.equals(group.base(scalar), group.decode(publicShareOf(first, index))))
      throw new MpcError('bad_share', `Share ${index} is damaged: it does not fit its public share.`, {
        culprits: [index],
      });
    scalars.set(index, scalar);
  }
  const all = [...scalars];
  const { order } = group;
  const secret = combine(new Map(all.slice(0, first.threshold)), order);
  const again = combine(new Map(all.slice(-first.threshold)), order);
  if (secret !== again || !group.equals(group.base(secret), group.decode(first.publicKey)))
    throw new MpcError('wrong_key', 'The shares do not add up to the key of the account record.');
  const scalar = group.encodeScalar(secret);
  return {
    suite: first.suite,
    scalar,
    publicKey: first.publicKey,
    chainCode: first.chainCode,
    wipe: () => wipe(scalar),
  };
}

/** BIP32: depth 0, no parent. A string, because that is what it is for: show it, then forget it. */
export function toXprv({ suite, scalar, chainCode }: WholeKey): string {
  if (suite === 'eddsa-ed25519') throw badInput('An ed25519 key has no xprv; export the scalar.');
  const bytes = concat(u32be(XPRV), u8(0), u32be(0), u32be(0), chainCode, u8(0), scalar);
  const text = base58check.encode(bytes);
  wipe(bytes);
  return text;
}

/** The public half, to be compared with the account record before anything is shown. */
export function toXpub({ suite, publicKey, chainCode }: Pick<WholeKey, 'suite' | 'publicKey' | 'chainCode'>): string {
  if (suite === 'eddsa-ed25519') throw badInput('An ed25519 key has no xpub.');
  return base58check.encode(concat(u32be(XPUB), u8(0), u32be(0), u32be(0), chainCode, publicKey));
}

/** The private key of a child, in the scalar encoding of the suite. It gives away the root to whoever has the chain code. */
export function deriveWholeKey(
  key: WholeKey,
  path: readonly number[],
  arithmetic: Arithmetic = nobleArithmetic,
): WholeKey {
  const { group } = suiteOf(key.suite, arithmetic);
  const { tau, publicKey, chainCode } = derive(group, key.publicKey, key.chainCode, path);
  const scalar = group.encodeScalar(mod(group.decodeScalar(key.scalar) + tau, group.order));
  return { suite: key.suite, scalar, publicKey, chainCode, wipe: () => wipe(scalar) };
}

/**
 * An Ed25519 signature by a raw scalar. The key was never derived from a seed of RFC 8032, so no seed-based wallet can import
 * it: this is how its owner signs the message that moves the funds. The nonce is SHA-512 over scalar and message, as in
 * RFC 8032 with the scalar in the place of the prefix.
 */
export function signEd25519WithScalar({ scalar, publicKey }: WholeKey, message: Uint8Array): Uint8Array {
  const { order, base, encode, encodeScalar, decodeScalar } = ed25519Group;
  const wide = (...parts: readonly Uint8Array[]) => toInteger(sha512(concat(...parts)).reverse()) % order;
  const nonce = wide(utf8(`kedge/v1/${tags.scalarNonce}`), scalar, message);
  const R = encode(base(nonce));
  const s = mod(nonce + wide(R, publicKey, message) * decodeScalar(scalar), order);
  const signature = concat(R, encodeScalar(s));
  if (!ed25519.verify(signature, message, publicKey)) throw new MpcError('wrong_key', 'The key does not sign.');
  return signature;
}
