/**
 * The small jobs: chaining events that a crash left unchained, signing heads, dropping what has had its time, and
 * rewriting the vault database in an order that says nothing. Woken by the scheduler; each is idempotent.
 */
import { DAY_MS, HOUR_MS, MINUTE_MS } from '@kedge/core';
import { SESSION_IDLE_MS } from '../principal.ts';
import type { Job } from '../scheduler.ts';
import type { Services } from '../services.ts';
import { acrossProjects, purge } from '../store.ts';

const ANSWERS_KEPT_MS = DAY_MS;

export function upkeepJobs({ db, enclave, clock, ledger }: Services): readonly Job[] {
  return [
    // Commits chain by themselves; this finds what a process that died had committed.
    { name: 'chain', everyMs: 1_000, run: () => ledger.chain() },
    { name: 'heads', everyMs: MINUTE_MS, run: () => ledger.signHeads() },
    {
      name: 'purge',
      everyMs: HOUR_MS,
      run: () => {
        const now = clock.wallMs();
        return purge(acrossProjects(db), {
          answersBefore: new Date(now - ANSWERS_KEPT_MS),
          now: new Date(now),
          idleSince: new Date(now - SESSION_IDLE_MS),
        });
      },
    },
    { name: 'compact', everyMs: HOUR_MS, run: () => enclave.compact() },
  ];
}
