/** The Bitcoin devnet as a wallet sees it, over Esplora's HTTP interface: real validation, a pool with a policy, reorgs. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { hex } from '@scure/base';
import * as btc from '@scure/btc-signer';
import { pubECDSA, pubSchnorr } from '@scure/btc-signer/utils.js';
import { type BitcoinDevnet, startBitcoin } from './bitcoin.ts';

const REGTEST = { bech32: 'bcrt', pubKeyHash: 0x6f, scriptHash: 0xc4, wif: 0xef };
const RBF = 0xfffffffd;
/** Of Bitcoin Core's chainparams. */
const GENESIS = '0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206';

let keys = 0;

/** A key that no other test uses, with its addresses. */
function newWallet() {
  keys += 1;
  const key = new Uint8Array(32).fill(7);
  new DataView(key.buffer).setUint32(28, keys);
  const wpkh = btc.p2wpkh(pubECDSA(key), REGTEST);
  const tr = btc.p2tr(pubSchnorr(key), undefined, REGTEST);
  return { key, wpkh, tr, address: wpkh.address!, taproot: tr.address! };
}

type Wallet = ReturnType<typeof newWallet>;

interface Utxo {
  readonly txid: string;
  readonly vout: number;
  readonly value: number;
  readonly status: { readonly confirmed: boolean; readonly block_height?: number };
}

