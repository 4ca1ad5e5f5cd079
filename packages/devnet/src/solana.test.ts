/** The Solana devnet as wallets see it: the JSON-RPC of the public documentation, with an engine that judges for itself. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { ed25519 } from '@noble/curves/ed25519.js';
import { base58 } from '@scure/base';
import {
  address,
  appendTransactionMessageInstruction,
  compileTransaction,
  createKeyPairSignerFromPrivateKeyBytes,
  createSolanaRpc,
  createTransactionMessage,
  getBase64EncodedWireTransaction,
  lamports,
  pipe,
  setTransactionMessageFeePayer,
  setTransactionMessageLifetimeUsingBlockhash,
  signTransaction,
} from '@solana/kit';
import { type SolanaDevnet, startSolana } from './solana.ts';

const SOL = 10n ** 9n;
const SYSTEM = '11111111111111111111111111111111';

test('an engine answers as soon as it is started, and gives money, slots and blockhashes', () =>
  withDevnet(async (devnet) => {
    const to = newKey().address;
    await devnet.fund(to, SOL);
    await devnet.fund(to, SOL);
    assert.equal((await ask(devnet, 'getBalance', [to])).result.value, 2e9);
    assert.equal((await ask(devnet, 'getHealth')).result, 'ok');
    assert.equal((await ask(devnet, 'getGenesisHash')).result, devnet.genesisHash);
    const before = (await ask(devnet, 'getSlot')).result;
    await devnet.mine(7);
    assert.equal((await ask(devnet, 'getSlot')).result, before + 7);
    assert.equal((await ask(devnet, 'devnet_mine', [3])).result, before + 10);
    assert.equal((await ask(devnet, 'getBlockHeight')).result, before + 10);
  }));

test('two engines run side by side, and a stopped one frees its port', async () => {
  const [one, two] = await Promise.all([startSolana(), startSolana()]);
  assert.notEqual(one.rpcUrl, two.rpcUrl);
  await one.stop();
  const again = await startSolana({ port: Number(new URL(one.rpcUrl).port) });
  assert.equal(again.rpcUrl, one.rpcUrl);
  await assert.rejects(startSolana({ port: Number(new URL(one.rpcUrl).port) }), /EADDRINUSE/);
  await Promise.all([two.stop(), again.stop()]);
});

test("Solana's own client library pays with it: airdrop, transfer, status, history", () =>
  withDevnet(async (devnet) => {
    const rpc = createSolanaRpc(devnet.rpcUrl);
    const signer = await createKeyPairSignerFromPrivateKeyBytes(ed25519.utils.randomSecretKey());
    const to = address(newKey().address);
    const airdrop = await rpc.requestAirdrop(signer.address, lamports(5n * SOL)).send();
    const statuses = await rpc.getSignatureStatuses([airdrop]).send();
    assert.equal(statuses.value[0]?.confirmationStatus, 'finalized');
    const { value: lifetime } = await rpc.getLatestBlockhash().send();
    const data = Buffer.alloc(12);
    data.writeUInt32LE(2);
    data.writeBigUInt64LE(SOL, 4);
    const message = pipe(
      createTransactionMessage({ version: 0 }),
      (tx) => setTransactionMessageFeePayer(signer.address, tx),
      (tx) => setTransactionMessageLifetimeUsingBlockhash(lifetime, tx),
      (tx) =>
        appendTransactionMessageInstruction(
          {
            programAddress: address(SYSTEM),
            accounts: [
              { address: signer.address, role: 3 },
              { address: to, role: 1 },
            ],
            data: new Uint8Array(data),
          },
          tx,
        ),
    );
    const signed = await signTransaction([signer.keyPair], compileTransaction(message));
    const wire = getBase64EncodedWireTransaction(signed);
    const signature = await rpc.sendTransaction(wire, { encoding: 'base64' }).send();
    assert.equal((await rpc.getBalance(to).send()).value, SOL);
    assert.equal((await rpc.getBalance(signer.address).send()).value, 4n * SOL - 5_000n);
    const found = await rpc.getTransaction(signature, { maxSupportedTransactionVersion: 0, encoding: 'json' }).send();
    assert.equal(found?.meta?.fee, 5_000n);
    assert.deepEqual(found?.meta?.postBalances.slice(0, 2), [4n * SOL - 5_000n, SOL]);
    const history = await rpc.getSignaturesForAddress(signer.address).send();
    assert.deepEqual(
      history.map((entry) => entry.signature),
      [signature, airdrop],
    );
    assert.equal((await rpc.getAccountInfo(to, { encoding: 'base64' }).send()).value?.owner, SYSTEM);
  }));

test('tokens are made by the real token program, and shown as wallets read them', () =>
  withDevnet(async (devnet) => {
    const owner = newKey().address;
    const mint = await devnet.createMint(6);
    await devnet.fundToken(mint, owner, 1_500_000n);
    await devnet.fundToken(mint, owner, 1_000_000n);
    const { result } = await ask(devnet, 'getTokenAccountsByOwner', [owner, { mint }, { encoding: 'jsonParsed' }]);
    assert.equal(result.value.length, 1);
    const [{ pubkey, account }] = result.value;
    assert.equal(account.lamports, 2_039_280);
    assert.deepEqual(account.data.parsed.info, {
      isNative: false,
      mint,
      owner,
      state: 'initialized',
      tokenAmount: { amount: '2500000', decimals: 6, uiAmount: 2.5, uiAmountString: '2.5' },
    });
    assert.equal((await ask(devnet, 'getTokenAccountBalance', [pubkey])).result.value.amount, '2500000');
    const raw = (await ask(devnet, 'getMultipleAccounts', [[pubkey, owner], { encoding: 'base64' }])).result.value;
    assert.equal(Buffer.from(raw[0].data[0], 'base64').length, 165);
    assert.equal(raw[1], null);
  }));

test('what the engine refuses is refused in the words of a node', () =>
  withDevnet(async (devnet) => {
    const key = newKey();
    const to = newKey().address;
    await devnet.fund(key.address, SOL);
    const refusals: [transaction: Uint8Array, code: number, message: RegExp, err: unknown][] = [
      [
        await transfer(devnet, key, to, 2n * SOL),
        -32002,
        /^Transaction simulation failed: Error processing Instruction 0: custom program error: 0x1$/,
        { InstructionError: [0, { Custom: 1 }] },
      ],
      [
        await transfer(devnet, key, to, 1n),
        -32002,
        /insufficient funds for rent/,
        { InsufficientFundsForRent: { account_index: 1 } },
      ],
      [await transfer(devnet, newKey(), to, 1n), -32002, /no record of a prior credit/, 'AccountNotFound'],
      [await transfer(devnet, { ...newKey(), address: key.address }, to, 1n), -32003, /signature verif/, undefined],
    ];
    for (const [bytes, code, message, err] of refusals) {
      const { error } = await send(devnet, bytes);
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      assert.deepEqual(error.data?.err, err);
    }
    const late = await transfer(devnet, key, to, SOL / 2n);
    await devnet.expireBlockhashes();
    assert.deepEqual((await send(devnet, late)).error.data.err, 'BlockhashNotFound');
  }));

test('a blockhash is good for 150 slots and not for one more', () =>
  withDevnet(async (devnet) => {
    const key = newKey();
    await devnet.fund(key.address, 10n * SOL);
    const [early, late] = [
      await transfer(devnet, key, newKey().address, SOL),
      await transfer(devnet, key, newKey().address, SOL),
    ];
    const { blockhash, lastValidBlockHeight } = (await ask(devnet, 'getLatestBlockhash')).result.value;
    await devnet.mine(150);
    assert.equal((await ask(devnet, 'getBlockHeight')).result, lastValidBlockHeight);
    assert.equal((await ask(devnet, 'isBlockhashValid', [blockhash])).result.value, true);
    assert.equal((await send(devnet, early)).error, undefined);
    assert.equal((await ask(devnet, 'isBlockhashValid', [blockhash])).result.value, false);
    assert.equal((await send(devnet, late)).error.data.err, 'BlockhashNotFound');
  }));

test('attack: a second signature over the same message spends nothing', () =>
  withDevnet(async (devnet) => {
    const key = newKey();
    const to = newKey().address;
    await devnet.fund(key.address, 10n * SOL);
    const once = await transfer(devnet, key, to, SOL);
    const again = new Uint8Array([1, ...signRandomly(once.subarray(65), key.secretKey), ...once.subarray(65)]);
    assert.notDeepEqual(again, once);
    assert.equal((await send(devnet, once)).error, undefined);
    for (const bytes of [once, again]) {
      assert.equal((await send(devnet, bytes)).error.data.err, 'AlreadyProcessed');
      await send(devnet, bytes, { skipPreflight: true });
    }
    assert.equal((await ask(devnet, 'getBalance', [to])).result.value, 1e9);
  }));

test('a transaction that fails while it runs pays its fee and keeps its status', () =>
  withDevnet(async (devnet) => {
    const key = newKey();
    await devnet.fund(key.address, SOL);
    const bytes = await transfer(devnet, key, newKey().address, 2n * SOL);
    const { result } = await send(devnet, bytes, { skipPreflight: true });
    const [status] = (await ask(devnet, 'getSignatureStatuses', [[result]])).result.value;
    assert.deepEqual(status.err, { InstructionError: [0, { Custom: 1 }] });
    assert.equal((await ask(devnet, 'getBalance', [key.address])).result.value, 1e9 - 5_000);
  }));

test('the fee it names for a message is the fee it takes', () =>
  withDevnet(async (devnet) => {
    const key = newKey();
    await devnet.fund(key.address, SOL);
    const bytes = await transfer(devnet, key, key.address, 1n);
    const message = Buffer.from(bytes.subarray(65)).toString('base64');
    assert.equal((await ask(devnet, 'getFeeForMessage', [message])).result.value, 5_000);
    await send(devnet, bytes);
    assert.equal((await ask(devnet, 'getBalance', [key.address])).result.value, 1e9 - 5_000);
  }));

test('attack: bytes that are no transaction, and requests without sense or end, leave the engine running', () =>
  withDevnet(async (devnet) => {
    const key = newKey();
    await devnet.fund(key.address, SOL);
    const good = await transfer(devnet, key, newKey().address, SOL / 2n);
    const seed = createHash('sha512').update(good).digest();
    for (let at = 0; at < good.length; at++) {
      for (const value of [0, 1, 0x7f, 0x80, 0x81, 0xff, seed[at % 64]!]) {
        const changed = good.slice();
        changed[at] = value;
        if (at >= 65) changed.set(ed25519.sign(changed.subarray(65), key.secretKey), 1);
        const config = { encoding: 'base64', sigVerify: at % 2 === 0 };
        await ask(devnet, 'simulateTransaction', [Buffer.from(changed).toString('base64'), config]);
      }
      await send(devnet, good.subarray(0, at), { skipPreflight: true });
    }
    for (const params of [[], [null], [{}], ['!'], [1e9], [[]], ['1'.repeat(44)], ['x'.repeat(9_999)]]) {
      for (const method of ['getBalance', 'sendTransaction', 'getTokenAccountsByOwner', 'getBlock', 'requestAirdrop']) {
        assert.equal(typeof (await ask(devnet, method, params)).error?.code, 'number', `${method} ${params}`);
      }
    }
    assert.equal((await ask(devnet, 'noSuchMethod')).error.code, -32601);
    assert.equal((await ask(devnet, 'constructor')).error.code, -32601);
    assert.equal((await post(devnet, '{')).status, 200);
    assert.equal((await post(devnet, ' '.repeat(60_000))).status, 413);
    assert.equal((await fetch(devnet.rpcUrl)).status, 405);
    assert.equal((await ask(devnet, 'getHealth')).result, 'ok');
  }));

interface Key {
  readonly secretKey: Uint8Array;
  readonly address: string;
}

function newKey(): Key {
  const secretKey = ed25519.utils.randomSecretKey();
  return { secretKey, address: base58.encode(ed25519.getPublicKey(secretKey)) };
}

async function withDevnet(work: (devnet: SolanaDevnet) => Promise<void>): Promise<void> {
  const devnet = await startSolana();
  try {
    await work(devnet);
  } finally {
    await devnet.stop();
  }
}

/** A signed legacy transfer, laid out by hand. */
async function transfer(devnet: SolanaDevnet, from: Key, to: string, amount: bigint): Promise<Uint8Array> {
  const { blockhash } = (await ask(devnet, 'getLatestBlockhash')).result.value;
  const keys = [...new Set([from.address, to, SYSTEM])].map((key) => base58.decode(key));
  const data = Buffer.alloc(12);
  data.writeUInt32LE(2);
  data.writeBigUInt64LE(amount, 4);
  const self = keys.length === 2;
  const message = new Uint8Array([
    ...[1, 0, 1, keys.length],
    ...keys.flatMap((key) => [...key]),
    ...base58.decode(blockhash),
    ...[1, keys.length - 1, 2, 0, self ? 0 : 1, 12],
    ...data,
  ]);
  return new Uint8Array([1, ...ed25519.sign(message, from.secretKey), ...message]);
}

