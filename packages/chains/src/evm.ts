/**
 * EVM chains: native transfers with EIP-1559 fees. `evmCodec` is the pure half (addresses, bytes, digests, signatures),
 * for whoever has no node: the SDK, the offline commands, the enclave's own decoding. `createEvm` adds a JSON-RPC node,
 * for the gateway. A node is believed only as far as its answers can be checked; what it can't be trusted with (what a
 * transaction does, who signed it, its id) is computed here. No secret key ever enters.
 */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { addr, ethHex, Transaction } from 'micro-eth-signer';
import {
  type Chain,
  ChainError,
  type DigestSignature,
  type Intent,
  type SigningDigest,
  type TransactionState,
  type Transfer,
} from './chain.ts';

export interface EvmOptions {
  readonly rpcUrl: string;
  readonly chainId: number;
  readonly fetch?: typeof globalThis.fetch;
  /** For each call to the node, answer included. */
  readonly timeoutMs?: number;
}

/** The part of a chain that needs no node. */
export type EvmCodec = Pick<
  Chain,
  'name' | 'network' | 'curve' | 'address' | 'parseAddress' | 'decode' | 'digests' | 'attach' | 'transactionId'
>;

export interface Evm extends Chain {
  /** The node's receipt as it came, once the transaction is in a block. Checked to be about this transaction. */
  receipt(transactionId: string): Promise<Record<string, unknown> | null>;
}

/**
 * The destination in an {@link Intent} that creates a contract: never an address, so no allow-list holds it.
 */
export const NEW_CONTRACT = 'new_contract';
/** The asset of a native transfer, whatever the chain calls its coin. */
export const NATIVE_ASSET = 'native';

/** `chainId` as in EIP-155; `network` is spelled `eip155:<chainId>` (CAIP-2). */
export function evmCodec(chainId: number): EvmCodec {
  if (!Number.isSafeInteger(chainId) || chainId < 1) throw new RangeError(`no chain id: ${chainId}`);

  /** Unsigned bytes of this chain, parsed. */
  const parseUnsigned = (raw: Uint8Array): ParsedTransaction => {
    const tx = parse(raw, chainId);
    if (tx.isSigned)
      throw new ChainError('transaction_invalid', 'The transaction is signed already. Broadcast it, or build another.');
    return tx;
  };

  return {
    name: 'evm',
    network: `eip155:${chainId}`,
    curve: 'secp256k1',
    address(publicKey) {
      if (publicKey.length !== 33) throw new RangeError('expected a compressed public key of 33 bytes');
      return addr.fromPublicKey(publicKey);
    },
    parseAddress,
    decode(raw) {
      const tx = parse(raw, chainId);
      return intentOf(tx, chainId, tx.isSigned ? addr.fromPublicKey(signerOf(tx)) : null);
    },
    digests: (unsigned) => [digestOf(parseUnsigned(unsigned))],
    attach(unsigned, signatures, publicKey) {
      const tx = parseUnsigned(unsigned);
      const [signature] = signatures;
      if (signatures.length !== 1 || signature === undefined) {
        throw new ChainError(
          'transaction_invalid',
          `An EVM transaction takes 1 signature, not ${signatures.length}. Sign its one digest.`,
        );
      }
      return attachSignature(tx, signature, publicKey);
    },
    transactionId(signed) {
      const tx = parse(signed, chainId);
      signerOf(tx);
      return tx.hash;
    },
  };
}

