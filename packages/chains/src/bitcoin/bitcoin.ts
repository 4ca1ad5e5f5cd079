/**
 * Bitcoin with a node: `codec.ts` plus the coins of an account, fees, building, sending and following. What the node says
 * is believed as far as it can be checked: a coin counts only with the whole transaction that it is of, whose hash is its
 * id and whose script is the account's. No secret key ever enters. `esplora.ts` is the connector; anything that answers
 * as a {@link BitcoinNode} does as well.
 */
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
import { dustLimit, scriptOfAddress } from './address.ts';
import { type AssembledCoin, assemblePsbt, type Payment } from './assemble.ts';
import { type BitcoinCodec, bitcoinCodec } from './codec.ts';
import { compareBytes, type DerivedOutput, type Descriptor } from './descriptor.ts';
import { assertFeeRate, feeOf, frameWeight, inputWeight, outputWeight } from './fees.ts';
import { isSigned } from './inputs.ts';
import type { BitcoinNetwork } from './networks.ts';
import { INPUTS_MAX } from './psbt.ts';
import { type AddressSource, type Scan, type ScannedCoin, type ScanOptions, scanAccount } from './scan.ts';
import { type Selection, selectAll, selectCoins } from './select.ts';
import {
  type BitcoinTransaction,
  coinId,
  parseTransaction,
  SEQUENCE_REPLACEABLE,
  type TransactionInput,
  type TransactionOutput,
  transactionId,
} from './transaction.ts';

/** What Bitcoin asks of a node. Every method throws `node_unavailable` when there is no usable answer. */
export interface BitcoinNode extends AddressSource {
  tipHeight(): Promise<number>;
  /** In sat/vB, none below 1 and none above the ceiling of `fees.ts`. */
  feeRates(): Promise<Readonly<Record<FeeLevel, number>>>;
  /** The raw bytes, whose hash is the id; null if the node doesn't know it. */
  rawTransaction(txid: string): Promise<Uint8Array | null>;
  /** Where it is; null if the node doesn't know it. */
  transactionStatus(
    txid: string,
  ): Promise<
    | { readonly confirmed: false }
    | { readonly confirmed: true; readonly height: number; readonly blockHash: string }
    | null
  >;
  /** The transaction that spends an output, in a block or in the pool. */
  spenderOf(txid: string, vout: number): Promise<string | null>;
  /** Throws `rejected` with the node's reason. */
  broadcast(raw: Uint8Array): Promise<void>;
}

export interface BitcoinTransfer extends Transfer {
  /** Coin control: spend these and no others; with `amount: 'all'`, all of them. */
  readonly coins?: readonly string[];
  /** In sat/vB, instead of a level. */
  readonly feeRate?: number;
}

export interface Bitcoin extends BitcoinCodec, Chain {
  estimateFee(transfer: BitcoinTransfer): Promise<Readonly<Record<FeeLevel, bigint>>>;
  build(transfer: BitcoinTransfer): Promise<Uint8Array>;
  /** Every address, coin and balance of an account, and where its unused addresses begin. */
  scan(account: string): Promise<Scan>;
  /** What `fees.ts` and `sweep.ts` count with, in sat/vB. */
  feeRates(): Promise<Readonly<Record<FeeLevel, number>>>;
}

export interface BitcoinOptions extends ScanOptions {
  readonly network: BitcoinNetwork;
  readonly node: BitcoinNode;
  /** What {@link Chain.account} makes of one public key; `p2wpkh` by default. */
  readonly singleKeyScript?: 'p2wpkh' | 'p2tr';
}

/** Previous transactions are put into a PSBT up to so many bytes together; beyond, amounts are marked as unproven. */
const PREVIOUS_BYTES_MAX = 4 * 1024 * 1024;
/** Previous transactions asked for at once. */
const FETCHES_AT_ONCE = 16;

