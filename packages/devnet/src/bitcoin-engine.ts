/**
 * bcoin as the devnet uses it: a full node on regtest, in memory, deaf to its peers and without its own HTTP server.
 * bcoin has no types, so the part of it that the devnet calls is declared here. It predates Taproot and spells addresses
 * in its own way; what is changed about that stands in `loadBcoin`, and none of it is about validation.
 */
import { createRequire } from 'node:module';

/** Hashes are hexadecimal in the order of the bytes (not reversed, as ids are shown), if not said otherwise. */
export interface EngineTransaction {
  readonly version: number;
  readonly locktime: number;
  readonly inputs: readonly EngineInput[];
  readonly outputs: readonly EngineOutput[];
  hash(encoding: 'hex'): string;
  /** As it is shown: reversed. */
  txid(): string;
  isCoinbase(): boolean;
  /** Inputs less outputs; negative if they are more. */
  getOutputValue(): number;
  getSigopsCost(view: CoinView): number;
  getSize(): number;
  getWeight(): number;
  /** BIP141's, rounded up. */
  getVirtualSize(): number;
  toRaw(): Buffer;
}

interface EngineInput {
  readonly prevout: { readonly hash: string; readonly index: number };
  readonly script: { toRaw(): Buffer };
  readonly sequence: number;
  readonly witness: { readonly items: readonly Buffer[] };
}

export interface EngineOutput {
  readonly value: number;
  readonly script: { toRaw(): Buffer };
}

/** The coins that a transaction spends. */
export interface CoinView {
  getOutput(prevout: EngineInput['prevout']): EngineOutput | null;
}

export interface ChainEntry {
  readonly hash: string;
  readonly prevBlock: string;
  readonly merkleRoot: string;
  readonly height: number;
  readonly version: number;
  readonly time: number;
  readonly bits: number;
  readonly nonce: number;
  toRaw(): Buffer;
}

export interface EngineBlock {
  readonly txs: readonly EngineTransaction[];
  getSize(): number;
  getWeight(): number;
  toRaw(): Buffer;
}

interface BlockTemplate {
  items: unknown[];
  fees: number;
  addTX(tx: EngineTransaction, view: CoinView): boolean;
}

interface Job {
  readonly attempt: BlockTemplate;
  /** Makes the coinbase and the Merkle tree again. */
  refresh(): void;
  mine(): EngineBlock;
}

export interface EngineNode {
  readonly chain: {
    readonly tip: ChainEntry;
    readonly height: number;
    /** Null for a block without a parent here. Throws a {@link Refusal} for one that isn't valid. */
    add(block: EngineBlock): Promise<ChainEntry | null>;
    getEntry(at: string | number): Promise<ChainEntry | null>;
    getBlock(hash: string): Promise<EngineBlock | null>;
    getNextHash(hash: string): Promise<string | null>;
    isMainChain(entry: ChainEntry): Promise<boolean>;
    getMedianTime(entry: ChainEntry): Promise<number>;
  };
  readonly mempool: {
    readonly options: object;
    readonly map: ReadonlyMap<string, PoolEntry>;
    /** Null if it was taken; otherwise the transactions that it needs first. Throws a {@link Refusal}. */
    addTX(tx: EngineTransaction): Promise<readonly string[] | null>;
    getEntry(hash: string): PoolEntry | undefined;
    /** The transaction in the pool that spends the output. */
    getSpent(hash: string, index: number): PoolEntry | undefined;
    /** Takes it out, and everything that spends from it. */
    evictEntry(entry: PoolEntry): void;
    getCoinView(tx: EngineTransaction): Promise<CoinView>;
  };
  readonly miner: { createJob(tip: ChainEntry, address: unknown): Promise<Job> };
  on(event: 'connect' | 'disconnect', listener: (entry: ChainEntry, block: EngineBlock) => void): void;
  close(): Promise<void>;
}

export interface PoolEntry {
  readonly tx: EngineTransaction;
  readonly fee: number;
}

/** What bcoin throws for a transaction or block that it doesn't take. */
export interface Refusal extends Error {
  readonly type: 'VerifyError';
  readonly reason: string;
}

export interface Engine {
  readonly node: EngineNode;
  /** Throws for bytes that aren't exactly one transaction. */
  parseTransaction(raw: Buffer): EngineTransaction;
  /** A key for P2WPKH, as hexadecimal. */
  createKey(privateKey: string): EngineKey;
  /** Signed with the key, which owns all the coins. */
  sign(key: EngineKey, coins: readonly EngineCoin[], outputs: readonly NewOutput[]): EngineTransaction;
}

