import assert from 'node:assert/strict';
import { test } from 'node:test';
import { suiteNames } from './suite.ts';
import { createDevices, play, results } from './testing/devices.ts';
import { createWallet, ecdsaSeats, frostSeats, reshareWallet } from './testing/wallets.ts';

test('two of three becomes three of five with the same keys, and the new holders sign', async () => {
  const wallet = await createWallet({ threshold: 2, count: 3, suites: suiteNames });
  const [d, e, f] = await createDevices(3);
  const devices = [wallet[0]!.device, wallet[2]!.device, d!, e!, f!];
  const renewed = await reshareWallet({
    dealers: [wallet[0]!, wallet[2]!],
    devices,
    threshold: 3,
    indices: [1, 2, 5, 7, 9],
  });
  for (const suite of suiteNames) {
    assert.deepEqual(renewed[4]!.shares.get(suite)!.publicKey, wallet[0]!.shares.get(suite)!.publicKey);
    assert.deepEqual(renewed[4]!.shares.get(suite)!.chainCode, wallet[0]!.shares.get(suite)!.chainCode);
  }
  const signers = [renewed[1]!, renewed[2]!, renewed[4]!];
  const digest = new Uint8Array(32).fill(7);
  const [signature] = results(await play(ecdsaSeats(signers, { digest })));
  assert.deepEqual(signature!.publicKey, wallet[0]!.shares.get('ecdsa-secp256k1')!.publicKey);
  results(await play(frostSeats(signers, { suite: 'eddsa-ed25519', message: digest })));
});
