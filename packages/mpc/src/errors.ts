/**
 * What can go wrong in a session, in the four classes of docs/mpc.md: the class decides what the caller may do next, and the
 * culprits are the session addresses of those who caused it. Messages name fields and rounds, never a value.
 */

/**
 * `drop`: ignore the message and count it. `retry`: nobody is to blame, start again under a new session.
 * `peer_fault`: the culprits broke the protocol; try again, but count. `poison`: the OT set-up with the culprit is
 * unusable for ever, and only a human may have it renewed.
 */
export type FailureClass = 'drop' | 'retry' | 'peer_fault' | 'poison';

export type MpcErrorCode =
  | 'aborted_by_peer'
  | 'bad_encoding'
  | 'bad_input'
  | 'bad_opening'
  | 'bad_proof'
  | 'bad_share'
  | 'bad_signature'
  | 'check_failed'
  | 'equivocation'
  | 'key_changed'
  | 'mixed_sharings'
  | 'no_common_setup'
  | 'not_allowed'
  | 'out_of_range'
  | 'peer_cloned'
  | 'poisoned'
  | 'session_over'
  | 'setup_failed'
  | 'unauthentic'
  | 'wrong_key';

export class MpcError extends Error {
  readonly code: MpcErrorCode;
  readonly failure: FailureClass;
  /** Session addresses, ascending. */
  readonly culprits: readonly number[];
  /** What a third party can check, when there is such a thing: two signed messages that contradict each other. */
  readonly evidence: readonly Uint8Array[];

  constructor(
    code: MpcErrorCode,
    message: string,
    {
      failure = 'retry',
      culprits = [],
      evidence = [],
    }: { failure?: FailureClass; culprits?: readonly number[]; evidence?: readonly Uint8Array[] } = {},
  ) {
    super(message);
    this.name = 'MpcError';
    this.code = code;
    this.failure = failure;
    this.culprits = culprits;
    this.evidence = evidence;
  }
}

/** The peer at `culprit` sent something that no honest peer sends. */
export function peerFault(code: MpcErrorCode, culprit: number, message: string): MpcError {
  return new MpcError(code, message, { failure: 'peer_fault', culprits: [culprit] });
}

/** The caller gave us something unusable; nothing was sent. */
export function badInput(message: string): MpcError {
  return new MpcError('bad_input', message);
}

/**
 * Runs the decoding or the check of what `culprit` sent, and names it in whatever fails. Decoders throw without a culprit,
 * because they do not know whose bytes they read; what poisons the OT set-up goes on poisoning it.
 */
export function blaming<T>(culprit: number, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MpcError) || error.culprits.length > 0) throw error;
    throw new MpcError(error.code, error.message, {
      failure: error.failure === 'poison' ? 'poison' : 'peer_fault',
      culprits: [culprit],
    });
  }
}
