/**
 * Bitcoin on a real node: the conformance suite with P2WPKH and with Taproot keys, a 2-of-3 vault from first coin to
 * sweep, coin control, gaps, and an interrupted sweep. Taproot spends are judged by a second interpreter, because the
 * engine of the devnet is older than Taproot.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type BitcoinDevnet, startBitcoin } from '@kedge/devnet';
import { chainCases } from '../chain.conformance.ts';
import { createSpends, memoryReservations } from '../spends.ts';
import { secpHolder, treeHolder } from '../testing/holders.ts';
import { refusalOf } from '../testing/interpreter.ts';
import { assertCode, assertCodeLater } from '../testing/refusals.ts';
import { type Bitcoin, type BitcoinNode, createBitcoin } from './bitcoin.ts';
import { createDescriptor } from './descriptor.ts';
import { createEsplora } from './esplora.ts';
import { bitcoinNetworks } from './networks.ts';
import { parsePsbt } from './psbt.ts';
import { planSweep, previewSweep } from './sweep.ts';
import { formatTransaction } from './transaction.ts';

const { regtest } = bitcoinNetworks;
const BITCOIN = 100_000_000n;

let devnet: BitcoinDevnet;
let node: BitcoinNode;
let bitcoin: Bitcoin;

before(async () => {
  devnet = await startBitcoin();
  node = createEsplora({ network: regtest, urls: [devnet.esploraUrl] });
  bitcoin = createBitcoin({ network: regtest, node });
});
after(() => devnet.stop());

for (const singleKeyScript of ['p2wpkh', 'p2tr'] as const) {
  describe(`conformance, with one key of ${singleKeyScript}`, () => {
    for (const { title, run } of chainCases) {
      test(title, () =>
        run({
          chain: createBitcoin({ network: regtest, node, singleKeyScript }),
          amount: BITCOIN,
          newHolder: () => secpHolder(),
          fund: (address, amount) => devnet.fund(address, amount),
          mine: devnet.mine,
          reorg: devnet.reorg,
          // Blocks come when they are asked for.
          withoutBlocks: (work) => work(),
        }),
      );
    }
  });
}

/** A 2-of-3 of new keys. */
function newVault() {
  const holders = [1, 2, 3].map(() => treeHolder(crypto.getRandomValues(new Uint8Array(32)), '48h/1h/0h/2h'));
  const account = createDescriptor({ script: 'p2wsh', threshold: 2, keys: holders.map(({ key }) => key) }, regtest);
  const sign = (unsigned: Uint8Array, signers = holders.slice(0, 2)) =>
    signers.reduce((psbt, holder) => bitcoin.attach(psbt, holder.sign(bitcoin.digests(psbt))), unsigned);
  return { account, text: account.text, holders, sign };
}

