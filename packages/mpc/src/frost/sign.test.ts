import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { test } from 'node:test';
import { schnorr } from '@noble/curves/secp256k1.js';
import { concat, toHex } from '../bytes.ts';
import { play, results } from '../testing/devices.ts';
import { createWallet, frostSeats } from '../testing/wallets.ts';

test('Ed25519 by two of three, at a derived key, verifies with OpenSSL', async () => {
  const wallet = await createWallet({ threshold: 2, count: 3, suites: ['eddsa-ed25519'] });
  const message = new TextEncoder().encode('a Solana message of any length');
  const [first, second] = results(
    await play(frostSeats([wallet[1]!, wallet[2]!], { suite: 'eddsa-ed25519', message, path: [3, 5] })),
  );
  assert.deepEqual(first, second);
  const spki = concat(Buffer.from('302a300506032b6570032100', 'hex'), first!.publicKey);
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  assert.ok(verify(null, message, key, first!.bytes), toHex(first!.bytes));
});

test('a Taproot output key signs for every parity', async () => {
  const wallet = await createWallet({ threshold: 2, count: 2, suites: ['schnorr-secp256k1'] });
  for (let index = 0; index < 8; index++) {
    const message = new Uint8Array(32).fill(index);
    for (const taproot of [null, { merkleRoot: new Uint8Array(0) }]) {
      const [signature] = results(
        await play(frostSeats(wallet, { suite: 'schnorr-secp256k1', message, path: [index], taproot })),
      );
      assert.ok(schnorr.verify(signature!.bytes, message, signature!.publicKey), `index ${index}`);
    }
  }
});
