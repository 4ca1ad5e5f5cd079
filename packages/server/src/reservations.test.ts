/** The reservations in the primary database keep the promises of every store of reservations, on both engines. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { reservationsCases } from '@kedge/chains/testing';
import type { ProjectId, UserId, VaultId, WalletId } from '@kedge/core';
import { type Database, openDatabase } from '@kedge/store';
import { type PostgresServer, startPostgres } from '@kedge/store/testing';
import { deletePlan, keepForSigned, releaseSigned, type WalletOwner, walletReservations } from './reservations.ts';
import { acrossProjects, inProject, insertProject, insertUser, insertVault, insertWallet } from './store.ts';
import { migratedDatabase, migrateForTest } from './testing/gateway.ts';

const engines: Readonly<Record<string, () => Promise<Database>>> = {
  PGlite: migratedDatabase,
  PostgreSQL: async () => {
    const db = await openDatabase(await server.url(`reservations_${count++}`));
    await migrateForTest(db);
    return db;
  },
};
let server: PostgresServer;
let count = 0;
before(async () => {
  server = await startPostgres();
});
after(() => server.stop());

/** A wallet of its own for each test, so that all may share the database. */
async function newWallet(db: Database): Promise<WalletOwner> {
  const project = randomUUID() as ProjectId;
  const user = randomUUID() as UserId;
  const at = new Date(0);
  await insertProject(acrossProjects(db), { id: project, name: 'test', environment: 'sandbox', created_at: at });
  const on = inProject(db, project);
  await insertUser(on, {
    id: user,
    email: null,
    external_id: null,
    client_secret: new Uint8Array(60),
    server_key: 1,
    created_at: at,
  });
  const vault = randomUUID() as VaultId;
  await insertVault(on, {
    id: vault,
    user_id: user,
    scheme: 'dual-secret',
    label: 'test',
    status: 'active',
    exported_at: null,
    created_at: at,
  });
  const wallet = randomUUID() as WalletId;
  await insertWallet(on, {
    id: wallet,
    user_id: user,
    vault_id: vault,
    chain: 'evm',
    network: 'net',
    public_key: new Uint8Array(33),
    address: 'account',
    second_wrap: false,
    created_at: at,
  });
  return { project, user_id: user, id: wallet };
}

for (const [engine, open] of Object.entries(engines)) {
  describe(`reservations on ${engine}`, () => {
    let db: Database;
    before(async () => {
      db = await open();
    });
    after(() => db.close());

    for (const { title, run } of reservationsCases) {
      test(title, async () => {
        let nowMs = 0;
        await run({
          reservations: walletReservations(db, await newWallet(db), () => nowMs),
          setNow(ms) {
            nowMs = ms;
          },
        });
      });
    }

    const plan = (id: string, resources: string[], heldUntilMs: number | null = null) => ({
      network: 'net',
      id,
      account: 'account',
      resources,
      unsigned: new Uint8Array([7]),
      heldUntilMs,
    });
    const signed = (id: string, byte: number, resources: string[]) => ({
      network: 'net',
      id,
      account: 'account',
      final: new Uint8Array([byte]),
      resources,
    });

    test('many that want overlapping things at once get them whole or not at all, and none waits for ever', async () => {
      const reservations = walletReservations(db, await newWallet(db), () => 0);
      const wanted = Array.from({ length: 30 }, (_, at) => [`coin ${at % 5}`, `coin ${(at + 2) % 5}`]);
      const made = await Promise.all(wanted.map((resources, at) => reservations.reserve(plan(`r${at}`, resources))));
      const got = made.flatMap((one) => (one === null ? [] : [...one.resources]));
      assert.equal(new Set(got).size, got.length, 'nothing is held twice');
      assert.ok(got.length >= 2);
      assert.equal((await reservations.list('net', 'account')).length, got.length / 2);
    });

    test('attack: a neighbour that claims the same address holds nothing of this wallet', async () => {
      const [mine, theirs] = [await newWallet(db), await newWallet(db)];
      const now = () => 0;
      await walletReservations(db, theirs, now).reserve(plan('theirs', ['nonce:0']));
      assert.deepEqual(await walletReservations(db, mine, now).list('net', 'account'), []);
      assert.notEqual(await walletReservations(db, mine, now).reserve(plan('mine', ['nonce:0'])), null);
      assert.equal(await deletePlan(inProject(db, mine.project), mine, 'net', 'theirs'), false);
    });

    test('signed bytes keep the plan they were built from, or what they use without one, until they are over', async () => {
      const wallet = await newWallet(db);
      const on = inProject(db, wallet.project);
      const reservations = walletReservations(db, wallet, () => 5_000);
      await reservations.reserve(plan('planned', ['nonce:0'], 6_000));
      await keepForSigned(on, wallet, signed('t0', 1, ['nonce:0']));
      await keepForSigned(on, wallet, signed('t1', 2, ['nonce:1']));
      await keepForSigned(on, wallet, signed('t1', 2, ['nonce:1'])); // sent again
      const later = walletReservations(db, wallet, () => 60_000);
      const held = await later.list('net', 'account');
      assert.deepEqual(
        held.map(({ id, resources, final }) => [id, resources, final?.[0]]),
        [
          ['planned', ['nonce:0'], 1],
          ['t1', ['nonce:1'], 2],
        ],
      );
      assert.equal(await deletePlan(on, wallet, 'net', 'planned'), false, 'what is signed is not given up');
      // A faster one with the same nonce: the first keeps the place, and its end frees it.
      await keepForSigned(on, wallet, signed('t2', 3, ['nonce:1']));
      assert.equal(await later.reserve(plan('thief', ['nonce:1'])), null);
      await releaseSigned(on, wallet.id, new Uint8Array([3]));
      assert.equal(await later.reserve(plan('thief', ['nonce:1'])), null);
      await releaseSigned(on, wallet.id, new Uint8Array([2]));
      assert.notEqual(await later.reserve(plan('next', ['nonce:1'])), null);
    });
  });
}
