/** What every store of reservations promises: the memory here, the gateway's table, and whatever comes later. */
import assert from 'node:assert/strict';
import type { Reservation, Reservations } from './spends.ts';

export interface ReservationsHarness {
  readonly reservations: Reservations;
  /** What the store takes for now. */
  setNow(ms: number): void;
}

export interface ReservationsCase {
  readonly title: string;
  run(harness: ReservationsHarness): Promise<void>;
}

export const reservationsCases: readonly ReservationsCase[] = [
  {
    title: 'an id keeps what it reserved first, whatever it asks for later',
    async run({ reservations }) {
      const first = await reservations.reserve(plan('a', ['coin 1', 'coin 2']));
      assert.deepEqual(first, { ...plan('a', ['coin 1', 'coin 2']), final: null });
      assert.deepEqual(await reservations.reserve(plan('a', ['coin 3'])), first);
      assert.deepEqual(await reservations.find('net', 'a'), first);
      assert.deepEqual(await reservations.list('net', 'account'), [first]);
    },
  },
  {
    title: 'a resource is held by one id, all of a reservation or none of it',
    async run({ reservations }) {
      await reservations.reserve(plan('a', ['coin 1', 'coin 2']));
      assert.equal(await reservations.reserve(plan('b', ['coin 2', 'coin 3'])), null);
      assert.equal(await reservations.find('net', 'b'), null);
      assert.notEqual(await reservations.reserve(plan('c', ['coin 3'])), null);
    },
  },
  {
    title: 'of two dozen that want one resource at once, one has it',
    async run({ reservations }) {
      const ids = Array.from({ length: 24 }, (_, i) => `racer ${i}`);
      const made = await Promise.all(ids.map((id) => reservations.reserve(plan(id, ['nonce 7', `own ${id}`]))));
      assert.equal(made.filter((one) => one !== null).length, 1);
      assert.equal((await reservations.list('net', 'account')).length, 1);
    },
  },
  {
    title: 'accounts and networks keep apart',
    async run({ reservations }) {
      await reservations.reserve(plan('a', ['nonce 7']));
      assert.notEqual(await reservations.reserve({ ...plan('b', ['nonce 7']), account: 'other' }), null);
      assert.notEqual(await reservations.reserve({ ...plan('a', ['nonce 7']), network: 'other' }), null);
      assert.equal((await reservations.list('net', 'account')).length, 1);
      assert.equal(await reservations.find('third', 'a'), null);
    },
  },
  {
    title: 'the first final bytes stand',
    async run({ reservations }) {
      await reservations.reserve(plan('a', ['nonce 7']));
      assert.deepEqual(await reservations.sign('net', 'a', signed(1)), new Uint8Array([1]));
      assert.deepEqual(await reservations.sign('net', 'a', signed(2)), new Uint8Array([1]));
      assert.deepEqual((await reservations.find('net', 'a'))?.final, new Uint8Array([1]));
      assert.equal(await reservations.sign('net', 'nobody', signed(1)), null);
    },
  },
  {
    title: 'what is not signed in time is free again, and what is signed never is',
    async run({ reservations, setNow }) {
      setNow(1_000);
      await reservations.reserve({ ...plan('slow', ['nonce 7']), heldUntilMs: 2_000 });
      await reservations.reserve({ ...plan('signed', ['nonce 8']), heldUntilMs: 2_000 });
      await reservations.sign('net', 'signed', signed(1));
      setNow(2_000);
      assert.equal(await reservations.find('net', 'slow'), null);
      assert.equal(await reservations.sign('net', 'slow', signed(1)), null);
      assert.notEqual(await reservations.reserve(plan('next', ['nonce 7'])), null);
      assert.equal(await reservations.reserve(plan('thief', ['nonce 8'])), null);
      // The late one may plan again, with what is free now.
      assert.equal(await reservations.reserve(plan('slow', ['nonce 7'])), null);
      assert.notEqual(await reservations.reserve(plan('slow', ['nonce 9'])), null);
    },
  },
  {
    title: 'what was signed for an earlier plan of an id is not noted for its later one',
    async run({ reservations, setNow }) {
      setNow(1_000);
      await reservations.reserve({ ...plan('a', ['coin 1']), heldUntilMs: 2_000 });
      setNow(2_000);
      await reservations.reserve(plan('thief', ['coin 1']));
      await reservations.reserve({ ...plan('a', ['coin 2']), unsigned: new Uint8Array([8]) });
      assert.equal(await reservations.sign('net', 'a', signed(1)), null);
      assert.equal((await reservations.find('net', 'a'))?.final, null);
      const later = { unsigned: new Uint8Array([8]), final: new Uint8Array([2]) };
      assert.deepEqual(await reservations.sign('net', 'a', later), later.final);
    },
  },
  {
    title: 'released is free, and releasing twice is no error',
    async run({ reservations }) {
      await reservations.reserve(plan('a', ['nonce 7']));
      await reservations.release('net', 'a');
      await reservations.release('net', 'a');
      assert.notEqual(await reservations.reserve(plan('b', ['nonce 7'])), null);
    },
  },
];

/** Final bytes of what {@link plan} reserves. */
function signed(byte: number): { unsigned: Uint8Array; final: Uint8Array } {
  return { unsigned: new Uint8Array([7]), final: new Uint8Array([byte]) };
}

function plan(id: string, resources: readonly string[]): Omit<Reservation, 'final'> {
  return { network: 'net', id, account: 'account', resources, unsigned: new Uint8Array([7]), heldUntilMs: null };
}
