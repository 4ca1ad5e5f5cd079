/**
 * Solana through JSON-RPC nodes: SOL and SPL token transfers with priority fees. `createSolana` adds to `solanaCodec`
 * what needs a node, for the gateway. A transaction is good for about a minute, until its blockhash is over; then it is
 * built again (`replace`), and never before every configured node has said that no block took it nor can. What a node
 * can't be trusted with (what a transaction does, its id, who signed) is computed here. No secret key ever enters.
 */
import { base58 } from '@scure/base';
import {
  type Chain,
  ChainError,
  type FeeLevel,
  NATIVE_ASSET,
  printable,
  type TransactionState,
  type Transfer,
  type Warning,
} from '../chain.ts';
import { type EndpointOptions, NodeRefusal } from '../http.ts';
import { parseFinal, solanaCodec, solanaNetwork } from './codec.ts';
import {
  actionOf,
  budgetInstruction,
  compile,
  createTokenAccountInstruction,
  type Instruction,
  instructionsOf,
  SYSTEM_PROGRAM,
  tokenTransferInstruction,
  transferInstruction,
} from './instructions.ts';
import { SIGNATURE_FEE, TOKEN_ACCOUNT_DEPOSIT } from './intent.ts';
import { createSolanaNode, ERAS, eraOf, type SolanaNode, type StoredAccount } from './node.ts';
import { associatedTokenAccount, parseMint, parseTokenAccount, TOKEN_ACCOUNT_BYTES, TOKEN_PROGRAM } from './tokens.ts';
import { encodeMessage, type Message } from './wire.ts';

export interface SolanaOptions extends EndpointOptions {
  /** Whose chain it is, see `SOLANA_GENESIS`; each node is asked for it before anything else. */
  readonly genesisHash: string;
  /** Tells apart transactions that are alike otherwise; nothing secret comes of it. */
  readonly random?: (bytes: number) => Uint8Array;
}