export interface EngineKey {
  readonly address: unknown;
  readonly script: string;
}

export interface EngineCoin {
  readonly tx: EngineTransaction;
  readonly index: number;
  readonly height: number;
}

export interface NewOutput {
  /** Hexadecimal. */
  readonly script: string;
  readonly value: number;
}

/** A node with nothing but the genesis block. */
export async function openEngine(): Promise<Engine> {
  const { FullNode, TX, MTX, Coin, KeyRing, Script } = loadBcoin();
  const node = new FullNode({
    network: 'regtest',
    memory: true,
    listen: false,
    workers: false,
    // As Bitcoin Core has it on every network: what a public node would not relay is not taken here either.
    requireStandard: true,
    replaceByFee: true,
  });
  // It would listen on a port of its own, and take 64-character addresses for hashes.
  node.http = { open: async () => {}, close: async () => {} };
  // Old coins once moved for free; Bitcoin Core dropped that in 0.15. `bitcoin-pool.ts` wants a fee from everybody.
  Object.assign(node.mempool.options, { relayPriority: false, limitFree: false });
  await node.open();

  return {
    node,
    parseTransaction(raw) {
      const tx = TX.fromRaw(raw);
      if (!tx.toRaw().equals(raw)) throw new RangeError('not exactly one transaction');
      return tx;
    },
    createKey(privateKey) {
      const ring = KeyRing.fromPrivate(Buffer.from(privateKey, 'hex'), true);
      ring.witness = true;
      const address = ring.getAddress();
      return Object.assign(ring, { address, script: Script.fromAddress(address).toRaw().toString('hex') });
    },
    sign(key, coins, outputs) {
      const mtx = new MTX();
      for (const { tx, index, height } of coins) mtx.addCoin(Coin.fromTX(tx, index, height));
      for (const { script, value } of outputs) mtx.addOutput(Script.fromRaw(script, 'hex'), value);
      mtx.sign(key);
      return mtx.toTX();
    },
  };
}

interface Bcoin {
  readonly FullNode: new (options: object) => EngineNode & { http: object; open(): Promise<void> };
  readonly TX: { fromRaw(raw: Buffer): EngineTransaction };
  readonly MTX: new () => {
    addCoin(coin: unknown): void;
    addOutput(script: unknown, value: number): void;
    sign(ring: unknown): number;
    toTX(): EngineTransaction;
  };
  readonly Coin: { fromTX(tx: EngineTransaction, index: number, height: number): unknown };
  readonly KeyRing: { fromPrivate(key: Buffer, compressed: boolean): { witness: boolean; getAddress(): unknown } };
  readonly Script: {
    readonly prototype: Record<'isStandard' | 'isUnknown', (this: BcoinScript) => boolean>;
    readonly flags: Record<string, number>;
    fromRaw(raw: string, encoding: 'hex'): unknown;
    fromAddress(address: unknown): { toRaw(): Buffer };
  };
}

interface BcoinScript {
  readonly raw: Buffer;
}

let loaded: Bcoin | null = null;

function loadBcoin(): Bcoin {
  if (loaded !== null) return loaded;
  // Read while it loads. Native addons would need a compiler; what is signed and hashed here is little.
  process.env.NODE_BACKEND = 'js';
  const bcoin = createRequire(import.meta.url)('bcoin') as Bcoin;
  const { prototype, flags } = bcoin.Script;
  // Policy of Bitcoin Core since 22.0: Taproot outputs (BIP341) are standard, to pay to and to spend. To this engine
  // they are programs of a version that it doesn't know, which by consensus anyone can spend; `bitcoin-taproot.ts` checks
  // what it can't.
  const { isStandard, isUnknown } = prototype;
  prototype.isStandard = function () {
    return isTaproot(this.raw) || isStandard.call(this);
  };
  prototype.isUnknown = function () {
    return !isTaproot(this.raw) && isUnknown.call(this);
  };
  flags.STANDARD_VERIFY_FLAGS! &= ~flags.VERIFY_DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM!;
  loaded = bcoin;
  return bcoin;
}

/** OP_1 and a push of 32 bytes. */
export function isTaproot(script: Uint8Array): boolean {
  return script.length === 34 && script[0] === 0x51 && script[1] === 0x20;
}

/** Between the order in which hashes are stored and the one in which they are shown. */
export function reversed(hash: string): string {
  return Buffer.from(hash, 'hex').reverse().toString('hex');
}
