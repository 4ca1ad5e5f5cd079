/**
 * Follows open transactions: sends again what never reached the node, and moves each on as the chain does. Woken by the
 * scheduler; the rows say what is open. A node that is away costs nothing but time, and one bad transaction does not
 * hold up the others.
 */
import type { Job } from '../scheduler.ts';
import type { Services } from '../services.ts';
import { acrossProjects, listOpenTransactions } from '../store.ts';
import { followTransaction } from '../tracking.ts';

const PAGE = 100;

export function transactionsJob(services: Services): Job {
  const { db, log } = services;
  return {
    name: 'transactions',
    everyMs: 2_000,
    async run(stopping) {
      for (let after: string | null = null; !stopping(); ) {
        const rows = await listOpenTransactions(acrossProjects(db), after, PAGE);
        for (const row of rows) {
          if (stopping()) return;
          await followTransaction(services, row).catch((error: unknown) =>
            log.warn({ transaction: row.id, err: error }, 'a transaction could not be followed'),
          );
        }
        const last = rows.at(-1);
        if (rows.length < PAGE || last === undefined) return;
        after = last.id;
      }
    },
  };
}
