/**
 * What `kedge doctor` asks the gateway's side while no gateway runs: the primary database, how far it remembers the
 * enclave's state, whether the clock has gone on since the last event, and how old the newest backup is. `main.ts` runs
 * it as the verb `check`. It changes nothing.
 */
import { type Clock, SECOND_MS } from '@kedge/core';
import { type Check, checkDatabase, type Database, type MigrationPlan } from '@kedge/store';
import { acrossProjects, findLastBackupAt, findMirror } from './store.ts';

export interface GatewayReport {
  readonly checks: readonly Check[];
  /** The write of the enclave's state that the primary database remembers; the vault database must not be behind it. */
  readonly mirror_sequence?: number | null;
  /** Null when there is none; absent when it could not be asked. */
  readonly backup_age_s?: number | null;
}

/** A clock that was set back by less than this is not worth a finding. */
const SET_BACK_MS_MAX = 5 * SECOND_MS;

export async function checkGateway(database: string, plan: MigrationPlan, clock: Clock): Promise<GatewayReport> {
  const { checks, db } = await checkDatabase('primary', database, plan, () => clock.wallMs());
  if (db === null) return { checks };
  try {
    const on = acrossProjects(db);
    const mirror = await findMirror(on);
    const backupAt = await findLastBackupAt(on);
    return {
      checks: [...checks, await checkLastEvent(db, clock.wallMs())],
      mirror_sequence: mirror && sequenceOf(mirror.document),
      backup_age_s: backupAt && Math.round((clock.wallMs() - backupAt.getTime()) / SECOND_MS),
    };
  } finally {
    await db.close();
  }
}

async function checkLastEvent(db: Database, wallMs: number): Promise<Check> {
  const [row] = await db.query<{ at: Date | null }>(
    'select greatest((select max(added_at) from events), (select max(signed_at) from heads)) as at',
  );
  const aheadMs = row?.at ? row.at.getTime() - wallMs : 0;
  if (aheadMs <= SET_BACK_MS_MAX)
    return { code: 'clock', ok: true, detail: 'this machine’s clock has gone on since the last event' };
  const aheadS = Math.round(aheadMs / SECOND_MS);
  return {
    code: 'clock_jumped',
    ok: false,
    detail: `this machine's clock is ${aheadS} s before the time of the last event`,
  };
}

/** The enclave's to verify; here it is only compared. */
function sequenceOf(document: Uint8Array): number {
  return Number((JSON.parse(new TextDecoder().decode(document)) as { sequence: number }).sequence);
}
