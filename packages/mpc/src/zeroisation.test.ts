/** T-ZER-1: what a session held is gone from memory when it ends, well or badly, and no error says any of it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { toHex } from './bytes.ts';
import type { MpcError } from './errors.ts';
import type { Machine, Protocol, SessionContext } from './protocol.ts';
import { dealWallet } from './testing/dealer.ts';
import { deviating, tampered } from './testing/deviate.ts';
import { createDevices, openSeat, play, type Seat } from './testing/devices.ts';
import { recordArrays } from './testing/recorded-arrays.ts';
import { ecdsaSeats, frostSeats, type Holder, keygenSeats } from './testing/wallets.ts';

const digest = new Uint8Array(32).fill(9);

/** The seat, with every buffer remembered that its machine makes in `begin` and in its steps, and its random bytes apart. */
function watched<R>(seat: Seat<R>): { seat: Seat<R>; secrets: string[]; held: Set<ArrayBufferLike> } {
  const secrets: string[] = []; // as text: a copy in bytes would be found
  const held = new Set<ArrayBufferLike>();
  const record = <T>(run: () => T): T => {
    const { result, buffers } = recordArrays(run);
    for (const buffer of buffers) held.add(buffer);
    return result;
  };
  const protocol: Protocol<R> = {
    ...seat.protocol,
    begin(context: SessionContext): Machine<R> {
      const given = context.random.bytes.bind(context.random);
      context.random.bytes = (purpose, length) => {
        const bytes = given(purpose, length);
        if (!purpose.includes('salt')) secrets.push(toHex(bytes));
        return bytes;
      };
      const machine = record(() => seat.protocol.begin(context));
      return {
        start: () => record(() => machine.start()),
        step: (round, inbox) => record(() => machine.step(round, inbox)),
        dispose: () => machine.dispose(),
        ...(machine.around ? { around: machine.around.bind(machine) } : {}),
      };
    },
  };
  return { seat: { ...seat, protocol }, secrets, held };
}

/** Any 16 bytes of any secret, in any buffer that was made. */
function found(secrets: readonly string[], held: ReadonlySet<ArrayBufferLike>): string[] {
  const places: string[] = [];
  const memory = [...held].map((buffer) => Buffer.from(buffer as ArrayBuffer));
  for (const [at, hex] of secrets.entries()) {
    const secret = Buffer.from(hex, 'hex');
    for (let from = 0; from + 16 <= secret.length; from += 16)
      if (memory.some((buffer) => buffer.includes(secret.subarray(from, from + 16))))
        places.push(`secret ${at} at ${from}`);
  }
  return places;
}

const flip = (bytes: Uint8Array) => bytes.fill(bytes[40]! ^ 1, 40, 41);

const endings: readonly [string, (seat: Seat<never>) => Seat<never>][] = [
  ['a signature', (seat) => seat],
  [
    'an abort in round 2',
    (seat) =>
      deviating(seat, (round, step) => (round === 1 ? tampered(step, { broadcast: (bytes) => bytes.slice(1) }) : step)),
  ],
  [
    'an abort in round 3',
    (seat) => deviating(seat, (round, step) => (round === 2 ? tampered(step, { broadcast: flip }) : step)),
  ],
];

for (const [name, seatsOf] of [
  ['ECDSA', (holders: readonly Holder[]) => ecdsaSeats(holders, { digest }) as Seat<never>[]],
  [
    'Ed25519',
    (holders: readonly Holder[]) => frostSeats(holders, { suite: 'eddsa-ed25519', message: digest }) as Seat<never>[],
  ],
] as const) {
  describe(`T-ZER-1 ${name}`, () => {
    for (const [ending, against] of endings) {
      test(`after ${ending} nothing of nonces, masks and choice bits is left in the machine's arrays`, async () => {
        const holders = await dealWallet({ threshold: 2, count: 2, suites: ['ecdsa-secp256k1', 'eddsa-ed25519'] });
        const [first, second] = seatsOf(holders);
        const { seat, secrets, held } = watched(first!);
        const { outcomes } = await play([seat, against(second!)]);
        assert.ok(secrets.length > 0 && held.size > 0, 'something was recorded');
        assert.deepEqual(found(secrets, held), []);
        const outcome = outcomes.get(1)!;
        if (outcome.status === 'aborted') {
          const said = inspect(outcome.error, { depth: 10 });
          for (const secret of [...secrets, ...[...holders[0]!.shares.values()].map((share) => toHex(share.secret))])
            assert.ok(!said.includes(secret.slice(0, 32)), 'the error says a secret');
        }
      });
    }
  });
}

test('what came from peers, shares among it, is wiped with the step that used it', async () => {
  const seats = keygenSeats(await createDevices(2), { threshold: 2 });
  const [first, second] = seats;
  const received: Uint8Array[] = [];
  const listening: (typeof seats)[number] = {
    ...first!,
    protocol: {
      ...first!.protocol,
      begin(context) {
        const machine = first!.protocol.begin(context);
        return {
          start: () => machine.start(),
          step(round, inbox) {
            for (const { pairwise } of inbox.values()) received.push(pairwise);
            return machine.step(round, inbox);
          },
          around: (round, inbox, evaluate) => machine.around!(round, inbox, evaluate),
          dispose: () => machine.dispose(),
        };
      },
    },
  };
  const failing = deviating(second!, (round, step) =>
    round === 5 ? tampered(step, { pairwise: (bytes) => bytes.slice(1) }) : step,
  );
  const { outcomes } = await play([listening, failing]);
  assert.equal(outcomes.get(1)!.status, 'aborted');
  assert.ok(received.some(({ length }) => length > 0));
  assert.ok(
    received.every((bytes) => bytes.every((byte) => byte === 0)),
    'a message is still there',
  );
});

test('a session that is given up before it began holds nothing', async () => {
  const holders = await dealWallet({ threshold: 2, count: 2 });
  const session = openSeat(ecdsaSeats(holders, { digest })[0]!);
  await session.start();
  const { out, outcome } = await session.cancel('The user said no.');
  assert.deepEqual(out, []);
  assert.equal((outcome as { error: MpcError }).error.code, 'session_over');
  session.dispose();
});
