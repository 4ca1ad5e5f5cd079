/** The SDK against a gateway that lies: each lie is found on the device, before anything secret leaves it or is signed. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { evmCodec } from '@kedge/chains';
import { type Account, createClientKey, recover, resume, signUp } from '@kedge/sdk';
import { Interface, Transaction } from 'ethers';
import {
  createTestGateway,
  createTestProject,
  type TestGateway,
  type TestProject,
} from '../packages/server/src/testing/gateway.ts';

type Lie = (path: string, answer: Record<string, unknown>, request: Record<string, unknown>) => unknown;

const stranger = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';
let gateway: TestGateway;
let project: TestProject;
before(async () => {
  gateway = await createTestGateway();
  project = await createTestProject(gateway);
});
after(() => gateway.close());

const sent: string[] = [];

function service(lie: Lie = (_path, answer) => answer) {
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const url = new URL(String(input));
    sent.push(String(init?.body ?? ''));
    const response = await gateway.app.inject({
      method: (init?.method ?? 'GET') as 'GET',
      url: url.pathname + url.search,
      headers: init?.headers as Record<string, string>,
      ...(init?.body ? { payload: String(init.body) } : {}),
    });
    if (response.statusCode >= 400 || response.body === '')
      return new Response(response.body || null, { status: response.statusCode });
    const answer = lie(
      url.pathname,
      response.json(),
      JSON.parse(String(init?.body ?? '{}')) as Record<string, unknown>,
    );
    return new Response(JSON.stringify(answer), { status: response.statusCode });
  };
  return { url: 'http://gateway.test', publishableKey: project.publishableKey, fetch, extractable: true };
}

const newAccount = async (lie?: Lie): Promise<Account> => (await signUp(service(lie))).account;

test('an enclave of the gateway’s own making is refused before the words leave the device', async () => {
  const other = await createTestGateway();
  const foreign = (await other.get('getEnclave', {})) as unknown as Record<string, unknown>;
  const before_ = sent.length;
  await assert.rejects(
    newAccount((path, answer) => (path === '/v1/enclave' ? foreign : answer)),
    { code: 'enclave_unavailable' },
  );
  assert.equal(sent.length, before_ + 1, 'nothing was sent but the question for the enclave');
  await other.close();
});

test('a receipt that is missing its signature, or is for another act, is refused', async () => {
  await assert.rejects(
    newAccount((path, answer) =>
      path === '/v1/users'
        ? { ...answer, receipt: { ...(answer.receipt as object), signature: 'A'.repeat(86) } }
        : answer,
    ),
    { code: 'enclave_unavailable' },
  );
  const first = await newAccount();
  const vault = await first.createVault('v');
  let receipt: unknown;
  await newAccount((path, answer) => {
    if (path === '/v1/users') receipt = answer.receipt;
    return answer;
  });
  await assert.rejects(
    (async () => {
      const liar = await newAccount((path, answer) => (path.endsWith('/wallets') ? { ...answer, receipt } : answer));
      return liar.createWallet((await liar.createVault('v')).id);
    })(),
    { code: 'enclave_unavailable' },
  );
  assert.ok(vault.id, 'the honest gateway still works');
});

test('an address that is not the wallet’s is refused, so nobody deposits to a stranger', async () => {
  const lie: Lie = (path, answer) =>
    path.endsWith('/wallets')
      ? { ...answer, wallet: { ...(answer.wallet as object), address: '0x70997970C51812dc3A010C7d01b50e0d17dc79C8' } }
      : answer;
  const account = await newAccount(lie);
  const vault = await account.createVault('v');
  await assert.rejects(account.createWallet(vault.id), { code: 'sealed_data_invalid' });
});

test('another key than the wallet’s is not used', async () => {
  const account = await newAccount();
  const vault = await account.createVault('v');
  const [first, second] = [await account.createWallet(vault.id), await account.createWallet(vault.id)];
  await assert.rejects(account.openWallet({ ...first, public_key: second.public_key }), {
    code: 'enclave_unavailable',
  });
});

test('a transfer with a fee that nobody would pay, to somebody else, or that is an approval, is not signed', async () => {
  const codec = evmCodec(31_337);
  const other = '0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC';
  const build = (to: string, maxFeePerGas: bigint, more: object = {}) =>
    Transaction.from({
      type: 2,
      chainId: 31_337,
      nonce: 0,
      to,
      value: 10n ** 17n,
      gasLimit: 21_000,
      maxFeePerGas,
      maxPriorityFeePerGas: 1n,
      ...more,
    }).unsignedSerialized;
  const erc20 = new Interface(['function approve(address, uint256)', 'function transfer(address, uint256)']);
  const call = (name: string, value: bigint) => ({
    value,
    data: erc20.encodeFunctionData(name, [stranger, 10n ** 17n]),
  });
  const answers = [
    build(stranger, 10n ** 12n),
    build(other, 10n ** 9n),
    build(other, 10n ** 9n, call('approve', 0n)),
    build(other, 10n ** 9n, call('transfer', 0n)),
    build(stranger, 10n ** 9n, call('approve', 10n ** 17n)),
    build(stranger, 10n ** 9n, { data: '0x01' }),
  ];
  const account = await newAccount();
  const wallet = await account.createWallet((await account.createVault('v')).id);
  for (const unsigned of answers) {
    const lied = service();
    const lying: typeof lied.fetch = async (input, init) =>
      String(input).includes('/transfers')
        ? new Response(
            JSON.stringify({
              id: randomUUID(),
              held_until: new Date(0).toISOString(),
              unsigned_tx: unsigned,
              intent: { chain: 'evm', network: 'eip155:31337', from: null, outputs: [], fee_max: '0', warnings: [] },
            }),
          )
        : lied.fetch(input, init);
    const before_ = sent.length;
    await assert.rejects(
      resume({ ...lied, fetch: lying }, account.device).transfer(wallet, {
        to: codec.parseAddress(stranger),
        amount: 10n ** 17n,
      }),
      /Nothing was signed/,
    );
    assert.equal(sent.length, before_, 'the wallet was not even opened');
  }
});

test('the second wrap leaves the device only sealed', async () => {
  const account = await newAccount();
  const vault = await account.createVault('v');
  const wallet = await account.createWallet(vault.id, { secondWrap: true });
  const key = await account.openWallet(wallet);
  const hex = Buffer.from(key).toString('hex');
  assert.ok(
    !sent.some((body) => body.includes(hex) || body.includes(Buffer.from(key).toString('base64url'))),
    'no request holds the key',
  );
});

test('somebody else’s sealed words cannot be presented with another client key', async () => {
  const { account, words } = await signUp(service(), { email: 'thief-target@example.org' });
  let captured = '';
  const spying = service((path, answer, request) => {
    if (path === '/v1/recoveries') captured = String(request.sealed_recovery);
    return answer;
  });
  await recover(spying, { account: 'thief-target@example.org', words });
  const thief = service();
  const thiefKey = await createClientKey({ extractable: true });
  const swapping: typeof thief.fetch = async (input, init) => {
    const body = init?.body
      ? JSON.stringify({ ...(JSON.parse(String(init.body)) as object), sealed_recovery: captured })
      : undefined;
    return thief.fetch(input, String(input).endsWith('/v1/recoveries') ? { ...init, body: body! } : init);
  };
  await assert.rejects(
    recover(
      { ...thief, fetch: swapping },
      { account: 'thief-target@example.org', words: `${'abandon '.repeat(11)}about` },
    ),
    { code: 'proof_invalid' },
  );
  assert.ok(thiefKey.publicKey.length === 65 && account.device.userId !== '', 'the account is still the owner’s');
});
