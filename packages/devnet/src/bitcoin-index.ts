/**
 * What wallets ask of a chain and the engine doesn't keep: which transactions touched a script, in order, and who spent
 * an output. Fed by the engine's blocks as they come and go; it decides nothing. Scripts are compared whole: the engine's
 * own address index mixes those that share a hash (P2PKH and P2WPKH of one key).
 */
import { type ChainEntry, type EngineBlock, type EngineTransaction, reversed } from './bitcoin-engine.ts';

/** Ids of transactions and blocks as they are shown: reversed. */
export interface Confirmed {
  readonly tx: EngineTransaction;
  readonly height: number;
  readonly blockHash: string;
  readonly blockTime: number;
}

export interface ChainIndex {
  connect(entry: ChainEntry, block: EngineBlock): void;
  /** The newest block, taken back. */
  disconnect(block: EngineBlock): void;
  find(txid: string): Confirmed | null;
  spender(txid: string, vout: number): Spender | null;
  /** Ids of the transactions that pay to a script or spend from it, oldest first. The script is hexadecimal. */
  history(script: string): readonly string[];
}

export interface Spender {
  readonly txid: string;
  readonly vin: number;
}

export function createChainIndex(): ChainIndex {
  const transactions = new Map<string, Confirmed>();
  const spenders = new Map<string, Spender>();
  const histories = new Map<string, string[]>();

  return {
    connect(entry, block) {
      const blockHash = reversed(entry.hash);
      for (const tx of block.txs) {
        const txid = tx.txid();
        transactions.set(txid, { tx, height: entry.height, blockHash, blockTime: entry.time });
        if (!tx.isCoinbase())
          tx.inputs.forEach(({ prevout }, vin) => {
            spenders.set(outpoint(reversed(prevout.hash), prevout.index), { txid, vin });
          });
        for (const script of scriptsOf(tx)) {
          const history = histories.get(script);
          if (history === undefined) histories.set(script, [txid]);
          else history.push(txid);
        }
      }
    },
    disconnect(block) {
      for (const tx of block.txs.toReversed()) {
        for (const script of scriptsOf(tx)) histories.get(script)!.pop();
        if (!tx.isCoinbase())
          for (const { prevout } of tx.inputs) spenders.delete(outpoint(reversed(prevout.hash), prevout.index));
        transactions.delete(tx.txid());
      }
    },
    find: (txid) => transactions.get(txid) ?? null,
    spender: (txid, vout) => spenders.get(outpoint(txid, vout)) ?? null,
    history: (script) => histories.get(script) ?? [],
  };

  /** Of its outputs and of those that it spends, each once. The latter stand in blocks before it, or above it. */
  function scriptsOf(tx: EngineTransaction): ReadonlySet<string> {
    const scripts = new Set(tx.outputs.map(({ script }) => script.toRaw().toString('hex')));
    if (tx.isCoinbase()) return scripts;
    for (const { prevout } of tx.inputs) {
      const spent = transactions.get(reversed(prevout.hash))?.tx.outputs[prevout.index];
      if (spent !== undefined) scripts.add(spent.script.toRaw().toString('hex'));
    }
    return scripts;
  }
}

export function outpoint(txid: string, vout: number): string {
  return `${txid}:${vout}`;
}
