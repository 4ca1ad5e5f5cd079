/**
 * How a secret is dealt and dealt again: the polynomial part of keygen and resharing, for one root. Every dealer commits to
 * a polynomial, opens it with proofs of knowledge, and gives each receiver its value; the receivers' sums are shares of the
 * sum of the constants. Commit-and-open Feldman VSS, after Lindell 2022/374: nobody can choose last, and a false share
 * names its dealer.
 */
import { concat, equalBytes, Reader, u8 } from './bytes.ts';
import { peerFault } from './errors.ts';
import type { Group, Point } from './group.ts';
import { mod } from './group.ts';
import { list, taggedHash } from './hash.ts';
import type { SessionRandom } from './random.ts';
import { type ProofContext, proofBytes, prove, verifyProof } from './schnorr-proof.ts';
import { evaluate, evaluateCommitments } from './secret-sharing.ts';
import { tags } from './tags.ts';

export interface DealingPlan {
  readonly group: Group;
  /** Session id of this root. */
  readonly sid: Uint8Array;
  readonly me: number;
  /** Session addresses. */
  readonly dealers: readonly number[];
  /** New threshold: every polynomial has exactly as many coefficients. */
  readonly threshold: number;
  readonly role: 'keygen' | 'reshare';
  /** What each dealer must have committed to as its constant; null when it is free to choose. */
  readonly constants: ReadonlyMap<number, Point> | null;
  /** Bytes that each dealer contributes besides, committed to with the polynomial: a part of the chain code. */
  readonly contributionBytes: number;
}

interface Opened {
  readonly commitments: readonly Point[];
  readonly contribution: Uint8Array;
}

const SALT_BYTES = 32;

export class Dealing {
  readonly #plan: DealingPlan;
  readonly #isDealer: boolean;
  #coefficients: bigint[] = [];
  #own: Uint8Array | null = null;
  #proofs: Uint8Array[] = [];
  readonly #promised = new Map<number, Uint8Array>();
  readonly #opened = new Map<number, Opened>();

