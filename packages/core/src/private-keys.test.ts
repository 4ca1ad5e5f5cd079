/** Private derivation against the published vectors, BIP-32 and SLIP-10, and what it refuses without naming it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { ed25519 } from '@noble/curves/ed25519.js';
import { HDKey } from '@scure/bip32';
import { bytesToHex, hexToBytes } from './bytes.ts';
import {
  deriveEd25519,
  derivePrivate,
  ed25519Master,
  formatXprv,
  formatXpub,
  masterKey,
  parseXprv,
  publicHalf,
  wipeKey,
} from './private-keys.ts';

interface Vector<T> {
  readonly cases: readonly { readonly seed: string; readonly chains: readonly T[] }[];
}

describe('BIP-32', () => {
  type Chain = { readonly path: string; readonly xpub: string; readonly xprv: string };
  const vector = readVector<Vector<Chain> & { invalid: { key: string; reason: string }[] }>('bip32-private.json');

  for (const [at, { seed, chains }] of vector.cases.entries()) {
    for (const { path, xpub, xprv } of chains) {
      test(`vector ${at + 1}, path "${path}"`, () => {
        const key = derivePrivate(masterKey(hexToBytes(seed)), path);
        assert.equal(formatXprv(key), xprv);
        assert.equal(formatXpub(key), xpub);
        assert.deepEqual(parseXprv(xprv), key);
        const { publicKey, fingerprint } = publicHalf(key);
        assert.deepEqual(publicKey, HDKey.fromExtendedKey(xpub).publicKey);
        assert.equal(derivePrivate(key, '7').parentFingerprint, fingerprint);
      });
    }
  }

  for (const { key, reason } of vector.invalid) {
    test(`refused: ${reason}`, () => assert.throws(() => parseXprv(key), RangeError));
  }

  test('one changed character of an xprv is refused, and no word of it is repeated', () => {
    const { xprv } = vector.cases[0]!.chains[0]!;
    for (let at = 0; at < xprv.length; at++) {
      const changed = xprv.slice(0, at) + (xprv[at] === '2' ? '3' : '2') + xprv.slice(at + 1);
      assert.throws(
        () => parseXprv(changed),
        (error) => error instanceof RangeError && !error.message.includes(changed.slice(0, 8)),
      );
    }
    assert.throws(() => parseXprv('1'.repeat(100_000)), RangeError);
  });
});

describe('SLIP-10', () => {
  type Chain = Record<'path' | 'chain_code' | 'private_key' | 'public_key', string>;

  for (const [at, { seed, chains }] of readVector<Vector<Chain>>('slip10.json').cases.entries()) {
    for (const { path, chain_code, private_key, public_key } of chains) {
      test(`vector ${at + 1}, path "${path}"`, () => {
        const node = deriveEd25519(ed25519Master(hexToBytes(seed)), path);
        assert.equal(bytesToHex(node.privateKey), private_key);
        assert.equal(bytesToHex(node.chainCode), chain_code);
        assert.equal(bytesToHex(ed25519.getPublicKey(node.privateKey)), public_key);
      });
    }
  }

  test('a step that is not hardened is refused', () => {
    const master = ed25519Master(new Uint8Array(32));
    for (const path of ['0', '44h/0', '0/0h']) assert.throws(() => deriveEd25519(master, path), /hardened/);
  });
});

test('a path has one spelling', () => {
  const master = masterKey(new Uint8Array(32));
  const node = ed25519Master(new Uint8Array(32));
  const wrong = ['m', 'm/0', '/0', '0/', '0//0', "0'", '0H', '00', '01h', '-1', '2147483648', '0 ', ' 0', '1e3', 'h'];
  for (const path of [...wrong, Array(256).fill('0h').join('/')]) {
    assert.throws(() => derivePrivate(master, path), RangeError, path);
    assert.throws(() => deriveEd25519(node, path), RangeError, path);
  }
  derivePrivate(master, '48h/0h/0h/2h/0/2147483647');
});

test('deriving changes nothing of the parent, and what it gives is its own to wipe', () => {
  const master = masterKey(new Uint8Array(32).fill(7));
  const before = formatXprv(master);
  for (const path of ['', '0h', '0h/1/2']) wipeKey(derivePrivate(master, path));
  assert.equal(formatXprv(master), before);
  const node = ed25519Master(new Uint8Array(32).fill(7));
  const kept = bytesToHex(node.privateKey);
  for (const path of ['', '0h', '0h/1h/2h']) wipeKey(deriveEd25519(node, path));
  assert.equal(bytesToHex(node.privateKey), kept);
  const child = deriveEd25519(node, '0h');
  wipeKey(child);
  assert.deepEqual(child, { privateKey: new Uint8Array(32), chainCode: new Uint8Array(32) });
});

test('a path below the deepest key, and seeds too short or too long, are refused', () => {
  const deep = derivePrivate(masterKey(new Uint8Array(16)), Array(255).fill('0').join('/'));
  assert.equal(deep.depth, 255);
  assert.throws(() => derivePrivate(deep, '0'), RangeError);
  for (const length of [0, 15, 65]) {
    assert.throws(() => masterKey(new Uint8Array(length)), RangeError);
    assert.throws(() => ed25519Master(new Uint8Array(length)), RangeError);
  }
});

function readVector<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../vectors/${name}`, import.meta.url), 'utf8')) as T;
}
