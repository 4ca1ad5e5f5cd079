/**
 * A node that lies to a wallet, in front of the real one: whatever it says, there is no signature request that does
 * something else than was asked. What only the connector can notice is in `esplora.test.ts`.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type BitcoinDevnet, startBitcoin } from '@kedge/devnet';
import { ChainError, type ChainErrorCode, isReorg } from '../chain.ts';
import { secpHolder } from '../testing/holders.ts';
import { type BitcoinNode, createBitcoin } from './bitcoin.ts';
import { descriptorChecksum } from './descriptor.ts';
import { createEsplora } from './esplora.ts';
import { bitcoinNetworks } from './networks.ts';
import { formatTransaction, parseTransaction } from './transaction.ts';

const { regtest } = bitcoinNetworks;
const AMOUNT = 10_000_000n;

let devnet: BitcoinDevnet;
let honest: BitcoinNode;
const holder = secpHolder();
const payee = createBitcoin({ network: regtest, node: {} as BitcoinNode });
const to = payee.address(payee.account(secpHolder().publicKey));
const from = payee.account(holder.publicKey);

before(async () => {
  devnet = await startBitcoin();
  honest = createEsplora({ network: regtest, urls: [devnet.esploraUrl] });
  await devnet.fund(payee.address(from), AMOUNT, 3);
});
after(() => devnet.stop());

/** Every way in which it lies, and what the caller is told instead of getting a PSBT. */
const lies: readonly (readonly [title: string, code: ChainErrorCode, lie: () => Partial<BitcoinNode>])[] = [
  [
    'says that coins hold more than they do',
    'node_unavailable',
    () => ({
      addressCoins: async (address) =>
        (await honest.addressCoins(address)).map((coin) => ({ ...coin, amount: coin.amount * 2n })),
    }),
  ],
  [
    'says that coins hold less, so that the rest would go to the miners',
    'node_unavailable',
    () => ({
      addressCoins: async (address) =>
        (await honest.addressCoins(address)).map((coin) => ({ ...coin, amount: coin.amount - 1_000_000n })),
    }),
  ],
  [
    'lists a coin of somebody else',
    'node_unavailable',
    () => ({
      async addressCoins(address) {
        const [coin] = await honest.addressCoins(address);
        return [{ ...coin!, vout: 99 }];
      },
    }),
  ],
  ['does not have the transaction that a coin is of', 'node_unavailable', () => ({ rawTransaction: async () => null })],
  [
    'shows a coin’s transaction with another amount',
    'node_unavailable',
    () => ({
      async rawTransaction(txid) {
        const tx = parseTransaction((await honest.rawTransaction(txid))!);
        return formatTransaction({ ...tx, outputs: tx.outputs.map((output) => ({ ...output, amount: 1n })) });
      },
    }),
  ],
  [
    'estimates a million sat/vB',
    'fee_too_high',
    () => ({ feeRates: async () => ({ slow: 1_000_000, recommended: 1_000_000, fast: 1_000_000 }) }),
  ],
  [
    'estimates no number',
    'transaction_invalid',
    () => ({ feeRates: async () => ({ slow: Number.NaN, recommended: Number.NaN, fast: Number.NaN }) }),
  ],
  [
    'hides every coin',
    'insufficient_funds',
    () => ({ addressStats: async () => ({ used: false, confirmed: 0n, unconfirmed: 0n }) }),
  ],
  [
    'calls every address used, so that a scan never ends',
    'transaction_too_large',
    () => ({ addressStats: async () => ({ used: true, confirmed: 0n, unconfirmed: 0n }) }),
  ],
];

for (const [title, code, lie] of lies) {
  test(`a node that ${title} gets no signature request`, async () => {
    const bitcoin = createBitcoin({ network: regtest, node: { ...honest, ...lie() }, addressesMax: 100 });
    // The scan without end needs a wallet with many addresses.
    const account = code === 'transaction_too_large' ? rangedAccount() : from;
    await assert.rejects(
      bitcoin.build({ from: account, to, amount: 1_000_000n }),
      (error) => error instanceof ChainError && error.code === code && /\. \S/.test(error.message),
    );
  });
}

test('with all of that true, the request is built', async () => {
  const bitcoin = createBitcoin({ network: regtest, node: honest });
  const intent = bitcoin.decode(await bitcoin.build({ from, to, amount: 1_000_000n }), from);
  assert.deepEqual(intent.warnings, []);
});

describe('a reorg of depth 6', () => {
  test('takes a transaction back to unconfirmed and lets it confirm again; its coins are not spent twice', async () => {
    const bitcoin = createBitcoin({ network: regtest, node: honest });
    const unsigned = await bitcoin.build({ from, to, amount: 1_000_000n });
    const final = bitcoin.final(bitcoin.attach(unsigned, holder.sign(bitcoin.digests(unsigned))));
    const id = await bitcoin.broadcast(final);
    await devnet.mine(6);
    const before = await bitcoin.track(id, final);
    assert.equal(before.status === 'confirming' && before.confirmations, 6);
    await devnet.reorg(6);
    const during = await bitcoin.track(id, final);
    assert.equal(during.status, 'broadcasting');
    assert.ok(isReorg(before, during));
    // What the reorg freed is not free: the transaction waits in the pool, and its coins with it.
    const next = await bitcoin.build({ from, to, amount: 1_000_000n });
    const [spent] = bitcoin.resources(unsigned);
    assert.ok(!bitcoin.resources(next).includes(spent!));
    await devnet.mine(1);
    assert.equal((await bitcoin.track(id, final)).status, 'confirming');
  });

  test('between two answers of a node is unknown, not a negative number of confirmations', async () => {
    const blockHash = '00'.repeat(32);
    const lagging: BitcoinNode = {
      ...honest,
      transactionStatus: async () => ({ confirmed: true, height: 1_000, blockHash }),
      tipHeight: async () => 999,
    };
    const bitcoin = createBitcoin({ network: regtest, node: lagging });
    assert.deepEqual(await bitcoin.track('ab'.repeat(32)), { status: 'unknown' });
  });
});

function rangedAccount(): string {
  const key =
    'tpubD6NzVbkrYhZ4XYa9MoLt4BiMZ4gkt2faZ4BcmKu2a9te4LDpQmvEz2L2yDERivHxFPnxXXhqDRkUNnQCpZggCyEZLBktV7VaSmwayqMJy1s';
  return parseable(`wpkh(${key}/<0;1>/*)`);
}

function parseable(body: string): string {
  return `${body}#${descriptorChecksum(body)}`;
}
