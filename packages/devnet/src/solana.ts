/**
 * A real Solana virtual machine on this machine: LiteSVM in this process, behind the JSON-RPC that wallets speak, on
 * 127.0.0.1 only. Journeys, tests and `main.ts` start it. A slot passes with each transaction and with `mine`, and is
 * final at once. Its money is free, its keys are worth nothing, and it keeps nothing when it stops.
 */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createFaucet } from './solana-faucet.ts';
import { createLedger } from './solana-ledger.ts';
import { answer, type Node, RpcError } from './solana-rpc.ts';

export interface SolanaDevnet {
  readonly rpcUrl: string;
  /** As `getGenesisHash` gives it; the same for every devnet, as its engine starts from one state. */
  readonly genesisHash: string;
  /** Adds to the balance of an address, by the engine's faucet. */
  fund(address: string, lamports: bigint): Promise<void>;
  mine(slots: number): Promise<void>;
  /** What was built until now can't be sent any more. */
  expireBlockhashes(): Promise<void>;
  /** A new token of the SPL token program; gives the mint's address. Only the devnet can issue it. */
  createMint(decimals: number): Promise<string>;
  /** Issues tokens to the owner's associated token account, and makes that account if it is missing. */
  fundToken(mint: string, owner: string, amount: bigint): Promise<void>;
  /** Resolves when the port is free again. */
  stop(): Promise<void>;
}

/** Resolves when it answers. Without `port` it takes a free one. Throws the system's error for a port in use. */
export async function startSolana({ port = 0 }: { port?: number } = {}): Promise<SolanaDevnet> {
  const ledger = createLedger();
  const faucet = createFaucet(ledger);
  const node: Node = { ledger, faucet };
  const server = createServer(async (request, response) => {
    const { status, body } = await respond(node, request).catch(() => ({ status: 400, body: '' }));
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });

  return {
    rpcUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    genesisHash: ledger.genesisHash,
    fund: async (address, lamports) => void faucet.send(address, lamports),
    mine: async (slots) => ledger.mine(slots),
    expireBlockhashes: async () => ledger.expireBlockhashes(),
    createMint: async (decimals) => faucet.createMint(decimals),
    fundToken: async (mint, owner, amount) => faucet.issue(mint, owner, amount),
    async stop() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** The limit of a validator's RPC. */
const BODY_BYTES_MAX = 50 * 1024;
const BATCH_MAX = 100;

async function respond(node: Node, request: IncomingMessage): Promise<{ status: number; body: string }> {
  if (request.method !== 'POST') return { status: 405, body: '' };
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) return { status: 413, body: '' };
    chunks.push(chunk);
  }
  let asked: unknown;
  try {
    asked = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    return { status: 200, body: failure(null, new RpcError(-32700, 'Parse error')) };
  }
  if (!Array.isArray(asked)) return { status: 200, body: answerOne(node, asked) };
  if (asked.length === 0 || asked.length > BATCH_MAX)
    return { status: 200, body: failure(null, new RpcError(-32600, 'Invalid request')) };
  return { status: 200, body: `[${asked.map((one) => answerOne(node, one)).join(',')}]` };
}

function answerOne(node: Node, asked: unknown): string {
  const { jsonrpc, id = null, method, params = [] } = (asked ?? {}) as Record<string, unknown>;
  const echoed = typeof id === 'number' || typeof id === 'string' ? id : null;
  try {
    if (jsonrpc !== '2.0' || typeof method !== 'string') throw new RpcError(-32600, 'Invalid request');
    if (!Array.isArray(params)) throw new RpcError(-32602, 'Invalid params: expected a list');
    return JSON.stringify({ jsonrpc: '2.0', result: answer(node, method, params), id: echoed });
  } catch (error) {
    return failure(echoed, error instanceof RpcError ? error : new RpcError(-32603, 'Internal error'));
  }
}

function failure(id: string | number | null, { code, message, data }: RpcError): string {
  return JSON.stringify({ jsonrpc: '2.0', error: { code, message, ...(data === undefined ? {} : { data }) }, id });
}