/** Asks nothing yet. Throws `RangeError` for URLs or a genesis hash that can't be used. */
export function createSolana(options: SolanaOptions): Chain {
  const { genesisHash, random = randomBytes, ...endpoints } = options;
  const codec = solanaCodec(solanaNetwork(genesisHash));
  const node = createSolanaNode(endpoints, genesisHash);

  const build = async (transfer: Transfer): Promise<Uint8Array> => {
    const { feeLevel = 'recommended', feeMax, avoid = new Set<string>() } = transfer;
    const [plan, { blockhash, slot }] = await Promise.all([planOf(node, codec, transfer), node.recentBlockhash()]);
    const fee = plan.feeAt(feeLevel);
    if (feeMax !== undefined && fee > feeMax)
      throw new ChainError(
        'fee_too_high',
        `The fee comes to ${fee} lamports and ${feeMax} are allowed. Allow more, or choose a lower fee level.`,
      );
    const instructions = plan.instructionsAt(feeLevel);
    for (let attempt = 0; attempt < SALTS_MAX; attempt++) {
      // Equal transfers with one blockhash would be one transaction, and one signature would do for both.
      const budget = [...plan.budgetAt(feeLevel), budgetInstruction('data_limit', dataLimit(slot, random(2)))];
      const message = compile(plan.from, blockhash, [...budget, ...instructions], plan.mentioned);
      const unsigned = encodeMessage(message);
      if (!codec.resources(unsigned).some((resource) => avoid.has(resource))) return unsigned;
    }
    throw new Error('the source of randomness repeats itself');
  };

  return {
    ...codec,
    build,

    async balance(account, asset = NATIVE_ASSET) {
      const owner = codec.parseAddress(account);
      // No pool that others could look into: what is not in a block is nowhere.
      const rest = { unconfirmed: 0n, coins: [] };
      if (asset === NATIVE_ASSET) return { confirmed: await node.balance(owner), ...rest };
      const mint = codec.parseAddress(asset);
      const [holding] = await node.accounts([associatedTokenAccount(owner, mint).address]);
      return { confirmed: tokensOf(holding ?? null, owner, mint)?.amount ?? 0n, ...rest };
    },

    async estimateFee(transfer) {
      const plan = await planOf(node, codec, transfer);
      return { slow: plan.feeAt('slow'), recommended: plan.feeAt('recommended'), fast: plan.feeAt('fast') };
    },

    async replace(final, { from, kind, feeLevel = 'fast', feeMax }) {
      const { message, signatures } = parseFinal(final);
      if (kind === 'cancel')
        throw notReplaceable(
          "A Solana transaction can't be cancelled: if no block takes it, it expires within two minutes",
        );
      const { outputs, allowances, warnings, from: payer } = codec.decode(final);
      const [output] = outputs;
      const ours = outputs.length === 1 && allowances.length === 0 && warnings.every((one) => OUR_WARNINGS.has(one));
      if (!ours || output === undefined || payer !== codec.parseAddress(from))
        throw notReplaceable("It is no transfer of this wallet's");
      if (!(await isOver(node, message, signatures[0]!)))
        throw notReplaceable('It may be in a block, or a block may still take it; a second one could pay twice');
      const { to, amount, asset } = output;
      return build({ from: payer, to, amount, asset, feeLevel, ...(feeMax === undefined ? {} : { feeMax }) });
    },

    async broadcast(final) {
      const id = codec.transactionId(final);
      try {
        const answer = await node.send(final);
        if (answer !== id)
          throw new ChainError(
            'node_unavailable',
            `The node calls the transaction ${printable(answer)}, not ${id}. Name another node in the configuration.`,
          );
      } catch (error) {
        // "Already processed" may be said of another signature over the same message: ask for this one.
        if (!(error instanceof NodeRefusal)) throw error;
        if ((await node.status(id)) === null) throw broadcastError(error);
      }
      return id;
    },

    async track(transactionId, final): Promise<TransactionState> {
      const id = parseTransactionId(transactionId);
      const status = await node.status(id);
      if (status === null) {
        if (final === undefined) return { status: 'unknown' };
        const { message, signatures } = parseFinal(final);
        if (base58.encode(signatures[0]!) !== id)
          throw new ChainError(
            'transaction_invalid',
            'The bytes are of another transaction than the id. Name them together.',
          );
        return { status: (await isOver(node, message, signatures[0]!).catch(notKnown)) ? 'expired' : 'unknown' };
      }
      if (!status.confirmed) return { status: 'broadcasting' };
      const [head, blockHash] = await Promise.all([node.slot(), node.blockHashAt(status.slot)]);
      const receipt = { ...status.record, signature: id, blockhash: blockHash };
      if (status.failed) return { status: 'failed', receipt };
      if (head < status.slot)
        throw new ChainError(
          'node_unavailable',
          `The node's newest slot is ${head}, and the transaction's is ${status.slot}. Try again, or name another node.`,
        );
      return { status: 'confirming', confirmations: head - status.slot + 1, blockHash, receipt };
    },
  };
}

/**
 * What the accounts of a transaction may hold together, in bytes: programs count too, and 1 MiB is several times what
 * ours need. 24 bits more (it may be 64 MiB) cost nothing, and unlike a memo tell nobody anything. Ten are random and set
 * two equal transfers apart. Fourteen say when it was built, see {@link eraOf}: a node that forgot that time, or has not
 * come to it, can't call it lost.
 */
const DATA_LIMIT_BASE = 1 << 20;
const SALT_BITS = 10;
const SALTS_MAX = 100;

function dataLimit(slot: number, salt: Uint8Array): bigint {
  const random = ((salt[0]! << 8) | salt[1]!) & ((1 << SALT_BITS) - 1);
  return BigInt(DATA_LIMIT_BASE + ((eraOf(slot) << SALT_BITS) | random));
}

/** Null for a limit that is none of ours. */
function eraIn(limit: bigint): number | null {
  const era = (Number(limit) - DATA_LIMIT_BASE) >> SALT_BITS;
  return era >= 0 && era < ERAS ? era : null;
}

