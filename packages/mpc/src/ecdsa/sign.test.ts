import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { nobleArithmetic } from '../suite.ts';
import { play, results } from '../testing/devices.ts';
import { createWallet, ecdsaSeats } from '../testing/wallets.ts';

test('two of three sign, and the third is not needed', async () => {
  let t = performance.now();
  const wallet = await createWallet({ threshold: 2, count: 3 });
  console.log('keygen', performance.now() - t);
  const digest = createHash('sha256').update('pay').digest();
  for (const arithmetic of [undefined, nobleArithmetic])
    for (let k = 0; k < 6; k++) {
      t = performance.now();
      const played = await play(
        ecdsaSeats([wallet[0]!, wallet[2]!], { digest, path: [0, k], ...(arithmetic ? { arithmetic } : {}) }),
      );
      const [first, second] = results(played);
      console.log(
        'sign',
        performance.now() - t,
        played.traffic.length,
        played.traffic.reduce((n, m) => n + m.bytes.length, 0),
      );
      assert.deepEqual(first, second, 'both have the signature');
    }
});
