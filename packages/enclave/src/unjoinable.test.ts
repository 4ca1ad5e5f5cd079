/**
 * The attack C6: a thief of both databases, without the HSM, tries to tell which rows of the vault belong to whom.
 * Thousands of users are written through the enclave's own code, in the order in which the primary database has them. Then
 * every feature of a person in the primary database (when, how many, how large) is held against every feature of a row
 * in the vault (place in the dump and on the disk, size, numbers that may count), and a hundred rows are guessed for each.
 */
import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { addressBytes, bytesToHex, hexToBytes, newId, type UserId, type WalletId } from '@kedge/core';
import { drivenClock } from '@kedge/core/testing';
import { type Database, dumpTables, migrate, openDatabase, readMigrations } from '@kedge/store';
import { startPostgres } from '@kedge/store/testing';
import { Accounts } from './accounts.ts';
import { createBackupKeys } from './backup-keys.ts';
import { acquireLease } from './lease.ts';
import type { MirrorRecord } from './mirror.ts';
import { ServerKeys } from './server-keys.ts';
import { ServiceTime } from './service-time.ts';
import { openSoftware } from './software.ts';
import { SealedState } from './state.ts';
import { createSealedWallets, generateWalletKey } from './wallets.ts';

/** Enough for each matcher to stand out from chance; `npm run test:slow` writes ten thousand. */
const USERS = Number(process.env.UNJOINABLE_USERS ?? 2_500);
/** How many of a hundred users have no wallet, one, two, three. */
const WALLETS = [70, 20, 8, 2];
const GUESSES = 100;
const AT_ONCE = 100;

const project = '0198a000-0000-7000-8000-000000000001';
const random = (length: number) => new Uint8Array(randomBytes(length));

test('users cannot be found in the vault database by order, time, size or count', {
  skip: !existsSync('/usr/lib/postgresql') && 'PostgreSQL is not installed',
}, async (t) => {
  const server = await startPostgres();
  t.after(() => server.stop());
  const db = await openDatabase(await server.url('vault'));
  t.after(() => db.close());
  const people = await signUpEverybody(db);
  const kinds = {
    accounts: people,
    wallets: people.flatMap((person) => person.wallets),
    'backup keys': people.flatMap((person) => person.backupKeys),
  };

  for (const [kind, truth] of Object.entries(kinds)) {
    const { name, hits } = bestMatcher(truth, await features(db, kind));
    t.diagnostic(`before the rewrite, ${kind} by ${name}: ${hits} of ${truth.length}`);
    assert.equal(
      hits > truth.length * 0.5,
      true,
      'in the order of writing the same matcher finds most, so it can succeed',
    );
  }
  await db.compact(['state', 'wallets', 'backup_keys']);
  for (const [kind, truth] of Object.entries(kinds)) {
    const rows = await features(db, kind);
    const { name, hits } = bestMatcher(truth, rows);
    const chance = (truth.length * GUESSES) / rows.length;
    t.diagnostic(`after it, ${kind} by ${name}: ${hits} of ${truth.length}; ${chance.toFixed(0)} by chance`);
    assert.equal(
      hits <= 2 * chance,
      true,
      `${kind} are found by ${name}: ${hits} hits, ${chance.toFixed(0)} by chance`,
    );
  }
});

/** What the primary database says of an account or a wallet, and the key of its row in the vault: the truth. */
interface Target {
  readonly rowKey: string;
  readonly id: string;
  readonly count: number;
  readonly size: number;
}

interface Person extends Target {
  readonly wallets: Target[];
  readonly backupKeys: Target[];
}

