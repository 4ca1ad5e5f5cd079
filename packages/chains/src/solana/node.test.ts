/** Solana nodes that lie, break off, lag or want our money: refused or survived with a clear error, never a second spend. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { describe, test } from 'node:test';
import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base58 } from '@scure/base';
import { type Chain, ChainError, type ChainErrorCode, isReorg } from '../chain.ts';
import { type Answers, type Json, refuse, result, withJsonRpc } from '../testing/json-rpc-node.ts';
import { assertCodeLater } from '../testing/refusals.ts';
import { SOLANA_GENESIS, solanaCodec, solanaNetwork } from './codec.ts';
import { budgetInstruction, compile, SYSTEM_PROGRAM, transferInstruction } from './instructions.ts';
import { createSolana } from './solana.ts';
import { TOKEN_PROGRAM } from './tokens.ts';
import { encodeMessage } from './wire.ts';

const genesisHash = SOLANA_GENESIS.mainnet;
const codec = solanaCodec(solanaNetwork(genesisHash));
const secretKey = sha256(Uint8Array.of(1));
const publicKey = ed25519.getPublicKey(secretKey);
const from = base58.encode(publicKey);
const to = base58.encode(ed25519.getPublicKey(sha256(Uint8Array.of(2))));
const mint = base58.encode(ed25519.getPublicKey(sha256(Uint8Array.of(3))));
const blockhash = base58.encode(sha256(Uint8Array.of(4)));
const transfer = transferInstruction(from, to, 10n ** 9n);
/** As `createSolana` builds it in the first of the eras that it counts. */
const unsigned = encodeMessage(compile(from, blockhash, [budgetInstruction('data_limit', 1n << 20n), transfer]));
const signed = codec.attach(unsigned, [{ input: 0, publicKey, signature: ed25519.sign(unsigned, secretKey) }]);
const id = codec.transactionId(signed);
const status = { slot: 100, confirmations: null, err: null, status: { Ok: null }, confirmationStatus: 'finalized' };

const honest: Answers = {
  getGenesisHash: genesisHash,
  getBalance: content(5e9),
  getMultipleAccounts: content([wallet(5e9), null]),
  getMinimumBalanceForRentExemption: 890_880,
  getLatestBlockhash: content({ blockhash, lastValidBlockHeight: 250 }),
  getRecentPrioritizationFees: [{ slot: 1, prioritizationFee: 0 }],
  sendTransaction: id,
  getSignatureStatuses: content([null]),
  isBlockhashValid: content(true),
  getBlockHeight: 100,
  getFirstAvailableBlock: 0,
  getSlot: 102,
  getBlock: { blockhash },
};

const balance = (solana: Chain) => solana.balance(from);
const build = (solana: Chain) => solana.build({ from, to, amount: 10n ** 9n });
const buildToken = (solana: Chain) => solana.build({ from, to, amount: 5n, asset: mint });
const broadcast = (solana: Chain) => solana.broadcast(signed);
const track = (solana: Chain) => solana.track(id, signed);
const replace = (solana: Chain) => solana.replace(signed, { from, kind: 'speed_up' });
const replaceMine = async (solana: Chain) => {
  const mine = await build(solana);
  const final = codec.attach(mine, [{ input: 0, publicKey, signature: ed25519.sign(mine, secretKey) }]);
  return solana.replace(final, { from, kind: 'speed_up' });
};

