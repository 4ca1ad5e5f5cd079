/**
 * What `solana.ts` asks of Solana nodes, each answer read and bounded on the way in. A node is believed about balances,
 * blockhashes and statuses only as far as one can check it; whether a blockhash is over, on which a second spend would
 * hang, every configured node has to say. It holds no keys and keeps nothing but the heights of blockhashes it handed out.
 */
import { base58, base64 } from '@scure/base';
import { ChainError, printable } from '../chain.ts';
import { type EndpointOptions, type Lies, readArray, readInteger, readRecord } from '../http.ts';
import { createJsonRpc, type JsonRpc } from '../json-rpc.ts';

export interface StoredAccount {
  readonly lamports: bigint;
  readonly owner: string;
  readonly data: Uint8Array;
}

export interface SignatureStatus {
  readonly slot: number;
  readonly failed: boolean;
  /** Seen by one node only (`processed`), or voted for by the cluster. */
  readonly confirmed: boolean;
  /** As the node sent it. */
  readonly record: Record<string, unknown>;
}

export interface SolanaNode {
  balance(address: string): Promise<bigint>;
  /** In the order asked; null where nothing is. */
  accounts(addresses: readonly string[]): Promise<readonly (StoredAccount | null)[]>;
  rentFor(bytes: number): Promise<bigint>;
  /** Finalized: no fork takes it away, and nodes that lag a little know it. Good for about a minute. */
  recentBlockhash(): Promise<{ readonly blockhash: string; readonly slot: number }>;
  /** What transactions of recent slots that write to these accounts bid at least, in micro-lamports a compute unit. */
  recentPrices(addresses: readonly string[]): Promise<readonly bigint[]>;
  /** Gives the signature. Throws `NodeRefusal` with the node's words. */
  send(final: Uint8Array): Promise<string>;
  status(signature: string): Promise<SignatureStatus | null>;
  slot(): Promise<number>;
  blockHashAt(slot: number): Promise<string>;
  /** Whether no block can take the transaction any more, and none did. `every` node has to agree. */
  isOver(transaction: {
    readonly signature: string;
    readonly blockhash: string;
    /** When it was built, see {@link eraOf}. */
    readonly era: number;
  }): Promise<boolean>;
}

/** An era is about three minutes, and they are counted in a circle of five weeks. */
const SLOTS_PER_ERA = 512;
export const ERAS = 16_384;

export function eraOf(slot: number): number {
  return Math.floor(slot / SLOTS_PER_ERA) % ERAS;
}

type Built = Parameters<SolanaNode['isOver']>[0];

/** 10 MiB is the most that an account holds; of those we ask for none is larger than a token account. */
const DATA_BYTES_MAX = 1024;
const U64_MAX = 2 ** 64;
const SLOTS_OF_PRICES = 150;
const RENT_MAX = 10n ** 9n;
const REMEMBERED_MAX = 1_000;
const CONFIRMED = { commitment: 'confirmed' };
const FINALIZED = { commitment: 'finalized' };

