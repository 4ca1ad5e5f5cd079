/** What a dealer, a receiver or the relay can do to keygen and resharing, under the names of docs/mpc.md. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { concat, equalBytes, toHex, u8 } from './bytes.ts';
import { convicts } from './envelope.ts';
import type { FailureClass, MpcError, MpcErrorCode } from './errors.ts';
import { mod } from './group.ts';
import { list, taggedHash } from './hash.ts';
import { decodeKeyShare, encodeKeyShare, encodeOtSetup, type KeyShare, SETUP_BYTES } from './key-share.ts';
import { chainCodeDigest, type ReshareOptions, reshare, rosterOf } from './reshare.ts';
import { combine } from './secret-sharing.ts';
import { rootSessionId, type SharingResult } from './sharing.ts';
import { type SuiteName, suiteNames, suiteOf } from './suite.ts';
import { tags } from './tags.ts';
import { dealWallet } from './testing/dealer.ts';
import { deviating, tampered } from './testing/deviate.ts';
import { createDevices, groupOf, type Played, play, results, testCrypto } from './testing/devices.ts';
import { playTwoFaced } from './testing/two-faced.ts';
import {
  createWallet,
  ecdsaSeats,
  fastArithmetic,
  frostSeats,
  type Holder,
  keygenSeats,
  reshareSeats,
  reshareWallet,
  signersOf,
} from './testing/wallets.ts';

type Change = Parameters<typeof deviating>[1];
const FROST: readonly SuiteName[] = ['eddsa-ed25519'];
const ed = suiteOf('eddsa-ed25519', fastArithmetic);

function errorOf(played: Pick<Played<unknown>, 'outcomes'>, address: number): MpcError {
  const outcome = played.outcomes.get(address)!;
  assert.equal(outcome.status, 'aborted', `party ${address} is ${outcome.status}`);
  return (outcome as { error: MpcError }).error;
}

function expect(error: MpcError, failure: FailureClass, code: MpcErrorCode, culprits: readonly number[]): void {
  assert.deepEqual({ failure: error.failure, code: error.code, culprits: error.culprits }, { failure, code, culprits });
}

async function keygenAgainst(
  change: Change,
  options: { threshold?: number; count?: number } = {},
): Promise<Played<SharingResult>> {
  const { threshold = 2, count = 2 } = options;
  const seats = keygenSeats(await createDevices(count), { threshold, suites: FROST });
  return play([...seats.slice(0, -1), deviating(seats.at(-1)!, change)]);
}

describe('keygen', () => {
  test('any t shares are the key, t − 1 are not, and every share fits its public share', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 4 }).chain((count) =>
          fc.record({
            threshold: fc.integer({ min: 2, max: count }),
            indices: fc.uniqueArray(fc.integer({ min: 1, max: 255 }), { minLength: count, maxLength: count }),
          }),
        ),
        async ({ threshold, indices }) => {
          const sorted = [...indices].sort((a, b) => a - b);
          const suites = ['schnorr-secp256k1', 'eddsa-ed25519'] as const;
          const wallet = await createWallet({ threshold, count: sorted.length, indices: sorted, suites });
          for (const name of suites) {
            const { group } = suiteOf(name, fastArithmetic);
            const shares = wallet.map(({ shares }) => shares.get(name)!);
            const scalars = shares.map((share) => [share.index, group.decodeScalar(share.secret)] as const);
            const key = combine(new Map(scalars.slice(0, threshold)), group.order);
            assert.ok(equalBytes(group.encode(group.base(key)), shares[0]!.publicKey), 'the first t');
            assert.equal(combine(new Map(scalars.slice(-threshold)), group.order), key, 'the last t');
            const few = combine(new Map(scalars.slice(0, threshold - 1)), group.order);
            assert.notEqual(few, key);
            for (const share of shares) assert.deepEqual(decodeKeyShare(encodeKeyShare(share)), share);
          }
        },
      ),
      { numRuns: 12 },
    );
  });

  test('one session makes all three roots, under one sharing id and with one chain code each', async () => {
    const wallet = await createWallet({ threshold: 2, count: 2, suites: suiteNames });
    const shares = suiteNames.map((name) => wallet[0]!.shares.get(name)!);
    assert.equal(new Set(shares.map(({ sharingId }) => toHex(sharingId))).size, 1);
    assert.equal(new Set(shares.map(({ keyId }) => toHex(keyId))).size, 3);
    assert.equal(new Set(shares.map(({ chainCode }) => toHex(chainCode))).size, 3);
    const ecdsa = shares[0]!;
    const [setup] = wallet[0]!.setups.get(2)!;
    assert.ok(encodeKeyShare(ecdsa).length + SETUP_BYTES <= 13 * 1024, 'a stored share of 2-of-2');
    assert.equal(encodeOtSetup(setup!).length, SETUP_BYTES);
  });

  test("T-DKG-1 another party's commitment, or an opening that was chosen later, is refused", async () => {
    let seen: Uint8Array | undefined;
    const copied = await play(
      keygenSeats(await createDevices(2), { threshold: 2, suites: FROST }).map((seat) =>
        seat.address === 2
          ? deviating(seat, (round, step) => {
              if (round === 1) seen = step.broadcast as Uint8Array; // the second one to say hello moves first
              return step;
            })
          : deviating(seat, (round, step) => (round === 1 ? { ...step, broadcast: seen!.slice() } : step)),
      ),
    );
    expect(errorOf(copied, 2), 'peer_fault', 'bad_opening', [1]);
    const late = await keygenAgainst((round, step) =>
      round === 2 ? tampered(step, { broadcast: (bytes) => bytes.fill(bytes.at(-130)! ^ 1, 70, 71) }) : step,
    );
    expect(errorOf(late, 1), 'peer_fault', 'bad_opening', [2]);
  });

  test('T-DKG-1 a key that cancels the other out needs a proof that nobody can make', async () => {
    const { group } = ed;
    // The last mover would like C_0 = −C_0 of the others; it knows neither that logarithm nor the others' C_0 in time.
    const played = await keygenAgainst((round, step, { sid, me }) => {
      const points = [group.negate(group.base(5n)), group.base(7n)].map((point) => group.encode(point));
      const contribution = new Uint8Array(32);
      const salt = new Uint8Array(32);
      const root = rootSessionId(sid, ed);
      if (round === 1)
        return {
          ...step,
          broadcast: taggedHash(tags.keygenCommitment, root, u8(me), u8(2), list(points), contribution, salt),
        };
      return round === 2
        ? tampered(step, { broadcast: (bytes) => concat(...points, contribution, salt, bytes.slice(128)) })
        : step;
    });
    expect(errorOf(played, 1), 'peer_fault', 'bad_proof', [2]);
  });

  test('T-DKG-2 another number of coefficients or proofs', async () => {
    const { group } = ed;
    const proofBytes = 64;
    for (const [points, proofs] of [
      [1, 1],
      [3, 3],
      [4, 4],
      [2, 0],
      [2, 1],
      [2, 3],
    ] as const) {
      const played = await keygenAgainst((round, step, { sid, me }) => {
        const opened = Array.from({ length: points }, (_, at) => group.encode(group.base(BigInt(at + 2))));
        const rest = new Uint8Array(64);
        if (round === 1) {
          const items = [list(opened), rest.slice(32), rest.slice(32)] as const;
          return {
            ...step,
            broadcast: taggedHash(tags.keygenCommitment, rootSessionId(sid, ed), u8(me), u8(points), ...items),
          };
        }
        if (round !== 2) return step;
        return tampered(step, { broadcast: () => concat(...opened, rest, new Uint8Array(proofs * proofBytes)) });
      });
      const error = errorOf(played, 1);
      assert.equal(error.failure, 'peer_fault', `${points} points, ${proofs} proofs`);
      assert.deepEqual(error.culprits, [2]);
    }
  });

  test('T-DKG-3 a false share to one party names its dealer', async () => {
    const { group } = ed;
    const played = await keygenAgainst(
      (round, step) =>
        round === 3
          ? tampered(step, {
              pairwise: (bytes, to) =>
                to === 1 ? group.encodeScalar(mod(group.decodeScalar(bytes) + 1n, group.order)) : bytes,
            })
          : step,
      { threshold: 2, count: 3 },
    );
    expect(errorOf(played, 1), 'peer_fault', 'bad_share', [3]);
    expect(errorOf(played, 2), 'retry', 'aborted_by_peer', [1]);
  });

  test('T-DKG-3 and T-DKG-4 two stories to two parties are noticed before anybody is accused, and convict their teller', async () => {
    const devices = await createDevices(3);
    const seats = keygenSeats(devices, { threshold: 2, suites: FROST });
    const { outcomes } = await playTwoFaced(seats.slice(0, 2), seats[2]!, [2]);
    const errors = [errorOf({ outcomes }, 1), errorOf({ outcomes }, 2)];
    for (const error of errors) assert.equal(error.failure, 'retry');
    const torn = errors.filter(({ code }) => code === 'equivocation');
    assert.ok(torn.length >= 1);
    const evidence = errors.flatMap((error) => error.evidence);
    const convicted = await Promise.all(
      devices.map(async ({ identity }) => {
        for (const first of evidence)
          for (const second of evidence) if (await convicts(identity.publicKey, first, second, testCrypto)) return true;
        return false;
      }),
    );
    if (torn.length === 2) assert.deepEqual(convicted, [false, false, true]);
    else assert.deepEqual(convicted.slice(0, 2), [false, false], 'nobody honest');
    for (const { sharings } of devices.slice(0, 2)) assert.equal(sharings.confirmed.size, 0);
  });

  test('T-VAL-2 points outside the prime-order subgroup', async () => {
    const torsion = ['00'.repeat(32), `ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f`].map((hex) =>
      Uint8Array.from(Buffer.from(hex, 'hex')),
    );
    for (const point of torsion) {
      const played = await keygenAgainst((round, step, { sid, me }) => {
        const opened = [point, point];
        const rest = new Uint8Array(64);
        const commitment = taggedHash(
          tags.keygenCommitment,
          rootSessionId(sid, ed),
          u8(me),
          u8(2),
          list(opened),
          rest.slice(32),
          rest.slice(32),
        );
        if (round === 1) return { ...step, broadcast: commitment };
        return round === 2 ? tampered(step, { broadcast: (bytes) => concat(...opened, rest, bytes.slice(128)) }) : step;
      });
      expect(errorOf(played, 1), 'peer_fault', 'bad_encoding', [2]);
    }
  });

  test('every message, one byte too short and one too long, is refused before it is used', async () => {
    for (const round of [1, 2, 3])
      for (const change of [(bytes: Uint8Array) => bytes.slice(0, -1), (bytes: Uint8Array) => concat(bytes, u8(0))]) {
        const part = round === 3 ? 'pairwise' : 'broadcast';
        const played = await keygenAgainst((at, step) => (at === round ? tampered(step, { [part]: change }) : step));
        const error = errorOf(played, 1);
        assert.equal(error.failure, 'peer_fault', `round ${round}`);
        assert.deepEqual(error.culprits, [2]);
      }
  });
});

describe('resharing', () => {
  test('T-RSH-1 a dealer that deals something else is named, and the old sharing signs on', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 3, suites: FROST });
    const { group } = ed;
    const share = wallet[1]!.shares.get('eddsa-ed25519')!;
    const secret = group.encodeScalar(mod(group.decodeScalar(share.secret) + 1n, group.order));
    const liar = { ...wallet[1]!, shares: new Map<SuiteName, KeyShare>([['eddsa-ed25519', { ...share, secret }]]) };
    const [fresh] = await createDevices(1);
    const devices = [wallet[0]!.device, wallet[1]!.device, fresh!];
    const seats = reshareSeats({ dealers: [wallet[0]!, liar], devices, threshold: 2 });
    const culprit = seats.find(({ device }) => device === liar.device)!.address;
    const played = await play(seats);
    for (const { address } of seats.filter((seat) => seat.address !== culprit)) {
      const error = errorOf(played, address);
      if (error.code !== 'aborted_by_peer') expect(error, 'peer_fault', 'key_changed', [culprit]);
    }
    const wrongShare = reshareSeats({ dealers: [wallet[0]!, wallet[1]!], devices, threshold: 2 });
    const victim = wrongShare.find(({ device }) => device === fresh)!.address;
    const second = await play(
      wrongShare.map((seat) =>
        seat.address === culprit
          ? deviating(seat, (round, step) =>
              round === 3
                ? tampered(step, { pairwise: (bytes, to) => (to === victim ? bytes.fill(1, 0, 1) : bytes) })
                : step,
            )
          : seat,
      ),
    );
    expect(errorOf(second, victim), 'peer_fault', 'bad_share', [culprit]);
    results(await play(frostSeats([wallet[0]!, wallet[1]!], { suite: 'eddsa-ed25519', message: new Uint8Array(3) })));
  });

  test('T-RSH-1 another chain code handed to a new device is refused', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 2, suites: FROST });
    const [fresh] = await createDevices(1);
    const devices = [wallet[0]!.device, fresh!];
    const seats = reshareSeats({ dealers: wallet, devices, threshold: 2 });
    const victim = seats.find(({ device }) => device === fresh)!.address;
    const culprit = seats.find(({ device }) => device === wallet[1]!.device)!.address;
    const played = await play(
      seats.map((seat) =>
        seat.address === culprit
          ? deviating(seat, (round, step) =>
              round === 3 ? tampered(step, { pairwise: (bytes) => bytes.fill(7, 32, 64) }) : step,
            )
          : seat,
      ),
    );
    expect(errorOf(played, victim), 'peer_fault', 'key_changed', [culprit]);
  });

  test('a dealer refuses what would frame it, make a false share, or pass an old sharing off as the later one', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 2, suites: FROST });
    const share = wallet[0]!.shares.get('eddsa-ed25519')!;
    const devices = wallet.map(({ device }) => device);
    const own = (change: Partial<KeyShare>): Holder => ({
      ...wallet[0]!,
      shares: new Map<SuiteName, KeyShare>([['eddsa-ed25519', { ...share, ...change }]]),
    });
    const options = (change: Partial<ReshareOptions>): ReshareOptions => ({
      source: [share],
      pinned: [{ publicKey: share.publicKey, chainCodeDigest: chainCodeDigest(share.chainCode) }],
      dealers: signersOf(wallet),
      descriptor: groupOf(devices, 2),
      mode: 'replace',
      supersedes: [share.sharingId],
      groupId: share.groupId,
      epoch: 2n,
      purpose: new Uint8Array(0),
      own: [share],
      nowMs: 1n,
      store: devices[0]!.sharings,
      ...change,
    });
    assert.ok(reshare(options({})));
    const [wrongCode] = own({ chainCode: new Uint8Array(32) }).shares.values();
    assert.throws(() => reshare(options({ own: [wrongCode!] })), { code: 'bad_input' });
    assert.throws(() => reshare(options({ epoch: 1n })), { code: 'bad_input' });
    assert.throws(() => reshare(options({ epoch: 1n << 64n })), { code: 'bad_input' });
    assert.throws(() => reshare(options({ groupId: null })), { code: 'bad_input' }, 'a new group begins with epoch 1');
    const address = rosterOf(signersOf(wallet), groupOf(devices, 2)).find(({ oldIndex }) => oldIndex === 1)!.address;
    const { identity, entropy, journal } = devices[0]!;
    for (const mine of [null, [wallet[1]!.shares.get('eddsa-ed25519')!]]) {
      const context = { me: address, identity, entropy, journal } as never;
      assert.throws(() => reshare(options({ own: mine })).begin(context), { code: 'bad_input' });
    }
  });

  test('reshared and reshared again, in any sizes, the key and the chain code stay, and epochs never mix', async () => {
    let holders = await dealWallet({ threshold: 2, count: 3, suites: ['schnorr-secp256k1', 'eddsa-ed25519'] });
    const { publicKey, chainCode } = holders[0]!.shares.get('eddsa-ed25519')!;
    const spares = await createDevices(4);
    const before: KeyShare[] = [];
    for (const [count, threshold] of [
      [4, 3],
      [2, 2],
      [5, 2],
      [3, 3],
    ] as const) {
      const dealers = holders.slice(0, holders[0]!.shares.get('eddsa-ed25519')!.threshold);
      const devices = [dealers[0]!.device, ...spares].slice(0, count);
      before.push(holders.at(-1)!.shares.get('eddsa-ed25519')!);
      holders = await reshareWallet({ dealers, devices, threshold });
      for (const { shares } of holders) {
        const share = shares.get('eddsa-ed25519')!;
        assert.deepEqual([share.publicKey, share.chainCode], [publicKey, chainCode]);
        assert.deepEqual(decodeKeyShare(encodeKeyShare(share)), share);
      }
      const { group } = ed;
      const mixed = [...before, holders[0]!.shares.get('eddsa-ed25519')!].slice(-2);
      const sum = combine(
        new Map(
          mixed.map((share, at) => [
            share.index === mixed[1 - at]!.index ? share.index + at : share.index,
            group.decodeScalar(share.secret),
          ]),
        ),
        group.order,
      );
      assert.ok(!equalBytes(group.encode(group.base(sum)), publicKey));
    }
    const message = new TextEncoder().encode('still the same');
    const [signature] = results(await play(frostSeats(holders, { suite: 'eddsa-ed25519', message })));
    assert.deepEqual(signature!.publicKey, publicKey);
  });

  test('T-RSH-3 two of three becomes two of two with an OT set-up of its own; old shares do not sign with new ones', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 3 });
    const [fresh] = await createDevices(1);
    const renewed = await reshareWallet({
      dealers: [wallet[0]!, wallet[2]!],
      devices: [wallet[0]!.device, fresh!],
      threshold: 2,
    });
    const digest = new Uint8Array(32).fill(7);
    const [signature] = results(await play(ecdsaSeats(renewed, { digest })));
    assert.deepEqual(signature!.publicKey, wallet[0]!.shares.get('ecdsa-secp256k1')!.publicKey);
    const [old] = ecdsaSeats([wallet[0]!, wallet[1]!], { digest });
    const [, next] = ecdsaSeats(renewed, { digest });
    const mixed = await play([old!, next!]);
    assert.ok(
      [...mixed.outcomes.values()].every(({ status }) => status === 'running'),
      'their requests differ',
    );
  });
});
