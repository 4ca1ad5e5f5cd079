/**
 * What the doctor looks at while no service runs: each process reports on its own database and keys, and what neither
 * can know alone is compared here, namely whether the primary database remembers more than the vault database has.
 */
import { writeServiceConfigs } from '../operator/service.ts';
import type { Home } from '../settings.ts';
import { backupFinding } from './backup.ts';
import { bad, type Finding, good } from './findings.ts';
import { type ProcessEntries, report } from './report.ts';

export async function checkStopped(home: Home, entries: ProcessEntries): Promise<Finding[]> {
  try {
    writeServiceConfigs(home, {
      port: 0,
      rpcUrl: home.settings['evm.rpc_url'] || 'http://127.0.0.1:8545',
      chainId: home.settings['evm.chain_id'],
    });
  } catch (error) {
    return [bad(home, 'check_failed', error instanceof Error ? error.message : String(error))];
  }
  const [enclave, gateway] = await Promise.all([
    report(home, entries.enclave, 'enclave'),
    report(home, entries.gateway, 'gateway'),
  ]);
  const findings = [...gateway.findings, ...enclave.findings];
  const { sequence } = enclave.said;
  const { mirror_sequence: remembered, backup_age_s: backupAgeS } = gateway.said;
  if (typeof sequence === 'number' && typeof remembered === 'number')
    findings.push(compareMirrors(home, sequence, remembered));
  if (typeof backupAgeS === 'number' || backupAgeS === null) findings.push(backupFinding(home, backupAgeS));
  return findings;
}

function compareMirrors(home: Home, sequence: number, remembered: number): Finding {
  if (remembered <= sequence)
    return good('mirrors', `the primary database remembers write ${remembered}, the vault database is at ${sequence}`);
  return bad(
    home,
    'mirrors_disagree',
    `the vault database is at write ${sequence}, but the primary database remembers write ${remembered}`,
  );
}
