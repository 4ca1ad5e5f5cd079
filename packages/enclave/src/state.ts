/**
 * The sealed state of the enclave: what it decides on. Rows are found by HMAC keys and sealed under a key of the root;
 * a Merkle root over all of them and a sequence number stand in memory, in the database and in a mirror outside it, so
 * a row that was changed, moved, dropped or rolled back is noticed before it is believed. Each write: the mirror says
 * what is coming (fsync), the database commits, the mirror says it is done (fsync), then the caller is answered.
 * Writes that wait at the same time share one commit.
 */
import { createHash, createHmac } from 'node:crypto';
import {
  bytesToHex,
  concatBytes,
  equalBytes,
  KedgeError,
  open,
  type RandomBytes,
  seal,
  utf8ToBytes,
} from '@kedge/core';
import { type Database, type Queryable, StoreError } from '@kedge/store';
import { opensslAead } from './aead.ts';
import { BUCKETS, MerkleTree } from './merkle.ts';
import type { Mirror } from './mirror.ts';
import type { RootKeys } from './root-keys.ts';

/** Every value is padded to a multiple of this, so that sizes tell nothing. */
const ROW_BYTES = 2_048;
const BATCH_MAX = 256;
const PAGE = 5_000;

export interface StateChange {
  readonly key: Uint8Array;
  /** null removes the row. */
  readonly value: Uint8Array | null;
}

interface Row {
  readonly bucket: number;
  readonly key: Uint8Array;
  readonly version: bigint;
  readonly sealed: Uint8Array;
}

interface Waiting {
  readonly changes: readonly StateChange[];
  readonly also: ((tx: Queryable) => Promise<void>) | undefined;
  resolve(): void;
  reject(error: unknown): void;
}

export interface StateDeps {
  readonly db: Database;
  readonly mirror: Mirror;
  /** Of the writer lease: a write under an older one is refused. */
  readonly fence: bigint;
  readonly rootKeys: RootKeys;
  readonly random: RandomBytes;
}

/** How a state was found at start. */
export type Finding = { readonly state: SealedState; readonly doubt: string | null };

