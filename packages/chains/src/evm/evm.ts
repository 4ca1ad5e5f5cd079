/**
 * An EVM chain with a node: the codec, and what has to be asked for. The gateway and the CLI make one per network. A node
 * is believed only as far as its answers can be checked; what it can't be trusted with (what a transaction does, who
 * signed it, its id) is computed from bytes. Nothing is remembered between calls: nonces of spends that aren't sent yet
 * come in with `avoid`.
 */
import { ethHex, Transaction } from 'micro-eth-signer';
import {
  type Chain,
  ChainError,
  type FeeLevel,
  NATIVE_ASSET,
  printable,
  type Replacement,
  type TransactionState,
  type Transfer,
} from '../chain.ts';
import { type EndpointOptions, NodeRefusal } from '../http.ts';
import { evmCodec, type ParsedTransaction, parseAddress, parseTransaction, signerOf } from './codec.ts';
import { type FeeLevels, type FeePerGas, feeLevels, higher, lower, maxPerGas, replacementFee } from './fees.ts';
import { type Call, connectNode, type EvmNode, GAS_MAX, GAS_OF_TRANSFER, type Moment, NONCE_MAX } from './node.ts';
import { encodeTransfer, UINT256_MAX } from './tokens.ts';

export interface EvmOptions extends EndpointOptions {
  /** EIP-155. */
  readonly chainId: number;
  /** Builds with a gas price (EIP-155) where it could with a base fee (EIP-1559), too. */
  readonly legacy?: boolean;
}

export interface Evm extends Chain {
  /** The node's receipt as it came, once the transaction is in a block. Checked to be about this transaction. */
  receipt(transactionId: string): Promise<Record<string, unknown> | null>;
}

/** No pool of one node holds so many of one account; a count of waiting ones beyond it is a mistake, or a trap. */
const WAITING_MAX = 10_000n;
/** How often a transaction is looked at again when the chain changed between two answers. */
const LOOKS_MAX = 3;
const noData = new Uint8Array();

/** What `build` gathers before it knows the level. Amounts in wei, or the token's unit. */
interface Quote {
  readonly from: string;
  readonly nonce: bigint;
  /** Native. */
  readonly balance: bigint;
  readonly fees: FeeLevels;
  readonly gasLimit: bigint;
  /** The call at this level's fee; throws `insufficient_funds`. */
  callAt(level: FeeLevel): Call;
}

