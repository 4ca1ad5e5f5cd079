/** Transactions on a real local chain: built, signed by ethers, broadcast once, and followed to the end. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createEvm, type Evm } from '@kedge/chains';
import { bytesToHex, hexToBytes, type ResponseOf } from '@kedge/core';
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
  let gateway: TestGateway;
  let user: TestUser;
  let wallet: ResponseOf<'getWallet'>;
  before(async () => {
    devnet = await startEvm();
    chain = createEvm({
      ...devnet,
      fetch: (...request) => (isAway ? Promise.reject(new TypeError('away')) : fetch(...request)),
    });
    gateway = await createTestGateway({ chain });
    user = await createTestUser(gateway, await createTestProject(gateway));
    wallet = await user.createWallet(await user.createVault());
    await devnet.fund(wallet.address, 10n * ETHER);
  });
  after(async () => {
    await gateway.close();
    await devnet.stop();
  });

  const on = () => ({ as: user.session, params: { wallet_id: wallet.id } });
  const signed = async (key: Uint8Array, publicKey: Uint8Array): Promise<string> => {
    const { unsigned_tx } = await gateway.get('createTransfer', { ...on(), body: { to: somebody, amount: '1000' } });
    const unsigned = hexToBytes(unsigned_tx.slice(2));
    const signatures = chain.digests(unsigned).map(({ digest }) => {
      const { r, s, yParity } = new SigningKey(key).sign(digest);
      return { signature: hexToBytes(r.slice(2) + s.slice(2)), recovery: yParity };
    });
    return `0x${bytesToHex(chain.attach(unsigned, signatures, publicKey))}`;
  };
  const signedByWallet = async () => signed(await user.openWallet(wallet.id), hexToBytes(wallet.public_key));
  const statusOf = async (id: string) =>
    (await gateway.get('getTransaction', { as: user.session, params: { transaction_id: id } })).status;

  it('goes from building over signing to confirmed on a real chain', async () => {
    const raw_tx = await signedByWallet();
    const sent = await gateway.get('createTransaction', { ...on(), body: { raw_tx } });
    assert.equal(sent.status, 'broadcasting');
    assert.equal(sent.intent.outputs[0]?.amount, '1000');
    assert.equal(await statusOf(sent.id), 'confirming');
    await devnet.mine(1);
    await gateway.scheduler.run('transactions');
    assert.equal(await statusOf(sent.id), 'completed');
    assert.equal(await chain.balance(somebody), 1000n);
    const types = (await gateway.events()).map(({ type }) => type).filter((type) => type.startsWith('transaction.'));
    assert.deepEqual(types, [
      'transaction.submitted',
      'transaction.broadcast',
      'transaction.included',
      'transaction.confirmed',
    ]);

    const again = await gateway.get('createTransaction', { ...on(), body: { raw_tx } });
    assert.equal(again.id, sent.id);
  });

  it('is kept while the node is away, and sent when it is back', async () => {
    const raw_tx = await signedByWallet();
    isAway = true;
    const kept = await gateway.get('createTransaction', { ...on(), body: { raw_tx } });
    assert.equal(kept.status, 'submitted');
    await gateway.scheduler.run('transactions');
    assert.equal(await statusOf(kept.id), 'submitted');
    isAway = false;
    await gateway.scheduler.run('transactions');
    assert.equal(await statusOf(kept.id), 'confirming');
  });

  it('of another key is refused', async () => {
    const key = new SigningKey(`0x${'11'.repeat(32)}`);
    const raw_tx = await signed(hexToBytes(key.privateKey.slice(2)), hexToBytes(key.compressedPublicKey.slice(2)));
    const other = await gateway.call('createTransaction', { ...on(), body: { raw_tx } });
    assert.deepEqual([other.status, other.code], [400, 'transaction_invalid']);
  });

  it('that nothing can pay for is refused before it is signed', async () => {
    const answer = await gateway.call('createTransfer', {
      ...on(),
      body: { to: somebody, amount: String(11n * ETHER) },
    });
    assert.deepEqual([answer.status, answer.code], [409, 'insufficient_funds']);
  });
});
