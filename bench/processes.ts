/** Gateway and enclave as processes of what `tsc` made, over the databases of a crowd. */
import { type ChildProcess, spawn } from 'node:child_process';
import { openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Crowd, User } from './crowd.ts';

export interface Opening {
  readonly user: User;
  readonly wallet: string;
  readonly proof: string;
}

/** What opens a wallet, to the last byte. */
export function requestToOpen({ user, wallet, proof }: Opening): Buffer {
  return Buffer.from(
    `POST /v1/wallets/${wallet}/open HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${user.sessionToken}\r\n` +
      `kedge-proof: ${proof}\r\ncontent-length: 0\r\n\r\n`,
  );
}

export function enclaveConfig({ vaultUrl, folder }: Crowd, socket: string, operators: Record<string, string> = {}) {
  return {
    database: vaultUrl,
    root: { kind: 'software', file: join(folder, 'root') },
    mirror: join(folder, 'mirror'),
    listen: { socket },
    operators,
    // The breaker would trip; the limits of wallets and accounts stay as they are.
    opensPerMinuteMax: 1_000_000_000,
    backups: folder,
  };
}

export function gatewayConfig({ primaryUrl, folder }: Crowd, name: string, socket: string) {
  return {
    name,
    database: primaryUrl,
    enclave: { socket },
    listen: { port: 0 },
    evm: { rpcUrl: 'http://127.0.0.1:1', chainId: 31337 },
    backups: folder,
    mail: { transport: 'outbox', folder: join(folder, 'outbox'), from: 'kedge@localhost' },
    gatewayKeyFile: join(folder, `${name}.key`),
    // The bench comes from one address.
    limits: { perAddressPerMinute: 1_000_000_000, perPrincipalPerMinute: 1_000_000_000 },
  };
}

/** Starts what `tsc` made and gives the address that it says, if it says one. */
export async function startDist(
  kind: 'enclave' | 'gateway',
  config: object,
  { folder }: Crowd,
  children: ChildProcess[],
): Promise<string> {
  const file = join(folder, `${kind}-${children.length}.json`);
  writeFileSync(file, JSON.stringify(config));
  const main = new URL(`../packages/${kind === 'enclave' ? 'enclave' : 'server'}/dist/main.js`, import.meta.url);
  const child = spawn(process.execPath, [...process.execArgv.filter(isProfiling), main.pathname, 'serve'], {
    env: { ...process.env, [`KEDGE_${kind.toUpperCase()}_CONFIG`]: file },
    stdio: ['ignore', 'pipe', openSync(`${file}.log`, 'a')],
  });
  children.push(child);
  for await (const line of createInterface({ input: child.stdout! })) {
    const said = JSON.parse(line) as { ready?: boolean; url?: string };
    if (said.ready) return said.url ?? '';
  }
  throw new Error(`the ${kind} did not start`);
}

function isProfiling(flag: string): boolean {
  return flag.startsWith('--cpu-prof');
}

export function portOf(url: string): number {
  return Number(new URL(url).port);
}
