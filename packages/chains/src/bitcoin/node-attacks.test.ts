/**
 * Attacks on a wallet through its node, its mempool and its own coin control: what is built is what was asked, from coins
 * that are the wallet's to spend. No engine: the node here knows exactly the transactions that a test gives it.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ChainError } from '../chain.ts';
import { createSpends, memoryReservations } from '../spends.ts';
import { treeHolder } from '../testing/holders.ts';
import { assertCodeLater } from '../testing/refusals.ts';
import { addressOfScript } from './address.ts';
import { type BitcoinNode, createBitcoin } from './bitcoin.ts';
import { createDescriptor } from './descriptor.ts';
import { bitcoinNetworks } from './networks.ts';
import type { AddressCoin } from './scan.ts';
import { planSweep } from './sweep.ts';
import { type BitcoinTransaction, formatTransaction, parseTransaction, transactionId } from './transaction.ts';

const { regtest } = bitcoinNetworks;
const holder = treeHolder(new Uint8Array(16).fill(1), '84h/1h/0h');
const account = createDescriptor({ script: 'p2wpkh', threshold: 1, keys: [holder.key] }, regtest);
const taproot = createDescriptor({ script: 'p2tr', threshold: 1, keys: [holder.key] }, regtest);
const stranger = treeHolder(new Uint8Array(16).fill(9), '84h/1h/0h');
const strangers = createDescriptor({ script: 'p2wpkh', threshold: 1, keys: [stranger.key] }, regtest);
const to = strangers.derive({ change: 0, index: 0 }).address;
const from = account.text;

/** A node that knows these transactions, the first of them in a block. */
function nodeWith({
  confirmed,
  pool = [],
}: {
  confirmed: readonly Uint8Array[];
  pool?: readonly Uint8Array[];
}): BitcoinNode {
  const raws = new Map([...confirmed, ...pool].map((raw) => [transactionId(parseTransaction(raw)), raw]));
  const spenders = new Map<string, string>();
  for (const [id, raw] of raws)
    for (const { txid, vout } of parseTransaction(raw).inputs) spenders.set(`${txid}:${vout}`, id);
  const coins = new Map<string, AddressCoin[]>();
  for (const [txid, raw] of raws) {
    const height = confirmed.includes(raw) ? 100 : null;
    for (const [vout, { amount, script }] of parseTransaction(raw).outputs.entries()) {
      const address = addressOfScript(script, regtest)!;
      if (spenders.has(`${txid}:${vout}`)) continue;
      coins.set(address, [...(coins.get(address) ?? []), { txid, vout, amount, height }]);
    }
  }
  return {
    tipHeight: async () => 100,
    feeRates: async () => ({ slow: 1, recommended: 2, fast: 3 }),
    rawTransaction: async (txid) => raws.get(txid) ?? null,
    transactionStatus: async (txid) => (raws.has(txid) ? { confirmed: false } : null),
    spenderOf: async (txid, vout) => spenders.get(`${txid}:${vout}`) ?? null,
    broadcast: async () => {},
    addressStats: async (address) => {
      const here = coins.get(address) ?? [];
      const sum = (isIn: boolean) =>
        here.reduce((so, { amount, height }) => so + ((height !== null) === isIn ? amount : 0n), 0n);
      return { used: here.length > 0, confirmed: sum(true), unconfirmed: sum(false) };
    },
    addressCoins: async (address) => coins.get(address) ?? [],
  };
}

/** Pays to receiving addresses, from somewhere. */
function funding(amounts: readonly bigint[], wallet = account, salt = 0): Uint8Array {
  return formatTransaction({
    version: 2,
    lockTime: salt,
    inputs: [{ txid: 'ab'.repeat(32), vout: salt, sequence: 0, scriptSig: new Uint8Array([1, 1]), witness: [] }],
    outputs: amounts.map((amount, index) => ({
      amount,
      script: wallet.derive({ change: 0, index: index % 20 }).script,
    })),
  });
}