const OUR_WARNINGS: ReadonlySet<Warning> = new Set(['creates_account', 'fee_high', 'output_unspendable']);

// Fees.

/** `percentile` of what recent slots asked at least; `floor` in micro-lamports a unit, when they asked nothing. */
const FEE_LEVELS: Record<FeeLevel, { readonly percentile: number; readonly floor: bigint }> = {
  slow: { percentile: 25, floor: 1_000n },
  recommended: { percentile: 50, floor: 10_000n },
  fast: { percentile: 90, floor: 100_000n },
};
/** 50 lamports a unit, beyond the worst hours of mainnet. A node that names more is mistaken, or wants us to burn money. */
const UNIT_PRICE_MAX = 50_000_000n;

/**
 * Compute units of what we send, the budget's own instructions included. The engine takes 600 for SOL, 555 for tokens and
 * 14,000 for a creation; the token program in its older form takes ten times that of the second and twice the third.
 */
const UNITS_OF_TRANSFER = 1_000n;
const UNITS_OF_TOKEN_TRANSFER = 8_000n;
const UNITS_OF_CREATION = 28_000n;
/** For each candidate that the program hashes on its way to the account's address. */
const UNITS_OF_ATTEMPT = 1_500n;

function unitPrice(prices: readonly bigint[], level: FeeLevel): bigint {
  const { percentile, floor } = FEE_LEVELS[level];
  const sorted = [...prices].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const price = sorted[Math.floor(((sorted.length - 1) * percentile) / 100)] ?? 0n;
  if (price > UNIT_PRICE_MAX)
    throw new ChainError(
      'node_unavailable',
      `The node can't be right: it asks ${price} micro-lamports for each compute unit. Try again, or name another node.`,
    );
  return price > floor ? price : floor;
}

// Plans.

/** A transfer that the accounts, as a node shows them, allow. */
interface Plan {
  readonly from: string;
  readonly mentioned: readonly string[];
  feeAt(level: FeeLevel): bigint;
  budgetAt(level: FeeLevel): readonly Instruction[];
  instructionsAt(level: FeeLevel): readonly Instruction[];
}

type Addresses = Pick<Chain, 'parseAddress'>;

async function planOf(node: SolanaNode, addresses: Addresses, transfer: Transfer): Promise<Plan> {
  const { amount, asset = NATIVE_ASSET } = transfer;
  const from = addresses.parseAddress(transfer.from);
  const to = addresses.parseAddress(transfer.to);
  if (amount !== 'all' && (amount < 0n || amount >= 1n << 64n))
    throw new ChainError('transaction_invalid', `${amount} is no amount. Name one in the smallest unit.`);
  if (amount === 0n) throw new ChainError('amount_too_small', 'The amount is 0. Name what to send.');
  return asset === NATIVE_ASSET
    ? planNative(node, { from, to, amount })
    : planToken(node, { from, to, amount, mint: addresses.parseAddress(asset) });
}

interface Parties {
  readonly from: string;
  readonly to: string;
  readonly amount: bigint | 'all';
}

async function planNative(node: SolanaNode, { from, to, amount }: Parties): Promise<Plan> {
  const [[payer = null, receiver = null], prices, rent] = await Promise.all([
    node.accounts([from, to]),
    node.recentPrices([from, to]),
    node.rentFor(0),
  ]);
  const balance = payer?.lamports ?? 0n;
  // What lies in an account of a program is the program's, and SOL sent to a token account is as good as lost.
  if (receiver !== null && receiver.owner !== SYSTEM_PROGRAM)
    throw new ChainError(
      'address_invalid',
      `${to} is no wallet: it belongs to the program ${receiver.owner}. Ask the receiver for the wallet's address.`,
    );
  const costs = costsOf(prices, UNITS_OF_TRANSFER, 0n);
  return {
    from,
    mentioned: [],
    ...costs,
    instructionsAt(level) {
      const fee = costs.feeAt(level);
      const sent = amount === 'all' ? balance - fee : amount;
      if (sent <= 0n) throw insufficient(balance, fee + 1n);
      if (sent + fee > balance) throw insufficient(balance, sent + fee);
      assertFunds(balance, from === to ? fee : sent + fee, rent);
      const lands = (receiver?.lamports ?? 0n) + sent;
      if (from !== to && lands < rent)
        throw new ChainError(
          'amount_too_small',
          `The receiver's account would hold ${lands} lamports, and the chain keeps none under ${rent}. Send at least ${rent - (receiver?.lamports ?? 0n)}.`,
        );
      return [transferInstruction(from, to, sent)];
    },
  };
}

