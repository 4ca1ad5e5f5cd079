/** EVM on a real engine: the conformance suite, tokens, nonces, replacements and reorgs, as anvil decides them. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type EvmDevnet, startEvm } from '@kedge/devnet';
import { Transaction } from 'ethers';
import { chainCases, type TestHolder } from '../chain.conformance.ts';
import { isReorg, type Transfer } from '../chain.ts';
import { createSpends, memoryReservations } from '../spends.ts';
import { anvil } from '../testing/json-rpc-node.ts';
import { assertCode, assertCodeLater } from '../testing/refusals.ts';
import { createEvm, type Evm } from './evm.ts';
import { newHolder, signWith, toHex } from './testing/holder.ts';

const ETHER = 10n ** 18n;

let devnet: EvmDevnet;
let evm: Evm;
before(async () => {
  devnet = await startEvm();
  evm = createEvm({ urls: [devnet.rpcUrl], chainId: devnet.chainId });
});
after(() => devnet.stop());

/** A funded account. */
async function rich(amount = 5n * ETHER): Promise<{ holder: TestHolder; from: string }> {
  const holder = newHolder();
  const from = evm.account(holder.publicKey);
  await devnet.fund(from, amount);
  return { holder, from };
}

const somebody = (): string => evm.account(newHolder().publicKey);
const sign = (unsigned: Uint8Array, holder: TestHolder): Uint8Array => signWith(evm, unsigned, holder);
const held = async (account: string, asset?: string) => (await evm.balance(account, asset)).confirmed;
const statusOf = async (final: Uint8Array) => (await evm.track(evm.transactionId(final), final)).status;

for (const legacy of [false, true]) {
  describe(legacy ? 'by legacy transactions' : 'by EIP-1559 transactions', () => {
    for (const { title, run } of chainCases) {
      test(title, () =>
        // Blocks come when the case asks for them, and not with every transaction.
        devnet.withoutBlocks(() =>
          run({
            chain: createEvm({ urls: [devnet.rpcUrl], chainId: devnet.chainId, legacy }),
            amount: ETHER,
            newHolder,
            async fund(address, amount) {
              await devnet.fund(address, amount);
              await devnet.mine(1); // a reorg takes back what stands in no block
            },
            mine: devnet.mine,
            reorg: devnet.reorg,
            withoutBlocks: (work) => work(),
          }),
        ),
      );
    }
  });
}

describe('a token', () => {
  let token: string;
  before(async () => {
    token = evm.parseAddress(await devnet.createToken());
  });

  test('is funded, sent and confirmed, and the fee is paid in the coin of the chain', async () => {
    const { holder, from } = await rich();
    const to = somebody();
    await devnet.fundToken(token, from, 1_000n);
    const transfer: Transfer = { from, to, amount: 400n, asset: token.toLowerCase() };
    const estimate = await evm.estimateFee(transfer);
    const unsigned = await evm.build(transfer);
    const intent = evm.decode(unsigned, from);
    assert.deepEqual(intent.outputs, [{ to, amount: 400n, asset: token, change: false }]);
    assert.deepEqual(intent.warnings, []);
    assert.equal(intent.feeMax, estimate.recommended);
    const final = sign(unsigned, holder);
    await evm.broadcast(final);
    assert.equal(await statusOf(final), 'confirming');
    assert.deepEqual([await held(from, token), await held(to, token)], [600n, 400n]);
    assert.ok((await held(from)) < 5n * ETHER);
  });

  test('is sent to the last unit when all is asked for', async () => {
    const { holder, from } = await rich();
    const to = somebody();
    await devnet.fundToken(token, from, 77n);
    const transfer: Transfer = { from, to, amount: 'all', asset: token };
    await evm.broadcast(sign(await evm.build(transfer), holder));
    assert.deepEqual([await held(from, token), await held(to, token)], [0n, 77n]);
    await assertCodeLater('insufficient_funds', evm.build(transfer));
  });

  test('that the wallet has too little of is not sent, nor without coins for the fee', async () => {
    const { from } = await rich();
    await devnet.fundToken(token, from, 10n);
    await assertCodeLater('insufficient_funds', evm.build({ from, to: somebody(), amount: 11n, asset: token }));
    const poor = somebody();
    await devnet.fundToken(token, poor, 10n);
    await assertCodeLater('insufficient_funds', evm.build({ from: poor, to: somebody(), amount: 1n, asset: token }));
  });

  test('that is none is named before anything is built', async () => {
    const { from } = await rich();
    const nothing = somebody();
    await assertCodeLater('address_invalid', evm.balance(from, nothing));
    await assertCodeLater('address_invalid', evm.build({ from, to: somebody(), amount: 1n, asset: nothing }));
    await assertCodeLater('address_invalid', evm.build({ from, to: somebody(), amount: 1n, asset: 'DEV' }));
  });

  test('on its way shows as unconfirmed, here and there', async () => {
    const { holder, from } = await rich();
    const to = somebody();
    await devnet.fundToken(token, from, 50n);
    await devnet.withoutBlocks(async () => {
      await evm.broadcast(sign(await evm.build({ from, to, amount: 20n, asset: token }), holder));
      assert.deepEqual(await evm.balance(from, token), { confirmed: 50n, unconfirmed: -20n, coins: [] });
      assert.deepEqual(await evm.balance(to, token), { confirmed: 0n, unconfirmed: 20n, coins: [] });
      // What is on its way can't be sent a second time.
      await assertCodeLater('insufficient_funds', evm.build({ from, to, amount: 31n, asset: token }));
      await devnet.mine(1);
    });
    assert.deepEqual(await evm.balance(to, token), { confirmed: 20n, unconfirmed: 0n, coins: [] });
  });
});

