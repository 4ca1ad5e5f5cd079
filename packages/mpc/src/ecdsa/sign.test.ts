/** ECDSA signatures by every set of signers, with either arithmetic, in as few flights and bytes as promised. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HDNodeWallet } from 'ethers';
import { toHex } from '../bytes.ts';
import { assembleWholeKey, toXprv } from '../export/index.ts';
import { mod } from '../group.ts';
import { hashToScalar } from '../hash.ts';
import { nobleArithmetic } from '../suite.ts';
import { tags } from '../tags.ts';
import { dealWallet } from '../testing/dealer.ts';
import { play, results } from '../testing/devices.ts';
import { ecdsaSeats, fastArithmetic, type Holder } from '../testing/wallets.ts';

const digest = new Uint8Array(32).fill(9);

function* subsets(holders: readonly Holder[], size: number): Generator<Holder[]> {
  if (size === 0) yield [];
  for (const [at, holder] of holders.entries())
    for (const rest of subsets(holders.slice(at + 1), size - 1)) yield [holder, ...rest];
}

describe('ECDSA signing', () => {
  for (const [threshold, indices] of [
    [2, [1, 2, 3]],
    [3, [1, 7, 20, 255]],
    [4, [2, 3, 5, 8]],
  ] as const)
    test(`every set of ${threshold} among ${indices.length} signs under one key`, async () => {
      const wallet = await dealWallet({ threshold, count: indices.length, indices });
      for (const signers of subsets(wallet, threshold)) {
        const signatures = results(await play(ecdsaSeats(signers, { digest, path: [44, 0] })));
        assert.equal(new Set(signatures.map(({ bytes }) => toHex(bytes))).size, 1, 'all have the same signature');
        const whole = assembleWholeKey(wallet.map(({ shares }) => shares.get('ecdsa-secp256k1')!));
        const child = HDNodeWallet.fromExtendedKey(toXprv(whole)).derivePath('44/0');
        assert.equal(toHex(signatures[0]!.publicKey), child.publicKey.slice(2));
      }
    });

  test('pure noble and WebAssembly sign together', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 2 });
    const [first] = ecdsaSeats(wallet, { digest, arithmetic: nobleArithmetic });
    const [, second] = ecdsaSeats(wallet, { digest, arithmetic: fastArithmetic });
    const [a, b] = results(await play([first!, second!]));
    assert.deepEqual(a, b);
  });

  test('two signers need four flights and less than 105 KB', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 2 });
    const { traffic } = await play(ecdsaSeats(wallet, { digest }));
    const bytes = traffic.reduce((sum, message) => sum + message.bytes.length, 0);
    assert.ok(bytes <= 105 * 1024, `${bytes} bytes`);
    // Both said hello at once here; messages of one sender in a row are one flight.
    const flights = traffic.filter(({ from }, at) => from !== traffic[at - 1]?.from).length;
    assert.ok(flights <= 6, `${flights} flights, of which one is the second hello and one the initiator's last word`);
  });

  test('the zero shares of any signers add up to nothing', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 5 });
    const { order } = fastArithmetic.secp256k1;
    const sid = new Uint8Array(32).fill(3);
    for (const signers of [...subsets(wallet, 3), ...subsets(wallet, 5)]) {
      let sum = 0n;
      for (const { index, shares } of signers)
        for (const peer of signers) {
          if (peer.index === index) continue;
          const part = hashToScalar(
            tags.zeroShare,
            order,
            shares.get('ecdsa-secp256k1')!.zeroSeeds.get(peer.index)!,
            sid,
          );
          sum += peer.index > index ? part : -part;
        }
      assert.equal(mod(sum, order), 0n);
    }
  });
});