  /** `constant` is our own to deal; random when it is null. */
  constructor(plan: DealingPlan, constant: bigint | null, random: SessionRandom) {
    this.#plan = plan;
    const { group, sid, me, threshold, role, contributionBytes } = plan;
    this.#isDealer = plan.dealers.includes(me);
    if (!this.#isDealer) return;
    const name = `${role} ${sid.join('.')}`;
    this.#coefficients = Array.from({ length: threshold }, (_, k) =>
      k === 0 && constant !== null ? constant : random.scalar(`${name} coefficient ${k}`, group.order),
    );
    const points = this.#coefficients.map((coefficient) => group.base(coefficient));
    this.#proofs = points.map((point, k) =>
      prove(
        group,
        this.#proofContext(me, k),
        this.#coefficients[k]!,
        point,
        random.scalar(`${name} proof ${k}`, group.order),
      ),
    );
    const contribution = random.bytes(`${name} contribution`, contributionBytes);
    const salt = random.bytes(`${name} salt`, SALT_BYTES);
    this.#own = concat(...points.map((point) => group.encode(point)), contribution, salt);
    this.#opened.set(me, { commitments: points, contribution });
  }

  /** Round 1: TH(com; sid, i, t, list C, contribution, salt). Empty from one who deals nothing. */
  commitment(): Uint8Array {
    return this.#own ? this.#commitTo(this.#plan.me, this.#own) : new Uint8Array(0);
  }

  receiveCommitment(dealer: number, bytes: Uint8Array): void {
    if (!this.#plan.dealers.includes(dealer)) {
      assertEmpty(bytes);
      return;
    }
    const reader = new Reader(bytes, 'commitment');
    const commitment = reader.take(32).slice();
    reader.end();
    this.#promised.set(dealer, commitment);
  }

  /** Round 2: points, contribution, salt, and a proof for every coefficient. */
  opening(): Uint8Array {
    return this.#own ? concat(this.#own, ...this.#proofs) : new Uint8Array(0);
  }

  receiveOpening(dealer: number, bytes: Uint8Array): void {
    const { group, dealers, threshold, contributionBytes, constants } = this.#plan;
    if (!dealers.includes(dealer)) {
      assertEmpty(bytes);
      return;
    }
    const reader = new Reader(bytes, 'opening');
    const opening = reader.take(threshold * group.pointBytes + contributionBytes + SALT_BYTES);
    const proofs = Array.from({ length: threshold }, () => reader.take(proofBytes(group)));
    reader.end(); // exactly t points and t proofs, or the length is another
    if (!equalBytes(this.#commitTo(dealer, opening), this.#promised.get(dealer)!))
      throw peerFault('bad_opening', dealer, 'An opening does not fit its commitment.');
    const parts = new Reader(opening, 'opening');
    const commitments = Array.from({ length: threshold }, () => group.decode(parts.take(group.pointBytes)));
    commitments.forEach((point, k) => {
      if (!verifyProof(group, this.#proofContext(dealer, k), point, proofs[k]!))
        throw peerFault('bad_proof', dealer, `The proof for coefficient ${k} is false.`);
    });
    const expected = constants?.get(dealer);
    if (expected && !group.equals(commitments[0]!, expected))
      throw peerFault('key_changed', dealer, 'A dealer does not deal its own share: the key would change.');
    this.#opened.set(dealer, { commitments, contribution: parts.take(contributionBytes).slice() });
  }

  /** Round 3: our polynomial at the receiver's new index. */
  shareFor(index: number): Uint8Array {
    const { group } = this.#plan;
    return group.encodeScalar(evaluate(this.#coefficients, index, group.order));
  }

  /** The dealer's polynomial at our new index; throws when it is not on the committed polynomial. */
  checkShare(dealer: number, index: number, bytes: Uint8Array): bigint {
    const { group } = this.#plan;
    const share = group.decodeScalar(bytes);
    const expected = evaluateCommitments(group, this.#opened.get(dealer)!.commitments, index);
    if (!group.equals(group.base(share), expected))
      throw peerFault('bad_share', dealer, 'A share is not on the polynomial that its dealer committed to.');
    return share;
  }

  /** Our own value at our own index. */
  ownShare(index: number): bigint {
    return mod(evaluate(this.#coefficients, index, this.#plan.group.order), this.#plan.group.order);
  }

  /** C_k = Σ_j C_{j,k}, once everybody has opened. */
  commitments(): readonly Point[] {
    const { group, threshold, dealers } = this.#plan;
    return Array.from({ length: threshold }, (_, k) =>
      dealers.reduce((sum, dealer) => group.add(sum, this.#opened.get(dealer)!.commitments[k]!), group.identity),
    );
  }

  /** What the dealers contributed besides, in order of address. */
  contributions(): readonly Uint8Array[] {
    return this.#plan.dealers.map((dealer) => this.#opened.get(dealer)!.contribution);
  }

  dispose(): void {
    this.#coefficients = [];
    this.#own?.fill(0);
    this.#own = null;
  }

  #proofContext(prover: number, coefficient: number): ProofContext {
    return { sid: this.#plan.sid, prover, role: this.#plan.role, coefficient };
  }

  #commitTo(dealer: number, opening: Uint8Array): Uint8Array {
    const { group, sid, threshold, role, contributionBytes } = this.#plan;
    const reader = new Reader(opening, 'opening');
    const points = Array.from({ length: threshold }, () => reader.take(group.pointBytes));
    const items = [list(points), reader.take(contributionBytes), reader.take(SALT_BYTES)];
    return taggedHash(
      role === 'keygen' ? tags.keygenCommitment : tags.reshareCommitment,
      sid,
      u8(dealer),
      u8(threshold),
      ...items,
    );
  }
}

/** Those who deal nothing have nothing to say. */
export function assertEmpty(bytes: Uint8Array): void {
  new Reader(bytes, 'message of one who deals nothing').end();
}