/** Asks the node nothing yet. Throws `RangeError` for a URL that `fetch` would refuse. */
export function createEvm({ rpcUrl, chainId, fetch = globalThis.fetch, timeoutMs = 10_000 }: EvmOptions): Evm {
  const codec = evmCodec(chainId);
  const node = connect({ rpcUrl, chainId, fetch, timeoutMs });

  const receipt = async (transactionId: string): Promise<Record<string, unknown> | null> => {
    const answer = await node.ask('eth_getTransactionReceipt', [transactionId]);
    return answer === null ? null : node.about(transactionId, answer, 'transactionHash');
  };
  const isKnown = async (transactionId: string): Promise<boolean> => {
    const answer = await node.ask('eth_getTransactionByHash', [transactionId]);
    return answer !== null && node.about(transactionId, answer, 'hash') !== null;
  };

  return {
    ...codec,
    receipt: (transactionId) => receipt(parseTransactionId(transactionId)),

    balance: (address) => node.quantity('eth_getBalance', [parseAddress(address), 'latest']),

    async build(transfer: Transfer) {
      const from = parseAddress(transfer.from);
      const to = parseAddress(transfer.to);
      const { amount, feeLevel = 'recommended' } = transfer;
      if (amount < 0n || amount > UINT256_MAX)
        throw new ChainError('transaction_invalid', `${amount} is no amount. Name one in wei.`);
      const [nonce, balance, fee] = await Promise.all([
        node.quantity('eth_getTransactionCount', [from, 'pending'], NONCE_MAX),
        node.quantity('eth_getBalance', [from, 'latest']),
        feePerGas(node, feeLevel),
      ]);
      // A node can only estimate what the sender can pay for, so too poor a sender is told first.
      assertFunds(balance, amount + GAS_OF_TRANSFER * fee.maxFeePerGas);
      const gasLimit = await gasFor(node, { from, to, value: toQuantity(amount) });
      assertFunds(balance, amount + gasLimit * fee.maxFeePerGas);
      const fields = {
        type: 'eip1559',
        chainId: BigInt(chainId),
        nonce,
        to,
        value: amount,
        gasLimit,
        ...fee,
        data: '0x',
      } as const;
      return Transaction.prepare(fields, false).toBytes();
    },

    async broadcast(signed) {
      const transactionId = codec.transactionId(signed);
      try {
        const answer = await node.ask('eth_sendRawTransaction', [ethHex.encode(signed)]);
        if (answer !== transactionId)
          throw node.lies(`it calls the transaction ${printable(answer)}, not ${transactionId}`);
      } catch (error) {
        // Nodes word "I have it" in many ways ("already known", or "nonce too low" once it is in a block): ask, don't read.
        if (!(error instanceof NodeRefusal)) throw error;
        if (!(await isKnown(transactionId))) throw broadcastError(error);
      }
      return transactionId;
    },

    async track(transactionId): Promise<TransactionState> {
      const id = parseTransactionId(transactionId);
      const found = await receipt(id);
      if (found === null) return { status: (await isKnown(id)) ? 'broadcasting' : 'unknown' };
      const status = node.toBigInt(found.status, 'status', 1n);
      if (status === 0n) return { status: 'failed', receipt: found };
      const height = node.toBigInt(found.blockNumber, 'blockNumber', HEIGHT_MAX);
      const head = await node.quantity('eth_blockNumber', [], HEIGHT_MAX);
      if (head < height) throw node.lies(`its newest block is ${head}, and its receipt is from block ${height}`);
      return { status: 'confirming', confirmations: Number(head - height) + 1, receipt: found };
    },
  };
}

const UINT256_MAX = (1n << 256n) - 1n;
/** EIP-2681. */
const NONCE_MAX = (1n << 64n) - 2n;
const HEIGHT_MAX = BigInt(Number.MAX_SAFE_INTEGER);
const GAS_OF_TRANSFER = 21_000n;
/** EIP-7825: no transaction may ask for more. */
const GAS_MAX = 1n << 24n;
/** Geth takes no larger transaction into its pool. */
const RAW_BYTES_MAX = 128 * 1024;

// Addresses and bytes.

/** EIP-55: mixed case is a checksum and has to fit; one case throughout carries none. */
function parseAddress(text: string): string {
  if (!/^0x[0-9a-fA-F]{40}$/.test(text) || !addr.isValid(text)) {
    throw new ChainError(
      'address_invalid',
      `${printable(text)} is no EVM address, or a letter of it is wrong. Copy it again from its owner.`,
    );
  }
  return addr.addChecksum(text);
}

function parseTransactionId(text: string): string {
  const lower = text.toLowerCase();
  if (!/^0x[0-9a-f]{64}$/.test(lower)) {
    throw new ChainError(
      'transaction_invalid',
      `${printable(text)} is no transaction id. It has 0x and 64 hexadecimal digits.`,
    );
  }
  return lower;
}

type ParsedTransaction = ReturnType<typeof Transaction.fromBytes>;

/**
 * Only bytes that one transaction has and that only this chain takes: legacy ones must name the chain (EIP-155).
 * Blob transactions (EIP-4844) and ones that hand the account over to code (EIP-7702) are refused.
 */
