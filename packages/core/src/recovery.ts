/**
 * A recovery, from request to end: the one state machine of every scheme. It says which moves are legal, when cooling is
 * over, and which reminders are due; it decides nothing about votes (`approvers.ts`) or about other things that go on at
 * the same time (`conflicts.ts`). The enclave runs it on its own sealed state, and that decides; the gateway runs it on
 * its copy, for people. Pure: what time it is comes as facts.
 */
import { KedgeError } from './errors.ts';

export const recoveryStatuses = [
  /** Asked for; nobody was asked to vote yet. */
  'requested',
  /** Approvers vote. */
  'approving',
  /** Approved; everybody who was alerted may cancel. */
  'cooling',
  /** Cooling is over. */
  'releasable',
  /** The enclave has signed. */
  'released',
  /** Funds are on their way to the new vault; not every scheme has this. */
  'sweeping',
  'completed',
  'cancelled',
  'declined',
  'expired',
  'failed',
] as const;
export type RecoveryStatus = (typeof recoveryStatuses)[number];

/** What the enclave knows of time, each in milliseconds. A release needs all three. */
export interface TimeFacts {
  /** How long the service has really been up. */
  readonly serviceMs: number;
  /** Since 1970, as the machine believes. */
  readonly wallMs: number;
  /** Median time past of the Bitcoin chain, over headers whose work was checked; null where no chain is watched. */
  readonly chainMs: number | null;
}

export interface Recovery {
  readonly status: RecoveryStatus;
  /** Only ever lengthened. */
  readonly coolingPeriodMs: number;
  /** When cooling began; null before. */
  readonly coolingSince: TimeFacts | null;
  /** A rehearsal on throw-away keys: no period, no reminders. */
  readonly sandbox: boolean;
  /** Channels that took the first alert. */
  readonly alertsAccepted: number;
  /** Reminders that were attempted, by name; each once. */
  readonly reminders: readonly Reminder[];
}

/** `day_1` to `day_6` of a week; the last warning comes one day before the end. */
export type Reminder = `day_${number}` | 'final_warning';

/** Why a release has to wait. */
export type WaitsFor = 'service_time' | 'wall_clock' | 'chain_clock' | 'alert' | 'reminders';

const DAY_MS = 24 * 3_600_000;
export const COOLING_PERIOD_MS = 7 * DAY_MS;
export const COOLING_PERIOD_MS_MAX = 90 * DAY_MS;
/** Of the reminders of a week, how many must have been attempted before a release. */
const REMINDERS_NEEDED = 4;

/** Every legal move; what is missing here is refused. */
const moves: { readonly [From in RecoveryStatus]: readonly RecoveryStatus[] } = {
  requested: ['approving', 'cooling', 'cancelled', 'failed'],
  approving: ['cooling', 'declined', 'expired', 'cancelled', 'failed'],
  cooling: ['releasable', 'cancelled', 'failed'],
  releasable: ['released', 'cancelled', 'expired', 'failed'],
  // What was signed can't be called back: from here on nobody cancels.
  released: ['sweeping', 'completed', 'failed'],
  sweeping: ['completed', 'failed'],
  completed: [],
  cancelled: [],
  declined: [],
  expired: [],
  failed: [],
};

export function requestRecovery(options: { readonly coolingPeriodMs: number; readonly sandbox: boolean }): Recovery {
  const { coolingPeriodMs, sandbox } = options;
  assertCoolingPeriod(coolingPeriodMs);
  return {
    status: 'requested',
    coolingPeriodMs: sandbox ? 0 : coolingPeriodMs,
    coolingSince: null,
    sandbox,
    alertsAccepted: 0,
    reminders: [],
  };
}

/** Throws `conflict` for a move that there is not. To `cooling` and `releasable` lead functions of their own. */
export function moveRecovery(recovery: Recovery, to: Exclude<RecoveryStatus, 'cooling' | 'releasable'>): Recovery {
  return { ...recovery, status: legal(recovery, to) };
}

/** Approved: the period begins now. */
export function startCooling(recovery: Recovery, now: TimeFacts): Recovery {
  return { ...recovery, status: legal(recovery, 'cooling'), coolingSince: now };
}

/** Becomes `releasable` once nothing is waited for; otherwise unchanged. */
export function tickRecovery(recovery: Recovery, now: TimeFacts): Recovery {
  if (recovery.status !== 'cooling' || waitsFor(recovery, now).length > 0) return recovery;
  return { ...recovery, status: legal(recovery, 'releasable') };
}

