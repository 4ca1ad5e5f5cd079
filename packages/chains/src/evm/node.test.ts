/** EVM nodes that lie, stall, break off and forget: refused or survived, and never a reason to sign the wrong thing. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { describe, test } from 'node:test';
import { Transaction } from 'ethers';
import { ChainError } from '../chain.ts';
import { type Answer, type Answers, type Json, refuse, result, withJsonRpc } from '../testing/json-rpc-node.ts';
import { assertCodeLater } from '../testing/refusals.ts';
import { evmCodec } from './codec.ts';
import { createEvm, type Evm } from './evm.ts';
import { fromHex, newHolder, signWith, toHex } from './testing/holder.ts';

const CHAIN_ID = 31_337;

describe('a node that', () => {
  const holder = newHolder();
  const codec = evmCodec(CHAIN_ID);
  const from = codec.account(holder.publicKey);
  const token = codec.account(newHolder().publicKey);
  const fields = { type: 2, chainId: CHAIN_ID, nonce: 0, to: from, value: 1n, gasLimit: 21_000n, maxFeePerGas: 2n };
  const unsigned = fromHex(Transaction.from(fields).unsignedSerialized);
  const signed = signWith(codec, unsigned, holder);
  const id = codec.transactionId(signed);
  const otherId = `0x${'ab'.repeat(32)}`;
  const blockHash = `0x${'b5'.repeat(32)}`;
  const otherHash = `0x${'b6'.repeat(32)}`;
  const receipt = { transactionHash: id, status: '0x1', blockNumber: '0x5', blockHash };
  const honest: Answers = {
    eth_chainId: '0x7a69',
    eth_getBalance: '0xffffffffffffffffff',
    eth_call: `0x${'0'.repeat(62)}ff`,
    eth_getTransactionCount: '0x0',
    eth_feeHistory: { baseFeePerGas: ['0x1', '0x2'], reward: [['0x3', '0x3', '0x4']] },
    eth_maxPriorityFeePerGas: '0x1',
    eth_gasPrice: '0x10',
    eth_estimateGas: '0x5208',
    eth_sendRawTransaction: id,
    eth_getTransactionByHash: null,
    eth_getTransactionReceipt: receipt,
    eth_blockNumber: '0x7',
    eth_getBlockByNumber: { number: '0x5', hash: blockHash, baseFeePerGas: '0x1' },
  };
  const at = (url: string) => createEvm({ urls: [url], chainId: CHAIN_ID, wait: async () => {} });
  const balance = (evm: Evm) => evm.balance(from);
  const build = (evm: Evm) => evm.build({ from, to: from, amount: 1n });
  const buildToken = (evm: Evm) => evm.build({ from, to: from, amount: 1n, asset: token });
  const broadcast = (evm: Evm) => evm.broadcast(signed);
  const track = (evm: Evm) => evm.track(id, signed);
  const raw = (text: string) => (response: ServerResponse) => void response.end(text);
  /** One answer after the other, the last one again and again. */
  const inTurn = (...answers: Json[]): Answer => {
    let next = 0;
    return (response, request) => void response.end(result(request, answers[Math.min(next++, answers.length - 1)]));
  };

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
      { eth_feeHistory: { baseFeePerGas: ['0x1'], reward: [['0x1', '0x1', '0xffffffffffffff']] } },
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
      { eth_getTransactionReceipt: { ...receipt, transactionHash: otherId } },
    ],
    [
      'shows a receipt without status',
      track,
      { eth_getTransactionReceipt: { transactionHash: id, blockNumber: '0x5', blockHash } },
    ],
    ['shows a receipt with a status of its own', track, { eth_getTransactionReceipt: { ...receipt, status: '0x2' } }],
    ['shows a receipt of no block', track, { eth_getTransactionReceipt: { ...receipt, blockHash: '0x1' } }],
    ['shows another block than asked for', track, { eth_getBlockByNumber: { number: '0x6', hash: blockHash } }],
    ['gives a text for the balance of a token', buildToken, { eth_call: 'much' }],
    [
      'has fees of a million gwei',
      build,
      { eth_feeHistory: { baseFeePerGas: ['0x1', `0x${(10n ** 15n).toString(16)}`], reward: [] } },
    ],
    [
      'has a gas price of a million gwei where there is no base fee',
      build,
      {
        eth_feeHistory: refuse('no such method', -32_601),
        eth_getBlockByNumber: { number: '0x5', hash: blockHash },
        eth_gasPrice: `0x${(10n ** 15n).toString(16)}`,
      },
    ],
    [
      'says that a million transactions wait',
      build,
      {
        eth_getTransactionCount: (response, request, params) =>
          void response.end(result(request, params[1] === 'latest' ? '0x0' : '0xf4240')),
      },
    ],
  ];

  /** What only two answers together show, or a refusal, which another node may not repeat. */
  const needsAPerson = new Set(['says that a million transactions wait', 'says it knows ours, and shows another']);

  for (const [title, act, answers] of lies) {
    test(`${title} is unavailable, and its key stays out of the message`, () =>
      withJsonRpc({ ...honest, ...answers }, async (url) => {
        const evm = createEvm({
          urls: [`${url}/api-key-in-path?key=api-key-in-query`],
          chainId: CHAIN_ID,
          timeoutMs: 250,
          wait: async () => {},
        });
        await assert.rejects(act(evm), (error) => {
          assert.ok(error instanceof ChainError, String(error));
          assert.equal(error.code, 'node_unavailable', error.message);
          assert.match(error.message, /Try again|Check/);
          assert.doesNotMatch(`${error.message} ${error.cause}`, /api-key/);
          return true;
        });
      }));

    if (needsAPerson.has(title)) continue;
    test(`${title} is passed over when another one is named`, () =>
      withJsonRpc({ ...honest, ...answers }, (bad) =>
        withJsonRpc(honest, async (good) => {
          const evm = createEvm({ urls: [bad, good], chainId: CHAIN_ID, timeoutMs: 1_000, wait: async () => {} });
          await act(evm);
        }),
      ));
  }

  test('tells the truth is believed', () =>
    withJsonRpc(honest, async (url) => {
      const evm = at(url);
      assert.deepEqual(await balance(evm), { confirmed: 0xffffffffffffffffffn, unconfirmed: 0n, coins: [] });
      assert.equal(evm.decode(await build(evm)).feeMax, 21_000n * (2n * 2n + 3n));
      assert.equal(await broadcast(evm), id);
      assert.deepEqual(await track(evm), { status: 'confirming', confirmations: 3, blockHash, receipt });
    }));

  test('already has our transaction, in whatever words, has it', () =>
    withJsonRpc(
      { ...honest, eth_sendRawTransaction: refuse('irgendwas'), eth_getTransactionByHash: { hash: id } },
      async (url) => assert.equal(await broadcast(at(url)), id),
    ));

  test('refuses our transaction says why, on one short line', () =>
    withJsonRpc({ ...honest, eth_sendRawTransaction: refuse(`no\n\u001b[31m${'x'.repeat(9_999)}`) }, (url) =>
      assert.rejects(broadcast(at(url)), (error) => {
        assert.equal(error instanceof ChainError && error.code, 'rejected');
        assert.match((error as ChainError).message, /^[\x20-\x7e]{1,400}$/);
        return true;
      }),
    ));

  test('knows no pending state still tells the balance, and is built for', () => {
    const latestOnly =
      (value: Json): Answer =>
      (response, request, params) =>
        params[1] === 'latest'
          ? void response.end(result(request, value))
          : refuse('no pending state', -32_602)(response, request);
    const answers = { ...honest, eth_getBalance: latestOnly('0xfffff'), eth_getTransactionCount: latestOnly('0x3') };
    return withJsonRpc(answers, async (url) => {
      assert.deepEqual(await balance(at(url)), { confirmed: 0xfffffn, unconfirmed: 0n, coins: [] });
      assert.deepEqual(codec.resources(await build(at(url))), ['nonce:3']);
    });
  });

  test('refuses to estimate because it is busy does not make the receiver a bad one', () =>
    withJsonRpc({ ...honest, eth_estimateGas: refuse('too many requests', -32_005) }, (url) =>
      assertCodeLater('node_unavailable', build(at(url))),
    ));

  test('serves a chain without base fee gets a legacy transaction for it', async () => {
    const before1559 = { ...honest, eth_getBlockByNumber: { number: '0x5', hash: blockHash } };
    const histories: Answer[] = [refuse('no such method', -32_601), { baseFeePerGas: ['0x0', '0x0'], reward: [] }];
    for (const eth_feeHistory of histories) {
      await withJsonRpc({ ...before1559, eth_feeHistory }, async (url) => {
        const built = Transaction.from(toHex(await build(at(url))));
        assert.deepEqual([built.type, built.chainId, built.gasPrice], [0, BigInt(CHAIN_ID), 17n]);
      });
    }
    // A base fee of nothing is still one.
    await withJsonRpc({ ...honest, eth_feeHistory: { baseFeePerGas: ['0x0'], reward: [] } }, async (url) => {
      assert.equal(Transaction.from(toHex(await build(at(url)))).type, 2);
    });
  });

  test('saw a reorg between two answers is asked again, and never told as a lie or as final', async () => {
    // The receipt is of a block that went, then there is none, then it is in another block.
    const reorg: Answers = {
      ...honest,
      eth_getTransactionReceipt: inTurn(receipt, { ...receipt, blockHash: otherHash }),
      eth_getBlockByNumber: { number: '0x5', hash: otherHash },
    };
    await withJsonRpc(reorg, async (url) => {
      const state = await track(at(url));
      assert.equal(state.status === 'confirming' && state.blockHash, otherHash);
    });
    // Whatever it holds, it isn't in the chain.
    for (const answers of [
      { eth_getBlockByNumber: { number: '0x5', hash: otherHash } },
      { eth_getBlockByNumber: null },
      { eth_blockNumber: '0x4' },
    ]) {
      await withJsonRpc({ ...honest, ...answers }, async (url) =>
        assert.deepEqual(await track(at(url)), { status: 'unknown' }),
      );
    }
  });

  test('takes our transaction into a block while we ask is not said to have replaced it', () =>
    withJsonRpc(
      { ...honest, eth_getTransactionReceipt: inTurn(null, receipt), eth_getTransactionCount: '0x1' },
      async (url) => assert.equal((await track(at(url))).status, 'confirming'),
    ));

  test('forgot our transaction says so, and says replaced only when its nonce is used', async () => {
    const forgetful = { ...honest, eth_getTransactionReceipt: null };
    await withJsonRpc(forgetful, async (url) => assert.deepEqual(await track(at(url)), { status: 'unknown' }));
    await withJsonRpc({ ...forgetful, eth_getTransactionCount: '0x1', eth_blockNumber: '0x20' }, async (url) => {
      assert.deepEqual(await track(at(url)), { status: 'replaced', by: null });
      assert.deepEqual(await at(url).track(id), { status: 'unknown' });
      await assertCodeLater('not_replaceable', at(url).replace(signed, { from, kind: 'speed_up' }));
    });
  });

  const gone: Answers = {
    ...honest,
    eth_getTransactionReceipt: null,
    eth_getTransactionCount: '0x1',
    eth_blockNumber: '0x20',
  };

  test('attack: lags behind one that counts our own transaction is not told as replaced, so nobody pays twice', async () => {
    // Two backends behind one name: one counts the nonce, the other has not seen the newest blocks.
    const lagging: Answers = {
      ...gone,
      eth_getTransactionCount: (response, request, params) =>
        void response.end(result(request, params[1] === 'latest' ? '0x1' : '0x0')),
    };
    await withJsonRpc(lagging, async (url) => assert.deepEqual(await track(at(url)), { status: 'unknown' }));
    await withJsonRpc({ ...gone, eth_blockNumber: '0x7' }, async (url) =>
      assert.deepEqual(await track(at(url)), { status: 'unknown' }),
    );
  });

  test('attack: calls our transaction replaced against another’s word is not enough', () =>
    withJsonRpc(gone, (liar) =>
      withJsonRpc(honest, async (other) => {
        const both = createEvm({ urls: [liar, other], chainId: CHAIN_ID, wait: async () => {} });
        assert.notEqual((await track(both)).status, 'replaced');
      }),
    ));

  test('is down leaves open whether another transaction took the place', async () => {
    const down = await withJsonRpc(honest, async (url) => url);
    await withJsonRpc(gone, async (url) => {
      const both = createEvm({ urls: [url, down], chainId: CHAIN_ID, wait: async () => {} });
      assert.deepEqual(await track(both), { status: 'unknown' });
    });
  });

  test('attack: repeats the path or the query of its URL does not put an API key into our messages', async () => {
    const answers: Answer[] = [
      (response) => void response.writeHead(404).end('Cannot POST /v3/0123456789abcdef?token=fedcba9876543210'),
      refuse('the project 0123456789abcdef with fedcba9876543210 has no credits', -32_001),
    ];
    for (const eth_getBalance of answers)
      await withJsonRpc({ ...honest, eth_getBalance }, (url) =>
        assert.rejects(balance(at(`${url}/v3/0123456789abcdef?token=fedcba9876543210`)), (error) => {
          assert.ok(error instanceof ChainError && error.code === 'node_unavailable');
          assert.doesNotMatch(`${error.stack} ${String(error.cause)}`, /0123456789abcdef|fedcba9876543210/);
          return true;
        }),
      );
  });

  test('is out of order does not make the transaction a rejected one', async () => {
    const answers: Answer[] = [
      refuse('limit exceeded', -32_005),
      refuse('internal error', -32_603),
      (response) => void response.writeHead(404).end('Cannot POST /'),
    ];
    for (const eth_sendRawTransaction of answers)
      await withJsonRpc({ ...honest, eth_sendRawTransaction }, (url) =>
        assertCodeLater('node_unavailable', broadcast(at(url))),
      );
    await withJsonRpc({ ...honest, eth_sendRawTransaction: refuse('nonce too low') }, (url) =>
      assertCodeLater('rejected', broadcast(at(url))),
    );
  });

  test('lies about the balance changes whether something is built, and never what', async () => {
    const built = new Set<string>();
    for (const eth_getBalance of ['0x4000000', '0xffffffffffffffffff', `0x${'f'.repeat(64)}`]) {
      await withJsonRpc({ ...honest, eth_getBalance }, async (url) => built.add(toHex(await build(at(url)))));
    }
    assert.equal(built.size, 1);
    await withJsonRpc({ ...honest, eth_getBalance: '0x1' }, (url) =>
      assertCodeLater('insufficient_funds', build(at(url))),
    );
    // Of everything, what is shown is what is sent: the device sees the amount before it signs.
    await withJsonRpc({ ...honest, eth_getBalance: '0x4000000' }, async (url) => {
      const intent = codec.decode(await at(url).build({ from, to: token, amount: 'all' }));
      assert.equal(intent.outputs[0]!.amount + intent.feeMax!, 0x4000000n);
    });
  });

  test('was down is asked again once it is up', async () => {
    const gone = await withJsonRpc(honest, async (url) => url);
    await assertCodeLater('node_unavailable', balance(at(gone)));
    let down = true;
    const chainId: Answer = (response, request) =>
      void (down ? response.destroy() : response.end(result(request, '0x7a69')));
    await withJsonRpc({ ...honest, eth_chainId: chainId }, async (url) => {
      const evm = at(url);
      await assertCodeLater('node_unavailable', balance(evm));
      down = false;
      assert.equal((await balance(evm)).confirmed, 0xffffffffffffffffffn);
    });
  });

  test('has no usable URL is refused when it is configured', () => {
    for (const urls of [[], ['file:///etc/passwd'], ['ws://127.0.0.1'], ['http://user:password@127.0.0.1']]) {
      assert.throws(() => createEvm({ urls, chainId: 1 }), RangeError);
    }
  });
});
