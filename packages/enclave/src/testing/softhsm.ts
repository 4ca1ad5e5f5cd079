/**
 * A SoftHSM token in a folder of its own: the PKCS#11 device of tests, journeys and benchmarks. SoftHSM reads
 * `SOFTHSM2_CONF` from the environment of the process that loads it, once per C_Initialize: pass `env` to a child, or
 * assign it before opening. Its keys are files: it proves that the adapter works, and protects nothing.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface SoftHsmToken {
  readonly module: string;
  readonly tokenLabel: string;
  readonly pin: Uint8Array;
  readonly env: { readonly SOFTHSM2_CONF: string };
}

export interface SoftHsmOptions {
  readonly tokenLabel?: string;
  /** Mechanisms that the device is to lack, such as `CKM_ECDSA`. */
  readonly without?: readonly string[];
}

/** Where the packages of common systems put it. */
const MODULES = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
];

/** Null where SoftHSM isn't installed (Debian: `apt-get install softhsm2`). */
export function findSoftHsm(): string | null {
  return MODULES.find((path) => existsSync(path)) ?? null;
}

/** A further token may be put into the same `dir`. Throws an `Error` if SoftHSM isn't installed. */
export function createSoftHsmToken(
  dir: string,
  { tokenLabel = 'kedge', without = [] }: SoftHsmOptions = {},
): SoftHsmToken {
  const module = findSoftHsm();
  if (module === null) throw new Error('SoftHSM is not installed. On Debian: apt-get install softhsm2');
  const tokens = join(dir, 'tokens');
  mkdirSync(tokens, { recursive: true, mode: 0o700 });
  const env = { SOFTHSM2_CONF: join(dir, 'softhsm2.conf') };
  const settings = [
    `directories.tokendir = ${tokens}`,
    'objectstore.backend = file',
    'log.level = ERROR',
    // SoftHSM 2.6 reads the minus into the first name of the list: it gets an empty one.
    `slots.mechanisms = ${without.length === 0 ? 'ALL' : ['-', ...without].join(',')}`,
  ];
  writeFileSync(env.SOFTHSM2_CONF, `${settings.join('\n')}\n`);
  const pin = '1234';
  const args = ['--init-token', '--free', '--label', tokenLabel, '--pin', pin, '--so-pin', '4321'];
  execFileSync('softhsm2-util', args, { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'inherit'] });
  return { module, tokenLabel, pin: new TextEncoder().encode(pin), env };
}
