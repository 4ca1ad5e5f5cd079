/** `npm run journey [1-5]`: plays one journey on real parts and exits 0 if every step held. */
import { parseArgs } from 'node:util';
import { backupKeyJourney } from './1-backup-key.ts';
import { dualSecretJourney } from './2-dual-secret.ts';
import { type Journey, runJourney } from './harness/journey.ts';
import { World } from './harness/world.ts';

const journeys: readonly Journey[] = [backupKeyJourney, dualSecretJourney];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    database: { type: 'string', default: 'pglite' },
    hsm: { type: 'string', default: 'software' },
    keep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const number = Number(positionals[0] ?? 1);
const journey = journeys.find((candidate) => candidate.number === number);
const { database, hsm } = values;
if (!journey)
  throw new Error(
    `There is no journey ${number} yet. There is: ${journeys.map((known) => `${known.number} (${known.scheme})`).join(', ')}.`,
  );
if (database !== 'pglite' && database !== 'postgres') throw new Error('--database is pglite or postgres.');
if (hsm !== 'software' && hsm !== 'pkcs11') throw new Error('--hsm is software or pkcs11.');

// Step 9 of journey 2 makes embedded databases from nothing, so no journey need show it before its step 1.
const world = await World.open({ database, hsm, env: (await journey.prepare?.()) ?? {}, prepared: true });
const stop = () => void world.close().then(() => process.exit(130));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop);
const { ok } = await runJourney(journey, world, values.json, (line) => console.log(line));
if (values.keep && world.service) {
  console.log(
    values.json
      ? JSON.stringify({ kept: true, url: world.service.url, rpc_url: world.evm.rpcUrl, home: world.home.path })
      : `Kept: ${world.service.url}  chain ${world.evm.rpcUrl}  state ${world.home.path}. Ctrl-C takes it down.`,
  );
  await new Promise(() => undefined);
}
await world.close();
process.exit(ok ? 0 : 1);
