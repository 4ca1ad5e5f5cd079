/**
 * The entry of the enclave process: `serve`, `migrate`, `restore NAME`, or `check [root]`. It passes the system's clock and the parts
 * undecorated, and has no other branch. Started by `kedge serve`, a service manager or a container.
 */
import { readFileSync } from 'node:fs';
import { systemClock } from '@kedge/core';
import { readEnclaveConfig } from './config.ts';
import { checkInstallation, migrateEnclave, restoreEnclave, serveEnclave } from './run.ts';

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function main([verb, name, ...rest]: readonly string[]): Promise<void> {
  const config = readEnclaveConfig(process.env.KEDGE_ENCLAVE_CONFIG);
  if (verb === 'serve')
    return serveEnclave(config, { clock: systemClock(), database: (db) => db, mirror: (mirror) => mirror }, say);
  if (verb === 'migrate') return migrateEnclave(config, say);
  if (verb === 'check') return checkInstallation(config, systemClock(), name === 'root', say);
  if (verb === 'restore' && name) {
    const file = rest[0] === '--passphrase-file' ? rest[1] : undefined;
    return restoreEnclave(config, name, file ? readFileSync(file, 'utf8').trim() : null, say);
  }
  throw new Error('The enclave knows serve, migrate, check [root], and restore NAME [--passphrase-file FILE].');
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
