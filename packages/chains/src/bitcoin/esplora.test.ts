/** The Esplora connector: on the real engine, and in front of servers that lie, leave out, stall or break off. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { type BitcoinDevnet, startBitcoin } from '@kedge/devnet';
import { bytesToHex } from '@noble/hashes/utils.js';
import * as btc from '@scure/btc-signer';
import { pubECDSA } from '@scure/btc-signer/utils.js';
import fc from 'fast-check';
import { ChainError } from '../chain.ts';
import { type Behaviour, deadUrl, failures, withNode } from '../testing/node.ts';
import { assertCodeLater } from '../testing/refusals.ts';
import { createEsplora, type Esplora } from './esplora.ts';
import { bitcoinNetworks } from './networks.ts';

const network = bitcoinNetworks.regtest;
const KEY = new Uint8Array(32).fill(3);
const account = btc.p2wpkh(pubECDSA(KEY), network);
const ADDRESS = account.address!;
const UNKNOWN = 'ab'.repeat(32);
const noWait = async () => {};
/** Of odd answers; `npm run test:slow` makes it a million. */
const RUNS = Number(process.env.DECODER_RUNS ?? 50_000);

/** Spends a coin of the account to itself, less the fee. */
function spend(coin: { txid: string; vout: number; amount: bigint }, fee: bigint): Uint8Array {
  const tx = new btc.Transaction();
  const witnessUtxo = { script: account.script, amount: coin.amount };
  tx.addInput({ txid: coin.txid, index: coin.vout, sequence: 0xfffffffd, witnessUtxo });
  tx.addOutputAddress(ADDRESS, coin.amount - fee, network);
  tx.sign(KEY);
  tx.finalize();
  return tx.extract();
}

function idOf(raw: Uint8Array): string {
  return btc.Transaction.fromRaw(raw, { allowUnknownOutputs: true }).id;
}

describe('on the devnet', () => {
  let devnet: BitcoinDevnet;
  let esplora: Esplora;

  before(async () => {
    devnet = await startBitcoin();
    esplora = createEsplora({ urls: [devnet.esploraUrl], network });
  });
  after(() => devnet.stop());

  test('an address is unused, then funded, and its coins are listed', async () => {
    assert.deepEqual(await esplora.addressStats(ADDRESS), { used: false, confirmed: 0n, unconfirmed: 0n });
    assert.deepEqual(await esplora.addressCoins(ADDRESS), []);
    await devnet.fund(ADDRESS, 40_000n, 3);
    assert.deepEqual(await esplora.addressStats(ADDRESS), { used: true, confirmed: 120_000n, unconfirmed: 0n });
    const coins = await esplora.addressCoins(ADDRESS);
    const { height, hash } = await esplora.tip();
    assert.deepEqual(
      coins.map(({ amount, height: at }) => [amount, at]),
      Array(3).fill([40_000n, height]),
    );
    assert.equal(await esplora.blockHashAt(height), hash);
    assert.equal((await esplora.header(hash))?.length, 80);
    assert.equal(await esplora.tipHeight(), height);
  });

  test('a transaction is sent, seen in the pool, then in a block, and its coin names it as spender', async () => {
    const [coin] = await esplora.addressCoins(ADDRESS);
    assert.equal(await esplora.spenderOf(coin!.txid, coin!.vout), null);
    const raw = spend(coin!, 500n);
    const txid = idOf(raw);
    assert.equal(await esplora.transactionStatus(txid), null);
    await esplora.broadcast(raw);
    assert.deepEqual(await esplora.transactionStatus(txid), { confirmed: false });
    assert.equal(await esplora.spenderOf(coin!.txid, coin!.vout), txid);
    assert.equal((await esplora.addressStats(ADDRESS)).unconfirmed, -500n);
    const unconfirmed = (await esplora.addressCoins(ADDRESS)).find((one) => one.txid === txid);
    assert.deepEqual([unconfirmed?.amount, unconfirmed?.height], [39_500n, null]);
    await devnet.mine(1);
    const { height, hash } = await esplora.tip();
    assert.deepEqual(await esplora.transactionStatus(txid), { confirmed: true, height, blockHash: hash });
    assert.equal(bytesToHex((await esplora.rawTransaction(txid))!), bytesToHex(raw));
  });

  test('a reorg takes the transaction back to the pool', async () => {
    const [coin] = await esplora.addressCoins(ADDRESS);
    const raw = spend(coin!, 500n);
    await esplora.broadcast(raw);
    await devnet.mine(6);
    await devnet.reorg(6);
    assert.deepEqual(await esplora.transactionStatus(idOf(raw)), { confirmed: false });
    await devnet.mine(1);
    assert.equal((await esplora.transactionStatus(idOf(raw)))?.confirmed, true);
  });

  test('a transaction that is not valid is rejected in the words of the node', async () => {
    const [coin] = await esplora.addressCoins(ADDRESS);
    await assertCodeLater('rejected', esplora.broadcast(spend(coin!, 10n)), /\(min relay fee not met, 10 < 110\)/);
    const wrong = spend({ ...coin!, amount: coin!.amount - 1n }, 500n);
    await assertCodeLater('rejected', esplora.broadcast(wrong), /script-verify-flag/);
  });

  test('what nobody has is null, and no error', async () => {
    assert.equal(await esplora.rawTransaction(UNKNOWN), null);
    assert.equal(await esplora.transactionStatus(UNKNOWN), null);
    assert.equal(await esplora.spenderOf(UNKNOWN, 0), null);
    assert.equal(await esplora.header(UNKNOWN), null);
    assert.equal(await esplora.blockHashAt(9_999_999), null);
  });

  test('fee levels come from the estimates, the faster the more', async () => {
    assert.deepEqual(await esplora.feeRates(), { slow: 1, recommended: 2, fast: 5 });
    assert.equal((await esplora.feeEstimates()).size, 28);
  });

  test('what is no address or id of this network is never put into a URL', async () => {
    for (const address of ['', '../tx', 'bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4', `${ADDRESS}/utxo`])
      await assertCodeLater('address_invalid', esplora.addressStats(address));
    for (const txid of ['', '..', UNKNOWN.toUpperCase(), `${UNKNOWN}/x`])
      await assertCodeLater('transaction_invalid', esplora.rawTransaction(txid));
  });

  test('a node of another network is told apart before anything is asked of it', async () => {
    for (const name of ['mainnet', 'testnet', 'signet'] as const) {
      const other = createEsplora({ urls: [devnet.esploraUrl], network: bitcoinNetworks[name] });
      await assertCodeLater('wrong_network', other.tipHeight(), new RegExp(`not ${name}`));
    }
  });
});

