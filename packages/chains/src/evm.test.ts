/** EVM: published vectors, ethers as a second opinion, the conformance suite on anvil, and nodes that lie. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { type EvmDevnet, startEvm } from '@kedge/devnet';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { computeAddress, getAddress, Transaction } from 'ethers';
import fc from 'fast-check';
import { chainCases, type TestHolder } from './chain.conformance.ts';
import { ChainError, type ChainErrorCode } from './chain.ts';
import { createEvm, type Evm, evmCodec, NATIVE_ASSET, NEW_CONTRACT } from './evm.ts';

const ETHER = 10n ** 18n;
const CHAIN_ID = 31337;

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
  const signed = codec.attach(unsigned, [holder.sign(digest)], holder.publicKey);
  assert.equal(toHex(signed), vector.signed);
  assert.deepEqual(codec.decode(signed), {
    chain: 'evm',
    network: 'eip155:1',
    from: codec.address(holder.publicKey),
    outputs: [{ to: `0x${'35'.repeat(20)}`, amount: ETHER, asset: NATIVE_ASSET }],
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
      const signed = codec.attach(unsigned, [holder.sign(digest)], holder.publicKey);
      assert.equal(toHex(signed), vector.signed);
      assert.equal(codec.transactionId(signed), vector.transaction_id);
      const intent = codec.decode(signed);
      assert.equal(intent.from, vector.from);
      assert.deepEqual(intent.outputs, [
        { to: vector.to ?? NEW_CONTRACT, amount: BigInt(vector.value), asset: NATIVE_ASSET },
      ]);
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
        assert.equal(evmCodec(1).address(publicKey), computeAddress(toHex(publicKey)));
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
        const signed = codec.attach(unsigned, [holder.sign(digest)], holder.publicKey);
        const parsed = Transaction.from(toHex(signed));
        assert.equal(parsed.unsignedHash, theirs.unsignedHash);
        assert.equal(parsed.hash, codec.transactionId(signed));
        const intent = codec.decode(signed);
        assert.equal(parsed.from, intent.from);
        assert.equal(intent.from, codec.address(holder.publicKey));
        assert.deepEqual(intent.outputs, [{ to: getAddress(toHex(to)), amount: rest.value, asset: NATIVE_ASSET }]);
        assert.deepEqual(intent.warnings, rest.data.length > 0 ? ['carries_data'] : []);
        assert.equal(intent.feeMax, rest.gasLimit * gasPrice);
      }),
      { numRuns: 100 },
    );
  });
});

describe('bytes that must not be signed', () => {
  const codec = evmCodec(1);
  const holder = holderOf(secp256k1.utils.randomSecretKey());
  const to = codec.address(holder.publicKey);
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
  const holder = holderOf(secp256k1.utils.randomSecretKey());
  const fields = {
    type: 2,
    chainId: 1,
    nonce: 0,
    to: codec.address(holder.publicKey),
    value: 1n,
    gasLimit: 21_000n,
    maxFeePerGas: 2n,
  };
  const unsigned = fromHex(Transaction.from(fields).unsignedSerialized);
  const low = holder.sign(codec.digests(unsigned)[0]!.digest);
  const { r, s } = secp256k1.Signature.fromBytes(low.signature, 'compact');
  const highS = new secp256k1.Signature(r, secp256k1.Point.Fn.ORDER - s);
  const high = { signature: highS.toBytes('compact'), recovery: (1 - low.recovery) as 0 | 1 };
  const signed = codec.attach(unsigned, [low], holder.publicKey);
  assert.deepEqual(codec.attach(unsigned, [high], holder.publicKey), signed);

  const at = signed.length - 32;
  const respelled = new Uint8Array([...signed.subarray(0, at), ...high.signature.subarray(32)]);
  const parity = at - 1 - 32 - 1 - 1;
  respelled[parity] = low.recovery === 0 ? 0x01 : 0x80;
  assertCode('transaction_invalid', () => codec.decode(respelled));
});

describe('on anvil', () => {
  let devnet: EvmDevnet;
  let evm: Evm;

  before(async () => {
    devnet = await startEvm();
    evm = createEvm({ rpcUrl: devnet.rpcUrl, chainId: CHAIN_ID });
  });
  after(() => devnet.stop());

  for (const { title, run } of chainCases) {
    test(title, () =>
      run({
        chain: evm,
        amount: ETHER,
        newHolder: () => holderOf(secp256k1.utils.randomSecretKey()),
        fund: devnet.fund,
        mine: devnet.mine,
      }),
    );
  }

  test('a transaction waits for its block as broadcasting, and the next one counts on from its nonce', async () => {
    const holder = holderOf(secp256k1.utils.randomSecretKey());
    const from = evm.address(holder.publicKey);
    await devnet.fund(from, 5n * ETHER);
    await anvil(devnet, 'evm_setAutomine', [false]);
    try {
      const sent: string[] = [];
      for (let i = 0; i < 2; i++) {
        const unsigned = await evm.build({ from, to: from, amount: 1n });
        const signed = evm.attach(unsigned, [holder.sign(evm.digests(unsigned)[0]!.digest)], holder.publicKey);
        sent.push(await evm.broadcast(signed));
        assert.deepEqual(await evm.track(sent[i]!), { status: 'broadcasting' });
        assert.equal(await evm.receipt(sent[i]!), null);
      }
      await devnet.mine(1);
      for (const id of sent) assert.equal((await evm.track(id)).status, 'confirming');
    } finally {
      await anvil(devnet, 'evm_setAutomine', [true]);
    }
  });

  test('a receiver that is a contract gets the gas it needs, and one that refuses is named before signing', async () => {
    const holder = holderOf(secp256k1.utils.randomSecretKey());
    const from = evm.address(holder.publicKey);
    await devnet.fund(from, 5n * ETHER);
    const [busy, refuses] = [`0x${'b1'.repeat(20)}`, `0x${'b2'.repeat(20)}`];
    // PUSH1 1 PUSH0 SSTORE: takes more than 21,000. PUSH0 PUSH0 REVERT.
    await anvil(devnet, 'anvil_setCode', [busy, '0x60015f55']);
    await anvil(devnet, 'anvil_setCode', [refuses, '0x5f5ffd']);
    await assertCodeLater('rejected', evm.build({ from, to: refuses, amount: 1n }));
    const unsigned = await evm.build({ from, to: busy, amount: 1n });
    const signed = evm.attach(unsigned, [holder.sign(evm.digests(unsigned)[0]!.digest)], holder.publicKey);
    // The receiver changes its mind between estimate and block: the transaction fails, and says so.
    await anvil(devnet, 'anvil_setCode', [busy, '0x5f5ffd']);
    const id = await evm.broadcast(signed);
    await devnet.mine(1);
    const state = await evm.track(id);
    assert.equal(state.status, 'failed');
    assert.deepEqual(await evm.receipt(id), state.status === 'failed' && state.receipt);
  });

  test('a nonce that another transaction used is a rejection, not a success', async () => {
    const holder = holderOf(secp256k1.utils.randomSecretKey());
    const from = evm.address(holder.publicKey);
    await devnet.fund(from, 5n * ETHER);
    const sign = (unsigned: Uint8Array): Uint8Array =>
      evm.attach(unsigned, [holder.sign(evm.digests(unsigned)[0]!.digest)], holder.publicKey);
    const [one, other] = [
      sign(await evm.build({ from, to: from, amount: 1n })),
      sign(await evm.build({ from, to: from, amount: 2n })),
    ];
    await evm.broadcast(one);
    await assertCodeLater('rejected', evm.broadcast(other));
    await evm.broadcast(one);
  });

  test('a node of another chain is told apart before anything is asked of it', async () => {
    const mainnet = createEvm({ rpcUrl: devnet.rpcUrl, chainId: 1 });
    await assertCodeLater('wrong_network', mainnet.balance(`0x${'00'.repeat(20)}`));
  });
});

describe('a node that', () => {
  const holder = holderOf(secp256k1.utils.randomSecretKey());
  const codec = evmCodec(CHAIN_ID);
  const from = codec.address(holder.publicKey);
  const fields = { type: 2, chainId: CHAIN_ID, nonce: 0, to: from, value: 1n, gasLimit: 21_000n, maxFeePerGas: 2n };
  const unsigned = fromHex(Transaction.from(fields).unsignedSerialized);
  const signed = codec.attach(unsigned, [holder.sign(codec.digests(unsigned)[0]!.digest)], holder.publicKey);
  const id = codec.transactionId(signed);
  const otherId = `0x${'ab'.repeat(32)}`;
  const honest: Answers = {
    eth_chainId: '0x7a69',
    eth_getBalance: '0xffffffffffffffffff',
    eth_getTransactionCount: '0x0',
    eth_feeHistory: { baseFeePerGas: ['0x1', '0x2'], reward: [['0x3']] },
    eth_maxPriorityFeePerGas: '0x1',
    eth_estimateGas: '0x5208',
    eth_sendRawTransaction: id,
    eth_getTransactionByHash: null,
    eth_getTransactionReceipt: { transactionHash: id, status: '0x1', blockNumber: '0x5' },
    eth_blockNumber: '0x7',
  };
  const balance = (evm: Evm) => evm.balance(from);
  const build = (evm: Evm) => evm.build({ from, to: from, amount: 1n });
  const broadcast = (evm: Evm) => evm.broadcast(signed);
  const track = (evm: Evm) => evm.track(id);
  const raw = (text: string) => (response: ServerResponse) => void response.end(text);

  const lies: [title: string, act: (evm: Evm) => Promise<unknown>, answers: Answers][] = [
    ['answers with HTTP 500', balance, { eth_getBalance: (response) => void response.writeHead(500).end('{}') }],
    [
      'sends us elsewhere',
      balance,
      { eth_getBalance: (response) => void response.writeHead(307, { location: '/' }).end() },
    ],
    ['never answers', balance, { eth_getBalance: () => {} }],
    ['answers byte by byte and never ends', balance, { eth_getBalance: (response) => void response.write('{') }],
    [
      'breaks off',
      balance,
      {
        eth_getBalance: (response) =>
          void response.writeHead(200, { 'content-length': 99 }).write('{', () => response.destroy()),
      },
    ],
    ['floods us', balance, { eth_getBalance: (response) => void response.end(' '.repeat(2 ** 21)) }],
    ['sends no JSON', balance, { eth_getBalance: raw('<html>') }],
    ['sends a list', balance, { eth_getBalance: raw('[]') }],
    ['sends null', balance, { eth_getBalance: raw('null') }],
    ['answers another question', balance, { eth_getBalance: raw('{"jsonrpc":"2.0","id":0,"result":"0x1"}') }],
    ['sends neither result nor error', balance, { eth_getBalance: raw('{"jsonrpc":"2.0","id":2}') }],
    ...['0x', '12', '0x01', '-0x1', '0x1g', `0x1${'0'.repeat(64)}`, 12, null, ['0x1'], {}].map(
      (value: Json): (typeof lies)[number] => [
        `says the balance is ${JSON.stringify(value)}`,
        balance,
        { eth_getBalance: value },
      ],
    ),
    ['counts nonces beyond what exists', build, { eth_getTransactionCount: '0xffffffffffffffff' }],
    [
      'wants us to burn money on the base fee',
      build,
      { eth_feeHistory: { baseFeePerGas: ['0xffffffffffffff'], reward: [] } },
    ],
    [
      'wants us to burn money on tips',
      build,
      { eth_feeHistory: { baseFeePerGas: ['0x1'], reward: [['0xffffffffffffff']] } },
    ],
    ['knows no fees', build, { eth_feeHistory: {} }],
    ['sends fees without end', build, { eth_feeHistory: { baseFeePerGas: Array(1_000).fill('0x1'), reward: [] } }],
    ['wants more gas than exists', build, { eth_estimateGas: '0xffffffff' }],
    ['wants less gas than a transfer takes', build, { eth_estimateGas: '0x1' }],
    ['renames our transaction', broadcast, { eth_sendRawTransaction: otherId }],
    [
      'says it knows ours, and shows another',
      broadcast,
      { eth_sendRawTransaction: refuse('already known'), eth_getTransactionByHash: { hash: otherId } },
    ],
    [
      'shows the receipt of another transaction',
      track,
      { eth_getTransactionReceipt: { transactionHash: otherId, status: '0x1', blockNumber: '0x5' } },
    ],
    [
      'shows a receipt without status',
      track,
      { eth_getTransactionReceipt: { transactionHash: id, blockNumber: '0x5' } },
    ],
    [
      'shows a receipt with a status of its own',
      track,
      { eth_getTransactionReceipt: { transactionHash: id, status: '0x2', blockNumber: '0x5' } },
    ],
    [
      'shows a receipt from the future',
      track,
      { eth_getTransactionReceipt: { transactionHash: id, status: '0x1', blockNumber: '0x8' } },
    ],
  ];

  for (const [title, act, answers] of lies) {
    test(`${title} is unavailable, and its key stays out of the message`, () =>
      withNode({ ...honest, ...answers }, async (rpcUrl) => {
        const evm = createEvm({
          rpcUrl: `${rpcUrl}/api-key-in-path?key=api-key-in-query`,
          chainId: CHAIN_ID,
          timeoutMs: 250,
        });
        await assert.rejects(act(evm), (error) => {
          assert.ok(error instanceof ChainError, String(error));
          assert.equal(error.code, 'node_unavailable', error.message);
          assert.match(error.message, /Try again|Check/);
          assert.doesNotMatch(`${error.message} ${error.cause}`, /api-key/);
          return true;
        });
      }));
  }

  test('tells the truth is believed', () =>
    withNode(honest, async (rpcUrl) => {
      const evm = createEvm({ rpcUrl, chainId: CHAIN_ID });
      assert.equal(await balance(evm), 0xffffffffffffffffffn);
      assert.equal(evm.decode((await build(evm)) as Uint8Array).feeMax, 21_000n * (2n * 2n + 3n));
      assert.equal(await broadcast(evm), id);
      const receipt = { transactionHash: id, status: '0x1', blockNumber: '0x5' };
      assert.deepEqual(await track(evm), { status: 'confirming', confirmations: 3, receipt });
    }));

  test('already has our transaction, in whatever words, has it', () =>
    withNode(
      { ...honest, eth_sendRawTransaction: refuse('irgendwas'), eth_getTransactionByHash: { hash: id } },
      async (rpcUrl) => {
        assert.equal(await broadcast(createEvm({ rpcUrl, chainId: CHAIN_ID })), id);
      },
    ));

  test('refuses our transaction says why, on one short line', () =>
    withNode({ ...honest, eth_sendRawTransaction: refuse(`no\n\u001b[31m${'x'.repeat(9_999)}`) }, async (rpcUrl) => {
      await assert.rejects(broadcast(createEvm({ rpcUrl, chainId: CHAIN_ID })), (error) => {
        assert.equal(error instanceof ChainError && error.code, 'rejected');
        assert.match((error as ChainError).message, /^[\x20-\x7e]{1,400}$/);
        return true;
      });
    }));

  test('was down is asked again once it is up', async () => {
    const rpcUrl = await withNode(honest, async (url) => url);
    await assertCodeLater('node_unavailable', balance(createEvm({ rpcUrl, chainId: CHAIN_ID })));
    let down = true;
    const chainId: Answer = (response, id) => void (down ? response.destroy() : response.end(result(id, '0x7a69')));
    await withNode({ ...honest, eth_chainId: chainId }, async (url) => {
      const evm = createEvm({ rpcUrl: url, chainId: CHAIN_ID });
      await assertCodeLater('node_unavailable', balance(evm));
      down = false;
      assert.equal(await balance(evm), 0xffffffffffffffffffn);
    });
  });

  test('has no usable URL is refused when it is configured', () => {
    for (const rpcUrl of ['file:///etc/passwd', 'ws://127.0.0.1', 'http://user:password@127.0.0.1']) {
      assert.throws(() => createEvm({ rpcUrl, chainId: 1 }), RangeError);
    }
  });
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
  readonly unsigned: string;
  readonly digest: string;
  readonly signed: string;
  readonly transaction_id: string;
}

function readVector<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../vectors/${name}`, import.meta.url), 'utf8')) as T;
}

function holderOf(privateKey: Uint8Array): TestHolder {
  return {
    publicKey: secp256k1.getPublicKey(privateKey, true),
    sign(digest) {
      const [recovery, ...signature] = secp256k1.sign(digest, privateKey, { prehash: false, format: 'recovered' });
      return { signature: new Uint8Array(signature), recovery: recovery as 0 | 1 };
    },
  };
}

/** A value is sent as the result; a function answers by itself. */
type Answer = Json | ((response: ServerResponse, id: number) => void);
type Json = string | number | null | readonly Json[] | { readonly [key: string]: Json };
type Answers = Record<string, Answer>;

async function withNode<T>(answers: Answers, work: (rpcUrl: string) => Promise<T>): Promise<T> {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { id, method } = JSON.parse(body) as { id: number; method: string };
    const answer = answers[method];
    if (typeof answer === 'function') answer(response, id);
    else response.end(result(id, answer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

function result(id: number, value: unknown): string {
  return JSON.stringify({ jsonrpc: '2.0', id, result: value });
}

function refuse(message: string): Answer {
  return (response: ServerResponse, id: number) =>
    void response.end(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32000, message } }));
}

async function anvil(devnet: EvmDevnet, method: string, params: unknown[]): Promise<void> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const response = await fetch(devnet.rpcUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  assert.equal(((await response.json()) as { error?: unknown }).error, undefined);
}

function assertCode(code: ChainErrorCode, act: () => unknown): void {
  assert.throws(act, (error) => error instanceof ChainError && error.code === code);
}

function assertCodeLater(code: ChainErrorCode, act: Promise<unknown>): Promise<void> {
  return assert.rejects(act, (error) => error instanceof ChainError && error.code === code);
}

function toHex(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes).toString('hex')}`;
}

function fromHex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.slice(2), 'hex'));
}
