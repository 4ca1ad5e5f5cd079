/**
 * What the doctor asks a service that runs, over HTTP: its databases are locked and its root is in use, so it is asked
 * instead of looked at. Answers come from /readyz, /v1/enclave and /metrics; a token can be opened twice, so the root
 * keys of a PKCS#11 backend are looked at beside it.
 */
import { createClient } from '@kedge/sdk';
import type { Home } from '../settings.ts';
import { backupFinding } from './backup.ts';
import { bad, type Finding, type FindingCode, good } from './findings.ts';
import type { ProcessEntries } from './report.ts';
import { report } from './report.ts';

export interface ServiceFile {
  readonly url: string;
  readonly pid: number;
}

const ANSWER_MS_MAX = 10_000;
/** A head is signed once a minute; one from the future by more than this means that the clock was set back. */
const SET_BACK_S_MAX = 5;

export async function checkRunning(home: Home, service: ServiceFile, entries: ProcessEntries): Promise<Finding[]> {
  try {
    const [ready, metrics, enclave] = await Promise.all([
      getReadiness(service.url),
      getText(`${service.url}/metrics`).then(gauges),
      createClient({ url: service.url, token: null })
        .call('getEnclave', {})
        .catch(() => null),
    ]);
    const sealed = enclave?.sealed ?? null;
    return [
      good('service', `runs as process ${service.pid} at ${service.url}`),
      fromReadiness(home, 'database', ready.database, 'database_unavailable'),
      ...enclaveFindings(home, ready.enclave, sealed),
      ...(await rootFindings(home, enclave, entries)),
      ...(sealed === null
        ? [
            fromReadiness(home, 'ledger', ready.ledger, 'ledger_behind'),
            fromReadiness(home, 'head', ready.head, 'ledger_behind'),
          ]
        : []),
      clockFinding(home, metrics.get('kedge_ledger_head_age_seconds')),
      backupFinding(home, metrics.get('kedge_backup_age_seconds') ?? null),
    ];
  } catch (error) {
    return [
      bad(
        home,
        'service_silent',
        `process ${service.pid} runs, but ${service.url} does not answer (${error instanceof Error ? error.message : String(error)})`,
      ),
    ];
  }
}

interface ReadinessCheck {
  readonly ok: boolean;
  readonly detail: string;
}

async function getReadiness(
  url: string,
): Promise<Readonly<Record<'database' | 'enclave' | 'ledger' | 'head', ReadinessCheck>>> {
  return (
    JSON.parse(await getText(`${url}/readyz`)) as {
      checks: Record<'database' | 'enclave' | 'ledger' | 'head', ReadinessCheck>;
    }
  ).checks;
}

async function getText(url: string): Promise<string> {
  return (await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })).text();
}

/** The samples without labels of Prometheus' text form. */
function gauges(text: string): ReadonlyMap<string, number> {
  return new Map([...text.matchAll(/^([a-z_]+) (\S+)$/gm)].map(([, name, value]) => [name!, Number(value)]));
}

function fromReadiness(home: Home, code: string, { ok, detail }: ReadinessCheck, finding: FindingCode): Finding {
  return ok ? good(code, detail) : bad(home, finding, `${code}: ${detail}`);
}

function enclaveFindings(home: Home, { ok, detail }: ReadinessCheck, sealed: string | null): Finding[] {
  if (sealed !== null) return [bad(home, 'enclave_sealed', sealed)];
  if (ok) return [good('enclave', detail), good('mirrors', 'the enclave is open, so vault database and mirrors agree')];
  return [bad(home, detail.startsWith('a standby') ? 'enclave_standby' : 'enclave_unavailable', detail)];
}

async function rootFindings(
  home: Home,
  enclave: { readonly root_keys: string; readonly notice: string } | null,
  entries: ProcessEntries,
): Promise<readonly Finding[]> {
  if (enclave === null) return [];
  if (enclave.root_keys === 'pkcs11') return (await report(home, entries.enclave, 'enclave', ['root'])).findings;
  return [
    good('root_keys', `wrap, mac, sign, random in enclave; ${home.file('root.keys')} (software is not hardware)`),
  ];
}

function clockFinding(home: Home, headAgeS: number | undefined): Finding {
  if (headAgeS === undefined) return good('clock', 'no head has been signed yet to compare with');
  if (headAgeS < -SET_BACK_S_MAX)
    return bad(
      home,
      'clock_jumped',
      `the newest head was signed ${Math.round(-headAgeS)} s in the future: the clock was set back`,
    );
  return good('clock', `the newest head was signed ${Math.round(headAgeS)} s ago`);
}
