/** Extended public keys: BIP32's invalid ones, SLIP-132's spellings, roots made of a key and a chain code, single characters. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hexToBytes } from '@noble/hashes/utils.js';
import { HDKey } from '@scure/bip32';
import { ChainError } from '../chain.ts';
import { formatPath, parsePath } from '../derivation-path.ts';
import { readVector } from '../testing/vectors.ts';
import { type ExtendedKeyUse, fingerprintOf, formatExtendedKey, parseExtendedKey, rootExtendedKey } from './xpub.ts';

const slip132 = readVector<{
  readonly same_use: readonly { readonly path: string; readonly text: string; readonly use: ExtendedKeyUse }[];
  readonly xpub: string;
  readonly zpub_multisig: string;
}>('slip132.json');

describe('BIP32: keys that must be refused', () => {
  for (const { text, why } of readVector<{ keys: readonly { text: string; why: string }[] }>('bip32-invalid.json')
    .keys) {
    test(why, () => assertRefused(text));
  }
});

describe('SLIP-132', () => {
  for (const { text, use } of slip132.same_use) {
    test(`${text.slice(0, 4)} is read as a key for ${use}, and written again`, () => {
      const key = parseExtendedKey(text);
      assert.deepEqual([key.use, key.network], [use, 'mainnet']);
      assert.equal(formatExtendedKey(key, 'mainnet', use), text);
    });
  }

  test('the Zpub of a multisig key', () => {
    assert.equal(formatExtendedKey(parseExtendedKey(slip132.xpub), 'mainnet', 'p2wsh'), slip132.zpub_multisig);
  });

  test('every use on every network has its own prefix and comes back', () => {
    const key = parseExtendedKey(slip132.xpub);
    const spellings = (['mainnet', 'test'] as const).flatMap((network) =>
      (['any', 'p2sh-p2wpkh', 'p2wpkh', 'p2sh-p2wsh', 'p2wsh'] as const).map((use) => {
        const text = formatExtendedKey(key, network, use);
        const read = parseExtendedKey(text);
        assert.deepEqual([read.network, read.use], [network, use]);
        return text.slice(0, 4);
      }),
    );
    assert.deepEqual(spellings, ['xpub', 'ypub', 'zpub', 'Ypub', 'Zpub', 'tpub', 'upub', 'vpub', 'Upub', 'Vpub']);
  });
});

test('a public key and a chain code make a root, which another library reads and derives from', () => {
  const seed = HDKey.fromMasterSeed(new Uint8Array(16).fill(7));
  const root = rootExtendedKey(seed.publicKey!, seed.chainCode!);
  assert.deepEqual([root.depth, root.parentFingerprint, root.childNumber], [0, 0, 0]);
  const text = formatExtendedKey(root, 'mainnet');
  assert.equal(text, seed.publicExtendedKey);
  assert.deepEqual(HDKey.fromExtendedKey(text).derive('m/0/7').publicKey, seed.derive('m/0/7').publicKey);
  assert.equal(fingerprintOf(root.publicKey), seed.fingerprint.toString(16).padStart(8, '0'));
});

test('chain codes of 31 and 33 bytes, of zeros, and keys that are no points make none', () => {
  const { publicKey, chainCode } = HDKey.fromMasterSeed(new Uint8Array(16).fill(7));
  const uncompressed = hexToBytes(`04${'11'.repeat(64)}`);
  for (const [key, code] of [
    [publicKey!, chainCode!.slice(1)],
    [publicKey!, new Uint8Array([...chainCode!, 0])],
    [publicKey!, new Uint8Array(32)],
    [publicKey!.slice(1), chainCode!],
    [uncompressed, chainCode!],
    [new Uint8Array(33).fill(2, 0, 1), chainCode!],
  ] as const) {
    assert.throws(() => rootExtendedKey(key, code), isRefusal);
  }
});

test('a private key is told as such, and stays out of the message', () => {
  const { privateExtendedKey } = HDKey.fromMasterSeed(new Uint8Array(16).fill(7));
  assert.throws(
    () => parseExtendedKey(privateExtendedKey),
    (error) =>
      isRefusal(error) && /PRIVATE/.test(String(error)) && !String(error).includes(privateExtendedKey.slice(4, 20)),
  );
});

test('one changed, missing or doubled character is caught, at every place', () => {
  const { xpub } = slip132;
  for (let at = 0; at < xpub.length; at++) {
    const other = xpub[at] === 'A' ? 'B' : 'A';
    const [before, after] = [xpub.slice(0, at), xpub.slice(at + 1)];
    for (const changed of [before + other + after, before + after, before + xpub[at] + xpub[at] + after]) {
      if (changed !== xpub) assertRefused(changed);
    }
  }
  for (const text of ['', 'xpub', 'x'.repeat(10_000), `${xpub} `, xpub.toLowerCase()]) assertRefused(text);
});

test('derivation paths have one spelling, and others’ spellings are understood', () => {
  for (const text of ["m/48'/0'/0'/2'", 'm/48h/0h/0h/2h', '48H/0H/0H/2H', '48h/0h/0h/2h']) {
    assert.equal(formatPath(parsePath(text)), '48h/0h/0h/2h');
  }
  assert.deepEqual(parsePath('m'), []);
  assert.deepEqual(parsePath('0/2147483647h'), [0, 0xffffffff]);
  for (const text of ['m/', '/0', '0/', '0//1', '-1', '01', '2147483648', '1.5', 'a', '0hh', '*', '0/'.repeat(300)]) {
    if (text !== 'm/') assert.throws(() => parsePath(text), isRefusal, text);
  }
});

function assertRefused(text: string): void {
  assert.throws(() => parseExtendedKey(text), isRefusal, text);
}

function isRefusal(error: unknown): boolean {
  return error instanceof ChainError && error.code === 'key_invalid';
}
