/**
 * Runs jobs by the clock, each on one gateway at a time: a lease in the table `jobs`, by the database's time, says whose
 * turn it is. However rarely a job runs, its lease is short and renewed while the gateway lives. The holder is the
 * gateway's name, so one that was killed finds its own leases at the next start, and others wait ten seconds for them.
 * A job only wakes; what there is to do stands in rows, so a missed, doubled or interrupted run does no harm.
 * A job that fails is logged and comes again at its next turn. It never runs a job twice at once in one process.
 */
import { createHash } from 'node:crypto';
import { type Clock, SECOND_MS } from '@kedge/core';
import { type Database, StoreError } from '@kedge/store';
import type { Logger } from 'pino';

export interface Job {
  readonly name: string;
  readonly everyMs: number;
  /** `stopping` says that the gateway is going down, or that another one has the turn: return at the next good place. */
  run(stopping: () => boolean): Promise<void>;
}

export interface Scheduler {
  start(): void;
  /** Runs one job now, if its lease can be had; throws what it throws. */
  run(name: string): Promise<void>;
  /** Starts no more and waits for those that run. */
  stop(): Promise<void>;
}

/** A holder that died loses its turn after this. */
const LEASE_MS = 10 * SECOND_MS;
const RENEW_MS = 3 * SECOND_MS;

export interface SchedulerDeps {
  readonly db: Database;
  readonly clock: Clock;
  readonly log: Logger;
  /** The gateway's: no other that shares the database has it, and a restart keeps it. */
  readonly name: string;
  readonly jobs: readonly Job[];
}

export function createScheduler({ db, clock, log, name: gateway, jobs }: SchedulerDeps): Scheduler {
  const holder = holderOf(gateway);
  const running = new Set<Promise<void>>();
  /** Jobs whose lease somebody else got while ours could not be renewed. */
  const lost = new Set<string>();
  const cancels: (() => void)[] = [];
  let stopping = false;

  const runLeased = (job: Job): Promise<void> => {
    const run = lease(job).then((ours) => (ours ? job.run(() => stopping || lost.has(job.name)) : undefined));
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
      [job.name, holder, LEASE_MS / SECOND_MS],
    );
    if (rows.length > 0) lost.delete(job.name);
    return rows.length > 0;
  };

  const renewLeases = async () => {
    try {
      const rows = await db.query<{ name: string; holder: string }>(
        `with renewed as (update jobs set until = now() + make_interval(secs => $2) where holder = $1)
         select name, holder::text as holder from jobs`,
        [holder, LEASE_MS / SECOND_MS],
      );
      for (const row of rows) if (row.holder !== holder) lost.add(row.name);
    } catch (error) {
      log.warn({ err: error }, 'the leases of jobs could not be renewed; the next turn tries again');
    }
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
      cancels.push(clock.every(RENEW_MS, renewLeases));
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

/** The name as the UUID that the table holds (RFC 9562 UUIDv8, from SHA-256). */
function holderOf(gateway: string): string {
  const bytes = createHash('sha256').update(`kedge/job-holder/v1\0${gateway}`).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
