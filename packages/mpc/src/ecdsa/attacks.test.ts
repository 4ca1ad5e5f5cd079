/** What a peer, a relay or a crash can do to an ECDSA signature, under the names of docs/mpc.md. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { concat, toHex, u8 } from '../bytes.ts';
import { derive } from '../derive.ts';
import type { FailureClass, MpcError, MpcErrorCode } from '../errors.ts';
import { openFastSecp256k1 } from '../fast/index.ts';
import { taggedHash } from '../hash.ts';
import { afterCrash, judged } from '../pair-state.ts';
import { mayRetry } from '../retry-limits.ts';
import { tags } from '../tags.ts';
import { dealSetup, dealWallet } from '../testing/dealer.ts';
import { deviating, tampered } from '../testing/deviate.ts';
import { type Device, MemoryJournal, type Played, play, results, type Seat } from '../testing/devices.ts';
import {
  createWallet,
  ecdsaSeats,
  fastArithmetic,
  type Holder,
  type SignOptions,
  signersOf,
} from '../testing/wallets.ts';
import { type EcdsaSignature, EcdsaSigning, recoverPublicKey, signEcdsa } from './sign.ts';

const group = fastArithmetic.secp256k1;
const digest = new Uint8Array(32).fill(9);

type Change = Parameters<typeof deviating>[1];

/** Signs with the last signer deviating; gives what the first one saw, and whether it ever released its part. */
async function attack(holders: readonly Holder[], change: Change) {
  let released = false;
  const beforeRelease = async () => {
    released = true;
  };
  const honest = ecdsaSeats(holders, { digest, beforeRelease });
  const last = ecdsaSeats(holders, { digest }).at(-1)!;
  const played = await play([...honest.slice(0, -1), deviating(last, change)]);
  return { played, released, error: errorOf(played, holders[0]!.index) };
}

function errorOf(played: Played<unknown>, address: number): MpcError {
  const outcome = played.outcomes.get(address)!;
  assert.equal(outcome.status, 'aborted', `the honest signer is ${outcome.status}`);
  return (outcome as { error: MpcError }).error;
}

function expect(error: MpcError, failure: FailureClass, code: MpcErrorCode, culprits: readonly number[]): void {
  assert.deepEqual({ failure: error.failure, code: error.code, culprits: error.culprits }, { failure, code, culprits });
}

const poisonOf = ({ device }: Holder) => [...device.pairs.rows.values()].map(({ status }) => status);

/** A point and its scalar that the attacker chose. */
const point = (k: bigint) => group.encode(group.base(k));