/** Asks the node nothing yet. Throws `RangeError` for a URL that `fetch` would refuse. */
export function createEvm({ chainId, legacy = false, ...endpoints }: EvmOptions): Evm {
  const codec = evmCodec(chainId);
  const node = connectNode(endpoints, chainId);

  const quote = async (transfer: Transfer): Promise<Quote> => {
    const from = parseAddress(transfer.from);
    const to = parseAddress(transfer.to);
    const { amount, asset = NATIVE_ASSET, avoid = new Set() } = transfer;
    const token = asset === NATIVE_ASSET ? null : parseAddress(asset);
    if (amount !== 'all' && (amount < 0n || amount > UINT256_MAX))
      throw new ChainError('transaction_invalid', `${amount} is no amount. Name one in the asset's smallest unit.`);
    const [nonce, balance, tokens, fees] = await Promise.all([
      nextNonce(node, from, avoid),
      spendable((moment) => node.balance(from, moment)),
      token === null ? 0n : spendable((moment) => tokenBalance(node, token, from, moment)),
      feeLevels(node, legacy),
    ]);
    if (token !== null) {
      const moved = amount === 'all' ? tokens : amount;
      if (tokens < moved || (amount === 'all' && tokens === 0n))
        throw new ChainError(
          'insufficient_funds',
          `The wallet holds ${tokens} of ${token}, and ${moved} are to be sent. Send less, or fund it.`,
        );
      // A node can only estimate what the sender can pay for, so too poor a sender is told first.
      assertFunds(balance, GAS_OF_TRANSFER * maxPerGas(fees.slow));
      const call = { from, to: token, value: 0n, data: encodeTransfer(to, moved) };
      return { from, nonce, balance, fees, gasLimit: await gasFor(node, call), callAt: () => call };
    }
    const lowestFee = GAS_OF_TRANSFER * maxPerGas(fees.slow);
    assertFunds(balance, (amount === 'all' ? 1n : amount) + lowestFee);
    const value = amount === 'all' ? balance - lowestFee : amount;
    const gasLimit = await gasFor(node, { from, to, value, data: noData });
    return {
      from,
      nonce,
      balance,
      fees,
      gasLimit,
      callAt(level) {
        const fee = gasLimit * maxPerGas(fees[level]);
        if (amount === 'all') assertFunds(balance, fee + 1n);
        return { from, to, value: amount === 'all' ? balance - fee : amount, data: noData };
      },
    };
  };

  const prepare = (nonce: bigint, gasLimit: bigint, { to, value, data }: Call, fee: FeePerGas): Uint8Array => {
    const fields = { chainId: BigInt(chainId), nonce, to, value, gasLimit, data: ethHex.encode(data) };
    return fee.type === 'legacy'
      ? Transaction.prepare({ ...fields, ...fee }, false).toBytes()
      : Transaction.prepare({ ...fields, ...fee }, false).toBytes();
  };

  return {
    ...codec,

    async balance(account, asset = NATIVE_ASSET) {
      const owner = parseAddress(account);
      const token = asset === NATIVE_ASSET ? null : parseAddress(asset);
      const at = (moment: Moment) =>
        token === null ? node.balance(owner, moment) : tokenBalance(node, token, owner, moment);
      const confirmed = await at('latest');
      return { confirmed, unconfirmed: (await orLatest(at('pending'), confirmed)) - confirmed, coins: [] };
    },

    async estimateFee(transfer) {
      const { gasLimit, fees } = await quote(transfer);
      const at = (level: FeeLevel) => gasLimit * maxPerGas(fees[level]);
      return { slow: at('slow'), recommended: at('recommended'), fast: at('fast') };
    },

    async build(transfer) {
      const { feeLevel = 'recommended', feeMax } = transfer;
      const { nonce, balance, fees, gasLimit, callAt } = await quote(transfer);
      const fee = gasLimit * maxPerGas(fees[feeLevel]);
      assertFee(fee, feeMax);
      const call = callAt(feeLevel);
      assertFunds(balance, call.value + fee);
      return prepare(nonce, gasLimit, call, fees[feeLevel]);
    },

    async replace(final, { from, kind, feeLevel = 'recommended', feeMax }: Replacement) {
      const tx = parseTransaction(final, chainId);
      const sender = codec.account(signerOf(tx));
      if (sender !== parseAddress(from))
        throw new ChainError(
          'transaction_invalid',
          'The transaction is not of this account. Name the one that sent it.',
        );
      const [count, balance, fees] = await Promise.all([
        node.transactionCount(sender, 'latest'),
        node.balance(sender, 'latest'),
        feeLevels(node, legacy),
      ]);
      if (count > tx.raw.nonce)
        throw new ChainError(
          'not_replaceable',
          'A block holds this transaction, or another one with its nonce. What is done stays; send a new one.',
        );
      const back = { from: sender, to: sender, value: 0n, data: noData };
      const cancelled =
        kind === 'cancel'
          ? { to: sender, value: 0n, data: '', gasLimit: await gasFor(node, back), ...withoutAccessList(tx) }
          : {};
      const { r: _r, s: _s, yParity: _parity, ...waiting } = tx.raw;
      const raw = { ...waiting, ...cancelled, ...replacementFee(tx, fees[feeLevel]) } as typeof tx.raw;
      const next = new Transaction(tx.type, raw, { strict: false });
      assertFee(next.fee, feeMax);
      assertFunds(balance, next.raw.value + next.fee);
      return next.toBytes();
    },

    async broadcast(final) {
      const transactionId = codec.transactionId(final);
      try {
        await node.send(final, transactionId);
      } catch (error) {
        // Nodes word "I have it" in many ways ("already known", or "nonce too low" once it is in a block): ask, don't read.
        if (!(error instanceof NodeRefusal)) throw error;
        if (!(await node.isKnown(transactionId))) throw broadcastError(error);
      }
      return transactionId;
    },

    receipt: async (transactionId) => (await node.receipt(parseTransactionId(transactionId)))?.record ?? null,

    async track(transactionId, final): Promise<TransactionState> {
      const id = parseTransactionId(transactionId);
      const sent =
        final === undefined ? null : { tx: parseTransaction(final, chainId), id: codec.transactionId(final) };
      if (sent !== null && sent.id !== id)
        throw new ChainError('transaction_invalid', 'These bytes are of another transaction. Give those of this id.');
      for (let look = 0; look < LOOKS_MAX; look++) {
        const state = await lookAt(node, id);
        if (state === null) continue;
        if (state.status !== 'unknown' || sent === null) return state;
        const sender = codec.account(signerOf(sent.tx));
        const { nonce } = sent.tx.raw;
        if ((await node.transactionCount(sender, 'latest')) <= nonce) return state;
        // Its nonce is used. By itself, if a block took it between our questions, or if a node lags: look again.
        if (await node.isReplaced({ id, sender, nonce }).catch(notKnown)) return { status: 'replaced', by: null };
      }
      return { status: 'unknown' };
    },
  };
}

/** While a node is down nobody knows whether another transaction took the place, and that is all. */
function notKnown(error: unknown): false {
  if (error instanceof ChainError && error.code === 'node_unavailable') return false;
  throw error;
}

/** Null: the chain changed between two answers. */
async function lookAt(node: EvmNode, id: string): Promise<TransactionState | null> {
  const receipt = await node.receipt(id);
  if (receipt === null) return { status: (await node.isKnown(id)) ? 'broadcasting' : 'unknown' };
  const head = await node.height();
  // A receipt may be of a block that is no longer part of the chain: only the chain's own block at that height counts.
  if (head < receipt.height || (await node.blockHash(receipt.height)) !== receipt.blockHash) return null;
  if (!receipt.succeeded) return { status: 'failed', receipt: receipt.record };
  return {
    status: 'confirming',
    confirmations: Number(head - receipt.height) + 1,
    blockHash: receipt.blockHash,
    receipt: receipt.record,
  };
}

