/**
 * What an EVM node answers, read and checked as it arrives: quantities, balances, fees' raw material, transactions and
 * receipts. The connector asks through here. A node that serves another chain is told apart before anything else is
 * asked of it; an answer that can't be right counts as none, and the next endpoint is asked.
 */
import { ethHex } from 'micro-eth-signer';
import { ChainError } from '../chain.ts';
import { type EndpointOptions, type Lies, NodeRefusal, readArray, readRecord } from '../http.ts';
import { createJsonRpc, type JsonRpc } from '../json-rpc.ts';
import { encodeBalanceOf, UINT256_MAX } from './tokens.ts';

/** EIP-2681. */
export const NONCE_MAX = (1n << 64n) - 2n;
/** EIP-7825: no transaction may ask for more. */
export const GAS_MAX = 1n << 24n;
export const GAS_OF_TRANSFER = 21_000n;
/** 10,000 gwei, beyond the worst hours of mainnet. A node that names more is mistaken, or wants us to burn money. */
export const FEE_PER_GAS_MAX = 10_000_000_000_000n;
const HEIGHT_MAX = BigInt(Number.MAX_SAFE_INTEGER);
const FEE_HISTORY_BLOCKS = 10;
/** Nodes behind one name are a few blocks apart, and reorgs are shorter. */
export const REPLACED_DEPTH = 12n;

/** `latest`: what blocks say. `pending`: with what the node's pool would add. */
export type Moment = 'latest' | 'pending';

export interface FeeHistory {
  /** Of the block to come, per gas. */
  readonly baseFee: bigint;
  /** For each percentile asked for, what recent blocks took as tip, per gas; oldest block first. */
  readonly tips: readonly (readonly bigint[])[];
}

export interface Receipt {
  readonly succeeded: boolean;
  readonly height: bigint;
  readonly blockHash: string;
  /** As it came. */
  readonly record: Record<string, unknown>;
}

export interface Call {
  readonly from: string;
  readonly to: string;
  readonly value: bigint;
  readonly data: Uint8Array;
}

export interface EvmNode {
  balance(address: string, moment: Moment): Promise<bigint>;
  /** Null: there is no contract, or it answers with something else than a number. */
  tokenBalance(token: string, owner: string, moment: Moment): Promise<bigint | null>;
  transactionCount(address: string, moment: Moment): Promise<bigint>;
  /** Throws {@link NodeRefusal}, also when the call would fail. */
  estimateGas(call: Call): Promise<bigint>;
  /** Null: the chain has no base fee (before EIP-1559). */
  feeHistory(percentiles: readonly number[]): Promise<FeeHistory | null>;
  suggestedTip(): Promise<bigint>;
  gasPrice(): Promise<bigint>;
  height(): Promise<bigint>;
  /** Null: the chain is not that long. */
  blockHash(height: bigint): Promise<string | null>;
  receipt(transactionId: string): Promise<Receipt | null>;
  isKnown(transactionId: string): Promise<boolean>;
  /**
   * Whether another transaction used the nonce, {@link REPLACED_DEPTH} blocks ago at least. A second payment may hang on it,
   * and a node that lags knows the nonce from one backend and our transaction from none: so `every` node has to agree.
   */
  isReplaced(transaction: { readonly id: string; readonly sender: string; readonly nonce: bigint }): Promise<boolean>;
  /** Throws {@link NodeRefusal}. */
  send(raw: Uint8Array, transactionId: string): Promise<void>;
}