async function planToken(
  node: SolanaNode,
  { from, to, amount, mint }: Parties & { readonly mint: string },
): Promise<Plan> {
  const source = associatedTokenAccount(from, mint);
  const destination = associatedTokenAccount(to, mint);
  const [found, prices, rent, deposit] = await Promise.all([
    node.accounts([from, to, mint, source.address, destination.address]),
    node.recentPrices([from, source.address, destination.address]),
    node.rentFor(0),
    node.rentFor(TOKEN_ACCOUNT_BYTES),
  ]);
  const [payer = null, receiver = null, mintAccount = null, sourceAccount = null, destinationAccount = null] = found;
  const parsedMint = mintAccount?.owner === TOKEN_PROGRAM ? parseMint(mintAccount.data) : null;
  if (parsedMint === null)
    throw new ChainError(
      'address_invalid',
      `${mint} is no token of the SPL token program. Copy its mint address again.`,
    );
  if (receiver?.owner === TOKEN_PROGRAM)
    throw new ChainError(
      'address_invalid',
      `${to} is a token account or a mint, and tokens are sent to wallets. Ask the receiver for the wallet's address.`,
    );
  if (deposit > TOKEN_ACCOUNT_DEPOSIT)
    throw new ChainError(
      'node_unavailable',
      `The node wants a deposit of ${deposit} lamports for a token account, and it is ${TOKEN_ACCOUNT_DEPOSIT}. Name another node.`,
    );
  const held = tokensOf(sourceAccount, from, mint);
  if (held?.frozen) throw new ChainError('rejected', "The wallet's tokens are frozen by their issuer. Ask the issuer.");
  const creates = destinationAccount === null || destinationAccount.owner !== TOKEN_PROGRAM;
  const theirs = tokensOf(destinationAccount, to, mint);
  if (!creates && (theirs === null || theirs.frozen))
    throw new ChainError(
      'rejected',
      "The receiver can't take these tokens: their account is frozen or handed to another owner. Ask for another wallet.",
    );
  const tokens = held?.amount ?? 0n;
  const sent = amount === 'all' ? tokens : amount;
  if (sent === 0n || sent > tokens)
    throw new ChainError(
      'insufficient_funds',
      `The wallet holds ${tokens} of the token's smallest unit${amount === 'all' ? '' : `, and ${sent} are to be sent`}. Send less, or fund it.`,
    );
  const units =
    UNITS_OF_TOKEN_TRANSFER + (creates ? UNITS_OF_CREATION + UNITS_OF_ATTEMPT * BigInt(destination.attempts) : 0n);
  const costs = costsOf(prices, units, creates ? TOKEN_ACCOUNT_DEPOSIT : 0n);
  const create = { payer: from, account: destination.address, wallet: to, mint };
  const { decimals } = parsedMint;
  return {
    from,
    // Without a creation no instruction names the wallet; so that the bytes prove the receiver, the message does.
    mentioned: creates ? [] : [to],
    ...costs,
    instructionsAt(level) {
      assertFunds(payer?.lamports ?? 0n, costs.feeAt(level), rent);
      const moved = {
        source: source.address,
        mint,
        destination: destination.address,
        owner: from,
        amount: sent,
        decimals,
      };
      return [...(creates ? [createTokenAccountInstruction(create)] : []), tokenTransferInstruction(moved)];
    },
  };
}

