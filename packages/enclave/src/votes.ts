/**
 * Who voted: whether a vote is really that approver's. An approver with a key signs a proof over what is decided; one
 * without has a token, which is an HMAC under the root, so that nothing about it is stored and a database tells nobody how
 * to vote. What the votes amount to is not said here but in core's `approvers.ts`.
 */
import {
  type Address,
  type ApproverAct,
  addressBytes,
  approverSubject,
  assertMayVote,
  type CborValue,
  equalBytes,
  KedgeError,
  type ListRules,
  type TimeFacts,
  type Vote,
} from '@kedge/core';
import type { ProofChecker } from './proofs.ts';
import type { RootKeys } from './root-keys.ts';

/** What is voted on, as far as a vote is concerned. */
export interface Question {
  readonly act: ApproverAct;
  readonly project: string;
  readonly list: string;
  readonly rules: ListRules;
  /** What a proof must say beside the choice. */
  readonly parameters: { readonly [name: string]: CborValue };
  /** Names the question in the tokens of its links. */
  readonly address: Address;
  readonly votes: readonly Vote[];
  /** Since it was opened. */
  readonly elapsedMs: number;
}

export interface GivenVote {
  readonly approver: string;
  readonly choice: 'approve' | 'reject';
  readonly proof: string | null;
  readonly token: Uint8Array | null;
}

export interface VoteChecker {
  /**
   * The votes with this one; the same ones if it was counted before.
   * Throws `not_found`, `conflict` (voted otherwise, or over), `proof_…`, `forbidden`.
   */
  add(question: Question, vote: GivenVote): Promise<readonly Vote[]>;
  /** For every approver without a key. */
  tokens(question: Pick<Question, 'rules' | 'address'>): Promise<{ approver: string; token: Uint8Array }[]>;
}

export function createVoteChecker(rootKeys: RootKeys, proofs: ProofChecker): VoteChecker {
  const tokenOf = (address: Address, approver: string) =>
    rootKeys.mac(addressBytes(['kedge/vote-token/v1', ...address, approver]));

  return {
    async add({ act, project, list, rules, parameters, address, votes, elapsedMs }, vote) {
      const { choice, proof, token } = vote;
      const approver = rules.approvers.find(({ id }) => id === vote.approver);
      if (approver === undefined) throw new KedgeError('not_found', 'There is no such approver in the list.');
      if (approver.key !== null) {
        if (proof === null) throw new KedgeError('forbidden', 'This approver votes with a proof by their key.');
        const subject = approverSubject(project, list, approver.id);
        proofs.check(proof, { act, subject, parameters: { ...parameters, choice } }, [approver.key]);
      } else if (token === null || !equalBytes(token, await tokenOf(address, approver.id))) {
        throw new KedgeError('forbidden', 'The link of this vote is not the approver’s.');
      }
      // The answer to the first one may have been lost.
      if (votes.some((counted) => counted.approver === approver.id && counted.choice === choice)) return votes;
      const counted: Vote = { approver: approver.id, choice, atMs: elapsedMs };
      assertMayVote(rules, votes, counted, { openedAtMs: 0 });
      return [...votes, counted];
    },

    async tokens({ rules, address }) {
      const linked = rules.approvers.filter(({ key }) => key === null);
      return Promise.all(linked.map(async ({ id }) => ({ approver: id, token: await tokenOf(address, id) })));
    },
  };
}

/**
 * How long something has been open, by whichever clock says longer: neither a clock that is set back nor a service that
 * is switched off keeps a vote open beyond its window.
 */
export function openForMs(since: TimeFacts, now: TimeFacts): number {
  return Math.max(0, now.serviceMs - since.serviceMs, now.wallMs - since.wallMs);
}
