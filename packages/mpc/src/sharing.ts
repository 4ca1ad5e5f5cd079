/**
 * The machine behind keygen and resharing: commitments, openings, shares, the pairwise OT set-ups of an ECDSA root with
 * their self-test, and the signed confirmation that commits it all. Several roots run in one session and are confirmed by
 * one notice, so that a wallet never has half of its keys renewed.
 *
 * Rounds: 1 commit, 2 open, 3 deal, 4 to 6 test the OT set-ups (with an ECDSA root only), last: confirm.
 */
import { concat, EMPTY, equalBytes, Reader, u8 } from './bytes.ts';
import { assertEmpty, Dealing } from './dealing.ts';
import { blaming, MpcError, peerFault } from './errors.ts';
import { mod, type Point } from './group.ts';
import { list, taggedHash } from './hash.ts';
import { type KeyShare, keyIdOf, type OtSetup, type PublicShare, wipeKeyShare, wipeOtSetup } from './key-share.ts';
import { decodeNotice, encodeNotice, type Notice, signNotice, verifyNotice } from './notice.ts';
import { PairSetup, setupId } from './ot/setup.ts';
import { deviceFingerprint } from './participant.ts';
import type { Inbox, Machine, SessionContext, Step } from './protocol.ts';
import { proofBytes } from './schnorr-proof.ts';
import { evaluateCommitments } from './secret-sharing.ts';
import type { Suite } from './suite.ts';
import { tags } from './tags.ts';

/** A party of the new sharing. */
export interface Receiver {
  /** In the session. */
  readonly address: number;
  /** In the new sharing. */
  readonly index: number;
  readonly identityKey: Uint8Array;
}

export interface RootPlan {
  readonly suite: Suite;
  /** Null for a key that is being made. */
  readonly known: {
    readonly publicKey: Point;
    /** TH(cc; c), from the account record. */
    readonly chainCodeDigest: Uint8Array;
    /** Ours to hand on; null for one who is new to the key. */
    readonly chainCode: Uint8Array | null;
    /** λ_i·X_i by dealer address. */
    readonly constants: ReadonlyMap<number, Point>;
    /** λ_i·s_i; null when we deal nothing. */
    readonly constant: bigint | null;
  } | null;
}

export interface SharingPlan {
  readonly role: 'keygen' | 'reshare';
  /** Session addresses, ascending. */
  readonly dealers: readonly number[];
  /** Ascending by index. */
  readonly receivers: readonly Receiver[];
  readonly threshold: number;
  readonly roots: readonly RootPlan[];
  /** Of the group that gets the sharing; null for a new group. */
  readonly groupId: Uint8Array | null;
  readonly epoch: bigint;
  readonly createdAtMs: bigint;
  readonly store: SharingStore;
}

/** What everybody in the session knows of the new sharing, also those who leave. */
export interface SharingRecord {
  readonly sharingId: Uint8Array;
  /** What each receiver's `confirm` notice must say. */
  readonly digest: Uint8Array;
  readonly receivers: readonly Receiver[];
  /** Signed by self-test sessions before an address is shown: see `selfTests`. */
  readonly roots: readonly PublicShare[];
}

/** Our part of it. Secret. */
export interface NewShares {
  readonly shares: readonly KeyShare[];
  /** One for each peer, when there is an ECDSA root. */
  readonly setups: readonly OtSetup[];
}

/** The caller's database; each method resolves when its effect is durable. It copies what it keeps: a failed session wipes its own. */
export interface SharingStore {
  /** Before we confirm. From here on only the rules of `SharingStatus` may delete these shares. */
  savePending(record: SharingRecord, own: NewShares): Promise<void>;
  /** With everybody's confirmation: ours is ACTIVE; for one who leaves, the new sharing exists. */
  saveConfirmed(record: SharingRecord, confirmations: readonly Notice[]): Promise<void>;
}

export interface SharingResult {
  readonly record: SharingRecord;
  /** Null for one who leaves. */
  readonly own: NewShares | null;
  readonly confirmations: readonly Notice[];
}

interface Root {
  readonly plan: RootPlan;
  readonly sid: Uint8Array;
  readonly dealing: Dealing;
  chainCode: Uint8Array | null;
  chainCodeDigest: Uint8Array;
  commitments: readonly Point[];
  secret: bigint;
}

const CHAIN_CODE_BYTES = 32;
const ZERO_BYTES = 32;

/** The session id under which one root's proofs and hashes stand. */
export const rootSessionId = (sid: Uint8Array, suite: Suite): Uint8Array =>
  taggedHash(tags.rootSession, sid, u8(suite.id));

