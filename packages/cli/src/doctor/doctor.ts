/**
 * The examination as a whole: the machine, then either the service that runs or, with nothing running, what its two
 * processes say of their databases and keys. `kedge doctor` shows what it gives; it changes nothing but two
 * configuration files in the state folder that every start writes anew.
 */
import { existsSync, readFileSync } from 'node:fs';
import { shippedEntries } from '../operator/service.ts';
import type { Home } from '../settings.ts';
import type { Finding } from './findings.ts';
import { checkMachine, machineProbes, type Probes } from './machine.ts';
import type { ProcessEntries } from './report.ts';
import { checkRunning, type ServiceFile } from './running.ts';
import { checkStopped } from './stopped.ts';

export interface DoctorParts {
  readonly probes: Probes;
  readonly entries: ProcessEntries;
}

export function shippedParts(): DoctorParts {
  const { enclave, gateway } = shippedEntries();
  return { probes: machineProbes, entries: { enclave: enclave.slice(0, 1), gateway: gateway.slice(0, 1) } };
}

export async function examine(home: Home, { probes, entries }: DoctorParts): Promise<readonly Finding[]> {
  const service = runningService(home);
  const machine = await checkMachine(home, probes, service && portOf(service.url));
  if (service) return [...machine, ...(await checkRunning(home, service, entries))];
  const usable = existsSync(home.path) && !machine.some(({ code }) => code === 'state_folder_unwritable');
  return usable ? [...machine, ...(await checkStopped(home, entries))] : machine;
}

/** What `kedge serve` wrote, if that process lives. */
function runningService(home: Home): ServiceFile | null {
  const file = home.file('run', 'service.json');
  if (!existsSync(file)) return null;
  const service = JSON.parse(readFileSync(file, 'utf8')) as ServiceFile;
  try {
    process.kill(service.pid, 0);
    return service;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? service : null;
  }
}

function portOf(url: string): number {
  const { port, protocol } = new URL(url);
  return port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
}
