/** Solana on its real engine: the conformance suite, tokens, expiry and rebuilding, and a second signature of one message. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type SolanaDevnet, startSolana } from '@kedge/devnet';
import { ed25519 } from '@noble/curves/ed25519.js';
import { chainCases, type TestHolder } from '../chain.conformance.ts';
import { type Chain, ChainError } from '../chain.ts';
import { createSpends, memoryReservations, type Reservations } from '../spends.ts';
import { assertCodeLater } from '../testing/refusals.ts';
import { budgetInstruction, compile, transferInstruction } from './instructions.ts';
import { TOKEN_ACCOUNT_DEPOSIT } from './intent.ts';
import { createSolanaNode } from './node.ts';
import { createSolana } from './solana.ts';
import { associatedTokenAccount } from './tokens.ts';
import { encodeMessage } from './wire.ts';

const SOL = 10n ** 9n;
const RENT = 890_880n;

describe('on the engine', () => {
  let devnet: SolanaDevnet;
  let solana: Chain;

  before(async () => {
    devnet = await startSolana();
    solana = createSolana({ urls: [devnet.rpcUrl], genesisHash: devnet.genesisHash });
  });
  after(() => devnet.stop());

  for (const { title, run } of chainCases) {
    test(title, () =>
      run({
        chain: solana,
        amount: SOL,
        checksum: false,
        newHolder: holder,
        fund: devnet.fund,
        mine: devnet.mine,
        reorg: null,
        withoutBlocks: null,
      }),
    );
  }

  describe('SPL tokens', () => {
    test('a transfer to a wallet that has none makes its account, says so, and shows the wallet as receiver', async () => {
      const { from, mint, of } = await tokenHolder(5_000_000n);
      const to = accountOf(holder());
      const unsigned = await solana.build({ from, to, amount: 2_000_000n, asset: mint });
      const intent = solana.decode(unsigned);
      assert.deepEqual(intent.outputs, [{ to, amount: 2_000_000n, asset: mint, change: false }]);
      assert.deepEqual(intent.warnings, ['creates_account']);
      assert.equal(intent.from, from);
      assert.ok(intent.feeMax! > TOKEN_ACCOUNT_DEPOSIT);
      const before = (await solana.balance(from)).confirmed;
      const id = await solana.broadcast(sign(solana, unsigned, of));
      await devnet.mine(1);
      assert.equal((await solana.track(id)).status, 'confirming');
      assert.equal((await solana.balance(to, mint)).confirmed, 2_000_000n);
      assert.equal((await solana.balance(from, mint)).confirmed, 3_000_000n);
      assert.equal(before - (await solana.balance(from)).confirmed, intent.feeMax);
    });

    test('a transfer to a wallet that has some still proves whose they are, without a deposit', async () => {
      const { from, mint, of } = await tokenHolder(5n);
      const to = accountOf(holder());
      await devnet.fundToken(mint, to, 1n);
      const unsigned = await solana.build({ from, to, amount: 'all', asset: mint });
      const intent = solana.decode(unsigned);
      assert.deepEqual(intent.outputs, [{ to, amount: 5n, asset: mint, change: false }]);
      assert.deepEqual(intent.warnings, []);
      assert.ok(intent.feeMax! < 10_000n);
      await solana.broadcast(sign(solana, unsigned, of));
      assert.equal((await solana.balance(to, mint)).confirmed, 6n);
      assert.equal((await solana.balance(from, mint)).confirmed, 0n);
      await assertCodeLater('insufficient_funds', solana.build({ from, to, amount: 'all', asset: mint }));
    });

    test('every address of a receiver costs the units that are planned for it', async () => {
      const { from, mint, of } = await tokenHolder(100n);
      // The more candidates there are before the account's address, the more the program hashes.
      const attempts = new Set<number>();
      for (let i = 0; i < 12 || attempts.size === 1; i++) {
        const to = accountOf(holder());
        attempts.add(associatedTokenAccount(to, mint).attempts);
        const unsigned = await solana.build({ from, to, amount: 1n, asset: mint });
        const id = await solana.broadcast(sign(solana, unsigned, of));
        assert.equal((await solana.track(id)).status, 'confirming');
      }
    });

    test('attack: a token account, a mint or a program as receiver is refused by name', async () => {
      const { from, mint } = await tokenHolder(5n);
      const account = associatedTokenAccount(from, mint).address;
      for (const to of [account, mint]) {
        await assertCodeLater('address_invalid', solana.build({ from, to, amount: 1n, asset: mint }));
        await assertCodeLater('address_invalid', solana.build({ from, to, amount: SOL }));
      }
      await assertCodeLater('address_invalid', solana.build({ from, to: from, amount: 1n, asset: from }));
      const program = 'TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA';
      await assertCodeLater('address_invalid', solana.build({ from, to: program, amount: SOL }));
    });

    test('more tokens than there are, or no SOL for the fee, is told before anybody signs', async () => {
      const { from, mint } = await tokenHolder(5n);
      const to = accountOf(holder());
      await assertCodeLater('insufficient_funds', solana.build({ from, to, amount: 6n, asset: mint }));
      await assertCodeLater('amount_too_small', solana.build({ from, to, amount: 0n, asset: mint }));
      const poor = accountOf(holder());
      await devnet.fundToken(mint, poor, 5n);
      await assertCodeLater('insufficient_funds', solana.build({ from: poor, to, amount: 5n, asset: mint }));
    });
  });

  describe('the least that an account keeps', () => {
    test('a new receiver under it is refused with the amount that would do', async () => {
      const from = await funded(holder());
      const to = accountOf(holder());
      await assert.rejects(solana.build({ from, to, amount: RENT - 1n }), (error) => {
        assert.ok(error instanceof ChainError && error.code === 'amount_too_small');
        assert.match(error.message, /Send at least 890880\./);
        return true;
      });
      await solana.build({ from, to, amount: RENT });
    });

    test('a sender that would keep too little is refused, and may keep nothing or enough', async () => {
      const of = holder();
      const from = await funded(of);
      const to = accountOf(holder());
      const fee = (await solana.estimateFee({ from, to, amount: SOL })).recommended;
      await assertCodeLater('insufficient_funds', solana.build({ from, to, amount: 2n * SOL - fee - 1n }));
      await assertCodeLater('insufficient_funds', solana.build({ from, to, amount: 2n * SOL - fee - RENT + 1n }));
      await solana.build({ from, to, amount: 2n * SOL - fee });
      const unsigned = await solana.build({ from, to, amount: 2n * SOL - fee - RENT });
      await solana.broadcast(sign(solana, unsigned, of));
      assert.equal((await solana.balance(from)).confirmed, RENT);
    });
  });

  describe('a transaction whose minute is over', () => {
    test('is told as expired, built again, and makes exactly one spend', async () => {
      const of = holder();
      const from = await funded(of);
      const to = accountOf(holder());
      const late = sign(solana, await solana.build({ from, to, amount: SOL }), of);
      const id = solana.transactionId(late);
      assert.deepEqual(await solana.track(id, late), { status: 'unknown' });
      await assertCodeLater('not_replaceable', solana.replace(late, { from, kind: 'speed_up' }));
      await devnet.mine(151);
      assert.deepEqual(await solana.track(id, late), { status: 'expired' });
      const again = sign(solana, await solana.replace(late, { from, kind: 'speed_up' }), of);
      await assertCodeLater('rejected', solana.broadcast(late));
      await solana.broadcast(again);
      await assertCodeLater('rejected', solana.broadcast(late));
      await devnet.mine(200);
      assert.equal((await solana.balance(to)).confirmed, SOL);
      assert.equal((await solana.track(solana.transactionId(again), again)).status, 'confirming');
      await assertCodeLater('not_replaceable', solana.replace(again, { from, kind: 'speed_up' }));
    });

    test('keeps the receiver, the amount and the token', async () => {
      const { from, mint, of } = await tokenHolder(9n);
      const to = accountOf(holder());
      const late = sign(solana, await solana.build({ from, to, amount: 4n, asset: mint }), of);
      await devnet.expireBlockhashes();
      // Somebody else makes the account in the meantime: the new bytes needn't.
      await devnet.mine(151);
      await devnet.fundToken(mint, to, 1n);
      const again = await solana.replace(late, { from, kind: 'speed_up' });
      assert.deepEqual(solana.decode(again).outputs, solana.decode(late).outputs);
      await solana.broadcast(sign(solana, again, of));
      assert.equal((await solana.balance(to, mint)).confirmed, 5n);
    });

    test("is not another wallet's to build again, and can't be cancelled", async () => {
      const of = holder();
      const from = await funded(of);
      const late = sign(solana, await solana.build({ from, to: accountOf(holder()), amount: SOL }), of);
      await devnet.mine(151);
      await assertCodeLater('not_replaceable', solana.replace(late, { from: accountOf(holder()), kind: 'speed_up' }));
      await assertCodeLater('not_replaceable', solana.replace(late, { from, kind: 'cancel' }));
    });

    test('by a gateway that has started again since, is still found expired', async () => {
      const of = holder();
      const from = await funded(of);
      const late = sign(solana, await solana.build({ from, to: accountOf(holder()), amount: SOL }), of);
      const restarted = createSolana({ urls: [devnet.rpcUrl], genesisHash: devnet.genesisHash });
      await assertCodeLater('not_replaceable', restarted.replace(late, { from, kind: 'speed_up' }));
      // It doesn't know the height of that blockhash, so it waits until no node can be before it.
      await devnet.mine(512);
      await restarted.replace(late, { from, kind: 'speed_up' });
    });
  });

  describe('attack: one message, two signatures', () => {
    test('the second one spends nothing and is told as such', async () => {
      const secretKey = ed25519.utils.randomSecretKey();
      const of = holder(secretKey);
      const from = await funded(of);
      const to = accountOf(holder());
      const unsigned = await solana.build({ from, to, amount: SOL });
      const [digest] = solana.digests(unsigned);
      const signed = (signature: Uint8Array) =>
        solana.attach(unsigned, [{ input: 0, publicKey: of.publicKey, signature }]);
      const [one, two] = [0, 1].map(() => signed(signRandomly(digest!.digest, secretKey)));
      assert.notEqual(solana.transactionId(one!), solana.transactionId(two!));
      await solana.broadcast(one!);
      await assert.rejects(solana.broadcast(two!), (error) => {
        assert.ok(error instanceof ChainError && error.code === 'rejected');
        assert.match(error.message, /under another signature/);
        return true;
      });
      await solana.broadcast(one!);
      assert.equal((await solana.balance(to)).confirmed, SOL);
    });

    test('a holder that signs anew after a crash makes one spend', async () => {
      const secretKey = ed25519.utils.randomSecretKey();
      const of = holder(secretKey);
      const from = await funded(of);
      const to = accountOf(holder());
      const durable = memoryReservations(() => 0);
      const options = { chain: solana, nowMs: () => 0, holdMs: null };
      const randomly = async () => {
        const plan = await durable.find(solana.network, 'one');
        const signature = signRandomly(plan!.unsigned, secretKey);
        return [{ input: 0, publicKey: of.publicKey, signature }];
      };
      // The first process sends and dies before it notes what it sent.
      const forgetful: Reservations = { ...durable, sign: async (_network, _id, { final }) => final };
      const transfer = { from, to, amount: SOL };
      await createSpends({ ...options, reservations: forgetful }).send('one', transfer, randomly);
      await assertCodeLater(
        'rejected',
        createSpends({ ...options, reservations: durable }).send('one', transfer, randomly),
      );
      assert.equal((await solana.balance(to)).confirmed, SOL);
    });
  });

  test('attack: a price for compute units that no limit bounds costs no more than is shown', async () => {
    const of = holder();
    const from = await funded(of);
    const node = createSolanaNode({ urls: [devnet.rpcUrl] }, devnet.genesisHash);
    const memo = { program: 'MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr', accounts: [], data: Uint8Array.of(65) };
    const price = budgetInstruction('unit_price', 10n ** 9n);
    const rest = budgetInstruction('data_limit', 1n << 20n);
    const transfer = transferInstruction(from, accountOf(holder()), SOL / 10n);
    for (const instructions of [[price], [price, rest], [price, rest, memo], [price, rest, transfer]]) {
      const { blockhash } = await node.recentBlockhash();
      const unsigned = encodeMessage(compile(from, blockhash, instructions));
      const { feeMax, outputs } = solana.decode(unsigned, from);
      const before = (await solana.balance(from)).confirmed;
      await solana.broadcast(sign(solana, unsigned, of));
      const taken =
        before - (await solana.balance(from)).confirmed - outputs.reduce((sum, { amount }) => sum + amount, 0n);
      assert.ok(taken > 5_000n && taken <= feeMax!, `${taken} taken, ${feeMax} shown`);
    }
  });

  test('a transaction that fails in its block is told as failed, with what the node says of it', async () => {
    const of = holder();
    const from = await funded(of);
    const unsigned = await solana.build({ from, to: accountOf(holder()), amount: SOL });
    const empty = sign(solana, await solana.build({ from, to: accountOf(holder()), amount: 'all' }), of);
    const final = sign(solana, unsigned, of);
    // Its funds go before it comes, and somebody sends it without asking first.
    const half = sign(solana, await solana.build({ from, to: accountOf(holder()), amount: (3n * SOL) / 2n }), of);
    await solana.broadcast(half);
    await assertCodeLater('insufficient_funds', solana.broadcast(final));
    await assertCodeLater('insufficient_funds', solana.broadcast(empty));
    await rpc(devnet, 'sendTransaction', [
      Buffer.from(final).toString('base64'),
      { encoding: 'base64', skipPreflight: true },
    ]);
    const state = await solana.track(solana.transactionId(final), final);
    assert.equal(state.status, 'failed');
    assert.deepEqual(state.status === 'failed' && state.receipt.err, { InstructionError: [3, { Custom: 1 }] });
  });

  test('two transfers that say the same are two transactions', async () => {
    const from = await funded(holder());
    const transfer = { from, to: accountOf(holder()), amount: SOL };
    const [one, two] = await Promise.all([solana.build(transfer), solana.build(transfer)]);
    assert.notDeepEqual(one, two);
    assert.notDeepEqual(solana.resources(one), solana.resources(two));
    assert.deepEqual(solana.decode(one), solana.decode(two));
  });

  test('even a source of randomness that repeats itself never gives two spends one message', async () => {
    const from = await funded(holder());
    let calls = 0;
    const repeating = createSolana({
      urls: [devnet.rpcUrl],
      genesisHash: devnet.genesisHash,
      random: () => Uint8Array.of(0, Math.floor(calls++ / 3)),
    });
    const transfer = { from, to: accountOf(holder()), amount: SOL };
    const first = await repeating.build(transfer);
    const second = await repeating.build({ ...transfer, avoid: new Set(repeating.resources(first)) });
    assert.notDeepEqual(first, second);
  });

  async function funded(of: TestHolder): Promise<string> {
    const account = accountOf(of);
    await devnet.fund(account, 2n * SOL);
    return account;
  }

  async function tokenHolder(amount: bigint): Promise<{ from: string; mint: string; of: TestHolder }> {
    const of = holder();
    const from = await funded(of);
    const mint = await devnet.createMint(6);
    await devnet.fundToken(mint, from, amount);
    return { from, mint, of };
  }

  function accountOf({ publicKey }: TestHolder): string {
    return solana.account(publicKey);
  }
});

function holder(secretKey = ed25519.utils.randomSecretKey()): TestHolder {
  const publicKey = ed25519.getPublicKey(secretKey);
  return {
    publicKey,
    sign: (digests) =>
      digests.map(({ input, digest }) => ({ input, publicKey, signature: ed25519.sign(digest, secretKey) })),
  };
}

function sign(chain: Chain, unsigned: Uint8Array, of: TestHolder): Uint8Array {
  return chain.final(chain.attach(unsigned, of.sign(chain.digests(unsigned))));
}

/** As threshold signers do it: a valid signature with a random nonce, another one each time. */
function signRandomly(message: Uint8Array, secretKey: Uint8Array): Uint8Array {
  const { scalar, pointBytes } = ed25519.utils.getExtendedPublicKey(secretKey);
  const order = ed25519.Point.Fn.ORDER;
  const number = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  const nonce = (number(ed25519.utils.randomSecretKey()) % (order - 1n)) + 1n;
  const commitment = ed25519.Point.BASE.multiply(nonce).toBytes();
  const challenge = number(createHash('sha512').update(commitment).update(pointBytes).update(message).digest());
  const response = (nonce + challenge * scalar) % order;
  return new Uint8Array([...commitment, ...Buffer.from(response.toString(16).padStart(64, '0'), 'hex').reverse()]);
}

async function rpc(devnet: SolanaDevnet, method: string, params: unknown[]): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const headers = { 'content-type': 'application/json' };
  const answer = (await (await fetch(devnet.rpcUrl, { method: 'POST', headers, body })).json()) as { result?: unknown };
  assert.notEqual(answer.result, undefined, JSON.stringify(answer));
  return answer.result;
}
