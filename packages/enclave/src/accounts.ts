/**
 * Accounts as the enclave knows them: the fingerprint of the words, the enrolled client keys, the tries at recovery and
 * the openings of the day, in one sealed row per account. The databases hold copies for people; what stands here
 * decides. Everything that reads and then writes an account runs alone for that account.
 */
import { type CborValue, DAY_MS, decodeCbor, encodeCbor, HOUR_MS, KedgeError, type ProofKey } from '@kedge/core';
import { Mutex } from './mutex.ts';
import { sameKey } from './proofs.ts';
import type { ServiceTime } from './service-time.ts';
import type { SealedState, StateChange } from './state.ts';

export const CLIENT_KEYS_MAX = 16;
export const RECOVERY_TRIES_MAX = 10;
export const OPENS_PER_DAY_MAX = 500;
/**
 * Openings are charged to the sealed state before they happen, in blocks. Within a run the blocks of an account double,
 * from one: so a crash loses fewer than were used since the start, and never one that was used. A clean stop gives
 * back what is left.
 */
const OPENS_BLOCK_MAX = 25;
/** A stop doesn't wait longer for openings to be given back; the rest are lost as in a crash. */
const GIVE_BACK_MS_MAX = 3_000;
const GIVE_BACK_AT_ONCE = 256;
/** So many names of accounts without tries are remembered; then all are forgotten, and looked up again. */
const LIMITED_MAX = 100_000;

export interface Account {
  readonly salt: Uint8Array;
  /** HMAC over user and Argon2id of the recovery secret; null on a decoy. */
  readonly fingerprint: Uint8Array | null;
  /** The wallets' wrap secret, sealed by the client under its words; opaque to us. */
  readonly secondWrap: Uint8Array;
  readonly keys: readonly ProofKey[];
  /** Service times of the tries at recovery within the last hour. */
  readonly tries: readonly number[];
  readonly opens: { readonly dayStartMs: number; readonly charged: number };
}

/** Openings that are charged and not used yet. */
interface Prepaid {
  readonly project: string;
  readonly user: string;
  readonly dayStartMs: number;
  /** How many were charged at once. */
  readonly block: number;
  left: number;
}

export class Accounts {
  readonly #state: SealedState;
  readonly #time: ServiceTime;
  readonly #mutex = new Mutex();
  /** The last block of each account in this run. */
  readonly #prepaid = new Map<string, Prepaid>();
  /** Until which service time a name has no tries left, so that a flood of guesses costs no look at the database. */
  readonly #limitedUntilMs = new Map<string, number>();

  /** Service time of the last accepted restore: older data may have forgotten tries, so for an hour half are allowed. */
  #restoredAtMs: number | null;

  private constructor(state: SealedState, time: ServiceTime, restoredAtMs: number | null) {
    this.#state = state;
    this.#time = time;
    this.#restoredAtMs = restoredAtMs;
  }

  static async load(state: SealedState, time: ServiceTime): Promise<Accounts> {
    const stored = await state.read(await state.key('restored-at'));
    return new Accounts(state, time, stored === null ? null : Number(decodeCbor(stored)));
  }

