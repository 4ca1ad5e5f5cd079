/**
 * The JSON-RPC methods that wallets call, answered from the ledger in the form of Solana's public documentation, errors
 * included. `solana.ts` puts HTTP around it. Commitments are accepted and make no difference: every slot is final at
 * once. It believes nothing of a request, and throws nothing but {@link RpcError}.
 */
import { base58, base64 } from '@scure/base';
import type { Faucet } from './solana-faucet.ts';
import {
  feeOf,
  type Ledger,
  type Outcome,
  type Processed,
  type StoredAccount,
  TOKEN_PROGRAM,
  type TokenHolding,
  type TransactionErrorJson,
} from './solana-ledger.ts';
import { readMessage, readTransaction, WireError, type WireMessage, type WireTransaction } from './solana-wire.ts';

export class RpcError extends Error {
  readonly code: number;
  readonly data: unknown;

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

export interface Node {
  readonly ledger: Ledger;
  readonly faucet: Faucet;
}

const INVALID_PARAMS = -32602;
const SLOTS_PER_EPOCH = 432_000;
const ADDRESSES_MAX = 100;
const SIGNATURES_MAX = 256;
const HISTORY_PAGE_MAX = 1_000;
const MINE_MAX = 10_000;
const AIRDROP_MAX = 10n ** 17n;
/** As `u64::MAX` reads in JavaScript: an account that pays no rent. */
const RENT_EPOCH = 18446744073709552000;

type Config = Readonly<Record<string, unknown>>;
type Method = (ledger: Ledger, params: readonly unknown[], faucet: Faucet) => unknown;

/** Throws {@link RpcError}. */
export function answer({ ledger, faucet }: Node, method: string, params: readonly unknown[]): unknown {
  const found = Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (found === undefined) throw new RpcError(-32601, 'Method not found');
  const config = params.findLast((param) => typeof param === 'object' && param !== null && !Array.isArray(param));
  const minContextSlot = (config as Config | undefined)?.minContextSlot;
  if (typeof minContextSlot === 'number' && minContextSlot > ledger.slot())
    throw new RpcError(-32016, 'Minimum context slot has not been reached', { contextSlot: ledger.slot() });
  return found(ledger, params, faucet);
}

const methods: Readonly<Record<string, Method>> = {
  getHealth: () => 'ok',
  getVersion: () => ({ 'solana-core': '3.0.0', 'feature-set': 0 }),
  getGenesisHash: (ledger) => ledger.genesisHash,
  getSlot: (ledger) => ledger.slot(),
  getBlockHeight: (ledger) => ledger.slot(),
  getFirstAvailableBlock: (ledger) => ledger.firstSlot(),
  getEpochInfo: (ledger) => ({
    absoluteSlot: ledger.slot(),
    blockHeight: ledger.slot(),
    epoch: Math.floor(ledger.slot() / SLOTS_PER_EPOCH),
    slotIndex: ledger.slot() % SLOTS_PER_EPOCH,
    slotsInEpoch: SLOTS_PER_EPOCH,
    transactionCount: null,
  }),
  getLatestBlockhash: (ledger) => inContext(ledger, ledger.latestBlockhash()),
  isBlockhashValid: (ledger, [hash]) => inContext(ledger, ledger.isBlockhashValid(key(hash))),
  getBalance: (ledger, [address]) => inContext(ledger, Number(ledger.account(key(address))?.lamports ?? 0n)),
  getMinimumBalanceForRentExemption: (ledger, [bytes]) => ledger.rentFor(integer(bytes, 10 * 1024 * 1024)),
  getRecentPrioritizationFees(ledger, [addresses]) {
    if (addresses !== undefined) list(addresses, 128).map(key);
    return Array.from({ length: Math.min(150, ledger.slot() + 1) }, (_, i) => ({
      slot: ledger.slot() - i,
      prioritizationFee: 0,
    })).reverse();
  },
  getFeeForMessage(ledger, [message]) {
    const content = read(() => readMessage(decode(message, 'base64')));
    return inContext(ledger, ledger.isBlockhashValid(content.blockhash) ? feeOf(content) : null);
  },
  getAccountInfo(ledger, [address, config]) {
    const at = key(address);
    return inContext(ledger, accountJson(ledger, at, ledger.account(at), record(config)));
  },
  getMultipleAccounts(ledger, [addresses, config]) {
    const found = list(addresses, ADDRESSES_MAX).map(key);
    return inContext(
      ledger,
      found.map((at) => accountJson(ledger, at, ledger.account(at), record(config))),
    );
  },
  getTokenAccountBalance(ledger, [address]) {
    const found = ledger.tokenHolding(key(address));
    if (found === null) throw new RpcError(INVALID_PARAMS, 'Invalid param: not a Token account');
    return inContext(ledger, tokenAmount(found));
  },
  getTokenAccountsByOwner(ledger, [owner, filter, config]) {
    const wallet = key(owner);
    const { mint, programId } = record(filter);
    if (mint === undefined && key(programId) !== TOKEN_PROGRAM)
      throw new RpcError(INVALID_PARAMS, 'Invalid param: unrecognized Token program id');
    const wanted = mint === undefined ? null : key(mint);
    const held = ledger.tokenAccounts().flatMap((at) => ledger.tokenHolding(at) ?? []);
    return inContext(
      ledger,
      held
        .filter((one) => one.owner === wallet && (wanted === null || one.mint === wanted))
        .map(({ account: pubkey }) => ({
          pubkey,
          account: accountJson(ledger, pubkey, ledger.account(pubkey), record(config)),
        })),
    );
  },
  sendTransaction(ledger, [encoded, given]) {
    const config = record(given);
    const transaction = read(() => readTransaction(decode(encoded, config.encoding ?? 'base58')));
    if (config.skipPreflight !== true) {
      const { err, ...rest } = ledger.simulate(transaction, { verifySignatures: true, anyBlockhash: false });
      if (err !== null) throw preflightError(err, rest);
    }
    const { signature, err } = ledger.send(transaction);
    if (err === 'SignatureFailure') throw new RpcError(-32003, 'Transaction signature verification failure');
    return signature;
  },
  simulateTransaction(ledger, [encoded, given]) {
    const config = record(given);
    const transaction = read(() => readTransaction(decode(encoded, config.encoding ?? 'base58')));
    const verifySignatures = config.sigVerify === true;
    const anyBlockhash = config.replaceRecentBlockhash === true;
    if (verifySignatures && anyBlockhash)
      throw new RpcError(INVALID_PARAMS, 'sigVerify may not be used with replaceRecentBlockhash');
    const { err, logs, units, returnData } = ledger.simulate(transaction, { verifySignatures, anyBlockhash });
    const replacement = anyBlockhash ? { replacementBlockhash: ledger.latestBlockhash() } : {};
    const result = { err, logs, accounts: null, unitsConsumed: units, returnData, innerInstructions: null };
    return inContext(ledger, { ...result, ...replacement });
  },
  getSignatureStatuses(ledger, [signatures]) {
    const found = list(signatures, SIGNATURES_MAX).map((text) => ledger.find(signature(text)));
    return inContext(ledger, found.map(statusJson));
  },
  getTransaction(ledger, [text, given]) {
    const found = ledger.find(signature(text));
    const config = typeof given === 'string' ? { encoding: given } : record(given);
    return found === null ? null : transactionJson(found, config);
  },
  getSignaturesForAddress(ledger, [address, given]) {
    const config = record(given);
    const limit = config.limit === undefined ? HISTORY_PAGE_MAX : integer(config.limit, HISTORY_PAGE_MAX);
    let found = [...ledger.signaturesOf(key(address))].reverse();
    if (config.before !== undefined) found = found.slice(found.indexOf(signature(config.before)) + 1);
    const until = config.until === undefined ? -1 : found.indexOf(signature(config.until));
    if (until >= 0) found = found.slice(0, until);
    return found.slice(0, limit).flatMap((text) => {
      const one = ledger.find(text);
      return one === null
        ? []
        : {
            signature: text,
            slot: one.slot,
            err: one.err,
            memo: null,
            blockTime: null,
            confirmationStatus: 'finalized',
          };
    });
  },
  getBlock(ledger, [at, given]) {
    const slot = integer(at, Number.MAX_SAFE_INTEGER);
    const block = ledger.block(slot);
    if (block === null) throw new RpcError(-32004, `Block not available for slot ${slot}`);
    const config = record(given);
    const base = {
      blockhash: block.blockhash,
      previousBlockhash: block.previous,
      parentSlot: Math.max(0, slot - 1),
      blockHeight: slot,
      blockTime: null,
    };
    if (config.transactionDetails === 'none') return base;
    if (config.transactionDetails === 'signatures') return { ...base, signatures: block.signatures };
    const held = block.signatures.flatMap((text) => ledger.find(text) ?? []);
    return { ...base, transactions: held.map((one) => transactionJson(one, config)) };
  },
  requestAirdrop(_, [address, lamports], faucet) {
    const to = key(address);
    const amount = BigInt(integer(lamports, Number(AIRDROP_MAX)));
    try {
      return faucet.send(to, amount);
    } catch (error) {
      throw new RpcError(-32603, `Internal error: ${error instanceof Error ? error.message : error}`);
    }
  },
  /** Ours: lets slots pass. */
  devnet_mine(ledger, [slots]) {
    ledger.mine(integer(slots ?? 1, MINE_MAX));
    return ledger.slot();
  },
};

// What comes in.

function key(value: unknown): string {
  const text = string(value);
  let bytes: Uint8Array;
  try {
    if (text.length > 44) throw new RangeError('WrongSize');
    bytes = base58.decode(text);
  } catch {
    throw new RpcError(INVALID_PARAMS, 'Invalid param: Invalid');
  }
  if (bytes.length !== 32) throw new RpcError(INVALID_PARAMS, 'Invalid param: WrongSize');
  return text;
}

function signature(value: unknown): string {
  const text = string(value);
  try {
    if (text.length <= 88 && base58.decode(text).length === 64) return text;
  } catch {}
  throw new RpcError(INVALID_PARAMS, 'Invalid param: Invalid');
}

function decode(value: unknown, encoding: unknown): Uint8Array {
  const text = string(value);
  if (encoding !== 'base58' && encoding !== 'base64')
    throw new RpcError(INVALID_PARAMS, 'unsupported encoding. Supported encodings: base58, base64');
  // The longest spelling of 1,232 bytes; base58 takes time that grows with the square.
  const max = encoding === 'base58' ? 1683 : 1644;
  if (text.length > max)
    throw new RpcError(
      INVALID_PARAMS,
      `${encoding} encoded transaction too large: ${text.length} bytes (max: encoded/raw ${max}/1232)`,
    );
  try {
    return (encoding === 'base58' ? base58 : base64).decode(text);
  } catch {
    throw new RpcError(INVALID_PARAMS, `invalid ${encoding} encoding`);
  }
}

function read<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof WireError)
      throw new RpcError(INVALID_PARAMS, `failed to deserialize transaction: ${error.message}`);
    throw error;
  }
}

