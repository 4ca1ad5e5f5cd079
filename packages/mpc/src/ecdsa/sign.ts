/**
 * ECDSA signing by exactly t of n: three rounds after hello (DKLs23, ePrint 2023/765; docs/mpc.md, "Signing"). Messages go
 * as soon as they can, so with two signers the exchange takes four flights. Every check of a peer's message runs before
 * anything that depends on it is sent; the three that could leak a secret bit run under the lock of that pair.
 */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { concat, EMPTY, equalBytes, Reader, sized, toInteger, u8, u32be, wipe } from '../bytes.ts';
import { derive } from '../derive.ts';
import { badInput, blaming, MpcError, peerFault } from '../errors.ts';
import { type Group, invert, mod, type Point } from '../group.ts';
import { hashToScalar, taggedHash } from '../hash.ts';
import type { KeyShare, OtSetup } from '../key-share.ts';
import { CORRECTION_BYTES, EXTENSION_BYTES, Multiplier, type MultiplySession, multiply } from '../ot/multiply.ts';
import { setupDirection } from '../ot/setup.ts';
import { assertUsable, judged, type PairState } from '../pair-state.ts';
import { encodeRef, type Inbox, type Machine, type Protocol, type SessionContext, type Step } from '../protocol.ts';
import { lagrange } from '../secret-sharing.ts';
import { assertSigners, type Signer } from '../signers.ts';
import { type Arithmetic, nobleArithmetic } from '../suite.ts';
import { tags } from '../tags.ts';

export interface EcdsaSignature {
  readonly r: bigint;
  /** At most (q − 1)/2. */
  readonly s: bigint;
  readonly recovery: 0 | 1;
  /** r ‖ s, 64 bytes. */
  readonly bytes: Uint8Array;
  /** The derived key it verifies under, 33 bytes. */
  readonly publicKey: Uint8Array;
}

export interface EcdsaSignOptions {
  readonly share: KeyShare;
  /** By peer index: set-ups that may be used, newest first. */
  readonly setups: ReadonlyMap<number, readonly OtSetup[]>;
  readonly pairs: PairState;
  /** Exactly t, ascending by index, ourselves included. */
  readonly signers: readonly Signer[];
  /** Not hardened; empty for the root key. */
  readonly path: readonly number[];
  /** 32 bytes, computed by ourselves from what we agreed to sign. */
  readonly digest: Uint8Array;
  /** What is bound to the signature besides: digest of the decoded transaction, policy version, expiry. */
  readonly intent: Uint8Array;
  /**
   * Resolves when it is durable that this message counts as signed: the last mover can finish alone from here on. It rejects
   * with an `MpcError` after an expiry or a cancel; then nothing is sent.
   */
  readonly beforeRelease: () => Promise<void>;
  readonly arithmetic?: Arithmetic;
}

export function signEcdsa(given: EcdsaSignOptions): Protocol<EcdsaSignature> {
  const options = { ...given, digest: given.digest.slice() }; // what the caller does to its own later signs nothing else
  const { share, setups, signers, path, digest, intent, arithmetic = nobleArithmetic } = options;
  if (share.suite !== 'ecdsa-secp256k1') throw badInput(`A share of ${share.suite} does not sign ECDSA.`);
  if (digest.length !== 32) throw badInput('A digest has 32 bytes.');
  const participants = assertSigners(share, signers);
  const derived = derive(arithmetic.secp256k1, share.publicKey, share.chainCode, path);
  const request = concat(
    encodeRef(share),
    u8(path.length),
    ...path.map(u32be),
    derived.publicKey,
    digest,
    sized(intent),
  );
  return {
    name: 'sign-ecdsa',
    suite: 1,
    sharing: share,
    participants,
    request,
    secret: share.secret,
    setups: new Map([...setups].map(([peer, list]) => [peer, list.map(({ id }) => id)])),
    begin: (context) => new EcdsaSigning(options, derived, arithmetic.secp256k1, context),
  };
}

interface PeerState {
  readonly index: number;
  readonly setup: OtSetup;
  readonly multiplier: Multiplier;
  commitment: Uint8Array;
  /** c^u and c^v: our shares of our inputs times the peer's factor. */
  shares: readonly [bigint, bigint];
}

