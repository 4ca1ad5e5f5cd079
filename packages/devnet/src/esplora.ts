/**
 * The Bitcoin engine behind Esplora's HTTP interface, bound to 127.0.0.1: what a wallet asks of a block explorer, and
 * `POST /tx`. Under `/devnet` stand the faucet and the miner, which no real server has. Requests are answered one after
 * the other. It validates nothing itself; refusals are those of the pool.
 */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { BitcoinDevnet, Queue } from './bitcoin.ts';
import { scriptOf } from './bitcoin-address.ts';
import { type ChainEntry, type Engine, reversed } from './bitcoin-engine.ts';
import type { ChainIndex } from './bitcoin-index.ts';
import { enterPool, PoolRefusal, poolEntries } from './bitcoin-pool.ts';
import { createView, type EsploraView } from './esplora-view.ts';

interface EsploraOptions extends Pick<BitcoinDevnet, 'fund' | 'mine'> {
  readonly engine: Engine;
  readonly index: ChainIndex;
  readonly queue: Queue;
  readonly port: number;
}

/** Twice the bytes of the largest standard transaction, and some. */
const BODY_BYTES_MAX = 1024 * 1024;
/** Blockstream's servers estimate for these. */
const FEE_TARGETS = [...Array.from({ length: 25 }, (_, i) => i + 1), 144, 504, 1008];