describe('on one engine', () => {
  let devnet: BitcoinDevnet;

  const ask = async (path: string, body?: string): Promise<{ status: number; text: string }> => {
    const response = await fetch(devnet.esploraUrl + path, body === undefined ? {} : { method: 'POST', body });
    return { status: response.status, text: await response.text() };
  };
  const get = async <T>(path: string): Promise<T> => {
    const { status, text } = await ask(path);
    assert.equal(status, 200, `${path}: ${text}`);
    return JSON.parse(text) as T;
  };
  const coinsOf = (address: string) => get<Utxo[]>(`/address/${address}/utxo`);
  const height = () => get<number>('/blocks/tip/height');

  /** Everything that the coins hold, less the fee, to one address. */
  const spend = (
    { key, wpkh }: Wallet,
    coins: readonly Utxo[],
    to: string,
    fee: number,
    { sequence = RBF, claimed }: { sequence?: number; claimed?: bigint } = {},
  ): btc.Transaction => {
    const tx = new btc.Transaction({ allowUnknownOutputs: true });
    let sum = 0n;
    for (const { txid, vout, value } of coins) {
      const amount = claimed ?? BigInt(value);
      tx.addInput({ txid, index: vout, sequence, witnessUtxo: { script: wpkh.script, amount } });
      sum += amount;
    }
    tx.addOutputAddress(to, sum - BigInt(fee), REGTEST);
    tx.sign(key);
    tx.finalize();
    return tx;
  };
  const send = (tx: btc.Transaction) => ask('/tx', hex.encode(tx.extract()));
  const sent = async (tx: btc.Transaction): Promise<string> => {
    const { status, text } = await send(tx);
    assert.equal(status, 200, text);
    assert.equal(text, tx.id);
    return text;
  };
  const refused = async (tx: btc.Transaction, why: RegExp) => {
    const { status, text } = await send(tx);
    assert.equal(status, 400, text);
    assert.match(text, why);
  };
  const funded = async (sats: bigint, count = 1): Promise<Wallet> => {
    const wallet = newWallet();
    await devnet.fund(wallet.address, sats, count);
    return wallet;
  };

  before(async () => {
    devnet = await startBitcoin();
  });
  after(() => devnet.stop());

  test("the chain is Bitcoin Core's regtest, by its genesis block", async () => {
    assert.equal((await ask('/block-height/0')).text, GENESIS);
    const genesis = await get<{ id: string; timestamp: number; previousblockhash: null }>(`/block/${GENESIS}`);
    assert.equal(genesis.timestamp, 1296688602);
    assert.equal(genesis.previousblockhash, null);
    assert.equal((await ask(`/block/${GENESIS}/header`)).text.length, 160);
  });

  test('funds are confirmed at once, in as many outputs as asked for', async () => {
    const { address } = await funded(12_345n, 3);
    const coins = await coinsOf(address);
    assert.equal(coins.length, 3);
    for (const { value, status } of coins) assert.deepEqual([value, status.confirmed], [12_345, true]);
    assert.equal(coins[0]!.status.block_height, await height());
    const { chain_stats: stats } = await get<{ chain_stats: object }>(`/address/${address}`);
    assert.deepEqual(stats, {
      funded_txo_count: 3,
      funded_txo_sum: 37_035,
      spent_txo_count: 0,
      spent_txo_sum: 0,
      tx_count: 1,
    });
  });

  test('a sweep of 1,200 coins can be set up in one call', async () => {
    const { address } = await funded(10_000n, 1_200);
    assert.equal((await coinsOf(address)).length, 1_200);
  });

  test('every kind of address is paid, 64-character ones and Taproot too', async () => {
    const { key, taproot } = newWallet();
    const wsh = btc.p2wsh(btc.p2ms(1, [pubECDSA(key)]), REGTEST).address!;
    const pkh = btc.p2pkh(pubECDSA(key), REGTEST).address!;
    const sh = btc.p2sh(btc.p2wpkh(pubECDSA(key), REGTEST), REGTEST).address!;
    assert.equal(wsh.length, 64);
    for (const [address, type] of [
      [taproot, 'v1_p2tr'],
      [wsh, 'v0_p2wsh'],
      [pkh, 'p2pkh'],
      [sh, 'p2sh'],
    ] as const) {
      await devnet.fund(address, 5_000n);
      const [coin] = await coinsOf(address);
      assert.equal(coin!.value, 5_000, address);
      const tx = await get<{ vout: { scriptpubkey_address?: string; scriptpubkey_type: string }[] }>(
        `/tx/${coin!.txid}`,
      );
      const { scriptpubkey_address, scriptpubkey_type } = tx.vout[coin!.vout]!;
      assert.deepEqual([scriptpubkey_address, scriptpubkey_type], [address, type]);
    }
  });

  test('what is no address of regtest gets nothing', async () => {
    const mainnet = btc.p2wpkh(pubECDSA(newWallet().key));
    for (const address of ['', 'bcrt1q', mainnet.address!, '1BoatSLRHtKNngkdXEeobR76b53LETtpyT']) {
      await assert.rejects(devnet.fund(address, 1_000n), /no address of regtest/);
      assert.equal((await ask(`/address/${address || 'x'}`)).status, 400);
    }
  });

  test('a transaction goes through the pool into a block, and is shown as Esplora shows it', async () => {
    const from = await funded(100_000n);
    const to = newWallet();
    const [coin] = await coinsOf(from.address);
    const tx = spend(from, [coin!], to.address, 500);
    const txid = await sent(tx);

    assert.deepEqual(await get(`/tx/${txid}/status`), { confirmed: false });
    assert.deepEqual(
      (await coinsOf(to.address)).map(({ value, status }) => [value, status]),
      [[99_500, { confirmed: false }]],
    );
    assert.deepEqual(await coinsOf(from.address), []);
    assert.deepEqual(await get(`/tx/${coin!.txid}/outspend/${coin!.vout}`), {
      spent: true,
      txid,
      vin: 0,
      status: { confirmed: false },
    });
    assert.equal((await get<object[]>(`/address/${to.address}/txs/mempool`)).length, 1);
    assert.equal((await get<{ count: number }>('/mempool')).count, 1);

    await devnet.mine(1);
    const tip = (await ask('/blocks/tip/hash')).text;
    const block = await get<{ height: number; timestamp: number; tx_count: number }>(`/block/${tip}`);
    assert.equal(block.tx_count, 2);
    const shown = await get<Record<string, unknown>>(`/tx/${txid}`);
    assert.deepEqual(shown.status, {
      confirmed: true,
      block_height: block.height,
      block_hash: tip,
      block_time: block.timestamp,
    });
    assert.equal(shown.fee, 500);
    assert.equal(shown.weight, tx.weight);
    const pubkey = hex.encode(pubECDSA(from.key));
    const program = hex.encode(from.wpkh.hash);
    assert.deepEqual(shown.vin, [
      {
        txid: coin!.txid,
        vout: coin!.vout,
        prevout: {
          scriptpubkey: `0014${program}`,
          scriptpubkey_asm: `OP_0 OP_PUSHBYTES_20 ${program}`,
          scriptpubkey_type: 'v0_p2wpkh',
          scriptpubkey_address: from.address,
          value: 100_000,
        },
        scriptsig: '',
        scriptsig_asm: '',
        witness: [hex.encode(tx.getInput(0).finalScriptWitness![0]!), pubkey],
        is_coinbase: false,
        sequence: RBF,
      },
    ]);
    assert.equal((await ask(`/tx/${txid}/hex`)).text, hex.encode(tx.extract()));
    assert.deepEqual(await get(`/tx/${txid}/outspends`), [{ spent: false }]);
    assert.deepEqual(await get(`/block/${tip}/status`), {
      in_best_chain: true,
      height: block.height,
      next_best: null,
    });
    assert.ok((await get<string[]>(`/block/${tip}/txids`)).includes(txid));
  });

  test('an address with more transactions than a page holds is read page by page', async () => {
    const { address } = newWallet();
    for (let i = 0; i < 27; i++) await devnet.fund(address, 1_000n);
    const page = await get<{ txid: string }[]>(`/address/${address}/txs`);
    assert.equal(page.length, 25);
    const rest = await get<{ txid: string }[]>(`/address/${address}/txs/chain/${page.at(-1)!.txid}`);
    assert.equal(new Set([...page, ...rest].map(({ txid }) => txid)).size, 27);
  });

  test('a signature over another transaction, and one over another amount, are refused', async () => {
    const from = await funded(50_000n);
    const [coin] = await coinsOf(from.address);
    const stranger = newWallet();
    const forged = spend(from, [coin!], stranger.address, 500);
    const signed = spend(from, [coin!], from.address, 500);
    forged.updateInput(0, { finalScriptWitness: signed.getInput(0).finalScriptWitness! }, true);
    await refused(forged, /script-verify-flag/);
    await refused(spend(from, [coin!], stranger.address, 500, { claimed: 60_000n }), /bad-txns-in-belowout/);
    await refused(spend(from, [coin!], stranger.address, 500, { claimed: 49_000n }), /script-verify-flag/);
    assert.equal((await coinsOf(from.address)).length, 1);
    await sent(spend(from, [coin!], stranger.address, 500));
    await devnet.mine(1);
  });

  test('dust, a missing fee, unknown coins and bytes that are no transaction are refused by name', async () => {
    const from = await funded(50_000n);
    const [coin] = await coinsOf(from.address);
    await refused(spend(from, [coin!], from.address, 49_900), /dust/);
    await refused(spend(from, [coin!], from.address, 50), /min relay fee not met, 50 < 110/);
    await refused(spend(from, [{ ...coin!, txid: 'ab'.repeat(32) }], from.address, 500), /missingorspent/);
    for (const body of ['', 'zz', 'abc', '00', '01000000']) assert.equal((await ask('/tx', body)).status, 400, body);
  });

  test('a transaction that is known already gets its id, then the answer that its outputs are there', async () => {
    const from = await funded(50_000n);
    const to = newWallet();
    const tx = spend(from, await coinsOf(from.address), to.address, 500);
    await sent(tx);
    await sent(tx);
    await devnet.mine(1);
    await refused(tx, /"code":-27,"message":"Transaction outputs already in utxo set"/);
    await sent(spend(to, await coinsOf(to.address), from.address, 500));
    await devnet.mine(1);
    await refused(tx, /"code":-25,"message":"bad-txns-inputs-missingorspent"/);
  });

  test('a higher fee replaces a transaction that signals it, and what spent from it', async () => {
    const from = await funded(50_000n);
    const to = newWallet();
    const [coin] = await coinsOf(from.address);
    const first = spend(from, [coin!], to.address, 500);
    await sent(first);
    const child = spend(to, await coinsOf(to.address), newWallet().address, 300);
    await sent(child);
    // Rules 3 and 4 of BIP125: more than both paid, and its own relay on top.
    await refused(spend(from, [coin!], to.address, 799), /less fees than conflicting txs; 799 < 800/);
    await refused(spend(from, [coin!], to.address, 850), /not enough additional fees to relay; 50 < 110/);
    const second = spend(from, [coin!], to.address, 910);
    await sent(second);
    for (const gone of [first, child]) assert.equal((await ask(`/tx/${gone.id}`)).status, 404);
    await devnet.mine(1);
    assert.deepEqual(
      (await coinsOf(to.address)).map(({ txid }) => txid),
      [second.id],
    );
  });

  test('a transaction that does not signal stays, whatever another pays', async () => {
    const from = await funded(50_000n);
    const [coin] = await coinsOf(from.address);
    const first = spend(from, [coin!], newWallet().address, 500, { sequence: 0xfffffffe });
    await sent(first);
    await refused(spend(from, [coin!], newWallet().address, 5_000), /txn-mempool-conflict/);
    assert.equal((await ask(`/tx/${first.id}`)).status, 200);
    await devnet.mine(1);
  });

  test('a replacement with a wrong signature puts nothing out of the pool', async () => {
    const from = await funded(50_000n);
    const to = newWallet();
    const [coin] = await coinsOf(from.address);
    const first = spend(from, [coin!], to.address, 500);
    await sent(first);
    const child = spend(to, await coinsOf(to.address), newWallet().address, 300);
    await sent(child);
    const forged = spend(from, [coin!], to.address, 5_000);
    forged.updateInput(0, { finalScriptWitness: first.getInput(0).finalScriptWitness! }, true);
    await refused(forged, /script-verify-flag/);
    for (const kept of [first, child]) assert.equal((await ask(`/tx/${kept.id}`)).status, 200);
    await devnet.mine(1);
  });

  test('two transactions that want one coin at the same time: one gets it', async () => {
    const from = await funded(50_000n);
    const [coin] = await coinsOf(from.address);
    const options = { sequence: 0xffffffff };
    const rivals = [600, 700, 800].map((fee) => spend(from, [coin!], newWallet().address, fee, options));
    const answers = await Promise.all(rivals.map(send));
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 400, 400]);
    await devnet.mine(1);
  });

  test('a chain of transactions in the pool ends at 25, as on public nodes, and goes into one block', async () => {
    const wallet = await funded(50_000n);
    let [coin] = await coinsOf(wallet.address);
    for (let i = 0; i < 25; i++) {
      const next = spend(wallet, [coin!], wallet.address, 200);
      await sent(next);
      coin = { txid: next.id, vout: 0, value: coin!.value - 200, status: { confirmed: false } };
    }
    await refused(spend(wallet, [coin!], wallet.address, 200), /too-long-mempool-chain/);
    await devnet.mine(1);
    assert.deepEqual(
      (await coinsOf(wallet.address)).map(({ value, status }) => [value, status.confirmed]),
      [[45_000, true]],
    );
  });

  test('funding takes nothing out of the pool', async () => {
    const from = await funded(50_000n);
    const tx = spend(from, await coinsOf(from.address), newWallet().address, 500);
    await sent(tx);
    await funded(1_000n);
    assert.deepEqual(await get(`/tx/${tx.id}/status`), { confirmed: false });
    await devnet.mine(1);
  });

  test('a Taproot key path spend counts if a second interpreter takes its signature, and not otherwise', async () => {
    const wallet = newWallet();
    await devnet.fund(wallet.taproot, 50_000n);
    const [coin] = await coinsOf(wallet.taproot);
    const build = (fee: bigint) => {
      const tx = new btc.Transaction();
      const witnessUtxo = { script: wallet.tr.script, amount: 50_000n };
      tx.addInput({
        txid: coin!.txid,
        index: coin!.vout,
        sequence: RBF,
        witnessUtxo,
        tapInternalKey: wallet.tr.tapInternalKey,
      });
      tx.addOutputAddress(wallet.address, 50_000n - fee, REGTEST);
      tx.sign(wallet.key);
      tx.finalize();
      return tx;
    };
    const good = build(500n);
    const forged = build(600n);
    forged.updateInput(0, { finalScriptWitness: good.getInput(0).finalScriptWitness! }, true);
    await refused(forged, /mandatory-script-verify-flag-failed/);
    await sent(good);
    await devnet.mine(1);
    assert.equal((await get<{ confirmed: boolean }>(`/tx/${good.id}/status`)).confirmed, true);
  });

  test('a reorg of depth 6 puts transactions back into the pool, and a block takes them again', async () => {
    const from = await funded(50_000n);
    const to = newWallet();
    const tx = spend(from, await coinsOf(from.address), to.address, 500);
    await sent(tx);
    await devnet.mine(6);
    const before = { height: await height(), hash: (await ask('/blocks/tip/hash')).text };
    await devnet.reorg(6);
    assert.equal(await height(), before.height + 1);
    assert.deepEqual(await get(`/block/${before.hash}/status`), { in_best_chain: false });
    assert.deepEqual(await get(`/tx/${tx.id}/status`), { confirmed: false });
    assert.deepEqual(
      (await coinsOf(to.address)).map(({ status }) => status.confirmed),
      [false],
    );
    await devnet.mine(1);
    assert.deepEqual(
      (await coinsOf(to.address)).map(({ status }) => status.confirmed),
      [true],
    );
  });

  test('funds whose block is replaced come back, and the faucet goes on paying', async () => {
    const wallet = await funded(50_000n);
    await devnet.reorg(1);
    assert.equal((await coinsOf(wallet.address))[0]!.status.confirmed, false);
    await devnet.fund(wallet.address, 1_000n);
    await devnet.mine(1);
    assert.equal((await coinsOf(wallet.address)).filter(({ status }) => status.confirmed).length, 2);
    await assert.rejects(devnet.reorg(0), RangeError);
    await assert.rejects(devnet.reorg(1_000_000), RangeError);
  });

  test('what a reorg finds unfit for the pool is forgotten, and the engine goes on', async () => {
    const from = await funded(50_000n);
    const pending = spend(from, await coinsOf(from.address), newWallet().address, 500);
    const dusty = newWallet();
    await devnet.fund(dusty.address, 1n);
    await sent(pending);
    await devnet.reorg(1);
    assert.deepEqual(await coinsOf(dusty.address), []);
    assert.equal((await ask(`/tx/${pending.id}`)).status, 200);
    await devnet.mine(1);
    assert.equal((await get<{ confirmed: boolean }>(`/tx/${pending.id}/status`)).confirmed, true);
  });

  test('fee estimates fall with patience and never below what the pool takes', async () => {
    const estimates = await get<Record<string, number>>('/fee-estimates');
    assert.ok(estimates[1]! >= estimates[6]! && estimates[6]! >= estimates[144]! && estimates[144]! >= 1);
  });

  test('faucet and miner are there over HTTP, and say what they want', async () => {
    const { address } = newWallet();
    const before = await height();
    assert.equal((await ask('/devnet/fund', JSON.stringify({ address, amount_sats: 7_000 }))).status, 200);
    assert.equal((await ask('/devnet/mine', JSON.stringify({ blocks: 2 }))).status, 200);
    assert.equal((await coinsOf(address))[0]!.value, 7_000);
    assert.equal(await height(), before + 3);
    const wrong: [path: string, body: string, why: RegExp][] = [
      ['fund', '', /no JSON/],
      ['fund', '[]', /no JSON object/],
      ['fund', '{}', /address is missing/],
      ['fund', JSON.stringify({ address: 'x', amount_sats: 1 }), /no address of regtest/],
      ['fund', JSON.stringify({ address, amount_sats: 0 }), /from 1 to/],
      ['fund', JSON.stringify({ address, amount_sats: 1.5 }), /whole number/],
      ['fund', JSON.stringify({ address, amount_sats: 1, count: 1_000_000 }), /count is a whole number from 1 to/],
      ['fund', JSON.stringify({ address, amount_sats: 2_000_000_000_000_000 }), /faucet has only/],
      ['fund', JSON.stringify({ address, amount_sats: 1, to: 'me' }), /There is only address/],
      ['mine', '{}', /blocks is missing/],
      ['mine', JSON.stringify({ blocks: 0 }), /from 1 to/],
      ['mine', JSON.stringify({ blocks: 1e9 }), /from 1 to/],
    ];
    for (const [path, body, why] of wrong) {
      const answer = await ask(`/devnet/${path}`, body);
      assert.equal(answer.status, 400, body);
      assert.match(answer.text, why);
    }
  });

  test('what does not exist is 404, and a body without end is not read', async () => {
    const none = 'ab'.repeat(32);
    for (const path of ['/', '/x', `/tx/${none}`, `/block/${none}`, '/block-height/999999', `/tx/${none}/outspend/0`])
      assert.equal((await ask(path)).status, 404, path);
    assert.equal((await ask('/tx', 'a'.repeat(1024 * 1024 + 1))).status, 413);
  });
});

test('two engines run side by side, and a stopped one frees its port', async () => {
  const [one, two] = await Promise.all([startBitcoin(), startBitcoin()]);
  const tip = async ({ esploraUrl }: BitcoinDevnet) =>
    Number(await (await fetch(`${esploraUrl}/blocks/tip/height`)).text());
  const before = await tip(two);
  await one.mine(3);
  assert.equal(await tip(two), before);
  await assert.rejects(startBitcoin({ port: Number(new URL(one.esploraUrl).port) }), /Port \d+ .*in use/);
  await Promise.all([one.stop(), one.stop()]);
  const again = await startBitcoin({ port: Number(new URL(one.esploraUrl).port) });
  assert.equal(again.esploraUrl, one.esploraUrl);
  await Promise.all([two.stop(), again.stop()]);
});