  /** A restore that two operators accepted: what was prepaid is void and guesses are halved for an hour, all in one write. */
  async acceptRestore(changes: readonly StateChange[]): Promise<void> {
    const now = Math.floor(this.#time.nowMs());
    await this.#state.accept([...changes, { key: await this.#state.key('restored-at'), value: encodeCbor(now) }]);
    this.#restoredAtMs = now;
    this.#prepaid.clear();
  }

  async find(project: string, user: string): Promise<Account | null> {
    const value = await this.#state.read(await this.#key(project, user));
    return value === null ? null : decodeAccount(value);
  }

  /** Throws `KedgeError('proof_invalid')`, as for a key that isn't enrolled: who exists is nobody's business. */
  async get(project: string, user: string): Promise<Account> {
    const account = await this.find(project, user);
    if (account === null) throw new KedgeError('proof_invalid', 'The key of this proof is not enrolled.');
    return account;
  }

  /** Reads, lets `change` decide, writes; alone for that account. */
  change<T>(
    project: string,
    user: string,
    change: (account: Account | null) => Promise<{ next: Account | null; result: T }>,
  ): Promise<T> {
    return this.#mutex.run(`${project}/${user}`, async () => {
      const key = await this.#key(project, user);
      const value = await this.#state.read(key);
      const { next, result } = await change(value === null ? null : decodeAccount(value));
      if (next !== null) await this.#state.write([{ key, value: encodeAccount(next) }]);
      return result;
    });
  }

  /**
   * Charges one try, durably, before `evaluate` learns whether the words are right; at most ten within an hour of
   * service time. `evaluate` gives the account as it is to be from now on, or null when the words are wrong.
   */
  guess(project: string, user: string, evaluate: (account: Account) => Promise<Account | null>): Promise<Account> {
    const name = `${project}/${user}`;
    return this.#mutex.run(name, async () => {
      this.#refuseLimited(name);
      const own = await this.#key(project, user);
      const decoy = await this.#decoyKey(project, user);
      const [value, decoyValue] = await Promise.all([this.#state.read(own), this.#state.read(decoy)]);
      const exists = value !== null;
      const key = exists ? own : decoy;
      const stored = exists ? value : decoyValue;
      const account = stored === null ? decoyAccount(decoy) : decodeAccount(stored);

      const now = this.#time.nowMs();
      const tries = account.tries.filter((at) => now - at < HOUR_MS);
      const halved = this.#restoredAtMs !== null && now - this.#restoredAtMs < HOUR_MS;
      const triesMax = halved ? RECOVERY_TRIES_MAX / 2 : RECOVERY_TRIES_MAX;
      if (tries.length >= triesMax) {
        this.#rememberLimited(name, tries.at(-triesMax)! + HOUR_MS);
        this.#refuseLimited(name);
      }
      const charged = { ...account, tries: [...tries, Math.floor(now)] };
      await this.#state.write([{ key, value: encodeAccount(charged) }]);
      const next = await evaluate(charged);
      if (next === null || !exists) throw new KedgeError('recovery_refused');
      await this.#state.write([{ key, value: encodeAccount({ ...next, tries: [] }) }]);
      return next;
    });
  }

  /** Counts one opening against the day's limit, durably. Throws `KedgeError('open_limited')`. */
  async chargeOpen(project: string, user: string): Promise<void> {
    const name = `${project}/${user}`;
    if (this.#takePrepaid(name)) return;
    await this.#mutex.run(name, async () => {
      if (this.#takePrepaid(name)) return; // whoever was before us charged for us too
      const key = await this.#key(project, user);
      const value = await this.#state.read(key);
      if (value === null) throw new KedgeError('proof_invalid');
      const account = decodeAccount(value);
      const now = this.#time.nowMs();
      const fresh = now - account.opens.dayStartMs >= DAY_MS || account.opens.charged === 0;
      const { dayStartMs, charged } = fresh ? { dayStartMs: Math.floor(now), charged: 0 } : account.opens;
      if (charged >= OPENS_PER_DAY_MAX) {
        throw new KedgeError('open_limited', undefined, { retryAfterS: Math.ceil((dayStartMs + DAY_MS - now) / 1000) });
      }
      const last = this.#prepaid.get(name)?.block ?? 0;
      const block = Math.min(Math.max(1, 2 * last), OPENS_BLOCK_MAX, OPENS_PER_DAY_MAX - charged);
      const opens = { dayStartMs, charged: charged + block };
      await this.#state.write([{ key, value: encodeAccount({ ...account, opens }) }]);
      this.#prepaid.set(name, { project, user, dayStartMs, block, left: block - 1 });
    });
  }

  /** Before a clean stop. What is given back can't be used any more, so it doesn't matter when the process ends. */
  async giveBackOpens(monotonicMs: () => number): Promise<void> {
    const untilMs = monotonicMs() + GIVE_BACK_MS_MAX;
    const unused = [...this.#prepaid.values()].filter(({ left }) => left > 0);
    this.#prepaid.clear();
    while (unused.length > 0 && monotonicMs() < untilMs) {
      await Promise.all(unused.splice(0, GIVE_BACK_AT_ONCE).map((prepaid) => this.#giveBack(prepaid)));
    }
  }

  #giveBack({ project, user, dayStartMs, left }: Prepaid): Promise<void> {
    return this.change(project, user, async (account) => {
      const sameDay = account !== null && account.opens.dayStartMs === dayStartMs;
      const next = sameDay ? { ...account, opens: { dayStartMs, charged: account.opens.charged - left } } : null;
      return { next, result: undefined };
    });
  }

  #takePrepaid(name: string): boolean {
    const prepaid = this.#prepaid.get(name);
    if (!prepaid || prepaid.left === 0 || this.#time.nowMs() - prepaid.dayStartMs >= DAY_MS) return false;
    prepaid.left -= 1;
    return true;
  }

  #rememberLimited(name: string, untilMs: number): void {
    if (this.#limitedUntilMs.size >= LIMITED_MAX) this.#limitedUntilMs.clear();
    this.#limitedUntilMs.set(name, untilMs);
  }

  #refuseLimited(name: string): void {
    const leftMs = (this.#limitedUntilMs.get(name) ?? 0) - this.#time.nowMs();
    if (leftMs > 0) throw new KedgeError('recovery_limited', undefined, { retryAfterS: Math.ceil(leftMs / 1000) });
    this.#limitedUntilMs.delete(name);
  }

  #key(project: string, user: string): Promise<Uint8Array> {
    return this.#state.key('account', project, user);
  }

  /** Which decoy a name falls to is a secret of the root, or a stranger could fill the one of a name and compare. */
  async #decoyKey(project: string, user: string): Promise<Uint8Array> {
    const name = await this.#state.key('decoy-slot', project, user);
    return this.#state.key('decoy', String(new DataView(name.buffer, name.byteOffset).getUint16(0)));
  }
}

