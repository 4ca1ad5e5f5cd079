/**
 * Finding an account's coins: its addresses are asked for one after the other, on both branches, until a run of unused
 * ones says that no more were given out. A snapshot's highest index, where there is one, is passed first, however large
 * the hole before it: a gap limit alone has hidden people's coins after a restore.
 */
import { type AddressAt, ChainError, type Coin } from '../chain.ts';
import type { DerivedOutput, Descriptor } from './descriptor.ts';

/** What is asked about one address; `esplora.ts` answers. */
export interface AddressSource {
  /** Whether any transaction ever touched it, and its balance in sats: in blocks, and what the pool would add. */
  addressStats(
    address: string,
  ): Promise<{ readonly used: boolean; readonly confirmed: bigint; readonly unconfirmed: bigint }>;
  addressCoins(address: string): Promise<readonly AddressCoin[]>;
}

export interface AddressCoin {
  readonly txid: string;
  readonly vout: number;
  /** In sats, as the node says; `bitcoin.ts` proves it before it is spent. */
  readonly amount: bigint;
  readonly height: number | null;
}

export interface ScannedCoin extends Coin, AddressCoin {
  readonly at: AddressAt;
  readonly output: DerivedOutput;
}

export interface Scan {
  readonly coins: readonly ScannedCoin[];
  readonly confirmed: bigint;
  readonly unconfirmed: bigint;
  /** The first index on each branch (receiving, change) after the last used one. */
  readonly next: readonly [number, number];
}

/** BIP44's. */
export const GAP_LIMIT = 20;
/** On each branch, by default. A wallet with more addresses is a service's, which keeps its own index. */
export const ADDRESSES_MAX = 10_000;

export interface ScanOptions {
  readonly gapLimit?: number;
  /** The highest indices that a snapshot or a kit knows, receiving and change; scanned whatever the gap before them. */
  readonly known?: readonly [number, number];
  /** On each branch; 10,000 by default. */
  readonly addressesMax?: number;
}

/** Throws what the source throws, and `transaction_too_large` beyond `addressesMax`. */
export async function scanAccount(
  account: Descriptor,
  source: AddressSource,
  { gapLimit = GAP_LIMIT, known = [-1, -1], addressesMax = ADDRESSES_MAX }: ScanOptions = {},
): Promise<Scan> {
  const branches = await Promise.all(
    ([0, 1] as const).map((change) =>
      scanBranch(account, source, change, { gapLimit, known: known[change], addressesMax }),
    ),
  );
  const found = branches.flatMap(({ addresses }) => addresses);
  const sum = (part: 'confirmed' | 'unconfirmed') => found.reduce((total, { stats }) => total + stats[part], 0n);
  return {
    coins: found.flatMap(({ coins }) => coins),
    confirmed: sum('confirmed'),
    unconfirmed: sum('unconfirmed'),
    next: [branches[0]!.next, branches[1]!.next],
  };
}

type Stats = Awaited<ReturnType<AddressSource['addressStats']>>;
interface ScannedAddress {
  readonly stats: Stats;
  readonly coins: readonly ScannedCoin[];
}

async function scanBranch(
  account: Descriptor,
  source: AddressSource,
  change: 0 | 1,
  { gapLimit, known, addressesMax }: { gapLimit: number; known: number; addressesMax: number },
): Promise<{ next: number; addresses: readonly ScannedAddress[] }> {
  if (change === 1 && !account.hasChangeBranch) return { next: 0, addresses: [] };
  const addresses: ScannedAddress[] = [];
  let next = 0;
  for (let from = 0; ; ) {
    const until = account.ranged ? Math.max(known + 1, next) + gapLimit : 1;
    if (from >= until) return { next, addresses };
    if (until > addressesMax)
      throw new ChainError(
        'transaction_too_large',
        `The wallet has more than ${addressesMax} addresses. Follow it by an index of its own instead of a scan.`,
      );
    // A window at a time: asked for at once, and no further than the gap limit allows.
    const to = Math.min(until, from + gapLimit);
    const window = await Promise.all(
      Array.from({ length: to - from }, (_, i) => scanAddress(account, source, { change, index: from + i })),
    );
    window.forEach((scanned, i) => {
      if (scanned === null) return;
      addresses.push(scanned);
      next = from + i + 1;
    });
    from = to;
  }
}

/** Null for an address that was never used. */
async function scanAddress(account: Descriptor, source: AddressSource, at: AddressAt): Promise<ScannedAddress | null> {
  const output = account.derive(at);
  const stats = await source.addressStats(output.address);
  if (!stats.used) return null;
  const isEmpty = stats.confirmed === 0n && stats.unconfirmed === 0n;
  const coins = isEmpty ? [] : await source.addressCoins(output.address);
  return {
    stats,
    coins: coins.map((coin) => ({ ...coin, id: `${coin.txid}:${coin.vout}`, address: output.address, at, output })),
  };
}
