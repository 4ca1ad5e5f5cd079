/**
 * Many users with many wallets on PostgreSQL, for the questions that need them: accounts and sealed wallets by the
 * enclave's own code without its process, the gateway's rows by SQL. Some wallets of each user open; the others are
 * rows of the same size that only make the tables as large as they would be.
 */
import { createHash, createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  addressBytes,
  bytesToHex,
  encodeProof,
  fromBase64Url,
  newId,
  type ProofDocument,
  type ProofKey,
  proofMessage,
  serverWrapAddress,
  systemClock,
  toBase64Url,
  userSubject,
  utf8ToBytes,
} from '@kedge/core';
import { type Database, migrate, openPostgres, readMigrations } from '@kedge/store';
import type { PostgresServer } from '@kedge/store/testing';
import { Accounts } from '../packages/enclave/src/accounts.ts';
import { acquireLease } from '../packages/enclave/src/lease.ts';
import { openFileMirror } from '../packages/enclave/src/mirror.ts';
import { ServerKeys } from '../packages/enclave/src/server-keys.ts';
import { ServiceTime } from '../packages/enclave/src/service-time.ts';
import { openSoftware } from '../packages/enclave/src/software.ts';
import { SealedState } from '../packages/enclave/src/state.ts';
import { createSealedWallets, generateWalletKey } from '../packages/enclave/src/wallets.ts';
import { random } from './vault.ts';

const AT_ONCE = 32;
const BATCH = 1_000;
const clock = systemClock();

export interface User {
  readonly project: string;
  readonly user: string;
  readonly sessionToken: string;
  readonly clientSecret: Uint8Array;
  readonly key: ProofKey;
  readonly privateKey: KeyObject;
  /** Those that open. */
  readonly wallets: readonly string[];
}

export interface Crowd {
  readonly users: readonly User[];
  readonly wallets: number;
  readonly primaryUrl: string;
  readonly vaultUrl: string;
  /** Root and mirror of the enclave. */
  readonly folder: string;
}

export async function makeCrowd(
  server: PostgresServer,
  counts: { readonly users: number; readonly openable: number; readonly wallets: number },
): Promise<Crowd> {
  const folder = mkdtempSync(join(tmpdir(), 'kedge-bench-'));
  const [primaryUrl, vaultUrl] = [await server.url('primary'), await server.url('vault')];
  const [primary, vault] = [await migrated(primaryUrl, 'server'), await migrated(vaultUrl, 'enclave')];

  const rootKeys = await openSoftware({ file: join(folder, 'root'), create: true });
  const lease = await acquireLease(vault, clock, 'bench', () => undefined);
  const mirrorKey = await rootKeys.mac(utf8ToBytes('kedge/mirror-key/v1'));
  const mac = (bytes: Uint8Array) => createHmac('sha256', mirrorKey).update(bytes).digest();
  const mirror = openFileMirror(join(folder, 'mirror'), mac, lease!.fence);
  const { state } = await SealedState.open({ db: vault, mirror, fence: lease!.fence, rootKeys, random });
  state.takeOver();
  const time = await ServiceTime.load(clock, state);
  const serverKeys = await ServerKeys.load(rootKeys, state, time);
  const accounts = await Accounts.load(state, time);
  const sealed = createSealedWallets({ db: vault, rootKeys, serverKeys, random });

  const project = newId(clock, random);
  await primary.query('insert into projects values ($1, $2, $3, now())', [project, 'bench', 'sandbox']);
  const users: User[] = [];
  await atOnce(
    AT_ONCE,
    Array.from({ length: counts.users }, (_, index) => index),
    async (index) => {
      const id = newId(clock, random);
      const user = makeUser(project, id, index, counts.openable, await sealed.createClientSecret(project, id));
      await accounts.change(project, user.user, async () => ({
        next: {
          salt: random(16),
          fingerprint: random(32),
          secondWrap: random(108),
          keys: [user.key],
          tries: [],
          opens: { dayStartMs: 0, charged: 0 },
        },
        result: undefined,
      }));
      const vaultId = await insertUser(primary, user);
      for (const wallet of user.wallets) {
        const name = { project, user: user.user, wallet };
        const { publicKey } = await sealed.create(name, user.clientSecret, () => generateWalletKey('secp256k1'));
        await insertWallet(primary, user, vaultId, wallet, publicKey);
      }
      users.push(user);
    },
  );
  await fillUp(primary, vault, serverKeys, counts.wallets - counts.users * counts.openable);
  await lease!.release();
  mirror.close();
  await rootKeys.close();
  await primary.close();
  await vault.close();
  return { users, wallets: counts.wallets, primaryUrl, vaultUrl, folder };
}