/** One life of a service: sign-ups and new wallets in the order of their time, many at once. */
async function signUpEverybody(db: Database): Promise<Person[]> {
  await migrate(db, {
    migrations: await readMigrations(new URL('./migrations/', import.meta.url)),
    appVersion: '0.1.0',
  });
  const clock = drivenClock();
  const rootKeys = await openSoftware({
    file: join(mkdtempSync(join(tmpdir(), 'kedge-unjoinable-')), 'root'),
    create: true,
  });
  const { fence } = (await acquireLease(db, clock, 'test', () => undefined))!;
  let said: MirrorRecord | null = null;
  const mirror = {
    read: () => said,
    write(record: MirrorRecord) {
      said = record;
    },
    close: () => undefined,
  };
  const { state } = await SealedState.open({ db, mirror, fence, rootKeys, random });
  const time = await ServiceTime.load(clock, state);
  const serverKeys = await ServerKeys.load(rootKeys, state, time);
  const accounts = await Accounts.load(state, time);
  const kind = 'backup-key' as const;
  const backupKeys = createBackupKeys({ kind, db, rootKeys, serverKeys, random, officers: [] });
  const sealedWallets = createSealedWallets({ db, rootKeys, serverKeys, random });

  const signUp = async (person: Person) => {
    const keys = Array.from({ length: 1 + (random(1)[0]! % 4) }, () => ({
      algorithm: 'ed25519' as const,
      publicKey: random(32),
    }));
    const account = {
      salt: random(16),
      fingerprint: random(32),
      secondWrap: random(60),
      keys,
      tries: [],
      opens: { dayStartMs: 0, charged: 0 },
    };
    await accounts.change(project, person.id, async () => ({ next: account, result: undefined }));
  };
  const createWallet = async (person: Person, wallet: Target) => {
    const clientSecret = await sealedWallets.createClientSecret(project, person.id);
    const key = generateWalletKey('secp256k1');
    const content = wallet.size === 0 ? key : { ...key, key: random(wallet.size), secondWrap: true };
    await sealedWallets.create({ project, user: person.id, wallet: wallet.id }, clientSecret, () => content);
  };

  const createBackupKey = async (person: Person, { id, size }: Target) => {
    const type = size === 0 ? 'ed25519' : 'secp256k1';
    const wanted = { type, environment: 'HOT', createdAt: new Date(0).toISOString(), nonce: null } as const;
    await backupKeys.create({ project, user: person.id, key: id }, wanted);
  };

  const people: Person[] = [];
  const life: { at: number; act: () => Promise<void> }[] = [];
  for (let index = 0; index < USERS; index++) {
    const at = index;
    const id = newId<UserId>({ wallMs: () => 1_800_000_000_000 + at * 60_000 }, random);
    const count = countOf(index % 100);
    const person: Person = {
      id,
      rowKey: bytesToHex(await state.key('account', project, id)),
      count,
      size: 0,
      wallets: [],
      backupKeys: [],
    };
    for (let number = 0; number < count; number++) {
      const walletAt = at + randomInt(USERS / 10);
      const wallet = newId<WalletId>({ wallMs: () => 1_800_000_000_000 + Math.floor(walletAt * 60_000) }, random);
      const lookup = await rootKeys.mac(addressBytes(['kedge/lookup/v1', project, id, wallet]));
      const target = { id: wallet, rowKey: bytesToHex(lookup.slice(0, 20)), count, size: index % 3 === 0 ? 96 : 0 };
      person.wallets.push(target);
      life.push({ at: walletAt, act: () => createWallet(person, target) });
    }
    for (let number = 0; number < count; number++) {
      const keyAt = at + randomInt(USERS / 10);
      const key = newId({ wallMs: () => 1_800_000_000_000 + Math.floor(keyAt * 60_000) }, random);
      const lookup = await rootKeys.mac(addressBytes(['kedge/backup-key-lookup/v1', project, id, key]));
      const target = { id: key, rowKey: bytesToHex(lookup.slice(0, 20)), count, size: index % 3 };
      person.backupKeys.push(target);
      life.push({ at: keyAt, act: () => createBackupKey(person, target) });
    }
    people.push(person);
    life.push({ at, act: () => signUp(person) });
  }
  life.sort((a, b) => a.at - b.at);
  for (let from = 0; from < life.length; from += AT_ONCE)
    await Promise.all(life.slice(from, from + AT_ONCE).map(({ act }) => act()));
  return people;
}

function countOf(percentile: number): number {
  let below = 0;
  return WALLETS.findIndex((share) => {
    below += share;
    return percentile < below;
  });
}

type Feature = number | bigint;

/** A row of the vault as its thief sees it. */
interface VaultRow {
  readonly rowKey: string;
  readonly features: Readonly<Record<string, Feature>>;
}

/** Where the rows of each kind lie, and what names them. */
const places: Readonly<Record<string, readonly [table: string, key: string]>> = {
  accounts: ['state', 'key'],
  wallets: ['wallets', 'lookup'],
  'backup keys': ['backup_keys', 'lookup'],
};

