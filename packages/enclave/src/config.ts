/**
 * The configuration of the enclave process: one JSON file whose path is in `KEDGE_ENCLAVE_CONFIG`, written by the CLI
 * from `kedge.toml` or by hand in production. It is checked here once, completely, before anything is opened.
 */
import { readFileSync } from 'node:fs';
import { fromBase64Url, type ProofKey } from '@kedge/core';
import { type DatabaseLimits, databaseLimits } from '@kedge/store';
import { OFFICERS_MAX } from './backup-keys.ts';
import type { EnclaveAddress } from './client.ts';

export interface EnclaveConfig {
  /** `pglite:/absolute/folder` or `postgres://…`. */
  readonly database: string;
  /** Of a PostgreSQL. */
  readonly databaseLimits: DatabaseLimits;
  readonly root:
    | { readonly kind: 'software'; readonly file: string }
    | { readonly kind: 'pkcs11'; readonly module: string; readonly tokenLabel: string; readonly pinFile: string };
  readonly mirror: string;
  readonly listen: EnclaveAddress;
  /** Name → `p256:<base64url>` or `ed25519:<base64url>`. */
  readonly operators: ReadonlyMap<string, ProofKey>;
  readonly opensPerMinuteMax: number;
  readonly backups: string;
  /** age recipients (`age1…`) to whom cold backup keys are sealed; none, or two to eight. */
  readonly officers: readonly string[];
}

export const OPENS_PER_MINUTE_DEFAULT = 6_000;

/** Throws `Error` with one sentence that names the field. */
export function readEnclaveConfig(path: string | undefined): EnclaveConfig {
  if (!path)
    throw new Error(
      'KEDGE_ENCLAVE_CONFIG names no file. Start the enclave with kedge serve, or set it to the configuration file.',
    );
  return parseEnclaveConfig(JSON.parse(readFileSync(path, 'utf8')));
}

export function parseEnclaveConfig(value: unknown): EnclaveConfig {
  const config = record(value, 'the configuration');
  const root = record(config.root, 'root');
  const listen = record(config.listen, 'listen');
  const operators = record(config.operators, 'operators');
  return {
    database: text(config.database, 'database'),
    databaseLimits: parseLimits(config.databaseLimits),
    root:
      root.kind === 'pkcs11'
        ? {
            kind: 'pkcs11',
            module: text(root.module, 'root.module'),
            tokenLabel: text(root.tokenLabel, 'root.tokenLabel'),
            pinFile: text(root.pinFile, 'root.pinFile'),
          }
        : { kind: 'software', file: text(root.file, 'root.file') },
    mirror: text(config.mirror, 'mirror'),
    listen:
      typeof listen.socket === 'string'
        ? { socket: listen.socket }
        : {
            host: text(listen.host, 'listen.host'),
            port: Number(listen.port),
            ca: text(listen.ca, 'listen.ca'),
            cert: text(listen.cert, 'listen.cert'),
            key: text(listen.key, 'listen.key'),
          },
    operators: parseOperators(operators),
    opensPerMinuteMax:
      config.opensPerMinuteMax === undefined ? OPENS_PER_MINUTE_DEFAULT : Number(config.opensPerMinuteMax),
    backups: text(config.backups, 'backups'),
    officers: parseOfficers(config.officers),
  };
}

function parseLimits(given: unknown): DatabaseLimits {
  const limits = { ...databaseLimits, ...(given === undefined ? {} : record(given, 'databaseLimits')) };
  for (const [name, ms] of Object.entries(limits)) {
    if (!Number.isSafeInteger(ms) || Number(ms) < 1)
      throw new Error(`In the configuration of the enclave, databaseLimits.${name} is not a number of milliseconds.`);
  }
  return limits;
}

/** One recipient twice would let one person thaw alone. */
function parseOfficers(given: unknown): readonly string[] {
  const officers = given === undefined ? [] : given;
  const fits =
    Array.isArray(officers) &&
    officers.every((officer) => typeof officer === 'string' && /^age1[02-9ac-hj-np-z]{58}$/.test(officer)) &&
    new Set(officers).size === officers.length &&
    officers.length !== 1 &&
    officers.length <= OFFICERS_MAX;
  if (!fits)
    throw new Error(
      `In the configuration of the enclave, officers is not a list of two to ${OFFICERS_MAX} different age recipients (age1…).`,
    );
  return officers as readonly string[];
}

/** Two names with one key would let one person act as two. */
function parseOperators(table: Record<string, unknown>): ReadonlyMap<string, ProofKey> {
  const spelled = Object.entries(table).map(([name, key]) => [name, text(key, `operators.${name}`)] as const);
  if (new Set(spelled.map(([, key]) => key)).size !== spelled.length)
    throw new Error('Two operators have the same key. Each must have their own.');
  return new Map(spelled.map(([name, key]) => [name, parseProofKey(key)]));
}

/** `p256:<base64url of 65 bytes>` or `ed25519:<base64url of 32 bytes>`. */
export function parseProofKey(spelled: string): ProofKey {
  const [algorithm, encoded = ''] = spelled.split(':');
  if (algorithm !== 'p256' && algorithm !== 'ed25519')
    throw new Error(`An operator key starts with p256: or ed25519:, not with ${algorithm}:.`);
  const publicKey = fromBase64Url(encoded);
  if (publicKey.length !== (algorithm === 'p256' ? 65 : 32))
    throw new Error(`An operator key of ${algorithm} has the wrong length.`);
  return { algorithm, publicKey };
}

function record(value: unknown, field: string): Record<string, unknown> {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new Error(`In the configuration of the enclave, ${field} is missing or not an object.`);
  return value as Record<string, unknown>;
}

function text(value: unknown, field: string): string {
  if (typeof value !== 'string' || value === '')
    throw new Error(`In the configuration of the enclave, ${field} is missing.`);
  return value;
}
