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
