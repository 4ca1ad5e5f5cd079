/** Transactions on a real local chain: built, signed by ethers, broadcast once, and followed to the end. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { createEvm, type Evm } from '@kedge/chains';
import { bytesToHex, hexToBytes, MINUTE_MS, type ResponseOf } from '@kedge/core';
import { type EvmDevnet, startEvm } from '@kedge/devnet';
import { SigningKey } from 'ethers';
import {
  createTestGateway,
  createTestProject,
  createTestUser,
  type TestGateway,
  type TestUser,
} from './testing/gateway.ts';

const ETHER = 10n ** 18n;
const somebody = '0x000000000000000000000000000000000000dEaD';

describe('a transaction', () => {
  let devnet: EvmDevnet;
  let chain: Evm;
  let isAway = false;
  /** What the node says to signed bytes; null: what it thinks. */
  let refusal: string | null = null;
  let gateway: TestGateway;
  let user: TestUser;
  let wallet: ResponseOf<'getWallet'>;
  before(async () => {
    devnet = await startEvm();
    chain = createEvm({
      urls: [devnet.rpcUrl],
      chainId: devnet.chainId,
      fetch: async (url, init) => {
        if (isAway) throw new TypeError('away');
        const { id, method } = JSON.parse(String(init?.body)) as { id: number; method: string };
        if (refusal === null || method !== 'eth_sendRawTransaction') return fetch(url, init);
        return Response.json({ jsonrpc: '2.0', id, error: { code: -32_000, message: refusal } });
      },
      wait: async () => {},
    });
    gateway = await createTestGateway({ chain });
    user = await createTestUser(gateway, await createTestProject(gateway));
    wallet = await newWallet();
  });
  after(async () => {
    await gateway.close();
    await devnet.stop();
  });

  const newWallet = async () => {
    const made = await user.createWallet(await user.createVault());
    await devnet.fund(made.address, 10n * ETHER);
    return made;
  };
  const on = (of = wallet) => ({ as: user.session, params: { wallet_id: of.id } });
  const build = (of = wallet, body: object = {}, headers: Record<string, string> = {}) =>
    gateway.get('createTransfer', { ...on(of), body: { to: somebody, amount: '1000', ...body }, headers });
  const signWith = (key: Uint8Array, unsignedTx: string): string => {
    const unsigned = hexToBytes(unsignedTx.slice(2));
    const signer = new SigningKey(key);
    const signatures = chain.digests(unsigned).map(({ input, digest }) => {
      const { r, s } = signer.sign(digest);
      const publicKey = hexToBytes(signer.compressedPublicKey.slice(2));
      return { input, publicKey, signature: hexToBytes(r.slice(2) + s.slice(2)) };
    });
    return `0x${bytesToHex(chain.final(chain.attach(unsigned, signatures)))}`;
  };
  const signed = async (unsignedTx: string, of = wallet) => signWith(await user.openWallet(of.id), unsignedTx);
  const signedByWallet = async () => signed((await build()).unsigned_tx);
  const submit = (rawTx: string, of = wallet) =>
    gateway.get('createTransaction', { ...on(of), body: { raw_tx: rawTx } });
  const statusOf = async (id: string) =>
    (await gateway.get('getTransaction', { as: user.session, params: { transaction_id: id } })).status;
  const nonceOf = (unsignedTx: string) => chain.resources(hexToBytes(unsignedTx.slice(2)))[0];
  const anvil = async (method: string, params: unknown[]) => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    await fetch(devnet.rpcUrl, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  };
  const held = async (address: string, asset?: string) => (await chain.balance(address, asset)).confirmed;

  it('goes from building over signing to confirmed on a real chain', async () => {
    const raw_tx = await signedByWallet();
    const sent = await submit(raw_tx);
    assert.equal(sent.status, 'broadcasting');
    assert.equal(sent.intent.outputs[0]?.amount, '1000');
    assert.equal(await statusOf(sent.id), 'confirming');
    await devnet.mine(1);
    await gateway.scheduler.run('transactions');
    assert.equal(await statusOf(sent.id), 'completed');
    assert.equal(await held(somebody), 1000n);
    const types = (await gateway.events()).map(({ type }) => type).filter((type) => type.startsWith('transaction.'));
    assert.deepEqual(types, [
      'transaction.submitted',
      'transaction.broadcast',
      'transaction.included',
      'transaction.confirmed',
    ]);

    const again = await submit(raw_tx);
    assert.equal(again.id, sent.id);
  });

  it('is kept while the node is away, and sent when it is back', async () => {
    const raw_tx = await signedByWallet();
    isAway = true;
    const kept = await submit(raw_tx);
    assert.equal(kept.status, 'submitted');
    await gateway.scheduler.run('transactions');
    assert.equal(await statusOf(kept.id), 'submitted');
    isAway = false;
    await gateway.scheduler.run('transactions');
    assert.equal(await statusOf(kept.id), 'confirming');
  });

  it('of another key is refused', async () => {
    const raw_tx = signWith(new Uint8Array(32).fill(0x11), (await build()).unsigned_tx);
    const other = await gateway.call('createTransaction', { ...on(), body: { raw_tx } });
    assert.deepEqual([other.status, other.code], [400, 'transaction_invalid']);
  });

  it('that is not signed is refused', async () => {
    const { unsigned_tx: raw_tx } = await build();
    const answer = await gateway.call('createTransaction', { ...on(), body: { raw_tx } });
    assert.deepEqual([answer.status, answer.code], [400, 'transaction_invalid']);
  });

  it('that nothing can pay for is refused before it is signed', async () => {
    const answer = await gateway.call('createTransfer', {
      ...on(),
      body: { to: somebody, amount: String(11n * ETHER) },
    });
    assert.deepEqual([answer.status, answer.code], [409, 'insufficient_funds']);
    const dear = await gateway.call('createTransfer', { ...on(), body: { to: somebody, amount: '1', fee_max: '1' } });
    assert.deepEqual([dear.status, dear.code], [409, 'fee_too_high']);
  });

  it('of a token, or of everything, arrives', async () => {
    const token = await devnet.createToken();
    const asset = chain.parseAddress(token);
    const rich = await newWallet();
    await devnet.fundToken(token, rich.address, 500n);
    const plan = await build(rich, { asset, amount: '200' });
    assert.deepEqual(plan.intent.outputs, [{ to: somebody, amount: '200', asset, change: false }]);
    await submit(await signed(plan.unsigned_tx, rich), rich);
    const balance = await gateway.get('getBalance', { ...on(rich), query: { asset } });
    assert.deepEqual(balance, { amount: '300', unconfirmed: '0', asset });
    const before = await held(somebody);
    await submit(await signed((await build(rich, { amount: 'all' })).unsigned_tx, rich), rich);
    assert.ok((await held(somebody)) > before + 9n * ETHER);
  });

  it('that two devices build at once is two transactions, and both confirm', async () => {
    const shared = await newWallet();
    const plans = await Promise.all([build(shared), build(shared), build(shared)]);
    assert.deepEqual(plans.map((plan) => nonceOf(plan.unsigned_tx)).sort(), ['nonce:0', 'nonce:1', 'nonce:2']);
    // The later nonces first: the node has to wait for the earlier ones.
    const ordered = plans.sort((a, b) => (nonceOf(a.unsigned_tx)! < nonceOf(b.unsigned_tx)! ? 1 : -1));
    const sent = [];
    for (const { unsigned_tx } of ordered) sent.push(await submit(await signed(unsigned_tx, shared), shared));
    await devnet.mine(2);
    await gateway.scheduler.run('transactions');
    for (const { id } of sent) assert.equal(await statusOf(id), 'completed');
  });

  it('built under one Idempotency-Key is one plan, however often it is asked for', async () => {
    const shared = await newWallet();
    const key = { 'idempotency-key': randomUUID() };
    const [first, again] = [await build(shared, {}, key), await build(shared, {}, key)];
    assert.deepEqual([again.id, again.unsigned_tx], [first.id, first.unsigned_tx]);
    assert.equal(nonceOf((await build(shared)).unsigned_tx), 'nonce:1');
  });

  it('that is given up, or not signed for two minutes, leaves its nonce to the next', async () => {
    const shared = await newWallet();
    const plan = await build(shared);
    const give = { as: user.session, params: { wallet_id: shared.id, transfer_id: plan.id } };
    assert.equal((await gateway.call('deleteTransfer', give)).status, 204);
    assert.equal((await gateway.call('deleteTransfer', give)).status, 404);
    const next = await build(shared);
    assert.equal(nonceOf(next.unsigned_tx), 'nonce:0');
    assert.equal(nonceOf((await build(shared)).unsigned_tx), 'nonce:1');
    assert.equal(Date.parse(next.held_until) - gateway.clock.wallMs(), 2 * MINUTE_MS);
    gateway.clock.advance(2 * MINUTE_MS);
    assert.equal(nonceOf((await build(shared)).unsigned_tx), 'nonce:0');
  });

  it('whose signed bytes the pool forgot keeps its nonce, and is not given up', async () => {
    const shared = await newWallet();
    const plan = await build(shared);
    isAway = true;
    await submit(await signed(plan.unsigned_tx, shared), shared);
    isAway = false;
    gateway.clock.advance(10 * MINUTE_MS);
    assert.equal(nonceOf((await build(shared)).unsigned_tx), 'nonce:1');
    const give = { as: user.session, params: { wallet_id: shared.id, transfer_id: plan.id } };
    assert.equal((await gateway.call('deleteTransfer', give)).status, 404);
    await gateway.scheduler.run('transactions');
  });

  it('attack: nobody holds the nonces of a wallet without end', async () => {
    const shared = await newWallet();
    for (let i = 0; i < 16; i++) await build(shared);
    const answer = await gateway.call('createTransfer', { ...on(shared), body: { to: somebody, amount: '1' } });
    assert.deepEqual([answer.status, answer.code], [409, 'transfers_full']);
    gateway.clock.advance(2 * MINUTE_MS);
    assert.equal(nonceOf((await build(shared)).unsigned_tx), 'nonce:0');
  });

  it('attack: not even by asking for many at the same moment', async () => {
    const shared = await newWallet();
    const answers = await Promise.all(
      Array.from({ length: 40 }, () =>
        gateway.call('createTransfer', { ...on(shared), body: { to: somebody, amount: '1' } }),
      ),
    );
    const rows = await gateway.db.query('select 1 from reservations where wallet_id = $1', [shared.id]);
    assert.ok(rows.length <= 16, answers.map(({ status, code }) => `${status} ${code}`).join(', '));
  });

  it('whose place another one took is told as replaced, and its nonce is not held any more', async () => {
    const shared = await newWallet();
    await devnet.withoutBlocks(async () => {
      const slow = await submit(await signed((await build(shared)).unsigned_tx, shared), shared);
      const faster = await chain.replace(hexToBytes(slow.raw_tx.slice(2)), { from: shared.address, kind: 'speed_up' });
      const fast = await submit(await signed(`0x${bytesToHex(faster)}`, shared), shared);
      await devnet.mine(13);
      await gateway.scheduler.run('transactions');
      assert.deepEqual([await statusOf(slow.id), await statusOf(fast.id)], ['replaced', 'completed']);
    });
    const rows = await gateway.db.query('select 1 from reservations where wallet_id = $1', [shared.id]);
    assert.equal(rows.length, 0);
    assert.ok((await gateway.events()).some(({ type }) => type === 'transaction.replaced'));
  });

  it('that was cancelled is not sent again, whatever the pool forgets', async () => {
    const shared = await newWallet();
    const held = await chain.balance(somebody);
    const [paid, cancelled] = await devnet.withoutBlocks(async () => {
      const sent = await submit(await signed((await build(shared)).unsigned_tx, shared), shared);
      const back = await chain.replace(hexToBytes(sent.raw_tx.slice(2)), { from: shared.address, kind: 'cancel' });
      gateway.clock.advance(1);
      const next = await submit(await signed(`0x${bytesToHex(back)}`, shared), shared);
      for (const { tx_hash } of [sent, next]) await anvil('anvil_dropTransaction', [tx_hash]);
      return [sent, next];
    });
    // Blocks are made at once now: whichever is sent first is the one that lands.
    await gateway.scheduler.run('transactions');
    await devnet.mine(13);
    await gateway.scheduler.run('transactions');
    assert.deepEqual([await statusOf(paid.id), await statusOf(cancelled.id)], ['replaced', 'completed']);
    assert.deepEqual(await chain.balance(somebody), held);
  });

  it('that was cancelled while the node was away is never sent', async () => {
    const shared = await newWallet();
    const held = await chain.balance(somebody);
    const plan = await build(shared);
    const raw_tx = await signed(plan.unsigned_tx, shared);
    const back = await chain.replace(hexToBytes(raw_tx.slice(2)), { from: shared.address, kind: 'cancel' });
    const cancel = await signed(`0x${bytesToHex(back)}`, shared);
    isAway = true;
    await submit(raw_tx, shared);
    gateway.clock.advance(1);
    await submit(cancel, shared);
    isAway = false;
    await gateway.scheduler.run('transactions');
    await devnet.mine(13);
    await gateway.scheduler.run('transactions');
    assert.deepEqual(await chain.balance(somebody), held);
  });

  it('that failed in a block that a reorg took back, and succeeded in another, is told as what it is', async () => {
    const shared = await newWallet();
    // A receiver that refuses once it has seen the estimate: PUSH0 PUSH0 REVERT.
    const fickle = `0x${'f1'.repeat(20)}`;
    const setCode = (code: string) => anvil('anvil_setCode', [fickle, code]);
    await devnet.mine(1);
    await devnet.withoutBlocks(async () => {
      const plan = await build(shared, { to: fickle });
      await setCode('0x5f5ffd');
      const raw_tx = await signed(plan.unsigned_tx, shared);
      const sent = await submit(raw_tx, shared);
      await devnet.mine(1);
      assert.equal(await statusOf(sent.id), 'failed');
      await devnet.reorg(1);
      await setCode('0x');
      await chain.broadcast(hexToBytes(raw_tx.slice(2)));
      await devnet.mine(1);
      assert.equal(await statusOf(sent.id), 'confirming');
      await devnet.mine(1);
      await gateway.scheduler.run('transactions');
      assert.equal(await statusOf(sent.id), 'completed');
    });
  });

  it('attack: a node that refuses signed bytes and sends them on later does not make them look unpaid', async () => {
    const shared = await newWallet();
    const raw_tx = await signed((await build(shared)).unsigned_tx, shared);
    refusal = 'nonce too high';
    const refused = await gateway.call('createTransaction', { ...on(shared), body: { raw_tx } });
    assert.deepEqual([refused.status, refused.code], [409, 'transaction_rejected']);
    refusal = null;
    const [stored] = (await gateway.get('listTransactions', { ...on(shared), query: {} })).data;
    assert.equal(stored!.status, 'failed');
    await chain.broadcast(hexToBytes(raw_tx.slice(2)));
    await devnet.mine(2);
    assert.equal(await statusOf(stored!.id), 'completed');
  });

  it('that was refused and is sent again holds its nonce again', async () => {
    const shared = await newWallet();
    const raw_tx = await signed((await build(shared)).unsigned_tx, shared);
    await devnet.withoutBlocks(async () => {
      refusal = 'nonce too high';
      await gateway.call('createTransaction', { ...on(shared), body: { raw_tx } });
      refusal = null;
      const sent = await submit(raw_tx, shared);
      assert.equal(sent.status, 'broadcasting');
      await anvil('anvil_dropTransaction', [sent.tx_hash]);
      assert.equal(nonceOf((await build(shared)).unsigned_tx), 'nonce:1', 'the pool forgot it and the gateway did not');
      await gateway.scheduler.run('transactions');
      await devnet.mine(2);
      assert.equal(await statusOf(sent.id), 'completed');
    });
  });

  it('that a gateway planned before it was restarted is submitted to the one after it, and confirms', async () => {
    const shared = await newWallet();
    const plan = await build(shared);
    const next = await createTestGateway({ chain, db: gateway.db, enclave: gateway.enclave });
    const other = await next.get('createTransfer', { ...on(shared), body: { to: somebody, amount: '7' } });
    assert.equal(nonceOf(other.unsigned_tx), 'nonce:1', 'the plan of the gateway before still holds');
    const sent = [];
    for (const { unsigned_tx } of [plan, other]) {
      const body = { raw_tx: await signed(unsigned_tx, shared) };
      sent.push(await next.get('createTransaction', { ...on(shared), body }));
    }
    await devnet.mine(2);
    await next.scheduler.run('transactions');
    for (const { id } of sent) {
      const { status } = await next.get('getTransaction', { as: user.session, params: { transaction_id: id } });
      assert.equal(status, 'completed');
    }
    await next.close();
  });
});
