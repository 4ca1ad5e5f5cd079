/**
 * The connector to Esplora's HTTP interface (blockstream.info, mempool.space, one's own electrs, the devnet): what
 * `bitcoin.ts` and `scan.ts` ask of a node. A transaction counts if it hashes to its id, a spender if it spends, a header
 * if it hashes to its block; what can't be checked (that nothing is left out, how deep a block lies) is the node's word.
 * Every answer is read strictly and within bounds, and a wrong one makes the next endpoint be asked. Nothing is kept.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { ChainError, type FeeLevel, printable } from '../chain.ts';
import {
  createHttp,
  type EndpointOptions,
  type Http,
  type Lies,
  NodeRefusal,
  readArray,
  readInteger,
  readJson,
  readRecord,
} from '../http.ts';
import { parseBitcoinAddress } from './address.ts';
import type { BitcoinNode } from './bitcoin.ts';
import { FEE_RATE_MAX, FEE_RATE_MIN } from './fees.ts';
import type { BitcoinNetwork } from './networks.ts';
import type { AddressCoin } from './scan.ts';
import { MONEY_MAX, parseTransaction, TRANSACTION_BYTES_MAX, transactionId } from './transaction.ts';

export interface EsploraOptions extends EndpointOptions {
  readonly network: BitcoinNetwork;
}

export interface Esplora extends BitcoinNode {
  tip(): Promise<{ readonly height: number; readonly hash: string }>;
  /** Null above the tip. */
  blockHashAt(height: number): Promise<string | null>;
  /** 80 bytes, whose double SHA-256 is the hash; null for a block that the node doesn't know. */
  header(blockHash: string): Promise<Uint8Array | null>;
  /** Sat/vB by the number of blocks to wait, as the node estimates; empty if it has nothing to learn from. */
  feeEstimates(): Promise<ReadonlyMap<number, number>>;
}

type Status = Awaited<ReturnType<BitcoinNode['transactionStatus']>>;

/** Unspent outputs of one address. Public servers stop at 500; one's own may be set higher. */
export const COINS_MAX = 50_000;
/** A coin takes about 240 bytes. */
const COINS_BYTES_MAX = 16 * 1024 * 1024;
/** Transactions that ever touched an address. */
const HISTORY_MAX = 100_000_000;
/** In about 190 years. */
const HEIGHT_MAX = 10_000_000;
/** Servers estimate for 28 numbers of blocks, up to 1,008. */
const ESTIMATES_MAX = 100;
const TARGET_MAX = 10_000;
/** Seconds since 1970, in 32 bits. */
const TIME_MAX = 0xffffffff;
const VOUT_MAX = 0xffffffff;

/** The blocks that a level waits for, and as many fewer as the node has an estimate for. */
const LEVEL_BLOCKS: Readonly<Record<FeeLevel, number>> = { slow: 144, recommended: 6, fast: 2 };

/**
 * Asks nothing yet. Before anything else is asked of an endpoint, its block 0 must be that of the network. Every method
 * throws `node_unavailable`, `wrong_network`, and for what is no address, id or hash `address_invalid` or
 * `transaction_invalid`.
 */
