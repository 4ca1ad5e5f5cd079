/**
 * A participant that says hello once and then tells two stories: two sessions with one identity, one nonce and one
 * ephemeral key, whose later randomness differs. Each hears everybody; the relay brings each to half of the others.
 */
import { randomBytes } from 'node:crypto';
import type { Agreement, EnvelopeCrypto } from '../envelope-crypto.ts';
import type { Entropy } from '../random.ts';
import { type Out, type Outcome, Session } from '../session.ts';
import { MemoryJournal, openSeat, type Seat, testCrypto } from './devices.ts';

export interface TwoFacedPlay<R> {
  readonly outcomes: ReadonlyMap<number, Outcome<R>>;
}

/** Runs honest `seats` against `liar`, whose second face is shown to the addresses in `deceived`. */
export async function playTwoFaced<R>(
  seats: readonly Seat<R>[],
  liar: Seat<R>,
  deceived: readonly number[],
): Promise<TwoFacedPlay<R>> {
  let agreement: Promise<Agreement> | null = null;
  const crypto: EnvelopeCrypto = {
    ...testCrypto,
    createAgreement: () => (agreement ??= Promise.resolve(testCrypto.createAgreement())),
  };
  const face = () => {
    let calls = 0;
    // The first two calls make the hello; the third, after it, makes the rest.
    const entropy: Entropy = {
      randomBytes: (length) => (calls++ < 2 ? new Uint8Array(length).fill(3) : new Uint8Array(randomBytes(length))),
      processStart: new Uint8Array(16),
      counter: () => 1n,
      nowNs: () => 1n,
    };
    const { device, protocol, address: me } = liar;
    return new Session({ protocol, me, identity: device.identity, crypto, entropy, journal: new MemoryJournal() });
  };
  const faces = [face(), face()] as const;
  const sessions = new Map(seats.map((seat) => [seat.address, openSeat(seat)]));
  const outcomes = new Map<number, Outcome<R>>();
  const queue: Out[] = [];
  const fromFace = (at: number, out: readonly Out[]) =>
    queue.push(...out.filter(({ to }) => deceived.includes(to) === (at === 1)));
  for (const [at, session] of faces.entries()) fromFace(at, (await session.start()).out);
  for (const session of sessions.values()) queue.push(...(await session.start()).out);
  for (let next = queue.shift(); next; next = queue.shift()) {
    const { to, bytes } = next;
    if (to === liar.address) {
      for (const [at, session] of faces.entries()) fromFace(at, (await session.handle([bytes])).out);
      continue;
    }
    const { out, outcome } = await sessions.get(to)!.handle([bytes]);
    outcomes.set(to, outcome);
    queue.push(...out);
  }
  return { outcomes };
}