describe('a vault of 2 of 3', () => {
  test('is funded, spent by two holders, and confirmed', async () => {
    const vault = newVault();
    const payee = newVault();
    await devnet.fund(vault.account.derive({ change: 0, index: 0 }).address, BITCOIN);
    await devnet.fund(vault.account.derive({ change: 0, index: 1 }).address, BITCOIN);
    const to = payee.account.derive({ change: 0, index: 0 }).address;
    const unsigned = await bitcoin.build({ from: vault.text, to, amount: (BITCOIN * 3n) / 2n });
    const intent = bitcoin.decode(unsigned, vault.text);
    assert.equal(intent.from, vault.text);
    assert.deepEqual(
      intent.outputs.map(({ to: address, change }) => [address, change]),
      [
        [vault.account.derive({ change: 1, index: 0 }).address, true],
        [to, false],
      ],
    );
    const final = bitcoin.final(vault.sign(unsigned));
    const id = await bitcoin.broadcast(final);
    await devnet.mine(1);
    assert.equal((await bitcoin.track(id, final)).status, 'confirming');
    assert.equal((await bitcoin.balance(payee.text)).confirmed, (BITCOIN * 3n) / 2n);
    const { coins, confirmed } = await bitcoin.balance(vault.text);
    assert.equal(confirmed, BITCOIN / 2n - intent.feeMax!);
    assert.deepEqual(
      coins.map(({ at }) => at),
      [{ change: 1, index: 0 }],
    );
  });

  test('with one signature is refused by Kedge, and by the node', async () => {
    const vault = newVault();
    await devnet.fund(vault.account.derive({ change: 0, index: 0 }).address, BITCOIN);
    const to = newVault().account.derive({ change: 0, index: 0 }).address;
    const one = vault.sign(await bitcoin.build({ from: vault.text, to, amount: 'all' }), vault.holders.slice(0, 1));
    assertCode('signature_missing', () => bitcoin.final(one));
    // Whoever goes around Kedge with the one signature twice.
    const { tx, inputs } = parsePsbt(one);
    const [{ partialSignatures, witnessScript }] = inputs as [(typeof inputs)[number]];
    const signature = partialSignatures[0]!.signature;
    const forged = formatTransaction({
      ...tx,
      inputs: [{ ...tx.inputs[0]!, witness: [new Uint8Array(), signature, signature, witnessScript!] }],
    });
    await assertCodeLater('rejected', bitcoin.broadcast(forged));
  });

  test('waits for its change: what it got unconfirmed from others it does not spend', async () => {
    const vault = newVault();
    const payer = newVault();
    await devnet.fund(payer.account.derive({ change: 0, index: 0 }).address, BITCOIN);
    const to = vault.account.derive({ change: 0, index: 0 }).address;
    await bitcoin.broadcast(
      bitcoin.final(payer.sign(await bitcoin.build({ from: payer.text, to, amount: BITCOIN / 4n }))),
    );
    const { confirmed, unconfirmed } = await bitcoin.balance(vault.text);
    assert.deepEqual([confirmed, unconfirmed], [0n, BITCOIN / 4n]);
    await assertCodeLater('insufficient_funds', bitcoin.build({ from: vault.text, to, amount: BITCOIN / 8n }));
    // The payer's own change may be spent at once.
    const again = await bitcoin.build({ from: payer.text, to, amount: BITCOIN / 4n });
    await bitcoin.broadcast(bitcoin.final(payer.sign(again)));
    await devnet.mine(1);
    assert.equal((await bitcoin.balance(vault.text)).confirmed, BITCOIN / 2n);
  });
});

test('coin control spends the chosen coins and no others, and names the one that is not there', async () => {
  const vault = newVault();
  for (const index of [0, 1, 2]) await devnet.fund(vault.account.derive({ change: 0, index }).address, BITCOIN);
  const { coins } = await bitcoin.balance(vault.text);
  const [one, two] = coins.map(({ id }) => id) as [string, string];
  const to = newVault().account.derive({ change: 0, index: 0 }).address;
  const unsigned = await bitcoin.build({ from: vault.text, to, amount: 1_000_000n, coins: [one, two] });
  assert.deepEqual([...bitcoin.resources(unsigned)].sort(), [one, two].sort());
  await assertCodeLater(
    'insufficient_funds',
    bitcoin.build({ from: vault.text, to, amount: 1_000_000n, coins: [one], avoid: new Set([one]) }),
  );
  await assertCodeLater(
    'insufficient_funds',
    bitcoin.build({ from: vault.text, to, amount: 1_000_000n, coins: [`${'00'.repeat(32)}:0`] }),
  );
});

test('coins beyond a hole larger than the gap limit are found when a snapshot knows of them', async () => {
  const vault = newVault();
  await devnet.fund(vault.account.derive({ change: 0, index: 57 }).address, BITCOIN);
  assert.equal((await bitcoin.scan(vault.text)).confirmed, 0n);
  const knowing = createBitcoin({ network: regtest, node, known: [57, 3] });
  const { confirmed, next } = await knowing.scan(vault.text);
  assert.deepEqual([confirmed, next], [BITCOIN, [58, 0]]);
  // Once one is found, those after it are.
  await devnet.fund(vault.account.derive({ change: 0, index: 70 }).address, BITCOIN);
  assert.deepEqual((await knowing.scan(vault.text)).next, [71, 0]);
});

