/**
 * How often a failure may be tried again before a human is asked. Each failed set-up of a peer that guesses may tell it one
 * bit of what the next one uses, so these are counted per peer and durable; the caller stores the times.
 */
const DAY_MS = 24n * 60n * 60n * 1000n;

/** OT set-ups with one peer. */
const SETUPS_PER_DAY = 4;
const SETUPS_PER_LIFE = 32;
/** Faults of one peer, in any protocol. */
const FAULTS_PER_DAY = 3;
/** Signatures of one set of signers that failed and blame nobody. */
const UNATTRIBUTED_MAX = 3;

/** `timesMs`: of earlier failures, since a human last said to go on. */
export function mayRetry(
  kind: 'setup' | 'peer_fault' | 'unattributed',
  timesMs: readonly bigint[],
  nowMs: bigint,
): boolean {
  const today = timesMs.filter((time) => time > nowMs - DAY_MS).length;
  if (kind === 'setup') return today < SETUPS_PER_DAY && timesMs.length < SETUPS_PER_LIFE;
  return kind === 'peer_fault' ? today < FAULTS_PER_DAY : timesMs.length < UNATTRIBUTED_MAX;
}