describe('T-SIG-1 a signer that multiplies by something else than it showed', () => {
  test('another nonce: caught by the product check, nothing is released', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    const salt = new Uint8Array(32).fill(1);
    const { error, released } = await attack(holders, (round, step, { sid, me }) => {
      if (round === 1) return { ...step, broadcast: taggedHash(tags.signCommitment, sid, u8(me), point(77n), salt) };
      return round === 2 ? tampered(step, { broadcast: (bytes) => concat(point(77n), salt, bytes.slice(65)) }) : step;
    });
    expect(error, 'poison', 'check_failed', [2]);
    assert.equal(released, false);
    assert.deepEqual(poisonOf(holders[0]!), ['poisoned']);
  });

  test('another key share than the one it showed', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    const { error, released } = await attack(holders, (round, step) =>
      round === 2 ? tampered(step, { broadcast: (bytes) => concat(bytes.slice(0, 65), point(5n)) }) : step,
    );
    expect(error, 'poison', 'check_failed', [2]);
    assert.equal(released, false);
  });

  test('a key share that is consistent and false: the sum is not the public key', async () => {
    const [first, second] = await dealWallet({ threshold: 2, count: 2 });
    const share = second!.shares.get('ecdsa-secp256k1')!;
    const secret = group.encodeScalar(group.decodeScalar(share.secret) + 1n);
    const liar: Holder = { ...second!, shares: new Map([['ecdsa-secp256k1', { ...share, secret }]]) };
    const { error, released } = await attack([first!, liar], (_, step) => step);
    expect(error, 'peer_fault', 'check_failed', [2]);
    assert.equal(released, false);
    assert.deepEqual(poisonOf(first!), ['active']);
  });

  test('with three signers nobody can be named for it, and nobody is', async () => {
    const [first, second, third] = await dealWallet({ threshold: 3, count: 3 });
    const share = third!.shares.get('ecdsa-secp256k1')!;
    const secret = group.encodeScalar(group.decodeScalar(share.secret) + 1n);
    const liar: Holder = { ...third!, shares: new Map([['ecdsa-secp256k1', { ...share, secret }]]) };
    const { error, released } = await attack([first!, second!, liar], (_, step) => step);
    expect(error, 'retry', 'check_failed', []);
    assert.equal(released, false);
  });

  test('different inputs towards two peers', async () => {
    const holders = await dealWallet({ threshold: 3, count: 3 });
    class TwoFaced extends EcdsaSigning {
      protected override inputs(peer: number, [nonce, key]: readonly [bigint, bigint]): readonly [bigint, bigint] {
        return peer === 1 ? [nonce, (key + 1n) % group.order] : [nonce, key];
      }
    }
    let released = 0;
    const honest = ecdsaSeats(holders, { digest, beforeRelease: async () => void released++ });
    const played = await play([honest[0]!, honest[1]!, withMachine(holders[2]!, holders, TwoFaced)]);
    expect(errorOf(played, 1), 'poison', 'check_failed', [3]);
    assert.deepEqual(poisonOf(holders[0]!), ['active', 'poisoned'], 'the pair with the second signer is untouched');
    assert.ok(released <= 1, 'the one that was lied to releases nothing');
  });

  function withMachine(holder: Holder, holders: readonly Holder[], Machine: typeof EcdsaSigning): Seat<EcdsaSignature> {
    const share = holder.shares.get('ecdsa-secp256k1')!;
    const options = {
      share,
      setups: holder.setups,
      pairs: holder.device.pairs,
      signers: signersOf(holders),
      path: [],
      digest,
      intent: new Uint8Array(0),
      beforeRelease: async () => undefined,
      arithmetic: fastArithmetic,
    };
    const derived = derive(group, share.publicKey, share.chainCode, []);
    const protocol = {
      ...signEcdsa(options),
      begin: (context: never) => new Machine(options, derived, group, context),
    };
    return { address: holder.index, device: holder.device, protocol };
  }
});