function parse(raw: Uint8Array, chainId: number): ParsedTransaction {
  if (raw.length > RAW_BYTES_MAX)
    throw unreadable(`it has ${raw.length} bytes, and no node takes more than ${RAW_BYTES_MAX}`);
  let tx: ParsedTransaction;
  try {
    tx = Transaction.fromBytes(raw);
  } catch (cause) {
    throw unreadable('its bytes are no transaction', cause);
  }
  if (tx.type === 'eip4844' || tx.type === 'eip7702')
    throw unreadable(`transactions of type ${tx.type} are not supported`);
  const respelled = tx.toBytes();
  if (respelled.length !== raw.length || respelled.some((byte, at) => byte !== raw[at])) {
    throw unreadable('its bytes are not the canonical spelling');
  }
  if (tx.raw.chainId === undefined)
    throw unreadable('it names no chain, so it could be repeated on every chain (EIP-155)');
  if (tx.raw.chainId !== BigInt(chainId)) {
    throw new ChainError(
      'wrong_network',
      `The transaction is for chain ${tx.raw.chainId}, not ${chainId}. Build it again for this chain.`,
    );
  }
  return tx;
}

function unreadable(reason: string, cause?: unknown): ChainError {
  return new ChainError('transaction_invalid', `The transaction can't be used: ${reason}. Build it again.`, { cause });
}

function intentOf(tx: ParsedTransaction, chainId: number, from: string | null): Intent {
  const creates = tx.raw.to === '0x';
  const warnings: string[] = [];
  if (creates) warnings.push('creates_contract');
  else if (tx.raw.data !== '' && tx.raw.data !== '0x') warnings.push('carries_data');
  if ('accessList' in tx.raw && tx.raw.accessList.length > 0) warnings.push('has_access_list');
  return {
    chain: 'evm',
    network: `eip155:${chainId}`,
    from,
    outputs: [{ to: creates ? NEW_CONTRACT : addr.addChecksum(tx.raw.to), amount: tx.raw.value, asset: NATIVE_ASSET }],
    feeMax: tx.fee,
    warnings,
  };
}

function digestOf(tx: ParsedTransaction): SigningDigest {
  return { curve: 'secp256k1', digest: keccak_256(tx.toBytes({ includeSignature: false })) };
}

/** The public key (compressed) that a signed transaction's signature is by. Throws `ChainError('transaction_invalid')`. */
function signerOf(tx: ParsedTransaction): Uint8Array {
  const { r, s, yParity } = tx.raw;
  if (r === undefined || s === undefined || yParity === undefined) throw unreadable('it is not signed');
  try {
    return recover(new secp256k1.Signature(r, s, yParity), digestOf(tx).digest);
  } catch (cause) {
    throw unreadable('its signature is by nobody', cause);
  }
}

/** Takes either of the two `s` of a signature and writes the low one, the only one that nodes take (EIP-2). */
function attachSignature(
  tx: ParsedTransaction,
  { signature, recovery }: DigestSignature,
  publicKey: Uint8Array,
): Uint8Array {
  let signer: Uint8Array;
  let low: InstanceType<typeof secp256k1.Signature>;
  try {
    const given = secp256k1.Signature.fromBytes(signature, 'compact');
    low = given.hasHighS()
      ? new secp256k1.Signature(given.r, secp256k1.Point.Fn.ORDER - given.s, 1 - recovery)
      : given.addRecoveryBit(recovery);
    signer = recover(low, digestOf(tx).digest);
  } catch (cause) {
    throw unreadable('the signature is malformed', cause);
  }
  if (signer.length !== publicKey.length || signer.some((byte, at) => byte !== publicKey[at])) {
    throw new ChainError(
      'transaction_invalid',
      "The signature is not by the wallet's key. Let its holder sign the transaction's digest again.",
    );
  }
  const { r, s } = low;
  return new Transaction(tx.type, { ...tx.raw, r, s, yParity: low.recovery ?? 0 } as typeof tx.raw, {
    strict: false,
  }).toBytes();
}

/** Recovers and verifies with low `s` demanded. Throws. */
function recover(signature: InstanceType<typeof secp256k1.Signature>, digest: Uint8Array): Uint8Array {
  const publicKey = signature.recoverPublicKey(digest).toBytes(true);
  const options = { prehash: false, lowS: true };
  if (!secp256k1.verify(signature.toBytes('compact'), digest, publicKey, options))
    throw new RangeError('signature does not verify');
  return publicKey;
}

// Fees and funds.

type FeeLevel = NonNullable<Transfer['feeLevel']>;
type FeePerGas = { readonly maxFeePerGas: bigint; readonly maxPriorityFeePerGas: bigint };

/**
 * `percentile`: whose tip to match, among what recent blocks took. `headroom`: how far the base fee may rise before the
 * transaction waits, in percent; it rises by at most 12.5% a block, so 200 lasts six full blocks.
 * `suggested`: the share of the node's own suggestion, in percent, when recent blocks were empty.
 */
