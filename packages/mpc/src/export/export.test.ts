/** Whole keys from shares: another wallet opens them, and what does not belong together is refused. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HDNodeWallet } from 'ethers';
import { toHex } from '../bytes.ts';
import { dealWallet } from '../testing/dealer.ts';
import { deviating, tampered } from '../testing/deviate.ts';
import { play, results } from '../testing/devices.ts';
import { verifyEd25519 } from '../testing/volume.ts';
import { ecdsaSeats, fastArithmetic, type Holder, reshareWallet, signersOf } from '../testing/wallets.ts';
import { assembleWholeKey, deriveWholeKey, exportKey, signEd25519WithScalar, toXprv, toXpub } from './index.ts';

const ECDSA = 'ecdsa-secp256k1';
const sharesOf = (holders: readonly Holder[], suite: 'ecdsa-secp256k1' | 'eddsa-ed25519' = ECDSA) =>
  holders.map(({ shares }) => shares.get(suite)!);

describe('a whole key from shares', () => {
  test('the xprv opens in another wallet and derives the keys that the shares signed under', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 3 });
    const key = assembleWholeKey(sharesOf(wallet));
    const theirs = HDNodeWallet.fromExtendedKey(toXprv(key)) as HDNodeWallet;
    assert.equal(theirs.neuter().extendedKey, toXpub(key));
    for (const path of [[0], [0, 7], [44, 60, 0, 0, 5]]) {
      const child = theirs.derivePath(path.join('/'));
      assert.equal(child.publicKey.slice(2), toHex(deriveWholeKey(key, path).publicKey));
      assert.equal(child.privateKey.slice(2), toHex(deriveWholeKey(key, path).scalar));
      const [signature] = results(await play(ecdsaSeats(wallet.slice(0, 2), { digest: new Uint8Array(32), path })));
      assert.equal(toHex(signature!.publicKey), child.publicKey.slice(2));
    }
    key.wipe();
    assert.ok(key.scalar.every((byte) => byte === 0));
  });

  test('an ed25519 scalar signs what OpenSSL accepts', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 2, suites: ['eddsa-ed25519'] });
    const key = deriveWholeKey(assembleWholeKey(sharesOf(wallet, 'eddsa-ed25519')), [1, 2]);
    const message = new TextEncoder().encode('everything to my new address');
    assert.ok(verifyEd25519(message, { publicKey: key.publicKey, bytes: signEd25519WithScalar(key, message) }));
    assert.throws(() => toXprv(key), { code: 'bad_input' });
  });

  test('T-RSH-3 a mixed, stale, doubled or damaged set is refused, and the bad one is named', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 3, suites: ['eddsa-ed25519'] });
    const renewed = await reshareWallet({
      dealers: wallet.slice(0, 2),
      devices: wallet.map(({ device }) => device),
      threshold: 2,
    });
    const [a, b] = sharesOf(wallet, 'eddsa-ed25519');
    const [, next] = sharesOf(renewed, 'eddsa-ed25519');
    assert.throws(() => assembleWholeKey([a!, next!]), { code: 'mixed_sharings', message: /epoch 2/ });
    assert.throws(() => assembleWholeKey([a!, a!]), { code: 'bad_input' });
    assert.throws(() => assembleWholeKey([a!]), { code: 'bad_input', message: /2 shares are needed/ });
    const damaged = { ...b!, secret: a!.secret };
    assert.throws(() => assembleWholeKey([a!, damaged]), { code: 'bad_share', culprits: [2] });
    const commitments = [a!.commitments[1]!, a!.commitments[0]!];
    assert.throws(() => assembleWholeKey([{ ...a!, commitments }, b!]), { code: 'mixed_sharings' });
  });
});

describe('online export', () => {
  const seatsOf = (holders: readonly Holder[], marks: number[]) =>
    holders.map((holder) => ({
      address: holder.index,
      device: holder.device,
      protocol: exportKey({
        share: holder.shares.get(ECDSA)!,
        holders: signersOf(holders),
        exporter: 1,
        purpose: new Uint8Array(0),
        markExported: async () => void marks.push(holder.index),
        arithmetic: fastArithmetic,
      }),
    }));

  test('one gets the key, everybody marks it as exported first', async () => {
    const holders = (await dealWallet({ threshold: 2, count: 3 })).slice(0, 2);
    const marks: number[] = [];
    const [mine, theirs] = results(await play(seatsOf(holders, marks)));
    assert.equal(toHex(mine!.scalar), toHex(assembleWholeKey(sharesOf(holders)).scalar));
    assert.equal(theirs, null);
    assert.deepEqual(marks.sort(), [1, 2]);
  });

  test('a share that is no number is named too', async () => {
    const holders = (await dealWallet({ threshold: 2, count: 3 })).slice(0, 2);
    const [first, second] = seatsOf(holders, []);
    const played = await play([
      first!,
      deviating(second!, (_, step) => tampered(step, { pairwise: (bytes) => bytes.fill(255) })),
    ]);
    const outcome = played.outcomes.get(1)!;
    assert.ok(outcome.status === 'aborted');
    assert.deepEqual([outcome.error.failure, outcome.error.culprits], ['peer_fault', [2]]);
  });

  test('an old hello of the exporter, or a copy of its device, gets no share and marks nothing', async () => {
    const holders = (await dealWallet({ threshold: 2, count: 3 })).slice(0, 2);
    const earlier = await play(seatsOf(holders, []));
    const old = earlier.traffic.find(({ from, bytes }) => from === 1 && bytes[0] === 1)!.bytes;
    const marks: number[] = [];
    await play(seatsOf(holders, marks), ({ from, bytes }) => (from === 1 ? (bytes[0] === 1 ? [old] : []) : [bytes]));
    assert.ok(!marks.includes(2), 'a replayed hello');
    holders[0]!.device.journal.counters.clear(); // set back in secret: it uses its counters again
    const played = await play(seatsOf(holders, marks));
    const outcome = played.outcomes.get(2)!;
    assert.equal(outcome.status === 'aborted' && outcome.error.code, 'peer_cloned');
    assert.ok(!marks.includes(2), 'a copy');
  });

  test('a false share is named', async () => {
    const holders = (await dealWallet({ threshold: 2, count: 3 })).slice(0, 2);
    const [first, second] = seatsOf(holders, []);
    const played = await play([
      first!,
      deviating(second!, (_, step) => tampered(step, { pairwise: (bytes) => bytes.fill(1, 4, 8) })),
    ]);
    const outcome = played.outcomes.get(1)!;
    assert.ok(outcome.status === 'aborted');
    assert.deepEqual([outcome.error.failure, outcome.error.culprits], ['peer_fault', [2]]);
  });
});
