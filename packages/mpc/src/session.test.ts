/** The session under a hostile relay, crashes, copies and set-back stores. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import { serialize } from 'node:v8';
import fc from 'fast-check';
import { toHex } from './bytes.ts';
import type { EcdsaSignature } from './ecdsa/sign.ts';
import { judgeCounter, type SeenHello } from './hello-counter.ts';
import type { Entropy } from './random.ts';
import { Session } from './session.ts';
import { dealWallet } from './testing/dealer.ts';
import {
  converse,
  createDevice,
  type Device,
  openSeat,
  type Played,
  play,
  results,
  type Seat,
  type Tamper,
  testCrypto,
} from './testing/devices.ts';
import { ecdsaSeats, frostSeats, type Holder } from './testing/wallets.ts';

const digest = new Uint8Array(32).fill(9);
const abortsOf = <R>({ outcomes }: Played<R>) =>
  [...outcomes.values()].flatMap((outcome) => (outcome.status === 'aborted' ? [outcome.error] : []));
const frost = (holders: readonly Holder[], message = digest) =>
  frostSeats(holders, { suite: 'eddsa-ed25519', message });
const deal = (threshold: number, count: number) =>
  dealWallet({ threshold, count, suites: ['ecdsa-secp256k1', 'eddsa-ed25519'] });

describe('the relay', () => {
  test('T-REP-3 ten thousand pieces of garbage and flipped bits do not end a session', async () => {
    const [a, b] = await deal(2, 2);
    let sent = 0;
    const noise: Tamper = ({ bytes }) => {
      const garbage = Array.from({ length: 1250 }, (_, at) => {
        if (at % 2 === 0) return crypto.getRandomValues(new Uint8Array(randomInt(1, 400)));
        const flipped = bytes.slice();
        flipped[randomInt(1, flipped.length)]! ^= 1 << randomInt(8);
        return flipped;
      });
      // A hello that is changed and comes first is dropped, so is one that comes late.
      sent += garbage.length;
      return [...garbage.slice(0, 625), bytes, ...garbage.slice(625)];
    };
    const played = await play(frost([a!, b!]), noise);
    assert.equal(results(played).length, 2);
    assert.ok(sent >= 7_500, `${sent} pieces`);
    const dropped = [...played.sessions.values()].reduce((sum, session) => sum + session.dropped, 0);
    assert.ok(dropped > 5_000, `${dropped} dropped before the sessions were over`);
  });

  test('T-REP-1 messages of an earlier session, put in at every round, are dropped', async () => {
    const [a, b] = await deal(2, 2);
    const earlier = (await play(ecdsaSeats([a!, b!], { digest }))).traffic;
    const played = await play(ecdsaSeats([a!, b!], { digest }), ({ to, bytes }) => [
      ...earlier.filter((old) => old.to === to && old.bytes[0] === 2).map((old) => old.bytes),
      bytes,
    ]);
    const [signature] = results(played);
    assert.equal(signature!.bytes.length, 64);
    for (const { device } of [a!, b!])
      for (const row of device.pairs.rows.values()) assert.equal(row.status, 'active', 'nobody is poisoned');
  });

  test('a hello that is replayed keeps the session from starting, and does nothing else', async () => {
    const [a, b] = await deal(2, 2);
    const earlier = (await play(frost([a!, b!]))).traffic.filter(({ bytes }) => bytes[0] === 1);
    const played = await play(frost([a!, b!]), ({ to, bytes }) =>
      bytes[0] === 1 ? earlier.filter((old) => old.to === to).map((old) => old.bytes) : [bytes],
    );
    assert.equal(abortsOf(played).length, 0);
    assert.ok([...played.outcomes.values()].every(({ status }) => status === 'running'));
    results(await play(frost([a!, b!])));
  });

  test('T-REP-2 one who tells two stories makes nobody blame another, and poisons no pair', async () => {
    const holders = await deal(3, 3);
    const [, , liar] = holders;
    // The liar runs a session with each of the two, so that they see different hellos and commitments of it.
    const seats = ecdsaSeats(holders, { digest });
    const twin = openSeat(seats[2]!);
    const sessions = new Map(seats.map((seat) => [seat.address, openSeat(seat)]));
    const twinStart = await twin.start();
    const played = await converse(sessions, (message) => {
      if (message.from !== liar!.index || message.to !== 2) return [message.bytes];
      return message.bytes[0] === 1 ? [twinStart.out.find(({ to }) => to === 2)!.bytes] : [message.bytes];
    });
    assert.ok([...played.outcomes.values()].every((outcome) => outcome.status !== 'done'));
    for (const error of abortsOf(played)) assert.equal(error.failure, 'retry');
    for (const { device } of holders) for (const row of device.pairs.rows.values()) assert.equal(row.status, 'active');
  });

  test('a participant whose ephemeral key is no key is named, and kills nobody', async () => {
    const [a, b, c] = await deal(3, 3);
    const seats = ecdsaSeats([a!, b!, c!], { digest });
    const crypto = {
      ...testCrypto,
      createAgreement: async () => ({ publicKey: new Uint8Array(32), agree: async () => new Uint8Array(32).fill(1) }),
    };
    const sessions = new Map(seats.map((seat) => [seat.address, openSeat(seat)]));
    const { identity, entropy, journal } = c!.device;
    sessions.set(3, new Session({ protocol: seats[2]!.protocol, me: 3, identity, crypto, entropy, journal }));
    const played = await converse(sessions);
    for (const address of [1, 2]) {
      const outcome = played.outcomes.get(address)!;
      assert.ok(outcome.status === 'aborted');
      assert.deepEqual([outcome.error.failure, outcome.error.culprits], ['peer_fault', [3]]);
    }
  });

  test('messages in any order, and twice, change nothing', async () => {
    const holders = await deal(3, 3);
    for (let run = 0; run < 5; run++) {
      const held: { to: number; bytes: Uint8Array }[] = [];
      const sessions = new Map(frost(holders).map((seat) => [seat.address, openSeat(seat)]));
      const done = new Map<number, string>();
      for (const session of sessions.values()) held.push(...(await session.start()).out);
      while (held.length > 0) {
        const [message] = held.splice(randomInt(held.length), 1);
        for (const _ of [1, 2]) {
          const { out, outcome } = await sessions.get(message!.to)!.handle([message!.bytes]);
          held.push(...out);
          if (outcome.status === 'done') done.set(message!.to, toHex(outcome.result.bytes));
          assert.notEqual(outcome.status, 'aborted');
        }
      }
      assert.equal(done.size, 3);
      assert.equal(new Set(done.values()).size, 1);
    }
  });

  test('a message that was lost is sent again byte for byte', async () => {
    const [a, b] = await deal(2, 2);
    const lost = new Set<string>();
    const sessions = new Map(frost([a!, b!]).map((seat) => [seat.address, openSeat(seat)]));
    const first = await converseWithout(sessions, lost);
    assert.equal(first, 'running');
    for (const session of sessions.values()) {
      const again = session.resend();
      for (const { to, bytes } of again) {
        const { out } = await sessions.get(to)!.handle([bytes]);
        for (const reply of out) await sessions.get(reply.to)!.handle([reply.bytes]);
      }
    }
    for (const session of sessions.values())
      for (const { to, bytes } of session.resend()) await sessions.get(to)!.handle([bytes]);
    const outcomes = await Promise.all(
      [...sessions.values()].map(async (session) => (await session.handle([])).outcome.status),
    );
    assert.deepEqual(outcomes, ['done', 'done']);
  });

  async function converseWithout(sessions: ReadonlyMap<number, Session<unknown>>, lost: Set<string>): Promise<string> {
    for (const [address, session] of sessions)
      for (const { to, bytes } of (await session.start()).out) {
        if (address === 1) await sessions.get(to)!.handle([bytes]);
        else lost.add(toHex(bytes));
      }
    return (await sessions.get(1)!.handle([])).outcome.status;
  }

  test('it can not make a peer say that it gave up', async () => {
    const [a, b] = await deal(2, 2);
    const played = await play(frost([a!, b!]), ({ bytes }) => {
      const forged = bytes.slice();
      if (bytes[0] === 2) forged[1 + 1 + 1 + 32] = 255;
      return [forged, bytes];
    });
    results(played);
  });

  test('T-REQ-1 devices that are asked for different things never start', async () => {
    const holders = await deal(2, 2);
    const [first] = ecdsaSeats(holders, { digest });
    const [, second] = ecdsaSeats(holders, { digest: new Uint8Array(32).fill(8) });
    const played = await play([first!, second!]);
    assert.equal(played.traffic.length, 2, 'two hellos and nothing else');
    assert.ok([...played.sessions.values()].every((session) => session.sid === null));
  });
});

describe('the state of a session', () => {
  test('one that is disposed of while it works ends in order, and nothing leaves it, not even on request', async () => {
    const [a, b] = await deal(2, 2);
    for (const moment of ['before the release', 'in the middle of sealing']) {
      const seats = [
        frostSeats([a!, b!], { suite: 'eddsa-ed25519', message: digest, beforeRelease: async () => atRelease() })[0]!,
        frost([a!, b!])[1]!,
      ];
      const atRelease = () => {
        released = true;
        if (moment === 'before the release') session.dispose();
      };
      let released = false;
      const { identity, entropy, journal } = a!.device;
      const sign = async (data: Uint8Array) => {
        const signature = await identity.sign(data);
        if (released) session.dispose();
        return signature;
      };
      const session: Session<unknown> = new Session<unknown>({
        protocol: seats[0]!.protocol,
        me: 1,
        identity: { ...identity, sign },
        crypto: testCrypto,
        entropy,
        journal,
      });
      const sessions = new Map<number, Session<unknown>>([
        [1, session],
        [2, openSeat(seats[1]!)],
      ]);
      const played = await converse(sessions);
      assert.equal(released, true);
      const outcome = played.outcomes.get(1)!;
      assert.equal(outcome.status === 'aborted' && outcome.error.code, 'session_over', moment);
      assert.notEqual(played.outcomes.get(2)!.status, 'done', moment);
      assert.deepEqual(session.resend(), [], moment);
    }
  });

  test('T-RBK-1 it can not be copied, and no round runs twice', async () => {
    const [a, b] = await deal(2, 2);
    const seats = ecdsaSeats([a!, b!], { digest });
    const session = openSeat(seats[0]!);
    assert.throws(() => structuredClone(session));
    assert.throws(() => JSON.stringify(session));
    assert.throws(() => serialize(session));
    await session.start();
    await session.start().then(
      ({ outcome }) => assert.equal(outcome.status, 'aborted'),
      () => undefined,
    );
  });

  test('T-RBK-2 killed after every message, a session is dead: its id is refused, and a new one signs', async () => {
    const holders = await deal(2, 2);
    const whole = (await play(frost(holders))).traffic.length;
    for (let kill = 1; kill < whole; kill++) {
      let count = 0;
      await play(frost(holders), ({ bytes }) => (++count > kill ? [] : [bytes]));
    }
    const { device } = holders[0]!;
    for (const sid of device.journal.begun) await assert.rejects(device.journal.begin(Buffer.from(sid, 'hex')));
    results(await play(frost(holders)));
  });

  test('T-RBK-3 two processes from one stored state, with a random source that repeats itself, use different nonces', async () => {
    const stuck: Entropy = {
      randomBytes: (length) => new Uint8Array(length).fill(7),
      processStart: new Uint8Array(16),
      counter: () => 1n,
      nowNs: () => 0n,
    };
    const holders = await deal(2, 2);
    const nonces = new Set<string>();
    for (let run = 0; run < 3; run++) {
      const device: Device = { ...holders[0]!.device, entropy: stuck };
      const played = await play(ecdsaSeats([{ ...holders[0]!, device }, holders[1]!], { digest }));
      const [signature] = results(played as Played<EcdsaSignature>);
      nonces.add(String(signature!.r));
    }
    assert.equal(nonces.size, 3);
  });

  test('T-RBK-4 late, reordered and repeated hellos are no alarm; a counter that is used twice is', () => {
    const seen = (counter: bigint, hello = counter): SeenHello => ({
      counter,
      hello: new Uint8Array(32).fill(Number(hello % 251n)),
    });
    fc.assert(
      fc.property(fc.array(fc.bigInt({ min: 1n, max: 200n }), { maxLength: 300 }), (counters) => {
        let window: readonly SeenHello[] = [];
        for (const counter of counters) {
          const judged = judgeCounter(window, seen(counter));
          assert.notEqual(judged.verdict, 'cloned');
          window = judged.window;
          assert.ok(window.length <= 64, 'bounded');
        }
      }),
    );
    const { window } = judgeCounter([], seen(5n));
    assert.equal(judgeCounter(window, seen(5n, 6n)).verdict, 'cloned');
    assert.equal(judgeCounter(window, seen(5n)).verdict, 'stale');
    assert.equal(judgeCounter(window, seen(4n)).verdict, 'fresh', 'overtaken by another session');
  });

  test('T-RBK-4 a device whose store is set back in secret is found out at the first counter it uses again', async () => {
    const holders = await deal(2, 2);
    const copy = structuredClone(holders[0]!.device.journal.counters);
    results(await play(frost(holders)));
    holders[0]!.device.journal.counters.clear();
    for (const [peer, counter] of copy) holders[0]!.device.journal.counters.set(peer, counter);
    const played = await play(frost(holders));
    const outcome = played.outcomes.get(2)!;
    assert.equal(outcome.status, 'aborted');
    assert.equal(outcome.status === 'aborted' && outcome.error.code, 'peer_cloned');
    assert.deepEqual(outcome.status === 'aborted' && outcome.error.culprits, [1]);
  });

  test('T-PRE-1 nothing gives a nonce before the message is fixed', () => {
    const names = Object.getOwnPropertyNames(Session.prototype).sort();
    assert.deepEqual(names, ['cancel', 'constructor', 'dispose', 'dropped', 'handle', 'sid', 'start', 'toJSON']);
  });

  test('a participant that is not in the session can not open one', async () => {
    const [a, b] = await deal(2, 2);
    const [seat] = frost([a!, b!]);
    const stranger = await createDevice();
    assert.throws(() => openSeat({ ...(seat as Seat<unknown>), address: 3, device: stranger }));
  });

  test('an envelope under another identity key is dropped', async () => {
    const [a, b] = await deal(2, 2);
    const stranger = await createDevice();
    const seats = frost([a!, b!]);
    const played = await play([seats[0]!, { ...seats[1]!, device: { ...b!.device, identity: stranger.identity } }]);
    assert.ok([...played.outcomes.values()].every(({ status }) => status === 'running'));
  });
});
