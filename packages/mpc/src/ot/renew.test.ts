import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dealWallet } from '../testing/dealer.ts';
import { play, results } from '../testing/devices.ts';
import { ecdsaSeats, fastArithmetic, signersOf } from '../testing/wallets.ts';
import { renewSetup } from './renew.ts';

test('a pair gets a new OT set-up, and signs with it', async () => {
  const wallet = await dealWallet({ threshold: 2, count: 2 });
  const [a, b] = signersOf(wallet);
  const seats = wallet.map((holder) => ({
    address: holder.index,
    device: holder.device,
    protocol: renewSetup({
      sharing: holder.shares.get('ecdsa-secp256k1')!,
      pair: [a!, b!],
      replaces: null,
      reason: 'chosen',
      store: {
        async savePending(setup) {
          holder.setups.set(setup.peer, [structuredClone(setup)]);
          holder.device.pairs.add(setup.id, 'pending');
        },
        async activate() {},
      },
      arithmetic: fastArithmetic,
    }),
  }));
  results(await play(seats));
  const digest = new Uint8Array(32).fill(1);
  const [first] = results(await play(ecdsaSeats(wallet, { digest })));
  assert.equal(first!.bytes.length, 64);
});
