/**
 * A real Bitcoin full node on this machine: bcoin on regtest, in memory and in this process, behind an Esplora HTTP
 * interface on 127.0.0.1. Journeys, tests and `main.ts` start it; it is gone with the process. Blocks come when they
 * are asked for and at no other time. The faucet's key is public and its money is worth nothing.
 */
import { scriptOf } from './bitcoin-address.ts';
import { type ChainEntry, type Engine, type EngineTransaction, openEngine } from './bitcoin-engine.ts';
import { type ChainIndex, createChainIndex } from './bitcoin-index.ts';
import { enterPool, PoolRefusal } from './bitcoin-pool.ts';
import { serveEsplora } from './esplora.ts';

export interface BitcoinDevnet {
  readonly esploraUrl: string;
  readonly network: 'regtest';
  /**
   * Pays `sats` to the address, `count` times (1 by default) in outputs of their own. They have one confirmation when it
   * resolves. The blocks it makes hold nothing else, so what waits in the pool goes on waiting.
   */
  fund(address: string, sats: bigint, count?: number): Promise<void>;
  /** Takes what is in the pool first. */
  mine(blocks: number): Promise<void>;
  /**
   * Replaces the newest blocks by empty ones, one more than there were. What the old ones held is in the pool again, as
   * after a real reorg; what spends a coinbase of theirs is gone.
   */
  reorg(depth: number): Promise<void>;
  /** Resolves when the port is free again. */
  stop(): Promise<void>;
}

/** Segregated Witness is active from height 432 on (BIP9 with regtest's window of 144). */
const FIRST_BLOCKS = 450;
/** Coinbases can be spent in the 100th block after theirs. */
const COINBASE_MATURITY = 100;
/** Known to everybody. SHA-256 of "kedge devnet faucet". */
const FAUCET_KEY = '7a61f12ae7251c28bfac3bb489a073f1443341e3da513a2d0387608fc8b8b21c';
/** A standard transaction weighs at most 400,000; an output of P2WSH or P2TR weighs 172. */
const OUTPUTS_PER_TRANSACTION = 2_000;
const INPUTS_MAX = 400;
const SATS_MAX = 21_000_000n * 100_000_000n;

export const FUND_COUNT_MAX = 20_000;
export const MINE_BLOCKS_MAX = 10_000;

/** Resolves when it answers. Without `port` it takes a free one. Throws an `Error` that says which port is in use. */
export async function startBitcoin({ port = 0 }: { port?: number } = {}): Promise<BitcoinDevnet> {
  const engine = await openEngine();
  const { node } = engine;
  const index = createChainIndex();
  const queue = createQueue();
  const faucet = engine.createKey(FAUCET_KEY);
  let taken: EngineTransaction[] = [];
  node.on('connect', (entry, block) => index.connect(entry, block));
  node.on('disconnect', (_entry, block) => {
    index.disconnect(block);
    taken = [...block.txs.slice(1), ...taken];
  });

  /** A block on top of `on`. With `only`, it holds that and nothing of the pool. */
  const addBlock = async (on: ChainEntry, only?: readonly EngineTransaction[]): Promise<ChainEntry> => {
    const job = await node.miner.createJob(on, faucet.address);
    if (only !== undefined) {
      job.attempt.items = [];
      job.attempt.fees = 0;
      for (const tx of only) job.attempt.addTX(tx, await node.mempool.getCoinView(tx));
      job.refresh();
    }
    const entry = await node.chain.add(job.mine());
    if (entry === null) throw new Error('The engine does not take its own block.');
    return entry;
  };

  const devnet: Omit<BitcoinDevnet, 'esploraUrl' | 'stop'> = {
    network: 'regtest',
    async fund(address, sats, count = 1) {
      const script = scriptOf(address);
      if (script === null) throw new RangeError(`${address.slice(0, 100)} is no address of regtest.`);
      if (sats < 1n || sats > SATS_MAX) throw new RangeError('An amount is from 1 to 21e14 sats.');
      assertCount('count', count, FUND_COUNT_MAX);
      for (let left = count; left > 0; left -= OUTPUTS_PER_TRANSACTION) {
        const outputs = Array(Math.min(left, OUTPUTS_PER_TRANSACTION)).fill({ script, value: Number(sats) });
        await queue(async () => addBlock(node.chain.tip, [pay(engine, index, faucet, outputs)]));
      }
    },
    mine: (blocks) =>
      queue(async () => {
        assertCount('blocks', blocks, MINE_BLOCKS_MAX);
        for (let i = 0; i < blocks; i++) await addBlock(node.chain.tip);
      }),
    reorg: (depth) =>
      queue(async () => {
        assertCount('depth', depth, node.chain.height - FIRST_BLOCKS);
        let on = await entryAt(engine, node.chain.height - depth);
        taken = [];
        for (let i = 0; i <= depth; i++) on = await addBlock(on, []);
        for (const tx of taken) {
          await enterPool(engine, index, tx.toRaw()).catch((error: unknown) => {
            if (!(error instanceof PoolRefusal)) throw error;
          });
        }
      }),
  };

  try {
    for (let i = 0; i < FIRST_BLOCKS; i++) await addBlock(node.chain.tip, []);
    const server = await serveEsplora({ engine, index, queue, port, ...devnet });
    let stopped: Promise<void> | null = null;
    return {
      ...devnet,
      esploraUrl: server.url,
      stop: () => {
        stopped ??= server.close().then(() => queue(() => node.close()));
        return stopped;
      },
    };
  } catch (error) {
    await node.close();
    throw error;
  }
}