function string(value: unknown): string {
  if (typeof value !== 'string') throw new RpcError(INVALID_PARAMS, 'Invalid params: expected a string');
  return value;
}

function integer(value: unknown, max: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max)
    throw new RpcError(INVALID_PARAMS, `Invalid params: expected a whole number up to ${max}`);
  return value;
}

function list(value: unknown, max: number): readonly unknown[] {
  if (!Array.isArray(value)) throw new RpcError(INVALID_PARAMS, 'Invalid params: expected a list');
  if (value.length > max) throw new RpcError(INVALID_PARAMS, `Too many inputs provided; max ${max}`);
  return value;
}

function record(value: unknown): Config {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value))
    throw new RpcError(INVALID_PARAMS, 'Invalid params: expected an object');
  return value as Config;
}

// What goes out.

function inContext(ledger: Ledger, value: unknown): unknown {
  return { context: { slot: ledger.slot(), apiVersion: '3.0.0' }, value };
}

function tokenAmount({ amount, decimals }: TokenHolding): unknown {
  const digits = amount.toString().padStart(decimals + 1, '0');
  const whole = digits.slice(0, digits.length - decimals);
  const uiAmountString = decimals === 0 ? whole : `${whole}.${digits.slice(-decimals)}`.replace(/\.?0+$/, '');
  return { amount: String(amount), decimals, uiAmount: Number(uiAmountString), uiAmountString };
}

