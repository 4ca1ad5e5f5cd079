/**
 * What a recovery is to release, written down before anybody votes: whose key, which wallet, and either the very
 * transactions or the one address that everything goes to. Approvers vote over its hash, the enclave signs what fits it and
 * nothing else. SDK, gateway and enclave compute the hash here, so that none of them can mean another plan.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { type Approver, type ApproverList, assertApproverList, type QuorumPolicy, quorumOf } from './approvers.ts';
import { concatBytes, fromBase64Url, utf8ToBytes } from './bytes.ts';
import { type CborValue, encodeCbor } from './cbor.ts';
import { SECOND_MS } from './clock.ts';
import { KedgeError } from './errors.ts';
import type { ProofKey } from './proof.ts';
import { assertCoolingPeriod } from './recovery.ts';

export interface RecoveryPlan {
  readonly project: string;
  /** The recovery's id: two recoveries of one content are two plans. */
  readonly recovery: string;
  /** The approver list that decides. */
  readonly list: string;
  /** Whose key: the user as the integrator names them, and the key's id. */
  readonly user: string;
  readonly key: string;
  /** CAIP-2, as `Chain.network` spells it. */
  readonly network: string;
  /** The account that pays: an output descriptor on Bitcoin, else the address. */
  readonly account: string;
  readonly release: PlannedRelease;
  /** A rehearsal on a throw-away key: nothing that it signs is worth anything. */
  readonly sandbox: boolean;
}

export type PlannedRelease =
  /** These transactions, in this order, as `ChainCodec.planId` names them: hex. */
  | { readonly kind: 'transactions'; readonly ids: readonly string[] }
  /** Any transactions of the account that pay to this address and nowhere else. Bitcoin only. */
  | { readonly kind: 'sweep'; readonly destination: string };

/** Transactions in one release. */
export const RELEASE_TRANSACTIONS_MAX = 20;
/** Of one unsigned transaction, in bytes. */
export const RELEASE_TRANSACTION_BYTES_MAX = 256 * 1024;
/** Of all of one release together, so that they fit a frame to the enclave and a request to the gateway. */
export const RELEASE_BYTES_MAX = 640 * 1024;

const domain = utf8ToBytes('kedge/recovery-plan/v1\0');

/** SHA-256 over deterministic CBOR: 32 bytes. */
export function planHash({ release, ...plan }: RecoveryPlan): Uint8Array {
  const planned: CborValue =
    release.kind === 'sweep'
      ? { kind: release.kind, destination: release.destination }
      : { kind: release.kind, ids: [...release.ids] };
  return sha256(concatBytes(domain, encodeCbor({ ...plan, release: planned })));
}

/** An approver as the enclave knows them: by the key that signs their votes, or by nothing but the link in a mail. */
export interface ListedApprover extends Approver {
  readonly key: ProofKey | null;
}

/** An approver list with everything that a recovery under it keeps to. */
export interface ListRules extends ApproverList {
  readonly approvers: readonly ListedApprover[];
  /** How long everybody who was alerted may still cancel, after the approval; 0 for not at all. */
  readonly coolingPeriodMs: number;
  /**
   * Whether approvers who have only a link may decide alone. Whoever holds the gateway reads the mails that it sends, and
   * could then vote for them: without this word such a list is refused.
   */
  readonly linksSuffice: boolean;
}

/** A list as it stands on the wire, without what only people need. */
interface WireList {
  readonly approvers: readonly {
    readonly approver_id: string;
    readonly public_key: string | null;
    readonly veto: boolean;
    readonly must_approve: boolean;
  }[];
  readonly policy: QuorumPolicy;
  readonly window_s: number;
  readonly cooling_period_s: number;
  readonly links_suffice: boolean;
}

/** `public_key`: `p256:` or `ed25519:` and base64url, as the schema says. */
export function listRulesOf(list: WireList): ListRules {
  return {
    approvers: list.approvers.map(({ approver_id: id, public_key, veto, must_approve: mustApprove }) => {
      const [algorithm, key] = (public_key?.split(':') ?? []) as [ProofKey['algorithm'], string];
      return { id, veto, mustApprove, key: public_key === null ? null : { algorithm, publicKey: fromBase64Url(key) } };
    }),
    policy: list.policy,
    windowMs: list.window_s * SECOND_MS,
    coolingPeriodMs: list.cooling_period_s * SECOND_MS,
    linksSuffice: list.links_suffice,
  };
}

/** Throws `request_invalid` for rules that decide nothing, or that a gateway could decide by itself. */
export function assertListRules(rules: ListRules): void {
  assertApproverList(rules);
  // Or the list would be made, bound for good, and no recovery under it could begin.
  assertCoolingPeriod(rules.coolingPeriodMs);
  // Without a slash, so that subjects of proofs can't be read in two ways.
  if (!rules.approvers.every(({ id }) => /^[A-Za-z0-9_-]{1,64}$/.test(id)))
    throw new KedgeError(
      'request_invalid',
      'The id of an approver has 1 to 64 letters, digits, hyphens or underscores.',
    );
  const keyed = rules.approvers.filter(({ key }) => key !== null);
  const spelled = new Set(keyed.map(({ key }) => `${key!.algorithm}:${key!.publicKey.join()}`));
  if (spelled.size !== keyed.length)
    throw new KedgeError('request_invalid', 'Two approvers have the same key. Each must have their own.');
  if (rules.linksSuffice || keyed.some(({ mustApprove }) => mustApprove)) return;
  if (rules.approvers.length - keyed.length >= quorumOf(rules))
    throw new KedgeError(
      'request_invalid',
      'Approvers without a key could approve alone, and whoever runs the gateway could vote for them. Give more approvers a key, make one with a key a must-approve, or say links_suffice.',
    );
}

/** Of a list's content: what a vote on its change is over. 32 bytes. */
export function listHash({ approvers, policy, windowMs, coolingPeriodMs, linksSuffice }: ListRules): Uint8Array {
  const value: CborValue = {
    approvers: approvers.map(({ id, veto, mustApprove, key }) => ({
      id,
      veto,
      must_approve: mustApprove,
      key: key && { algorithm: key.algorithm, public_key: key.publicKey },
    })),
    policy: { ...policy },
    window_ms: windowMs,
    cooling_period_ms: coolingPeriodMs,
    links_suffice: linksSuffice,
  };
  return sha256(concatBytes(utf8ToBytes('kedge/approver-list/v1\0'), encodeCbor(value)));
}

/** An approver as a proof names them: with the project and the list, or a vote would hold for the same id elsewhere. */
export function approverSubject(project: string, list: string, approver: string): string {
  return `${project}/${list}/${approver}`;
}
