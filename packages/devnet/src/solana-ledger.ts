/**
 * LiteSVM with what a cluster keeps around it: slots, the blockhashes of the last 150 of them, statuses and an index by
 * address. One transaction makes one slot, and every slot is final at once. Whether a transaction is right (signatures,
 * fees, rent, programs) is the engine's judgement and never ours; its memory of seen transactions is completed here, see
 * `alreadyProcessed`. Used by `solana-rpc.ts` and `solana.ts`.
 */
import { createHash } from 'node:crypto';
import { base58 } from '@scure/base';
import { FailedTransactionMetadata, LiteSVM, type TransactionMetadata } from 'litesvm';
import { type WireTransaction, writeTransaction } from './solana-wire.ts';

/** As the JSON-RPC spells it: a name, or `{ InstructionError: [0, { Custom: 1 }] }`. */
export type TransactionErrorJson = string | { readonly [name: string]: unknown };

export interface Outcome {
  readonly signature: string;
  /** Null: it did what it should. */
  readonly err: TransactionErrorJson | null;
  readonly logs: readonly string[];
  readonly units: number;
  readonly fee: number;
  readonly returnData: { readonly programId: string; readonly data: readonly [string, 'base64'] } | null;
}

export interface TokenHolding {
  readonly account: string;
  readonly mint: string;
  readonly owner: string;
  readonly amount: bigint;
  readonly decimals: number;
  readonly state: 'uninitialized' | 'initialized' | 'frozen';
  readonly isNative: boolean;
}

export interface Processed extends Outcome {
  readonly slot: number;
  readonly bytes: Uint8Array;
  readonly transaction: WireTransaction;
  readonly balances: { readonly pre: readonly number[]; readonly post: readonly number[] };
  readonly tokens: { readonly pre: readonly (TokenHolding | null)[]; readonly post: readonly (TokenHolding | null)[] };
}

export interface StoredAccount {
  readonly lamports: bigint;
  readonly owner: string;
  readonly data: Uint8Array;
  readonly executable: boolean;
}

export type Ledger = ReturnType<typeof createLedger>;

export const TOKEN_PROGRAM = 'TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA';
/** How many slots a blockhash is good for (MAX_PROCESSING_AGE). */
export const BLOCKHASH_SLOTS = 150;
/** Older transactions are forgotten. */
const HISTORY_MAX = 100_000;
const LAMPORTS_PER_SIGNATURE = 5_000;

