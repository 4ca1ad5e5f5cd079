/**
 * `devnet`: the local chains alone, and their faucets and miners. The devnet runs as a child process and is asked over
 * HTTP like any other node; nothing of it is imported. Amounts are in a chain's smallest unit.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { type Command, type Context, type Result, required } from '../command.ts';
import { shippedEntries } from '../operator/service.ts';

export const devnetCommands: readonly Command[] = [
  {
    words: 'devnet fund',
    usage: 'devnet fund bitcoin|evm|solana ADDRESS AMOUNT [--url URL]',
    summary: 'local money to an address, in sats, wei or lamports',
    run: fund,
  },
  {
    words: 'devnet mine',
    usage: 'devnet mine bitcoin|evm|solana BLOCKS [--url URL]',
    summary: 'make blocks on a local chain',
    run: mine,
  },
  { words: 'devnet', usage: 'devnet', summary: 'run the local chains alone', run: devnet },
];

const chains = ['bitcoin', 'evm', 'solana'] as const;
type DevnetChain = (typeof chains)[number];

async function fund(context: Context): Promise<Result> {
  const chain = chainOf(context);
  const address = required(context, 1, 'The address');
  const amount = required(context, 2, 'The amount');
  if (!/^[1-9][0-9]{0,38}$/.test(amount))
    throw new Error('The amount is a whole number of the smallest unit: sats, wei or lamports.');
  const url = urlOf(context, chain);
  if (chain === 'bitcoin') await post(`${url}/devnet/fund`, { address, amount_sats: safeNumber(amount) });
  else if (chain === 'evm') await call(url, 'anvil_addBalance', [address, `0x${BigInt(amount).toString(16)}`]);
  else await call(url, 'requestAirdrop', [address, safeNumber(amount)]);
  return { data: { chain, address, amount }, lines: [`${address} has ${amount} more.`] };
}

async function mine(context: Context): Promise<Result> {
  const chain = chainOf(context);
  const blocks = Number(required(context, 1, 'The number of blocks'));
  if (!Number.isSafeInteger(blocks) || blocks < 1) throw new Error('The number of blocks is a whole number from 1 on.');
  const url = urlOf(context, chain);
  if (chain === 'bitcoin') await post(`${url}/devnet/mine`, { blocks });
  else if (chain === 'evm') await call(url, 'anvil_mine', [`0x${blocks.toString(16)}`]);
  else await call(url, 'devnet_mine', [blocks]);
  return { data: { chain, blocks }, lines: [`${blocks} blocks more on ${chain}.`] };
}

/** With its output passed through, until it ends. It reads nothing: the pipe tells it when we are gone, however we go. */
async function devnet(context: Context): Promise<Result> {
  const [entry] = shippedEntries().devnet;
  const child = spawn(process.execPath, [entry!, ...(context.json ? ['--json'] : [])], {
    stdio: ['pipe', 'inherit', 'inherit'],
    env: { ...process.env, KEDGE_CHILD: '1' },
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  const code = await new Promise<number>((resolve) => child.once('exit', (exit) => resolve(exit ?? 1)));
  return process.exit(code);
}

function chainOf(context: Context): DevnetChain {
  const name = required(context, 0, 'The chain');
  const chain = chains.find((known) => known === name);
  if (chain === undefined) throw new Error(`There is no chain ${name}: it is ${chains.join(', ')}.`);
  return chain;
}

/** The flag, or what `kedge serve` wrote down when it started its devnet. */
function urlOf({ flag, home }: Context, chain: DevnetChain): string {
  const given = flag('url');
  if (given !== undefined) return given.replace(/\/$/, '');
  const running = home.file('run', 'service.json');
  const { devnet } = existsSync(running)
    ? (JSON.parse(readFileSync(running, 'utf8')) as { devnet?: Partial<Record<DevnetChain, Record<string, unknown>>> })
    : {};
  const url = devnet?.[chain]?.[chain === 'bitcoin' ? 'esplora_url' : 'rpc_url'];
  if (typeof url !== 'string')
    throw new Error(`No service with a ${chain} devnet runs in ${home.path}. Name one with --url.`);
  return url;
}

function safeNumber(amount: string): number {
  const number = Number(amount);
  if (!Number.isSafeInteger(number)) throw new Error('The amount is more than there is.');
  return number;
}

async function call(url: string, method: string, params: readonly unknown[]): Promise<void> {
  const answer = JSON.parse(await post(url, { jsonrpc: '2.0', id: 1, method, params })) as {
    error?: { message?: unknown };
  };
  if (answer.error) throw new Error(`The devnet refuses: ${String(answer.error.message).slice(0, 200)}`);
}

async function post(url: string, body: object): Promise<string> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  }).catch((cause: unknown) => {
    throw new Error('No devnet answers there. Start one with kedge devnet, and take the URL that it prints.', {
      cause,
    });
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`The devnet refuses: ${text.slice(0, 200)}`);
  return text;
}
