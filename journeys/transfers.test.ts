/** The SDK, a gateway and a real chain: what a person sends arrives, and what the device refuses to sign holds up nothing. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createEvm, type Evm } from '@kedge/chains';
import { type EvmDevnet, startEvm } from '@kedge/devnet';
import { type Account, signUp, type Wallet } from '@kedge/sdk';
import { createTestGateway, createTestProject, type TestGateway } from '../packages/server/src/testing/gateway.ts';

const ETHER = 10n ** 18n;
const somebody = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';
let devnet: EvmDevnet;
let chain: Evm;
let gateway: TestGateway;
let account: Account;
before(async () => {
  devnet = await startEvm();
  chain = createEvm({ urls: [devnet.rpcUrl], chainId: devnet.chainId });
  gateway = await createTestGateway({ chain });
  const { publishableKey } = await createTestProject(gateway);
  const inject: typeof globalThis.fetch = async (input, init) => {
    const { pathname, search } = new URL(String(input));
    const response = await gateway.app.inject({
      method: (init?.method ?? 'GET') as 'GET',
      url: pathname + search,
      headers: init?.headers as Record<string, string>,
      ...(init?.body ? { payload: String(init.body) } : {}),
    });
    return new Response(response.body || null, { status: response.statusCode });
  };
  ({ account } = await signUp({ url: 'http://gateway.test', publishableKey, fetch: inject, extractable: true }));
});
after(async () => {
  await gateway.close();
  await devnet.stop();
});

async function newWallet(): Promise<Wallet> {
  const wallet = await account.createWallet((await account.createVault('v')).id);
  await devnet.fund(wallet.address, ETHER);
  return wallet;
}

const statusOf = async (id: string) =>
  (await account.client().call('getTransaction', { params: { transaction_id: id } })).status;
const held = async (asset?: string) => (await chain.balance(somebody, asset)).confirmed;

test('a token is sent from the device, and arrives', async () => {
  const wallet = await newWallet();
  const asset = chain.parseAddress(await devnet.createToken());
  await devnet.fundToken(asset, wallet.address, 90n);
  const sent = await account.transfer(wallet, { to: somebody, amount: 40n, asset });
  assert.equal(await statusOf(sent.id), 'confirming');
  assert.equal(await held(asset), 40n);
});

test('transfers sent at once from one wallet all arrive', async () => {
  const wallet = await newWallet();
  const before = await held();
  const sent = await Promise.all([1n, 2n, 4n].map((amount) => account.transfer(wallet, { to: somebody, amount })));
  await devnet.mine(1);
  for (const { id } of sent) assert.match(await statusOf(id), /^(confirming|completed)$/);
  assert.equal((await held()) - before, 7n);
});

test('a transfer that the device refuses to sign leaves its nonce, and the next one confirms', async () => {
  const wallet = await newWallet();
  await assert.rejects(account.transfer(wallet, { to: somebody, amount: 1n, feeMax: 1n }), /Nothing was signed/);
  await assert.rejects(account.transfer(wallet, { to: `0x${'0'.repeat(40)}`, amount: 1n }), /Nobody could spend/);
  const sent = await account.transfer(wallet, { to: somebody, amount: 1n });
  assert.equal(await statusOf(sent.id), 'confirming');
});
