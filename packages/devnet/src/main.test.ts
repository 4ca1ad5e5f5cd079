/** The devnet as a process: one line when every engine answers, and nothing left when it or its parent is gone. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

interface Line {
  readonly bitcoin: { readonly esplora_url: string; readonly network: string };
  readonly evm: { readonly rpc_url: string; readonly chain_id: number };
}

test('one line says where every engine is, and each of them answers there', async () => {
  const { devnet, line } = await start();
  try {
    assert.equal(line.bitcoin.network, 'regtest');
    assert.equal(line.evm.chain_id, 31337);
    const height = await (await fetch(`${line.bitcoin.esplora_url}/blocks/tip/height`)).text();
    assert.ok(Number(height) > 0);
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_chainId', params: [] });
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(line.evm.rpc_url, { method: 'POST', headers, body });
    assert.deepEqual(await answer.json(), { jsonrpc: '2.0', id: 1, result: '0x7a69' });
  } finally {
    devnet.kill('SIGTERM');
  }
  assert.deepEqual(await once(devnet, 'exit'), [0, null]);
  await assert.rejects(fetch(`${line.bitcoin.esplora_url}/blocks/tip/height`));
});

test('a devnet that is a child ends with its parent, whose end of the pipe closes however it dies', async () => {
  const { devnet } = await start();
  devnet.stdin!.end();
  assert.deepEqual(await once(devnet, 'exit'), [0, null]);
});

async function start(): Promise<{ devnet: ChildProcess; line: Line }> {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const devnet = spawn(process.execPath, ['--import', 'tsx', main, '--json'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, KEDGE_CHILD: '1' },
  });
  const [text] = (await once(createInterface({ input: devnet.stdout }), 'line')) as [string];
  return { devnet, line: JSON.parse(text) as Line };
}