/** Throws an `Error` for a port in use. */
export async function serveEsplora(options: EsploraOptions): Promise<{ url: string; close(): Promise<void> }> {
  const routes = routesOf(options);
  const server = createServer((request, response) => {
    answer(routes, request).then(
      ({ status, body, type }) => response.writeHead(status, { 'content-type': type }).end(body),
      () => response.destroy(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      reject(taken ? new Error(`Port ${options.port} of 127.0.0.1 is in use. Name another one.`) : error);
    });
    server.listen(options.port, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      return closed;
    },
  };
}

/** Text goes out as it is, everything else as JSON. */
type Handler = (parts: readonly string[], body: string) => Promise<unknown> | unknown;
type Routes = readonly { readonly method: string; readonly path: RegExp; readonly run: Handler }[];

class HttpError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

async function answer(
  routes: Routes,
  request: IncomingMessage,
): Promise<{ status: number; body: string | Buffer; type: string }> {
  try {
    const { pathname } = new URL(request.url ?? '/', 'http://127.0.0.1');
    const body = await readBody(request);
    for (const { method, path, run } of routes) {
      const match = path.exec(pathname);
      if (match === null || method !== request.method) continue;
      const result = await run(match.slice(1), body);
      if (Buffer.isBuffer(result)) return { status: 200, body: result, type: 'application/octet-stream' };
      if (typeof result === 'string') return { status: 200, body: result, type: 'text/plain' };
      return { status: 200, body: JSON.stringify(result), type: 'application/json' };
    }
    return { status: 404, body: 'endpoint does not exist', type: 'text/plain' };
  } catch (error) {
    if (error instanceof HttpError) return { status: error.status, body: error.message, type: 'text/plain' };
    if (error instanceof PoolRefusal) {
      const told = JSON.stringify({ code: error.code, message: error.message });
      return { status: 400, body: `sendrawtransaction RPC error: ${told}`, type: 'text/plain' };
    }
    if (error instanceof RangeError) return { status: 400, body: error.message, type: 'text/plain' };
    return { status: 500, body: 'Internal error of the devnet', type: 'text/plain' };
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) throw new HttpError(413, `A body has at most ${BODY_BYTES_MAX} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function routesOf({ engine, index, queue, fund, mine }: EsploraOptions): Routes {
  const { chain } = engine.node;
  const view = createView(engine, index);
  const get = (path: string, run: Handler) => ({
    method: 'GET',
    path: new RegExp(`^${path}$`),
    run: (parts: readonly string[], body: string) => queue(async () => run(parts, body)),
  });
  const post = (path: string, run: Handler) => ({ method: 'POST', path: new RegExp(`^${path}$`), run });

  const entryOf = async (hash: string): Promise<ChainEntry> => {
    const entry = /^[0-9a-f]{64}$/.test(hash) ? await chain.getEntry(reversed(hash)) : null;
    if (entry === null) throw new HttpError(404, 'Block not found');
    return entry;
  };
  const entryAt = async (height: string): Promise<ChainEntry> => {
    const entry = /^\d{1,9}$/.test(height) ? await chain.getEntry(Number(height)) : null;
    if (entry === null) throw new HttpError(404, 'Block not found');
    return entry;
  };
  const transactionOf = (txid: string) => {
    const tx = view.transaction(parseTxid(txid));
    if (tx === null) throw new HttpError(404, 'Transaction not found');
    return tx;
  };
  const pages = async (script: string) => [...(await view.poolPage(script)), ...((await view.chainPage(script)) ?? [])];

  return [
    get('/blocks/tip/height', () => String(chain.height)),
    get('/blocks/tip/hash', () => reversed(chain.tip.hash)),
    get('/blocks(?:/(\\d{1,9}))?', async ([start]) =>
      view.blocks((await entryAt(start ?? String(chain.height))).height),
    ),
    get('/block-height/([^/]+)', async ([height]) => reversed((await entryAt(height!)).hash)),
    get('/block/([^/]+)', async ([hash]) => view.block(await entryOf(hash!))),
    get('/block/([^/]+)/header', async ([hash]) => (await entryOf(hash!)).toRaw().subarray(0, 80).toString('hex')),
    get('/block/([^/]+)/status', async ([hash]) => view.blockStatus(await entryOf(hash!))),
    get('/block/([^/]+)/txids', async ([hash]) => {
      const block = await chain.getBlock((await entryOf(hash!)).hash);
      return block!.txs.map((tx) => tx.txid());
    }),

    get('/address/([^/]+)', ([address]) => ({ address, ...statsOf(view, addressScript(address!)) })),
    get('/address/([^/]+)/utxo', ([address]) => view.utxo(addressScript(address!))),
    get('/address/([^/]+)/txs', ([address]) => pages(addressScript(address!))),
    get('/address/([^/]+)/txs/mempool', ([address]) => view.poolPage(addressScript(address!))),
    get('/address/([^/]+)/txs/chain(?:/([0-9a-f]{64}))?', async ([address, after]) => {
      const page = await view.chainPage(addressScript(address!), after);
      if (page === null) throw new HttpError(422, 'after_txid not found');
      return page;
    }),

    get('/tx/([^/]+)', ([txid]) => view.transactionJson(transactionOf(txid!))),
    get('/tx/([^/]+)/hex', ([txid]) => transactionOf(txid!).toRaw().toString('hex')),
    get('/tx/([^/]+)/raw', ([txid]) => transactionOf(txid!).toRaw()),
    // As real servers do, it says "not confirmed" of what it never saw.
    get('/tx/([^/]+)/status', ([txid]) => view.status(parseTxid(txid!))),
    get('/tx/([^/]+)/outspends', ([txid]) => transactionOf(txid!).outputs.map((_, vout) => view.outspend(txid!, vout))),
    get('/tx/([^/]+)/outspend/(\\d{1,6})', ([txid, vout]) => {
      if (Number(vout) >= transactionOf(txid!).outputs.length) return { spent: false };
      return view.outspend(txid!, Number(vout));
    }),

    get('/mempool', () => view.pool()),
    get('/mempool/txids', () => poolEntries(engine).map(({ tx }) => tx.txid())),
    // There is no market on regtest to learn from. A table falls from 5 to 1, so that levels differ.
    get('/fee-estimates', () => Object.fromEntries(FEE_TARGETS.map((target) => [target, feeRate(target)]))),

    post('/tx', async (_, body) => {
      if (!/^(?:[0-9a-f]{2})+$/i.test(body.trim())) throw new HttpError(400, 'Invalid hex string');
      return queue(() => enterPool(engine, index, Buffer.from(body.trim(), 'hex')));
    }),
    post('/devnet/fund', async (_, body) => {
      const { address, amount_sats: sats, count } = readFields(body, ['address', 'amount_sats', 'count']);
      if (typeof address !== 'string') throw new HttpError(400, 'address is missing.');
      if (typeof sats !== 'number' || !Number.isSafeInteger(sats))
        throw new HttpError(400, 'amount_sats is a whole number.');
      if (count !== undefined && typeof count !== 'number') throw new HttpError(400, 'count is a whole number.');
      await fund(address, BigInt(sats), count);
      return { height: chain.height };
    }),
    post('/devnet/mine', async (_, body) => {
      const { blocks } = readFields(body, ['blocks']);
      if (typeof blocks !== 'number') throw new HttpError(400, 'blocks is missing.');
      await mine(blocks);
      return { height: chain.height };
    }),
  ];
}

function feeRate(target: number): number {
  if (target <= 2) return 5;
  return target <= 10 ? 2 : 1;
}

function parseTxid(text: string): string {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new HttpError(400, 'Invalid hex string');
  return text;
}

function addressScript(address: string): string {
  const script = scriptOf(address);
  if (script === null) throw new HttpError(400, 'Invalid Bitcoin address');
  return script;
}

function statsOf(view: EsploraView, script: string): object {
  return { chain_stats: view.chainStats(script), mempool_stats: view.poolStats(script) };
}

/** A JSON object with no other fields than these. */
function readFields(body: string, names: readonly string[]): Record<string, unknown> {
  let fields: unknown;
  try {
    fields = JSON.parse(body);
  } catch {
    throw new HttpError(400, 'The body is no JSON.');
  }
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields))
    throw new HttpError(400, 'The body is no JSON object.');
  const unknown = Object.keys(fields).find((name) => !names.includes(name));
  if (unknown !== undefined)
    throw new HttpError(400, `There is only ${names.join(', ')}, not ${unknown.slice(0, 50)}.`);
  return fields as Record<string, unknown>;
}
