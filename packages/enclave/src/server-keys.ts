/**
 * The versions of the server key and what each may still do: `active` wraps and opens, `decrypt_only` opens while a
 * rotation rewraps, `retired` opens nothing, `destroyed` is gone from the backend. A rotation is open while a version
 * is `decrypt_only`; there is one at a time. The sealed state decides; the backend only holds the keys.
 */
import { type CborValue, DAY_MS, decodeCbor, encodeCbor, KedgeError, MINUTE_MS } from '@kedge/core';
import type { ServerKeyState, Signed } from './enclave.ts';
import { Mutex } from './mutex.ts';
import type { RootKeys, WrappingKey } from './root-keys.ts';
import type { ServiceTime } from './service-time.ts';
import type { SealedState, StateChange } from './state.ts';

export const DESTROY_WAIT_MS = 7 * DAY_MS;
/**
 * A version is retired at the earliest this long after its successor was made: whatever a request sealed under it just
 * before is committed by then, and so is rewrapped: a gateway gives up a request after at most 20 s, and the statement
 * that is then under way after another 30.
 */
export const RETIRE_WAIT_MS = MINUTE_MS;
export const ROTATE_EVERY_MS = 90 * DAY_MS;

interface Version {
  readonly version: number;
  readonly state: ServerKeyState;
  /** Service time since which it is in this state. */
  readonly sinceMs: number;
}

/** Makes the receipt of a change just before it is written. */
type Sign = (version: number) => Promise<Signed>;
type Change = 'started' | 'retired' | 'destroyed';
type Receipts = { readonly [Of in Change]?: Signed };

type Purpose = 'client_secret' | 'wallet';
const purposes: readonly Purpose[] = ['client_secret', 'wallet'];

export class ServerKeys {
  readonly #rootKeys: RootKeys;
  readonly #state: SealedState;
  readonly #time: ServiceTime;
  readonly #key: Uint8Array;
  readonly #receiptsKey: Uint8Array;
  /** One change of the versions at a time: two rotations that overlapped would leave none active. */
  readonly #changes = new Mutex();
  #versions: readonly Version[];
  /** Of the last change of each kind, written with it: so nobody has to be told of it at that moment. */
  #receipts: Receipts;

  private constructor(
    rootKeys: RootKeys,
    state: SealedState,
    time: ServiceTime,
    keys: { readonly versions: Uint8Array; readonly receipts: Uint8Array },
    versions: readonly Version[],
    receipts: Receipts,
  ) {
    this.#rootKeys = rootKeys;
    this.#state = state;
    this.#time = time;
    this.#key = keys.versions;
    this.#receiptsKey = keys.receipts;
    this.#versions = versions;
    this.#receipts = receipts;
  }

