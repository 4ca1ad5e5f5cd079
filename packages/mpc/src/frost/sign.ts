/**
 * Schnorr signing by exactly t of n with FROST: Taproot key-path spends (BIP340, BIP341) and Ed25519 (RFC 9591, RFC 8032).
 * The two rounds of arithmetic are noble's; who signs what with which commitments is checked here, because noble leaves
 * that to its caller. A nonce pair belongs to one session, is made in it, and is gone after it.
 */
import { concat, Reader, sized, u8, u32be, wipe } from '../bytes.ts';
import { derive } from '../derive.ts';
import { badInput, blaming, MpcError } from '../errors.ts';
import { type Group, mod, type Point } from '../group.ts';
import { type KeyShare, publicShareOf } from '../key-share.ts';
import { encodeRef, type Inbox, type Machine, type Protocol, type SessionContext, type Step } from '../protocol.ts';
import { assertSigners, type Signer } from '../signers.ts';
import { type Arithmetic, nobleArithmetic, suiteOf } from '../suite.ts';
import { type Frost, frostOf } from './suites.ts';
import { taprootOutput } from './taproot.ts';

export interface SchnorrSignature {
  /** 64 bytes: BIP340, or RFC 8032. */
  readonly bytes: Uint8Array;
  /** The key it verifies under: 32 bytes, x-only for BIP340. */
  readonly publicKey: Uint8Array;
}

export interface FrostSignOptions {
  /** Of `schnorr-secp256k1` or `eddsa-ed25519`. */
  readonly share: KeyShare;
  /** Exactly t, ascending by index, ourselves included. */
  readonly signers: readonly Signer[];
  readonly path: readonly number[];
  /** The whole message for Ed25519; the 32-byte sighash of BIP341 for Taproot. */
  readonly message: Uint8Array;
  /**
   * For `schnorr-secp256k1`: sign under the Taproot output key with this Merkle root (empty for a key-path-only output), or
   * under the derived key itself, as in a script leaf, with null.
   */
  readonly taproot: { readonly merkleRoot: Uint8Array } | null;
  /** What is bound to the signature besides: digest of the decoded transaction, policy version, expiry. */
  readonly intent: Uint8Array;
  /** Resolves when it is durable that this message counts as signed; see `EcdsaSignOptions`. */
  readonly beforeRelease: () => Promise<void>;
  readonly arithmetic?: Arithmetic;
}

export function signFrost(given: FrostSignOptions): Protocol<SchnorrSignature> {
  const options = { ...given, message: given.message.slice() }; // what the caller does to its own later signs nothing else
  const { share, signers, path, message, taproot, intent, arithmetic = nobleArithmetic } = options;
  if (share.suite === 'ecdsa-secp256k1') throw badInput('A share of ecdsa-secp256k1 does not sign Schnorr.');
  if (taproot && share.suite !== 'schnorr-secp256k1') throw badInput('Only a key of secp256k1 has a Taproot output.');
  if (share.suite === 'schnorr-secp256k1' && message.length !== 32) throw badInput('A sighash has 32 bytes.');
  const participants = assertSigners(share, signers);
  const suite = suiteOf(share.suite, arithmetic);
  const adjusted = adjust(options, suite.group);
  const request = concat(
    encodeRef(share),
    u8(path.length),
    ...path.map(u32be),
    adjusted.publicKey,
    sized(message),
    sized(intent),
  );
  return {
    name: 'sign-frost',
    suite: suite.id,
    sharing: share,
    participants,
    request,
    secret: share.secret,
    begin: (context) => new FrostSigning(options, suite.group, adjusted, context),
  };
}

interface Adjusted {
  /** As the verifier will see it. */
  readonly publicKey: Uint8Array;
  /** C_0 after derivation, negation and tweak. */
  readonly point: Point;
  /** The same three, for a share and for a public share. */
  readonly share: (secret: bigint) => bigint;
  readonly publicShare: (point: Point) => Point;
}