function coinIds(raw: Uint8Array): readonly string[] {
  const tx = parseTransaction(raw);
  return tx.outputs.map((_, vout) => `${transactionId(tx)}:${vout}`);
}

describe('coins chosen by hand:', () => {
  const paid = funding([50_000n, 60_000n, 40n]);
  const bitcoin = createBitcoin({ network: regtest, node: nodeWith({ confirmed: [paid] }) });
  const [large, larger, dust] = coinIds(paid) as [string, string, string];

  test('one that is named twice is spent once', async () => {
    const unsigned = await bitcoin.build({ from, to, amount: 30_000n, coins: [large, large] });
    assert.deepEqual(bitcoin.resources(unsigned), [large]);
    assert.equal(bitcoin.decode(unsigned, from).outputs.reduce((sum, { amount }) => sum + amount, 0n) < 50_000n, true);
    await assertCodeLater('insufficient_funds', bitcoin.build({ from, to, amount: 70_000n, coins: [large, large] }));
  });

  test('all of them means all of them, those too that are not worth their fee', async () => {
    const unsigned = await bitcoin.build({ from, to, amount: 'all', coins: [large, larger, dust], feeRate: 2 });
    assert.deepEqual([...bitcoin.resources(unsigned)].sort(), [large, larger, dust].sort());
    const { feeMax, outputs } = bitcoin.decode(unsigned, from);
    assert.equal(feeMax! + outputs[0]!.amount, 110_040n);
  });

  test('more than a block’s relay allows is refused before it is built', async () => {
    const many = Array.from({ length: 3 }, (_, salt) =>
      funding(
        Array.from({ length: 600 }, () => 10_000n),
        account,
        salt,
      ),
    );
    const rich = createBitcoin({ network: regtest, node: nodeWith({ confirmed: many }) });
    const coins = many.flatMap(coinIds);
    for (const amount of [1_000_000n, 'all'] as const)
      await assertCodeLater('transaction_too_large', rich.build({ from, to, amount, coins }));
  });
});

test('an estimate at a rate that is none says so, as the transaction would', async () => {
  const bitcoin = createBitcoin({ network: regtest, node: nodeWith({ confirmed: [funding([50_000n])] }) });
  for (const feeRate of [-1, 0, Number.NaN])
    await assertCodeLater('transaction_invalid', bitcoin.estimateFee({ from, to, amount: 10_000n, feeRate }));
  for (const feeRate of [1e6])
    await assertCodeLater('fee_too_high', bitcoin.estimateFee({ from, to, amount: 10_000n, feeRate }));
});

test('an asset that is no asset is named on one short line', async () => {
  const bitcoin = createBitcoin({ network: regtest, node: nodeWith({ confirmed: [] }) });
  await assert.rejects(
    bitcoin.build({ from, to, amount: 1n, asset: `\u001b[31m${'x'.repeat(9_999)}` }),
    (error) => error instanceof ChainError && /^[\x20-\x7e]{1,400}$/.test(error.message),
  );
});

test('an unconfirmed coin that a stranger pays to our change address is not spent', async () => {
  const confirmed = funding([50_000n]);
  const [coin] = coinIds(confirmed) as [string];
  const change = account.derive({ change: 1, index: 0 }).script;
  const pays = (tx: Pick<BitcoinTransaction, 'inputs'>, amount: bigint): Uint8Array =>
    formatTransaction({ version: 2, lockTime: 0, ...tx, outputs: [{ amount, script: change }] });
  const gift = pays(parseTransaction(funding([1n], strangers, 7)), 900_000n);
  const [giftId] = coinIds(gift) as [string];
  const bitcoin = createBitcoin({ network: regtest, node: nodeWith({ confirmed: [confirmed], pool: [gift] }) });
  assert.deepEqual(bitcoin.resources(await bitcoin.build({ from, to, amount: 20_000n })), [coin]);
  await assertCodeLater('insufficient_funds', bitcoin.build({ from, to, amount: 200_000n }));
  await assertCodeLater('insufficient_funds', bitcoin.build({ from, to, amount: 200_000n, coins: [giftId] }));
  await assertCodeLater('insufficient_funds', bitcoin.estimateFee({ from, to, amount: 200_000n }));

  // What our own transaction pays back to us is spent, before it is in a block too.
  const [txid = '', vout] = coin.split(':');
  const own = pays(
    { inputs: [{ txid, vout: Number(vout), sequence: 0, scriptSig: new Uint8Array(), witness: [new Uint8Array(1)] }] },
    49_000n,
  );
  const spending = createBitcoin({ network: regtest, node: nodeWith({ confirmed: [confirmed], pool: [own] }) });
  assert.deepEqual(spending.resources(await spending.build({ from, to, amount: 20_000n })), coinIds(own));
});