/**
 * The lowest nonce that nobody uses: not a block, not what waits in the node's pool (whoever sent it), not a spend that
 * the caller holds. A nonce that was held and given up is a gap below those in the pool's queue, which the pool doesn't
 * count: so the next spend fills it. Bytes that the caller holds signed stay in `avoid` whatever the pool forgot.
 */
async function nextNonce(node: EvmNode, from: string, avoid: ReadonlySet<string>): Promise<bigint> {
  const latest = await node.transactionCount(from, 'latest');
  const pending = await orLatest(node.transactionCount(from, 'pending'), latest);
  if (pending > latest + WAITING_MAX)
    throw new ChainError(
      'node_unavailable',
      `The node can't be right: ${pending - latest} transactions of ${from} wait. Try again, or name another node in the configuration.`,
    );
  // Two nodes behind one name may be a block apart.
  let nonce = higher(pending, latest);
  while (avoid.has(`nonce:${nonce}`)) nonce++;
  if (nonce > NONCE_MAX)
    throw new ChainError('transaction_invalid', 'The account has used up its nonces (EIP-2681). Use another account.');
  return nonce;
}

/** What is there, less what waiting transactions take; what they bring is no funds yet. */
async function spendable(balanceAt: (moment: Moment) => Promise<bigint>): Promise<bigint> {
  const latest = await balanceAt('latest');
  const pending = await orLatest(balanceAt('pending'), latest);
  return lower(pending, latest);
}

/** Not every node knows a pending state. */
async function orLatest(pending: Promise<bigint>, latest: bigint): Promise<bigint> {
  try {
    return await pending;
  } catch (error) {
    if (error instanceof NodeRefusal) return latest;
    throw error;
  }
}

async function tokenBalance(node: EvmNode, token: string, owner: string, moment: Moment): Promise<bigint> {
  const balance = await node.tokenBalance(token, owner, moment).catch((error: unknown) => {
    if (error instanceof NodeRefusal && failsInTheEvm(error)) return null;
    throw error;
  });
  if (balance !== null) return balance;
  throw new ChainError('address_invalid', `There is no ERC-20 token at ${token}. Check the address and the network.`);
}

/** 21,000 where a transfer costs that; where code runs or the chain counts otherwise, a quarter on top. */
async function gasFor(node: EvmNode, call: Call): Promise<bigint> {
  try {
    const gas = await node.estimateGas(call);
    if (gas === GAS_OF_TRANSFER) return gas;
    return lower((gas * 125n) / 100n, GAS_MAX);
  } catch (error) {
    if (!(error instanceof NodeRefusal)) throw error;
    if (isPoor(error)) throw poor(error);
    if (!failsInTheEvm(error)) throw error;
    throw new ChainError(
      'rejected',
      `The receiver, or the token, takes no such transfer (${error.reason}). Ask its owner for another address.`,
      { cause: error },
    );
  }
}

/**
 * Whether the node ran the call and the call failed: 3 is the code of a revert (EIP-1474's successors agree), -32000 and
 * -32015 are what nodes give that have none; the rest is about the node.
 */
function failsInTheEvm({ status, reason }: NodeRefusal): boolean {
  return [3, -32_000, -32_015].includes(status) || /revert/i.test(reason);
}

function withoutAccessList({ raw }: ParsedTransaction): { accessList?: [] } {
  return 'accessList' in raw ? { accessList: [] } : {};
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

function assertFunds(balance: bigint, needed: bigint): void {
  if (balance >= needed) return;
  throw new ChainError(
    'insufficient_funds',
    `The wallet holds ${balance} wei, and amount and fee take up to ${needed}. Send less, or fund it.`,
  );
}

function assertFee(fee: bigint, feeMax: bigint | undefined): void {
  if (feeMax === undefined || fee <= feeMax) return;
  throw new ChainError(
    'fee_too_high',
    `The fee could come to ${fee} wei, more than the ${feeMax} allowed. Wait for cheaper blocks, or allow more.`,
  );
}

function isPoor({ reason }: NodeRefusal): boolean {
  return /insufficient (funds|balance)/i.test(reason);
}

function poor(cause: NodeRefusal): ChainError {
  return new ChainError(
    'insufficient_funds',
    "The wallet can't pay amount and fee any more. Fund it, then broadcast or build again.",
    { cause },
  );
}

/**
 * JSON-RPC's own codes, the limit of EIP-1474, and HTTP statuses: about the node or about us as its customer. The
 * transaction is as good as before.
 */
function isAboutNode({ status }: NodeRefusal): boolean {
  return status >= 400 || [-32_700, -32_600, -32_601, -32_603, -32_005].includes(status);
}

function broadcastError(refusal: NodeRefusal): ChainError {
  if (isAboutNode(refusal)) return refusal;
  if (isPoor(refusal)) return poor(refusal);
  return new ChainError('rejected', `The network takes no such transaction (${refusal.reason}). Build it again.`, {
    cause: refusal,
  });
}