test('amounts and rates that no node relays are refused before anything is signed', async () => {
  const vault = newVault();
  await devnet.fund(vault.account.derive({ change: 0, index: 0 }).address, BITCOIN);
  const from = vault.text;
  const to = newVault().account.derive({ change: 0, index: 0 }).address;
  await assertCodeLater('amount_too_small', bitcoin.build({ from, to, amount: 329n }));
  await assertCodeLater('amount_too_small', bitcoin.build({ from, to, amount: 0n }));
  await assertCodeLater('transaction_invalid', bitcoin.build({ from, to, amount: 1_000n, feeRate: 0.5 }));
  await assertCodeLater('fee_too_high', bitcoin.build({ from, to, amount: 1_000n, feeRate: 1_000_000 }));
  await assertCodeLater('transaction_invalid', bitcoin.build({ from, to, amount: 1_000n, asset: 'token' }));
  await assertCodeLater(
    'address_invalid',
    bitcoin.build({ from, to: 'bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4', amount: 1n }),
  );
});

test('a Taproot key spends, and the interpreter of another author takes it', async () => {
  const taproot = createBitcoin({ network: regtest, node, singleKeyScript: 'p2tr' });
  const holder = secpHolder();
  const from = taproot.account(holder.publicKey);
  await devnet.fund(taproot.address(from), BITCOIN);
  const unsigned = await taproot.build({ from, to: taproot.address(from), amount: 'all' });
  const final = taproot.final(taproot.attach(unsigned, holder.sign(taproot.digests(unsigned))));
  const spent = parsePsbt(unsigned).inputs.map(({ witnessUtxo }) => witnessUtxo!);
  assert.equal(refusalOf(final, spent), null);
  const changed = final.slice();
  changed[changed.length - 10]! ^= 1; // in the signature
  assert.match(refusalOf(changed, spent) ?? '', /input 0/);
});

describe('a sweep', () => {
  test('moves every coin in batches, lists dust, and goes on after an interruption', async () => {
    const [old, fresh] = [newVault(), newVault()];
    await devnet.fund(old.account.derive({ change: 0, index: 0 }).address, 100_000n, 30);
    await devnet.fund(old.account.derive({ change: 0, index: 4 }).address, 200_000n, 20);
    await devnet.fund(old.account.derive({ change: 1, index: 1 }).address, 400n, 3);
    const destination = (batch: number) => fresh.account.derive({ change: 0, index: batch }).address;
    const task = async () => ({
      from: old.account,
      coins: (await bitcoin.balance(old.text)).coins,
      destination,
      inputsPerBatch: 20,
    });

    const preview = previewSweep(await task(), { slow: 1, recommended: 10, fast: 100 });
    assert.ok(preview.slow!.fee < preview.recommended!.fee && preview.recommended!.fee < preview.fast!.fee);
    // At a rate at which every coin costs more than it holds there is no plan.
    assert.equal(previewSweep(await task(), { slow: 1, recommended: 2, fast: 2_000 }).fast, null);

    const plan = planSweep({ ...(await task()), feeRate: 10 });
    assert.deepEqual(
      plan.batches.map(({ coins }) => coins.length),
      [20, 20, 10],
    );
    assert.equal(plan.dust.length, 3);
    assert.deepEqual(planSweep({ ...(await task()), feeRate: 10 }), plan);

    const spends = createSpends({
      chain: bitcoin,
      reservations: memoryReservations(() => 0),
      nowMs: () => 0,
      holdMs: null,
    });
    const sendBatch = ({ coins, to, fee }: (typeof plan.batches)[number], number: number) => {
      const transfer = {
        from: old.text,
        to,
        amount: 'all',
        coins: coins.map(({ id }) => id),
        feeRate: 10,
        feeMax: fee,
      } as const;
      return spends.send(`sweep ${number}`, transfer, async (digests) =>
        old.holders.slice(0, 2).flatMap((holder) => holder.sign(digests)),
      );
    };
    await sendBatch(plan.batches[0]!, 0);
    // The process dies here; the next one sends all batches again under their ids, and then looks what is left.
    for (const [number, batch] of plan.batches.entries()) await sendBatch(batch, number);
    await devnet.mine(1);
    assert.equal((await bitcoin.balance(fresh.text)).confirmed, plan.amount);
    const left = (await bitcoin.balance(old.text)).coins;
    assert.deepEqual(left.map(({ id }) => id).sort(), plan.dust.map(({ id }) => id).sort());
    await assertCodeLater('insufficient_funds', (async () => planSweep({ ...(await task()), feeRate: 10 }))());
  });
});
