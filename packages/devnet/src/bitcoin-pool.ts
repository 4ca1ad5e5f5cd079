/**
 * The way into the engine's pool. The engine validates; around it stand the parts of Bitcoin Core's relay policy that it
 * lacks: the least fee, and replacement by fee (BIP125). That is pool policy, not validation: a block may hold
 * what the pool refuses. Taproot inputs, which the engine can't judge, are judged here first.
 */
import { type Engine, type EngineTransaction, type PoolEntry, type Refusal, reversed } from './bitcoin-engine.ts';
import type { ChainIndex } from './bitcoin-index.ts';
import { taprootFault } from './bitcoin-taproot.ts';

/** A transaction was not taken. `code` and `message` are those of Bitcoin Core's `sendrawtransaction`. */
export class PoolRefusal extends Error {
  override readonly name = 'PoolRefusal';
  readonly code: -22 | -25 | -26 | -27;

  constructor(code: PoolRefusal['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** Satoshis per virtual byte, for a new transaction and for what a replacement adds: Bitcoin Core's until version 29. */
const RELAY_FEE_RATE_MIN = 1;
/** BIP125, rule 5. */
const REPLACED_MAX = 100;
/** BIP125, rule 1: a sequence below this signals that the transaction may be replaced. */
const SEQUENCE_FINAL_FROM = 0xfffffffe;

/**
 * Gives the id; again for a transaction that is in the pool already, as Bitcoin Core does. Throws {@link PoolRefusal}.
 * Must not run twice at the same time on one engine.
 */
export async function enterPool(engine: Engine, index: ChainIndex, raw: Buffer): Promise<string> {
  const { mempool } = engine.node;
  const tx = parse(engine, raw);
  const txid = tx.txid();

  const twin = mempool.getEntry(tx.hash('hex'));
  if (twin !== undefined) {
    if (!twin.tx.toRaw().equals(tx.toRaw())) throw new PoolRefusal(-26, 'txn-same-nonwitness-data-in-mempool');
    return txid;
  }
  if (tx.outputs.some((_, vout) => index.find(txid) !== null && index.spender(txid, vout) === null))
    throw new PoolRefusal(-27, 'Transaction outputs already in utxo set');

  if (tx.isCoinbase()) throw new PoolRefusal(-26, 'coinbase');
  const view = await mempool.getCoinView(tx);
  const spent = tx.inputs.map(({ prevout }) => {
    const output = view.getOutput(prevout);
    if (output === null) throw new PoolRefusal(-25, 'bad-txns-inputs-missingorspent');
    return output;
  });
  const fee = spent.reduce((sum, { value }) => sum + value, 0) - tx.getOutputValue();
  const feeMin = Math.ceil(tx.getVirtualSize() * RELAY_FEE_RATE_MIN);
  if (fee >= 0 && fee < feeMin) throw new PoolRefusal(-26, `min relay fee not met, ${fee} < ${feeMin}`);

  const evicted = replacedBy(engine, tx, fee, feeMin);
  const fault = taprootFault(tx, spent);
  if (fault !== null) throw new PoolRefusal(-26, `mandatory-script-verify-flag-failed (${fault})`);

  for (const entry of evicted) if (mempool.getEntry(entry.tx.hash('hex')) !== undefined) mempool.evictEntry(entry);
  try {
    const missing = await mempool.addTX(tx);
    if (missing !== null) throw new PoolRefusal(-25, 'bad-txns-inputs-missingorspent');
    return txid;
  } catch (error) {
    // Refused all the same: what was there before it comes back.
    for (const entry of evicted) await mempool.addTX(entry.tx);
    if ((error as Partial<Refusal>).type !== 'VerifyError') throw error;
    throw new PoolRefusal(-26, (error as Refusal).reason);
  }
}

function parse(engine: Engine, raw: Buffer): EngineTransaction {
  try {
    return engine.parseTransaction(raw);
  } catch {
    throw new PoolRefusal(-22, 'TX decode failed. Make sure the tx has at least one input.');
  }
}

/**
 * What the transaction would push out of the pool, parents before children. Throws {@link PoolRefusal} if it may not:
 * the rules of BIP125, and a fee rate above that of each transaction it conflicts with, as Bitcoin Core wants.
 */
function replacedBy(engine: Engine, tx: EngineTransaction, fee: number, feeMin: number): readonly PoolEntry[] {
  const { mempool } = engine.node;
  const conflicts = new Set<PoolEntry>();
  for (const { prevout } of tx.inputs) {
    const spender = mempool.getSpent(prevout.hash, prevout.index);
    if (spender !== undefined) conflicts.add(spender);
  }
  if (conflicts.size === 0) return [];

  const replaced = new Set<PoolEntry>();
  for (const conflict of conflicts) addWithDescendants(engine, conflict, replaced);
  const id = tx.txid();
  for (const conflict of conflicts) {
    if (!signalsReplacement(engine, conflict)) throw new PoolRefusal(-26, 'txn-mempool-conflict');
    if (fee * conflict.tx.getVirtualSize() <= conflict.fee * tx.getVirtualSize())
      throw new PoolRefusal(-26, `insufficient fee, rejecting replacement ${id}; new feerate is not above the old one`);
  }
  if (replaced.size > REPLACED_MAX) throw new PoolRefusal(-26, 'too many potential replacements');
  const parents = new Set([...conflicts].flatMap((entry) => entry.tx.inputs.map(({ prevout }) => prevout.hash)));
  for (const { prevout } of tx.inputs) {
    const parent = mempool.getEntry(prevout.hash);
    if (parent === undefined) continue;
    if (replaced.has(parent)) throw new PoolRefusal(-26, 'bad-txns-spends-conflicting-tx');
    if (!parents.has(prevout.hash)) throw new PoolRefusal(-26, 'replacement-adds-unconfirmed');
  }
  const replacedFee = [...replaced].reduce((sum, entry) => sum + entry.fee, 0);
  if (fee < replacedFee)
    throw new PoolRefusal(
      -26,
      `insufficient fee, rejecting replacement ${id}, less fees than conflicting txs; ${fee} < ${replacedFee}`,
    );
  if (fee - replacedFee < feeMin)
    throw new PoolRefusal(
      -26,
      `insufficient fee, rejecting replacement ${id}, not enough additional fees to relay; ${fee - replacedFee} < ${feeMin}`,
    );
  return poolEntries(engine).filter((entry) => replaced.has(entry));
}

function addWithDescendants(engine: Engine, entry: PoolEntry, found: Set<PoolEntry>): void {
  if (found.has(entry)) return;
  found.add(entry);
  const hash = entry.tx.hash('hex');
  for (let i = 0; i < entry.tx.outputs.length; i++) {
    const child = engine.node.mempool.getSpent(hash, i);
    if (child !== undefined) addWithDescendants(engine, child, found);
  }
}

/** BIP125, rule 1: by itself, or by a transaction in the pool that it descends from. */
function signalsReplacement(engine: Engine, entry: PoolEntry, seen = new Set<PoolEntry>()): boolean {
  seen.add(entry);
  return entry.tx.inputs.some(({ sequence, prevout }) => {
    if (sequence < SEQUENCE_FINAL_FROM) return true;
    const parent = engine.node.mempool.getEntry(prevout.hash);
    return parent !== undefined && !seen.has(parent) && signalsReplacement(engine, parent, seen);
  });
}

/** The pool's transactions, in the order in which they came: parents before children. */
export function poolEntries(engine: Engine): readonly PoolEntry[] {
  return [...engine.node.mempool.map.values()];
}

export function findInPool(engine: Engine, txid: string): PoolEntry | null {
  return engine.node.mempool.getEntry(reversed(txid)) ?? null;
}
