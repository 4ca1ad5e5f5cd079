/** Coin selection and sweeps, as properties: nothing is lost, nothing is overpaid, and what is weighed is what is signed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Transaction } from '@scure/btc-signer';
import fc from 'fast-check';
import { ChainError } from '../chain.ts';
import { treeHolder } from '../testing/holders.ts';
import { assemblePsbt } from './assemble.ts';
import { bitcoinCodec } from './codec.ts';
import { createDescriptor, type Descriptor } from './descriptor.ts';
import { feeOf, frameWeight, inputWeight, outputWeight, TRANSACTION_WEIGHT_MAX } from './fees.ts';
import { bitcoinNetworks } from './networks.ts';
import { selectAll, selectCoins } from './select.ts';
import { planSweep } from './sweep.ts';
import { formatTransaction } from './transaction.ts';

const { regtest } = bitcoinNetworks;
const holders = [1, 2, 3].map((byte) => treeHolder(new Uint8Array(16).fill(byte), '48h/1h/0h/2h'));
const accounts: Readonly<Record<'p2wpkh' | 'p2tr' | 'p2wsh', Descriptor>> = {
  p2wpkh: createDescriptor({ script: 'p2wpkh', threshold: 1, keys: [holders[0]!.key] }, regtest),
  p2tr: createDescriptor({ script: 'p2tr', threshold: 1, keys: [holders[0]!.key] }, regtest),
  p2wsh: createDescriptor({ script: 'p2wsh', threshold: 2, keys: holders.map(({ key }) => key) }, regtest),
};

const shape = { outputsWeight: 4 * 31, outputCount: 1, inputWeight: 272, changeWeight: 4 * 31, changeMin: 294n };
const coinsOf = (amounts: readonly bigint[]) =>
  amounts.map((amount, i) => ({ id: `coin ${String(i).padStart(4, '0')}`, amount }));
const amounts = fc.array(fc.bigInt(1n, 1_000_000n), { minLength: 0, maxLength: 60 });
const rates = fc.double({ min: 1, max: 300, noNaN: true });

describe('coin selection', () => {
  test('spends exactly what it chose, pays its rate, and never takes a coin that costs more than it holds', () => {
    fc.assert(
      fc.property(amounts, fc.bigInt(300n, 5_000_000n), rates, (held, target, feeRate) => {
        const coins = coinsOf(held);
        const task = { ...shape, coins, target, feeRate };
        const chosen = orInsufficient(() => selectCoins(task));
        const cost = feeOf(shape.inputWeight, feeRate);
        const worth = coins.filter(({ amount }) => amount > cost);
        if (chosen === null) {
          const all = worth.reduce((sum, { amount }) => sum + amount, 0n);
          const weight = frameWeight(worth.length, 1) + shape.outputsWeight + worth.length * shape.inputWeight;
          assert.ok(all < target + feeOf(weight, feeRate), 'there was enough');
          return;
        }
        const sum = chosen.coins.reduce((total, { amount }) => total + amount, 0n);
        assert.equal(sum, target + chosen.change + chosen.fee);
        assert.ok(chosen.coins.every((coin) => worth.includes(coin)));
        assert.equal(new Set(chosen.coins).size, chosen.coins.length);
        assert.ok(chosen.change === 0n || chosen.change >= shape.changeMin);
        const outputs = chosen.change > 0n ? 2 : 1;
        const least =
          frameWeight(chosen.coins.length, outputs) +
          chosen.coins.length * shape.inputWeight +
          outputs * shape.outputsWeight;
        assert.ok(chosen.fee >= feeOf(least, feeRate), 'the rate is not paid');
        // Without change it may pay what change would have cost, now and when it is spent, and no more.
        const slack =
          chosen.change > 0n
            ? 0n
            : feeOf(shape.changeWeight, feeRate) + shape.changeMin + BigInt(chosen.coins.length) + 4n;
        assert.ok(chosen.fee <= feeOf(least, feeRate) + slack + feeOf(16, feeRate), 'more is paid than asked for');
        assert.deepEqual(selectCoins({ ...task, coins: [...coins].reverse() }), chosen);
      }),
      { numRuns: 1_000 },
    );
  });

  test('everything is all coins that are worth it, less the fee', () => {
    fc.assert(
      fc.property(amounts, rates, (held, feeRate) => {
        const coins = coinsOf(held);
        const all = orInsufficient(() => selectAll({ ...shape, coins, feeRate }));
        const worth = coins.filter(({ amount }) => amount > feeOf(shape.inputWeight, feeRate));
        if (all === null) return;
        assert.equal(all.coins.length, worth.length);
        assert.equal(
          all.amount + all.fee,
          worth.reduce((sum, { amount }) => sum + amount, 0n),
        );
      }),
      { numRuns: 300 },
    );
  });

  test('a payment that fits coins exactly makes no change', () => {
    const coins = coinsOf([50_000n, 30_000n, 20_000n, 7_000n]);
    const fee = feeOf(frameWeight(2, 1) + shape.outputsWeight + 2 * shape.inputWeight, 1);
    const { change, coins: chosen } = selectCoins({ ...shape, coins, target: 50_000n - fee, feeRate: 1 });
    assert.deepEqual([change, chosen.reduce((sum, { amount }) => sum + amount, 0n)], [0n, 50_000n]);
  });

  test('thousands of coins of one size are searched in bounded time', () => {
    const coins = coinsOf(Array(20_000).fill(1_000n));
    assert.throws(
      () => selectCoins({ ...shape, coins, target: 15_000_000n, feeRate: 1 }),
      (error) => error instanceof ChainError && error.code === 'transaction_too_large',
    );
    assert.ok(selectCoins({ ...shape, coins, target: 500_000n, feeRate: 1 }).coins.length < 1_000);
  });
});

for (const script of ['p2wpkh', 'p2tr', 'p2wsh'] as const) {
  test(`${script}: what is weighed before signing is what is signed, give or take the length of signatures`, () => {
    const account = accounts[script];
    const codec = bitcoinCodec(regtest);
    const coins = Array.from({ length: 12 }, (_, index) => {
      const output = account.derive({ change: 0, index });
      const previous = formatTransaction({
        version: 2,
        lockTime: 0,
        inputs: [{ txid: '11'.repeat(32), vout: index, sequence: 0, scriptSig: new Uint8Array([1, 1]), witness: [] }],
        outputs: [{ amount: 50_000n, script: output.script }],
      });
      const id = Transaction.fromRaw(previous, { allowUnknownInputs: true }).id;
      return { id: `${id}:0`, txid: id, vout: 0, amount: 50_000n, output, previous };
    });
    const to = accounts.p2tr.derive({ change: 0, index: 99 });
    const feeRate = 7;
    const [batch] = planSweep({ from: account, coins, destination: () => to.address, feeRate }).batches;
    const unsigned = assemblePsbt(account, coins, [{ amount: batch!.amount, script: to.script, own: null }]);
    const signed = holders
      .slice(0, account.threshold)
      .reduce((psbt, holder) => codec.attach(psbt, holder.sign(codec.digests(psbt))), unsigned);
    const { weight, vsize } = Transaction.fromRaw(codec.final(signed), { allowUnknownInputs: true });
    const weighed = frameWeight(12, 1) + 12 * inputWeight(account) + outputWeight(to.script);
    assert.ok(weight <= weighed && weight >= weighed - 12 * 2 * account.threshold, `${weight} of ${weighed}`);
    assert.ok(Number(batch!.fee) / vsize >= feeRate);
    assert.ok(Number(batch!.fee) / vsize < feeRate * 1.02);
  });
}

test('a sweep of five thousand coins stays under what nodes relay, in every batch', () => {
  for (const account of Object.values(accounts)) {
    const coins = coinsOf(Array(5_000).fill(20_000n));
    const to = accounts.p2wsh.derive({ change: 0, index: 0 });
    const plan = planSweep({ from: account, coins, destination: () => to.address, feeRate: 3 });
    assert.equal(
      plan.batches.reduce((sum, batch) => sum + batch.coins.length, 0),
      5_000,
    );
    for (const { coins: spent } of plan.batches) {
      const weight = frameWeight(spent.length, 1) + spent.length * inputWeight(account) + outputWeight(to.script);
      assert.ok(weight <= TRANSACTION_WEIGHT_MAX);
    }
    assert.equal(plan.amount + plan.fee, 5_000n * 20_000n);
  }
});

function orInsufficient<T>(select: () => T): T | null {
  try {
    return select();
  } catch (error) {
    assert.ok(error instanceof ChainError && error.code === 'insufficient_funds', String(error));
    return null;
  }
}