describe('nonces', () => {
  test('a transaction in the pool keeps its nonce, and the next one counts on from it', async () => {
    const { holder, from } = await rich();
    await devnet.withoutBlocks(async () => {
      const sent: Uint8Array[] = [];
      for (const nonce of [0, 1]) {
        const unsigned = await evm.build({ from, to: from, amount: 1n });
        assert.deepEqual(evm.resources(unsigned), [`nonce:${nonce}`]);
        sent.push(sign(unsigned, holder));
        await evm.broadcast(sent[nonce]!);
        assert.equal(await statusOf(sent[nonce]!), 'broadcasting');
        assert.equal(await evm.receipt(evm.transactionId(sent[nonce]!)), null);
      }
      await devnet.mine(1);
      for (const final of sent) assert.equal(await statusOf(final), 'confirming');
    });
  });

  test('a held nonce is left out, and one that was given up is the next to be used', async () => {
    const { holder, from } = await rich();
    const transfer = { from, to: somebody(), amount: 1n };
    const nonceOf = async (...avoid: string[]) => {
      const unsigned = await evm.build({ ...transfer, avoid: new Set(avoid) });
      return [evm.resources(unsigned)[0], sign(unsigned, holder)] as const;
    };
    assert.equal((await nonceOf('nonce:1', 'nonce:7'))[0], 'nonce:0');
    const [name, later] = await nonceOf('nonce:0');
    assert.equal(name, 'nonce:1');
    await evm.broadcast(later);
    await devnet.mine(1);
    assert.equal(await statusOf(later), 'broadcasting');
    // The holder of 0 gave up: whoever comes next fills the gap, and both go through.
    const [filling, final] = await nonceOf();
    assert.equal(filling, 'nonce:0');
    await evm.broadcast(final);
    await devnet.mine(1);
    assert.deepEqual([await statusOf(final), await statusOf(later)], ['confirming', 'confirming']);
  });

  test('a pool that forgot its transactions does not make a nonce free that signed bytes hold', async () => {
    const { holder, from } = await rich();
    const to = somebody();
    const reservations = memoryReservations(() => 0);
    const spends = () => createSpends({ chain: evm, reservations, nowMs: () => 0, holdMs: null });
    const send = (id: string) => spends().send(id, { from, to, amount: 5n }, async (digests) => holder.sign(digests));
    await devnet.withoutBlocks(async () => {
      const first = await send('first');
      await anvil(devnet.rpcUrl, 'anvil_dropTransaction', [first]);
      assert.equal((await evm.track(first)).status, 'unknown');
      const second = await send('second');
      assert.notEqual(second, first);
      // After a restart the same spend brings the same bytes.
      assert.equal(await send('first'), first);
      await devnet.mine(1);
      for (const id of [first, second]) assert.equal((await evm.track(id)).status, 'confirming');
    });
    assert.equal(await held(to), 10n);
  });

  test('a nonce that another transaction used is a rejection, and tells as replaced', async () => {
    const { holder, from } = await rich();
    const [one, other] = [
      sign(await evm.build({ from, to: from, amount: 1n }), holder),
      sign(await evm.build({ from, to: from, amount: 2n }), holder),
    ];
    await evm.broadcast(one);
    await assertCodeLater('rejected', evm.broadcast(other));
    await evm.broadcast(one);
    // Not before it is deep: a node that lags would say the same.
    assert.deepEqual(await evm.track(evm.transactionId(other), other), { status: 'unknown' });
    await devnet.mine(12);
    assert.deepEqual(await evm.track(evm.transactionId(other), other), { status: 'replaced', by: null });
    // Without the bytes nobody can know.
    assert.deepEqual(await evm.track(evm.transactionId(other)), { status: 'unknown' });
    await assertCodeLater('transaction_invalid', evm.track(evm.transactionId(one), other));
  });
});