const POINT = 33;
const OPENING_BYTES = POINT + 32 + POINT;

export class EcdsaSigning implements Machine<EcdsaSignature> {
  readonly #group: Group;
  readonly #options: EcdsaSignOptions;
  readonly #context: SessionContext;
  readonly #publicKey: Uint8Array;
  readonly #peers = new Map<number, PeerState>();
  readonly #salt: Uint8Array;
  readonly #nonceBytes: Uint8Array;
  readonly #nonceCommitment: Uint8Array;
  /** r_i, φ_i and λ_i(s_i + τ) + ζ_i: gone with `dispose`. */
  #secrets: { nonce: bigint; mask: bigint; key: bigint } | null;
  #keyPoint: Point;
  #keyCommitment: Uint8Array = EMPTY;
  #nonceSum: Point;
  #ownParts: readonly [bigint, bigint] = [0n, 0n];

  constructor(
    options: EcdsaSignOptions,
    derived: { publicKey: Uint8Array; tau: bigint },
    group: Group,
    context: SessionContext,
  ) {
    this.#options = options;
    this.#group = group;
    this.#context = context;
    this.#publicKey = derived.publicKey;
    const { random, me } = context;
    // All of them before the first secret is made, which nobody would wipe.
    const chosen = context.peers.map((peer) => {
      const id = context.setupWith(peer);
      const setup = id && options.setups.get(peer)?.find((each) => equalBytes(each.id, id));
      if (!setup)
        throw new MpcError('no_common_setup', 'There is no OT set-up that both sides hold; have it renewed.', {
          culprits: [peer],
        });
      return { peer, setup };
    });
    for (const { peer, setup } of chosen) {
      const multiplier = new Multiplier(this.#direction(setup, me, peer), { pairs: setup.pairs }, (purpose, length) =>
        random.bytes(`${purpose} towards ${peer}`, length),
      );
      this.#peers.set(peer, { index: peer, setup, multiplier, commitment: EMPTY, shares: [0n, 0n] });
    }
    const nonce = random.scalar('sign: nonce', group.order);
    this.#keyPoint = group.identity;
    this.#nonceSum = group.base(nonce);
    this.#nonceBytes = group.encode(this.#nonceSum);
    this.#salt = random.bytes('sign: salt', 32);
    this.#nonceCommitment = this.#commit(me, this.#nonceBytes, this.#salt);
    this.#secrets = {
      nonce,
      mask: random.scalar('sign: mask', group.order),
      key: additiveShare(options.share, group, context, derived.tau),
    };
  }

  start(): Step<EcdsaSignature> {
    const pairwise = new Map([...this.#peers].map(([peer, { multiplier }]) => [peer, multiplier.message]));
    return { kind: 'send', broadcast: this.#nonceCommitment, pairwise };
  }

  step(round: number, inbox: Inbox): Step<EcdsaSignature> {
    if (round === 1) return this.#answer(inbox);
    if (round === 2) return this.#release(inbox);
    return this.#combine(inbox);
  }

  async around(round: number, _: Inbox, evaluate: () => Step<EcdsaSignature>): Promise<Step<EcdsaSignature>> {
    return round > 2 ? evaluate() : judged(this.#options.pairs, this.#setupIds(), this.#context.sid, evaluate);
  }

  dispose(): void {
    this.#secrets = null;
    for (const { multiplier } of this.#peers.values()) multiplier.dispose();
    this.#salt.fill(0);
  }

  /** The same towards every peer, in an honest signer. */
  protected inputs(_: number, own: readonly [bigint, bigint]): readonly [bigint, bigint] {
    return own;
  }

  /** Round 2: as Alice on every peer's extension, with inputs r_i and sk_i. */
  #answer(inbox: Inbox): Step<EcdsaSignature> {
    const group = this.#group;
    const { nonce, mask, key } = this.#secrets!;
    this.#keyPoint = group.base(key);
    this.#keyCommitment = group.encode(this.#keyPoint);
    const pairwise = new Map<number, Uint8Array>();
    for (const [from, { broadcast, pairwise: extension }] of inbox) {
      const peer = this.#peers.get(from)!;
      blaming(from, () => {
        const reader = new Reader(broadcast, 'nonce commitment');
        peer.commitment = reader.take(32).slice();
        reader.end();
        const exact = new Reader(extension, 'extension');
        exact.take(EXTENSION_BYTES);
        exact.end();
      });
    }
    // Lengths of everybody first: a check that can poison runs only on what is otherwise in order.
    for (const [from, { pairwise: extension }] of inbox) {
      const peer = this.#peers.get(from)!;
      const { message, shares } = blaming(from, () =>
        multiply(
          this.#direction(peer.setup, from, this.#context.me),
          { delta: peer.setup.delta, seeds: peer.setup.chosen },
          extension,
          this.inputs(from, [nonce, key]),
          (purpose, length) => this.#context.random.bytes(`${purpose} towards ${from}`, length),
        ),
      );
      peer.shares = shares;
      const psi = mod(mask - peer.multiplier.factor, group.order);
      pairwise.set(
        from,
        concat(
          group.encode(group.base(shares[0])),
          group.encode(group.base(shares[1])),
          group.encodeScalar(psi),
          message,
        ),
      );
    }
    return {
      kind: 'send',
      before: () => assertUsable(this.#options.pairs, this.#setupIds()),
      broadcast: concat(this.#nonceBytes, this.#salt, this.#keyCommitment),
      pairwise,
    };
  }

  /** Round 3: all checks on all peers, then (u_i, w_i). */
  #release(inbox: Inbox): Step<EcdsaSignature> {
    const group = this.#group;
    const { order } = group;
    const { nonce, mask, key } = this.#secrets!;
    const read = [...inbox].map(([from, { broadcast, pairwise }]) =>
      blaming(from, () => this.#read(from, broadcast, pairwise)),
    );
    let psiSum = mask;
    let crossNonce = 0n;
    let crossKey = 0n;
    let keySum = this.#keyPoint;
    for (const { from, R, pk, gammaU, gammaV, psi, correction } of read) {
      const peer = this.#peers.get(from)!;
      const [du, dv] = blaming(from, () => peer.multiplier.finish(correction));
      // CHECK-PT, both equations at once: e is drawn after the peer is bound to everything.
      const check = this.#context.random.bytes(`sign: check ${from}`, 16);
      const e = toInteger(check);
      wipe(check);
      const left = group.mulSecret(group.add(R, group.mulPublic(pk, e)), peer.multiplier.factor);
      const right = group.add(group.add(group.base(mod(du + e * dv, order)), gammaU), group.mulPublic(gammaV, e));
      if (!group.equals(left, right))
        throw new MpcError('check_failed', 'A peer multiplied by something else than its nonce and key share.', {
          failure: 'poison',
          culprits: [from],
        });
      psiSum += psi;
      crossNonce += peer.shares[0] + du;
      crossKey += peer.shares[1] + dv;
      this.#nonceSum = group.add(this.#nonceSum, R);
      keySum = group.add(keySum, pk);
    }
    if (group.isIdentity(keySum) || !equalBytes(group.encode(keySum), this.#publicKey))
      throw this.#unattributed('The key shares do not add up to the public key.');
    const rx = this.#nonceX();
    const u = mod(nonce * psiSum + crossNonce, order);
    const v = mod(key * psiSum + crossKey, order);
    const w = mod(toInteger(this.#options.digest) * mask + rx * v, order);
    this.#ownParts = [u, w];
    return {
      kind: 'send',
      before: async () => {
        await this.#options.beforeRelease();
        await assertUsable(this.#options.pairs, this.#setupIds());
      },
      broadcast: concat(group.encodeScalar(u), group.encodeScalar(w)),
    };
  }

  #combine(inbox: Inbox): Step<EcdsaSignature> {
    const group = this.#group;
    const { order } = group;
    let [u, w] = this.#ownParts;
    for (const [from, { broadcast }] of inbox) {
      blaming(from, () => {
        const reader = new Reader(broadcast, 'signature part');
        u = mod(u + group.decodeScalar(reader.take(32)), order);
        w = mod(w + group.decodeScalar(reader.take(32)), order);
        reader.end();
      });
    }
    if (u === 0n || w === 0n) throw this.#unattributed('The parts of the signature add up to nothing.');
    const r = this.#nonceX();
    const parity = group.encode(this.#nonceSum)[0]! & 1;
    const computed = mod(w * invert(u, order), order);
    const isHigh = computed > order >> 1n;
    const s = isHigh ? order - computed : computed; // BIP62 and EIP-2
    const recovery = (isHigh ? parity ^ 1 : parity) as 0 | 1;
    const bytes = concat(group.encodeScalar(r), group.encodeScalar(s));
    // Recovering the key is verifying, and settles the recovery bit; by noble, whatever did the arithmetic above.
    if (!equalBytes(recoverPublicKey(bytes, recovery, this.#options.digest), this.#publicKey))
      throw this.#unattributed('The signature does not verify.');
    return { kind: 'done', result: { r, s, recovery, bytes, publicKey: this.#publicKey } };
  }

  #read(from: number, broadcast: Uint8Array, pairwise: Uint8Array) {
    const group = this.#group;
    const opening = new Reader(broadcast, 'opening');
    const bytes = opening.take(OPENING_BYTES);
    opening.end();
    const R = bytes.subarray(0, POINT);
    const reader = new Reader(pairwise, 'second message');
    const received = {
      from,
      R: group.decode(R),
      pk: group.decode(bytes.subarray(POINT + 32)),
      gammaU: group.decode(reader.take(POINT)),
      gammaV: group.decode(reader.take(POINT)),
      psi: group.decodeScalar(reader.take(32)),
      correction: reader.take(CORRECTION_BYTES),
    };
    reader.end();
    if (!equalBytes(this.#commit(from, R, bytes.subarray(POINT, POINT + 32)), this.#peers.get(from)!.commitment))
      throw peerFault('bad_opening', from, 'A nonce does not fit its commitment.');
    return received;
  }

  /** x(R), which must be below the order for the recovery bit to say all. */
  #nonceX(): bigint {
    const group = this.#group;
    if (group.isIdentity(this.#nonceSum)) throw new MpcError('out_of_range', 'The nonces cancel out; sign again.');
    const x = toInteger(group.encode(this.#nonceSum).subarray(1));
    if (x >= group.order || x === 0n) throw new MpcError('out_of_range', 'The nonce is out of range; sign again.');
    return x;
  }

  /** With two signers the other one did it; with more, nobody can be named. */
  #unattributed(message: string): MpcError {
    const { peers } = this.#context;
    if (peers.length === 1) return peerFault('check_failed', peers[0]!, message);
    return new MpcError('check_failed', message);
  }

  #setupIds(): Map<number, Uint8Array> {
    return new Map([...this.#peers].map(([peer, { setup }]) => [peer, setup.id]));
  }

  #direction(setup: OtSetup, bob: number, alice: number): MultiplySession {
    return { sid: this.#context.sid, otid: setupDirection(setup.id, bob, alice), bob, alice };
  }

  #commit(signer: number, nonce: Uint8Array, salt: Uint8Array): Uint8Array {
    return taggedHash(tags.signCommitment, this.#context.sid, u8(signer), nonce, salt);
  }
}

/**
 * sk_i = λ_i(s_i + τ) + ζ_i. The share is the one long-lived secret that is multiplied, so it is blinded: what the
 * multiplication sees is different in every session.
 */
function additiveShare(share: KeyShare, group: Group, { me, peers, random, sid }: SessionContext, tau: bigint): bigint {
  const { order } = group;
  const lambda = lagrange(me, [...peers, me], order);
  const blind = random.scalar('sign: blind', order);
  let zero = 0n;
  for (const peer of peers) {
    const part = hashToScalar(tags.zeroShare, order, share.zeroSeeds.get(peer)!, sid);
    zero += peer > me ? part : -part;
  }
  const blinded = lambda * mod(group.decodeScalar(share.secret) + tau + blind, order);
  return mod(blinded + mod(zero - lambda * blind, order), order);
}

/** The key under which r ‖ s signs the digest; empty when there is none. */
export function recoverPublicKey(signature: Uint8Array, recovery: 0 | 1, digest: Uint8Array): Uint8Array {
  try {
    return secp256k1.recoverPublicKey(concat(u8(recovery), signature), digest, { prehash: false });
  } catch {
    return EMPTY;
  }
}