  /** Makes version 1 on a new state, and finishes a destruction that a crash interrupted. */
  static async load(rootKeys: RootKeys, state: SealedState, time: ServiceTime): Promise<ServerKeys> {
    const rows = { versions: await state.key('server-keys'), receipts: await state.key('server-key-receipts') };
    const stored = await state.read(rows.versions);
    const versions = stored === null ? [] : decodeVersions(stored);
    const receipts = decodeCbor((await state.read(rows.receipts)) ?? encodeCbor({})) as unknown as Receipts;
    const keys = new ServerKeys(rootKeys, state, time, rows, versions, receipts);
    if (stored === null) {
      await keys.#create(1);
      await keys.#save([{ version: 1, state: 'active', sinceMs: Math.floor(time.nowMs()) }]);
    }
    for (const { version, state: now } of keys.#versions) if (now === 'destroyed') await keys.#destroy(version);
    return keys;
  }

  get versions(): readonly Version[] {
    return this.#versions;
  }

  /** Of the last rotation started, version retired and version destroyed. */
  get receipts(): readonly Signed[] {
    return Object.values(this.#receipts);
  }

  get active(): number {
    return this.#versions.find((version) => version.state === 'active')!.version;
  }

  get rotating(): boolean {
    return this.#versions.some((version) => version.state === 'decrypt_only');
  }

  /** Whether the active version has served 90 days and nothing is under way. */
  get due(): boolean {
    const active = this.#versions.find((version) => version.state === 'active')!;
    return !this.rotating && this.#time.nowMs() - active.sinceMs >= ROTATE_EVERY_MS;
  }

  opens(version: number): boolean {
    const known = this.#versions.find((candidate) => candidate.version === version);
    return known?.state === 'active' || known?.state === 'decrypt_only';
  }

  wrap(purpose: Purpose, plaintext: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
    return this.#rootKeys.wrap({ purpose, version: this.active }, plaintext, aad);
  }

  /** Throws `KedgeError('sealed_data_invalid')` for a version that opens nothing, and for other bytes or AAD. */
  async unwrap(purpose: Purpose, version: number, wrapped: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
    if (!this.opens(version)) {
      throw new KedgeError('sealed_data_invalid', 'It is sealed under a version of the server key that opens nothing.');
    }
    try {
      return await this.#rootKeys.unwrap({ purpose, version }, wrapped, aad);
    } catch (cause) {
      if ((cause as { code?: string }).code === 'unavailable')
        throw new KedgeError('enclave_unavailable', 'The HSM does not answer.', { cause });
      throw new KedgeError('sealed_data_invalid', undefined, { cause });
    }
  }

  /** Throws `KedgeError('rotation_running')`. */
  startRotation(sign: Sign): Promise<Signed> {
    return this.#changes.run('versions', () => this.#startRotation(sign));
  }

  async #startRotation(sign: Sign): Promise<Signed> {
    if (this.rotating) throw new KedgeError('rotation_running');
    const version = Math.max(...this.#versions.map((known) => known.version)) + 1;
    await this.#create(version);
    const sinceMs = Math.floor(this.#time.nowMs());
    const versions: Version[] = this.#versions.map((known) =>
      known.state === 'active' ? { ...known, state: 'decrypt_only', sinceMs } : known,
    );
    return this.#change('started', [...versions, { version, state: 'active', sinceMs }], await sign(version));
  }

  /** How long until the old version may be retired; null when no rotation is open. */
  get retirableInMs(): number | null {
    const old = this.#versions.find((known) => known.state === 'decrypt_only');
    return old ? Math.max(0, Math.ceil(old.sinceMs + RETIRE_WAIT_MS - this.#time.nowMs())) : null;
  }

  /** From now on the old version opens nothing. Throws `KedgeError('rotation_not_running' | 'rotation_running')`. */
  retire(sign: Sign): Promise<Signed> {
    return this.#changes.run('versions', () => this.#retire(sign));
  }

  async #retire(sign: Sign): Promise<Signed> {
    const old = this.#versions.find((known) => known.state === 'decrypt_only');
    if (!old) throw new KedgeError('rotation_not_running');
    if (this.retirableInMs !== 0)
      throw new KedgeError(
        'rotation_running',
        'A version is retired at the earliest a minute after its successor was made.',
      );
    return this.#change('retired', this.#withState(old.version, 'retired'), await sign(old.version));
  }

  destroyableInMs({ state, sinceMs }: Version): number | null {
    return state === 'retired' ? Math.max(0, Math.ceil(sinceMs + DESTROY_WAIT_MS - this.#time.nowMs())) : null;
  }

  /** Throws `KedgeError('server_key_not_retired' | 'server_key_waiting')`. */
  destroy(version: number, sign: Sign): Promise<Signed> {
    return this.#changes.run('versions', () => this.#destroyRetired(version, sign));
  }

  async #destroyRetired(version: number, sign: Sign): Promise<Signed> {
    const known = this.#versions.find((candidate) => candidate.version === version);
    const waitMs = known ? this.destroyableInMs(known) : null;
    if (waitMs === null) throw new KedgeError('server_key_not_retired');
    if (waitMs > 0)
      throw new KedgeError(
        'server_key_waiting',
        `It can be destroyed after another ${Math.ceil(waitMs / 3_600_000)} h of service time.`,
      );
    const receipt = await this.#change('destroyed', this.#withState(version, 'destroyed'), await sign(version));
    await this.#destroy(version);
    return receipt;
  }

  async #create(version: number): Promise<void> {
    for (const key of keysOf(version)) await this.#rootKeys.createKey(key);
  }

  async #destroy(version: number): Promise<void> {
    for (const key of keysOf(version)) await this.#rootKeys.destroyKey(key);
  }

  #withState(version: number, state: ServerKeyState): readonly Version[] {
    const sinceMs = Math.floor(this.#time.nowMs());
    return this.#versions.map((known) => (known.version === version ? { ...known, state, sinceMs } : known));
  }

  /** The change and its receipt in one write. */
  async #change(change: Change, versions: readonly Version[], receipt: Signed): Promise<Signed> {
    const receipts = { ...this.#receipts, [change]: receipt };
    const value = encodeCbor(receipts as unknown as CborValue);
    await this.#save(versions, [{ key: this.#receiptsKey, value }]);
    this.#receipts = receipts;
    return receipt;
  }

  async #save(versions: readonly Version[], also: readonly StateChange[] = []): Promise<void> {
    const active = versions.filter(({ state }) => state === 'active').length;
    if (active !== 1 || new Set(versions.map(({ version }) => version)).size !== versions.length)
      throw new Error('the versions of the server key would contradict each other');
    const value = encodeCbor(versions.map(({ version, state, sinceMs }) => [version, state, sinceMs]));
    await this.#state.write([{ key: this.#key, value }, ...also]);
    this.#versions = versions;
  }
}

function keysOf(version: number): WrappingKey[] {
  return purposes.map((purpose) => ({ purpose, version }));
}

function decodeVersions(value: Uint8Array): Version[] {
  const rows = decodeCbor(value) as readonly CborValue[];
  return rows.map((row) => {
    const [version, state, sinceMs] = row as readonly [number, ServerKeyState, number];
    return { version, state, sinceMs };
  });
}