export function createBitcoin({ network, node, singleKeyScript = 'p2wpkh', ...scanOptions }: BitcoinOptions): Bitcoin {
  const codec = bitcoinCodec(network, { singleKeyScript });
  const scan = (account: Descriptor) => scanAccount(account, node, scanOptions);

  const plan = async (transfer: BitcoinTransfer): Promise<Planner> => {
    const asset = transfer.asset ?? NATIVE_ASSET;
    if (asset !== NATIVE_ASSET)
      throw new ChainError(
        'transaction_invalid',
        `Bitcoin has no asset ${printable(asset)}. Leave it out to send bitcoin.`,
      );
    const account = codec.descriptor(transfer.from);
    const script = scriptOfAddress(transfer.to, network);
    if (transfer.amount !== 'all') assertAmount(transfer.amount, script);
    return { account, script, amount: transfer.amount, scanned: await scan(account) };
  };
  const spendable = async (planner: Planner, { avoid, coins }: BitcoinTransfer): Promise<readonly ScannedCoin[]> => {
    const own = await ownPending(planner);
    const free = planner.scanned.coins.filter(
      (coin) => (coin.height !== null || own.has(coin.txid)) && !avoid?.has(coin.id),
    );
    if (coins === undefined) return free;
    return [...new Set(coins)].map((id) => {
      const coin = free.find((one) => one.id === id);
      if (coin !== undefined) return coin;
      throw new ChainError(
        'insufficient_funds',
        `The coin ${printable(id)} is spent, unconfirmed, held or unknown. Choose others.`,
      );
    });
  };

  /**
   * The unconfirmed transactions that pay change and spend nothing but coins of the account. A change address is public
   * once it was used: what strangers send there they can take back until it is in a block.
   */
  const ownPending = async ({ account, scanned }: Planner): Promise<ReadonlySet<string>> => {
    const pending = scanned.coins.filter(({ height, at }) => height === null && at.change === 1);
    const own = new Set<string>();
    for (const txid of new Set(pending.map((coin) => coin.txid))) {
      const raw = await node.rawTransaction(txid);
      if (raw && (await spendsOnly(parseTransaction(raw), account, scanned.next))) own.add(txid);
    }
    return own;
  };

  const spendsOnly = async (tx: BitcoinTransaction, account: Descriptor, next: Scan['next']): Promise<boolean> => {
    for (let at = 0; at < tx.inputs.length; at += FETCHES_AT_ONCE) {
      const spent = await Promise.all(tx.inputs.slice(at, at + FETCHES_AT_ONCE).map(outputSpentBy));
      if (!spent.every((output) => output !== null && outputOf(account, output.script, next) !== null)) return false;
    }
    return true;
  };

  /** What an input spends; null if the node doesn't know that. */
  const outputSpentBy = async ({ txid, vout }: TransactionInput): Promise<TransactionOutput | null> => {
    const raw = await node.rawTransaction(txid);
    return (raw && parseTransaction(raw).outputs[vout]) || null;
  };

  /** Whether a transaction spends this coin of ours with our keys' signatures: without, it is something the node made up. */
  const takesOurCoin = async (txid: string, coin: TransactionInput): Promise<boolean> => {
    const [raw, own] = [await node.rawTransaction(txid), await outputSpentBy(coin)];
    if (raw === null || own === null) return false;
    const tx = parseTransaction(raw);
    const at = tx.inputs.findIndex((input) => coinId(input) === coinId(coin));
    if (at < 0 || tx.inputs.length > INPUTS_MAX) return false;
    const isTaproot = own.script[0] !== 0;
    const spent = tx.inputs.map((_, i) => (i === at ? own : null));
    for (let i = 0; isTaproot && i < tx.inputs.length; i++) spent[i] ??= await outputSpentBy(tx.inputs[i]!);
    return isSigned(tx, at, spent);
  };

  const rateOf = async ({
    feeRate,
    feeLevel = 'recommended',
  }: Pick<BitcoinTransfer, 'feeRate' | 'feeLevel'>): Promise<number> => {
    const rate = feeRate ?? (await node.feeRates())[feeLevel];
    assertFeeRate(rate);
    return rate;
  };

  /** The coins with the transactions that prove them. */
  const proven = async (coins: readonly ScannedCoin[], account: Descriptor): Promise<AssembledCoin[]> => {
    const raws = new Map<string, Uint8Array>();
    const txids = [...new Set(coins.map(({ txid }) => txid))];
    for (let at = 0; at < txids.length; at += FETCHES_AT_ONCE) {
      const some = txids.slice(at, at + FETCHES_AT_ONCE);
      const found = await Promise.all(some.map((txid) => node.rawTransaction(txid)));
      some.forEach((txid, i) => {
        const raw = found[i];
        if (raw) raws.set(txid, raw);
      });
    }
    let bytes = 0;
    return coins.map(({ txid, vout, amount, output, id }) => {
      const raw = raws.get(txid);
      const paid = raw && parseTransaction(raw).outputs[vout];
      if (!raw || !paid || paid.amount !== amount || compareBytes(paid.script, output.script) !== 0)
        throw new ChainError(
          'node_unavailable',
          `What the node says of the coin ${id} can't be right. Try again, or name another node in the configuration.`,
        );
      bytes += raw.length;
      const previous = account.script === 'p2tr' || bytes > PREVIOUS_BYTES_MAX ? null : raw;
      return { txid, vout, amount, output, previous };
    });
  };

  const track = async (id: string, final?: Uint8Array): Promise<TransactionState> => {
    const txid = parseTransactionId(id);
    const status = await node.transactionStatus(txid);
    if (status?.confirmed) {
      const tip = await node.tipHeight();
      const { height, blockHash } = status;
      // A block above the tip: the chain was replaced between the two answers.
      if (tip < height) return { status: 'unknown' };
      const receipt = { txid, block_height: height, block_hash: blockHash };
      return { status: 'confirming', confirmations: tip - height + 1, blockHash, receipt };
    }
    if (status !== null) return { status: 'broadcasting' };
    for (const coin of final === undefined ? [] : parseTransaction(final).inputs) {
      const by = await node.spenderOf(coin.txid, coin.vout);
      if (by !== null && by !== txid && (await takesOurCoin(by, coin))) return { status: 'replaced', by };
    }
    return { status: 'unknown' };
  };

  return {
    ...codec,
    scan: (account) => scan(codec.descriptor(account)),
    feeRates: () => node.feeRates(),

    async balance(account, asset = NATIVE_ASSET) {
      if (asset !== NATIVE_ASSET) return { confirmed: 0n, unconfirmed: 0n, coins: [] };
      const { confirmed, unconfirmed, coins } = await scan(codec.descriptor(account));
      return {
        confirmed,
        unconfirmed,
        coins: coins.map(({ id, amount, address, at, height }) => ({ id, amount, address, at, height })),
      };
    },

    async estimateFee(transfer) {
      const [planner, rates] = await Promise.all([plan(transfer), node.feeRates()]);
      const coins = await spendable(planner, transfer);
      if (transfer.feeRate !== undefined) assertFeeRate(transfer.feeRate);
      const at = (level: FeeLevel) => choose(planner, coins, transfer, transfer.feeRate ?? rates[level]).fee;
      return { slow: at('slow'), recommended: at('recommended'), fast: at('fast') };
    },

    async build(transfer) {
      const [planner, feeRate] = await Promise.all([plan(transfer), rateOf(transfer)]);
      const { account, script } = planner;
      const { coins, amount, change, fee } = choose(planner, await spendable(planner, transfer), transfer, feeRate);
      assertAmount(amount, script);
      assertFee(fee, transfer.feeMax);
      const payments = [{ amount, script, own: null }, ...changePayment(planner, change)];
      return assemblePsbt(account, await proven(coins, account), payments);
    },

    async replace(final, how) {
      const original = parseTransaction(final);
      const { status } = await track(transactionId(original), final);
      if (status !== 'broadcasting' && status !== 'unknown')
        throw notReplaceable(status === 'replaced' ? 'another one took its place already' : 'a block holds it already');
      if (original.inputs.every(({ sequence }) => sequence > SEQUENCE_REPLACEABLE))
        throw notReplaceable('it does not allow it (BIP125)');
      const account = codec.descriptor(how.from);
      const { scanned, spent } = await spentCoins(original, account);
      const coins = await proven(spent, account);
      const { payments, fee } = replacement(original, { account, scanned, spent }, how, await rateOf(how));
      assertFee(fee, how.feeMax);
      return assemblePsbt(account, coins, payments);
    },

    async broadcast(final) {
      const id = codec.transactionId(final);
      try {
        await node.broadcast(final);
      } catch (error) {
        // Nodes word "I have it" in many ways: ask, don't read.
        if (!(error instanceof ChainError) || error.code !== 'rejected') throw error;
        if ((await node.transactionStatus(id)) === null) throw error;
      }
      return id;
    },

    track,
  };

  /** The coins that a transaction of this account spends, found again among its addresses. */
  async function spentCoins(
    tx: BitcoinTransaction,
    account: Descriptor,
  ): Promise<{ scanned: Scan; spent: readonly ScannedCoin[] }> {
    const scanned = await scan(account);
    const spent: ScannedCoin[] = [];
    for (const { txid, vout } of tx.inputs) {
      const raw = await node.rawTransaction(txid);
      const paid = raw && parseTransaction(raw).outputs[vout];
      const output = paid && outputOf(account, paid.script, scanned.next);
      if (!paid || !output) throw notReplaceable('it spends coins of another wallet');
      const { at, address } = output;
      spent.push({ id: `${txid}:${vout}`, txid, vout, amount: paid.amount, height: null, at, address, output });
    }
    return { scanned, spent };
  }
}