describe('a node that', () => {
  const raw = (text: string) => (response: ServerResponse) => void response.end(text);
  const accounts = (...list: Json[]): Answers => ({ getMultipleAccounts: content(list) });

  const lies: [title: string, act: (solana: Chain) => Promise<unknown>, answers: Answers][] = [
    ['answers with HTTP 500', balance, { getBalance: (response) => void response.writeHead(500).end('{}') }],
    ['never answers', balance, { getBalance: () => {} }],
    ['answers byte by byte and never ends', balance, { getBalance: (response) => void response.write('{') }],
    [
      'breaks off',
      balance,
      {
        getBalance: (response) =>
          void response.writeHead(200, { 'content-length': 99 }).write('{', () => response.destroy()),
      },
    ],
    ['floods us', balance, { getBalance: (response) => void response.end(' '.repeat(2 ** 21)) }],
    ['sends no JSON', balance, { getBalance: raw('<html>') }],
    ['sends no context', balance, { getBalance: 5 }],
    ...[-1, 0.5, 2 ** 64, '5', null, [5], {}].map((value: Json): (typeof lies)[number] => [
      `says the balance is ${JSON.stringify(value)}`,
      balance,
      { getBalance: content(value) },
    ]),
    ['sends fewer accounts than asked', build, accounts(wallet(5e9))],
    ['sends more accounts than asked', build, accounts(wallet(5e9), null, null)],
    ['sends accounts without data', build, accounts({ lamports: 5e9, owner: SYSTEM_PROGRAM }, null)],
    ['sends data that is no base64', build, accounts({ ...wallet(5e9), data: ['!', 'base64'] }, null)],
    ['sends owners that are no address', build, accounts({ ...wallet(5e9), owner: 'x' }, null)],
    ['sends no blockhash', build, { getLatestBlockhash: content({ blockhash: 'x', lastValidBlockHeight: 1 }) }],
    [
      'sends a blockhash without end',
      build,
      { getLatestBlockhash: content({ blockhash, lastValidBlockHeight: 1e300 }) },
    ],
    ['does not say as of when', build, { getLatestBlockhash: { value: { blockhash, lastValidBlockHeight: 250 } } }],
    ['wants us to burn money on the fee', build, { getRecentPrioritizationFees: [{ prioritizationFee: 1e9 }] }],
    ['sends fees without end', build, { getRecentPrioritizationFees: Array(1_000).fill({ prioritizationFee: 1 }) }],
    ['sends no fees', build, { getRecentPrioritizationFees: {} }],
    ['wants a deposit without sense', build, { getMinimumBalanceForRentExemption: 1e12 }],
    [
      'wants a higher deposit for a token account than there is',
      buildToken,
      { ...tokenAccounts(5n), getMinimumBalanceForRentExemption: 2_039_281 },
    ],
    ['renames our transaction', broadcast, { sendTransaction: base58.encode(new Uint8Array(64).fill(7)) }],
    ['sends no signature', broadcast, { sendTransaction: null }],
    ['shows no status for the one asked', track, { getSignatureStatuses: content([]) }],
    ['shows a status without a slot', track, { getSignatureStatuses: content([{ ...status, slot: -1 }]) }],
    [
      'shows a status of its own',
      track,
      { getSignatureStatuses: content([{ ...status, confirmationStatus: 'sure' }]) },
    ],
    ['does not say whether it failed', track, { getSignatureStatuses: content([{ ...status, err: undefined }]) }],
    ['shows a block from the future', track, { getSignatureStatuses: content([{ ...status, slot: 103 }]) }],
    ['shows a block without a hash', track, { getSignatureStatuses: content([status]), getBlock: {} }],
    ['will not say whether a blockhash is valid', replace, { isBlockhashValid: content('no') }],
    ['will not say how high it is', replaceMine, { isBlockhashValid: content(false), getBlockHeight: '1000' }],
  ];

  for (const [title, act, answers] of lies) {
    test(`${title} is unavailable, and its key stays out of the message`, () =>
      withJsonRpc({ ...honest, ...answers }, async (url) => {
        const solana = chainOf([`${url}/api-key-in-path?key=api-key-in-query`], 250);
        await assert.rejects(act(solana), (error) => {
          assert.ok(error instanceof ChainError, String(error));
          assert.equal(error.code, 'node_unavailable', error.message);
          assert.match(error.message, /Try again|[Nn]ame another node|Check/);
          assert.doesNotMatch(`${error.message} ${error.cause}`, /api-key/);
          return true;
        });
      }));
  }

  test('tells the truth is believed', () =>
    withJsonRpc({ ...honest, getSignatureStatuses: content([status]) }, async (url) => {
      const solana = chainOf([url]);
      assert.equal((await balance(solana)).confirmed, 5n * 10n ** 9n);
      const intent = codec.decode(await build(solana));
      assert.deepEqual(intent.outputs, [{ to, amount: 10n ** 9n, asset: 'native', change: false }]);
      assert.equal(await broadcast(solana), id);
      const receipt = { ...status, signature: id, blockhash };
      assert.deepEqual(await track(solana), { status: 'confirming', confirmations: 3, blockHash: blockhash, receipt });
    }));

  test('is of another cluster is told apart before anything is asked of it', () =>
    withJsonRpc({ ...honest, getGenesisHash: SOLANA_GENESIS.devnet }, async (url) => {
      await assertCodeLater('wrong_network', balance(chainOf([url])));
      await assertCodeLater('wrong_network', broadcast(chainOf([url])));
    }));

  test("shows somebody else's account as ours cannot make us send its tokens", async () => {
    const foreign = tokenAccount(to, 5n);
    for (const answers of [tokenAccounts(5n, foreign), tokenAccounts(5n, tokenAccount(from, 5n, to))])
      await withJsonRpc({ ...honest, ...answers }, (url) =>
        assertCodeLater('insufficient_funds', buildToken(chainOf([url]))),
      );
  });

  test('bids within reason is matched, at the level that was asked', () => {
    const getRecentPrioritizationFees = Array.from({ length: 100 }, (_, i) => ({ prioritizationFee: i * 10_000 }));
    return withJsonRpc({ ...honest, getRecentPrioritizationFees }, async (url) => {
      const { slow, recommended, fast } = await chainOf([url]).estimateFee({ from, to, amount: 10n ** 9n });
      assert.deepEqual([slow, recommended, fast], [5_240n, 5_490n, 5_890n]);
    });
  });

  test('saw our transaction alone leaves it unconfirmed', () =>
    withJsonRpc(
      { ...honest, getSignatureStatuses: content([{ ...status, confirmationStatus: 'processed' }]) },
      async (url) => assert.deepEqual(await track(chainOf([url])), { status: 'broadcasting' }),
    ));

  test('forgets a block is told as a reorganisation, and the transaction as one to send again', () => {
    let shown: Json = status;
    const answers = {
      ...honest,
      getSignatureStatuses: (response: ServerResponse, id: number) => void response.end(result(id, content([shown]))),
    };
    return withJsonRpc(answers, async (url) => {
      const solana = chainOf([url]);
      const before = await track(solana);
      shown = null;
      const after = await track(solana);
      assert.deepEqual(after, { status: 'unknown' });
      assert.ok(isReorg(before, after));
      assert.equal(await broadcast(solana), id);
    });
  });

  test('lies or is slow is passed over when another answers', () =>
    withJsonRpc({ ...honest, getBalance: () => {} }, (slow) =>
      withJsonRpc({ ...honest, getBalance: content(-1) }, (liar) =>
        withJsonRpc(honest, async (good) => {
          assert.equal((await balance(chainOf([slow, liar, good], 1_000))).confirmed, 5n * 10n ** 9n);
        }),
      ),
    ));

  const refusals: [message: string, code: number, expected: ChainErrorCode][] = [
    ['Transaction simulation failed: Blockhash not found', -32002, 'rejected'],
    ['Transaction simulation failed: This transaction has already been processed', -32002, 'rejected'],
    ['Transaction simulation failed: Insufficient funds for fee', -32002, 'insufficient_funds'],
    [
      'Transaction simulation failed: Attempt to debit an account but found no record of a prior credit.',
      -32002,
      'insufficient_funds',
    ],
    [
      'Transaction simulation failed: Error processing Instruction 3: custom program error: 0x1',
      -32002,
      'insufficient_funds',
    ],
    ['Transaction simulation failed: Error processing Instruction 3: custom program error: 0x11', -32002, 'rejected'],
    ['Transaction signature verification failure', -32003, 'rejected'],
    ['Node is behind by 42 slots', -32005, 'node_unavailable'],
  ];
  for (const [message, code, expected] of refusals) {
    test(`refuses with "${message}" is told as ${expected}`, () =>
      withJsonRpc({ ...honest, sendTransaction: refuse(message, code) }, (url) =>
        assertCodeLater(expected, broadcast(chainOf([url]))),
      ));
  }

  test('refuses what it knows already, in whatever words, has it', () =>
    withJsonRpc(
      { ...honest, sendTransaction: refuse('irgendwas', -32002), getSignatureStatuses: content([status]) },
      async (url) => assert.equal(await broadcast(chainOf([url])), id),
    ));
});