const FEE_LEVELS: Record<FeeLevel, { percentile: number; headroom: bigint; suggested: bigint }> = {
  slow: { percentile: 10, headroom: 125n, suggested: 50n },
  recommended: { percentile: 50, headroom: 200n, suggested: 100n },
  fast: { percentile: 90, headroom: 300n, suggested: 200n },
};
const FEE_HISTORY_BLOCKS = 10n;
/** 10,000 gwei, beyond the worst hours of mainnet. A node that names more is mistaken, or wants us to burn money. */
const FEE_PER_GAS_MAX = 10_000_000_000_000n;

async function feePerGas(node: EvmNode, level: FeeLevel): Promise<FeePerGas> {
  const { percentile, headroom, suggested } = FEE_LEVELS[level];
  const history = node.toRecord(
    await node.ask('eth_feeHistory', [toQuantity(FEE_HISTORY_BLOCKS), 'latest', [percentile]]),
    'a fee history',
  );
  const baseFees = node.toArray(history.baseFeePerGas, 'baseFeePerGas', 1, Number(FEE_HISTORY_BLOCKS) + 1);
  const rewards = node.toArray(history.reward ?? [], 'reward', 0, Number(FEE_HISTORY_BLOCKS));
  const baseFee = node.toBigInt(baseFees.at(-1), 'baseFeePerGas', FEE_PER_GAS_MAX);
  const tips = rewards
    .map((block) => node.toBigInt(node.toArray(block, 'reward', 1, 1)[0], 'reward', FEE_PER_GAS_MAX))
    .filter((tip) => tip > 0n)
    .sort((a, b) => (a < b ? -1 : 1));
  const tip =
    tips[tips.length >> 1] ??
    ((await node.quantity('eth_maxPriorityFeePerGas', [], FEE_PER_GAS_MAX)) * suggested) / 100n;
  return { maxFeePerGas: (baseFee * headroom) / 100n + tip, maxPriorityFeePerGas: tip };
}

/** 21,000 where a transfer costs that; where the receiver is a contract or the chain counts otherwise, a quarter on top. */
async function gasFor(node: EvmNode, call: { from: string; to: string; value: string }): Promise<bigint> {
  try {
    const gas = await node.quantity('eth_estimateGas', [call], GAS_MAX);
    if (gas < GAS_OF_TRANSFER) throw node.lies(`it estimates ${gas} gas, and a transfer takes ${GAS_OF_TRANSFER}`);
    if (gas === GAS_OF_TRANSFER) return gas;
    const padded = (gas * 125n) / 100n;
    return padded < GAS_MAX ? padded : GAS_MAX;
  } catch (error) {
    if (!(error instanceof NodeRefusal)) throw error;
    throw new ChainError(
      'rejected',
      `The receiver takes no such transfer (${error.reason}). Ask its owner for another address.`,
      { cause: error },
    );
  }
}

function assertFunds(balance: bigint, needed: bigint): void {
  if (balance >= needed) return;
  throw new ChainError(
    'insufficient_funds',
    `The wallet holds ${balance} wei, and amount and fee take up to ${needed}. Send less, or fund it.`,
  );
}

function broadcastError(refusal: NodeRefusal): ChainError {
  const cause = { cause: refusal };
  if (/insufficient funds/i.test(refusal.reason)) {
    return new ChainError(
      'insufficient_funds',
      "The wallet can't pay amount and fee any more. Fund it, then broadcast again.",
      cause,
    );
  }
  return new ChainError(
    'rejected',
    `The network takes no such transaction (${refusal.reason}). Build it again.`,
    cause,
  );
}

// The node.

/** Larger than any answer that we ask for; what comes beyond it is not read. */
const ANSWER_BYTES_MAX = 1024 * 1024;

/** The node understood and said no, in its own words. A `ChainError` like others for whoever doesn't look closer. */
class NodeRefusal extends ChainError {
  readonly reason: string;

  constructor(method: string, reason: string) {
    super(
      'node_unavailable',
      `The node refuses ${method}: ${reason}. Check that it serves this method, or name another node.`,
    );
    this.reason = reason;
  }
}

interface EvmNode {
  /** Throws {@link NodeRefusal}, or `ChainError('node_unavailable')` when there is no usable answer. */
  ask(method: string, params: readonly unknown[]): Promise<unknown>;
  quantity(method: string, params: readonly unknown[], max?: bigint): Promise<bigint>;
  toBigInt(value: unknown, name: string, max: bigint): bigint;
  toArray(value: unknown, name: string, min: number, max: number): readonly unknown[];
  toRecord(value: unknown, name: string): Record<string, unknown>;
  /** The answer, if it names this transaction in `field`. */
  about(transactionId: string, value: unknown, field: string): Record<string, unknown>;
  lies(what: string): ChainError;
}

