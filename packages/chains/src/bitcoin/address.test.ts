/** Addresses: BIP173 and 350, single characters, other networks, and the dust limits that nodes apply. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { ChainError } from '../chain.ts';
import { readVector } from '../testing/vectors.ts';
import { addressOfScript, describeScript, dustLimit, parseBitcoinAddress, scriptOfAddress } from './address.ts';
import { bitcoinNetworks } from './networks.ts';

const { mainnet, testnet, regtest } = bitcoinNetworks;
const vectors = readVector<{
  readonly valid: readonly { readonly address: string; readonly script: string }[];
  readonly invalid: readonly { readonly address: string; readonly why: string }[];
}>('segwit-addresses.json');

describe('BIP350', () => {
  for (const { address, script } of vectors.valid) {
    const network = /^tb/i.test(address) ? testnet : mainnet;
    const isKnown = /^(0014|0020|5120)/.test(script) && script.length === 4 + 2 * Number(`0x${script.slice(2, 4)}`);
    test(`${address}: ${isKnown ? 'its script' : 'a witness version without rules is refused'}`, () => {
      if (!isKnown) return assertRefused(address, network);
      assert.equal(bytesToHex(scriptOfAddress(address, network)), script);
      assert.equal(parseBitcoinAddress(address, network), address.toLowerCase());
      assert.equal(addressOfScript(hexToBytes(script), network), address.toLowerCase());
    });
  }

  for (const { address, why } of vectors.invalid) {
    test(`${address} is refused: ${why}`, () => {
      for (const network of [mainnet, testnet]) assertRefused(address, network);
    });
  }
});

const examples = [
  '1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2',
  '3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy',
  'bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4',
  'bc1q43c8968rrf5hhkxeua97s42ytrs7qyzla3j6l8wu52qldydj309shyfawn',
  'bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0',
];

test('one changed character is caught, at every place, whatever the kind', () => {
  for (const address of examples) {
    assert.equal(parseBitcoinAddress(address, mainnet), address);
    for (let at = 0; at < address.length; at++) {
      for (const other of ['q', 'p', '2', 'z', 'L']) {
        const changed = address.slice(0, at) + other + address.slice(at + 1);
        if (changed !== address) assertRefused(changed, mainnet);
      }
    }
  }
});

test('an address of another network is refused', () => {
  for (const address of examples) for (const network of [testnet, regtest]) assertRefused(address, network);
});

test('dust limits are those of Bitcoin Core', () => {
  // P2PKH, P2SH, P2WPKH, P2WSH, P2TR as in its policy documentation.
  const limits = examples.map((address) => dustLimit(scriptOfAddress(address, mainnet)));
  assert.deepEqual(limits, [546n, 540n, 294n, 330n, 330n]);
  assert.equal(dustLimit(hexToBytes('6a0101')), 0n);
});

test('a script without an address is shown as what it is', () => {
  assert.equal(describeScript(hexToBytes('6a0101'), mainnet), 'script:6a0101');
  assert.equal(describeScript(hexToBytes('51024e73'), mainnet), 'script:51024e73');
});

function assertRefused(address: string, network: typeof mainnet): void {
  assert.throws(
    () => parseBitcoinAddress(address, network),
    (error) => error instanceof ChainError && error.code === 'address_invalid',
    address,
  );
}
