/**
 * One enclave writes. It holds the lease and renews it every two seconds; another one waits as a standby and takes over
 * once eight seconds have passed without a renewal, with a higher fencing number, which every state write checks. So
 * two enclaves never write, however long one of them was paused. The time is the database's.
 */
import type { Clock } from '@kedge/core';
import type { Database } from '@kedge/store';

export const LEASE_S = 8;
const RENEW_MS = 2_000;

export interface Lease {
  readonly fence: bigint;
  /** Lets a standby take over at once. */
  release(): Promise<void>;
}

/** Tries once; null when another enclave holds the lease. `onLost` is called when it could not be renewed in time. */
export async function acquireLease(
  db: Database,
  clock: Clock,
  holder: string,
  onLost: () => void,
): Promise<Lease | null> {
  const [row] = await db.query<{ fence: bigint }>(
    `insert into lease (fence, holder, until) values (1, $1, now() + make_interval(secs => $2))
     on conflict (one) do update set fence = lease.fence + 1, holder = $1, until = now() + make_interval(secs => $2)
     where lease.until < now() or lease.holder = $1
     returning fence`,
    [holder, LEASE_S],
  );
  if (!row) return null;
  const { fence } = row;
  let renewal: Promise<void> = Promise.resolve();
  const renew = async () => {
    const renewed = await db
      .query('update lease set until = now() + make_interval(secs => $2) where fence = $1 returning fence', [
        fence,
        LEASE_S,
      ])
      .catch(() => [{}]); // the database is away for everybody; the fence decides when it is back
    if (renewed.length === 0) {
      stop();
      onLost();
    }
  };
  const stop = clock.every(RENEW_MS, () => {
    renewal = renew();
    return renewal;
  });
  return {
    fence,
    async release() {
      stop();
      await renewal; // one on its way would take the lease back
      await db.query('update lease set until = now() where fence = $1', [fence]).catch(() => undefined);
    },
  };
}
