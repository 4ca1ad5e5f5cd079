/** Messages that EVM accounts sign: published vectors, ethers as a second opinion, permits, and JSON made to deceive. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hashMessage, TypedDataEncoder, verifyMessage } from 'ethers';
import fc from 'fast-check';
import { assertCode } from '../testing/refusals.ts';
import { readVector } from '../testing/vectors.ts';
import { evmCodec } from './codec.ts';
import { attachToMessage, isSignedBy, messageSigner, personalMessageDigest, readTypedMessage } from './messages.ts';
import { fromHex, holderOf, newHolder, toHex } from './testing/holder.ts';

type Fields = { name: string; type: string }[];
interface TypedJson {
  types: Record<string, Fields>;
  primaryType: string;
  domain: Record<string, unknown>;
  message: Record<string, unknown>;
}

const spender = '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed';
const token = '0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48';
const codec = evmCodec(1);

describe('EIP-191', () => {
  const { cases } = readVector<{
    cases: Record<'title' | 'private_key' | 'message' | 'digest' | 'signature', string>[];
  }>('eip191.json');
  for (const vector of cases) {
    test(vector.title, () => {
      const holder = holderOf(fromHex(vector.private_key));
      const digest = personalMessageDigest(vector.message);
      assert.equal(toHex(digest), vector.digest);
      assert.deepEqual(personalMessageDigest(new TextEncoder().encode(vector.message)), digest);
      const signature = attachToMessage(digest, { ...holder, signature: holder.signDigest(digest) });
      assert.equal(toHex(signature), vector.signature);
      const address = codec.account(holder.publicKey);
      assert.equal(messageSigner(digest, signature), address);
      assert.equal(verifyMessage(vector.message, vector.signature), address);
    });
  }

  test('ethers agrees on any text and on any bytes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'grapheme' }), fc.uint8Array({ maxLength: 300 })), (message) => {
        assert.equal(toHex(personalMessageDigest(message)), hashMessage(message));
      }),
    );
  });

  test('a text that is no Unicode, or longer than anybody reads, is refused', () => {
    assertCode('transaction_invalid', () => personalMessageDigest('\ud800'));
    assertCode('transaction_invalid', () => personalMessageDigest('x'.repeat(65_537)));
    personalMessageDigest('x'.repeat(65_536));
  });
});

describe('a signature over a message', () => {
  const holder = newHolder();
  const digest = personalMessageDigest('I agree');
  const address = codec.account(holder.publicKey);
  const signature = attachToMessage(digest, { ...holder, signature: holder.signDigest(digest) });

  test('is the account’s over this message, and nobody else’s over another', () => {
    assert.ok(isSignedBy(address.toLowerCase(), digest, signature));
    assert.ok(!isSignedBy(codec.account(newHolder().publicKey), digest, signature));
    assert.ok(!isSignedBy(address, personalMessageDigest('I agree!'), signature));
    assertCode('address_invalid', () => isSignedBy('me', digest, signature));
    assertCode('transaction_invalid', () =>
      attachToMessage(digest, { publicKey: newHolder().publicKey, signature: holder.signDigest(digest) }),
    );
  });

  test('has one spelling of 65 bytes', () => {
    const v = signature[64]!;
    const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
    const high = (order - BigInt(toHex(signature.subarray(32, 64)))).toString(16).padStart(64, '0');
    const respelled = [
      signature.subarray(0, 64),
      new Uint8Array([...signature, 0]),
      new Uint8Array([...signature.subarray(0, 64), v - 27]),
      new Uint8Array([...signature.subarray(0, 64), v + 2]),
      new Uint8Array([...signature.subarray(0, 32), ...fromHex(`0x${high}`), 55 - v]),
      new Uint8Array(65),
      new Uint8Array(),
    ];
    for (const bytes of respelled) {
      assert.ok(!isSignedBy(address, digest, bytes));
      assertCode('transaction_invalid', () => messageSigner(digest, bytes));
    }
  });
});

describe('EIP-712', () => {
  const vector = readVector<{
    private_key: string;
    address: string;
    typed_data: TypedJson;
    digest: string;
    signature: string;
  }>('eip712.json');
  const copy = () => structuredClone(vector.typed_data);

  test('the example of the standard, from JSON to signature', () => {
    const read = readTypedMessage(vector.typed_data, 1);
    assert.equal(toHex(read.digest), vector.digest);
    const holder = holderOf(fromHex(vector.private_key));
    const signature = attachToMessage(read.digest, { ...holder, signature: holder.signDigest(read.digest) });
    assert.equal(toHex(signature), vector.signature);
    assert.ok(isSignedBy(vector.address, read.digest, signature));
    assert.deepEqual(
      [read.primaryType, read.chainId, read.verifyingContract, read.allowances, read.warnings],
      ['Mail', 1n, vector.typed_data.domain.verifyingContract, [], []],
    );
  });

  test('the digest is the same when the JSON does not repeat the type of its domain', () => {
    const { EIP712Domain: _, ...types } = vector.typed_data.types;
    assert.equal(toHex(readTypedMessage({ ...vector.typed_data, types }, 1).digest), vector.digest);
  });

  test('a message for another chain is refused', () => {
    assertCode('wrong_network', () => readTypedMessage(vector.typed_data, 5));
    const { chainId: _, ...domain } = vector.typed_data.domain;
    const { EIP712Domain: __, ...types } = vector.typed_data.types;
    assert.equal(readTypedMessage({ ...vector.typed_data, types, domain }, 5).chainId, null);
  });

  test('ethers agrees on any types and values', () => {
    const atoms: [type: string, value: fc.Arbitrary<unknown>][] = [
      ['bool', fc.boolean()],
      ['address', fc.uint8Array({ minLength: 20, maxLength: 20 }).map(toHex)],
      ['uint8', fc.integer({ min: 0, max: 255 })],
      ['uint256', fc.bigInt(0n, 2n ** 256n - 1n).map(String)],
      ['int16', fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 })],
      ['int256', fc.bigInt(-(2n ** 255n), 2n ** 255n - 1n).map(String)],
      ['bytes4', fc.uint8Array({ minLength: 4, maxLength: 4 }).map(toHex)],
      ['bytes32', fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toHex)],
      ['bytes', fc.uint8Array({ maxLength: 70 }).map(toHex)],
      ['string', fc.string({ unit: 'grapheme' })],
    ];
    const leaf = fc.constantFrom(...atoms).chain(([type, value]) =>
      fc.oneof(
        value.map((of) => ({ type, of })),
        fc.array(value, { maxLength: 3 }).map((of) => ({ type: `${type}[]`, of: of as unknown })),
        fc.array(value, { minLength: 2, maxLength: 2 }).map((of) => ({ type: `${type}[2]`, of: of as unknown })),
      ),
    );
    const struct = fc.array(leaf, { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(struct, struct, fc.boolean(), (outer, inner, inList) => {
        const fieldsOf = (leaves: { type: string }[]) => leaves.map(({ type }, at) => ({ name: `f${at}`, type }));
        const valuesOf = (leaves: { of: unknown }[]) => Object.fromEntries(leaves.map(({ of }, at) => [`f${at}`, of]));
        const types = {
          Inner: fieldsOf(inner),
          Outer: [...fieldsOf(outer), { name: 'inner', type: inList ? 'Inner[]' : 'Inner' }],
        };
        const message = { ...valuesOf(outer), inner: inList ? [valuesOf(inner), valuesOf(inner)] : valuesOf(inner) };
        const domain = { name: 'any', chainId: 1, salt: `0x${'07'.repeat(32)}` };
        const read = readTypedMessage({ types, primaryType: 'Outer', domain, message }, 1);
        assert.equal(toHex(read.digest), TypedDataEncoder.hash(domain, types, message));
      }),
      { numRuns: 200 },
    );
  });

  test('a type that holds itself is hashed as far as its values go', () => {
    const types = {
      Node: [
        { name: 'value', type: 'uint8' },
        { name: 'below', type: 'Node[]' },
      ],
    };
    const nest = (depth: number): object => ({ value: depth, below: depth === 0 ? [] : [nest(depth - 1)] });
    const domain = { name: 'tree' };
    const read = readTypedMessage({ types, primaryType: 'Node', domain, message: nest(5) }, 1);
    assert.equal(toHex(read.digest).length, 66);
    assertCode('transaction_invalid', () =>
      readTypedMessage({ types, primaryType: 'Node', domain, message: nest(5_000) }, 1),
    );
  });

  describe('attack: JSON that shows one thing and hashes another', () => {
    const lies: [title: string, change: (json: TypedJson) => unknown][] = [
      ['lacks a field', (json) => delete json.message.contents],
      ['has a field that no type names', (json) => Object.assign(json.message, { amount: '1' })],
      ['has a domain with a field that no standard names', (json) => Object.assign(json.domain, { httpOrigin: 'x' })],
      ['has a type of its domain that leaves out the chain', (json) => json.types.EIP712Domain!.splice(2, 1)],
      ['has a type of its domain in another order', (json) => json.types.EIP712Domain!.reverse()],
      [
        'hides its chain behind the prototype',
        (json) => Object.assign(json, { domain: Object.create(json.domain) as object }),
      ],
      ['signs nothing but its domain', (json) => Object.assign(json, { primaryType: 'EIP712Domain' })],
      ['names no type', (json) => Object.assign(json, { primaryType: 'constructor' })],
      ['has a field twice', (json) => json.types.Mail!.push({ name: 'contents', type: 'string' })],
      ['has a field of no type', (json) => json.types.Mail!.push({ name: 'more', type: 'Letter' })],
      ['has a field of a type without bits', (json) => Object.assign(json.types.Person![1]!, { type: 'uint' })],
      ['calls a type as an atomic one', (json) => Object.assign(json.types, { address: json.types.Person })],
      [
        'puts another type into a name',
        (json) => Object.assign(json.types.Mail![2]!, { name: 'contents,address wallet' }),
      ],
      ['gives a list for a text', (json) => Object.assign(json.message, { contents: ['Hello, Bob!'] })],
      ['gives a text for a person', (json) => Object.assign(json.message, { to: 'Bob' })],
      ['gives null for a person', (json) => Object.assign(json.message, { to: null })],
      ['gives a number for a text', (json) => Object.assign(json.message, { contents: 1 })],
      ['gives half a character', (json) => Object.assign(json.message, { contents: '\udc00' })],
      [
        'gives an address in the wrong case',
        (json) => Object.assign(json.message, { to: { name: 'Bob', wallet: vector.address.replace('CD2a', 'cD2a') } }),
      ],
      ['gives a chain as a fraction', (json) => Object.assign(json.domain, { chainId: 1.5 })],
      ['gives a chain with a leading zero', (json) => Object.assign(json.domain, { chainId: '01' })],
      ['is a text', () => 'typed data'],
    ];
    for (const [title, change] of lies) {
      test(`${title} is refused`, () => {
        const json = copy();
        const changed = change(json);
        assertCode('transaction_invalid', () => readTypedMessage(typeof changed === 'string' ? changed : json, 1));
      });
    }

    test('values that do not fit their type are refused', () => {
      const bad: [type: string, value: unknown][] = [
        ['uint8', 256],
        ['uint8', -1],
        ['int8', 128],
        ['uint256', '-0'],
        ['uint256', '1e3'],
        ['uint256', 2 ** 53],
        ['uint256', `0x1${'0'.repeat(64)}`],
        ['uint256', ''],
        ['bool', 1],
        ['bool', 'true'],
        ['bytes4', '0x010203'],
        ['bytes', 'abc'],
        ['bytes', '0xabc'],
        ['uint8[2]', [1]],
        ['uint8[]', { length: 1 }],
      ];
      for (const [type, value] of bad) {
        const types = { One: [{ name: 'value', type }] };
        assertCode('transaction_invalid', () =>
          readTypedMessage({ types, primaryType: 'One', domain: {}, message: { value } }, 1),
        );
      }
    });

    test('more than anybody could read ends early', () => {
      const many = { All: [{ name: 'all', type: 'uint8[][]' }] };
      const all = Array.from({ length: 4_000 }, () => [1, 2, 3]);
      assertCode('transaction_invalid', () =>
        readTypedMessage({ types: many, primaryType: 'All', domain: {}, message: { all } }, 1),
      );
      const types = Object.fromEntries(
        Array.from({ length: 65 }, (_, at) => [`T${at}`, [{ name: 'next', type: 'bool' }]]),
      );
      assertCode('transaction_invalid', () =>
        readTypedMessage({ types, primaryType: 'T0', domain: {}, message: { next: true } }, 1),
      );
    });
  });
});

describe('a permit', () => {
  const domain = { name: 'USD Coin', version: '2', chainId: 1, verifyingContract: token };
  const permit = (value: unknown, fields: Fields, more: object = {}) =>
    readTypedMessage(
      { types: { Permit: fields, ...more }, primaryType: 'Permit', domain, message: value as object },
      1,
    );
  const of = (...pairs: string[]): Fields =>
    pairs.map((pair) => ({ type: pair.split(' ')[0]!, name: pair.split(' ')[1]! }));

  test('of ERC-2612 says who may take how much, and whether there is a limit', () => {
    const fields = of('address owner', 'address spender', 'uint256 value', 'uint256 nonce', 'uint256 deadline');
    const asked = (value: string) => permit({ owner: spender, spender, value, nonce: 0, deadline: 1 }, fields);
    const limited = asked('5');
    assert.deepEqual(limited.allowances, [{ spender, amount: 5n, asset: token }]);
    assert.deepEqual(limited.warnings, ['approves_spender']);
    assert.deepEqual(asked(String(2n ** 256n - 1n)).warnings, ['approves_spender', 'unlimited_approval']);
  });

  test('of DAI is all or nothing', () => {
    const fields = of('address holder', 'address spender', 'uint256 nonce', 'uint256 expiry', 'bool allowed');
    const asked = (allowed: boolean) => permit({ holder: spender, spender, nonce: 0, expiry: 0, allowed }, fields);
    assert.deepEqual(asked(true).warnings, ['approves_spender', 'unlimited_approval']);
    assert.deepEqual(asked(false).allowances, [{ spender, amount: 0n, asset: token }]);
    assert.deepEqual(asked(false).warnings, []);
  });

  test('of Permit2 names the token inside, one or many', () => {
    const Details = of('address token', 'uint160 amount', 'uint48 expiration', 'uint48 nonce');
    const detail = { token, amount: String(2n ** 160n - 1n), expiration: 1, nonce: 0 };
    const one = permit({ details: detail, spender }, of('Details details', 'address spender'), { Details });
    assert.deepEqual(one.allowances, [{ spender, amount: 2n ** 160n - 1n, asset: token }]);
    assert.deepEqual(one.warnings, ['approves_spender', 'unlimited_approval']);
    const two = permit(
      { permitted: [{ ...detail, amount: 1 }, detail], spender },
      of('Details[] permitted', 'address spender'),
      { Details },
    );
    assert.deepEqual(
      two.allowances.map(({ amount }) => amount),
      [1n, 2n ** 160n - 1n],
    );
  });

  describe('attack: a permit of Permit2 with a witness that looks like another permit of nothing', () => {
    // The witness is a field that the spender names, so that a contract of the spender's takes what was signed.
    const TokenPermissions = of('address token', 'uint256 amount');
    const permitted = { token, amount: String(2n ** 256n - 1n) };
    const stub = ['TokenPermissions permitted', 'address spender', 'uint256 nonce', 'uint256 deadline'];
    const base = { permitted, spender, nonce: 0, deadline: 1 };
    const Details = of('uint160 amount', 'address token');
    const witnesses: [witness: string, value: unknown, more: object][] = [
      ['uint256 value', 0, {}],
      ['bool allowed', false, {}],
      ['Details details', { token, amount: 0 }, { Details }],
      ['Details[] details', [], { Details }],
    ];
    for (const [witness, value, more] of witnesses) {
      test(`named “${witness}” hides nothing`, () => {
        const read = permit({ ...base, [witness.split(' ')[1]!]: value }, of(...stub, witness), {
          TokenPermissions,
          ...more,
        });
        assert.deepEqual(read.warnings, ['approves_spender', 'unlimited_approval']);
        assert.ok(read.allowances.some(({ amount, asset }) => amount === 2n ** 256n - 1n && asset === token));
      });
    }

    test('of a shape that is not read at all still warns', () => {
      const read = permit(
        { spender, value: 0, order: [{ take: '5' }] },
        of('address spender', 'uint256 value', 'Order[] order'),
        { Order: of('uint256 take') },
      );
      assert.deepEqual(read.warnings, ['approves_spender']);
    });
  });

  test('of ERC-3009, which names no spender, says who gets how much', () => {
    const fields = of(
      'address from',
      'address to',
      'uint256 value',
      'uint256 validAfter',
      'uint256 validBefore',
      'bytes32 nonce',
    );
    const message = {
      from: token,
      to: spender,
      value: 7,
      validAfter: 0,
      validBefore: 1,
      nonce: `0x${'07'.repeat(32)}`,
    };
    for (const primaryType of ['TransferWithAuthorization', 'ReceiveWithAuthorization']) {
      const read = readTypedMessage({ types: { [primaryType]: fields }, primaryType, domain, message }, 1);
      assert.deepEqual(read.allowances, [{ spender, amount: 7n, asset: token }]);
      assert.deepEqual(read.warnings, ['approves_spender']);
    }
  });

  test('of a kind that nobody knows still warns when it names a spender', () => {
    assert.deepEqual(permit({ spender, all: true }, of('address spender', 'bool all')).warnings, ['approves_spender']);
  });
});