export class SealedState {
  readonly #deps: StateDeps;
  readonly #key: Uint8Array;
  #tree: MerkleTree;
  #sequence: number;
  #queue: Waiting[] = [];
  #draining: Promise<void> | null = null;
  /** What a failed commit may or may not have done; settled against the database before anything else happens. */
  #unsettled: {
    readonly sequence: number;
    readonly root: Uint8Array;
    readonly leaves: readonly (readonly [number, Uint8Array])[];
  } | null = null;
  /** While it stands nothing is written: a write would make the mirror believe what it must not. */
  #doubt: string | null;

  private constructor(deps: StateDeps, key: Uint8Array, tree: MerkleTree, sequence: number, doubt: string | null) {
    this.#deps = deps;
    this.#key = key;
    this.#tree = tree;
    this.#sequence = sequence;
    this.#doubt = doubt;
  }

  /** Opens or, on an empty database, makes the state. `doubt` says why the enclave must start sealed. */
  static async open(deps: StateDeps): Promise<Finding> {
    const { db, mirror, rootKeys } = deps;
    await rootKeys.createKey({ purpose: 'state', version: 1 });
    const [head] = await db.query<{ sequence: bigint; root: Uint8Array; state_key: Uint8Array }>(
      'select sequence, root, state_key from head',
    );
    const said = mirror.read();
    if (!head) {
      const doubt = said === null ? null : 'the vault database is empty, but the mirror remembers one';
      return { state: await SealedState.#create(deps, doubt), doubt };
    }
    const stateKey = await unwrapStateKey(rootKeys, head.state_key);
    const tree = await loadTree(db);
    const sequence = Number(head.sequence);
    const doubt = findDoubt(tree.root, head.root, sequence, said);
    return { state: new SealedState(deps, stateKey, tree, sequence, doubt), doubt };
  }

  static async #create(deps: StateDeps, doubt: string | null): Promise<SealedState> {
    const stateKey = deps.random(32);
    const tree = emptyTree();
    const wrapped = await deps.rootKeys.wrap({ purpose: 'state', version: 1 }, stateKey, stateKeyAad);
    await deps.db.query('insert into head (sequence, root, state_key) values (0, $1, $2)', [tree.root, wrapped]);
    return new SealedState(deps, stateKey, tree, 0, doubt);
  }

  get sequence(): number {
    return this.#sequence;
  }

  get root(): Uint8Array {
    return this.#tree.root;
  }

  /** The database key of a thing: HMAC under the root, so that a dump can't be joined with anything. */
  key(kind: string, ...parts: readonly string[]): Promise<Uint8Array> {
    return this.#deps.rootKeys.mac(concatBytes(utf8ToBytes('kedge/state-row/v1\0'), ...[kind, ...parts].map(keyPart)));
  }

  /** The value as last written. Throws `KedgeError('sealed_data_invalid')` when the bucket is not what was written. */
  async read(key: Uint8Array): Promise<Uint8Array | null> {
    await this.#settle();
    const bucket = bucketOf(key);
    for (let attempt = 0; ; attempt++) {
      const expected = this.#tree.leaf(bucket);
      const rows = await selectBuckets(this.#deps.db, [bucket]);
      // A write may have committed between the two lines above; then both have moved on, and the second look agrees.
      if (!equalBytes(hashBucket(rows), expected)) {
        if (attempt < 20) {
          await this.#draining;
          continue;
        }
        throw new KedgeError('sealed_data_invalid', 'A row of the enclave state is not what the enclave wrote.');
      }
      const row = rows.find((candidate) => equalBytes(candidate.key, key));
      return row ? this.#unseal(row) : null;
    }
  }

  /** From now on the mirror knows the fence of this writer, and takes nothing from an earlier one. */
  takeOver(): void {
    if (this.#doubt === null) this.#mirrorClosed();
  }

  /**
   * Durable when the promise resolves. `also` writes to other tables of the vault database in the same transaction;
   * it may run again after a conflict. Two writes to one key at the same time are the caller's to prevent.
   */
  write(changes: readonly StateChange[], also?: (tx: Queryable) => Promise<void>): Promise<void> {
    if (this.#doubt !== null)
      return Promise.reject(new KedgeError('enclave_sealed', `The enclave is sealed: ${this.#doubt}.`));
    return new Promise((resolve, reject) => {
      this.#queue.push({ changes, also, resolve, reject });
      this.#draining ??= this.#drain().finally(() => {
        this.#draining = null;
      });
    });
  }

  /**
   * Takes the database as it is, with these changes: only after two operators said so. The mirror follows the commit and
   * announces nothing, so that after a crash in between the doubt still stands.
   */
  async accept(changes: readonly StateChange[]): Promise<void> {
    if (this.#doubt === null) return this.write(changes);
    await this.#commit([{ changes, also: undefined, resolve: () => undefined, reject: () => undefined }]);
    this.#doubt = null;
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, BATCH_MAX);
      try {
        await this.#commit(batch);
        for (const { resolve } of batch) resolve();
      } catch (error) {
        if (batch.length === 1) batch[0]!.reject(error);
        // One bad write must not fail its neighbours: each goes alone.
        else for (const waiting of batch) await this.#commit([waiting]).then(waiting.resolve, waiting.reject);
      }
    }
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    await this.#settle();
    const changes = batch.flatMap((waiting) => waiting.changes);
    const buckets = [...new Set(changes.map((change) => bucketOf(change.key)))];
    const rows = buckets.length === 0 ? [] : await selectBuckets(this.#deps.db, buckets);
    for (const bucket of buckets) {
      const found = rows.filter((row) => row.bucket === bucket);
      if (!equalBytes(hashBucket(found), this.#tree.leaf(bucket))) {
        throw new KedgeError('sealed_data_invalid', 'A row of the enclave state is not what the enclave wrote.');
      }
    }
    const sequence = this.#sequence + 1;
    const next = new Map(rows.map((row) => [bytesToHex(row.key), row]));
    const written: Row[] = [];
    const removed: StateChange[] = [];
    for (const change of changes) {
      const name = bytesToHex(change.key);
      if (change.value === null) {
        next.delete(name);
        removed.push(change);
        continue;
      }
      const row = this.#seal(change.key, this.#newVersion(), change.value);
      next.set(name, row);
      written.push(row);
    }
    const leaves = buckets.map(
      (bucket) => [bucket, hashBucket([...next.values()].filter((row) => row.bucket === bucket))] as const,
    );
    const old = buckets.map((bucket) => [bucket, this.#tree.leaf(bucket)] as const);
    const previousRoot = this.#tree.root;
    const root = this.#tree.set(leaves);
    this.#tree.set(old);

    if (this.#doubt === null) this.#deps.mirror.write({ sequence, root, previousRoot, open: true });
    try {
      await this.#deps.db.transaction(async (tx) => {
        for (const { key } of removed)
          await tx.query('delete from state where bucket = $1 and key = $2', [bucketOf(key), key]);
        for (const row of written) {
          await tx.query(
            `insert into state (bucket, key, version, sealed) values ($1, $2, $3, $4)
             on conflict (partition, bucket, key) do update set version = excluded.version, sealed = excluded.sealed`,
            [row.bucket, row.key, row.version, row.sealed],
          );
        }
        for (const { also } of batch) await also?.(tx);
        // The lock keeps another enclave from taking over between this look at the fence and the commit.
        const moved = await tx.query(
          `with held as (select 1 from lease where fence = $4 for share)
           update head set sequence = $1, root = $2 from held where sequence = $3 returning sequence`,
          [BigInt(sequence), root, BigInt(sequence - 1), this.#deps.fence],
        );
        if (moved.length === 0) throw takenOver();
      });
    } catch (error) {
      this.#unsettled = { sequence, root, leaves };
      throw error instanceof StoreError && error.code === 'full'
        ? new KedgeError('store_full', undefined, { cause: error })
        : error;
    }
    this.#tree.set(leaves);
    this.#sequence = sequence;
    this.#mirrorClosed(previousRoot);
  }

  /** After a commit that failed: the database says whether it happened. */
  async #settle(): Promise<void> {
    const unsettled = this.#unsettled;
    if (unsettled === null) return;
    const [head] = await this.#deps.db.query<{ sequence: bigint; root: Uint8Array }>('select sequence, root from head');
    if (this.#unsettled !== unsettled || !head) return;
    if (Number(head.sequence) === unsettled.sequence && equalBytes(head.root, unsettled.root)) {
      this.#tree.set(unsettled.leaves);
      this.#sequence = unsettled.sequence;
    } else if (Number(head.sequence) !== this.#sequence) throw takenOver();
    if (this.#doubt === null) this.#mirrorClosed();
    this.#unsettled = null;
  }

  #mirrorClosed(previousRoot: Uint8Array = this.#tree.root): void {
    // In doubt only an accepted restore gets here, and it may stand beside a mirror of a writer that came later.
    const overFence = this.#doubt !== null;
    this.#deps.mirror.write(
      { sequence: this.#sequence, root: this.#tree.root, previousRoot, open: false },
      { overFence },
    );
  }

  #seal(key: Uint8Array, version: bigint, value: Uint8Array): Row {
    const sealed = seal(
      opensslAead,
      this.#deps.random,
      this.#rowKey(key, version),
      value,
      rowAddress(key, version),
      ROW_BYTES,
    );
    return { bucket: bucketOf(key), key, version, sealed };
  }

  #unseal(row: Row): Uint8Array {
    const value = open(opensslAead, this.#rowKey(row.key, row.version), row.sealed, rowAddress(row.key, row.version));
    if (value === null) throw new KedgeError('sealed_data_invalid', 'A row of the enclave state does not open.');
    return value;
  }

  /** By chance and not by counting: a number that grows would tell in which order the accounts were written. */
  #newVersion(): bigint {
    const bytes = this.#deps.random(8);
    return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0) >> 1n;
  }

  /** A key per row and version: random nonces then never meet under one key. */
  #rowKey(key: Uint8Array, version: bigint): Uint8Array {
    return createHmac('sha256', this.#key).update(key).update(version.toString()).digest();
  }
}

function takenOver(): KedgeError {
  return new KedgeError('enclave_unavailable', 'Another enclave has taken over.');
}

function keyPart(part: string): Uint8Array {
  if (typeof part !== 'string') throw new TypeError('a part of a key is no text');
  return utf8ToBytes(`${part.length}:${part}`);
}

const stateKeyAad = utf8ToBytes('kedge/state-key/v1');

async function unwrapStateKey(rootKeys: RootKeys, wrapped: Uint8Array): Promise<Uint8Array> {
  return rootKeys.unwrap({ purpose: 'state', version: 1 }, wrapped, stateKeyAad);
}

/** Null when database and mirror agree; otherwise why the database can't be believed. */
function findDoubt(
  root: Uint8Array,
  headRoot: Uint8Array,
  sequence: number,
  said: ReturnType<Mirror['read']>,
): string | null {
  if (!equalBytes(root, headRoot)) return 'rows of the enclave state were changed by somebody else';
  if (said === null) {
    // Nothing was ever written: a first start that was cut short. The number alone could be anybody's.
    if (sequence === 0 && equalBytes(root, emptyTree().root)) return null;
    return 'there is no mirror: the state folder was restored, or the mirror was removed';
  }
  if (said.sequence === sequence && equalBytes(said.root, root)) return null;
  const neverAnswered = said.open && said.sequence === sequence + 1 && equalBytes(said.previousRoot, root);
  if (neverAnswered) return null;
  return said.sequence > sequence
    ? `the vault database is older than the enclave remembers: at write ${sequence}, the mirror at ${said.sequence}`
    : `the mirror is older than the vault database: at write ${said.sequence}, the database at ${sequence}`;
}

function emptyTree(): MerkleTree {
  const empty = hashBucket([]);
  return new MerkleTree(() => empty);
}

async function loadTree(db: Database): Promise<MerkleTree> {
  const leaves = new Map<number, Uint8Array>();
  let rows: Row[] = [];
  let after = { bucket: -1, key: new Uint8Array() };
  for (;;) {
    const page = await db.query<Row>(
      'select bucket, key, version, sealed from state where (bucket, key) > ($1, $2) order by bucket, key limit $3',
      [after.bucket, after.key, PAGE],
    );
    rows.push(...page);
    const last = page.at(-1);
    const complete = last ? rows.filter((row) => row.bucket < last.bucket) : rows;
    for (const [bucket, group] of groupByBucket(complete)) leaves.set(bucket, hashBucket(group));
    if (!last) break;
    rows = rows.filter((row) => row.bucket >= last.bucket);
    after = { bucket: last.bucket, key: new Uint8Array(last.key) };
  }
  const empty = hashBucket([]);
  return new MerkleTree((bucket) => leaves.get(bucket) ?? empty);
}

function groupByBucket(rows: readonly Row[]): Map<number, Row[]> {
  const groups = new Map<number, Row[]>();
  for (const row of rows) {
    const group = groups.get(row.bucket);
    if (group) group.push(row);
    else groups.set(row.bucket, [row]);
  }
  return groups;
}

function selectBuckets(db: Queryable, buckets: readonly number[]): Promise<Row[]> {
  return db.read<Row>('select bucket, key, version, sealed from state where bucket = any($1::int[])', [buckets]);
}

function hashBucket(rows: readonly Row[]): Uint8Array {
  const hash = createHash('sha256');
  for (const row of [...rows].sort((a, b) => Buffer.compare(a.key, b.key))) {
    hash
      .update(row.key)
      .update(row.version.toString())
      .update('\0')
      .update(createHash('sha256').update(row.sealed).digest());
  }
  return hash.digest();
}

function bucketOf(key: Uint8Array): number {
  return ((key[0]! << 8) | key[1]!) % BUCKETS;
}

function rowAddress(key: Uint8Array, version: bigint): readonly string[] {
  return ['kedge/state/v1', bytesToHex(key), version.toString()];
}
