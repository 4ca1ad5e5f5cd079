/**
 * The reservations of one wallet, durable in the primary database: which nonce or coins its spends hold. Building a
 * transfer reserves for two minutes; submitting the signed bytes keeps it until the chain has decided; giving it up or
 * the end of the transaction frees it. Keyed by wallet, so nobody else's plans can get in the way of a wallet, not even
 * those of another user who claims its address. The statements are here, below what uses them.
 */
import type { Reservation, Reservations } from '@kedge/chains';
import { KedgeError, MINUTE_MS, type ProjectId, type UserId, type WalletId } from '@kedge/core';
import { type Database, StoreError } from '@kedge/store';
import { type InProject, inProject } from './store.ts';

/** How long a built transfer keeps its nonce or coins from others while a person looks at it. */
export const PLAN_HELD_MS = 2 * MINUTE_MS;
/** Transfers of one wallet that wait for a signature. A pool keeps 64 transactions of an account beyond a gap. */
export const PLANS_MAX = 16;

/** A wallet and who it belongs to: enough to name it in a row. */
export interface WalletOwner {
  readonly project: ProjectId;
  readonly user_id: UserId;
  readonly id: WalletId;
}

/** `reserve` also throws `KedgeError('transfers_full')`. */
export function walletReservations(db: Database, wallet: WalletOwner, nowMs: () => number): Reservations {
  const on = inProject(db, wallet.project);
  const now = () => new Date(nowMs());

  const find = async (network: string, id: string) =>
    maybeReservation(await findReservation(on, wallet, network, id, now()));

  return {
    find,

    list: async (network, account) => (await listReservations(on, wallet, network, account, now())).map(reservationOf),

    async reserve(reservation) {
      await deleteExpiredReservations(on, wallet, now());
      const { network, id, account, unsigned, heldUntilMs } = reservation;
      // In one order for all, so that two that want the same things wait for each other and never in a ring.
      const resources = [...new Set(reservation.resources)].sort();
      const held_until = heldUntilMs === null ? null : new Date(heldUntilMs);
      try {
        await db.transaction(async (tx) => {
          const locked = inProject(tx, wallet.project);
          // One after the other, or as many as come at once would each count those before them.
          await lockWallet(locked, wallet);
          if (held_until !== null) await assertRoomForPlan(locked, wallet, id, now());
          await insertReservation(locked, wallet, { network, id, account, unsigned, held_until, resources });
        });
      } catch (error) {
        if (!(error instanceof StoreError) || error.code !== 'duplicate') throw error;
        return find(network, id); // null, unless the same id came a moment earlier
      }
      return find(network, id);
    },

    sign: (network, id, signed) => signReservation(on, wallet, { network, id, ...signed }, now()),

    release: (network, id) => deleteReservation(on, wallet, network, id),
  };
}

function maybeReservation(row: ReservationRow | null): Reservation | null {
  return row && reservationOf(row);
}

function reservationOf({ network, id, account, resources, unsigned, final, held_until }: ReservationRow): Reservation {
  return {
    network,
    id,
    account,
    resources,
    unsigned: new Uint8Array(unsigned),
    final: final && new Uint8Array(final),
    heldUntilMs: held_until?.getTime() ?? null,
  };
}

// ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────

interface ReservationRow {
  readonly network: string;
  readonly id: string;
  readonly account: string;
  readonly unsigned: Uint8Array;
  readonly final: Uint8Array | null;
  readonly held_until: Date | null;
  readonly resources: string[];
}

const reservationQuery = `select network, id, account, unsigned, final, held_until,
  array(select resource from reserved_resources
    where (project, wallet_id, network, id) = (r.project, r.wallet_id, r.network, r.id) order by resource) as resources
  from reservations r`;
/** Signed, or still held. `$3` is now. */
const reservationLives = '(final is not null or held_until is null or held_until > $3)';

async function findReservation(
  on: InProject,
  wallet: WalletOwner,
  network: string,
  id: string,
  now: Date,
): Promise<ReservationRow | null> {
  const [row] = await on.query<ReservationRow>(
    `${reservationQuery} where project = $1 and wallet_id = $2 and ${reservationLives} and network = $4 and id = $5`,
    [wallet.id, now, network, id],
  );
  return row ?? null;
}

function listReservations(
  on: InProject,
  wallet: WalletOwner,
  network: string,
  account: string,
  now: Date,
): Promise<ReservationRow[]> {
  return on.query(
    `${reservationQuery}
     where project = $1 and wallet_id = $2 and ${reservationLives} and network = $4 and account = $5 order by id`,
    [wallet.id, now, network, account],
  );
}

