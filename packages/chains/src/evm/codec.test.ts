/** The EVM codec: published vectors, ethers as a second opinion, and bytes that must not be signed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { computeAddress, getAddress, Transaction } from 'ethers';
import fc from 'fast-check';
import { NATIVE_ASSET } from '../chain.ts';
import { assertCode } from '../testing/refusals.ts';
import { readVector } from '../testing/vectors.ts';
import { evmCodec, FEE_HIGH_WEI, NEW_CONTRACT } from './codec.ts';
import { fromHex, holderOf, newHolder, signWith, toHex } from './testing/holder.ts';

const ETHER = 10n ** 18n;

describe('EIP-55', () => {
  const vector = readVector<{ all_caps: string[]; all_lower: string[]; mixed: string[] }>('eip55.json');
  const codec = evmCodec(1);

  for (const address of [...vector.all_caps, ...vector.all_lower, ...vector.mixed]) {
    test(`${address} is spelled with its checksum`, () => {
      assert.equal(codec.parseAddress(address), address);
      assert.equal(codec.parseAddress(address.toLowerCase()), address);
    });
  }

  test('one letter in the wrong case is refused', () => {
    for (const address of vector.mixed) {
      const at = address.search(/[a-f]/);
      const wrong = address.slice(0, at) + address.charAt(at).toUpperCase() + address.slice(at + 1);
      assertCode('address_invalid', () => codec.parseAddress(wrong));
    }
  });
});

test('EIP-155: the example of the standard, from digest to signed bytes', () => {
  const vector = readVector<Record<'private_key' | 'unsigned' | 'digest' | 'signed', string>>('eip155.json');
  const codec = evmCodec(1);
  const holder = holderOf(fromHex(vector.private_key));
  const unsigned = fromHex(vector.unsigned);
  const digest = codec.digests(unsigned)[0]!.digest;
  assert.equal(toHex(digest), vector.digest);
  const signed = signWith(codec, unsigned, holder);
  assert.equal(toHex(signed), vector.signed);
  assert.deepEqual(codec.decode(signed), {
    chain: 'evm',
    network: 'eip155:1',
    from: codec.account(holder.publicKey),
    outputs: [{ to: `0x${'35'.repeat(20)}`, amount: ETHER, asset: NATIVE_ASSET, change: false }],
    allowances: [],
    feeMax: 21_000n * 20_000_000_000n,
    warnings: [],
  });
});

describe('EIP-1559', () => {
  const { cases } = readVector<{ cases: Eip1559Vector[] }>('eip1559.json');

  for (const vector of cases) {
    test(vector.title, () => {
      const codec = evmCodec(vector.chain_id);
      const holder = holderOf(fromHex(vector.private_key));
      const unsigned = fromHex(vector.unsigned);
      const digest = codec.digests(unsigned)[0]!.digest;
      assert.equal(toHex(digest), vector.digest);
      const signed = signWith(codec, unsigned, holder);
      assert.equal(toHex(signed), vector.signed);
      assert.equal(codec.transactionId(signed), vector.transaction_id);
      const intent = codec.decode(signed);
      assert.equal(intent.from, vector.from);
      const to = vector.to ?? NEW_CONTRACT;
      const paid = { to, amount: BigInt(vector.value), asset: NATIVE_ASSET, change: false };
      const sent = vector.token_transfer;
      assert.deepEqual(
        intent.outputs,
        sent ? [{ to: sent.to, amount: BigInt(sent.amount), asset: to, change: false }] : [paid],
      );
      assert.equal(intent.feeMax, BigInt(vector.fee_max));
      assert.deepEqual(intent.warnings, vector.warnings);
    });
  }
});

describe('ethers agrees', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const privateKey = bytes(32).filter((key) => secp256k1.utils.isValidSecretKey(key));

  test('on addresses', () => {
    fc.assert(
      fc.property(privateKey, (key) => {
        const { publicKey } = holderOf(key);
        assert.equal(evmCodec(1).account(publicKey), computeAddress(toHex(publicKey)));
      }),
      { numRuns: 50 },
    );
  });

  test('on digest, signed bytes, id and sender of legacy and EIP-1559 transactions', () => {
    const fields = fc.record({
      type: fc.constantFrom(0, 2),
      chainId: fc.integer({ min: 1, max: 2 ** 31 }),
      nonce: fc.maxSafeNat(),
      to: bytes(20),
      value: fc.bigInt(0n, 2n ** 200n),
      gasLimit: fc.bigInt(21_000n, 2n ** 24n),
      gasPrice: fc.bigInt(0n, 2n ** 64n),
      data: fc.uint8Array({ maxLength: 100 }),
    });
    fc.assert(
      fc.property(fields, privateKey, ({ to, type, gasPrice, ...rest }, key) => {
        const theirs = Transaction.from({
          ...rest,
          type,
          to: toHex(to),
          data: toHex(rest.data),
          ...(type === 0 ? { gasPrice } : { maxFeePerGas: gasPrice, maxPriorityFeePerGas: gasPrice / 2n }),
        });
        const codec = evmCodec(rest.chainId);
        const holder = holderOf(key);
        const unsigned = fromHex(theirs.unsignedSerialized);
        const { digest } = codec.digests(unsigned)[0]!;
        assert.equal(toHex(digest), theirs.unsignedHash);
        const signed = signWith(codec, unsigned, holder);
        const parsed = Transaction.from(toHex(signed));
        assert.equal(parsed.unsignedHash, theirs.unsignedHash);
        assert.equal(parsed.hash, codec.transactionId(signed));
        const intent = codec.decode(signed);
        assert.equal(parsed.from, intent.from);
        assert.equal(intent.from, codec.account(holder.publicKey));
        const paid = { to: getAddress(toHex(to)), amount: rest.value, asset: NATIVE_ASSET, change: false };
        assert.deepEqual(intent.outputs, [paid]);
        const feeMax = rest.gasLimit * gasPrice;
        assert.equal(intent.feeMax, feeMax);
        assert.deepEqual(intent.warnings, [
          ...(rest.data.length > 0 ? ['carries_data'] : []),
          ...(feeMax >= FEE_HIGH_WEI ? ['fee_high'] : []),
        ]);
      }),
      { numRuns: 100 },
    );
  });
});

describe('bytes that must not be signed', () => {
  const codec = evmCodec(1);
  const holder = newHolder();
  const to = codec.account(holder.publicKey);
  const transfer = {
    type: 2,
    chainId: 1,
    nonce: 0,
    to,
    value: 1n,
    gasLimit: 21_000n,
    maxFeePerGas: 2n,
    maxPriorityFeePerGas: 1n,
  };
  const unsigned = (fields: object): Uint8Array =>
    fromHex(Transaction.from({ ...transfer, ...fields }).unsignedSerialized);

  test('a transaction for another chain', () => {
    assertCode('wrong_network', () => codec.decode(unsigned({ chainId: 5 })));
    assertCode('wrong_network', () => codec.digests(unsigned({ chainId: 5 })));
  });

  test('a legacy transaction that any chain would take', () => {
    const { type: _, maxFeePerGas: __, maxPriorityFeePerGas: ___, ...legacy } = transfer;
    const anywhere = Transaction.from({ ...legacy, type: 0, chainId: 0, gasPrice: 1n });
    assertCode('transaction_invalid', () => codec.digests(fromHex(anywhere.unsignedSerialized)));
  });

  test('blobs, and handing the account over to code', () => {
    const signature = { r: `0x${'11'.repeat(32)}`, s: `0x${'11'.repeat(32)}`, yParity: 0 as const };
    const authorizationList = [{ address: to, nonce: 0n, chainId: 1n, signature }];
    assertCode('transaction_invalid', () => codec.digests(unsigned({ type: 4, authorizationList })));
    const blobs = { type: 3, maxFeePerBlobGas: 1n, blobVersionedHashes: [`0x01${'00'.repeat(31)}`] };
    assertCode('transaction_invalid', () => codec.digests(unsigned(blobs)));
  });

  test('another spelling of a good transaction', () => {
    const good = unsigned({});
    // RLP: the nonce 0 as the byte 00 instead of the empty string.
    const at = 3;
    const respelled = new Uint8Array([...good.subarray(0, at), 0x00, ...good.subarray(at + 1)]);
    assert.equal(good[at], 0x80);
    assertCode('transaction_invalid', () => codec.decode(respelled));
  });

  test('more bytes than a node takes', () => {
    assertCode('transaction_invalid', () => codec.decode(unsigned({ data: `0x${'00'.repeat(128 * 1024)}` })));
  });

  test('but a contract call, a creation and an access list are decoded, with a warning', () => {
    assert.deepEqual(codec.decode(unsigned({ data: '0xa9059cbb' })).warnings, ['carries_data']);
    const creation = codec.decode(unsigned({ to: null, data: '0x00' }));
    assert.deepEqual(creation.warnings, ['creates_contract']);
    assert.equal(creation.outputs[0]!.to, NEW_CONTRACT);
    assertCode('address_invalid', () => codec.parseAddress(NEW_CONTRACT));
    assert.deepEqual(codec.decode(unsigned({ accessList: [[to, []]] })).warnings, ['has_access_list']);
  });
});

test('of the two spellings of a signature the low one is written, the other is never read back', () => {
  const codec = evmCodec(1);
  const holder = newHolder();
  const unsigned = fromHex(
    Transaction.from({
      type: 2,
      chainId: 1,
      nonce: 0,
      to: codec.account(holder.publicKey),
      value: 1n,
      gasLimit: 21_000n,
      maxFeePerGas: 2n,
    }).unsignedSerialized,
  );
  const [low] = holder.sign(codec.digests(unsigned));
  const { r, s } = secp256k1.Signature.fromBytes(low!.signature, 'compact');
  const high = new secp256k1.Signature(r, secp256k1.Point.Fn.ORDER - s).toBytes('compact');
  const signed = codec.attach(unsigned, [low!]);
  assert.deepEqual(codec.attach(unsigned, [{ ...low!, signature: high }]), signed);

  const at = signed.length - 32;
  const respelled = new Uint8Array([...signed.subarray(0, at), ...high.subarray(32)]);
  const parity = at - 1 - 32 - 1 - 1;
  respelled[parity] = signed[parity] === 0x80 ? 0x01 : 0x80;
  for (const read of [codec.decode, codec.final, codec.transactionId])
    assertCode('transaction_invalid', () => read(respelled));
});

interface Eip1559Vector {
  readonly title: string;
  readonly chain_id: number;
  readonly private_key: string;
  readonly from: string;
  readonly to: string | null;
  readonly value: string;
  readonly fee_max: string;
  readonly warnings: string[];
  readonly token_transfer?: { readonly to: string; readonly amount: string };
  readonly unsigned: string;
  readonly digest: string;
  readonly signed: string;
  readonly transaction_id: string;
}
