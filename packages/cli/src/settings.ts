/**
 * The state folder (`KEDGE_HOME`, default `./.kedge`) and the settings in it: one `kedge.toml`, every key also as an
 * environment variable (`gateway.port` is `KEDGE_GATEWAY_PORT`). Everything Kedge writes lies in this folder.
 */
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'smol-toml';

/** Every key, with what it is by default. Paths are absolute after reading. */
export interface Settings {
  readonly 'gateway.host': string;
  readonly 'gateway.port': number;
  readonly 'gateway.public_url': string | null;
  readonly 'gateway.trusted_proxy': string | null;
  readonly 'gateway.tls_cert': string | null;
  readonly 'gateway.tls_key': string | null;
  readonly 'auth.issuer': string | null;
  readonly 'auth.jwks_url': string | null;
  readonly 'auth.audience': string | null;
  readonly 'database.primary': string;
  readonly 'database.vault': string;
  readonly 'database.statement_ms_max': number;
  readonly 'database.idle_in_transaction_ms_max': number;
  readonly 'root.kind': 'software' | 'pkcs11';
  readonly 'root.module': string;
  readonly 'root.token_label': string;
  readonly 'root.pin_file': string;
  /** Empty: the devnet's. */
  readonly 'evm.rpc_url': string;
  readonly 'evm.other_rpc_urls': string;
  readonly 'evm.chain_id': number;
  readonly 'evm.confirmations': number;
  readonly 'gateway.rotation_batch': number;
  readonly 'gateway.request_ms_max': number;
  readonly 'limits.per_address_per_minute': number;
  readonly 'limits.per_principal_per_minute': number;
  readonly 'limits.recoveries_per_address_per_hour': number;
  readonly 'limits.sign_ups_per_address_per_hour': number;
  readonly 'limits.votes_asked_per_project_per_hour': number;
  readonly 'mail.transport': 'outbox' | 'smtp';
  readonly 'mail.smtp_url': string;
  readonly 'mail.from': string;
  readonly 'mail.dkim_domain': string;
  readonly 'mail.dkim_selector': string;
  readonly 'mail.dkim_key': string;
  readonly 'enclave.opens_per_minute_max': number;
  readonly 'enclave.officers': string;
  readonly backups: string;
  readonly log_level: string;
}

/** One line per key, for docs/operations.md. */
export const settingDescriptions: { readonly [K in keyof Settings]: string } = {
  'gateway.host': 'Where the gateway listens. Anything but this machine needs TLS or `gateway.trusted_proxy`.',
  'gateway.port': 'Its port; `kedge serve` takes the next free one of a hundred if it is taken.',
  'gateway.public_url': 'Where callers reach it, if that is not where it listens.',
  'gateway.trusted_proxy': 'Address or CIDR of the proxy that ends TLS and whose `X-Forwarded-For` is believed.',
  'gateway.tls_cert': 'Certificate chain in PEM, when the gateway itself ends TLS.',
  'gateway.tls_key': 'The key to that certificate.',
  'auth.issuer': 'The `iss` of JWTs that backends may bring in the place of secret keys; set all three of `auth`.',
  'auth.jwks_url': 'Where that issuer publishes its keys: https, or http on this machine.',
  'auth.audience': 'What their `aud` must hold.',
  'database.primary': 'The gateway’s database: `pglite:/absolute/folder` or `postgres://…`.',
  'database.vault': 'The enclave’s database, spelled the same; never the same database.',
  'database.statement_ms_max': 'How long one statement of PostgreSQL may run, up to 30,000.',
  'database.idle_in_transaction_ms_max': 'How long a transaction of PostgreSQL may wait for its process.',
  'root.kind': '`software`: a 0600 file in the state folder. `pkcs11`: a hardware token.',
  'root.module': 'The PKCS#11 module of the token’s maker.',
  'root.token_label': 'The label by which the token is found.',
  'root.pin_file': 'A file with the PIN of the token.',
  'evm.rpc_url': 'JSON-RPC of an EVM node; empty starts the devnet.',
  'evm.other_rpc_urls': 'Further nodes of that chain, separated by spaces, asked when the first one fails.',
  'evm.chain_id': 'The chain that the nodes must be on.',
  'evm.confirmations': 'Blocks after which a transaction counts as final.',
  'gateway.rotation_batch': 'Client secrets rewrapped in one step of a rotation, 1 to 1,000; smaller is gentler.',
  'gateway.request_ms_max': 'When a request is given up, 1,000 to 20,000; backups have ten minutes.',
  'limits.per_address_per_minute': 'Requests a minute from one address, per gateway process.',
  'limits.per_principal_per_minute': 'Requests a minute with one credential, per gateway process.',
  'limits.recoveries_per_address_per_hour': 'Recoveries an hour from one address, per gateway process.',
  'limits.sign_ups_per_address_per_hour': 'Sign-ups an hour from one address, per gateway process.',
  'limits.votes_asked_per_project_per_hour':
    'Recoveries by a backup key, and as many changes of approver lists, asked for an hour in a project, per gateway process.',
  'mail.transport': '`outbox`: one `.eml` file a letter, in `outbox` in the state folder. `smtp`: a mail server.',
  'mail.smtp_url':
    'The mail server, `smtp://user:password@host:587` or `smtps://…`. Beyond this machine it must offer TLS.',
  'mail.from': 'The sender of letters. Their links name `gateway.public_url` and no other host.',
  'mail.dkim_domain': 'Signs letters for this domain (DKIM), where the mail server doesn’t.',
  'mail.dkim_selector': 'The selector under which that domain shows the key.',
  'mail.dkim_key': 'A file with the private key in PEM.',
  'enclave.opens_per_minute_max': 'Wallet openings a minute, over all, at which the breaker trips.',
  'enclave.officers':
    'age recipients (`age1…`) of two to eight officers, separated by spaces: cold backup keys are sealed to them.',
  backups: 'The folder for backups; gateway and enclave write to the same one.',
  log_level: '`debug`, `info`, `warn`, `error` or `silent`.',
};

