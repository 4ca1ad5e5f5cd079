/** The devnet as its users see it: an engine that answers, gives money, and leaves nothing behind. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startEvm } from './evm.ts';

const ADDRESS = '0x00000000000000000000000000000000000000aa';

test('an engine answers as soon as it is started, and gives money and blocks', async () => {
  const evm = await startEvm();
  try {
    assert.equal(await ask(evm.rpcUrl, 'eth_chainId', []), '0x7a69');
    await evm.fund(ADDRESS, 5n);
    await evm.fund(ADDRESS, 7n);
    assert.equal(await ask(evm.rpcUrl, 'eth_getBalance', [ADDRESS, 'latest']), '0xc');
    await evm.mine(100);
    assert.equal(await ask(evm.rpcUrl, 'eth_blockNumber', []), '0x64');
  } finally {
    await evm.stop();
  }
});

test('a token is made, held and counted as its holders count it', async () => {
  const evm = await startEvm();
  try {
    const token = await evm.createToken();
    await evm.fundToken(token, ADDRESS, 5n);
    await evm.withoutBlocks(() => evm.fundToken(token, ADDRESS, 7n));
    const balanceOf = `0x70a08231${ADDRESS.slice(2).padStart(64, '0')}`;
    const held = await ask(evm.rpcUrl, 'eth_call', [{ to: token, data: balanceOf }, 'latest']);
    assert.equal(BigInt(String(held)), 12n);
    assert.notEqual(await evm.createToken(), token);
  } finally {
    await evm.stop();
  }
});

test('a reorg replaces the newest blocks and keeps those below, and blocks come when they are asked for', async () => {
  const evm = await startEvm();
  const hashAt = async (height: string) =>
    ((await ask(evm.rpcUrl, 'eth_getBlockByNumber', [height, false])) as { hash: string }).hash;
  try {
    await evm.mine(6);
    const before = [await hashAt('0x3'), await hashAt('0x4'), await hashAt('0x6')];
    await evm.reorg(3);
    assert.equal(await ask(evm.rpcUrl, 'eth_blockNumber', []), '0x6');
    const after = [await hashAt('0x3'), await hashAt('0x4'), await hashAt('0x6')];
    assert.deepEqual(
      after.map((hash, at) => hash === before[at]),
      [true, false, false],
    );
    await evm.withoutBlocks(async () => {
      const [from] = (await ask(evm.rpcUrl, 'eth_accounts', [])) as [string];
      await ask(evm.rpcUrl, 'eth_sendTransaction', [{ from, to: ADDRESS, value: '0x1' }]);
      assert.equal(await ask(evm.rpcUrl, 'eth_blockNumber', []), '0x6');
      await evm.mine(1);
      assert.equal(await ask(evm.rpcUrl, 'eth_getBalance', [ADDRESS, 'latest']), '0x1');
    });
  } finally {
    await evm.stop();
  }
});

test('two engines run side by side, and a stopped one frees its port', async () => {
  const [one, two] = await Promise.all([startEvm(), startEvm()]);
  assert.notEqual(one.rpcUrl, two.rpcUrl);
  await one.stop();
  const again = await startEvm({ port: Number(new URL(one.rpcUrl).port) });
  assert.equal(again.rpcUrl, one.rpcUrl);
  await Promise.all([two.stop(), again.stop()]);
});

test('a port in use is reported in the words of the engine', async () => {
  const evm = await startEvm();
  try {
    await assert.rejects(startEvm({ port: Number(new URL(evm.rpcUrl).port) }), /anvil stopped .*in use/is);
  } finally {
    await evm.stop();
  }
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`the devnet process ends cleanly on ${signal}, and its engine with it`, async () => {
    const { devnet, engine } = await startDevnetProcess();
    const exit = once(devnet, 'exit');
    const end = closed(engine);
    devnet.kill(signal);
    assert.deepEqual(await exit, [0, null]);
    await end;
  });
}

test('the engine dies with its parent, even by kill -9', { skip: process.platform !== 'linux' }, async () => {
  const { devnet, engine } = await startDevnetProcess();
  const end = closed(engine);
  devnet.kill('SIGKILL');
  await end;
});

/** `main.ts` as a process of its own, and a connection to its engine that ends when the engine does. */
async function startDevnetProcess(): Promise<{ devnet: ChildProcess; engine: Socket }> {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const devnet = spawn(process.execPath, ['--import', 'tsx', main, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface({ input: devnet.stdout }), 'line')) as [string];
  const { evm } = JSON.parse(line) as { evm: { rpc_url: string; chain_id: number } };
  assert.equal(evm.chain_id, 31337);
  const engine = connect(Number(new URL(evm.rpc_url).port), '127.0.0.1');
  await once(engine, 'connect');
  return { devnet, engine };
}

/** A killed peer may reset the connection instead of closing it. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.resume();
  });
}

async function ask(rpcUrl: string, method: string, params: readonly unknown[]): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const response = await fetch(rpcUrl, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  return ((await response.json()) as { result: unknown }).result;
}