describe('T-VAL-1 no field of a message is used before it is valid', () => {
  const order = group.order;
  const scalars = [order, order + 1n, 2n ** 256n - 1n].map((value) => bytes32(value));
  const points = [
    new Uint8Array(33),
    Uint8Array.of(0, ...point(1n).slice(1)),
    Uint8Array.of(4, ...point(1n).slice(1)),
    Uint8Array.of(5, ...point(1n).slice(1)),
    Uint8Array.of(255, ...point(1n).slice(1)),
    Uint8Array.of(2, ...new Uint8Array(31), 5), // x = 5 is not on the curve
    Uint8Array.of(2, ...bytes32(2n ** 256n - 1n)),
  ];
  const put = (bytes: Uint8Array, at: number, value: Uint8Array) => {
    bytes.set(value, at);
    return bytes;
  };
  type Field = readonly [string, number, (value: Uint8Array) => Parameters<typeof tampered>[1], readonly Uint8Array[]];
  const fields: readonly Field[] = [
    ['nonce point', 2, (value) => ({ broadcast: (bytes) => put(bytes, 0, value) }), points],
    ['key share point', 2, (value) => ({ broadcast: (bytes) => put(bytes, 65, value) }), points],
    ['first product point', 2, (value) => ({ pairwise: (bytes) => put(bytes, 0, value) }), points],
    ['second product point', 2, (value) => ({ pairwise: (bytes) => put(bytes, 33, value) }), points],
    ['psi', 2, (value) => ({ pairwise: (bytes) => put(bytes, 66, value) }), scalars],
    ['first correction', 2, (value) => ({ pairwise: (bytes) => put(bytes, 98, value) }), scalars],
    ['last correction', 2, (value) => ({ pairwise: (bytes) => put(bytes, 98 + 1247 * 32, value) }), scalars],
    ['eta', 2, (value) => ({ pairwise: (bytes) => put(bytes, 98 + 1248 * 32, value) }), scalars],
    ['u', 3, (value) => ({ broadcast: (bytes) => put(bytes, 0, value) }), scalars],
    ['w', 3, (value) => ({ broadcast: (bytes) => put(bytes, 32, value) }), scalars],
  ];
  for (const [name, round, change, values] of fields) {
    test(name, async () => {
      const holders = await dealWallet({ threshold: 2, count: 2 });
      for (const value of values) {
        const { error } = await attack(holders, (at, step) => (at === round ? tampered(step, change(value)) : step));
        expect(error, 'peer_fault', 'bad_encoding', [2]);
        assert.deepEqual(poisonOf(holders[0]!), ['active']);
      }
    });
  }

  test('every message, one byte too short and one too long', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    const lengths = [(bytes: Uint8Array) => bytes.slice(0, -1), (bytes: Uint8Array) => concat(bytes, u8(0))];
    for (const round of [1, 2, 3])
      for (const change of lengths)
        for (const part of ['broadcast', 'pairwise'] as const) {
          if (round === 3 && part === 'pairwise') continue;
          const { error } = await attack(holders, (at, step) =>
            at === round ? tampered(step, { [part]: change }) : step,
          );
          expect(error, 'peer_fault', 'bad_encoding', [2]);
        }
  });

  test('numbers of the right form and the wrong value', async () => {
    for (const [round, change, code] of [
      [2, { broadcast: (bytes: Uint8Array) => put(bytes, 0, point(3n)) }, 'bad_opening'],
      [2, { broadcast: (bytes: Uint8Array) => put(bytes, 33, new Uint8Array(32)) }, 'bad_opening'],
      [3, { broadcast: (bytes: Uint8Array) => put(bytes, 0, bytes32(1n)) }, 'check_failed'],
      [3, { broadcast: () => new Uint8Array(64) }, 'check_failed'],
    ] as const) {
      const holders = await dealWallet({ threshold: 2, count: 2 });
      const { error } = await attack(holders, (at, step) => (at === round ? tampered(step, change) : step));
      expect(error, 'peer_fault', code, [2]);
    }
  });

  function bytes32(value: bigint): Uint8Array {
    return Uint8Array.from(Buffer.from(value.toString(16).padStart(64, '0'), 'hex'));
  }
});