/** Everything about a row that can be put in an order, in the order of the dump. */
async function features(db: Database, kind: string): Promise<VaultRow[]> {
  const [table, key] = places[kind]!;
  const lines: string[] = [];
  await db.transaction(async (tx) => {
    for await (const line of dumpTables(tx, [table])) lines.push(line);
  });
  const placed = await db.query<{ row_key: string; page: number; line: number; written: bigint }>(
    `select encode(${key}, 'hex') as row_key, (ctid::text::point)[0]::int as page, (ctid::text::point)[1]::int as line, xmin::text::bigint as written from ${table}`,
  );
  const onDisk = new Map(placed.map((place) => [place.row_key, place]));
  const parsed = lines.map((line) => (JSON.parse(line) as { row: Record<string, unknown> }).row);
  const shared = countShared(parsed);
  return parsed.map((row, index) => {
    const rowKey = Buffer.from((row[key] as { $bytes: string }).$bytes, 'base64').toString('hex');
    const { page, line, written } = onDisk.get(rowKey)!;
    const values = Object.entries(row).map(([name, value]) => [name, numberOf(value)] as const);
    const sizes = Object.entries(row).map(
      ([name, value]) => [`size of ${name}`, JSON.stringify(value).length] as const,
    );
    return {
      rowKey,
      features: {
        'place in the dump': index,
        'place on the disk': page * 1_000 + line,
        'number of the transaction': written,
        'rows that share a value': shared[index]!,
        ...Object.fromEntries([...values, ...sizes]),
      },
    };
  });
}

/** Any value as a number: an id or a key by its first eight bytes, which in a UUIDv7 are the time. */
function numberOf(value: unknown): Feature {
  if (typeof value === 'number') return value;
  const marked = value as { $bytes?: string; $bigint?: string };
  if (marked.$bigint !== undefined) return BigInt(marked.$bigint);
  const hex =
    marked.$bytes === undefined
      ? String(value).replaceAll('-', '')
      : Buffer.from(marked.$bytes, 'base64').toString('hex');
  return new DataView(hexToBytes(hex.slice(0, 16)).buffer).getBigUint64(0);
}

/** For each row, how many others have a value in common with it: three wallets of one person must not. */
function countShared(rows: readonly Record<string, unknown>[]): number[] {
  const names = rows.map((row) => Object.entries(row).map(([name, value]) => `${name} ${JSON.stringify(value)}`));
  const seen = new Map<string, number>();
  for (const name of names.flat()) seen.set(name, (seen.get(name) ?? 0) + 1);
  return names.map((own) => Math.max(...own.map((name) => seen.get(name)!).filter((count) => count < 10)));
}

/** Puts both sides in an order by a feature each, lays them side by side and guesses the hundred rows around. */
function bestMatcher(targets: readonly Target[], rows: readonly VaultRow[]): { name: string; hits: number } {
  const ofTarget: Record<string, (target: Target) => Feature> = {
    time: ({ id }) => numberOf(id),
    count: ({ count }) => count,
    size: ({ size }) => size,
  };
  const orders = Object.entries(ofTarget).map(([name, of]) => ({ name, ordered: sortBy(targets, of) }));
  let best = { name: 'nothing', hits: 0 };
  for (const feature of Object.keys(rows[0]!.features)) {
    const places = new Map(sortBy(rows, (row) => row.features[feature]!).map((row, place) => [row.rowKey, place]));
    for (const { name, ordered } of orders) {
      for (const direction of ['same', 'opposite']) {
        const hits = ordered.filter(({ rowKey }, rank) => {
          const guess = Math.floor((rank / ordered.length) * rows.length);
          return Math.abs((direction === 'same' ? guess : rows.length - 1 - guess) - places.get(rowKey)!) < GUESSES / 2;
        }).length;
        if (hits > best.hits) best = { name: `${name} against ${feature} (${direction} order)`, hits };
      }
    }
  }
  return best;
}

function sortBy<T>(items: readonly T[], of: (item: T) => Feature): T[] {
  const ranked = items.map((item) => ({ item, feature: of(item) }));
  ranked.sort((a, b) => (a.feature < b.feature ? -1 : a.feature > b.feature ? 1 : 0));
  return ranked.map(({ item }) => item);
}
