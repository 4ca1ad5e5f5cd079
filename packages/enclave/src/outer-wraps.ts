/**
 * The outermost layer of what lies in the vault database: each row wrapped by a version of the server key, under its
 * lookup id alone, so that a rotation rewraps rows whose owner it can't know. Sealed wallets and backup keys both stand
 * on it. It never opens what is under the wrap.
 */
import { type Address, addressBytes, bytesToHex, equalBytes, KedgeError } from '@kedge/core';
import type { Database } from '@kedge/store';
import type { ServerKeys } from './server-keys.ts';

const FIRST = [0, '00000000-0000-0000-0000-000000000000'] as const;
export const REWRAP_MAX = 1_000;
/** So many are rewrapped before those who want to open a wallet have their turn: one or two milliseconds. */
const REWRAP_AT_A_STRETCH = 50;

interface WrappedRow {
  readonly id: string;
  readonly lookup: Uint8Array;
  readonly server_key: number;
  readonly outer_wrap: Uint8Array;
}

export interface OuterWraps {
  /** Under the active server key; says which. */
  wrap(lookup: Uint8Array, inner: Uint8Array): Promise<{ serverKey: number; outer: Uint8Array }>;
  /** Throws `KedgeError('sealed_data_invalid')`. */
  unwrap(row: Omit<WrappedRow, 'id'>): Promise<Uint8Array>;
  /** How many are wrapped under each version. */
  countByVersion(): Promise<ReadonlyMap<number, number>>;
  /** Rewraps up to `limit` of those not under the active version; each is opened again before it is written. */
  rewrap(limit: number): Promise<{ rewrapped: number; left: number }>;
}

export function createOuterWraps(deps: {
  readonly db: Database;
  readonly serverKeys: ServerKeys;
  readonly table: 'wallets' | 'backup_keys';
  readonly address: (lookupHex: string, version: number) => Address;
}): OuterWraps {
  const { db, serverKeys, table, address } = deps;
  const aadOf = (lookup: Uint8Array, version: number) => addressBytes(address(bytesToHex(lookup), version));

  /** Where the next batch of a rotation starts, and how many were left after the last: both are looked up anew at the end. */
  let progress: {
    readonly active: number;
    readonly after: readonly [version: number, id: string];
    readonly left: number | null;
  } | null = null;

  const countOld = async (active: number) => {
    const [row] = await db.query<{ count: bigint }>(`select count(*) as count from ${table} where server_key <> $1`, [
      active,
    ]);
    return Number(row!.count);
  };

  const unwrap: OuterWraps['unwrap'] = ({ lookup, server_key: version, outer_wrap: outer }) =>
    serverKeys.unwrap('wallet', version, outer, aadOf(lookup, version));

  const rewrapOuter = async (row: WrappedRow, active: number) => {
    const inner = await unwrap(row);
    const aad = aadOf(row.lookup, active);
    const wrapped = await serverKeys.wrap('wallet', inner, aad);
    const again = await serverKeys.unwrap('wallet', active, wrapped, aad);
    const same = equalBytes(inner, again);
    inner.fill(0);
    again.fill(0);
    if (!same) throw new Error('what was just rewrapped does not open');
    return wrapped;
  };

  return {
    async wrap(lookup, inner) {
      const serverKey = serverKeys.active;
      return { serverKey, outer: await serverKeys.wrap('wallet', inner, aadOf(lookup, serverKey)) };
    },

    unwrap,

    async countByVersion() {
      const rows = await db.query<{ server_key: number; count: bigint }>(
        `select server_key, count(*) as count from ${table} group by server_key`,
      );
      return new Map(rows.map((row) => [row.server_key, Number(row.count)]));
    },

    async rewrap(limit) {
      const active = serverKeys.active;
      const { after, left } = progress?.active === active ? progress : { after: FIRST, left: null };
      const { found: rows, rewrapped } = await db.transaction(async (tx) => {
        // From where the last batch ended: what it left behind in the index would be read again and again.
        const found = await tx.query<WrappedRow>(
          `select id, lookup, server_key, outer_wrap from ${table} where server_key <> $1 and (server_key, id) > ($2, $3)
           order by server_key, id limit $4 for update skip locked`,
          [active, ...after, Math.min(limit, REWRAP_MAX)],
        );
        const ids: string[] = [];
        const wraps: Uint8Array[] = [];
        for (const [index, row] of found.entries()) {
          if (endsStretch(index)) await yieldToCallers();
          // A damaged row stays as it is, keeps the old version from being retired, and holds up nobody else.
          const wrap = await rewrapOuter(row, active).catch(nullIfDamaged);
          if (wrap === null) continue;
          ids.push(row.id);
          wraps.push(wrap);
        }
        await tx.query(
          `update ${table} set server_key = $1, outer_wrap = new.outer_wrap
           from (select unnest($2::uuid[]) as id, unnest($3::bytea[]) as outer_wrap) as new where ${table}.id = new.id`,
          [active, ids, wraps],
        );
        return { found, rewrapped: ids.length };
      });
      const last = rows.at(-1);
      const expected = left === null || !last ? 0 : left - rows.length;
      // Nothing left, by our own counting: then the database's word counts, from the start.
      const counted = expected > 0 ? expected : await countOld(active);
      progress = { active, after: expected > 0 && last ? [last.server_key, last.id] : FIRST, left: counted };
      return { rewrapped, left: counted };
    },
  };
}

export function endsStretch(index: number): boolean {
  return index % REWRAP_AT_A_STRETCH === REWRAP_AT_A_STRETCH - 1;
}

/** Lets what waits in the event loop go first: rewrapping itself waits for nothing. */
export function yieldToCallers(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function nullIfDamaged(error: unknown): null {
  if (error instanceof KedgeError && error.code === 'sealed_data_invalid') return null;
  throw error;
}