interface Planner {
  readonly account: Descriptor;
  readonly script: Uint8Array;
  readonly amount: bigint | 'all';
  readonly scanned: Scan;
}

function choose(
  { account, script, amount, scanned }: Planner,
  coins: readonly ScannedCoin[],
  transfer: BitcoinTransfer,
  feeRate: number,
): Selection<ScannedCoin> & { readonly amount: bigint } {
  const shape = {
    coins,
    outputsWeight: outputWeight(script),
    outputCount: 1,
    inputWeight: inputWeight(account),
    feeRate,
    // Coins that were chosen by hand are all spent, and what they hold beyond the amount comes back.
    chosen: transfer.coins !== undefined,
  };
  if (amount === 'all') return { ...selectAll(shape), change: 0n };
  const changeScript = changeOutput(account, scanned.next).script;
  const selection = selectCoins({
    ...shape,
    target: amount,
    changeWeight: outputWeight(changeScript),
    changeMin: dustLimit(changeScript),
  });
  return { ...selection, amount };
}

function changePayment({ account, scanned }: Planner, change: bigint): Payment[] {
  if (change === 0n) return [];
  const own = changeOutput(account, scanned.next);
  return [{ amount: change, script: own.script, own }];
}

/** The next unused change address; for a wallet without change addresses the next receiving one, or its only one. */
function changeOutput(account: Descriptor, next: readonly [number, number]): DerivedOutput {
  if (account.hasChangeBranch) return account.derive({ change: 1, index: next[1] });
  return account.derive({ change: 0, index: account.ranged ? next[0] : 0 });
}

