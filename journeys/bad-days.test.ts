/** Bad days of an operator: a process, a database or the disk is gone. The service says which, changes nothing, and comes back by itself. */
import assert from 'node:assert/strict';
import { chmodSync, closeSync, existsSync, openSync, rmSync, symlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Account, signUp, type Wallet } from '@kedge/sdk';
import { smallDisk } from '@kedge/store/testing';
import { until } from './harness/journey.ts';
import { World, type WorldOptions } from './harness/world.ts';

test('the enclave is gone: calls that need it fail with the reason, the others go on, and its return is enough', async (t) => {
  const { world, account, wallet } = await openDay(t, { database: 'pglite', hsm: 'software' });
  const { enclave } = world.service!.children;
  enclave.kill('SIGKILL');
  await enclave.ended;
  assertProblem(await ask(world, '/v1/enclave'), 'enclave_unavailable');
  await assert.rejects(account.openWallet(wallet), { code: 'enclave_unavailable' });
  assert.deepEqual((await account.client().call('listVaults', {})).data.length, 1, 'what needs no enclave goes on');
  assert.deepEqual(await redChecks(world), { enclave: 'enclave_unavailable' });

  await world.startEnclave();
  await until(async () => ((await ask(world, '/readyz')).status === 200 ? true : null));
  (await account.openWallet(wallet)).fill(0);
});

test('the databases are gone: every call fails with the reason, and their return is enough', {
  skip: !existsSync('/usr/lib/postgresql') && 'PostgreSQL is not installed',
}, async (t) => {
  const { world, account, wallet } = await openDay(t, { database: 'postgres', hsm: 'software' });
  await world.withoutDatabases(async () => {
    assertProblem(await ask(world, '/v1/vaults', account), 'store_unavailable');
    await assert.rejects(account.openWallet(wallet), { code: 'store_unavailable' });
    assert.equal((await redChecks(world)).database, 'store_unavailable');
    assert.equal((await ask(world, '/healthz')).status, 200, 'the process itself is well: nobody should restart it');
  });
  await until(async () => ((await ask(world, '/readyz')).status === 200 ? true : null));
  (await account.openWallet(wallet)).fill(0);
});

test('the disk is full: nothing is changed and no key leaves, and freed space is enough', async (t) => {
  const disk = smallDisk(t, 176);
  if (disk === undefined) return;
  const { world, account, wallet } = await openDay(t, { database: 'pglite', hsm: 'software' }, disk);
  const ballast = join(disk, 'ballast');
  fill(ballast);
  assertProblem(await ask(world, '/v1/vaults', account, { scheme: 'dual-secret', label: 'too much' }), 'store_full');
  await assert.rejects(account.openWallet(wallet), { code: 'store_full' });
  await assert.rejects(account.createWallet(wallet.vault_id), { code: 'store_full' });
  assert.equal((await account.client().call('listVaults', {})).data.length, 1, 'what is there can be read');

  rmSync(ballast);
  assert.equal(
    (await account.client().call('listWallets', { params: { vault_id: wallet.vault_id } })).data.length,
    1,
    'nothing was changed',
  );
  (await account.openWallet(wallet)).fill(0);
  await account.createVault('enough');
  await until(async () => ((await ask(world, '/readyz')).status === 200 ? true : null));
});

/** A service with one account and one wallet, its state on `disk` if there is one. */
async function openDay(
  t: TestContext,
  options: WorldOptions,
  disk?: string,
): Promise<{ world: World; account: Account; wallet: Wallet }> {
  const world = await World.open({ ...options, prepared: disk === undefined });
  t.after(() => world.close());
  if (disk !== undefined) {
    chmodSync(disk, 0o700);
    symlinkSync(disk, world.home.path);
  }
  await world.start();
  await world.createProject();
  const { account } = await signUp(world.app());
  const wallet = await account.createWallet((await account.createVault('savings')).id);
  return { world, account, wallet };
}

interface Answer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly body: {
    readonly code?: string;
    readonly detail?: string;
    readonly next_step?: string;
    readonly checks?: Record<string, { ok: boolean; detail: string }>;
  };
}

/** One request, as it is: the SDK would try again. */
async function ask(world: World, path: string, account?: Account, body?: object): Promise<Answer> {
  const headers = {
    ...(account ? { authorization: `Bearer ${account.device.sessionToken}` } : {}),
    'content-type': 'application/json',
  };
  const response = await fetch(
    new URL(path, world.service!.url),
    body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers },
  );
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    body: (await response.json()) as Answer['body'],
  };
}

function assertProblem({ status, retryAfter, body }: Answer, code: string): void {
  assert.deepEqual([status, body.code], [503, code]);
  assert.match(body.detail ?? '', /^[A-Z].*\.$/, 'it says what happened');
  assert.match(body.next_step ?? '', /^[A-Z].*\.$/, 'and what to do');
  assert.equal(Number(retryAfter) > 0, true, 'and when to try again');
}

/** The checks at `/readyz` that are red, with why. */
async function redChecks(world: World): Promise<Record<string, string>> {
  const { status, body } = await ask(world, '/readyz');
  assert.equal(status, 503, 'a balancer sees it');
  return Object.fromEntries(
    Object.entries(body.checks!)
      .filter(([, { ok }]) => !ok)
      .map(([name, { detail }]) => [name, detail]),
  );
}

/** Takes every byte that is left on that disk. */
function fill(file: string): void {
  const fd = openSync(file, 'w');
  try {
    for (let size = 2 ** 20; size >= 1; size = Math.floor(size / 2)) {
      const zeros = new Uint8Array(size);
      while (tookAll(fd, zeros));
    }
  } finally {
    closeSync(fd);
  }
}

function tookAll(fd: number, bytes: Uint8Array): boolean {
  try {
    return writeSync(fd, bytes) === bytes.length;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    return false;
  }
}
