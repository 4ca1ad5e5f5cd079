/**
 * The gateway as a process: migrates an embedded database, connects to the enclave, listens, and stops cleanly when
 * asked or when its parent is gone. `main.ts` runs it on the system's parts; the journeys' harness decorates those first.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createEvm, type Evm } from '@kedge/chains';
import type { Clock } from '@kedge/core';
import { connectEnclave } from '@kedge/enclave/client';
import { assertMigrated, type Database, type MigrationPlan, migrate, openDatabase, readMigrations } from '@kedge/store';
import { destination, type Logger } from 'pino';
import { createGateway } from './app.ts';
import type { GatewayConfig } from './config.ts';
import { gatewayKey, readOrMakeKeyFile } from './gateway-key.ts';
import { createTokenIssuer, type TokenIssuer } from './issuer.ts';
import { createLog } from './log.ts';
import { outboxTransport } from './notify/outbox.ts';
import { smtpTransport } from './notify/smtp.ts';
import type { MailTransport } from './notify/transport.ts';

export const APP_VERSION = '0.1.0';
const random = (length: number) => new Uint8Array(randomBytes(length));

/** What a harness may wrap: nothing else of the process can be changed from outside. */
export interface GatewayParts {
  readonly clock: Clock;
  readonly database: (db: Database) => Database;
}

/** The schema of the primary database as this version has it. */
export async function migrationPlan(): Promise<MigrationPlan> {
  return { migrations: await readMigrations(new URL('./migrations/', import.meta.url)), appVersion: APP_VERSION };
}

/** Resolves when the process may end. */
export async function serveGateway(
  config: GatewayConfig,
  parts: GatewayParts,
  say: (line: object) => void,
): Promise<void> {
  // Before anything that must be given back: a signal that meets no listener would end the process at once.
  const stopped = toldToStop();
  const db = await openDatabase(config.database, config.databaseLimits);
  const plan = await migrationPlan();
  // An embedded database has no operator but us; a PostgreSQL is migrated by `kedge migrate`.
  if (db.engine === 'pglite') await migrate(db, plan);
  else await assertMigrated(db, plan);
  const { listen } = config;
  const log = createLog(config.logLevel, destination(2));
  const connection = connectEnclave(config.enclave);
  const scheme = listen.tls ? 'https' : 'http';
  const mail = openMail(config);
  const gateway = await createGateway({
    db: parts.database(db),
    enclave: connection.enclave,
    chains: { evm: openEvm(config) },
    clock: parts.clock,
    random,
    log,
    key: gatewayKey(readOrMakeKeyFile(config.gatewayKeyFile, random), random),
    issuer: openIssuer(config, parts.clock, log),
    mail,
    options: {
      name: config.name,
      url: config.publicUrl ?? `${scheme}://${urlHost(listen.host)}:${listen.port}`,
      backups: config.backups,
      trustedProxy: config.trustedProxy,
      confirmations: config.evm.confirmations,
      rotationBatch: config.rotationBatch,
      limits: config.limits,
      requestMsMax: config.requestMsMax,
    },
    ...(listen.tls ? { tls: { cert: readFileSync(listen.tls.cert), key: readFileSync(listen.tls.key) } } : {}),
  });
  await gateway.start();
  await gateway.app.listen({ host: listen.host, port: listen.port });
  const { port } = gateway.app.server.address() as AddressInfo;
  say({ ready: true, url: `${scheme}://${urlHost(listen.host)}:${port}` });

  await stopped;
  await gateway.stop();
  mail.close();
  connection.close();
  await db.close();
}

function openMail({ mail }: GatewayConfig): MailTransport {
  if (mail.transport === 'outbox') return outboxTransport(mail.folder, mail.from);
  const { smtpUrl: url, from, dkim } = mail;
  if (dkim === undefined) return smtpTransport({ url, from });
  const { domain, selector, keyFile } = dkim;
  return smtpTransport({ url, from, dkim: { domain, selector, key: readFileSync(keyFile, 'utf8') } });
}

/** Every node gets its turn twice before the request that waits for it is given up. */
function openEvm({ evm, requestMsMax }: GatewayConfig): Evm {
  const urls = [evm.rpcUrl, ...evm.otherRpcUrls];
  return createEvm({ urls, chainId: evm.chainId, timeoutMs: Math.floor(requestMsMax / (2 * urls.length + 1)) });
}

/** The only HTTP that the gateway asks of anybody but nodes. */
function openIssuer({ auth }: GatewayConfig, clock: Clock, log: Logger): TokenIssuer | null {
  if (auth === undefined) return null;
  const onFailure = (error: unknown) => log.warn({ err: error }, 'the keys of the token issuer could not be read');
  return createTokenIssuer({ ...auth, fetch: globalThis.fetch, clock, onFailure });
}

/** A signal, or the parent's end: a gateway that `kedge serve` started must not outlive it. */
function toldToStop(): Promise<void> {
  return new Promise((resolve) => {
    const stop = () => resolve();
    process.once('SIGTERM', stop);
    process.once('SIGINT', stop);
    if (process.env.KEDGE_CHILD !== '1') return;
    process.once('disconnect', stop);
    process.stdin.once('end', stop).once('close', stop).resume();
  });
}

function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