/** Which of the account's outputs up to the scanned end a script is. */
function outputOf(account: Descriptor, script: Uint8Array, next: readonly [number, number]): DerivedOutput | null {
  for (const change of account.hasChangeBranch ? ([0, 1] as const) : ([0] as const)) {
    // One more than was used: the change of a transaction that is only in the pool, or in none.
    for (let index = 0; index <= (account.ranged ? next[change] + 1 : 0); index++) {
      const output = account.derive({ change, index });
      if (compareBytes(output.script, script) === 0) return output;
    }
  }
  return null;
}

/** BIP125: the replacement pays more in all, and for its own relay on top. What it pays more is taken from the change. */
function replacement(
  original: BitcoinTransaction,
  wallet: { account: Descriptor; scanned: Scan; spent: readonly ScannedCoin[] },
  { kind }: Replacement,
  feeRate: number,
): { payments: readonly Payment[]; fee: bigint } {
  const { account, scanned, spent } = wallet;
  const held = spent.reduce((sum, { amount }) => sum + amount, 0n);
  const oldFee = held - original.outputs.reduce((sum, { amount }) => sum + amount, 0n);
  const sorted = original.outputs.map((output) => ({ ...output, own: outputOf(account, output.script, scanned.next) }));
  const kept = kind === 'cancel' ? [] : sorted.filter(({ own }) => own === null);
  const change = sorted.find(({ own }) => own !== null)?.own ?? changeOutput(account, scanned.next);
  const outputs = [...kept.map(({ script }) => script), change.script];
  const weight =
    frameWeight(spent.length, outputs.length) +
    spent.length * inputWeight(account) +
    outputs.reduce((sum, script) => sum + outputWeight(script), 0);
  const relay = feeOf(weight, 1);
  let fee = feeOf(weight, feeRate);
  if (fee < oldFee + relay) fee = oldFee + relay;
  const paid = kept.reduce((sum, { amount }) => sum + amount, 0n);
  const rest = held - paid - fee;
  if (rest < 0n)
    throw new ChainError(
      'insufficient_funds',
      `A faster transaction costs ${fee} sats, and the coins of this one leave ${held - paid} for fees. Cancel it, or wait.`,
    );
  const isWorthIt = rest >= dustLimit(change.script);
  if (!isWorthIt && kept.length === 0) throw notReplaceable('nothing would be left of it');
  return {
    payments: [...kept, ...(isWorthIt ? [{ amount: rest, script: change.script, own: change }] : [])],
    fee: isWorthIt ? fee : fee + rest,
  };
}

function assertAmount(amount: bigint, script: Uint8Array): void {
  const least = dustLimit(script);
  if (amount >= least && amount > 0n) return;
  throw new ChainError('amount_too_small', `${amount} sats are less than the ${least} that nodes relay. Send more.`);
}

function assertFee(fee: bigint, feeMax: bigint | undefined): void {
  if (feeMax === undefined || fee <= feeMax) return;
  throw new ChainError('fee_too_high', `The fee comes to ${fee} sats, and ${feeMax} are allowed. Allow more, or wait.`);
}

function notReplaceable(why: string): ChainError {
  return new ChainError(
    'not_replaceable',
    `The transaction can't be replaced: ${why}. Build a new one if it is needed.`,
  );
}

function parseTransactionId(text: string): string {
  const lower = text.toLowerCase();
  if (/^[0-9a-f]{64}$/.test(lower)) return lower;
  throw new ChainError('transaction_invalid', 'This is no transaction id. It has 64 hexadecimal digits.');
}
