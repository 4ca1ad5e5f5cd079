/**
 * Renewing the OT set-up of one pair: after poison, when a human approved it; after either side was restored; or by choice.
 * Key shares and other pairs are untouched. Each side keeps the new set-up as pending before it confirms, so a crash can
 * leave one side a step ahead; the hello of the next signature lists what each side holds and settles it.
 */
import { concat, equalBytes, Reader, u8 } from '../bytes.ts';
import { badInput, blaming, MpcError } from '../errors.ts';
import { list, taggedHash } from '../hash.ts';
import { type OtSetup, type PublicShare, wipeOtSetup } from '../key-share.ts';
import { encodeRef, type Inbox, type Machine, type Protocol, type SessionContext, type Step } from '../protocol.ts';
import { assertMembers, type Signer } from '../signers.ts';
import { type Arithmetic, nobleArithmetic, suiteOf } from '../suite.ts';
import { tags } from '../tags.ts';
import { PairSetup } from './setup.ts';

export interface RenewOptions {
  /** The sharing that the pair belongs to, of an ECDSA root. */
  readonly sharing: PublicShare;
  /** The two, ascending by index. */
  readonly pair: readonly [Signer, Signer];
  /** Id of the set-up that is replaced, 32 bytes; null when one side has none. */
  readonly replaces: Uint8Array | null;
  readonly reason: 'poisoned' | 'restored' | 'chosen';
  readonly store: {
    /** Beside the old one, before we confirm. */
    savePending(setup: OtSetup): Promise<void>;
    /** With the peer's confirmation: the new one is active, and the old one erased. */
    activate(id: Uint8Array, replaces: Uint8Array | null): Promise<void>;
  };
  readonly arithmetic?: Arithmetic;
}

export function renewSetup(options: RenewOptions): Protocol<OtSetup> {
  const { sharing, pair, replaces, reason, arithmetic = nobleArithmetic } = options;
  if (sharing.suite !== 'ecdsa-secp256k1') throw badInput('Only an ECDSA root has OT set-ups.');
  const participants = assertMembers(sharing, pair);
  const reasons = { poisoned: 1, restored: 2, chosen: 3 };
  const request = concat(
    encodeRef(sharing),
    ...pair.map(({ index }) => u8(index)),
    replaces ?? new Uint8Array(32),
    u8(reasons[reason]),
  );
  const { group } = suiteOf(sharing.suite, arithmetic);
  return {
    name: 'ot-renew',
    suite: 1,
    sharing,
    participants,
    request,
    begin: (context) => {
      const setup = new PairSetup({
        group,
        id: context.sid,
        own: context.me,
        peer: context.peers[0]!,
        random: context.random,
      });
      return new Renewal(options, context, setup);
    },
  };
}

/** Rounds: 1 offer, 2 extension, 3 correction, 4 reveal, 5 confirm. */
class Renewal implements Machine<OtSetup> {
  readonly #options: RenewOptions;
  readonly #context: SessionContext;
  readonly #setup: PairSetup;
  readonly #peer: number;
  #offer: Uint8Array;
  #confirmation = new Uint8Array(32);
  #made: OtSetup | null = null;

  constructor(options: RenewOptions, context: SessionContext, setup: PairSetup) {
    this.#options = options;
    this.#context = context;
    this.#setup = setup;
    this.#peer = context.peers[0]!;
    this.#offer = setup.offer();
  }

  start(): Step<OtSetup> {
    return this.#send(this.#offer);
  }

  step(round: number, inbox: Inbox): Step<OtSetup> {
    const { broadcast, pairwise } = inbox.get(this.#peer)!;
    return blaming(this.#peer, () => {
      if (round === 1) {
        const offers = this.#context.me < this.#peer ? [this.#offer, pairwise] : [pairwise, this.#offer];
        this.#confirmation = Uint8Array.from(taggedHash(tags.otRenewConfirm, this.#context.sid, list(offers)));
        return this.#send(this.#setup.answer(pairwise));
      }
      if (round === 2) return this.#send(this.#setup.correct(pairwise));
      if (round === 3) return this.#send(this.#setup.reveal(pairwise));
      return round === 4 ? this.#confirm(pairwise) : this.#finish(broadcast);
    });
  }

  dispose(): void {
    this.#setup.dispose();
    if (this.#made) wipeOtSetup(this.#made);
  }

  #confirm(revealed: Uint8Array): Step<OtSetup> {
    this.#setup.check(revealed);
    const made = this.#setup.take();
    this.#made = made;
    return {
      kind: 'send',
      before: () => this.#options.store.savePending(made),
      broadcast: this.#confirmation,
    };
  }

  #finish(confirmation: Uint8Array): Step<OtSetup> {
    const reader = new Reader(confirmation, 'confirmation');
    const theirs = reader.take(32);
    reader.end();
    if (!equalBytes(theirs, this.#confirmation))
      throw new MpcError('setup_failed', 'The peer confirms another set-up.', { failure: 'peer_fault' });
    const result = this.#made!;
    this.#made = null; // the caller's now
    return {
      kind: 'done',
      result,
      before: () => this.#options.store.activate(result.id, this.#options.replaces),
    };
  }

  #send(bytes: Uint8Array): Step<OtSetup> {
    return { kind: 'send', pairwise: new Map([[this.#peer, bytes]]) };
  }
}
