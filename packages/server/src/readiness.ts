/**
 * Whether this gateway should get traffic: each check by name, at `/readyz`. A balancer reads the status, a person the
 * checks. It changes nothing and says nothing about customers.
 */
import { MINUTE_MS, SECOND_MS } from '@kedge/core';
import { toKedgeError } from './problems.ts';
import type { Services } from './services.ts';
import { acrossProjects, findHead } from './store.ts';

const CHAIN_LAG_MS_MAX = 5 * SECOND_MS;
const HEAD_AGE_MS_MAX = 5 * MINUTE_MS;

export interface Check {
  readonly ok: boolean;
  readonly detail: string;
}

export interface Readiness {
  readonly ready: boolean;
  readonly checks: Readonly<Record<'database' | 'enclave' | 'ledger' | 'head', Check>>;
}

export async function readiness({ db, enclave, clock, ledger, startedAtMs }: Services): Promise<Readiness> {
  const [database, enclaveCheck, ledgerCheck, head] = await Promise.all([
    check(async () => {
      await db.query('select 1');
      return { ok: true, detail: 'answers' };
    }),
    check(async () => {
      const { sealed, writer } = await enclave.status();
      if (sealed !== null) return { ok: false, detail: `sealed: ${sealed}` };
      return writer
        ? { ok: true, detail: 'works' }
        : { ok: false, detail: 'a standby: another enclave holds the writer lease' };
    }),
    check(async () => {
      const lagMs = Math.round(await ledger.sequencer.lagMs());
      return { ok: lagMs <= CHAIN_LAG_MS_MAX, detail: `the oldest unchained event has waited ${lagMs} ms` };
    }),
    check(async () => {
      const head = await findHead(acrossProjects(db));
      if (head === null && (await ledger.sequencer.head()) === null)
        return { ok: true, detail: 'there is no event yet' };
      const ageMs = clock.wallMs() - (head?.signed_at.getTime() ?? startedAtMs);
      return {
        ok: ageMs <= HEAD_AGE_MS_MAX,
        detail: head
          ? `the newest head was signed ${Math.round(ageMs / SECOND_MS)} s ago`
          : `no head was signed in the ${Math.round(ageMs / SECOND_MS)} s since the start`,
      };
    }),
  ]);
  const checks = { database, enclave: enclaveCheck, ledger: ledgerCheck, head };
  return { ready: Object.values(checks).every(({ ok }) => ok), checks };
}

async function check(run: () => Promise<Check>): Promise<Check> {
  try {
    return await run();
  } catch (error) {
    return { ok: false, detail: toKedgeError(error).code };
  }
}