/** The account with one more key. Throws `KedgeError('client_keys_full')`; enrolling a key twice changes nothing. */
export function withKey(account: Account, key: ProofKey): Account {
  if (account.keys.some((enrolled) => sameKey(enrolled, key))) return account;
  if (account.keys.length >= CLIENT_KEYS_MAX) throw new KedgeError('client_keys_full');
  return { ...account, keys: [...account.keys, key] };
}

/** The account without that key. Throws `KedgeError('client_key_last')`. */
export function withoutKey(account: Account, key: ProofKey): Account {
  const keys = account.keys.filter((enrolled) => !sameKey(enrolled, key));
  if (keys.length === 0) throw new KedgeError('client_key_last');
  return { ...account, keys };
}

function decoyAccount(key: Uint8Array): Account {
  return {
    salt: key.slice(0, 16),
    fingerprint: null,
    secondWrap: new Uint8Array(),
    keys: [],
    tries: [],
    opens: { dayStartMs: 0, charged: 0 },
  };
}

function encodeAccount(account: Account): Uint8Array {
  return encodeCbor({
    salt: account.salt,
    fingerprint: account.fingerprint,
    second_wrap: account.secondWrap,
    keys: account.keys.map((key) => [key.algorithm, key.publicKey]),
    tries: account.tries,
    opens: [account.opens.dayStartMs, account.opens.charged],
  });
}

function decodeAccount(value: Uint8Array): Account {
  const row = decodeCbor(value) as { readonly [name: string]: CborValue };
  const [dayStartMs, charged] = row.opens as readonly [number, number];
  return {
    salt: row.salt as Uint8Array,
    fingerprint: row.fingerprint as Uint8Array | null,
    secondWrap: row.second_wrap as Uint8Array,
    keys: (row.keys as readonly (readonly [ProofKey['algorithm'], Uint8Array])[]).map(([algorithm, publicKey]) => ({
      algorithm,
      publicKey,
    })),
    tries: row.tries as readonly number[],
    opens: { dayStartMs, charged },
  };
}
