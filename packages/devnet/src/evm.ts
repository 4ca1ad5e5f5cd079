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
  /** Replaces the newest blocks by as many empty ones. What was funded after the block below them is gone, too. */
  reorg(depth: number): Promise<void>;
  /** Runs `work` while no transaction starts a block: only {@link EvmDevnet.mine} makes one. */
  withoutBlocks<T>(work: () => Promise<T>): Promise<T>;
  /** A new ERC-20 token (OpenZeppelin's, 18 decimals) that nobody holds any of yet. Gives its address. */
  createToken(): Promise<string>;
  /** Adds to what an address holds of such a token, in a block of its own. `amount` in the token's smallest unit. */
  fundToken(token: string, address: string, amount: bigint): Promise<void>;
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
    const mine = async (blocks: number): Promise<void> => {
      await call(rpcUrl, 'anvil_mine', [quantity(BigInt(blocks))]);
    };
    // Sent by the first of anvil's own accounts, whose key anvil holds.
    const send = async (transaction: { to?: string; data: string }): Promise<Record<string, unknown>> => {
      const [from] = (await call(rpcUrl, 'eth_accounts', [])) as [string];
      const id = await call(rpcUrl, 'eth_sendTransaction', [
        { from, gas: quantity(GAS_OF_DEPLOYMENT), ...transaction },
      ]);
      let receipt = await call(rpcUrl, 'eth_getTransactionReceipt', [id]);
      if (receipt === null) {
        await mine(1); // no block starts by itself at the moment
        receipt = await call(rpcUrl, 'eth_getTransactionReceipt', [id]);
      }
      const { status } = (receipt ?? {}) as { status?: string };
      if (status !== '0x1') throw new Error(`anvil took the transaction ${String(id)}, and it failed`);
      return receipt as Record<string, unknown>;
    };
    return {
      rpcUrl,
      chainId: 31337,
      async fund(address, wei) {
        await call(rpcUrl, 'anvil_addBalance', [address, quantity(wei)]);
      },
      mine,
      async reorg(depth) {
        await call(rpcUrl, 'anvil_reorg', [depth, []]);
      },
      async withoutBlocks(work) {
        await call(rpcUrl, 'evm_setAutomine', [false]);
        try {
          return await work();
        } finally {
          await call(rpcUrl, 'evm_setAutomine', [true]);
        }
      },
      async createToken() {
        const { contractAddress } = await send({ data: tokenBytecode() });
        return String(contractAddress);
      },
      async fundToken(token, address, amount) {
        await send({ to: token, data: `${MINT}${word(BigInt(address))}${word(amount)}` });
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** `mint(address,uint256)`, which the account that deployed the token may call. */
const MINT = '0x40c10f19';
const GAS_OF_DEPLOYMENT = 5_000_000n;

/** OpenZeppelin's ERC20PresetMinterPauser as they compiled it, with its two constructor arguments: a name and a symbol. */
function tokenBytecode(): string {
  const artifact = '@openzeppelin/contracts/build/contracts/ERC20PresetMinterPauser.json';
  const { bytecode } = createRequire(import.meta.url)(artifact) as { bytecode: string };
  const text = (value: string) => word(BigInt(value.length)) + Buffer.from(value).toString('hex').padEnd(64, '0');
  // The ABI puts texts behind the words that say where they start.
  return `${bytecode}${word(64n)}${word(128n)}${text('Devnet Token')}${text('DEV')}`;
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

async function call(rpcUrl: string, method: string, params: readonly unknown[]): Promise<unknown> {
  const response = await fetch(rpcUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  });
  const { error, result } = (await response.json()) as { error?: { message: string }; result?: unknown };
  if (error !== undefined) throw new Error(`anvil refuses ${method}: ${error.message}`);
  return result;
}

function quantity(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** 32 bytes of the ABI, in hex. */
function word(value: bigint): string {
  return value.toString(16).padStart(64, '0');
}