describe('whether a transaction can be built again', () => {
  const over: Answers = { ...honest, isBlockhashValid: content(false), getBlockHeight: 1_000, getSlot: 1_000 };

  test('every node says it is over: it can', () =>
    withJsonRpc(over, (one) =>
      withJsonRpc(over, async (two) => {
        const solana = chainOf([one, two]);
        assert.deepEqual(await track(solana), { status: 'expired' });
        assert.deepEqual(codec.decode(await replace(solana)).outputs, codec.decode(signed).outputs);
      }),
    ));

  test('attack: a node that calls it over against another’s word is not enough', () =>
    withJsonRpc(over, (liar) =>
      withJsonRpc(honest, async (other) => {
        for (const urls of [
          [liar, other],
          [other, liar],
        ]) {
          await assertCodeLater('not_replaceable', replace(chainOf(urls)));
          assert.deepEqual(await track(chainOf(urls)), { status: 'unknown' });
        }
      }),
    ));

  test('attack: a node that hides a transaction which another shows is not enough', () =>
    withJsonRpc(over, (liar) =>
      withJsonRpc({ ...over, getSignatureStatuses: content([status]) }, (other) =>
        assertCodeLater('not_replaceable', replace(chainOf([liar, other]))),
      ),
    ));

  test('while a node is down nobody knows', async () => {
    const down = await withJsonRpc(over, async (url) => url);
    await withJsonRpc(over, async (url) => {
      await assertCodeLater('node_unavailable', replace(chainOf([url, down])));
      assert.deepEqual(await track(chainOf([url, down])), { status: 'unknown' });
    });
  });

  test('a blockhash that is too new for the finalized bank is not over', () =>
    withJsonRpc(
      {
        ...over,
        isBlockhashValid: (response, id, [, options]) => {
          const { commitment } = options as { commitment?: string };
          response.end(result(id, content(commitment === 'confirmed')));
        },
      },
      (url) => assertCodeLater('not_replaceable', replace(chainOf([url]))),
    ));

  test('attack: a node that keeps the last days only does not know what it forgot', async () => {
    // Built in the first era; the node's head is ten eras later, and it remembers nine.
    const late = { ...over, getSlot: 10 * 512 + 5 };
    const forgetful = { ...late, getFirstAvailableBlock: 512 };
    await withJsonRpc(forgetful, (url) => assertCodeLater('not_replaceable', replace(chainOf([url]))));
    await withJsonRpc(late, async (url) => void (await replace(chainOf([url]))));
    // What was built in an era that it does remember is over.
    const recent = budgetInstruction('data_limit', (1n << 20n) + (1n << 10n));
    const message = encodeMessage(compile(from, blockhash, [recent, transfer]));
    const final = codec.attach(message, [{ input: 0, publicKey, signature: ed25519.sign(message, secretKey) }]);
    await withJsonRpc(forgetful, async (url) => void (await chainOf([url]).replace(final, { from, kind: 'speed_up' })));
  });

  test('attack: a node that lags behind calls nothing over that another process built', async () => {
    // It doesn't know the blockhash yet; the process that asks has never seen it and knows no height for it.
    const inEra = (era: bigint) => {
      const limit = budgetInstruction('data_limit', (1n << 20n) + (era << 10n));
      const message = encodeMessage(compile(from, blockhash, [limit, transfer]));
      return codec.attach(message, [{ input: 0, publicKey, signature: ed25519.sign(message, secretKey) }]);
    };
    await withJsonRpc(over, async (url) => {
      for (const era of [1n, 2n, 8_000n]) {
        const final = inEra(era);
        assert.deepEqual(await chainOf([url]).track(codec.transactionId(final), final), { status: 'unknown' });
        await assertCodeLater('not_replaceable', chainOf([url]).replace(final, { from, kind: 'speed_up' }));
      }
    });
  });

  test('attack: a nonce with a byte too much keeps a transaction good, and it is not called over', () =>
    withJsonRpc(over, async (url) => {
      // The system program reads no further than it has to.
      const advance = { program: SYSTEM_PROGRAM, accounts: [], data: Uint8Array.of(4, 0, 0, 0, 9) };
      const limit = budgetInstruction('data_limit', 1n << 20n);
      const message = encodeMessage(compile(from, blockhash, [advance, limit, transfer]));
      const final = codec.attach(message, [{ input: 0, publicKey, signature: ed25519.sign(message, secretKey) }]);
      assert.deepEqual(await chainOf([url]).track(codec.transactionId(final), final), { status: 'unknown' });
    }));

  test('a transaction that others built is not called over: its age is not known', () =>
    withJsonRpc(over, async (url) => {
      const message = encodeMessage(compile(from, blockhash, [transfer]));
      const final = codec.attach(message, [{ input: 0, publicKey, signature: ed25519.sign(message, secretKey) }]);
      await assertCodeLater('not_replaceable', chainOf([url]).replace(final, { from, kind: 'speed_up' }));
      assert.deepEqual(await chainOf([url]).track(codec.transactionId(final), final), { status: 'unknown' });
    }));

  test('a node that lags behind the one that gave the blockhash is not believed', () => {
    // It has not seen the blockhash yet, so it calls it invalid; its height gives it away.
    const lagging = { ...over, getBlockHeight: 240 };
    return withJsonRpc(lagging, (url) => assertCodeLater('not_replaceable', replaceMine(chainOf([url]))));
  });
});