/** Asks nothing yet. Throws `RangeError` for a URL that `fetch` would refuse. */
export function connectNode(options: EndpointOptions, chainId: number): EvmNode {
  const check = async (ask: JsonRpc['ask']) => {
    const served = await ask('eth_chainId', [], (result, lies) => readQuantity(result, 'eth_chainId', lies));
    if (served !== BigInt(chainId))
      throw new ChainError(
        'wrong_network',
        `A node of the configuration serves chain ${served}, not ${chainId}. Name a node of this chain there.`,
      );
  };
  const { ask } = createJsonRpc(options, check);
  const each = options.urls.map((url) => createJsonRpc({ ...options, urls: [url] }, check).ask);
  const quantity = (method: string, params: readonly unknown[], max = UINT256_MAX, by = ask) =>
    by(method, params, (result, lies) => readQuantity(result, method, lies, max));
  const block = (which: string) =>
    ask('eth_getBlockByNumber', [which, false], (result, lies) =>
      result === null ? null : readRecord(result, 'a block', lies),
    );

  const receipt = (transactionId: string, by = ask): Promise<Receipt | null> =>
    by('eth_getTransactionReceipt', [transactionId], (result, lies) => {
      if (result === null) return null;
      const record = readAbout(transactionId, result, 'transactionHash', lies);
      return {
        succeeded: readQuantity(record.status, 'status', lies, 1n) === 1n,
        height: readQuantity(record.blockNumber, 'blockNumber', lies, HEIGHT_MAX),
        blockHash: readHash(record.blockHash, 'blockHash', lies),
        record,
      };
    });
  const isKnown = (transactionId: string, by = ask): Promise<boolean> =>
    by('eth_getTransactionByHash', [transactionId], (result, lies) => {
      if (result !== null) readAbout(transactionId, result, 'hash', lies);
      return result !== null;
    });

  return {
    balance: (address, moment) => quantity('eth_getBalance', [address, moment]),

    tokenBalance: (token, owner, moment) =>
      ask('eth_call', [{ to: token, data: ethHex.encode(encodeBalanceOf(owner)) }, moment], (result, lies) => {
        if (typeof result !== 'string' || !/^0x([0-9a-f]{2})*$/i.test(result)) throw lies('eth_call gives no bytes');
        return result.length === 2 + 64 ? BigInt(result) : null;
      }),

    transactionCount: (address, moment) => quantity('eth_getTransactionCount', [address, moment], NONCE_MAX),

    estimateGas: ({ from, to, value, data }) => {
      const call = { from, to, value: toQuantity(value), ...(data.length > 0 ? { data: ethHex.encode(data) } : {}) };
      return ask('eth_estimateGas', [call], (result, lies) => {
        const gas = readQuantity(result, 'eth_estimateGas', lies, GAS_MAX);
        if (gas < GAS_OF_TRANSFER) throw lies(`it estimates ${gas} gas, and a transfer takes ${GAS_OF_TRANSFER}`);
        return gas;
      });
    },

    async feeHistory(percentiles) {
      let history: FeeHistory | null;
      try {
        history = await ask(
          'eth_feeHistory',
          [toQuantity(BigInt(FEE_HISTORY_BLOCKS)), 'latest', percentiles],
          (result, lies) => readFeeHistory(result, percentiles.length, lies),
        );
      } catch (error) {
        if (!(error instanceof NodeRefusal) || (await hasBaseFee())) throw error;
        return null;
      }
      // Nodes of chains without a base fee may answer zeroes; chains that have one may be at zero, too.
      return history.baseFee > 0n || (await hasBaseFee()) ? history : null;
    },

    suggestedTip: () => quantity('eth_maxPriorityFeePerGas', [], FEE_PER_GAS_MAX),
    gasPrice: () => quantity('eth_gasPrice', [], FEE_PER_GAS_MAX),
    height: () => quantity('eth_blockNumber', [], HEIGHT_MAX),

    blockHash: (height) =>
      ask('eth_getBlockByNumber', [toQuantity(height), false], (result, lies) => {
        if (result === null) return null;
        const { number, hash } = readRecord(result, 'a block', lies);
        if (readQuantity(number, 'number', lies, HEIGHT_MAX) !== height) throw lies('it shows another block');
        return readHash(hash, 'hash', lies);
      }),

    receipt: (transactionId) => receipt(transactionId),
    isKnown: (transactionId) => isKnown(transactionId),

    async isReplaced({ id, sender, nonce }) {
      for (const by of each) {
        const head = await quantity('eth_blockNumber', [], HEIGHT_MAX, by);
        if (head < REPLACED_DEPTH) return false;
        const at = toQuantity(head - REPLACED_DEPTH);
        if ((await quantity('eth_getTransactionCount', [sender, at], NONCE_MAX, by)) <= nonce) return false;
        // Looked for last: what is in no block by then is in none.
        if ((await receipt(id, by)) !== null || (await isKnown(id, by))) return false;
      }
      return true;
    },

    send: (raw, transactionId) =>
      ask('eth_sendRawTransaction', [ethHex.encode(raw)], (result, lies) => {
        if (result !== transactionId) throw lies('it gives the transaction another id than it has');
      }),
  };

  async function hasBaseFee(): Promise<boolean> {
    const newest = await block('latest');
    return newest !== null && newest.baseFeePerGas !== undefined && newest.baseFeePerGas !== null;
  }
}

function readFeeHistory(result: unknown, percentiles: number, lies: Lies): FeeHistory {
  const history = readRecord(result, 'a fee history', lies);
  const fee = (value: unknown, name: string) => readQuantity(value, name, lies, FEE_PER_GAS_MAX);
  // One base fee more than blocks: the last is of the block to come.
  const baseFees = readArray(history.baseFeePerGas, 'baseFeePerGas', lies, FEE_HISTORY_BLOCKS + 1, 1);
  const blocks = readArray(history.reward ?? [], 'reward', lies, FEE_HISTORY_BLOCKS).map((block) =>
    readArray(block, 'reward', lies, percentiles, percentiles).map((tip) => fee(tip, 'reward')),
  );
  return {
    baseFee: fee(baseFees.at(-1), 'baseFeePerGas'),
    tips: Array.from({ length: percentiles }, (_, at) => blocks.map((block) => block[at] ?? 0n)),
  };
}

/** A number as JSON-RPC spells it: `0x`, no leading zeroes. */
function readQuantity(value: unknown, name: string, lies: Lies, max = UINT256_MAX): bigint {
  if (typeof value !== 'string' || !/^0x(0|[1-9a-f][0-9a-f]{0,63})$/i.test(value)) throw lies(`${name} is no quantity`);
  const number = BigInt(value);
  if (number > max) throw lies(`${name} is ${number}, more than ${max}`);
  return number;
}

function readHash(value: unknown, name: string, lies: Lies): string {
  if (typeof value !== 'string' || !/^0x[0-9a-f]{64}$/.test(value)) throw lies(`${name} is no hash`);
  return value;
}

/** The answer, if it names this transaction in `field`. */
function readAbout(transactionId: string, value: unknown, field: string, lies: Lies): Record<string, unknown> {
  const record = readRecord(value, 'a transaction', lies);
  if (record[field] !== transactionId) throw lies('it speaks of another transaction');
  return record;
}

function toQuantity(value: bigint): string {
  return `0x${value.toString(16)}`;
}