for (const [name, wallet] of [
  ['P2WPKH', account],
  ['Taproot', taproot],
] as const) {
  test(`a spender that nobody signed replaces nothing, however the node swears to it (${name})`, async () => {
    const confirmed = funding([50_000n, 60_000n], wallet);
    const honest = createBitcoin({ network: regtest, node: nodeWith({ confirmed: [confirmed] }) });
    const signed = async (amount: bigint) => {
      const unsigned = await honest.build({ from: wallet.text, to, amount, coins: coinIds(confirmed) });
      return honest.final(honest.attach(unsigned, holder.sign(honest.digests(unsigned))));
    };
    const [ours, rival] = [await signed(70_000n), await signed(80_000n)];
    const id = honest.transactionId(ours);
    const trackBeside = (spender: Uint8Array) =>
      createBitcoin({ network: regtest, node: nodeWith({ confirmed: [confirmed], pool: [spender] }) }).track(id, ours);
    const made = parseTransaction(rival);
    for (const lie of [
      { ...made, inputs: made.inputs.map((input) => ({ ...input, witness: [] })) },
      { ...made, outputs: made.outputs.slice(0, 1) },
      {
        ...made,
        inputs: made.inputs.map((input, i) => ({ ...input, witness: parseTransaction(ours).inputs[i]!.witness })),
      },
    ])
      assert.deepEqual(await trackBeside(formatTransaction(lie)), { status: 'unknown' });
    assert.deepEqual(await trackBeside(rival), { status: 'replaced', by: honest.transactionId(rival) });
  });
}

test('an id that was planned for one receiver pays no other, and no other amount or account', async () => {
  const bitcoin = createBitcoin({ network: regtest, node: nodeWith({ confirmed: [funding([50_000n])] }) });
  const nowMs = () => 0;
  const spends = createSpends({ chain: bitcoin, reservations: memoryReservations(nowMs), nowMs, holdMs: null });
  const transfer = { from, to, amount: 20_000n };
  const planned = await spends.plan('one', transfer);
  assert.deepEqual(await spends.plan('one', { ...transfer, to: to.toUpperCase() }), planned);
  const sign = () => assert.fail('nobody is asked to sign');
  for (const other of [
    { to: strangers.derive({ change: 0, index: 1 }).address },
    { amount: 20_001n },
    { from: taproot.text },
  ])
    await assertCodeLater('transaction_invalid', spends.send('one', { ...transfer, ...other }, sign));
});

describe('a sweep', () => {
  const coins = Array.from({ length: 5 }, (_, i) => ({ id: `${i}`, amount: 10_000n }));
  const task = { from: account, coins, destination: () => to, feeRate: 1 };

  test('of a list that names coins twice counts them once', () => {
    const plan = planSweep({ ...task, coins: [...coins, ...coins] });
    assert.deepEqual(plan, planSweep(task));
  });

  test('in batches of nothing ends before it begins', () => {
    for (const inputsPerBatch of [-1, 0.5, Number.NaN, 0])
      assert.throws(() => planSweep({ ...task, inputsPerBatch }), RangeError);
  });
});