/** An open recovery may be made to wait longer, never less. Throws `request_invalid`. */
export function lengthenCooling(recovery: Recovery, coolingPeriodMs: number): Recovery {
  assertCoolingPeriod(coolingPeriodMs);
  if (coolingPeriodMs < recovery.coolingPeriodMs)
    throw new KedgeError(
      'request_invalid',
      'The cooling period of an open recovery can be lengthened, never shortened.',
    );
  if (!isOpenRecovery(recovery.status) || recovery.sandbox)
    throw new KedgeError('conflict', `The recovery is ${recovery.sandbox ? 'a rehearsal' : recovery.status}.`);
  return { ...recovery, coolingPeriodMs };
}

/** Whether it can still become a release. */
export function isOpenRecovery(status: RecoveryStatus): boolean {
  return status === 'requested' || status === 'approving' || status === 'cooling' || status === 'releasable';
}

/** What a release still needs. Empty while it is no longer or not yet cooling does not mean that it may be released. */
export function waitsFor(recovery: Recovery, now: TimeFacts): readonly WaitsFor[] {
  const { coolingSince: since, coolingPeriodMs: period, sandbox, alertsAccepted, reminders } = recovery;
  if (since === null) return ['service_time', 'wall_clock'];
  const waits: WaitsFor[] = [];
  // Not `<`: what is no number must wait.
  if (!(now.serviceMs - since.serviceMs >= period)) waits.push('service_time');
  if (!(now.wallMs - since.wallMs >= period)) waits.push('wall_clock');
  if (since.chainMs !== null && !(now.chainMs !== null && now.chainMs - since.chainMs >= period))
    waits.push('chain_clock');
  if (sandbox) return waits;
  if (alertsAccepted < 1) waits.push('alert');
  if (reminders.length < Math.min(REMINDERS_NEEDED, remindersOf(period).length)) waits.push('reminders');
  return waits;
}

/** Reminders whose day has come by service time and that were not attempted yet, in order. */
export function remindersDue(recovery: Recovery, now: TimeFacts): readonly Reminder[] {
  const { status, coolingSince: since, coolingPeriodMs, sandbox } = recovery;
  if (status !== 'cooling' || since === null || sandbox) return [];
  const elapsed = now.serviceMs - since.serviceMs;
  return remindersOf(coolingPeriodMs)
    .filter(({ afterMs, reminder }) => elapsed >= afterMs && !recovery.reminders.includes(reminder))
    .map(({ reminder }) => reminder);
}

/** Noted before it is sent, so that a crash leaves one out rather than sending it twice. Again: unchanged. */
export function noteReminder(recovery: Recovery, reminder: Reminder): Recovery {
  if (recovery.reminders.includes(reminder)) return recovery;
  return { ...recovery, reminders: [...recovery.reminders, reminder] };
}

export function noteAlert(recovery: Recovery, channelsThatAccepted: number): Recovery {
  return { ...recovery, alertsAccepted: recovery.alertsAccepted + channelsThatAccepted };
}

/** One a day while a day is left, and on the last of these days the warning that it is the last. */
function remindersOf(periodMs: number): readonly { readonly reminder: Reminder; readonly afterMs: number }[] {
  const days = Math.floor(periodMs / DAY_MS) - 1;
  const daily = Array.from({ length: Math.max(0, days) }, (_, i) => ({
    reminder: `day_${i + 1}` as const,
    afterMs: (i + 1) * DAY_MS,
  }));
  return days < 1 ? daily : [...daily, { reminder: 'final_warning', afterMs: days * DAY_MS }];
}

function legal(recovery: Recovery, to: RecoveryStatus): RecoveryStatus {
  if (moves[recovery.status].includes(to)) return to;
  throw new KedgeError('conflict', `The recovery is ${recovery.status} and can't become ${to}.`);
}

/** Throws `request_invalid`. */
export function assertCoolingPeriod(coolingPeriodMs: number): void {
  if (Number.isInteger(coolingPeriodMs) && coolingPeriodMs >= 0 && coolingPeriodMs <= COOLING_PERIOD_MS_MAX) return;
  throw new KedgeError('request_invalid', 'A cooling period is from none to 90 days.');
}