describe('T-ABT-1 after each class of failure, exactly the state that it leads to', () => {
  const flipExtension: Change = (round, step) =>
    round === 1 ? tampered(step, { pairwise: (bytes) => bytes.fill(bytes[5]! ^ 1, 5, 6) }) : step;
  const flipCorrection: Change = (round, step) =>
    round === 2 ? tampered(step, { pairwise: (bytes) => bytes.fill(bytes[130]! ^ 1, 130, 131) }) : step;

  for (const [name, change] of [
    ['a false extension', flipExtension],
    ['a false correction', flipCorrection],
  ] as const) {
    test(`${name} poisons the pair, which refuses at the first message, also after a restart`, async () => {
      const holders = await dealWallet({ threshold: 2, count: 2 });
      const { error, released } = await attack(holders, change);
      expect(error, 'poison', 'check_failed', [2]);
      assert.equal(released, false);
      for (const restarted of [false, true]) {
        const device: Device = restarted ? { ...holders[0]!.device, journal: new MemoryJournal() } : holders[0]!.device;
        device.journal.counters.set('', 0n);
        const played = await play(
          ecdsaSeats(
            [
              { ...holders[0]!, device },
              { ...holders[1]!, device: { ...holders[1]!.device, journal: new MemoryJournal() } },
            ],
            { digest },
          ),
        );
        const refused = played.outcomes.get(1)!;
        if (!restarted) {
          assert.equal(refused.status, 'aborted');
          assert.notEqual((refused as { error: MpcError }).error.failure, 'poison');
        }
        assert.deepEqual(poisonOf(holders[0]!), ['poisoned']);
      }
    });
  }

  test('a new set-up brings the pair back, and the old one stays dead', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    await attack(holders, flipExtension);
    for (const holder of holders) holder.setups.clear();
    dealSetup(holders[0]!, holders[1]!);
    const [signature] = results(await play(ecdsaSeats(holders, { digest })));
    assert.equal(signature!.bytes.length, 64);
    assert.deepEqual(poisonOf(holders[0]!).sort(), ['active', 'poisoned']);
  });

  test('three signers: a third is not touched by what two do to each other', async () => {
    const holders = await dealWallet({ threshold: 3, count: 3 });
    const { error } = await attack(holders, (round, step) =>
      round === 1
        ? tampered(step, { pairwise: (bytes, to) => (to === 1 ? bytes.fill(bytes[5]! ^ 1, 5, 6) : bytes) })
        : step,
    );
    expect(error, 'poison', 'check_failed', [3]);
    assert.deepEqual(poisonOf(holders[0]!), ['active', 'poisoned']);
    assert.deepEqual(poisonOf(holders[1]!), ['active', 'active']);
  });

  test('three signers out of a real keygen: who cheats one pair does not poison the pair with the third', async () => {
    const holders = await createWallet({ threshold: 3, count: 3 });
    const ids = new Set(holders.flatMap(({ setups }) => [...setups.values()].flat().map(({ id }) => toHex(id))));
    assert.equal(ids.size, 3, 'every pair has a set-up of its own name');
    const { error } = await attack(holders, (round, step) =>
      round === 1 ? tampered(step, { pairwise: (bytes) => bytes.fill(bytes[0]! ^ 1, 0, 1) }) : step,
    );
    expect(error, 'poison', 'check_failed', [3]);
    const statuses = [2, 3].map((peer) => {
      const { id } = holders[0]!.setups.get(peer)![0]!;
      return holders[0]!.device.pairs.rows.get(toHex(id))!.status;
    });
    assert.deepEqual(statuses, ['active', 'poisoned']);
  });

  test('faults are counted: three a day of one peer, three without a name, four set-ups a day and 32 in a life', () => {
    const day = 86_400_000n;
    const now = 100n * day;
    const times = (count: number, each: bigint) => Array.from({ length: count }, (_, at) => now - BigInt(at) * each);
    assert.equal(mayRetry('peer_fault', times(2, 1n), now), true);
    assert.equal(mayRetry('peer_fault', times(3, 1n), now), false);
    assert.equal(mayRetry('peer_fault', times(30, day), now), true);
    assert.equal(mayRetry('unattributed', times(3, day), now), false);
    assert.equal(mayRetry('setup', times(3, 1n), now), true);
    assert.equal(mayRetry('setup', times(4, 1n), now), false, 'T-OT-6 the fifth failure of a day waits for a human');
    assert.equal(mayRetry('setup', times(31, day), now), true);
    assert.equal(mayRetry('setup', times(32, day), now), false);
  });
});

