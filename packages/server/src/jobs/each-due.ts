/**
 * How a job works off rows that are due: in batches, a few at the same time, until none is left that was due when it
 * began. The rows decide; whoever is stopped in the middle finds the rest due the next time.
 */

/** Rows of one listing. */
const BATCH = 100;
/** Each waits most of its time for a database, the enclave or a mail server. */
export const AT_ONCE = 8;

export interface Due<Row> {
  readonly stopping: () => boolean;
  /** Those that are still due, the longest first. A row that was worked off, or failed, must not come again. */
  list(limit: number): Promise<Row[]>;
  work(row: Row): Promise<unknown>;
  /** What it throws ends the run. */
  failed(row: Row, error: unknown): Promise<void> | void;
}

export async function eachDue<Row>({ stopping, list, work, failed }: Due<Row>): Promise<void> {
  for (;;) {
    const rows = await list(BATCH);
    const queue = rows.values();
    const workOff = async () => {
      for (const row of queue) {
        if (stopping()) return;
        try {
          await work(row);
        } catch (error) {
          await failed(row, error);
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, workOff));
    if (rows.length < BATCH || stopping()) return;
  }
}
