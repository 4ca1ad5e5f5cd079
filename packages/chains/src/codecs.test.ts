/** Names of chains, and what is none. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bitcoinNetworks } from './bitcoin/networks.ts';
import { findCodec } from './codecs.ts';
import { SOLANA_GENESIS, solanaNetwork } from './solana/codec.ts';

test('every network that is known is found by its own name, and keeps its codec', () => {
  const names = [
    ...Object.values(bitcoinNetworks).map(({ caip2 }) => caip2),
    ...Object.values(SOLANA_GENESIS).map(solanaNetwork),
    'eip155:1',
    'eip155:31337',
  ];
  for (const name of names) {
    assert.equal(findCodec(name)?.network, name);
    assert.equal(findCodec(name), findCodec(name));
  }
});

test('another spelling of a chain, and no chain at all, is none', () => {
  for (const name of [
    'eip155:0',
    'eip155:01',
    'eip155:0x1',
    'eip155:99999999999999999',
    'bip122:00',
    'solana:',
    'btc',
    '',
  ])
    assert.equal(findCodec(name), null, name);
});

test('strangers who name a thousand chains fill no memory', () => {
  const first = findCodec('eip155:1000000');
  for (let id = 1_000_001; id < 1_001_000; id++) findCodec(`eip155:${id}`);
  assert.notEqual(findCodec('eip155:1000000'), first, 'it was forgotten and made again');
});