export interface Home {
  readonly path: string;
  readonly settings: Settings;
  /** A path inside the state folder. */
  file(...parts: readonly string[]): string;
}

export const DEFAULT_PORT = 8_420;

export function homePath(env: NodeJS.ProcessEnv = process.env): string {
  return resolve(env.KEDGE_HOME ?? '.kedge');
}

/** Throws `Error` naming the key that doesn't fit. */
export function openHome(path: string = homePath(), env: NodeJS.ProcessEnv = process.env): Home {
  const file = (...parts: readonly string[]) => join(path, ...parts);
  const toml = existsSync(file('kedge.toml'))
    ? flatten(parse(readFileSync(file('kedge.toml'), 'utf8')))
    : new Map<string, unknown>();
  const defaults: Settings = {
    'gateway.host': '127.0.0.1',
    'gateway.port': DEFAULT_PORT,
    'gateway.public_url': null,
    'gateway.trusted_proxy': null,
    'gateway.tls_cert': null,
    'gateway.tls_key': null,
    'auth.issuer': null,
    'auth.jwks_url': null,
    'auth.audience': null,
    'database.primary': `pglite:${file('primary')}`,
    'database.vault': `pglite:${file('vault')}`,
    'database.statement_ms_max': 30_000,
    'database.idle_in_transaction_ms_max': 60_000,
    'root.kind': 'software',
    'root.module': '/usr/lib/softhsm/libsofthsm2.so',
    'root.token_label': 'kedge',
    'root.pin_file': file('pin'),
    'evm.rpc_url': '',
    'evm.other_rpc_urls': '',
    'evm.chain_id': 31_337,
    'evm.confirmations': 12,
    'gateway.rotation_batch': 1_000,
    'gateway.request_ms_max': 15_000,
    'limits.per_address_per_minute': 1_200,
    'limits.per_principal_per_minute': 600,
    'limits.recoveries_per_address_per_hour': 100,
    'limits.sign_ups_per_address_per_hour': 100,
    'limits.votes_asked_per_project_per_hour': 100,
    'mail.transport': 'outbox',
    'mail.smtp_url': '',
    'mail.from': 'kedge@localhost',
    'mail.dkim_domain': '',
    'mail.dkim_selector': '',
    'mail.dkim_key': '',
    'enclave.opens_per_minute_max': 6_000,
    'enclave.officers': '',
    backups: file('backups'),
    log_level: 'warn',
  };
  for (const key of toml.keys())
    if (!Object.hasOwn(defaults, key))
      throw new Error(`kedge.toml has ${key}, which is no setting. See docs/operations.md for those that are.`);
  const settings = Object.fromEntries(
    Object.entries(defaults).map(([key, byDefault]) => {
      const given = env[`KEDGE_${key.replaceAll('.', '_').toUpperCase()}`] ?? toml.get(key);
      if (given === undefined) return [key, byDefault];
      if (typeof byDefault !== 'number') return [key, String(given)];
      const number = Number(given);
      if (!Number.isSafeInteger(number))
        throw new Error(`The setting ${key} is ${String(given)}, which is not a whole number.`);
      return [key, number];
    }),
  ) as unknown as Settings;
  return { path, settings, file };
}

/** Makes the folder if needed. Throws `Error` when others may read it. */
export function assertPrivate(home: Home): void {
  mkdirSync(home.path, { recursive: true, mode: 0o700 });
  const mode = statSync(home.path).mode & 0o777;
  if ((mode & 0o077) !== 0)
    throw new Error(
      `The state folder ${home.path} is open to others (mode ${mode.toString(8)}). Type: chmod 700 ${home.path}`,
    );
}

function flatten(table: object, prefix = ''): Map<string, unknown> {
  const flat = new Map<string, unknown>();
  for (const [key, value] of Object.entries(table)) {
    if (value !== null && typeof value === 'object' && !Array.isArray(value))
      for (const [inner, leaf] of flatten(value, `${prefix}${key}.`)) flat.set(inner, leaf);
    else flat.set(`${prefix}${key}`, value);
  }
  return flat;
}