export function createLedger() {
  const svm = new LiteSVM();
  let slot = 0;
  /** The hash of every slot that is remembered, and the slot of every hash. */
  const hashOf = new Map<number, string>([[0, svm.latestBlockhash()]]);
  const slotOf = new Map<string, number>([[svm.latestBlockhash(), 0]]);
  const genesisHash = svm.latestBlockhash();
  const processed = new Map<string, Processed>();
  const byAddress = new Map<string, string[]>();
  const bySlot = new Map<number, string[]>();
  const messages = new Map<string, string>();
  let oldestValid = 0;

  const nextSlot = (): void => {
    svm.expireBlockhash();
    slot += 1;
    svm.warpToSlot(BigInt(slot));
    hashOf.set(slot, svm.latestBlockhash());
    slotOf.set(svm.latestBlockhash(), slot);
    const forgotten = slot - HISTORY_MAX;
    slotOf.delete(hashOf.get(forgotten) ?? '');
    hashOf.delete(forgotten);
    bySlot.delete(forgotten);
    oldestValid = Math.max(oldestValid, slot - BLOCKHASH_SLOTS);
  };
  const isBlockhashValid = (blockhash: string): boolean => (slotOf.get(blockhash) ?? -1) >= oldestValid;

  /**
   * LiteSVM remembers signatures, a validator remembers messages: there a second signature over the same message is the
   * same transaction, and it matters to whoever signs with random nonces (FROST). Without this it would be spent twice.
   */
  const alreadyProcessed = ({ message }: WireTransaction): boolean => messages.has(hashMessage(message));

  const account = (address: string): StoredAccount | null => {
    const found = svm.getAccount(address as Parameters<LiteSVM['getAccount']>[0]);
    return found.exists && (found.lamports > 0n || found.data.length > 0)
      ? { lamports: found.lamports, owner: found.programAddress, data: found.data, executable: found.executable }
      : null;
  };

  const tokenHolding = (address: string): TokenHolding | null => {
    const found = account(address);
    if (found?.owner !== TOKEN_PROGRAM || found.data.length !== 165) return null;
    const view = new DataView(found.data.buffer, found.data.byteOffset, found.data.byteLength);
    const mint = base58.encode(found.data.subarray(0, 32));
    return {
      account: address,
      mint,
      owner: base58.encode(found.data.subarray(32, 64)),
      amount: view.getBigUint64(64, true),
      decimals: account(mint)?.data[44] ?? 0,
      state: (['uninitialized', 'initialized', 'frozen'] as const)[found.data[108]!] ?? 'uninitialized',
      isNative: view.getUint32(109, true) === 1,
    };
  };
  const snapshot = (keys: readonly string[]) => ({
    balances: keys.map((key) => Number(account(key)?.lamports ?? 0n)),
    tokens: keys.map(tokenHolding),
  });

  const note = (one: Processed): void => {
    processed.set(one.signature, one);
    messages.set(hashMessage(one.transaction.message), one.signature);
    bySlot.set(one.slot, [...(bySlot.get(one.slot) ?? []), one.signature]);
    for (const key of one.transaction.content.keys) {
      const list = byAddress.get(key) ?? [];
      list.push(one.signature);
      byAddress.set(key, list);
    }
    if (processed.size <= HISTORY_MAX) return;
    const [oldest] = processed.keys();
    const gone = processed.get(oldest!)!;
    processed.delete(oldest!);
    messages.delete(hashMessage(gone.transaction.message));
    for (const key of gone.transaction.content.keys) byAddress.get(key)?.shift();
  };

  return {
    genesisHash,
    slot: () => slot,
    /** The oldest that is remembered. */
    firstSlot: () => Math.max(0, slot - HISTORY_MAX + 1),
    latestBlockhash: () => ({ blockhash: svm.latestBlockhash(), lastValidBlockHeight: slot + BLOCKHASH_SLOTS }),
    isBlockhashValid,
    account,
    tokenHolding,
    rentFor: (bytes: number) => Number(svm.minimumBalanceForRentExemption(BigInt(bytes))),

    mine(slots: number): void {
      for (let i = 0; i < slots; i++) nextSlot();
    },

    /** No transaction made until now can be sent any more. */
    expireBlockhashes(): void {
      nextSlot();
      oldestValid = slot;
    },

    /** What the faucet has at genesis, by the engine's own. Throws in the engine's words. */
    endow(address: string, lamports: bigint): void {
      type Airdrop = Parameters<LiteSVM['airdrop']>;
      const result = svm.airdrop(address as Airdrop[0], lamports as Airdrop[1]);
      const failed = result === null || result instanceof FailedTransactionMetadata;
      if (failed) throw new Error(`the faucet stays empty: ${result === null ? 'no answer' : errorOf(result)}`);
    },

    simulate(
      transaction: WireTransaction,
      { verifySignatures, anyBlockhash }: { verifySignatures: boolean; anyBlockhash: boolean },
    ): Outcome {
      if (!anyBlockhash && alreadyProcessed(transaction)) return refused(transaction, 'AlreadyProcessed');
      svm.withSigverify(verifySignatures);
      svm.withBlockhashCheck(!anyBlockhash && !isBlockhashValid(transaction.content.blockhash));
      try {
        const result = svm.simulateTransaction(forEngine(transaction));
        return outcomeOf(transaction, result instanceof FailedTransactionMetadata ? result : result.meta());
      } finally {
        svm.withSigverify(true);
        svm.withBlockhashCheck(true);
      }
    },

    /** Executes it in a slot of its own. One that fails while it runs is noted and pays its fee, as on a cluster. */
    send(transaction: WireTransaction): Outcome {
      if (alreadyProcessed(transaction)) return refused(transaction, 'AlreadyProcessed');
      const { keys, blockhash } = transaction.content;
      const pre = snapshot(keys);
      // The engine knows its newest blockhash only; for one of the last 150 slots it needn't look.
      svm.withBlockhashCheck(!isBlockhashValid(blockhash));
      nextSlot();
      const outcome = outcomeOf(transaction, svm.sendTransaction(forEngine(transaction)));
      svm.withBlockhashCheck(true);
      // Without a fee it never ran: no block holds it.
      if (outcome.fee === 0) return outcome;
      const post = snapshot(keys);
      note({
        ...outcome,
        slot,
        bytes: writeTransaction(transaction.message, transaction.signatures),
        transaction,
        balances: { pre: pre.balances, post: post.balances },
        tokens: { pre: pre.tokens, post: post.tokens },
      });
      return outcome;
    },

    find: (signature: string): Processed | null => processed.get(signature) ?? null,
    /** The oldest first. */
    signaturesOf: (address: string): readonly string[] => byAddress.get(address) ?? [],
    block(at: number): { blockhash: string; previous: string; signatures: readonly string[] } | null {
      const blockhash = hashOf.get(at);
      if (blockhash === undefined) return null;
      return { blockhash, previous: hashOf.get(at - 1) ?? blockhash, signatures: bySlot.get(at) ?? [] };
    },
    tokenAccounts(): readonly string[] {
      const program = TOKEN_PROGRAM as Parameters<LiteSVM['getProgramAccounts']>[0];
      return svm.getProgramAccounts(program).flatMap(({ address, data }) => (data.length === 165 ? [address] : []));
    },
  };
}

