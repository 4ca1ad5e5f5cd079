/**
 * The gateway's process, and the only listener. `kedge serve` starts it by path, with `KEDGE_GATEWAY_CONFIG` naming the
 * configuration file and one of the verbs `serve`, `migrate`, `restore <primary.jsonl.gz>`, `dump <name>`, `check`. It passes the
 * machine's clock and randomness and has no other branch. The log goes to stderr; stdout is for the parent: one line
 * `{"ready":true,"url":"…"}` when it listens.
 */
import { systemClock } from '@kedge/core';
import { assertMigrated, type Database, migrate, openDatabase } from '@kedge/store';
import { checkGateway } from './check.ts';
import { readConfig } from './config.ts';
import { loadPrimaryDump, writePrimaryDump } from './dump.ts';
import { migrationPlan, serveGateway } from './run.ts';

async function main([verb = 'serve', argument]: readonly string[]): Promise<void> {
  const file = process.env.KEDGE_GATEWAY_CONFIG;
  if (file === undefined) throw new Error('KEDGE_GATEWAY_CONFIG names no configuration file.');
  const config = readConfig(file);
  if (verb === 'serve') return serveGateway(config, { clock: systemClock(), database: (db) => db }, print);
  if (verb === 'check') return print(await checkGateway(config.database, await migrationPlan(), systemClock()));
  const db = await openDatabase(config.database);
  const plan = await migrationPlan();
  switch (verb) {
    case 'migrate':
      return closing(db, async () => print({ migrated: (await migrate(db, plan)).map(({ version }) => version) }));
    case 'restore':
      return closing(db, async () => {
        await migrate(db, plan);
        print({ restored: await loadPrimaryDump(db, given(argument, 'restore <primary.jsonl.gz>')) });
      });
    case 'dump':
      return closing(db, async () => {
        await assertMigrated(db, plan);
        const { sha256, users } = await writePrimaryDump(db, config.backups, given(argument, 'dump <name>'));
        print({ sha256: Buffer.from(sha256).toString('hex'), users });
      });
    default:
      throw new Error(`There is no verb "${verb}": serve, migrate, restore, dump, check.`);
  }
}

async function closing(db: Database, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    await db.close();
  }
}

function given(argument: string | undefined, usage: string): string {
  if (argument === undefined) throw new Error(`Usage: ${usage}`);
  return argument;
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
