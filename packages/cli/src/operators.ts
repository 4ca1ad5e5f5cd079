/**
 * Operator credentials: key pairs in 0600 files that sign what only operators may ask. The enclave knows their public
 * keys from its configuration. On one machine both lie in the state folder, which is convenient and not separation:
 * in production each operator keeps their own (docs/operations.md).
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fromBase64Url, toBase64Url } from '@kedge/core';
import { type ClientKey, createClientKey, importClientKey } from '@kedge/sdk';
import type { Home } from './settings.ts';

interface OperatorFile {
  readonly name: string;
  readonly algorithm: 'p256';
  readonly public_key: string;
  readonly pkcs8: string;
}

export interface Operator {
  readonly name: string;
  readonly key: ClientKey;
}

/** Throws `Error` if there is one of that name. */
export async function createOperator(home: Home, name: string): Promise<Operator> {
  if (!/^[a-z0-9-]{1,32}$/.test(name)) throw new Error('An operator’s name has 1 to 32 of a–z, 0–9 and the hyphen.');
  const key = await createClientKey({ extractable: true });
  const file: OperatorFile = {
    name,
    algorithm: 'p256',
    public_key: toBase64Url(key.publicKey),
    pkcs8: toBase64Url(await key.exportPrivate()),
  };
  mkdirSync(home.file('operators'), { recursive: true, mode: 0o700 });
  writeFileSync(home.file('operators', `${name}.json`), `${JSON.stringify(file, null, 2)}\n`, {
    mode: 0o600,
    flag: 'wx',
  });
  return { name, key };
}

export async function loadOperator(home: Home, name: string): Promise<Operator> {
  const file = readOperator(home, name);
  return { name, key: await importClientKey(fromBase64Url(file.pkcs8), fromBase64Url(file.public_key)) };
}

/** Name → `p256:<base64url>`, as the enclave's configuration has it. */
export function operatorKeys(home: Home): Record<string, string> {
  return Object.fromEntries(operatorNames(home).map((name) => [name, `p256:${readOperator(home, name).public_key}`]));
}

export function operatorNames(home: Home): string[] {
  try {
    return readdirSync(home.file('operators'))
      .filter((file) => file.endsWith('.json'))
      .map((file) => file.slice(0, -'.json'.length))
      .sort();
  } catch {
    return [];
  }
}

function readOperator(home: Home, name: string): OperatorFile {
  try {
    return JSON.parse(readFileSync(home.file('operators', `${name}.json`), 'utf8')) as OperatorFile;
  } catch (cause) {
    throw new Error(
      `There is no operator ${name} in ${home.file('operators')}. Make one with kedge operator create ${name}.`,
      { cause },
    );
  }
}