export class SharingMachine implements Machine<SharingResult> {
  readonly #plan: SharingPlan;
  readonly #context: SessionContext;
  readonly #roots: readonly Root[];
  readonly #own: Receiver | null;
  readonly #setups = new Map<number, PairSetup>();
  readonly #zeroContributions = new Map<number, Uint8Array>();
  readonly #zeroSeeds = new Map<number, Uint8Array>();
  #confirmRound = 0;
  #record: SharingRecord | null = null;
  #shares: NewShares | null = null;
  #confirmations: Notice[] = [];
  #isHandedOver = false;

  constructor(plan: SharingPlan, context: SessionContext) {
    this.#plan = plan;
    this.#context = context;
    this.#own = plan.receivers.find(({ address }) => address === context.me) ?? null;
    this.#roots = plan.roots.map((root) => {
      const sid = rootSessionId(context.sid, root.suite);
      const dealing = new Dealing(
        {
          group: root.suite.group,
          sid,
          me: context.me,
          dealers: plan.dealers,
          threshold: plan.threshold,
          role: plan.role,
          constants: root.known?.constants ?? null,
          contributionBytes: root.known ? 0 : CHAIN_CODE_BYTES,
        },
        root.known?.constant ?? null,
        context.random,
      );
      return {
        plan: root,
        sid,
        dealing,
        chainCode: root.known?.chainCode ?? null,
        chainCodeDigest: root.known?.chainCodeDigest ?? EMPTY,
        commitments: [],
        secret: 0n,
      };
    });
  }

  start(): Step<SharingResult> {
    return { kind: 'send', broadcast: concat(...this.#roots.map(({ dealing }) => dealing.commitment())) };
  }

  step(round: number, inbox: Inbox): Step<SharingResult> {
    if (round === this.#confirmRound) return this.#finish();
    if (round === 1) return this.#open(inbox);
    if (round === 2) return this.#deal(inbox);
    if (round === 3) return this.#receive(inbox);
    return this.#testSetups(round, inbox);
  }

  async around(round: number, inbox: Inbox, evaluate: () => Step<SharingResult>): Promise<Step<SharingResult>> {
    if (round === this.#confirmRound) await this.#collectConfirmations(inbox);
    return evaluate();
  }

  dispose(): void {
    for (const { dealing } of this.#roots) dealing.dispose();
    for (const setup of this.#setups.values()) setup.dispose();
    for (const bytes of this.#zeroContributions.values()) bytes.fill(0);
    for (const root of this.#roots) root.secret = 0n;
    if (!this.#isHandedOver) for (const seed of this.#zeroSeeds.values()) seed.fill(0);
    if (!this.#shares) return;
    this.#shares.shares.forEach(wipeKeyShare);
    this.#shares.setups.forEach(wipeOtSetup);
  }

  #open(inbox: Inbox): Step<SharingResult> {
    for (const [from, { broadcast }] of inbox) {
      blaming(from, () => {
        const reader = new Reader(broadcast, 'commitment');
        if (this.#plan.dealers.includes(from))
          for (const { dealing } of this.#roots) dealing.receiveCommitment(from, reader.take(32));
        reader.end();
      });
    }
    return { kind: 'send', broadcast: concat(...this.#roots.map(({ dealing }) => dealing.opening())) };
  }

  #deal(inbox: Inbox): Step<SharingResult> {
    for (const [from, { broadcast }] of inbox) {
      blaming(from, () => {
        const reader = new Reader(broadcast, 'opening');
        if (this.#plan.dealers.includes(from))
          for (const root of this.#roots) root.dealing.receiveOpening(from, reader.take(this.#openingBytes(root)));
        reader.end();
      });
    }
    for (const root of this.#roots) this.#agreeOnKey(root);
    const pairwise = new Map<number, Uint8Array>();
    for (const receiver of this.#plan.receivers) {
      if (receiver.address === this.#context.me) continue;
      const parts: Uint8Array[] = [];
      if (this.#isDealer(this.#context.me)) {
        for (const { dealing, plan, chainCode } of this.#roots)
          parts.push(dealing.shareFor(receiver.index), plan.known ? chainCode! : EMPTY);
      }
      const ecdsa = this.#ecdsaRoot();
      if (ecdsa && this.#own) {
        const zero = this.#context.random.bytes(`zero seed ${receiver.index}`, ZERO_BYTES);
        const setup = new PairSetup({
          group: ecdsa.plan.suite.group,
          id: setupId(ecdsa.sid, this.#own.index, receiver.index),
          own: this.#own.index,
          peer: receiver.index,
          random: this.#context.random,
        });
        this.#zeroContributions.set(receiver.address, zero);
        this.#setups.set(receiver.address, setup);
        parts.push(zero, setup.offer());
      }
      pairwise.set(receiver.address, concat(...parts));
    }
    return { kind: 'send', pairwise };
  }

  #receive(inbox: Inbox): Step<SharingResult> {
    const replies = new Map<number, Uint8Array>();
    if (this.#own) {
      const { index } = this.#own;
      for (const root of this.#roots) if (this.#isDealer(this.#context.me)) root.secret = root.dealing.ownShare(index);
      for (const [from, { pairwise }] of inbox) {
        blaming(from, () => {
          const reader = new Reader(pairwise, 'share');
          if (this.#isDealer(from)) for (const root of this.#roots) this.#addShare(root, from, index, reader);
          const setup = this.#setups.get(from);
          if (setup) {
            this.#agreeOnZeroSeed(from, reader.take(ZERO_BYTES));
            replies.set(from, setup.answer(reader.take(PairSetup.OFFER_BYTES)));
          }
          reader.end();
        });
      }
      for (const root of this.#roots) this.#checkOwnShare(root, index);
    } else for (const [from, { pairwise }] of inbox) blaming(from, () => assertEmpty(pairwise));
    return this.#ecdsaRoot() ? { kind: 'send', pairwise: replies } : this.#confirm(3);
  }

  /** Round 4: extension and correction; 5: correction and reveal; 6: reveal and verdict. */
  #testSetups(round: number, inbox: Inbox): Step<SharingResult> {
    const replies = new Map<number, Uint8Array>();
    for (const [from, { pairwise }] of inbox) {
      blaming(from, () => {
        const setup = this.#setups.get(from);
        if (!setup) return assertEmpty(pairwise);
        if (round === 4) replies.set(from, setup.correct(pairwise));
        else if (round === 5) replies.set(from, setup.reveal(pairwise));
        else setup.check(pairwise);
      });
    }
    return round < 6 ? { kind: 'send', pairwise: replies } : this.#confirm(6);
  }

  #confirm(round: number): Step<SharingResult> {
    this.#confirmRound = round + 1;
    const record = this.#makeRecord();
    this.#record = record;
    if (!this.#own) return { kind: 'send' };
    const shares = this.#makeShares(record);
    this.#shares = shares;
    return {
      kind: 'send',
      before: () => this.#plan.store.savePending(record, shares),
      broadcast: async () => {
        const notice = await signNotice('confirm', record.sharingId, record.digest, this.#context.identity);
        this.#confirmations.push(notice);
        return encodeNotice(notice);
      },
    };
  }

  async #collectConfirmations(inbox: Inbox): Promise<void> {
    for (const [from, { broadcast }] of inbox) {
      const receiver = this.#plan.receivers.find(({ address }) => address === from);
      if (!receiver) {
        blaming(from, () => assertEmpty(broadcast));
        continue;
      }
      const notice = blaming(from, () => decodeNotice(broadcast));
      const { sharingId, digest } = this.#record!;
      if (
        notice.kind !== 'confirm' ||
        !equalBytes(notice.identityKey, receiver.identityKey) ||
        !equalBytes(notice.sharingId, sharingId) ||
        !(await verifyNotice(notice, this.#context.crypto))
      )
        throw peerFault('bad_signature', from, 'A confirmation is not signed by its sender.');
      // Which of the two is wrong can't be told from here.
      if (!equalBytes(notice.digest, digest))
        throw new MpcError('equivocation', 'The parties do not confirm the same sharing.');
      this.#confirmations.push(notice);
    }
  }

  #finish(): Step<SharingResult> {
    const result = { record: this.#record!, own: this.#shares, confirmations: this.#confirmations };
    this.#shares = null; // they are the caller's now
    this.#isHandedOver = true;
    return {
      kind: 'done',
      result,
      before: () => this.#plan.store.saveConfirmed(result.record, result.confirmations),
    };
  }

  #isDealer(address: number): boolean {
    return this.#plan.dealers.includes(address);
  }

  #ecdsaRoot(): Root | undefined {
    return this.#roots.find(({ plan }) => plan.suite.name === 'ecdsa-secp256k1');
  }

  #openingBytes({ plan }: Root): number {
    const { group } = plan.suite;
    const contribution = plan.known ? 0 : CHAIN_CODE_BYTES;
    return this.#plan.threshold * (group.pointBytes + proofBytes(group)) + contribution + 32;
  }

  #agreeOnKey(root: Root): void {
    const { group } = root.plan.suite;
    const { known } = root.plan;
    root.commitments = root.dealing.commitments();
    if (group.isIdentity(root.commitments[0]!))
      throw new MpcError('out_of_range', 'The public key would be the identity.');
    if (!known) {
      root.chainCode = taggedHash(tags.keygenChainCode, root.sid, list(root.dealing.contributions()));
      root.chainCodeDigest = taggedHash(tags.chainCode, root.chainCode);
    } else if (!group.equals(root.commitments[0]!, known.publicKey))
      throw new MpcError('key_changed', 'The dealt constants do not add up to the public key.');
  }

  #addShare(root: Root, from: number, index: number, reader: Reader): void {
    const { group } = root.plan.suite;
    root.secret = mod(root.secret + root.dealing.checkShare(from, index, reader.take(32)), group.order);
    if (!root.plan.known) return;
    const chainCode = reader.take(CHAIN_CODE_BYTES);
    if (!equalBytes(taggedHash(tags.chainCode, chainCode), root.chainCodeDigest))
      throw peerFault('key_changed', from, 'A dealer handed on another chain code.');
    root.chainCode ??= chainCode.slice();
  }

  #checkOwnShare({ plan: { suite }, commitments, secret }: Root, index: number): void {
    const { group } = suite;
    const expected = evaluateCommitments(group, commitments, index);
    if (!group.equals(group.base(secret), expected))
      throw new MpcError('check_failed', 'Our own share does not fit the sum of the commitments.');
  }

  #agreeOnZeroSeed(from: number, theirs: Uint8Array): void {
    const { sid } = this.#ecdsaRoot()!;
    const own = this.#own!.index;
    const peer = this.#plan.receivers.find(({ address }) => address === from)!.index;
    const ours = this.#zeroContributions.get(from)!;
    const [low, high] = own < peer ? [ours, theirs] : [theirs, ours];
    const indices = [u8(Math.min(own, peer)), u8(Math.max(own, peer))];
    this.#zeroSeeds.set(peer, taggedHash(tags.zeroSeed, sid, ...indices, low, high));
  }

  #makeRecord(): SharingRecord {
    const { sid } = this.#context;
    const sharingId = taggedHash(tags.sharingId, sid).slice(0, 16);
    const groupId = this.#plan.groupId ?? taggedHash(tags.groupId, sid).slice(0, 16);
    const roots = this.#roots.map((root): PublicShare => {
      const { name, group } = root.plan.suite;
      const publicKey = group.encode(root.commitments[0]!);
      return {
        suite: name,
        keyId: keyIdOf(name, publicKey),
        groupId,
        sharingId,
        epoch: this.#plan.epoch,
        threshold: this.#plan.threshold,
        parties: this.#plan.receivers.map(({ index, identityKey }) => ({
          index,
          fingerprint: deviceFingerprint(identityKey),
          publicShare: group.encode(evaluateCommitments(group, root.commitments, index)),
        })),
        publicKey,
        chainCode: root.chainCode!,
        commitments: root.commitments.map((point) => group.encode(point)),
      };
    });
    const { role } = this.#plan;
    const items = this.#roots.map(({ chainCodeDigest }, at) =>
      list([
        roots[at]!.publicKey,
        chainCodeDigest,
        list(roots[at]!.parties.map(({ publicShare }) => publicShare)),
        list(roots[at]!.commitments),
      ]),
    );
    const digest = taggedHash(
      role === 'keygen' ? tags.keygenConfirm : tags.reshareConfirm,
      this.#context.transcript(),
      ...items,
    );
    return { sharingId, digest, receivers: this.#plan.receivers, roots };
  }

  #makeShares({ roots, digest }: SharingRecord): NewShares {
    const shares = this.#roots.map(({ plan: { suite }, secret }, at): KeyShare => {
      const isEcdsa = suite.name === 'ecdsa-secp256k1';
      return {
        ...roots[at]!,
        index: this.#own!.index,
        secret: suite.group.encodeScalar(secret),
        zeroSeeds: isEcdsa ? this.#zeroSeeds : new Map(),
        confirmation: digest,
        createdAtMs: this.#plan.createdAtMs,
      };
    });
    const setups = [...this.#setups.values()].map((setup) => setup.take());
    return { shares, setups };
  }
}