function accountJson(ledger: Ledger, address: string, found: StoredAccount | null, config: Config): unknown {
  if (found === null) return null;
  const base = {
    lamports: Number(found.lamports),
    owner: found.owner,
    executable: found.executable,
    rentEpoch: RENT_EPOCH,
    space: found.data.length,
  };
  const holding = config.encoding === 'jsonParsed' ? ledger.tokenHolding(address) : null;
  if (holding !== null) {
    const { mint, owner, state, isNative } = holding;
    const info = { isNative, mint, owner, state, tokenAmount: tokenAmount(holding) };
    const parsed = { info, type: 'account' };
    return { ...base, data: { program: 'spl-token', parsed, space: found.data.length } };
  }
  if (config.encoding === undefined || config.encoding === 'base58') {
    if (found.data.length > 128)
      throw new RpcError(
        -32600,
        'Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding.',
      );
    const text = base58.encode(found.data);
    return { ...base, data: config.encoding === undefined ? text : [text, 'base58'] };
  }
  return { ...base, data: [base64.encode(found.data), 'base64'] };
}

function statusJson(found: Processed | null): unknown {
  if (found === null) return null;
  const { slot, err } = found;
  return { slot, confirmations: null, err, status: resultJson(err), confirmationStatus: 'finalized' };
}

