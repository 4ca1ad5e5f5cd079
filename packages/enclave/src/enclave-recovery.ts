/**
 * What the gateway may ask about approver lists and recoveries: the second page of `enclave.ts`. The gateway names
 * lists, keys and plans; who decides over a key was settled when its list was bound, and from then on the list's own
 * votes alone change it. The enclave counts the votes, waits out the cooling on its own clock and signs once. What a
 * hostile gateway can do with these: ask, cancel, keep silent. For an approver who has only a link it can vote, as it
 * reads the mails that it sends; core's `ListRules.linksSuffice` says where that counts.
 */
import type { ListRules, Outcome, RecoveryPlan, RecoveryStatus, Reminder, WaitsFor } from '@kedge/core';
import type { Signed } from './enclave.ts';

/** Where a recovery stands, on the enclave's own state and clocks, at the moment of the answer. */
export interface RecoveryView {
  readonly status: RecoveryStatus;
  /** What the votes amount to; `cooling` and what follows only after `approved`. */
  readonly votes: Outcome;
  /** What a release still waits for; empty unless `cooling`. */
  readonly waitsFor: readonly WaitsFor[];
  /** Service time in ms until cooling could be over; null unless `cooling`. */
  readonly coolingLeftMs: number | null;
  /** Every reminder whose time has come so far, in order: each is to be sent once. */
  readonly reminders: readonly Reminder[];
}

/** A vote and what shows that it is the approver's: a proof by their key, or the token of their link. */
interface VoteCall {
  readonly approver: string;
  readonly choice: 'approve' | 'reject';
  readonly proof: string | null;
  readonly token: Uint8Array | null;
}

/** One signature that the enclave released. */
export interface ReleasedSignature {
  /** Which of the transactions, from 0. */
  readonly transaction: number;
  readonly input: number;
  /** The key that signed: SEC1 compressed or Ed25519. */
  readonly publicKey: Uint8Array;
  /** 64 bytes: ECDSA `r ‖ s` with low `s`, or Ed25519. */
  readonly signature: Uint8Array;
}

interface RecoveryCall {
  readonly project: string;
  readonly recovery: string;
}

export interface EnclaveRecoveries {
  /** Idempotent for the same content; `conflict` for another. Throws `request_invalid`. The receipt names `listHash`. */
  createApproverList(call: {
    readonly project: string;
    readonly list: string;
    readonly rules: ListRules;
  }): Promise<{ receipt: Signed }>;
  /** Which list decides over a key: once, for good. Throws `not_found`, `conflict`. */
  bindApproverList(call: {
    readonly project: string;
    readonly user: string;
    readonly key: string;
    readonly list: string;
  }): Promise<{ receipt: Signed }>;
  /** One at a time, and none while a recovery under the list runs. Idempotent for the same change and rules. */
  openListChange(call: {
    readonly project: string;
    readonly list: string;
    readonly change: string;
    readonly rules: ListRules;
  }): Promise<{ outcome: Outcome; receipt: Signed }>;
  /** By the present members under the present policy; the approval applies it at once. */
  voteListChange(
    call: { readonly project: string; readonly list: string; readonly change: string } & VoteCall,
  ): Promise<{ outcome: Outcome; receipt: Signed }>;
  /** What the votes on a change amount to by now; closes one whose window is over. Throws `not_found`. */
  listChange(call: {
    readonly project: string;
    readonly list: string;
    readonly change: string;
  }): Promise<{ outcome: Outcome }>;
  /** The tokens of links for votes on a change, as {@link EnclaveRecoveries.recoveryTokens}. */
  listChangeTokens(call: { readonly project: string; readonly list: string; readonly change: string }): Promise<{
    readonly tokens: readonly { readonly approver: string; readonly token: Uint8Array }[];
  }>;

  /**
   * The public half of the key that plays the backup key in the rehearsal of that id; of the same type, and worth nothing.
   * It is asked for first, so that a wallet can be made with it. Throws `not_found`.
   */
  throwAwayKey(
    call: RecoveryCall & { readonly user: string; readonly key: string },
  ): Promise<{ readonly publicKey: Uint8Array }>;
  /**
   * Opens a recovery; voting starts. Idempotent for the same plan.
   * Throws `not_found` (key, list), `conflict` (a recovery runs, a change is open, another list decides).
   */
  requestRecovery(call: { readonly plan: RecoveryPlan }): Promise<{ view: RecoveryView; receipt: Signed }>;
  /** The tokens for the links of approvers without a key: 32 bytes each, the same at each call. */
  recoveryTokens(call: RecoveryCall): Promise<{
    readonly tokens: readonly { readonly approver: string; readonly token: Uint8Array }[];
  }>;
  voteRecovery(call: RecoveryCall & VoteCall): Promise<{ view: RecoveryView; receipt: Signed }>;
  /** How many channels took the first alert. A release waits for one. */
  noteRecoveryAlert(call: RecoveryCall & { readonly channels: number }): Promise<{ view: RecoveryView }>;
  /** Lets time do what it does: closes the window, ends the cooling, gives reminders that are due. */
  tickRecovery(call: RecoveryCall): Promise<{ view: RecoveryView; receipt: Signed }>;
  /** Idempotent. Throws `conflict` once it was released or is over otherwise. */
  cancelRecovery(call: RecoveryCall & { readonly by: string }): Promise<{ view: RecoveryView; receipt: Signed }>;
  /** The age files of a cold key, each for one officer; only while the recovery is `releasable`, or `released` and not at its end. */
  coldFiles(call: RecoveryCall): Promise<{ readonly files: readonly Uint8Array[] }>;
  /**
   * The only way to a signature by a backup key. Durable before the first signature; the same call again gives the same
   * signatures, another one `conflict`. `backup`: the OAEP ciphertext of the chain code, for secp256k1 on Bitcoin.
   * `thaws`: of a cold key, two shares, each HPKE to the sealing key, see sdk/officer.ts.
   * `rehearsed`: in a rehearsal, the real key's stored backup, which is checked for the certificate.
   */
  releaseRecovery(
    call: RecoveryCall & {
      readonly transactions: readonly Uint8Array[];
      readonly backup: { readonly version: number; readonly data: Uint8Array } | null;
      readonly thaws: readonly Uint8Array[];
      readonly rehearsed: { readonly version: number; readonly data: Uint8Array } | null;
    },
  ): Promise<{
    readonly signatures: readonly ReleasedSignature[];
    readonly view: RecoveryView;
    readonly receipt: Signed;
    /** Of a rehearsal: kind `drill-certificate`, core's `DrillCertificate`. */
    readonly certificate: Signed | null;
  }>;
  /** How a release ended, by the gateway's word: from then on another recovery may begin. Idempotent. */
  completeRecovery(
    call: RecoveryCall & { readonly outcome: 'completed' | 'failed' },
  ): Promise<{ view: RecoveryView; receipt: Signed }>;
}