function chainOf(urls: readonly string[], timeoutMs = 5_000): Chain {
  return createSolana({ urls, genesisHash, timeoutMs, wait: async () => {} });
}

function wallet(lamports: number): { [name: string]: Json } {
  return { lamports, owner: SYSTEM_PROGRAM, data: ['', 'base64'], executable: false, rentEpoch: 0, space: 0 };
}

/** `lies`: which account the node shows as the wallet's tokens. */
function tokenAccounts(amount: bigint, lies = tokenAccount(from, amount)): Answers {
  const mintData = Buffer.alloc(82);
  mintData[45] = 1;
  const minted = { ...wallet(1_461_600), owner: TOKEN_PROGRAM, data: [mintData.toString('base64'), 'base64'] };
  return { getMultipleAccounts: content([wallet(5e9), null, minted, lies, null]) };
}

function tokenAccount(owner: string, amount: bigint, ofMint = mint): { [name: string]: Json } {
  const data = Buffer.alloc(165);
  data.set(base58.decode(ofMint), 0);
  data.set(base58.decode(owner), 32);
  data.writeBigUInt64LE(amount, 64);
  data[108] = 1;
  return { ...wallet(2_039_280), owner: TOKEN_PROGRAM, data: [data.toString('base64'), 'base64'] };
}

function content(value: Json): Json {
  return { context: { slot: 102 }, value };
}