function connect({ rpcUrl, chainId, fetch, timeoutMs }: Required<EvmOptions>): EvmNode {
  const url = new URL(rpcUrl);
  if (!/^https?:$/.test(url.protocol) || url.username !== '')
    throw new RangeError('the node needs an http or https URL without user and password');
  // Only the host is ever printed: paths and queries of hosted nodes hold API keys.
  const unavailable = (what: string, cause?: unknown): ChainError =>
    new ChainError(
      'node_unavailable',
      `The node ${url.host} ${what}. Try again, or name another node in the configuration.`,
      { cause },
    );
  const lies = (what: string): ChainError => unavailable(`can't be right: ${what}`);
  let lastId = 0;

  const post = async (method: string, params: readonly unknown[]): Promise<unknown> => {
    const id = ++lastId;
    let text: string;
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ jsonrpc: '2.0', id, method, params }),
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
      });
      if (response.status !== 200) {
        await response.body?.cancel();
        throw unavailable(`answers with HTTP status ${response.status}`);
      }
      text = await readBounded(response);
    } catch (error) {
      if (error instanceof ChainError) throw error;
      if (error instanceof RangeError) throw lies(`its answer has more than ${ANSWER_BYTES_MAX} bytes`);
      const late = error instanceof DOMException && error.name === 'TimeoutError';
      throw unavailable(late ? `gave no answer to ${method} in ${timeoutMs} ms` : `can't be reached`, error);
    }
    const answer = toRecord(parseJson(text), 'an answer');
    if (answer.id !== id) throw lies('it answers another question');
    if (answer.error !== undefined && answer.error !== null) {
      throw new NodeRefusal(method, printable(toRecord(answer.error, 'an error').message));
    }
    if (answer.result === undefined) throw lies(`its answer to ${method} is empty`);
    return answer.result;
  };
  const parseJson = (text: string): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      throw lies('its answer is no JSON');
    }
  };

  const toBigInt = (value: unknown, name: string, max: bigint): bigint => {
    if (typeof value !== 'string' || !/^0x(0|[1-9a-f][0-9a-f]{0,63})$/i.test(value))
      throw lies(`${name} is no quantity`);
    const number = BigInt(value);
    if (number > max) throw lies(`${name} is ${number}, more than ${max}`);
    return number;
  };
  const toArray = (value: unknown, name: string, min: number, max: number): readonly unknown[] => {
    if (!Array.isArray(value) || value.length < min || value.length > max)
      throw lies(`${name} is no list of ${min} to ${max} entries`);
    return value;
  };
  const toRecord = (value: unknown, name: string): Record<string, unknown> => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw lies(`it sends something else as ${name}`);
    return value as Record<string, unknown>;
  };

  let checkedNetwork: Promise<void> | null = null;
  const assertNetwork = async (): Promise<void> => {
    const served = toBigInt(await post('eth_chainId', []), 'eth_chainId', UINT256_MAX);
    if (served === BigInt(chainId)) return;
    throw new ChainError(
      'wrong_network',
      `The node ${url.host} serves chain ${served}, not ${chainId}. Name a node of this chain in the configuration.`,
    );
  };
  const ask = async (method: string, params: readonly unknown[]): Promise<unknown> => {
    // Once per node that answered rightly; a failed check is made again by the next call.
    checkedNetwork ??= assertNetwork();
    try {
      await checkedNetwork;
    } catch (error) {
      checkedNetwork = null;
      throw error;
    }
    return post(method, params);
  };

  return {
    ask,
    quantity: async (method, params, max = UINT256_MAX) => toBigInt(await ask(method, params), method, max),
    toBigInt,
    toArray,
    toRecord,
    about(transactionId, value, field) {
      const record = toRecord(value, 'a transaction');
      if (record[field] !== transactionId) throw lies('it speaks of another transaction');
      return record;
    },
    lies,
  };
}

/** Counts what arrives, decompressed, and stops reading at the bound. Throws `RangeError`. */
async function readBounded(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = '';
  let length = 0;
  for (;;) {
    const { done = true, value } = (await reader?.read()) ?? {};
    if (done) return text + decoder.decode();
    length += value?.length ?? 0;
    if (length > ANSWER_BYTES_MAX) {
      await reader?.cancel();
      throw new RangeError('answer too long');
    }
    text += decoder.decode(value, { stream: true });
  }
}

function toQuantity(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** What a stranger sent, fit for a message: one line, no control characters, not long. */
function printable(value: unknown): string {
  return String(value)
    .slice(0, 200)
    .replace(/[^\x20-\x7e]+/g, ' ');
}
