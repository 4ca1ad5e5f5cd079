/**
 * Runs jobs by the clock, each on one gateway at a time: a lease in the table `jobs`, by the database's time, says whose
 * turn it is. A job only wakes; what there is to do stands in rows, so a missed, doubled or interrupted run does no harm.
 * A job that fails is logged and comes again at its next turn. It never runs a job twice at once in one process.
 */
import { type Clock, SECOND_MS } from '@kedge/core';
import { type Database, StoreError } from '@kedge/store';
import type { Logger } from 'pino';

export interface Job {
  readonly name: string;
  readonly everyMs: number;
  /** `stopping` says that the gateway is going down: return at the next good place. */
  run(stopping: () => boolean): Promise<void>;
}

export interface Scheduler {
  start(): void;
  /** Runs one job now, if its lease can be had; throws what it throws. */
  run(name: string): Promise<void>;
  /** Starts no more and waits for those that run. */
  stop(): Promise<void>;
}

/** A holder that died loses its turn after this; one that lives renews at each run. */
const LEASE_MS = 10 * SECOND_MS;

export interface SchedulerDeps {
  readonly db: Database;
  readonly clock: Clock;
  readonly log: Logger;
  /** A UUID, new at each start of the gateway. */
  readonly holder: string;
  readonly jobs: readonly Job[];
}

export function createScheduler({ db, clock, log, holder, jobs }: SchedulerDeps): Scheduler {
  const running = new Set<Promise<void>>();
  const cancels: (() => void)[] = [];
  let stopping = false;

  const runLeased = (job: Job): Promise<void> => {
    const run = lease(job).then((ours) => (ours ? job.run(() => stopping) : undefined));
    const done = run.then(
      () => {},
      () => {},
    );
    running.add(done);
    void done.then(() => running.delete(done));
    return run;
  };

  /** Ours before, or nobody's now. */
  const lease = async (job: Job): Promise<boolean> => {
    const rows = await db.query(
      `insert into jobs (name, holder, until) values ($1, $2, now() + make_interval(secs => $3))
       on conflict (name) do update set holder = excluded.holder, until = excluded.until
       where jobs.until < now() or jobs.holder = excluded.holder returning 1`,
      [job.name, holder, Math.max(LEASE_MS, 2 * job.everyMs) / SECOND_MS],
    );
    return rows.length > 0;
  };

  const releaseLeases = async () => {
    try {
      await db.query('delete from jobs where holder = $1', [holder]);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error; // they run out by themselves
    }
  };

  return {
    start() {
      for (const job of jobs) {
        cancels.push(
          clock.every(job.everyMs, async () => {
            if (stopping) return;
            await runLeased(job).catch((error: unknown) =>
              log.warn({ job: job.name, err: error }, 'a job failed and will come again'),
            );
          }),
        );
      }
    },
    async run(name) {
      const job = jobs.find((candidate) => candidate.name === name);
      if (job === undefined) throw new Error(`There is no job "${name}".`);
      await runLeased(job);
    },
    async stop() {
      stopping = true;
      for (const cancel of cancels.splice(0)) cancel();
      await Promise.all(running);
      await releaseLeases();
    },
  };
}