export function createEsplora({ network, ...endpoints }: EsploraOptions): Esplora {
  const http = createHttp(endpoints, (ask) => assertNetwork(ask, network));

  const addressPath = (address: string): string => `/address/${parseBitcoinAddress(address, network)}`;

  const rawTransaction = async (txid: string): Promise<Uint8Array | null> =>
    orNull(
      http.ask({ path: `/tx/${parseHash(txid)}/hex`, answerBytesMax: 2 * TRANSACTION_BYTES_MAX }, (text, lies) =>
        readTransaction(text, txid, lies),
      ),
    );

  const feeEstimates = (): Promise<ReadonlyMap<number, number>> =>
    http.ask({ path: '/fee-estimates' }, readFeeEstimates);

  const blockHashAt = async (height: number): Promise<string | null> => {
    if (!Number.isSafeInteger(height) || height < 0) throw new RangeError(`${height} is no height of a block`);
    return orNull(http.ask({ path: `/block-height/${height}` }, readHash));
  };

  return {
    tipHeight: () => http.ask({ path: '/blocks/tip/height' }, readHeight),
    // By height, not `/blocks/tip/hash`: between two answers there may be a block, or another endpoint.
    tip: () =>
      http.ask({ path: '/blocks/tip/height' }, async (text, lies) => {
        const height = readHeight(text, lies);
        const hash = await blockHashAt(height);
        if (hash === null) throw lies(`it has no block at its own height ${height}`);
        return { height, hash };
      }),
    blockHashAt,
    header: async (blockHash) =>
      orNull(
        http.ask({ path: `/block/${parseHash(blockHash)}/header` }, (text, lies) => {
          if (!/^[0-9a-f]{160}$/.test(text)) throw lies('it sends something else as a header');
          const header = hexToBytes(text);
          if (bytesToHex(sha256(sha256(header)).reverse()) !== blockHash) throw lies('it sends another header');
          return header;
        }),
      ),

    addressStats: async (address) => http.ask({ path: addressPath(address) }, readStats),
    addressCoins: async (address) =>
      http.ask({ path: `${addressPath(address)}/utxo`, answerBytesMax: COINS_BYTES_MAX }, readCoins),

    rawTransaction,
    async transactionStatus(txid) {
      const id = parseHash(txid);
      const status = await orNull(
        http.ask({ path: `/tx/${id}/status` }, (text, lies) => readStatus(readJson(text, lies), lies)),
      );
      if (status === null || status.confirmed) return status;
      // To this question Esplora also answers "not confirmed" for what it never saw.
      return (await rawTransaction(id)) === null ? null : status;
    },
    async spenderOf(txid, vout) {
      const id = parseHash(txid);
      if (!Number.isSafeInteger(vout) || vout < 0 || vout > VOUT_MAX) throw new RangeError(`${vout} is no index`);
      return orNull(
        http.ask({ path: `/tx/${id}/outspend/${vout}` }, async (text, lies) => {
          const spender = readSpender(text, lies);
          if (spender === null) return null;
          const raw = await rawTransaction(spender.txid);
          const input = raw === null ? undefined : parseTransaction(raw).inputs[spender.vin];
          if (input?.txid !== id || input.vout !== vout)
            throw lies(`it names ${spender.txid} as the spender of an output, which that does not spend`);
          return spender.txid;
        }),
      );
    },

    feeEstimates,
    async feeRates() {
      const estimates = await feeEstimates();
      const slow = rateFor('slow', estimates);
      const recommended = Math.max(slow, rateFor('recommended', estimates));
      return { slow, recommended, fast: Math.max(recommended, rateFor('fast', estimates)) };
    },

    async broadcast(raw) {
      const txid = transactionId(parseTransaction(raw));
      try {
        await http.ask({ path: '/tx', body: bytesToHex(raw), contentType: 'text/plain' }, (text, lies) => {
          if (readHash(text, lies) !== txid) throw lies(`it calls the transaction ${text}, not ${txid}`);
        });
      } catch (error) {
        if (!(error instanceof NodeRefusal)) throw error;
        throw new ChainError(
          'rejected',
          `The network takes no such transaction (${refusalReason(error)}). Build it again.`,
          { cause: error },
        );
      }
    },
  };
}

async function assertNetwork(ask: Http['ask'], network: BitcoinNetwork): Promise<void> {
  const first = await ask({ path: '/block-height/0' }, readHash);
  if (first === network.genesisHash) return;
  throw new ChainError(
    'wrong_network',
    `A node serves the chain that begins with ${first}, which is not ${network.name}. Name a node of ${network.name} in the configuration.`,
  );
}

/** 404 is Esplora's word for what it doesn't know. */
async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof NodeRefusal && error.status === 404) return null;
    throw error;
  }
}

/** Of a transaction or block, as explorers print it. */
function parseHash(text: string): string {
  if (/^[0-9a-f]{64}$/.test(text)) return text;
  throw new ChainError(
    'transaction_invalid',
    `${printable(text)} is no id of a transaction or block. It has 64 hexadecimal digits in lower case.`,
  );
}

/** The first line of Bitcoin Core's message, without Esplora's wrapping where it is the usual one. */
function refusalReason({ reason }: NodeRefusal): string {
  return /"message":"([^"]+)"/.exec(reason)?.[1] ?? reason;
}

// Reading answers.

function readHash(text: string, lies: Lies): string {
  if (!/^[0-9a-f]{64}$/.test(text)) throw lies('it sends something else as a hash');
  return text;
}

function readHashField(value: unknown, name: string, lies: Lies): string {
  if (typeof value !== 'string') throw lies(`${name} is no hash`);
  return readHash(value, lies);
}

function readHeight(text: string, lies: Lies): number {
  if (!/^(0|[1-9]\d{0,8})$/.test(text)) throw lies('it sends something else as a height');
  return readInteger(Number(text), 'a height', lies, HEIGHT_MAX);
}

/** Exactly these fields: what we don't know of may change what the others mean. */
function readExactly(value: unknown, name: string, fields: readonly string[], lies: Lies): Record<string, unknown> {
  const record = readRecord(value, name, lies);
  const found = Object.keys(record);
  if (found.length !== fields.length || !fields.every((field) => Object.hasOwn(record, field)))
    throw lies(`${name} has other fields than ${fields.join(', ')}`);
  return record;
}

function readAmount(value: unknown, name: string, lies: Lies): bigint {
  return BigInt(readInteger(value, name, lies, Number(MONEY_MAX)));
}

function readStatus(value: unknown, lies: Lies): NonNullable<Status> {
  const { confirmed } = readRecord(value, 'a status', lies);
  if (confirmed === false) {
    readExactly(value, 'a status', ['confirmed'], lies);
    return { confirmed };
  }
  if (confirmed !== true) throw lies('a status is neither confirmed nor not');
  const fields = ['confirmed', 'block_height', 'block_hash', 'block_time'];
  const { block_height, block_hash, block_time } = readExactly(value, 'a status', fields, lies);
  readInteger(block_time, 'block_time', lies, TIME_MAX);
  return {
    confirmed,
    height: readInteger(block_height, 'block_height', lies, HEIGHT_MAX),
    blockHash: readHashField(block_hash, 'block_hash', lies),
  };
}

