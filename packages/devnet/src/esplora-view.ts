/**
 * What Esplora says about transactions, scripts and blocks, read from the engine's chain and pool and from the index.
 * The shapes are those of Blockstream's Esplora HTTP API, which wallets know. Ids and hashes are spelled reversed, as
 * people see them; amounts are satoshis. It changes nothing.
 */
import { describeScript } from './bitcoin-address.ts';
import { scriptAsm } from './bitcoin-asm.ts';
import {
  type ChainEntry,
  type Engine,
  type EngineOutput,
  type EngineTransaction,
  type PoolEntry,
  reversed,
} from './bitcoin-engine.ts';
import type { ChainIndex, Spender } from './bitcoin-index.ts';
import { findInPool, poolEntries } from './bitcoin-pool.ts';

/** Entries on a page of confirmed transactions; twice as many of the pool are shown. */
export const PAGE = 25;
const POOL_PAGE = 50;
const BLOCKS_PAGE = 10;

export interface EsploraView {
  transaction(txid: string): EngineTransaction | null;
  transactionJson(tx: EngineTransaction): Promise<object>;
  status(txid: string): object;
  outspend(txid: string, vout: number): object;
  /** Of a script in hexadecimal: counts and sums of the chain, or of what the pool would add. */
  chainStats(script: string): object;
  poolStats(script: string): object;
  utxo(script: string): readonly object[];
  /** Newest first, from the one after `after` on; null if that isn't among them. */
  chainPage(script: string, after?: string): Promise<readonly object[] | null>;
  poolPage(script: string): Promise<readonly object[]>;
  block(entry: ChainEntry): Promise<object>;
  blockStatus(entry: ChainEntry): Promise<object>;
  /** From a height downwards. */
  blocks(from: number): Promise<readonly object[]>;
  pool(): object;
}