describe('a replacement', () => {
  test('rises both fees by a tenth at least, and the pool takes it', async () => {
    const { holder, from } = await rich();
    await devnet.withoutBlocks(async () => {
      let final = sign(await evm.build({ from, to: somebody(), amount: 1n, feeLevel: 'fast' }), holder);
      await evm.broadcast(final);
      for (let i = 0; i < 3; i++) {
        const before = Transaction.from(toHex(final));
        final = sign(await evm.replace(final, { from, kind: 'speed_up', feeLevel: 'slow' }), holder);
        const after = Transaction.from(toHex(final));
        assert.equal(after.nonce, before.nonce);
        for (const fee of ['maxFeePerGas', 'maxPriorityFeePerGas'] as const)
          assert.ok(after[fee]! * 10n >= before[fee]! * 11n, `${fee} ${before[fee]} → ${after[fee]}`);
        await evm.broadcast(final);
      }
      await devnet.mine(1);
      assert.equal(await statusOf(final), 'confirming');
    });
  });

  test('costs no more than allowed, is paid for, and is the sender’s own', async () => {
    const { holder, from } = await rich(ETHER);
    const stranger = await rich();
    await devnet.withoutBlocks(async () => {
      const final = sign(await evm.build({ from, to: somebody(), amount: 'all' }), holder);
      await evm.broadcast(final);
      await assertCodeLater('insufficient_funds', evm.replace(final, { from, kind: 'speed_up' }));
      await assertCodeLater('fee_too_high', evm.replace(final, { from, kind: 'cancel', feeMax: 1n }));
      await assertCodeLater('transaction_invalid', evm.replace(final, { from: stranger.from, kind: 'cancel' }));
      const cancelled = await evm.replace(final, { from, kind: 'cancel' });
      assert.deepEqual(evm.decode(cancelled, from).outputs, [{ to: from, amount: 0n, asset: 'native', change: true }]);
      await evm.broadcast(sign(cancelled, holder));
      await devnet.mine(13);
      assert.equal(await statusOf(final), 'replaced');
    });
    assert.ok((await held(from)) > (ETHER * 99n) / 100n);
  });

  test('of a token transfer moves the same tokens, and its cancellation none', async () => {
    const token = await devnet.createToken();
    const { holder, from } = await rich();
    await devnet.fundToken(token, from, 100n);
    const to = somebody();
    for (const [kind, arrived] of [
      ['speed_up', 10n],
      ['cancel', 10n],
    ] as const) {
      await devnet.withoutBlocks(async () => {
        const final = sign(await evm.build({ from, to, amount: 10n, asset: token }), holder);
        await evm.broadcast(final);
        const next = sign(await evm.replace(final, { from, kind }), holder);
        await evm.broadcast(next);
        await devnet.mine(13);
        assert.deepEqual([await statusOf(final), await statusOf(next)], ['replaced', 'confirming']);
      });
      assert.equal(await held(to, token), arrived, kind);
    }
  });
});