function resultJson(err: TransactionErrorJson | null): unknown {
  return err === null ? { Ok: null } : { Err: err };
}

function transactionJson(found: Processed, config: Config): unknown {
  const { transaction, slot, err, fee, logs, units, balances, tokens } = found;
  const { version } = transaction.content;
  if (version !== 'legacy' && config.maxSupportedTransactionVersion === undefined)
    throw new RpcError(
      -32015,
      `Transaction version (${version}) is not supported by the requesting client. Please try the request again with the following configuration parameter: "maxSupportedTransactionVersion": ${version}`,
    );
  const encoding = config.encoding ?? 'json';
  const meta = {
    err,
    status: resultJson(err),
    fee,
    preBalances: balances.pre,
    postBalances: balances.post,
    innerInstructions: [],
    logMessages: logs,
    preTokenBalances: tokenBalances(tokens.pre),
    postTokenBalances: tokenBalances(tokens.post),
    rewards: [],
    loadedAddresses: { readonly: [], writable: [] },
    computeUnitsConsumed: units,
  };
  const encoded =
    encoding === 'base64'
      ? [base64.encode(found.bytes), 'base64']
      : encoding === 'base58'
        ? [base58.encode(found.bytes), 'base58']
        : plainJson(transaction);
  const versioned = config.maxSupportedTransactionVersion === undefined ? {} : { version };
  return { slot, blockTime: null, transaction: encoded, meta, ...versioned };
}

function tokenBalances(holdings: readonly (TokenHolding | null)[]): unknown {
  return holdings.flatMap((holding, accountIndex) =>
    holding === null
      ? []
      : {
          accountIndex,
          mint: holding.mint,
          owner: holding.owner,
          programId: TOKEN_PROGRAM,
          uiTokenAmount: tokenAmount(holding),
        },
  );
}

function plainJson({ signatures, content }: WireTransaction): unknown {
  return { signatures: signatures.map((bytes) => base58.encode(bytes)), message: messageJson(content) };
}

function messageJson(content: WireMessage): unknown {
  return {
    header: {
      numRequiredSignatures: content.required,
      numReadonlySignedAccounts: content.readonlySigned,
      numReadonlyUnsignedAccounts: content.readonlyUnsigned,
    },
    accountKeys: content.keys,
    recentBlockhash: content.blockhash,
    instructions: content.instructions.map(({ program, accounts, data }) => ({
      programIdIndex: program,
      accounts,
      data: base58.encode(data),
      stackHeight: null,
    })),
  };
}

function preflightError(err: TransactionErrorJson, { logs, units, returnData }: Omit<Outcome, 'err'>): RpcError {
  if (err === 'SignatureFailure') return new RpcError(-32003, 'Transaction signature verification failure');
  return new RpcError(-32002, `Transaction simulation failed: ${sentenceOf(err)}`, {
    err,
    logs,
    accounts: null,
    unitsConsumed: units,
    returnData,
    innerInstructions: null,
  });
}

/** The words of a validator for its commonest errors; others keep their names. */
const SENTENCES: Readonly<Record<string, string>> = {
  AccountNotFound: 'Attempt to debit an account but found no record of a prior credit.',
  AlreadyProcessed: 'This transaction has already been processed',
  BlockhashNotFound: 'Blockhash not found',
  InsufficientFundsForFee: 'Insufficient funds for fee',
  InvalidAccountForFee: 'This account may not be used to pay transaction fees',
  InvalidRentPayingAccount: 'Transaction leaves an account with a lower balance than rent-exempt minimum',
  SanitizeFailure: 'Transaction failed to sanitize accounts offsets correctly',
};

function sentenceOf(err: TransactionErrorJson): string {
  if (typeof err === 'string') return SENTENCES[err] ?? err;
  const { InstructionError: inner, InsufficientFundsForRent: rent } = err as {
    InstructionError?: [number, unknown];
    InsufficientFundsForRent?: { account_index: number };
  };
  if (rent !== undefined)
    return `Transaction results in an account (${rent.account_index}) with insufficient funds for rent`;
  if (inner === undefined) return JSON.stringify(err);
  const [index, what] = inner;
  const custom = typeof what === 'object' && what !== null ? (what as { Custom?: number }).Custom : undefined;
  const words = custom === undefined ? JSON.stringify(what) : `custom program error: 0x${custom.toString(16)}`;
  return `Error processing Instruction ${index}: ${words}`;
}
