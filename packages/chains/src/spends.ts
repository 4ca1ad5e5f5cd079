/**
 * One spend, from plan to broadcast, that happens once however often it is tried. A spend has an id of the caller's; the
 * bytes built for it and what they use up (coins, a nonce) are held under that id before anybody signs, and the final
 * bytes before anybody broadcasts. After a crash the caller does the same again: it gets the same bytes, and the chain
 * takes them once. Two spends never share a coin or a nonce. Where this is kept is the caller's: {@link Reservations}.
 */
import { type Chain, ChainError, type KeySignature, NATIVE_ASSET, type SigningDigest, type Transfer } from './chain.ts';

export interface Reservation {
  readonly network: string;
  /** The spend's id, unique per network. */
  readonly id: string;
  readonly account: string;
  /** As {@link Chain.resources} names them. */
  readonly resources: readonly string[];
  readonly unsigned: Uint8Array;
  /** Null until it is signed. */
  readonly final: Uint8Array | null;
  /** When what it holds may be given to others, unless it is signed by then. Milliseconds since 1970; null: never. */
  readonly heldUntilMs: number | null;
}

/** Durable before each answer. An expired reservation is as good as none. A conformance suite says the same in code. */
export interface Reservations {
  find(network: string, id: string): Promise<Reservation | null>;
  list(network: string, account: string): Promise<readonly Reservation[]>;
  /**
   * Holds the resources for this id, all or none. The same id again gives what it holds already, whatever is asked for now.
   * Null: another id holds one of them.
   */
  reserve(reservation: Omit<Reservation, 'final'>): Promise<Reservation | null>;
  /**
   * Notes the final bytes of what was reserved as `unsigned`; the first ones stand and are given back. Null: there is no
   * such reservation any more, or the id holds another plan by now.
   */
  sign(
    network: string,
    id: string,
    signed: { readonly unsigned: Uint8Array; readonly final: Uint8Array },
  ): Promise<Uint8Array | null>;
  /** The spend is over: final on the chain, or given up. Unknown ids are no error. */
  release(network: string, id: string): Promise<void>;
}

export interface Spends {
  /**
   * The unsigned bytes of this spend: built once, then the same. Throws as {@link Chain.build}, and `transaction_invalid`
   * for an id under which something else was planned.
   */
  plan(id: string, transfer: Transfer): Promise<Uint8Array>;
  /** Signs with `sign` unless that was done before, and broadcasts. Gives the transaction id. */
  send(id: string, transfer: Transfer, sign: Sign): Promise<string>;
}

export type Sign = (digests: readonly SigningDigest[], unsigned: Uint8Array) => Promise<readonly KeySignature[]>;

/** How often a plan is made anew when another spend took the same coins in between. */
const ATTEMPTS_MAX = 20;

/** `holdMs`: how long an unsigned plan keeps its coins or its nonce from others; null: until it is released. */
export function createSpends(options: {
  readonly chain: Chain;
  readonly reservations: Reservations;
  readonly nowMs: () => number;
  readonly holdMs: number | null;
}): Spends {
  const { chain, reservations, nowMs, holdMs } = options;
  const { network } = chain;

  const reserve = async (id: string, transfer: Transfer): Promise<Reservation> => {
    const known = await reservations.find(network, id);
    if (known !== null) return sameSpend(known, transfer);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const others = await reservations.list(network, transfer.from);
      const avoid = new Set([...(transfer.avoid ?? []), ...others.flatMap(({ resources }) => resources)]);
      const unsigned = await chain.build({ ...transfer, avoid });
      const made = await reservations.reserve({
        network,
        id,
        account: transfer.from,
        resources: chain.resources(unsigned),
        unsigned,
        heldUntilMs: holdMs === null ? null : nowMs() + holdMs,
      });
      if (made !== null) return sameSpend(made, transfer);
    }
    throw new ChainError(
      'insufficient_funds',
      'Other spends of this wallet took what this one needs, again and again. Try again when they are sent.',
    );
  };

  /** An id that is used for two spends would pay the first one's receiver in the name of the second. */
  const sameSpend = (known: Reservation, { from, to, amount, asset = NATIVE_ASSET }: Transfer): Reservation => {
    const receiver = chain.parseAddress(to);
    const { outputs } = chain.decode(known.unsigned, known.account);
    const isPaid = outputs.some(
      // A token's receiver may be shown as the account that holds it.
      (output) => (output.to === receiver || asset !== NATIVE_ASSET) && (amount === 'all' || output.amount === amount),
    );
    if (known.account === from && isPaid) return known;
    throw new ChainError(
      'transaction_invalid',
      'Under this id another spend was planned. Give each spend an id of its own.',
    );
  };

  return {
    plan: async (id, transfer) => (await reserve(id, transfer)).unsigned,
    async send(id, transfer, sign) {
      const { unsigned, final } = await reserve(id, transfer);
      if (final !== null) return chain.broadcast(final);
      const signatures = await sign(chain.digests(unsigned), unsigned);
      const stands = await reservations.sign(network, id, {
        unsigned,
        final: chain.final(chain.attach(unsigned, signatures)),
      });
      if (stands === null)
        throw new ChainError(
          'transaction_invalid',
          'The plan of this spend expired before it was signed. Nothing was sent. Send it again.',
        );
      return chain.broadcast(stands);
    },
  };
}

/** For one process that needs no memory after it ends, and for tests. */
export function memoryReservations(nowMs: () => number): Reservations {
  const held = new Map<string, Reservation>();
  const keyOf = (network: string, id: string) => JSON.stringify([network, id]);
  const lives = ({ final, heldUntilMs }: Reservation) =>
    final !== null || heldUntilMs === null || heldUntilMs > nowMs();
  const find = (network: string, id: string) => {
    const found = held.get(keyOf(network, id));
    return found !== undefined && lives(found) ? found : null;
  };
  return {
    find: async (network, id) => find(network, id),
    list: async (network, account) =>
      [...held.values()].filter((one) => one.network === network && one.account === account && lives(one)),
    async reserve(reservation) {
      const known = find(reservation.network, reservation.id);
      if (known !== null) return known;
      const taken = [...held.values()].some(
        (one) =>
          one.network === reservation.network &&
          one.account === reservation.account &&
          lives(one) &&
          one.resources.some((resource) => reservation.resources.includes(resource)),
      );
      if (taken) return null;
      const made = { ...reservation, final: null };
      held.set(keyOf(made.network, made.id), made);
      return made;
    },
    async sign(network, id, { unsigned, final }) {
      const found = find(network, id);
      if (found === null || !isSame(found.unsigned, unsigned)) return null;
      const signed = { ...found, final: found.final ?? final };
      held.set(keyOf(network, id), signed);
      return signed.final;
    },
    async release(network, id) {
      held.delete(keyOf(network, id));
    },
  };
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