describe('a chain without a base fee, or with an option for it', () => {
  test('is sent a legacy transaction that names the chain, can be sped up, and confirms', async () => {
    const legacy = createEvm({ urls: [devnet.rpcUrl], chainId: devnet.chainId, legacy: true });
    const { holder, from } = await rich();
    const to = somebody();
    await devnet.withoutBlocks(async () => {
      const unsigned = await legacy.build({ from, to, amount: 3n });
      const final = signWith(legacy, unsigned, holder);
      const { type, chainId, gasPrice } = Transaction.from(toHex(final));
      assert.deepEqual([type, chainId], [0, 31_337n]);
      await legacy.broadcast(final);
      const faster = signWith(legacy, await legacy.replace(final, { from, kind: 'speed_up' }), holder);
      assert.ok(Transaction.from(toHex(faster)).gasPrice! * 10n >= gasPrice! * 11n);
      await legacy.broadcast(faster);
      await devnet.mine(1);
      assert.equal((await legacy.track(legacy.transactionId(faster), faster)).status, 'confirming');
    });
    assert.equal(await held(to), 3n);
  });
});

test('a receiver that is a contract gets the gas it needs, and one that refuses is named before signing', async () => {
  const { holder, from } = await rich();
  const [busy, refuses] = [`0x${'b1'.repeat(20)}`, `0x${'b2'.repeat(20)}`];
  // PUSH1 1 PUSH0 SSTORE: takes more than 21,000. PUSH0 PUSH0 REVERT.
  await anvil(devnet.rpcUrl, 'anvil_setCode', [busy, '0x60015f55']);
  await anvil(devnet.rpcUrl, 'anvil_setCode', [refuses, '0x5f5ffd']);
  await assertCodeLater('rejected', evm.build({ from, to: refuses, amount: 1n }));
  const final = sign(await evm.build({ from, to: busy, amount: 1n }), holder);
  // The receiver changes its mind between estimate and block: the transaction fails, and says so.
  await anvil(devnet.rpcUrl, 'anvil_setCode', [busy, '0x5f5ffd']);
  const id = await evm.broadcast(final);
  const state = await evm.track(id, final);
  assert.equal(state.status, 'failed');
  assert.deepEqual(await evm.receipt(id), state.status === 'failed' && state.receipt);
});

test('a reorg of six blocks is told at once, and the same bytes confirm again in another block', async () => {
  const { holder, from } = await rich();
  const to = somebody();
  await devnet.mine(1);
  await devnet.withoutBlocks(async () => {
    const final = sign(await evm.build({ from, to, amount: 9n }), holder);
    const id = await evm.broadcast(final);
    await devnet.mine(6);
    const before = await evm.track(id, final);
    assert.equal(before.status === 'confirming' && before.confirmations, 6);
    await devnet.reorg(6);
    const during = await evm.track(id, final);
    assert.ok(isReorg(before, during));
    assert.notEqual(during.status, 'replaced');
    assert.equal(await held(to), 0n);
    await evm.broadcast(final);
    await devnet.mine(1);
    const again = await evm.track(id, final);
    assert.equal(again.status === 'confirming' && again.confirmations, 1);
    assert.ok(isReorg(before, again));
  });
  assert.equal(await held(to), 9n);
});

test('a node of another chain is told apart before anything is asked of it', async () => {
  const mainnet = createEvm({ urls: [devnet.rpcUrl], chainId: 1 });
  await assertCodeLater('wrong_network', mainnet.balance(`0x${'00'.repeat(20)}`));
});

test('the amount of a transfer is one that exists', async () => {
  const { from } = await rich();
  for (const amount of [-1n, 2n ** 256n]) {
    await assertCodeLater('transaction_invalid', evm.build({ from, to: from, amount }));
  }
  assertCode('address_invalid', () => evm.address('native'));
  assert.throws(() => evm.address(from, { change: 0, index: 0 }), RangeError);
});
