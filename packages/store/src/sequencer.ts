/**
 * Puts committed events into one gapless order and chains each to the one before. Every gateway or enclave process runs
 * one on its database, on a timer; an advisory lock lets one work at a time. How a link is computed is the ledger's
 * affair and comes in as `link`. It never changes an event that has its place.
 */
import type { Database, Queryable } from './database.ts';

export interface SequencerOptions {
  /** The hash of an event, from the hash of the one before (null for the first), its number and its body. */
  link(previous: Uint8Array | null, seq: number, body: string): Uint8Array;
}

export interface ChainHead {
  readonly seq: number;
  readonly hash: Uint8Array;
}

export interface ChainedEvent extends ChainHead {
  readonly id: string;
  readonly body: string;
  readonly addedAt: Date;
}

export interface Sequencer {
  /** Chains every event that waits, oldest first, and gives how many. */
  run(): Promise<number>;
  /** Age of the oldest event that waits, by the database's clock; 0 if none does. */
  lagMs(): Promise<number>;
  head(): Promise<ChainHead | null>;
  /** Chained events with a number above `after`, in order, at most 1,000. */
  read(page: { after: number; limit: number }): Promise<ChainedEvent[]>;
}

/** One batch is one transaction: short enough that a commit waiting for the disk is not held up. */
const batchEventsMax = 1000;
const lockNumber = 5_330_002n; // the next after that of `migrate.ts`

export function createSequencer(db: Database, { link }: SequencerOptions): Sequencer {
  async function runBatch(tx: Queryable): Promise<number> {
    await tx.query('select pg_advisory_xact_lock($1)', [lockNumber]);
    const waiting = await tx.query<{ id: string; body: string }>(
      'select id, body from events where seq is null order by added_at, id limit $1',
      [batchEventsMax],
    );
    if (waiting.length === 0) return 0;
    let head = await readHead(tx);
    const heads = waiting.map(({ body }) => {
      const seq = (head?.seq ?? 0) + 1;
      head = { seq, hash: link(head?.hash ?? null, seq, body) };
      return head;
    });
    await tx.query(
      `update events e set seq = chained.seq, hash = chained.hash
       from unnest($1::uuid[], $2::bigint[], $3::bytea[]) as chained (id, seq, hash) where e.id = chained.id`,
      [waiting.map(({ id }) => id), heads.map(({ seq }) => seq), heads.map(({ hash }) => hash)],
    );
    return waiting.length;
  }

  return {
    async run() {
      for (let total = 0; ; ) {
        const count = await db.transaction(runBatch);
        total += count;
        if (count < batchEventsMax) return total;
      }
    },
    async lagMs() {
      const [row] = await db.query<{ lag_ms: number }>(
        `select greatest(0, extract(epoch from clock_timestamp() - min(added_at)) * 1000)::float8 as lag_ms
         from events where seq is null`,
      );
      return row!.lag_ms;
    },
    head: () => readHead(db),
    async read({ after, limit }) {
      const rows = await db.query<{ id: string; body: string; added_at: Date; seq: bigint; hash: Uint8Array }>(
        'select id, body, added_at, seq, hash from events where seq > $1 order by seq limit $2',
        [after, Math.min(limit, batchEventsMax)],
      );
      return rows.map(({ added_at, seq, ...row }) => ({ ...row, seq: Number(seq), addedAt: added_at }));
    },
  };
}

async function readHead(queryable: Queryable): Promise<ChainHead | null> {
  const [row] = await queryable.query<{ seq: bigint; hash: Uint8Array }>(
    'select seq, hash from events where seq is not null order by seq desc limit 1',
  );
  return row ? { seq: Number(row.seq), hash: row.hash } : null;
}