export class FrostSigning implements Machine<SchnorrSignature> {
  readonly #options: FrostSignOptions;
  readonly #group: Group;
  readonly #context: SessionContext;
  readonly #adjusted: Adjusted;
  readonly #frost: Frost;
  readonly #signers: readonly number[];
  readonly #secret: { identifier: string; signingShare: Uint8Array };
  readonly #public: {
    signers: { min: number; max: number };
    commitments: Uint8Array[];
    verifyingShares: Record<string, Uint8Array>;
  };
  #nonces: { hiding: Uint8Array; binding: Uint8Array } | null;
  readonly #commitments = new Map<number, { identifier: string; hiding: Uint8Array; binding: Uint8Array }>();
  readonly #parts: Record<string, Uint8Array> = {};

  constructor(options: FrostSignOptions, group: Group, adjusted: Adjusted, context: SessionContext) {
    this.#options = options;
    this.#group = group;
    this.#context = context;
    this.#adjusted = adjusted;
    const { share } = options;
    this.#frost = frostOf(share.suite);
    this.#signers = [context.me, ...context.peers].sort((a, b) => a - b);
    this.#secret = {
      identifier: this.#name(context.me),
      signingShare: group.encodeScalar(adjusted.share(group.decodeScalar(share.secret))),
    };
    this.#public = {
      signers: { min: share.threshold, max: share.parties.length },
      commitments: [group.encode(adjusted.point)],
      verifyingShares: this.#verifyingShares(),
    };
    // Not noble's `commit`: its nonces are hedged with the share through copies of it that stay in memory. The session's
    // randomness is hedged with the share already, and these are uniform scalars all the same.
    const { identifier } = this.#secret;
    const [hiding, binding] = ['hiding', 'binding'].map((name) => context.random.scalar(`frost: ${name}`, group.order));
    const nonces = { hiding: group.encodeScalar(hiding!), binding: group.encodeScalar(binding!) };
    const commitments = {
      identifier,
      hiding: group.encode(group.base(hiding!)),
      binding: group.encode(group.base(binding!)),
    };
    this.#nonces = nonces;
    this.#commitments.set(context.me, commitments);
  }

  start(): Step<SchnorrSignature> {
    const { hiding, binding } = this.#commitments.get(this.#context.me)!;
    return { kind: 'send', broadcast: concat(hiding, binding) };
  }

  step(round: number, inbox: Inbox): Step<SchnorrSignature> {
    return round === 1 ? this.#sign(inbox) : this.#aggregate(inbox);
  }

  dispose(): void {
    wipe(this.#secret.signingShare, this.#nonces?.hiding, this.#nonces?.binding);
    this.#nonces = null;
  }

  #sign(inbox: Inbox): Step<SchnorrSignature> {
    const nonces = this.#nonces;
    this.#nonces = null;
    if (!nonces) throw new MpcError('session_over', 'These nonces were already used.');
    try {
      for (const [from, { broadcast }] of inbox) {
        const [hiding, binding] = blaming(from, () => {
          const reader = new Reader(broadcast, 'nonce commitment');
          const points = [
            reader.take(this.#group.pointBytes).slice(),
            reader.take(this.#group.pointBytes).slice(),
          ] as const;
          reader.end();
          return points;
        });
        this.#commitments.set(from, { identifier: this.#name(from), hiding, binding });
      }
      const own = this.#signShare(nonces);
      this.#parts[this.#secret.identifier] = own;
      return { kind: 'send', before: this.#options.beforeRelease, broadcast: own };
    } finally {
      wipe(nonces.hiding, nonces.binding, this.#secret.signingShare); // also when signShare throws: noble wipes only on success
    }
  }

  /** It decodes every point; when it refuses one, we do it again to say whose. */
  #signShare(nonces: { hiding: Uint8Array; binding: Uint8Array }): Uint8Array {
    try {
      return this.#frost.signShare(this.#secret, this.#public, nonces, this.#list(), this.#options.message);
    } catch (error) {
      for (const index of this.#signers)
        blaming(index, () => {
          const { hiding, binding } = this.#commitments.get(index)!;
          for (const point of [hiding, binding]) this.#group.decode(point);
        });
      throw error;
    }
  }

  #aggregate(inbox: Inbox): Step<SchnorrSignature> {
    for (const [from, { broadcast }] of inbox) {
      blaming(from, () => this.#group.decodeScalar(broadcast));
      this.#parts[this.#name(from)] = broadcast;
    }
    const { message } = this.#options;
    const { publicKey } = this.#adjusted;
    let bytes: Uint8Array;
    try {
      bytes = this.#frost.aggregate(this.#public, this.#list(), message, this.#parts);
    } catch (error) {
      const { cheaters = [] } = error as { cheaters?: readonly string[] };
      const culprits = this.#signers.filter((index) => cheaters.includes(this.#name(index)));
      if (culprits.length === 0) throw new MpcError('check_failed', 'The signature does not verify.');
      throw new MpcError('bad_share', 'A signature share is false.', { failure: 'peer_fault', culprits });
    }
    return { kind: 'done', result: { bytes: bytes.slice(-64), publicKey } };
  }

  /** Exactly the signers, in order: the list that every binding factor is made from. */
  #list() {
    return this.#signers.map((index) => this.#commitments.get(index)!);
  }

  /** Computed when they are read: for Ed25519 that is only to find out who cheated. */
  #verifyingShares(): Record<string, Uint8Array> {
    const group = this.#group;
    const shares: Record<string, Uint8Array> = {};
    for (const index of this.#signers) {
      const get = () =>
        group.encode(this.#adjusted.publicShare(group.decode(publicShareOf(this.#options.share, index))));
      Object.defineProperty(shares, this.#name(index), { enumerable: true, get });
    }
    return shares;
  }

  #name(index: number): string {
    return this.#frost.Identifier.fromNumber(index);
  }
}

/** Derivation, and for Taproot the even-y rule and the tweak of BIP341, as maps of shares: they change the constant term. */
function adjust({ share, path, taproot }: FrostSignOptions, group: Group): Adjusted {
  const { order } = group;
  const { publicKey, point: child, tau } = derive(group, share.publicKey, share.chainCode, path);
  const derived: Adjusted = {
    publicKey,
    point: child,
    share: (secret) => mod(secret + tau, order),
    publicShare: (point) => group.add(point, group.base(tau)),
  };
  if (share.suite === 'eddsa-ed25519') return derived;
  if (!taproot) return { ...derived, publicKey: publicKey.slice(1) };
  const { isNegated, tweak, point, key } = taprootOutput(publicKey, taproot.merkleRoot, group);
  const sign = isNegated ? -1n : 1n;
  return {
    publicKey: key,
    point,
    share: (secret) => mod(sign * derived.share(secret) + tweak, order),
    publicShare: (share) => {
      const own = derived.publicShare(share);
      return group.add(isNegated ? group.negate(own) : own, group.base(tweak));
    },
  };
}