export function createView(engine: Engine, index: ChainIndex): EsploraView {
  const { chain, mempool } = engine.node;

  const transaction = (txid: string): EngineTransaction | null =>
    findInPool(engine, txid)?.tx ?? index.find(txid)?.tx ?? null;

  const outputOf = ({ hash, index: vout }: { hash: string; index: number }): EngineOutput | null =>
    transaction(reversed(hash))?.outputs[vout] ?? null;

  const status = (txid: string): object => {
    const found = index.find(txid);
    if (found === null) return { confirmed: false };
    return {
      confirmed: true,
      block_height: found.height,
      block_hash: found.blockHash,
      block_time: found.blockTime,
    };
  };

  const spender = (txid: string, vout: number): Spender | null => {
    const confirmed = index.spender(txid, vout);
    if (confirmed !== null) return confirmed;
    const entry = mempool.getSpent(reversed(txid), vout);
    if (entry === undefined) return null;
    const vin = entry.tx.inputs.findIndex(({ prevout }) => prevout.hash === reversed(txid) && prevout.index === vout);
    return { txid: entry.tx.txid(), vin };
  };

  const touches = (entry: PoolEntry, script: string): boolean =>
    entry.tx.outputs.some((output) => hexOf(output) === script) ||
    entry.tx.inputs.some(({ prevout }) => hexOf(outputOf(prevout)) === script);
  const pooled = (script: string): readonly EngineTransaction[] =>
    poolEntries(engine)
      .filter((entry) => touches(entry, script))
      .map(({ tx }) => tx);
  const confirmed = (script: string): readonly EngineTransaction[] =>
    index.history(script).map((txid) => index.find(txid)!.tx);

  const stats = (script: string, txs: readonly EngineTransaction[]): object => {
    const funded = txs.flatMap(({ outputs }) => outputs).filter((output) => hexOf(output) === script);
    const spent = txs
      .filter((tx) => !tx.isCoinbase())
      .flatMap(({ inputs }) => inputs.map(({ prevout }) => outputOf(prevout)))
      .filter((output) => hexOf(output) === script);
    return {
      funded_txo_count: funded.length,
      funded_txo_sum: sumOf(funded),
      spent_txo_count: spent.length,
      spent_txo_sum: sumOf(spent),
      tx_count: txs.length,
    };
  };

  const transactionJson = async (tx: EngineTransaction): Promise<object> => {
    const txid = tx.txid();
    const coinbase = tx.isCoinbase();
    const prevouts = tx.inputs.map(({ prevout }) => (coinbase ? null : outputOf(prevout)));
    return {
      txid,
      version: tx.version,
      locktime: tx.locktime,
      vin: tx.inputs.map(({ prevout, script, sequence, witness }, i) => ({
        txid: reversed(prevout.hash),
        vout: prevout.index,
        prevout: prevouts[i] == null ? null : outputJson(prevouts[i]),
        scriptsig: script.toRaw().toString('hex'),
        scriptsig_asm: scriptAsm(script.toRaw()),
        ...(witness.items.length > 0 ? { witness: witness.items.map((item) => item.toString('hex')) } : {}),
        is_coinbase: coinbase,
        sequence,
      })),
      vout: tx.outputs.map(outputJson),
      size: tx.getSize(),
      weight: tx.getWeight(),
      sigops: tx.getSigopsCost(await mempool.getCoinView(tx)),
      fee: coinbase ? 0 : sumOf(prevouts) - tx.getOutputValue(),
      status: status(txid),
    };
  };
  const pageOf = (txs: readonly EngineTransaction[]): Promise<readonly object[]> =>
    Promise.all(txs.map(transactionJson));

  const block = async (entry: ChainEntry): Promise<object> => {
    const found = (await chain.getBlock(entry.hash))!;
    return {
      id: reversed(entry.hash),
      height: entry.height,
      version: entry.version,
      timestamp: entry.time,
      tx_count: found.txs.length,
      size: found.getSize(),
      weight: found.getWeight(),
      merkle_root: reversed(entry.merkleRoot),
      previousblockhash: entry.height === 0 ? null : reversed(entry.prevBlock),
      mediantime: await chain.getMedianTime(entry),
      nonce: entry.nonce,
      bits: entry.bits,
      difficulty: difficulty(entry.bits),
    };
  };

  return {
    transaction,
    transactionJson,
    status,
    outspend(txid, vout) {
      const found = spender(txid, vout);
      return found === null ? { spent: false } : { spent: true, ...found, status: status(found.txid) };
    },
    chainStats: (script) => stats(script, confirmed(script)),
    poolStats: (script) => stats(script, pooled(script)),
    utxo: (script) =>
      [...confirmed(script), ...pooled(script)].flatMap((tx) => {
        const txid = tx.txid();
        return tx.outputs.flatMap((output, vout) =>
          hexOf(output) === script && spender(txid, vout) === null
            ? [{ txid, vout, status: status(txid), value: output.value }]
            : [],
        );
      }),
    async chainPage(script, after) {
      const newestFirst = confirmed(script).toReversed();
      const at = after === undefined ? 0 : newestFirst.findIndex((tx) => tx.txid() === after) + 1;
      if (after !== undefined && at === 0) return null;
      return pageOf(newestFirst.slice(at, at + PAGE));
    },
    poolPage: (script) => pageOf(pooled(script).toReversed().slice(0, POOL_PAGE)),
    block,
    async blockStatus(entry) {
      if (!(await chain.isMainChain(entry))) return { in_best_chain: false };
      const next = await chain.getNextHash(entry.hash);
      return { in_best_chain: true, height: entry.height, next_best: next === null ? null : reversed(next) };
    },
    async blocks(from) {
      const found: object[] = [];
      for (let height = from; height >= 0 && found.length < BLOCKS_PAGE; height--)
        found.push(await block((await chain.getEntry(height))!));
      return found;
    },
    pool() {
      const entries = poolEntries(engine);
      return {
        count: entries.length,
        vsize: entries.reduce((sum, { tx }) => sum + tx.getVirtualSize(), 0),
        total_fee: entries.reduce((sum, { fee }) => sum + fee, 0),
        fee_histogram: [],
      };
    },
  };
}

function outputJson(output: EngineOutput): object {
  const script = output.script.toRaw();
  const { type, address } = describeScript(script);
  return {
    scriptpubkey: script.toString('hex'),
    scriptpubkey_asm: scriptAsm(script),
    scriptpubkey_type: type,
    ...(address === null ? {} : { scriptpubkey_address: address }),
    value: output.value,
  };
}

function hexOf(output: EngineOutput | null): string | null {
  return output === null ? null : output.script.toRaw().toString('hex');
}

function sumOf(outputs: readonly (EngineOutput | null)[]): number {
  return outputs.reduce((sum, output) => sum + (output?.value ?? 0), 0);
}

/** How many times harder than the easiest target of mainnet, from the compact form. */
function difficulty(bits: number): number {
  return (0xffff / (bits & 0xffffff)) * 256 ** (0x1d - (bits >>> 24));
}