describe('a node that', () => {
  const coin = { txid: 'c0'.repeat(32), vout: 0, amount: 50_000n };
  const raw = spend(coin, 1_000n);
  const txid = idOf(raw);
  const child = spend({ txid, vout: 0, amount: 49_000n }, 1_000n);
  const childId = idOf(child);
  const block = { confirmed: true, block_height: 7, block_hash: 'b0'.repeat(32), block_time: 1_600_000_000 };
  const listed = { txid, vout: 0, status: block, value: 49_000 };
  const stats = { tx_count: 1, funded_txo_count: 1, funded_txo_sum: 49_000, spent_txo_count: 0, spent_txo_sum: 0 };
  const none = { tx_count: 0, funded_txo_count: 0, funded_txo_sum: 0, spent_txo_count: 0, spent_txo_sum: 0 };
  const address = `/address/${ADDRESS}`;
  const honest: Answers = {
    '/block-height/0': network.genesisHash,
    '/block-height/9': 'b9'.repeat(32),
    '/blocks/tip/height': '9',
    [address]: { address: ADDRESS, chain_stats: stats, mempool_stats: none },
    [`${address}/utxo`]: [listed],
    [`/tx/${txid}/hex`]: bytesToHex(raw),
    [`/tx/${childId}/hex`]: bytesToHex(child),
    [`/tx/${txid}/status`]: block,
    [`/tx/${txid}/outspend/0`]: { spent: true, txid: childId, vin: 0, status: block },
    '/fee-estimates': { 1: 20.5, 6: 10, 144: 1.2 },
    '/tx': txid,
  };

  const coins = (esplora: Esplora) => esplora.addressCoins(ADDRESS);
  const balance = (esplora: Esplora) => esplora.addressStats(ADDRESS);
  const fetch = (esplora: Esplora) => esplora.rawTransaction(txid);
  const status = (esplora: Esplora) => esplora.transactionStatus(txid);
  const spender = (esplora: Esplora) => esplora.spenderOf(txid, 0);
  const fees = (esplora: Esplora) => esplora.feeRates();
  const tip = (esplora: Esplora) => esplora.tip();
  const broadcast = (esplora: Esplora) => esplora.broadcast(raw);

  const coinWith = (change: object) => ({ [`${address}/utxo`]: [{ ...listed, ...change }] });
  const statsWith = (change: object) => ({ [address]: { chain_stats: { ...stats, ...change }, mempool_stats: none } });
  const statusWith = (value: Json) => ({ [`/tx/${txid}/status`]: value });
  const spentBy = (change: object) => ({
    [`/tx/${txid}/outspend/0`]: { spent: true, txid: childId, vin: 0, status: block, ...change },
  });
  const huge = (entries: number) => `[${Array(entries).fill(JSON.stringify(listed)).join()}]`;
  const text = (value: string) => (response: ServerResponse) => void response.end(value);

  const lies: [title: string, act: (esplora: Esplora) => Promise<unknown>, answers: Answers][] = [
    ['lists a coin twice', coins, { [`${address}/utxo`]: [listed, listed] }],
    ['lists more bitcoin than there are', coins, coinWith({ value: 2_100_000_000_000_001 })],
    [
      'lists more bitcoin than there are, in two coins',
      coins,
      {
        [`${address}/utxo`]: [
          { ...listed, value: 2_100_000_000_000_000 },
          { ...listed, vout: 1 },
        ],
      },
    ],
    ['lists coins without end', coins, { [`${address}/utxo`]: text(huge(50_001)) }],
    ['floods us with coins', coins, { [`${address}/utxo`]: text(' '.repeat(16 * 1024 * 1024 + 1)) }],
    ['sends no JSON', coins, { [`${address}/utxo`]: text('<html>') }],
    ['breaks off in the middle of a list', coins, { [`${address}/utxo`]: text('[{"txid":"') }],
    ['sends an object for a list', coins, { [`${address}/utxo`]: {} }],
    ['adds a field to a coin', coins, coinWith({ locked: true })],
    ['leaves out a field of a coin', coins, { [`${address}/utxo`]: [{ txid, vout: 0, status: block }] }],
    ...[-1, 0.5, '49000', null, 1e300].map((value): (typeof lies)[number] => [
      `says a coin holds ${JSON.stringify(value)}`,
      coins,
      coinWith({ value }),
    ]),
    ...['', txid.toUpperCase(), `${txid}00`, 7, null].map((value): (typeof lies)[number] => [
      `calls a transaction ${JSON.stringify(value)}`,
      coins,
      coinWith({ txid: value }),
    ]),
    ['says a coin is at no output', coins, coinWith({ vout: 2 ** 32 })],
    ['says of a coin neither confirmed nor not', coins, coinWith({ status: {} })],
    ['says a coin is confirmed, and not where', coins, coinWith({ status: { confirmed: true } })],
    ['says an address spent more than it got', balance, statsWith({ spent_txo_sum: 49_001 })],
    ['says an address holds more than there is', balance, statsWith({ funded_txo_sum: 2_100_000_000_000_001 })],
    ['counts transactions below none', balance, statsWith({ tx_count: -1 })],
    ['counts transactions without end', balance, statsWith({ tx_count: 1e15 })],
    ['knows no numbers of an address', balance, { [address]: { address: ADDRESS } }],
    ['sends another transaction', fetch, { [`/tx/${txid}/hex`]: bytesToHex(child) }],
    ['sends a changed transaction', fetch, { [`/tx/${txid}/hex`]: bytesToHex(raw).replace('0000', '0001') }],
    ['breaks off a transaction', fetch, { [`/tx/${txid}/hex`]: bytesToHex(raw).slice(0, -2) }],
    ['appends to a transaction', fetch, { [`/tx/${txid}/hex`]: `${bytesToHex(raw)}00` }],
    ['sends half a byte', fetch, { [`/tx/${txid}/hex`]: bytesToHex(raw).slice(0, -1) }],
    ['floods us with a transaction', fetch, { [`/tx/${txid}/hex`]: text('0'.repeat(8_000_001)) }],
    ['says a transaction is in a block of the far future', status, statusWith({ ...block, block_height: 10_000_001 })],
    ['says a transaction is in a block without a hash', status, statusWith({ ...block, block_hash: null })],
    ['adds a field to a status', status, statusWith({ confirmed: false, really: true })],
    ['says perhaps', status, statusWith({ confirmed: 'true' })],
    ['names a spender that does not spend', spender, spentBy({ txid, vin: 0 })],
    ['names a spender at an input that is not there', spender, spentBy({ vin: 1 })],
    ['names a spender that does not exist', spender, spentBy({ txid: UNKNOWN })],
    ['wants 1,000,000 sat/vB', fees, { '/fee-estimates': { 1: 1e6 } }],
    ['wants 2,001 sat/vB for the slowest', fees, { '/fee-estimates': { 1: 1, 144: 2_001 } }],
    ['wants a negative fee', fees, { '/fee-estimates': { 1: -1 } }],
    ['wants a fee in words', fees, { '/fee-estimates': { 1: '20' } }],
    ['estimates fees for no number of blocks', fees, { '/fee-estimates': { soon: 20 } }],
    [
      'estimates fees without end',
      fees,
      { '/fee-estimates': Object.fromEntries(Array.from({ length: 101 }, (_, i) => [i + 1, 1])) },
    ],
    ...['', '-1', '1e3', '09', '99999999', '9\n', 'null'].map((value): (typeof lies)[number] => [
      `says the height is ${JSON.stringify(value)}`,
      tip,
      { '/blocks/tip/height': text(value) },
    ]),
    ['has no block at its own height', tip, { '/blocks/tip/height': '8' }],
    ['calls its newest block something else than a hash', tip, { '/block-height/9': 'b9' }],
    ['calls its first block something else than a hash', tip, { '/block-height/0': 'genesis' }],
    ['renames our transaction', broadcast, { '/tx': childId }],
    ['answers a transaction with a page', broadcast, { '/tx': text('<html>') }],
    [
      'sends the header of another block',
      (esplora) => esplora.header(UNKNOWN),
      { [`/block/${UNKNOWN}/header`]: '00'.repeat(80) },
    ],
  ];

  for (const [title, act, answers] of lies) {
    test(`${title} is unavailable, its key stays out of the message, and the next endpoint is asked`, () =>
      withNode(answering({ ...honest, ...answers }), (liar) =>
        withNode(answering({ ...honest, [`/block/${UNKNOWN}/header`]: null }), async (fine) => {
          const alone = createEsplora({ urls: [`${liar.url}/api-key?key=api-key`], network, wait: noWait });
          await assert.rejects(act(alone), (error) => {
            assert.ok(error instanceof ChainError, String(error));
            assert.equal(error.code, 'node_unavailable', error.message);
            assert.ok(error.message.includes(new URL(liar.url).host), error.message);
            assert.doesNotMatch(`${error.message} ${error.cause}`, /api-key/);
            return true;
          });
          if (/keeps back|not exist/.test(title)) return;
          await act(createEsplora({ urls: [liar.url, fine.url], network, wait: noWait }));
        }),
      ));
  }

  for (const [title, behaviour] of Object.entries(failures)) {
    test(`${title} is passed over for the next one, and alone is unavailable after a second try`, () =>
      withNode(behaviour, (bad) =>
        withNode(answering(honest), async (fine) => {
          const options = { network, wait: noWait };
          // The good one has a second, however busy the machine is.
          const both = createEsplora({ urls: [bad.url, fine.url], timeoutMs: 1_000, ...options });
          assert.equal((await coins(both)).length, 1);
          const alone = createEsplora({ urls: [bad.url], timeoutMs: 100, ...options });
          await assertCodeLater('node_unavailable', coins(alone));
        }),
      ));
  }

  test('tells the truth is believed', () =>
    withNode(answering(honest), async ({ url }) => {
      const esplora = createEsplora({ urls: [await deadUrl(), url], network });
      assert.deepEqual(await coins(esplora), [{ txid, vout: 0, amount: 49_000n, height: 7 }]);
      assert.deepEqual(await balance(esplora), { used: true, confirmed: 49_000n, unconfirmed: 0n });
      assert.deepEqual(await status(esplora), { confirmed: true, height: 7, blockHash: block.block_hash });
      assert.equal(await spender(esplora), childId);
      assert.deepEqual(await tip(esplora), { height: 9, hash: 'b9'.repeat(32) });
      assert.deepEqual(await fees(esplora), { slow: 1.2, recommended: 10, fast: 20.5 });
      await broadcast(esplora);
    }));

  test('answers whatever it likes gets a ChainError or is understood, and nothing else happens', async () => {
    const odd = fc.oneof(
      fc.json(),
      fc.string(),
      fc.constantFrom(
        ...Object.values(honest).map((answer) => (typeof answer === 'string' ? answer : JSON.stringify(answer))),
      ),
    );
    // One honest answer with a piece of it replaced: gets deeper than noise.
    const bent = fc
      .tuple(fc.constantFrom(...Object.values(honest)), fc.nat(), fc.nat(8), fc.string({ maxLength: 8 }))
      .map(([answer, at, length, piece]) => {
        const text = typeof answer === 'string' ? answer : JSON.stringify(answer);
        const from = at % (text.length + 1);
        return text.slice(0, from) + piece + text.slice(from + length);
      });
    let answer = '';
    const esplora = createEsplora({
      urls: ['http://node.test'],
      network,
      rounds: 1,
      fetch: async (url) => lightResponse(String(url).endsWith('/block-height/0') ? network.genesisHash : answer),
    });
    const acts = [coins, balance, fetch, status, spender, fees, tip, broadcast];
    await fc.assert(
      fc.asyncProperty(fc.oneof(odd, bent), fc.nat(acts.length - 1), async (text, which) => {
        answer = text;
        await acts[which]!(esplora).catch((error: unknown) => assert.ok(error instanceof ChainError, String(error)));
      }),
      { numRuns: RUNS },
    );
  });

  test('has nothing to estimate fees from gets the least that nodes relay, and odd estimates never invert levels', async () => {
    const ratesOf = (estimates: Json) =>
      withNode(answering({ ...honest, '/fee-estimates': estimates }), ({ url }) =>
        fees(createEsplora({ urls: [url], network })),
      );
    assert.deepEqual(await ratesOf({}), { slow: 1, recommended: 1, fast: 1 });
    assert.deepEqual(await ratesOf({ 2: 0.3, 6: 0.2, 144: 0.1 }), { slow: 1, recommended: 1, fast: 1 });
    assert.deepEqual(await ratesOf({ 2: 3, 6: 1, 144: 9 }), { slow: 9, recommended: 9, fast: 9 });
    assert.deepEqual(await ratesOf({ 1008: 4 }), { slow: 4, recommended: 4, fast: 4 });
  });

  test('stops answering in the middle of a proof leaves it to the next one', () => {
    let left = 2;
    const dying: Behaviour = (response, asked) =>
      left-- > 0 ? answering(honest)(response, asked) : void response.destroy();
    return withNode(dying, (first) =>
      withNode(answering(honest), async (second) => {
        const esplora = createEsplora({ urls: [first.url, second.url], network });
        assert.equal(await spender(esplora), childId);
        assert.equal(first.asked.length, 3);
      }),
    );
  });

  test('refuses our transaction has its reason told on one short line', () =>
    withNode(
      answering({
        ...honest,
        '/tx': (response: ServerResponse) => void response.writeHead(400).end(`no\n\u001b[31m${'x'.repeat(9_999)}`),
      }),
      async ({ url }) => {
        await assertCodeLater('rejected', broadcast(createEsplora({ urls: [url], network })), /^[\x20-\x7e]{1,400}$/);
      },
    ));

  test('is of another network is not asked anything else, and gets no transaction', () =>
    withNode(
      answering({ ...honest, '/block-height/0': bitcoinNetworks.mainnet.genesisHash }),
      async ({ url, asked }) => {
        await assertCodeLater('wrong_network', broadcast(createEsplora({ urls: [url], network })));
        assert.deepEqual(
          asked.map(({ path }) => path),
          ['/block-height/0'],
        );
      },
    ));
});

/** As much of a `Response` as is read, at a fraction of its price: fifty thousand of them are made. */
function lightResponse(text: string): Response {
  const chunks = [new TextEncoder().encode(text)];
  const read = async () => ({ value: chunks[0], done: chunks.pop() === undefined });
  return { status: 200, body: { getReader: () => ({ read, cancel: async () => {} }) } } as unknown as Response;
}

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
/** By path. Text goes out as it is, null as 404, the rest as JSON; a function answers by itself. */
type Answers = Record<string, unknown>;

function answering(answers: Answers): Behaviour {
  return (response, { path }) => {
    const answer = answers[path.replace(/^\/api-key|\?.*$/g, '')];
    if (typeof answer === 'function') answer(response);
    else if (answer === undefined || answer === null) response.writeHead(404).end('not found');
    else response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  };
}
