/** The memory of one process keeps the promises of a store of reservations. */
import { test } from 'node:test';
import { reservationsCases } from './spends.conformance.ts';
import { memoryReservations } from './spends.ts';

for (const { title, run } of reservationsCases) {
  test(title, () => {
    let nowMs = 0;
    return run({
      reservations: memoryReservations(() => nowMs),
      setNow(ms) {
        nowMs = ms;
      },
    });
  });
}