function costsOf(prices: readonly bigint[], units: bigint, deposit: bigint): Pick<Plan, 'feeAt' | 'budgetAt'> {
  return {
    feeAt: (level) => SIGNATURE_FEE + (unitPrice(prices, level) * units + 999_999n) / 1_000_000n + deposit,
    budgetAt: (level) => [
      budgetInstruction('unit_limit', units),
      budgetInstruction('unit_price', unitPrice(prices, level)),
    ],
  };
}

/** The wallet's own tokens; null when there is no such account, or it is another's by now. */
function tokensOf(account: StoredAccount | null, owner: string, mint: string) {
  const parsed = account?.owner === TOKEN_PROGRAM ? parseTokenAccount(account.data) : null;
  return parsed !== null && parsed.owner === owner && parsed.mint === mint ? parsed : null;
}

/** An account keeps the deposit for its own existence, or nothing: the chain takes no transaction that leaves less. */
function assertFunds(balance: bigint, needed: bigint, rent: bigint): void {
  const left = balance - needed;
  if (left < 0n) throw insufficient(balance, needed);
  if (left > 0n && left < rent)
    throw new ChainError(
      'insufficient_funds',
      `The wallet would keep ${left} lamports, and the chain lets none keep less than ${rent} and more than 0. Send ${rent - left} less, or everything.`,
    );
}

function insufficient(balance: bigint, needed: bigint): ChainError {
  return new ChainError(
    'insufficient_funds',
    `The wallet holds ${balance} lamports, and amount and fee take up to ${needed}. Send less, or fund it.`,
  );
}

// Afterwards.

/** Only of transactions that we built: others may hold a nonce, which stays good, or be older than a node remembers. */
async function isOver(node: SolanaNode, message: Message, signature: Uint8Array): Promise<boolean> {
  const addresses = message.keys.map((key) => base58.encode(key));
  const actions = instructionsOf(message, addresses).map(actionOf);
  const limit = actions.find((action) => action.kind === 'data_limit');
  const era = limit?.kind === 'data_limit' ? eraIn(limit.value) : null;
  // An instruction that isn't read may be one that advances a nonce.
  if (era === null || actions.some(({ kind }) => kind === 'nonce' || kind === 'unknown')) return false;
  return node.isOver({ signature: base58.encode(signature), blockhash: base58.encode(message.blockhash), era });
}

/** While a node is down nobody knows whether a transaction is over, and that is all: it is not there. */
function notKnown(error: unknown): false {
  if (error instanceof ChainError && error.code === 'node_unavailable') return false;
  throw error;
}

function notReplaceable(why: string): ChainError {
  return new ChainError('not_replaceable', `${why}. Track it; once it is expired, build it again.`);
}

function broadcastError(refusal: NodeRefusal): ChainError {
  const cause = { cause: refusal };
  const { reason, status } = refusal;
  // -32002: the simulation failed. -32003: a signature. The others say something about the node.
  if (status !== -32002 && status !== -32003) return refusal;
  // 0x1 is "insufficient funds" of the system program and of the token program alike.
  if (/insufficient|no record of a prior credit|custom program error: 0x1$/i.test(reason))
    return new ChainError(
      'insufficient_funds',
      `The wallet can't pay amount and fee any more (${reason}). Fund it, then build the transaction again.`,
      cause,
    );
  if (/already been processed/i.test(reason))
    return new ChainError(
      'rejected',
      "The same transaction is in a block already, under another signature. Nothing more was sent; look at the wallet's history.",
      cause,
    );
  return new ChainError(
    'rejected',
    `The network takes no such transaction (${reason}). Track it; once it is expired, build it again.`,
    cause,
  );
}

function parseTransactionId(text: string): string {
  try {
    if (text.length <= 88 && base58.decode(text).length === 64) return text;
  } catch {}
  throw new ChainError(
    'transaction_invalid',
    `${printable(text)} is no transaction id. It is a signature: 64 bytes in base58.`,
  );
}

function randomBytes(bytes: number): Uint8Array {
  return globalThis.crypto.getRandomValues(new Uint8Array(bytes));
}
