/** ERC-20 calls: ethers writes them, the codec reads what they do, and nothing but the exact call is taken for one. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Interface, Transaction } from 'ethers';
import fc from 'fast-check';
import type { Intent } from '../chain.ts';
import { evmCodec } from './codec.ts';
import { fromHex, newHolder, signWith, toHex } from './testing/holder.ts';
import { decodeTokenCall, encodeBalanceOf, encodeTransfer } from './tokens.ts';

const erc20 = new Interface([
  'function transfer(address to, uint256 amount)',
  'function approve(address spender, uint256 amount)',
  'function increaseAllowance(address spender, uint256 amount)',
  'function transferFrom(address from, address to, uint256 amount)',
  'function balanceOf(address owner)',
  'function setApprovalForAll(address operator, bool approved)',
]);
const codec = evmCodec(1);
const token = '0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48';
const somebody = '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed';
const UINT256_MAX = 2n ** 256n - 1n;

const unsigned = (data: string, fields: object = {}): Uint8Array =>
  fromHex(
    Transaction.from({ type: 2, chainId: 1, nonce: 0, to: token, gasLimit: 60_000n, maxFeePerGas: 1n, data, ...fields })
      .unsignedSerialized,
  );
const intentOf = (call: string, args: readonly unknown[], fields?: object): Intent =>
  codec.decode(unsigned(erc20.encodeFunctionData(call, args), fields));

test('what is written is what ethers writes, and is read back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 20, maxLength: 20 }), fc.bigInt(0n, UINT256_MAX), (bytes, amount) => {
      const to = codec.parseAddress(toHex(bytes));
      assert.equal(toHex(encodeTransfer(to, amount)), erc20.encodeFunctionData('transfer', [to, amount]));
      assert.equal(toHex(encodeBalanceOf(to)), erc20.encodeFunctionData('balanceOf', [to]));
      assert.deepEqual(decodeTokenCall(encodeTransfer(to, amount)), { name: 'transfer', to, amount });
    }),
    { numRuns: 200 },
  );
});

test('a transfer of tokens is shown as a payment in the token, not of the coin', () => {
  const intent = intentOf('transfer', [somebody, 5n]);
  assert.deepEqual(intent.outputs, [{ to: somebody, amount: 5n, asset: token, change: false }]);
  assert.deepEqual([intent.allowances, intent.warnings], [[], []]);
});

test('coins that go along with a token call are shown, too', () => {
  const coins = { to: token, amount: 7n, asset: 'native', change: false };
  const both = intentOf('transfer', [somebody, 5n], { value: 7n });
  assert.deepEqual(both.outputs, [coins, { to: somebody, amount: 5n, asset: token, change: false }]);
  assert.deepEqual(intentOf('approve', [somebody, 5n], { value: 7n }).outputs, [coins]);
});

describe('an approval', () => {
  for (const call of ['approve', 'increaseAllowance']) {
    test(`by ${call} says who may take how much`, () => {
      const intent = intentOf(call, [somebody, 5n]);
      assert.deepEqual(intent.outputs, []);
      assert.deepEqual(intent.allowances, [{ spender: somebody, amount: 5n, asset: token }]);
      assert.deepEqual(intent.warnings, ['approves_spender']);
    });
  }

  test('without limit is told, in every spelling of without limit', () => {
    for (const amount of [UINT256_MAX, 2n ** 255n, 2n ** 160n - 1n, 2n ** 128n - 1n, 2n ** 96n - 1n]) {
      const { warnings } = intentOf('approve', [somebody, amount]);
      assert.deepEqual(warnings, ['approves_spender', 'unlimited_approval'], String(amount));
    }
    // A trillion tokens of 18 decimals: much, and still a number.
    assert.deepEqual(intentOf('approve', [somebody, 10n ** 30n]).warnings, ['approves_spender']);
  });

  test('that is taken back is shown, and warns of nothing', () => {
    const intent = intentOf('approve', [somebody, 0n]);
    assert.deepEqual(intent.allowances, [{ spender: somebody, amount: 0n, asset: token }]);
    assert.deepEqual(intent.warnings, []);
  });
});

test('tokens sent where nobody can spend them are warned of', () => {
  for (const to of [token, `0x${'0'.repeat(40)}`])
    assert.deepEqual(intentOf('transfer', [to, 5n]).warnings, ['output_unspendable']);
  const burn = codec.decode(unsigned('0x', { to: `0x${'0'.repeat(40)}`, value: 1n }));
  assert.deepEqual(burn.warnings, ['output_unspendable']);
});

test('what goes back to the sender is change, by who signed and not by who is asked about', () => {
  const holder = newHolder();
  const own = codec.account(holder.publicKey);
  const raw = unsigned(erc20.encodeFunctionData('transfer', [own, 5n]));
  const changes = (bytes: Uint8Array, account?: string) =>
    codec.decode(bytes, account).outputs.map(({ change }) => change);
  assert.deepEqual([changes(raw), changes(raw, own), changes(raw, somebody)], [[false], [true], [false]]);
  const signed = signWith(codec, raw, holder);
  assert.deepEqual([changes(signed), changes(signed, somebody)], [[true], [true]]);
});

describe('attack: a call that only looks like a known one', () => {
  const good = erc20.encodeFunctionData('transfer', [somebody, 5n]);
  const calls: [title: string, data: string][] = [
    ['with a byte more', `${good}00`],
    ['with a byte less', good.slice(0, -2)],
    ['with another word', good + '0'.repeat(64)],
    ['with bits before the address', `${good.slice(0, 10)}1${good.slice(11)}`],
    ['without arguments', good.slice(0, 10)],
    ['that moves the tokens of another', erc20.encodeFunctionData('transferFrom', [somebody, token, 5n])],
    ['that hands over a collection', erc20.encodeFunctionData('setApprovalForAll', [somebody, true])],
  ];
  for (const [title, data] of calls) {
    test(`${title} is not shown as one`, () => {
      const intent = codec.decode(unsigned(data));
      assert.deepEqual(intent.warnings, ['carries_data']);
      assert.deepEqual(intent.outputs, [{ to: token, amount: 0n, asset: 'native', change: false }]);
      assert.deepEqual(intent.allowances, []);
    });
  }

  test('and creates a contract is a creation, whatever its first bytes are', () => {
    const intent = codec.decode(unsigned(good, { to: null }));
    assert.deepEqual(intent.warnings, ['creates_contract']);
    assert.equal(intent.outputs[0]?.to, 'new_contract');
  });
});

test('a fee that nobody would pay is warned of', () => {
  const warningsAt = (maxFeePerGas: bigint) =>
    codec.decode(unsigned('0x', { value: 1n, gasLimit: 100_000n, maxFeePerGas })).warnings;
  assert.deepEqual(warningsAt(10n ** 12n), ['fee_high']);
  assert.deepEqual(warningsAt(10n ** 12n - 1n), []);
});
