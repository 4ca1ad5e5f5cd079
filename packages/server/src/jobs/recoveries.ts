/**
 * Wakes recoveries and list changes whose time has come, and tells of rehearsals that are overdue. The scheduler runs
 * it; what is due stands in rows, found by an index that holds nothing else, so a million open recoveries cost no more
 * than those that are due. Each may be killed at any point: the next turn asks the enclave again, and it says the same.
 */
import { DAY_MS, KedgeError, MINUTE_MS, newId, SECOND_MS } from '@kedge/core';
import { type ListChangeRow, listDueChanges, postponeListChange } from '../approver-list-store.ts';
import { tickListChange } from '../list-changes.ts';
import { tickRecovery, writeMail } from '../recovery-progress.ts';
import {
  advanceDrill,
  type DrillRow,
  listDueDrills,
  listDueRecoveries,
  postponeRecovery,
  type RecoveryRow,
  wakeOversleepers,
} from '../recovery-store.ts';
import type { Job } from '../scheduler.ts';
import type { Services } from '../services.ts';
import { type AcrossProjects, acrossProjects, inProject } from '../store.ts';
import { eachDue } from './each-due.ts';

/** One that fails keeps the others waiting no longer than this once. */
const POSTPONED_MS = MINUTE_MS;

export function recoveryJobs(services: Services): readonly Job[] {
  const { db, clock, log } = services;
  const on = acrossProjects(db);
  /** What says itself when to come back is believed: a step that met another one, for instance. */
  const postponed = (error: unknown) => {
    const afterS = error instanceof KedgeError ? error.retryAfterS : undefined;
    return new Date(clock.wallMs() + Math.min(POSTPONED_MS, (afterS ?? Number.POSITIVE_INFINITY) * SECOND_MS));
  };

  /** True when the wall clock went back since it was asked before, and at the first time, when nobody knows. */
  let aheadMs = Number.POSITIVE_INFINITY;
  const clockWentBack = () => {
    const before = aheadMs;
    aheadMs = clock.wallMs() - clock.monotonicMs();
    return aheadMs < before - SECOND_MS;
  };

  /** All that were due at the start of the run; what one leaves due again is the next run's. */
  const since = <Row>(list: (on: AcrossProjects, now: Date, limit: number) => Promise<Row[]>) => {
    const now = new Date(clock.wallMs());
    return (limit: number) => list(on, now, limit);
  };

  return [
    {
      name: 'recoveries',
      everyMs: 5 * SECOND_MS,
      async run(stopping) {
        if (clockWentBack()) await wakeOversleepers(on, new Date(clock.wallMs()));
        await eachDue<RecoveryRow>({
          stopping,
          list: since(listDueRecoveries),
          work: (row) => tickRecovery(services, row),
          async failed(row, error) {
            log.warn({ recovery: row.id, err: error }, 'a recovery could not be taken further');
            await postponeRecovery(inProject(db, row.project), row.id, postponed(error));
          },
        });
      },
    },
    {
      name: 'list-changes',
      everyMs: 5 * SECOND_MS,
      run: (stopping) =>
        eachDue<ListChangeRow>({
          stopping,
          list: since(listDueChanges),
          work: (row) => tickListChange(services, row),
          async failed(row, error) {
            log.warn({ change: row.id, err: error }, 'a change of an approver list could not be taken further');
            await postponeListChange(inProject(db, row.project), row.id, postponed(error));
          },
        }),
    },
    {
      name: 'drills',
      everyMs: MINUTE_MS,
      run: (stopping) =>
        eachDue<DrillRow>({
          stopping,
          list: since(listDueDrills),
          work: (row) => tellOfDrill(services, row),
          async failed(row, error) {
            log.warn({ key: row.key_id, err: error }, 'an overdue rehearsal could not be told of');
            throw error; // it stays due, and would be found again at once
          },
        }),
    },
  ];
}

/** Once a period, however many the service slept through. */
async function tellOfDrill(services: Services, row: DrillRow): Promise<void> {
  const { clock, random, ledger } = services;
  const periodMs = row.every_days * DAY_MS;
  const dueMs = row.next_due_at.getTime();
  const next = new Date(dueMs + (Math.floor((clock.wallMs() - dueMs) / periodMs) + 1) * periodMs);
  await ledger.write({
    happenings: [
      { type: 'drill.overdue', project: row.project, data: { key: row.key_id, every_days: row.every_days } },
    ],
    next: async (tx) => {
      const on = inProject(tx, row.project);
      if (!(await advanceDrill(on, row.key_id, row.next_due_at, next)))
        throw new Error('The rehearsal of this key has just been seen to.');
      for (const email of row.remind)
        await writeMail(
          services,
          on,
          row.key_id,
          'drill_overdue',
          { id: newId(clock, random), email },
          `drill_overdue ${next.toISOString()}`,
        );
    },
  });
}