describe('T-OT-1 a peer that guesses in many sessions at once', () => {
  test('after the first detection no message of the pair is judged, in 50 sessions of two processes', async () => {
    const [victim, attacker] = await dealWallet({ threshold: 2, count: 2 });
    let judgements = 0;
    const counted = {
      read: (id: Uint8Array) => victim!.device.pairs.read(id),
      locked: ((ids, work) =>
        victim!.device.pairs.locked(ids, (write) =>
          work((record) => {
            if (record.evaluating) judgements++;
            return write(record);
          }),
        )) as Device['pairs']['locked'],
    };
    const processes = [new MemoryJournal(), new MemoryJournal()];
    const sessions = Array.from({ length: 50 }, (_, at) => {
      const device = { ...victim!.device, pairs: counted as Device['pairs'], journal: processes[at % 2]! };
      const seats = ecdsaSeats([{ ...victim!, device }, attacker!], { digest });
      return play([
        seats[0]!,
        deviating(seats[1]!, (round, step) =>
          round === 1 ? tampered(step, { pairwise: (bytes) => bytes.fill(bytes[at]! ^ 1, at, at + 1) }) : step,
        ),
      ]);
    });
    const failures = (await Promise.all(sessions)).map((played) => played.outcomes.get(1)!);
    const classes = failures.map((outcome) => (outcome.status === 'aborted' ? outcome.error.failure : outcome.status));
    assert.equal(classes.filter((each) => each === 'poison').length, 1, 'one session learns one bit');
    assert.equal(judgements, 1, 'and no other message was judged');
    assert.ok(classes.every((each) => each === 'poison' || each === 'retry'));
  });

  test('T-ABT-2 a verdict of one process is seen by the other before its next reply', async () => {
    const [victim, peer] = await dealWallet({ threshold: 2, count: 2 });
    const [id] = [...victim!.device.pairs.rows.values()].map((row) => row.id);
    const seats = ecdsaSeats([victim!, peer!], { digest });
    // The other process poisons the pair while this one waits for the second message.
    let passed = 0;
    const played = await play(seats, ({ from, bytes }) => {
      if (from === 2 && bytes[0] === 2 && ++passed === 2) {
        const row = [...victim!.device.pairs.rows][0]!;
        victim!.device.pairs.rows.set(row[0], { ...row[1], status: 'poisoned', reason: 'elsewhere' });
      }
      return [bytes];
    });
    const error = errorOf(played, 1);
    expect(error, 'retry', 'poisoned', [2]);
    assert.equal((await victim!.device.pairs.read(id!))!.status, 'poisoned');
  });

  test('T-ABT-2 a verdict that falls while the release is written still keeps the part here', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    const { rows } = holders[0]!.device.pairs;
    const beforeRelease = async () => {
      for (const [name, row] of rows) rows.set(name, { ...row, status: 'poisoned', reason: 'elsewhere' });
    };
    const seats = [ecdsaSeats(holders, { digest, beforeRelease })[0]!, ecdsaSeats(holders, { digest })[1]!];
    const played = await play(seats);
    expect(errorOf(played, 1), 'retry', 'poisoned', [2]);
    assert.notEqual(played.outcomes.get(2)!.status, 'done');
  });

  test('evaluations that never ended count, and the third one poisons', async () => {
    const [victim] = await dealWallet({ threshold: 2, count: 2 });
    const { pairs } = victim!.device;
    const [id] = [...pairs.rows.values()].map((row) => row.id);
    for (let crash = 1; crash <= 3; crash++) {
      // The process dies after `evaluating` is durable and before the verdict is.
      const row = (await pairs.read(id!))!;
      const dying = {
        read: async () => row,
        locked: (async (_: unknown, work: (write: (record: typeof row) => Promise<void>) => Promise<unknown>) => {
          let writes = 0;
          return work(async (record) => {
            if (++writes > 1) throw new Error('killed');
            pairs.rows.set(Buffer.from(id!).toString('hex'), record);
          });
        }) as Device['pairs']['locked'],
      };
      await assert.rejects(
        judged(dying, new Map([[2, id!]]), new Uint8Array(32), () => 'fine'),
        /killed/,
      );
      const found = (await pairs.read(id!))!;
      assert.notEqual(found.evaluating, null);
      pairs.rows.set(Buffer.from(id!).toString('hex'), afterCrash(found));
      assert.equal((await pairs.read(id!))!.status, crash < 3 ? 'active' : 'poisoned');
    }
  });

  test('a verdict that can not be written lets nothing out', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    const failing = {
      read: (id: Uint8Array) => holders[0]!.device.pairs.read(id),
      locked: (async (ids: readonly Uint8Array[], work: Parameters<Device['pairs']['locked']>[1]) =>
        holders[0]!.device.pairs.locked(ids, (write) =>
          work(async (record) => {
            if (record.evaluating === null) throw new Error('the disk is full');
            await write(record);
          }),
        )) as Device['pairs']['locked'],
    };
    const device = { ...holders[0]!.device, pairs: failing as Device['pairs'] };
    const seats = ecdsaSeats([{ ...holders[0]!, device }, holders[1]!], { digest });
    const sent: number[] = [];
    await assert.rejects(
      play(seats, ({ from, bytes }) => {
        if (from === 1 && bytes[0] === 2) sent.push(bytes[1 + 34]!);
        return [bytes];
      }),
      /disk is full/,
    );
    assert.ok(
      sent.every((round) => round === 1),
      'the answer to what was judged stays here',
    );
  });
});

