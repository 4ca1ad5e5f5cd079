/** What is stored: it comes back as it was, and nothing else is read. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { concat, u8 } from './bytes.ts';
import { decodeKeyShare, decodeOtSetup, encodeKeyShare, encodeOtSetup } from './key-share.ts';
import { suiteNames } from './suite.ts';
import { dealWallet } from './testing/dealer.ts';
import { fastArithmetic } from './testing/wallets.ts';

describe('KeyShare v1', async () => {
  const [holder] = await dealWallet({ threshold: 2, count: 3, suites: suiteNames });
  for (const suite of suiteNames) {
    const share = holder!.shares.get(suite)!;
    const bytes = encodeKeyShare(share);

    test(`${suite}: comes back as it was`, () => {
      assert.deepEqual(decodeKeyShare(bytes, fastArithmetic), share);
    });

    test(`${suite}: every truncation, every extension, another version and another suite are refused`, () => {
      for (let length = 0; length < bytes.length; length++)
        assert.throws(() => decodeKeyShare(bytes.slice(0, length), fastArithmetic), { name: 'MpcError' });
      for (let byte = 0; byte < 256; byte += 51)
        assert.throws(() => decodeKeyShare(concat(bytes, u8(byte)), fastArithmetic), { name: 'MpcError' });
      for (const [at, value] of [
        [0, 0],
        [5, 2],
        [4, 1],
        [6, 0],
        [6, 4],
        [6, share.suite === 'eddsa-ed25519' ? 1 : 3],
      ] as const) {
        const changed = bytes.slice();
        changed[at] = value;
        assert.throws(() => decodeKeyShare(changed, fastArithmetic), { name: 'MpcError' }, `byte ${at}`);
      }
    });
  }

  test('a share that does not fit its own public data is refused', () => {
    const share = holder!.shares.get('ecdsa-secp256k1')!;
    const other = share.parties.map((party, at) => ({
      ...party,
      publicShare: share.parties[(at + 1) % 3]!.publicShare,
    }));
    const secret = new Uint8Array(32).fill(7);
    for (const wrong of [
      { ...share, secret },
      { ...share, parties: other },
      { ...share, keyId: new Uint8Array(32) },
      { ...share, epoch: 0n },
    ])
      assert.throws(() => decodeKeyShare(encodeKeyShare(wrong), fastArithmetic), { name: 'MpcError' });
  });

  test('an OT set-up comes back as it was, and only whole', () => {
    const [setup] = holder!.setups.get(2)!;
    const bytes = encodeOtSetup(setup!);
    assert.deepEqual(decodeOtSetup(bytes), setup);
    for (const wrong of [
      bytes.slice(1),
      bytes.slice(0, -1),
      concat(bytes, u8(0)),
      encodeOtSetup({ ...setup!, peer: setup!.own }),
    ])
      assert.throws(() => decodeOtSetup(wrong), { code: 'bad_encoding' });
    bytes[5] = 2;
    assert.throws(() => decodeOtSetup(bytes), { code: 'bad_encoding' });
  });
});
