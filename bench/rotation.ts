/**
 * P8: a rotation of the server key, against a bare loop that does the least: select a batch, unwrap, wrap, update, commit.
 * Ours also opens each new wrap before it commits and counts what is left. 100,000 wallets and as many client secrets on
 * the embedded database; with `--million`, ten times as many on PostgreSQL.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import { addressBytes, bytesToHex, newVaultRowId, serverWrapAddress } from '@kedge/core';
import { type Database, openPostgres } from '@kedge/store';
import { memoryDatabase, startPostgres } from '@kedge/store/testing';
import { REWRAP_MAX } from '../packages/enclave/src/outer-wraps.ts';
import { measurePairs, type Question } from './measure.ts';
import { type BenchVault, openVault, random } from './vault.ts';

const BATCH = REWRAP_MAX;
const PROJECT = 'bench';

export const rotation: Question = {
  name: 'rotation',
  async run({ million }) {
    const server = million ? await startPostgres({ shared_buffers: '512MB' }) : null;
    const db = server ? await openPostgres({ url: await server.url('bench') }) : await memoryDatabase();
    const vault = await openVault(db);
    const count = million ? 1_000_000 : 100_000;
    const bare = { old: createSecretKey(random(32)), next: createSecretKey(random(32)) };
    await fill(db, vault, bare.old, count);
    await vault.serverKeys.startRotation(async () => ({ document: new Uint8Array(), signature: new Uint8Array() }));

    const pairs = Math.floor(count / BATCH) - 3;
    const where = `${count.toLocaleString('en')} on ${db.engine}`;
    const common = { id: 'P8', count: BATCH, unit: 'per s', bar: { atLeast: 0.8 }, pairs };
    const wallets = await measurePairs({
      ...common,
      what: `wallets rewrapped, ${where}`,
      async ours() {
        const { rewrapped } = await vault.wallets.rewrap(BATCH);
        if (rewrapped !== BATCH) throw new Error(`${rewrapped} of ${BATCH} rewrapped`);
      },
      reference: () => bareRewrap(db, 'bare_wallets', 'outer_wrap', bare),
    });
    const secrets = await measurePairs({
      ...common,
      what: `client secrets rewrapped, ${where}`,
      ours: () => rewrapSecrets(db, vault),
      reference: () => bareRewrap(db, 'bare_secrets', 'sealed', bare),
    });
    await db.close();
    await server?.stop();
    return [wallets, secrets];
  },
};

/** Each table twice, row for row of the same size: ours, and the reference's under a key of its own. */
async function fill(
  db: Database,
  { serverKeys, wallets }: BenchVault,
  bareKey: KeyObject,
  count: number,
): Promise<void> {
  await db.query(`
    create table bare_wallets (like wallets including all);
    create table secrets (id uuid primary key, server_key integer not null, sealed bytea not null);
    create index on secrets (server_key, id);
    create table bare_secrets (like secrets including all)`);
  const version = serverKeys.active;
  const inner = random(112);
  const payload = random(576);
  for (let at = 0; at < count; at += BATCH) {
    const ids = Array.from({ length: BATCH }, () => newVaultRowId(random));
    const lookups = ids.map(() => random(20));
    const wraps = await Promise.all(
      lookups.map((lookup) =>
        serverKeys.wrap('wallet', inner, addressBytes(serverWrapAddress(bytesToHex(lookup), version))),
      ),
    );
    const bareWraps = lookups.map((lookup) => gcmSeal(bareKey, inner, lookup));
    const insert = (table: string) =>
      `insert into ${table} select id, lookup, $1, wrap, $2 from unnest($3::uuid[], $4::bytea[], $5::bytea[]) as t (id, lookup, wrap)`;
    await db.query(insert('wallets'), [version, payload, ids, lookups, wraps]);
    await db.query(insert('bare_wallets'), [version, payload, ids, lookups, bareWraps]);
    const sealed = await Promise.all(ids.map((id) => wallets.createClientSecret(PROJECT, id)));
    const insertSecret = (table: string) =>
      `insert into ${table} select id, $1, sealed from unnest($2::uuid[], $3::bytea[]) as t (id, sealed)`;
    await db.query(insertSecret('secrets'), [version, ids, sealed]);
    await db.query(insertSecret('bare_secrets'), [
      version,
      ids,
      sealed.map((bytes) => gcmSeal(bareKey, bytes.subarray(0, 32), new Uint8Array())),
    ]);
  }
  await db.query('analyze');
}

/** As the gateway does it: read a batch, have the enclave rewrap it, compare-and-set. */
async function rewrapSecrets(db: Database, { serverKeys, wallets }: BenchVault): Promise<void> {
  const active = serverKeys.active;
  await db.transaction(async (tx) => {
    const rows = await tx.query<{ id: string; sealed: Uint8Array }>(
      'select id, sealed from secrets where server_key <> $1 order by server_key, id limit $2 for update skip locked',
      [active, BATCH],
    );
    if (rows.length !== BATCH) throw new Error(`${rows.length} of ${BATCH} secrets left`);
    const sealed: Uint8Array[] = [];
    for (const row of rows) sealed.push(await wallets.rewrapClientSecret(PROJECT, row.id, row.sealed));
    await tx.query(
      'update secrets set server_key = $1, sealed = new.sealed from (select unnest($2::uuid[]) as id, unnest($3::bytea[]) as sealed) as new where secrets.id = new.id',
      [active, rows.map((row) => row.id), sealed],
    );
  });
}

async function bareRewrap(
  db: Database,
  table: 'bare_wallets' | 'bare_secrets',
  column: 'outer_wrap' | 'sealed',
  keys: { readonly old: KeyObject; readonly next: KeyObject },
): Promise<void> {
  await db.transaction(async (tx) => {
    const aadColumn = table === 'bare_wallets' ? 'lookup' : "''::bytea as lookup";
    const rows = await tx.query<{ id: string; lookup: Uint8Array; wrapped: Uint8Array }>(
      `select id, ${aadColumn}, ${column} as wrapped from ${table} where server_key <> 2 order by server_key, id limit $1 for update skip locked`,
      [BATCH],
    );
    if (rows.length !== BATCH) throw new Error(`${rows.length} of ${BATCH} left in ${table}`);
    const wraps = rows.map(({ lookup, wrapped }) => gcmSeal(keys.next, gcmOpen(keys.old, wrapped, lookup), lookup));
    await tx.query(
      `update ${table} set server_key = 2, ${column} = new.wrapped from (select unnest($1::uuid[]) as id, unnest($2::bytea[]) as wrapped) as new where ${table}.id = new.id`,
      [rows.map((row) => row.id), wraps],
    );
  });
}

function gcmSeal(key: KeyObject, plaintext: Uint8Array, aad: Uint8Array): Uint8Array {
  const nonce = random(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(aad);
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function gcmOpen(key: KeyObject, sealed: Uint8Array, aad: Uint8Array): Uint8Array {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12))
    .setAAD(aad)
    .setAuthTag(sealed.subarray(-16));
  const plaintext = decipher.update(sealed.subarray(12, -16));
  decipher.final();
  return plaintext;
}