/** As threshold signers do it: a valid signature with a random nonce, another one each time. */
function signRandomly(message: Uint8Array, secretKey: Uint8Array): Uint8Array {
  const { scalar, pointBytes } = ed25519.utils.getExtendedPublicKey(secretKey);
  const order = ed25519.Point.Fn.ORDER;
  const number = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  const nonce = (number(ed25519.utils.randomSecretKey()) % (order - 1n)) + 1n;
  const commitment = ed25519.Point.BASE.multiply(nonce).toBytes();
  const challenge = number(createHash('sha512').update(commitment).update(pointBytes).update(message).digest());
  const response = (nonce + challenge * scalar) % order;
  return new Uint8Array([...commitment, ...Buffer.from(response.toString(16).padStart(64, '0'), 'hex').reverse()]);
}

function send(devnet: SolanaDevnet, bytes: Uint8Array, config: object = {}): Promise<Answer> {
  return ask(devnet, 'sendTransaction', [Buffer.from(bytes).toString('base64'), { encoding: 'base64', ...config }]);
}

function post(devnet: SolanaDevnet, body: string): Promise<Response> {
  return fetch(devnet.rpcUrl, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
}

// biome-ignore lint/suspicious/noExplicitAny: answers are asserted on, field by field
type Answer = { result: any; error: any };

async function ask(devnet: SolanaDevnet, method: string, params: unknown[] = []): Promise<Answer> {
  return (await (await post(devnet, JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }))).json()) as Answer;
}
