/** PSBTs: the vectors of BIP174, 370 and 371, the transaction library in both directions, and every truncation. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hexToBytes } from '@noble/hashes/utils.js';
import { Transaction } from '@scure/btc-signer';
import { ChainError } from '../chain.ts';
import { readVector } from '../testing/vectors.ts';
import { bitcoinCodec } from './codec.ts';
import { bitcoinNetworks } from './networks.ts';
import { formatPsbt, parsePsbt, psbtFromText, psbtToText } from './psbt.ts';

interface PsbtVectors {
  readonly sections: Readonly<Record<string, readonly { readonly title: string; readonly hex: string }[]>>;
}

const bip174 = readVector<PsbtVectors>('bip174.json').sections;
const bip370 = readVector<PsbtVectors>('bip370.json').sections;
const bip371 = readVector<PsbtVectors>('bip371.json').sections;

/** Valid for the standard and useless to a wallet: nothing is spent. */
const spendsNothing = /0 inputs/;

for (const [name, vectors] of Object.entries({ bip174, bip370, bip371 })) {
  describe(name, () => {
    for (const { title, hex } of vectors['The following are invalid PSBTs'] ?? [])
      test(`refused: ${title}`, () => assertRefused(hexToBytes(hex)));

    for (const { title, hex } of vectors['The following are valid PSBTs'] ?? []) {
      if (spendsNothing.test(title)) {
        test(`refused, because it spends nothing: ${title}`, () => assertRefused(hexToBytes(hex)));
        continue;
      }
      test(`read, written and read again: ${title}`, () => {
        const psbt = parsePsbt(hexToBytes(hex));
        const written = formatPsbt(psbt);
        assert.deepEqual(parsePsbt(written), psbt);
        assert.deepEqual(psbtFromText(psbtToText(written)), written);
        // The library takes what was written, and sees the same transaction.
        const theirs = Transaction.fromPSBT(written, {
          allowUnknownOutputs: true,
          unknown: 'ignore',
          allowUnknownVersion: true,
        });
        assert.equal(theirs.inputsLength, psbt.inputs.length);
        assert.equal(theirs.lockTime, psbt.tx.lockTime);
      });
    }
  });
}

describe('bip174: what a signer must refuse', () => {
  for (const { title, hex } of bip174['Fails Signer checks']!) {
    test(title, () => {
      assert.throws(() => bitcoinCodec(bitcoinNetworks.mainnet).digests(hexToBytes(hex)), isInvalid);
    });
  }
});

describe('bip370: the lock time of a PSBT of version 2', () => {
  for (const [section, cases] of Object.entries(bip370).filter(([name]) => name.startsWith('The timelock'))) {
    const expected = /to be (\d+)/.exec(section)?.[1];
    for (const { title, hex } of cases) {
      test(`${title}: ${expected ?? 'none is possible'}`, () => {
        if (expected === undefined) assertRefused(hexToBytes(hex));
        else assert.equal(parsePsbt(hexToBytes(hex)).tx.lockTime, Number(expected));
      });
    }
  }
});

test('what is cut off anywhere, or goes on after its end, is refused', () => {
  const { hex } = bip174['The following are valid PSBTs']![0]!;
  const good = hexToBytes(hex);
  parsePsbt(good);
  for (let length = 0; length < good.length; length++) assertRefused(good.subarray(0, length));
  assertRefused(new Uint8Array([...good, 0]));
});

test('text that is neither base64 nor hex, and text without end, is refused', () => {
  for (const text of ['', 'hello world!', '70736274f', 'cHNidP8='.repeat(3_000_000)]) {
    assert.throws(() => parsePsbt(psbtFromText(text)), isInvalid);
  }
});

function assertRefused(bytes: Uint8Array): void {
  assert.throws(() => parsePsbt(bytes), isInvalid);
}

function isInvalid(error: unknown): boolean {
  return error instanceof ChainError && error.code === 'transaction_invalid';
}