function readCoins(text: string, lies: Lies): readonly AddressCoin[] {
  const seen = new Set<string>();
  let sum = 0n;
  return readArray(readJson(text, lies), 'a list of coins', lies, COINS_MAX).map((entry) => {
    const coin = readExactly(entry, 'a coin', ['txid', 'vout', 'status', 'value'], lies);
    const txid = readHashField(coin.txid, 'txid', lies);
    const vout = readInteger(coin.vout, 'vout', lies, VOUT_MAX);
    const amount = readAmount(coin.value, 'value', lies);
    const status = readStatus(coin.status, lies);
    const id = `${txid}:${vout}`;
    if (seen.has(id)) throw lies(`it lists the coin ${id} twice`);
    seen.add(id);
    sum += amount;
    if (sum > MONEY_MAX) throw lies('its coins hold more bitcoin than there are');
    return { txid, vout, amount, height: status.confirmed ? status.height : null };
  });
}

function readStats(text: string, lies: Lies): { used: boolean; confirmed: bigint; unconfirmed: bigint } {
  const answer = readRecord(readJson(text, lies), 'an address', lies);
  const part = (name: 'chain_stats' | 'mempool_stats'): { count: number; balance: bigint } => {
    const stats = readRecord(answer[name], name, lies);
    return {
      count: readInteger(stats.tx_count, 'tx_count', lies, HISTORY_MAX),
      balance:
        readSum(stats.funded_txo_sum, 'funded_txo_sum', lies) - readSum(stats.spent_txo_sum, 'spent_txo_sum', lies),
    };
  };
  const [chain, pool] = [part('chain_stats'), part('mempool_stats')];
  if (chain.balance < 0n || chain.balance + pool.balance < 0n) throw lies('an address spent more than it got');
  if (chain.balance > MONEY_MAX) throw lies('an address holds more bitcoin than there are');
  return { used: chain.count + pool.count > 0, confirmed: chain.balance, unconfirmed: pool.balance };
}

/** What went through an address over the years may be more than there is at any time. */
function readSum(value: unknown, name: string, lies: Lies): bigint {
  return BigInt(readInteger(value, name, lies));
}

function readSpender(text: string, lies: Lies): { txid: string; vin: number } | null {
  const { spent } = readRecord(readJson(text, lies), 'a spender', lies);
  // Servers differ in which of the other fields they leave out or set to null when there is no spender.
  if (spent === false) return null;
  if (spent !== true) throw lies('an output is neither spent nor not');
  const found = readExactly(readJson(text, lies), 'a spender', ['spent', 'txid', 'vin', 'status'], lies);
  readStatus(found.status, lies);
  return { txid: readHashField(found.txid, 'txid', lies), vin: readInteger(found.vin, 'vin', lies, VOUT_MAX) };
}

function readTransaction(hex: string, txid: string, lies: Lies): Uint8Array {
  if (!/^([0-9a-f]{2})+$/.test(hex)) throw lies('it sends something else as a transaction');
  const raw = hexToBytes(hex);
  let id: string;
  try {
    id = transactionId(parseTransaction(raw));
  } catch {
    throw lies('it sends bytes that are no transaction');
  }
  if (id !== txid) throw lies(`what it sends as ${txid} is another transaction`);
  return raw;
}

function readFeeEstimates(text: string, lies: Lies): ReadonlyMap<number, number> {
  const entries = Object.entries(readRecord(readJson(text, lies), 'fee estimates', lies));
  if (entries.length > ESTIMATES_MAX) throw lies(`it has more than ${ESTIMATES_MAX} fee estimates`);
  return new Map(
    entries.map(([target, rate]) => {
      if (!/^[1-9]\d{0,5}$/.test(target) || Number(target) > TARGET_MAX)
        throw lies('it estimates fees for something else than a number of blocks');
      if (typeof rate !== 'number' || !Number.isFinite(rate) || rate < 0) throw lies('a fee estimate is no rate');
      if (rate > FEE_RATE_MAX)
        throw lies(`it wants ${rate} sat/vB in fees, and more than ${FEE_RATE_MAX} are not believed`);
      return [Number(target), rate];
    }),
  );
}

/** The estimate for the level's blocks or the nearest faster one; without any, the least that nodes relay. */
function rateFor(level: FeeLevel, estimates: ReadonlyMap<number, number>): number {
  const faster = [...estimates.keys()].filter((blocks) => blocks <= LEVEL_BLOCKS[level]);
  const rate = estimates.get(Math.max(...faster)) ?? Math.max(FEE_RATE_MIN, ...estimates.values());
  return Math.max(FEE_RATE_MIN, rate);
}