describe('who signs what', () => {
  test('T-SIG-3 exactly t signers, distinct, ascending, with the devices of the sharing', async () => {
    const holders = await dealWallet({ threshold: 2, count: 3 });
    const [a, b, c] = holders;
    for (const signers of [[a!], [a!, b!, c!], [a!, a!], [b!, a!]])
      assert.throws(() => ecdsaSeats(signers, { digest }), { code: 'bad_input' });
    assert.throws(() => ecdsaSeats([a!, { ...b!, device: c!.device }], { digest }), { code: 'bad_input' });
  });

  test('hardened paths and digests of another length are refused', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    assert.throws(() => ecdsaSeats(holders, { digest, path: [2 ** 31] }), { code: 'bad_input' });
    assert.throws(() => ecdsaSeats(holders, { digest: new Uint8Array(31) }), { code: 'bad_input' });
  });

  test('a digest that changes while the session runs signs nothing else', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    const mine = digest.slice();
    const seats = ecdsaSeats(holders, { digest: mine });
    const played = await play(seats, ({ bytes }) => {
      mine.fill(1);
      return [bytes];
    });
    const [signature] = results(played);
    assert.deepEqual(recoverPublicKey(signature!.bytes, signature!.recovery, digest), signature!.publicKey);
  });

  test('without a common set-up the session ends as a retry that names the pair', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    holders[1]!.setups.clear();
    const played = await play(ecdsaSeats(holders, { digest }));
    expect(errorOf(played, 1), 'retry', 'no_common_setup', [2]);
  });

  test('T-POL-1 the last flight is lost twenty times: twenty payments count as made', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    let spent = 0;
    const options: SignOptions = { digest, beforeRelease: async () => void spent++ };
    for (let payment = 0; payment < 20; payment++) {
      const seats = [ecdsaSeats(holders, { digest })[0]!, ecdsaSeats(holders, options)[1]!];
      const played = await play(seats, ({ from, bytes }) => (from === 2 && bytes[1 + 34] === 3 ? [] : [bytes]));
      assert.notEqual(played.outcomes.get(1)!.status, 'done');
    }
    assert.equal(spent, 20);
  });

  test('when the limit says no, the part is never sent', async () => {
    const holders = await dealWallet({ threshold: 2, count: 2 });
    const { MpcError: Refusal } = await import('../errors.ts');
    const beforeRelease = async () => {
      throw new Refusal('not_allowed', 'The request has expired.');
    };
    const seats = [ecdsaSeats(holders, { digest })[0]!, ecdsaSeats(holders, { digest, beforeRelease })[1]!];
    const rounds: number[] = [];
    const played = await play(seats, ({ from, bytes }) => {
      if (from === 2 && bytes[0] === 2) rounds.push(bytes[1 + 34]!);
      return [bytes];
    });
    expect(errorOf(played, 2), 'retry', 'not_allowed', []);
    assert.ok(!rounds.includes(3), `rounds ${rounds}`);
  });

  test('the quick backend passes its self-test against noble', () => {
    assert.doesNotThrow(() => openFastSecp256k1((length) => crypto.getRandomValues(new Uint8Array(length))));
  });
});
