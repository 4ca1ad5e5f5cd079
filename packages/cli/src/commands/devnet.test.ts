/** The faucet and the miner of a local chain, from the command line. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type BitcoinDevnet, type EvmDevnet, startBitcoin, startEvm } from '@kedge/devnet';
import { parseLine } from '../command.ts';
import { devnetCommands } from './devnet.ts';

const BITCOIN_ADDRESS = 'bcrt1q5n2k3frgpxces3dsw4qfpqk4kksv0cz96pldxdwxrrw0d5ud5hcqzzx7zt';
const EVM_ADDRESS = '0x00000000000000000000000000000000000000aa';

describe('kedge devnet', () => {
  const home = mkdtempSync(join(tmpdir(), 'kedge-devnet-'));
  let bitcoin: BitcoinDevnet;
  let evm: EvmDevnet;

  before(async () => {
    [bitcoin, evm] = await Promise.all([startBitcoin(), startEvm()]);
  });
  after(async () => {
    await Promise.all([bitcoin.stop(), evm.stop()]);
    rmSync(home, { recursive: true });
  });

  const kedge = (...words: string[]) => {
    const line = parseLine([...words, '--home', home]);
    const command = devnetCommands.find((each) => each.words.split(' ').every((word, i) => line.words[i] === word))!;
    return command.run(line.context(command.words.split(' ').length));
  };
  const ask = async (path: string) => (await fetch(bitcoin.esploraUrl + path)).json();

  test('fund pays and mine makes blocks, on each chain that --url names', async () => {
    await kedge('devnet', 'fund', 'bitcoin', BITCOIN_ADDRESS, '70000', '--url', bitcoin.esploraUrl);
    const [coin] = (await ask(`/address/${BITCOIN_ADDRESS}/utxo`)) as { value: number }[];
    assert.equal(coin!.value, 70_000);
    const before = (await ask('/blocks/tip/height')) as number;
    await kedge('devnet', 'mine', 'bitcoin', '3', '--url', bitcoin.esploraUrl);
    assert.equal(await ask('/blocks/tip/height'), before + 3);

    await kedge('devnet', 'fund', 'evm', EVM_ADDRESS, '20000000000000000000', '--url', evm.rpcUrl);
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_getBalance', params: [EVM_ADDRESS, 'latest'] });
    const headers = { 'content-type': 'application/json' };
    const answer = await (await fetch(evm.rpcUrl, { method: 'POST', headers, body })).json();
    assert.equal(BigInt((answer as { result: string }).result), 20_000_000_000_000_000_000n);
    await kedge('devnet', 'mine', 'evm', '2', '--url', evm.rpcUrl);
  });

  test('without --url it asks the devnet of the service that runs from this state folder', async () => {
    await assert.rejects(kedge('devnet', 'mine', 'bitcoin', '1'), /Name one with --url/);
    mkdirSync(join(home, 'run'));
    const devnet = { bitcoin: { esplora_url: bitcoin.esploraUrl, network: 'regtest' } };
    writeFileSync(join(home, 'run', 'service.json'), JSON.stringify({ devnet }));
    await kedge('devnet', 'mine', 'bitcoin', '1');
    await assert.rejects(kedge('devnet', 'mine', 'evm', '1'), /Name one with --url/);
  });

  test('what can not be done is said in a sentence', async () => {
    const at = ['--url', bitcoin.esploraUrl];
    const wrong: [words: string[], why: RegExp][] = [
      [['fund'], /The chain is missing/],
      [['fund', 'dogecoin', BITCOIN_ADDRESS, '1'], /There is no chain dogecoin/],
      [['fund', 'bitcoin', BITCOIN_ADDRESS, '0.5', ...at], /whole number of the smallest unit/],
      [['fund', 'bitcoin', 'bc1qxyz', '1000', ...at], /The devnet refuses: bc1qxyz is no address of regtest/],
      [['fund', 'bitcoin', BITCOIN_ADDRESS, '99999999999999999', ...at], /more than there is/],
      [['mine', 'bitcoin', 'many', ...at], /whole number from 1 on/],
      [['mine', 'bitcoin', '1', '--url', 'http://127.0.0.1:1'], /No devnet answers there/],
    ];
    for (const [words, why] of wrong) await assert.rejects(kedge('devnet', ...words), why);
  });
});