/** A fresh proof that opens one wallet, as a device makes it. */
export function proofToOpen(user: User, wallet: string, boot: Uint8Array): string {
  const answerKey = fromBase64Url(generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' }).x!);
  const subject = userSubject(user.project, user.user);
  return signedProof(user, { act: 'open_wallet', subject, parameters: { wallet }, answerKey, boot });
}

export function signedProof(
  { key, privateKey }: Pick<User, 'key' | 'privateKey'>,
  said: Omit<ProofDocument, 'nonce' | 'expiresAtMs'>,
): string {
  const document = { ...said, nonce: random(16), expiresAtMs: Date.now() + 55_000 };
  const message = proofMessage(document);
  const signature =
    key.algorithm === 'ed25519'
      ? sign(null, message, privateKey)
      : sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return encodeProof({ document, key, signature });
}

export async function atOnce<T>(
  count: number,
  items: readonly T[],
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: count }, async () => {
      for (const item of queue) await work(item);
    }),
  );
}

async function migrated(url: string, name: 'server' | 'enclave'): Promise<Database> {
  const db = await openPostgres({ url });
  const folder = new URL(`../packages/${name}/src/migrations/`, import.meta.url);
  await migrate(db, { migrations: await readMigrations(folder), appVersion: '0.1.0' });
  return db;
}

/** Half of the users sign with P-256, as browsers do, half with Ed25519. */
function makeUser(project: string, user: string, index: number, openable: number, clientSecret: Uint8Array): User {
  const ed25519 = index % 2 === 0;
  const pair = ed25519 ? generateKeyPairSync('ed25519') : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x, y } = pair.publicKey.export({ format: 'jwk' });
  const publicKey = ed25519
    ? fromBase64Url(x!)
    : new Uint8Array(Buffer.concat([Buffer.of(4), fromBase64Url(x!), fromBase64Url(y!)]));
  return {
    project,
    user,
    sessionToken: `us_${toBase64Url(random(32))}`,
    clientSecret,
    key: { algorithm: ed25519 ? 'ed25519' : 'p256', publicKey },
    privateKey: createPrivateKey({ key: pair.privateKey.export({ format: 'jwk' }), format: 'jwk' }),
    wallets: Array.from({ length: openable }, () => newId(clock, random)),
  };
}

async function insertUser(db: Database, { project, user, clientSecret, key, sessionToken }: User): Promise<string> {
  const [vault, clientKey] = [newId(clock, random), newId(clock, random)];
  await db.query(
    'insert into users (project, id, client_secret, server_key, created_at) values ($1, $2, $3, 1, now())',
    [project, user, clientSecret],
  );
  await db.query(
    `insert into client_keys (project, user_id, id, algorithm, public_key, label, created_at) values ($1, $2, $3, $4, $5, '', now())`,
    [project, user, clientKey, key.algorithm, key.publicKey],
  );
  await db.query(
    `insert into sessions (project, token_hash, user_id, client_key, created_at, used_at, expires_at)
     values ($1, $2, $3, $4, now(), now(), now() + interval '12 hours')`,
    [project, createHash('sha256').update(sessionToken).digest(), user, clientKey],
  );
  await db.query(
    `insert into vaults (project, id, user_id, scheme, label, status, created_at) values ($1, $2, $3, 'dual-secret', '', 'active', now())`,
    [project, vault, user],
  );
  return vault;
}

async function insertWallet(db: Database, user: User, vault: string, wallet: string, key: Uint8Array): Promise<void> {
  await db.query(
    `insert into wallets (project, id, user_id, vault_id, chain, network, public_key, address, second_wrap, created_at)
     values ($1, $2, $3, $4, 'evm', '31337', $5, $6, false, now())`,
    [user.project, wallet, user.user, vault, key, `0x${Buffer.from(key.subarray(0, 20)).toString('hex')}`],
  );
}

/** Wallets that nobody opens, spread over the users: rows of the size of the others, which a rotation rewraps like them. */
async function fillUp(primary: Database, vault: Database, serverKeys: ServerKeys, count: number): Promise<void> {
  await primary.query(
    `insert into wallets (project, id, user_id, vault_id, chain, network, public_key, address, second_wrap, created_at)
     select v.project, gen_random_uuid(), v.user_id, v.id, 'evm', '31337', sha256(n::text::bytea),
       '0x' || substr(md5(n::text) || md5(n::text), 1, 40), false, now()
     from (select *, row_number() over () - 1 as at, count(*) over () as many from vaults) v
     join generate_series(1, $1::bigint) n on n % v.many = v.at`,
    [count],
  );
  const [inner, payload] = [random(112), random(576)];
  for (let left = count; left > 0; left -= BATCH) {
    const lookups = Array.from({ length: Math.min(left, BATCH) }, () => random(20));
    const aadOf = (lookup: Uint8Array) => addressBytes(serverWrapAddress(bytesToHex(lookup), serverKeys.active));
    const wraps = await Promise.all(lookups.map((lookup) => serverKeys.wrap('wallet', inner, aadOf(lookup))));
    await vault.query(
      `insert into wallets (id, lookup, server_key, outer_wrap, payload)
       select gen_random_uuid(), lookup, $1, wrap, $2 from unnest($3::bytea[], $4::bytea[]) as t (lookup, wrap)`,
      [serverKeys.active, payload, lookups, wraps],
    );
  }
  for (const db of [primary, vault]) await db.query('analyze');
  await vault.query('checkpoint'); // of the whole server, or it would come in the middle of a measurement
}