export type Queue = <T>(work: () => Promise<T>) => Promise<T>;

/** One thing after the other: neither a reader nor a writer ever sees the engine between two states. */
function createQueue(): Queue {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const now = last.then(work);
    last = now.catch(() => {});
    return now;
  };
}

function assertCount(name: string, value: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < 1 || value > max)
    throw new RangeError(`${name} is a whole number from 1 to ${max}.`);
}

async function entryAt(engine: Engine, height: number): Promise<ChainEntry> {
  const entry = await engine.node.chain.getEntry(height);
  if (entry === null) throw new Error(`The engine has lost its block ${height}.`);
  return entry;
}

/** From the faucet's ripe coins, the largest first; the rest goes back to it. */
function pay(
  engine: Engine,
  index: ChainIndex,
  faucet: ReturnType<Engine['createKey']>,
  outputs: readonly { script: string; value: number }[],
): EngineTransaction {
  const { node } = engine;
  const coins = index
    .history(faucet.script)
    .flatMap((txid) => {
      const { tx, height } = index.find(txid)!;
      if (tx.isCoinbase() && node.chain.height + 1 - height < COINBASE_MATURITY) return [];
      return tx.outputs.flatMap(({ script, value }, vout) => {
        const free = index.spender(txid, vout) === null && node.mempool.getSpent(tx.hash('hex'), vout) === undefined;
        return free && script.toRaw().toString('hex') === faucet.script ? [{ tx, height, index: vout, value }] : [];
      });
    })
    .sort((a, b) => b.value - a.value)
    .slice(0, INPUTS_MAX);
  const wanted = outputs.reduce((sum, { value }) => sum + value, 0);
  const bytesOfOutputs = outputs.reduce((sum, { script }) => sum + 9 + script.length / 2, 0);
  const chosen: typeof coins = [];
  let sum = 0;
  for (const coin of coins) {
    chosen.push(coin);
    sum += coin.value;
    // One satoshi per virtual byte, rounded up, so that a reorg finds it fit for the pool: P2WPKH takes 68 and 31 bytes.
    const change = sum - wanted - (20 + 69 * chosen.length + 31 + bytesOfOutputs);
    if (change >= 1_000) return engine.sign(faucet, chosen, [...outputs, { script: faucet.script, value: change }]);
  }
  throw new RangeError(`The faucet has only ${sum} sats that are ripe. Ask for less, or mine blocks first.`);
}
