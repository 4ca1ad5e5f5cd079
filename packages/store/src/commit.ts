/**
 * The one way to write: a change of state and the events that tell of it, in one transaction. Every write of the
 * gateway and of the enclave goes through it; no event, no change. Events arrive unchained, so that writers never wait
 * for one another; `sequencer.ts` puts them into the chain. It never looks into an event's body.
 */
import { type Database, type Queryable, type SqlValue, StoreError } from './database.ts';

export interface NewEvent {
  /** A UUID, chosen by the caller before the first attempt. */
  readonly id: string;
  readonly body: string;
}

export interface Commit<T> {
  /** Changes the state. Its result is the commit's result. */
  next(tx: Queryable): Promise<T>;
  /** What happened, or how to tell it from what `next` gave. At least one. */
  readonly events: readonly NewEvent[] | ((result: T) => readonly NewEvent[]);
}

/** Goes into a migration of each process: the ledger's table. Bodies are stored as text, byte for byte as hashed. */
export const eventsSql = `
create table events (
  id uuid primary key,
  body text not null,
  added_at timestamptz not null default clock_timestamp(),
  seq bigint,
  hash bytea,
  check ((seq is null) = (hash is null))
);
-- Partial, so that an event enters each index once: the second while it waits, the first when it has its place.
create unique index events_seq on events (seq) where seq is not null;
create index events_unchained on events (added_at, id) where seq is null;
`;

/**
 * When an answer is lost, the commit may have happened: try again with the same ids. An event that is there with the
 * same body is left as it is; `next` runs again, so it must stand that. The same id with another body is refused.
 */
export async function commit<T>(db: Database, { next, events }: Commit<T>): Promise<T> {
  return db.transaction(async (tx) => {
    const result = await next(tx);
    await insertEvents(tx, typeof events === 'function' ? events(result) : events);
    return result;
  });
}

/** So many events go into one statement. */
const GROUP_MAX = 256;

interface Waiting {
  readonly events: readonly NewEvent[];
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * Writes events of which nothing else tells: something was done that changed no row. Durable when the promise resolves;
 * those that wait at the same time share one statement, and so one commit.
 */
export function createEventWriter(db: Database): (events: readonly NewEvent[]) => Promise<void> {
  let queue: Waiting[] = [];
  let writing = false;

  const writeGroup = async (group: readonly Waiting[]) => {
    try {
      await insertEvents(
        db,
        group.flatMap(({ events }) => events),
      );
      for (const { resolve } of group) resolve();
    } catch (error) {
      // A bad event must not fail its neighbours: each goes alone. A database that is away fails all.
      const away = error instanceof StoreError && (error.code === 'unavailable' || error.code === 'full');
      if (away || group.length === 1) for (const { reject } of group) reject(error);
      else for (const waiting of group) await writeGroup([waiting]);
    }
  };

  const drain = async () => {
    writing = true;
    while (queue.length > 0) {
      const group = queue.slice(0, GROUP_MAX);
      queue = queue.slice(GROUP_MAX);
      await writeGroup(group);
    }
    writing = false;
  };

  return (events) =>
    new Promise((resolve, reject) => {
      if (events.length === 0) throw new StoreError('invalid', 'Nothing was told.');
      queue.push({ events, resolve, reject });
      if (!writing) void drain();
    });
}

async function insertEvents(tx: Queryable, events: readonly NewEvent[]): Promise<void> {
  if (events.length === 0) throw new StoreError('invalid', 'A commit without an event would change state unseen.');
  const columns: SqlValue[] = [events.map((event) => event.id), events.map((event) => event.body)];
  const [inserted] = await tx.query<{ count: bigint }>(
    `with inserted as (
       insert into events (id, body) select * from unnest($1::uuid[], $2::text[]) on conflict (id) do nothing returning 1
     ) select count(*) as count from inserted`,
    columns,
  );
  if (inserted!.count === BigInt(events.length)) return;
  const [other] = await tx.query<{ id: string }>(
    `select e.id from events e join unnest($1::uuid[], $2::text[]) as given (id, body) on e.id = given.id
     where e.body <> given.body limit 1`,
    columns,
  );
  if (other) {
    throw new StoreError('duplicate', `The event ${other.id} exists with another body.`, { constraint: 'events_pkey' });
  }
}