/** What a message costs by the rules of the fee structure; null when its budget instructions are senseless. */
export function feeOf({ required, keys, instructions }: WireTransaction['content']): number | null {
  let price = 0n;
  let limit: bigint | null = null;
  let others = 0n;
  for (const { program, data } of instructions) {
    if (keys[program] !== 'ComputeBudget111111111111111111111111111111') {
      others += 1n;
      continue;
    }
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    if (data[0] === 2 && data.length === 5) limit = BigInt(view.getUint32(1, true));
    else if (data[0] === 3 && data.length === 9) price = view.getBigUint64(1, true);
    else if (data.length !== 5) return null;
  }
  const units = limit ?? others * 200_000n;
  const bounded = units < 1_400_000n ? units : 1_400_000n;
  return required * LAMPORTS_PER_SIGNATURE + Number((price * bounded + 999_999n) / 1_000_000n);
}

type EngineTransaction = Parameters<LiteSVM['sendTransaction']>[0];

function forEngine({ message, signatures, content }: WireTransaction): EngineTransaction {
  return {
    messageBytes: message,
    signatures: Object.fromEntries(signatures.map((signature, at) => [content.keys[at], signature])),
  } as unknown as EngineTransaction;
}

function outcomeOf(transaction: WireTransaction, result: FailedTransactionMetadata | TransactionMetadata): Outcome {
  const meta = result instanceof FailedTransactionMetadata ? result.meta() : result;
  const data = meta.returnData();
  const bytes = Buffer.from(data.data());
  return {
    signature: base58.encode(transaction.signatures[0]!),
    err: result instanceof FailedTransactionMetadata ? errorOf(result) : null,
    logs: meta.logs(),
    units: Number(meta.computeUnitsConsumed()),
    fee: Number(/\bfee: (\d+) \}/.exec(meta.toString())?.[1] ?? 0),
    returnData:
      bytes.length === 0
        ? null
        : { programId: base58.encode(data.programId()), data: [bytes.toString('base64'), 'base64'] },
  };
}

function refused(transaction: WireTransaction, err: string): Outcome {
  const signature = base58.encode(transaction.signatures[0]!);
  return { signature, err, logs: [], units: 0, fee: 0, returnData: null };
}

/** The engine prints its errors under the names that the JSON-RPC uses: `InstructionError(0, Custom(1))`. */
function errorOf(failed: FailedTransactionMetadata): TransactionErrorJson {
  const text = /err: (.*?), meta: TransactionMetadata/s.exec(failed.toString())?.[1] ?? 'UnknownError';
  const instruction = /^InstructionError\((\d+), (\w+)(?:\((.*)\))?\)$/s.exec(text);
  if (instruction !== null) {
    const [, index, name = '', argument] = instruction;
    const value = argument === undefined ? name : { [name]: /^\d+$/.test(argument) ? Number(argument) : argument };
    return { InstructionError: [Number(index), value] };
  }
  const account = /^(\w+) \{ account_index: (\d+) \}$/.exec(text);
  if (account !== null) return { [account[1]!]: { account_index: Number(account[2]) } };
  const indexed = /^(\w+)\((\d+)\)$/.exec(text);
  return indexed === null ? text : { [indexed[1]!]: Number(indexed[2]) };
}

function hashMessage(message: Uint8Array): string {
  return createHash('sha256').update(message).digest('base64');
}
