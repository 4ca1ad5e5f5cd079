/**
 * DANGER: online export. Exactly t holders, each after its user's approval, send their shares to one of them, sealed to that
 * device's key of this session. Every holder records for ever that the key was exported before its share leaves: whoever
 * exports one account has exported all of them.
 */
import { concat, sized, u8, wipe } from '../bytes.ts';
import { assertEmpty } from '../dealing.ts';
import { badInput, blaming, MpcError } from '../errors.ts';
import type { KeyShare } from '../key-share.ts';
import { encodeRef, type Inbox, type Machine, type Protocol, type SessionContext, type Step } from '../protocol.ts';
import { assertSigners, type Signer } from '../signers.ts';
import { type Arithmetic, nobleArithmetic, suiteOf } from '../suite.ts';
import { assembleWholeKey, type WholeKey } from './whole-key.ts';

export interface ExportOptions {
  readonly share: KeyShare;
  /** Exactly t, ascending by index. */
  readonly holders: readonly Signer[];
  /** The index of the one who gets the key. */
  readonly exporter: number;
  /** What the users approved. */
  readonly purpose: Uint8Array;
  /** Resolves when it is durable that this key was exported. */
  readonly markExported: () => Promise<void>;
  readonly arithmetic?: Arithmetic;
}

/** The key for the exporter, null for everybody else. */
export function exportKey(options: ExportOptions): Protocol<WholeKey | null> {
  const { share, holders, exporter, purpose, arithmetic = nobleArithmetic } = options;
  const participants = assertSigners(share, holders);
  if (!holders.some(({ index }) => index === exporter)) throw badInput('The one who exports is one of the holders.');
  return {
    name: 'export',
    suite: suiteOf(share.suite, arithmetic).id,
    sharing: share,
    participants,
    request: concat(encodeRef(share), u8(exporter), sized(purpose)),
    secret: share.secret,
    begin: (context) => new Exporting(options, arithmetic, context),
  };
}

class Exporting implements Machine<WholeKey | null> {
  readonly #options: ExportOptions;
  readonly #arithmetic: Arithmetic;
  readonly #context: SessionContext;

  constructor(options: ExportOptions, arithmetic: Arithmetic, context: SessionContext) {
    this.#options = options;
    this.#arithmetic = arithmetic;
    this.#context = context;
  }

  /** Nothing before everybody's first message was authenticated: a hello alone may be old, or a copied device's. */
  start(): Step<WholeKey | null> {
    return { kind: 'send' };
  }

  step(round: number, inbox: Inbox): Step<WholeKey | null> {
    const { exporter, share, markExported } = this.#options;
    if (round === 1) {
      const pairwise = new Map(this.#context.me === exporter ? [] : [[exporter, share.secret] as const]);
      return { kind: 'send', before: markExported, pairwise };
    }
    if (this.#context.me !== exporter) {
      for (const [from, { pairwise }] of inbox) blaming(from, () => assertEmpty(pairwise));
      return { kind: 'done', result: null };
    }
    const received = [...inbox].map(([index, { pairwise }]) => {
      blaming(index, () => suiteOf(share.suite, this.#arithmetic).group.decodeScalar(pairwise));
      return { ...share, index, secret: pairwise.slice() };
    });
    try {
      return { kind: 'done', result: assembleWholeKey([share, ...received], this.#arithmetic) };
    } catch (error) {
      if (error instanceof MpcError && error.code === 'bad_share')
        throw new MpcError('bad_share', error.message, { failure: 'peer_fault', culprits: error.culprits });
      throw error;
    } finally {
      for (const { secret } of received) wipe(secret);
    }
  }

  dispose(): void {
    // Shares are the caller's, and what was received is wiped where it is used.
  }
}