/** Asks nothing yet. Throws `RangeError` for URLs that can't be used. */
export function createSolanaNode(options: EndpointOptions, genesisHash: string): SolanaNode {
  const check = (ask: JsonRpc['ask']): Promise<void> =>
    ask('getGenesisHash', [], (answer) => {
      if (answer === genesisHash) return;
      throw new ChainError(
        'wrong_network',
        `The node serves the cluster of genesis ${printable(answer)}, not ${genesisHash}. Name a node of that cluster in the configuration.`,
      );
    });
  const { ask } = createJsonRpc(options, check);
  const each = options.urls.map((url) => createJsonRpc({ ...options, urls: [url] }, check).ask);
  /** Block heights until which the blockhashes given out here can be used. */
  const lastHeights = new Map<string, number>();

  const statusBy = (by: JsonRpc['ask'], signature: string): Promise<SignatureStatus | null> =>
    by('getSignatureStatuses', [[signature], { searchTransactionHistory: true }], (answer, lies) => {
      const [found] = readArray(contentOf(answer, lies), 'a list of statuses', lies, 1, 1);
      return found === null ? null : readStatus(found, lies);
    });
  const isValidBy = (by: JsonRpc['ask'], blockhash: string, commitment: object): Promise<boolean> =>
    by('isBlockhashValid', [blockhash, commitment], (answer, lies) => {
      const value = contentOf(answer, lies);
      if (typeof value !== 'boolean') throw lies('it does not say whether a blockhash is valid');
      return value;
    });
  const slotBy = (method: string, commitment: object, by = ask): Promise<number> =>
    by(method, [commitment], (answer, lies) => readInteger(answer, method, lies));
  const firstSlotBy = (by: JsonRpc['ask']): Promise<number> =>
    by('getFirstAvailableBlock', [], (answer, lies) => readInteger(answer, 'getFirstAvailableBlock', lies));

  const isOverBy = async (by: JsonRpc['ask'], { signature, blockhash, era }: Built): Promise<boolean> => {
    const lastHeight = lastHeights.get(blockhash);
    if (lastHeight !== undefined && (await slotBy('getBlockHeight', FINALIZED, by)) <= lastHeight) return false;
    // The finalized bank doesn't know a blockhash that is too new for it; the confirmed one does.
    if (await isValidBy(by, blockhash, CONFIRMED)) return false;
    if (await isValidBy(by, blockhash, FINALIZED)) return false;
    // Most nodes keep the transactions of days, not of years: what came before is as unknown to them as what never came.
    const head = await slotBy('getSlot', FINALIZED, by);
    const age = (eraOf(head) - era + ERAS) % ERAS;
    // A node that lags behind the one that gave the blockhash doesn't know it yet and calls it invalid like an old one.
    // Past the era that it was built in, no node can; what seems to be of the far past is of the node's future.
    if ((age === 0 && lastHeight === undefined) || age >= ERAS / 2) return false;
    const began = (Math.floor(head / SLOTS_PER_ERA) - age) * SLOTS_PER_ERA;
    if ((await firstSlotBy(by)) > Math.max(0, began)) return false;
    // Looked for last: what is not there once its blockhash is over comes no more.
    return (await statusBy(by, signature)) === null;
  };

  return {
    balance: (address) =>
      ask('getBalance', [address, CONFIRMED], (answer, lies) => readLamports(contentOf(answer, lies), lies)),

    accounts: (addresses) =>
      ask('getMultipleAccounts', [addresses, { ...CONFIRMED, encoding: 'base64' }], (answer, lies) =>
        readArray(contentOf(answer, lies), 'a list of accounts', lies, addresses.length, addresses.length).map((one) =>
          one === null ? null : readAccount(one, lies),
        ),
      ),

    rentFor: (bytes) =>
      ask('getMinimumBalanceForRentExemption', [bytes], (answer, lies) => {
        const rent = readLamports(answer, lies);
        if (rent > RENT_MAX) throw lies(`it wants a deposit of ${rent} lamports for ${bytes} bytes`);
        return rent;
      }),

    recentBlockhash: () =>
      ask('getLatestBlockhash', [FINALIZED], (answer, lies) => {
        const value = readRecord(contentOf(answer, lies), 'a blockhash', lies);
        const { slot } = readRecord(readRecord(answer, 'an answer', lies).context, 'a context', lies);
        const blockhash = readHash(value.blockhash, 'a blockhash', lies);
        lastHeights.set(blockhash, readInteger(value.lastValidBlockHeight, 'lastValidBlockHeight', lies));
        if (lastHeights.size > REMEMBERED_MAX) lastHeights.delete([...lastHeights.keys()][0]!);
        return { blockhash, slot: readInteger(slot, 'slot', lies) };
      }),

    recentPrices: (addresses) =>
      ask('getRecentPrioritizationFees', [addresses], (answer, lies) =>
        readArray(answer, 'prioritization fees', lies, SLOTS_OF_PRICES).map((one) =>
          BigInt(readInteger(readRecord(one, 'a fee', lies).prioritizationFee, 'prioritizationFee', lies)),
        ),
      ),

    send: (final) =>
      ask(
        'sendTransaction',
        [base64.encode(final), { encoding: 'base64', preflightCommitment: 'confirmed' }],
        (answer, lies) => {
          if (typeof answer !== 'string') throw lies('it sends no signature');
          return answer;
        },
      ),

    status: (signature) => statusBy(ask, signature),
    slot: () => slotBy('getSlot', CONFIRMED),

    blockHashAt: (slot) =>
      ask(
        'getBlock',
        [slot, { ...CONFIRMED, transactionDetails: 'none', rewards: false, maxSupportedTransactionVersion: 0 }],
        (answer, lies) => readHash(readRecord(answer, 'a block', lies).blockhash, 'a blockhash', lies),
      ),

    async isOver(transaction) {
      for (const by of each) if (!(await isOverBy(by, transaction))) return false;
      return true;
    },
  };
}

function contentOf(answer: unknown, lies: Lies): unknown {
  return readRecord(answer, 'an answer with its context', lies).value;
}

/** JSON numbers lose the last digits beyond 9 million SOL: then it is the nearest that one can say. */
function readLamports(value: unknown, lies: Lies): bigint {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value >= U64_MAX)
    throw lies('an amount of lamports is no whole number');
  return BigInt(value);
}

function readHash(value: unknown, name: string, lies: Lies): string {
  try {
    if (typeof value === 'string' && value.length <= 44 && base58.decode(value).length === 32) return value;
  } catch {}
  throw lies(`it sends something else as ${name}`);
}

function readAccount(value: unknown, lies: Lies): StoredAccount {
  const { lamports, owner, data } = readRecord(value, 'an account', lies);
  const [text, encoding] = readArray(data, 'the data of an account', lies, 2, 2);
  if (typeof text !== 'string' || encoding !== 'base64') throw lies('the data of an account is not in base64');
  // Longer data belongs to accounts that are neither wallet, mint nor token account: their beginning will do.
  const short = text.slice(0, 4 * Math.ceil(DATA_BYTES_MAX / 3));
  try {
    return {
      lamports: readLamports(lamports, lies),
      owner: readHash(owner, 'an owner', lies),
      data: base64.decode(short),
    };
  } catch (error) {
    throw error instanceof ChainError ? error : lies('the data of an account is not in base64');
  }
}

function readStatus(value: unknown, lies: Lies): SignatureStatus {
  const record = readRecord(value, 'a status', lies);
  const { confirmationStatus } = record;
  if (confirmationStatus !== 'processed' && confirmationStatus !== 'confirmed' && confirmationStatus !== 'finalized')
    throw lies('a status has no confirmationStatus');
  if (record.err === undefined) throw lies('a status does not say whether it failed');
  return {
    slot: readInteger(record.slot, 'slot', lies),
    failed: record.err !== null,
    confirmed: confirmationStatus !== 'processed',
    record,
  };
}
