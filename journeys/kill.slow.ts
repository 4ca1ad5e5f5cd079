/** The attack S2 on real processes, at every durable write of every act, before and after: each until an act ends without passing it. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type Kill, Killer } from './attacks/killer.ts';
import { World } from './harness/world.ts';

const acts = ['sign-up', 'create wallet', 'recover', 'rotate: start', 'rotate: rewrap', 'rotate: finish'] as const;
const writes: Readonly<Record<Kill['process'], readonly string[]>> = {
  enclave: ['mirror opened', 'mirror closed', 'vault state', 'vault wallets', 'vault compact'],
  gateway: [
    'primary idempotency',
    'primary commit',
    'primary users',
    'primary wallets',
    'primary client_keys',
    'primary sessions',
    'primary events',
    'primary compact',
  ],
};
/** An act has fewer writes of a kind; beyond are those of jobs, which never end. */
const COUNT_MAX = 4;

/** With `--minutes`, a sample: the acts in a random order, until a sixth of the minutes is used up. */
const sampleMs = (Number(process.env.KEDGE_MINUTES ?? 0) * 60_000) / 6;
const seed = Number(process.env.KILL_SEED ?? randomInt(acts.length));

for (const database of sampleMs > 0 ? (['pglite'] as const) : (['pglite', 'postgres'] as const)) {
  describe(`killed with -9 at every durable write, on ${database}`, () => {
    let world: World;
    let killer: Killer;
    let startedMs = 0;
    before(async () => {
      world = await World.open({ database, hsm: 'software', prepared: true });
      killer = await Killer.start(world);
      startedMs = performance.now();
    });
    after(() => world.close());
    const timeIsUp = () => sampleMs > 0 && performance.now() - startedMs > sampleMs;

    for (const during of [...acts.slice(seed), ...acts.slice(0, seed)]) {
      for (const process of ['enclave', 'gateway'] as const) {
        test(`${during}: every write of the ${process}`, async (t) => {
          let kills = 0;
          for (const write of writes[process]) {
            for (const side of ['before', 'after'] as const) {
              for (let count = 1; count <= COUNT_MAX && !timeIsUp(); count++) {
                if ((await killer.kill({ during, process, at: `${write} ${count} ${side}` })) === null) break;
                kills += 1;
              }
            }
          }
          t.diagnostic(`${kills} kills${timeIsUp() ? `, then the time was up (KILL_SEED=${seed})` : ''}`);
          if (!timeIsUp()) assert.notEqual(kills, 0, 'every act writes something');
        });
      }
    }
  });
}
