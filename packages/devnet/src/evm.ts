/**
 * A real EVM engine on this machine: the anvil binary, bound to 127.0.0.1, with a block per transaction. Journeys, tests
 * and `main.ts` start it. It dies with the process that started it, however that one dies.
 * Its keys are public and its money is free; it never listens where another machine could reach it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:process';
import { createInterface } from 'node:readline';

export interface EvmDevnet {
  readonly rpcUrl: string;
  readonly chainId: 31337;
  /** Adds to the balance of an address, out of thin air. */
  fund(address: string, wei: bigint): Promise<void>;
  mine(blocks: number): Promise<void>;
  /** Resolves when the process is gone and its port is free again. */
  stop(): Promise<void>;
}

/** Resolves when anvil answers. Without `port` it takes a free one. Throws an `Error` with anvil's own words. */
export async function startEvm({ port = 0 }: { port?: number } = {}): Promise<EvmDevnet> {
  const args = ['--host', '127.0.0.1', '--port', String(port), '--chain-id', '31337'];
  const anvil = spawnBound(anvilBinary(), args);
  const exited = new Promise<void>((resolve) => anvil.once('close', () => resolve()));
  const killWithUs = (): void => {
    anvil.kill('SIGKILL');
  };
  process.once('exit', killWithUs);
  void exited.then(() => process.off('exit', killWithUs));

  const stop = async (): Promise<void> => {
    anvil.kill('SIGTERM');
    await exited;
  };
  try {
    const rpcUrl = `http://${await listening(anvil)}`;
    await call(rpcUrl, 'eth_chainId', []);
    return {
      rpcUrl,
      chainId: 31337,
      fund: (address, wei) => call(rpcUrl, 'anvil_addBalance', [address, quantity(wei)]),
      mine: (blocks) => call(rpcUrl, 'anvil_mine', [quantity(BigInt(blocks))]),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The platform's package holds the plain binary: no install script has to run for it. */
function anvilBinary(): string {
  const fromHere = createRequire(import.meta.url);
  const fromAnvil = createRequire(fromHere.resolve('@foundry-rs/anvil/package.json'));
  const cpu = arch === 'x64' ? 'amd64' : arch;
  return fromAnvil.resolve(`@foundry-rs/anvil-${platform}-${cpu}/bin/anvil${platform === 'win32' ? '.exe' : ''}`);
}

/**
 * On Linux the kernel kills the child when we are gone, even by `kill -9`: setpriv asks for that, then becomes anvil.
 * Elsewhere the 'exit' handler has to do, and `kill -9` leaves anvil running.
 */
function spawnBound(binary: string, args: readonly string[]): ChildProcess {
  const bound = spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true'], { stdio: 'ignore' }).status === 0;
  const [command, ...rest] = bound ? ['setpriv', '--pdeathsig', 'KILL', binary, ...args] : [binary, ...args];
  return spawn(command as string, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Waits for anvil to name its address, which it does once it listens; afterwards its log is read and dropped. */
function listening(anvil: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let complaint = '';
    anvil.stderr?.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(-2_000);
    });
    anvil.once('error', reject);
    anvil.once('close', (code) => reject(new Error(`anvil stopped (${code}) before it listened: ${complaint.trim()}`)));
    createInterface({ input: anvil.stdout! }).on('line', (line) => {
      const address = /^Listening on (127\.0\.0\.1:\d+)$/.exec(line)?.[1];
      if (address !== undefined) resolve(address);
    });
  });
}

async function call(rpcUrl: string, method: string, params: readonly unknown[]): Promise<void> {
  const response = await fetch(rpcUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  });
  const { error } = (await response.json()) as { error?: { message: string } };
  if (error !== undefined) throw new Error(`anvil refuses ${method}: ${error.message}`);
}

function quantity(value: bigint): string {
  return `0x${value.toString(16)}`;
}
