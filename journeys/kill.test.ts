/** The attack S2 on real processes: a dozen kills, at each kind of durable write. All points are in `kill.slow.ts`. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Kill, Killer } from './attacks/killer.ts';
import { World } from './harness/world.ts';

const kills: readonly Kill[] = [
  { during: 'sign-up', process: 'enclave', at: 'vault state 1 before' },
  { during: 'sign-up', process: 'enclave', at: 'mirror closed 1 before' },
  { during: 'sign-up', process: 'gateway', at: 'primary users 1 before' },
  { during: 'sign-up', process: 'gateway', at: 'primary users 1 after' },
  { during: 'create wallet', process: 'enclave', at: 'vault wallets 1 after' },
  { during: 'create wallet', process: 'gateway', at: 'primary wallets 1 after' },
  { during: 'recover', process: 'enclave', at: 'vault state 2 after' },
  { during: 'recover', process: 'gateway', at: 'primary client_keys 1 before' },
  { during: 'rotate: start', process: 'enclave', at: 'mirror opened 1 after' },
  { during: 'rotate: start', process: 'enclave', at: 'vault state 1 after' },
  { during: 'rotate: rewrap', process: 'gateway', at: 'primary users 1 after' },
  { during: 'rotate: finish', process: 'enclave', at: 'vault compact 1 after' },
];

describe('killed with -9 at any moment, the service loses nothing that it answered and shows nothing half made', () => {
  let world: World;
  let killer: Killer;
  before(async () => {
    world = await World.open({ database: 'pglite', hsm: 'software', prepared: true });
    killer = await Killer.start(world);
  });
  after(() => world.close());

  for (const kill of kills) {
    test(`${kill.during}: ${kill.process}, ${kill.at}`, async (t) => {
      const startMs = await killer.kill(kill);
      assert.notEqual(startMs, null, 'the point was passed');
      t.diagnostic(`back after ${(Number(startMs) / 1000).toFixed(1)} s`);
    });
  }
});
