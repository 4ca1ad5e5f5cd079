/** An account against a gateway that asks it to sign something else than the transfer it was asked for. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ChainError } from '@kedge/chains';
import { KedgeError } from '@kedge/core';
import { Wallet as Key, Transaction } from 'ethers';
import { resume, type TransferRequest, type Wallet } from './account.ts';
import { createClientKey } from './client-key.ts';

const uuid = '0198a000-0000-7000-8000-000000000001';
const key = new Key(`0x${'11'.repeat(32)}`);
const to = '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed';
const thief = '0x000000000000000000000000000000000000dEaD';
const token = '0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48';
const wallet = {
  id: uuid,
  vault_id: uuid,
  chain: 'evm',
  network: 'eip155:1',
  address: key.address,
  public_key: key.signingKey.compressedPublicKey.slice(2),
  second_wrap: false,
} as unknown as Wallet;
const fields = {
  type: 2,
  chainId: 1,
  nonce: 0,
  to,
  value: 1_000n,
  gasLimit: 21_000n,
  maxFeePerGas: 10n ** 9n,
  maxPriorityFeePerGas: 1n,
};
const transferData = (receiver: string, amount: bigint, selector = 'a9059cbb') =>
  `0x${selector}${receiver.slice(2).toLowerCase().padStart(64, '0')}${amount.toString(16).padStart(64, '0')}`;

/** What the account asked of a gateway that wants these bytes signed, and the code it gave up with. */
async function askedToSign(unsigned_tx: string, request: TransferRequest) {
  const calls: string[] = [];
  const fetch = async (input: unknown, init?: RequestInit) => {
    const { pathname } = new URL(String(input));
    const call = `${init?.method} ${pathname.split('/').slice(4).join('/')}`;
    calls.push(call);
    if (call !== 'POST transfers') return new Response(null, { status: 404 });
    const intent = {
      chain: 'evm',
      network: 'eip155:1',
      from: null,
      outputs: [],
      allowances: [],
      fee_max: '0',
      warnings: [],
    };
    return Response.json({ id: uuid, held_until: '2026-01-01T00:00:00.000Z', unsigned_tx, intent });
  };
  const device = {
    project: uuid,
    userId: uuid,
    clientKey: await createClientKey({ extractable: false }),
    wrapSecret: null,
    sessionToken: 'session',
  };
  const account = resume(
    { url: 'http://gateway.test', publishableKey: 'pk_x.thumbprint', fetch, patienceMs: 0 },
    device,
  );
  const error = await account.transfer(wallet, request).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  return { calls, code: error instanceof KedgeError || error instanceof ChainError ? error.code : String(error) };
}

describe('attack: a gateway asks to sign', () => {
  const coin = { to, amount: 1_000n };
  const tokens = { to, amount: 1_000n, asset: token };
  const call = { ...fields, to: token, value: 0n, gasLimit: 60_000n };
  const unsigned = (change: object) => Transaction.from({ ...fields, ...change }).unsignedSerialized;
  const cases: [title: string, unsigned: string, request: TransferRequest, code: string][] = [
    ['a payment to somebody else', unsigned({ to: thief }), coin, 'sealed_data_invalid'],
    ['another amount', unsigned({ value: 1_001n }), coin, 'sealed_data_invalid'],
    ['a call beside the payment', unsigned({ data: '0x01' }), coin, 'sealed_data_invalid'],
    ['another chain', unsigned({ chainId: 10 }), coin, 'wrong_network'],
    [
      'no chain',
      Transaction.from({ ...fields, type: 0, chainId: 0, gasPrice: 1n, maxFeePerGas: null, maxPriorityFeePerGas: null })
        .unsignedSerialized,
      coin,
      'transaction_invalid',
    ],
    ['a contract', unsigned({ to: null }), coin, 'sealed_data_invalid'],
    ['an access list', unsigned({ accessList: [{ address: thief, storageKeys: [] }] }), coin, 'sealed_data_invalid'],
    ['a fee beyond what is allowed', unsigned({ maxFeePerGas: 10n ** 13n }), coin, 'transaction_invalid'],
    [
      'an approval for a transfer',
      unsigned({ ...call, data: transferData(to, 1_000n, '095ea7b3') }),
      tokens,
      'sealed_data_invalid',
    ],
    ['another token', unsigned({ ...call, to: thief, data: transferData(to, 1_000n) }), tokens, 'sealed_data_invalid'],
    [
      'coin on top of the tokens',
      unsigned({ ...call, value: 1n, data: transferData(to, 1_000n) }),
      tokens,
      'sealed_data_invalid',
    ],
    ['coin instead of tokens', unsigned({}), tokens, 'sealed_data_invalid'],
    ['tokens instead of coin', unsigned({ ...call, data: transferData(to, 1_000n) }), coin, 'sealed_data_invalid'],
    [
      'dirty bytes above the receiver',
      unsigned({ ...call, data: transferData(to, 1_000n).replace('00000000000', '00000000001') }),
      tokens,
      'sealed_data_invalid',
    ],
  ];
  for (const [title, bytes, request, code] of cases) {
    test(`${title}: it signs nothing, opens no wallet, and gives the plan up`, async () => {
      assert.deepEqual(await askedToSign(bytes, request), {
        code,
        calls: ['POST transfers', `DELETE transfers/${uuid}`],
      });
    });
  }

  test('what is signed already: no wallet is opened for it', async () => {
    const bytes = await key.signTransaction(fields);
    assert.deepEqual(await askedToSign(bytes, coin), {
      code: 'transaction_invalid',
      calls: ['POST transfers', `DELETE transfers/${uuid}`],
    });
  });
});