/** All of the resources, or nothing and `StoreError('duplicate')`. An id that is there already stays as it is. */
async function insertReservation(
  on: InProject,
  wallet: WalletOwner,
  row: Omit<ReservationRow, 'final'>,
): Promise<void> {
  await on.query(
    `with made as (
       insert into reservations (project, user_id, wallet_id, network, id, account, unsigned, held_until)
       values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing returning project
     )
     insert into reserved_resources (project, wallet_id, network, account, resource, id)
     select project, $3, $4, $6, unnest($9::text[]), $5 from made where project = $1`,
    [wallet.user_id, wallet.id, row.network, row.id, row.account, row.unsigned, row.held_until, row.resources],
  );
}

/** The final bytes that stand: these, or those that were noted before. Null: no such reservation, or of another plan. */
async function signReservation(
  on: InProject,
  wallet: WalletOwner,
  {
    network,
    id,
    unsigned,
    final,
  }: Pick<ReservationRow, 'network' | 'id' | 'unsigned'> & { readonly final: Uint8Array },
  now: Date,
): Promise<Uint8Array | null> {
  const [row] = await on.query<{ final: Uint8Array }>(
    `update reservations set final = coalesce(final, $6)
     where project = $1 and wallet_id = $2 and ${reservationLives} and network = $4 and id = $5 and unsigned = $7
     returning final`,
    [wallet.id, now, network, id, final, unsigned],
  );
  return row ? new Uint8Array(row.final) : null;
}

/**
 * Signed bytes that came in keep what they use: plans that hold it become theirs, and what nobody holds is held under
 * `id`. What other signed bytes hold stays with those, and the chain decides between them.
 */
export async function keepForSigned(
  on: InProject,
  wallet: WalletOwner,
  {
    network,
    id,
    account,
    final,
    resources,
  }: Pick<ReservationRow, 'network' | 'id' | 'account' | 'resources'> & {
    readonly final: Uint8Array;
  },
): Promise<void> {
  await on.query(
    `update reservations set final = $5
     where project = $1 and wallet_id = $2 and network = $3 and final is null and id in (
       select id from reserved_resources
       where project = $1 and wallet_id = $2 and network = $3 and account = $4 and resource = any($6::text[]))`,
    [wallet.id, network, account, final, resources],
  );
  await on.query(
    `with kept as (
       insert into reservations (project, user_id, wallet_id, network, id, account, unsigned, final)
       select $1::uuid, $2::uuid, $3::uuid, $4, $5, $6, $7::bytea, $7::bytea where not $8::text[] <@ array(
         select resource from reserved_resources
         where project = $1 and wallet_id = $3 and network = $4 and account = $6)
       on conflict do nothing returning project
     )
     insert into reserved_resources (project, wallet_id, network, account, resource, id)
     select project, $3, $4, $6, unnest($8::text[]), $5 from kept where project = $1 on conflict do nothing`,
    [wallet.user_id, wallet.id, network, id, account, final, [...resources].sort()],
  );
}

/** The transaction of these bytes is over. */
export async function releaseSigned(on: InProject, wallet: WalletId, final: Uint8Array): Promise<void> {
  await on.query('delete from reservations where project = $1 and wallet_id = $2 and final = $3', [wallet, final]);
}

async function deleteReservation(on: InProject, wallet: WalletOwner, network: string, id: string): Promise<void> {
  await on.query('delete from reservations where project = $1 and wallet_id = $2 and network = $3 and id = $4', [
    wallet.id,
    network,
    id,
  ]);
}

/** A plan that nobody signed. False when there is none, or it was signed. */
export async function deletePlan(on: InProject, wallet: WalletOwner, network: string, id: string): Promise<boolean> {
  const rows = await on.query(
    `delete from reservations
     where project = $1 and wallet_id = $2 and network = $3 and id = $4 and final is null returning 1`,
    [wallet.id, network, id],
  );
  return rows.length > 0;
}

/** Throws `transfers_full` when {@link PLANS_MAX} others wait for a signature. */
export async function assertRoomForPlan(on: InProject, wallet: WalletOwner, id: string, now: Date): Promise<void> {
  const [row] = await on.query<{ count: number }>(
    `select count(*)::int as count from reservations
     where project = $1 and wallet_id = $2 and final is null and held_until > $3 and id <> $4`,
    [wallet.id, now, id],
  );
  if ((row?.count ?? 0) >= PLANS_MAX) throw new KedgeError('transfers_full');
}

async function lockWallet(on: InProject, wallet: WalletOwner): Promise<void> {
  await on.query('select 1 from wallets where project = $1 and id = $2 for no key update', [wallet.id]);
}

async function deleteExpiredReservations(on: InProject, wallet: WalletOwner, now: Date): Promise<void> {
  await on.query(
    `delete from reservations where project = $1 and wallet_id = $2 and id in (
       select id from reservations
       where project = $1 and wallet_id = $2 and final is null and held_until <= $3 order by id for update)
     and final is null and held_until <= $3`,
    [wallet.id, now],
  );
}
