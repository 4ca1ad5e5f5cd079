/**
 * How the commands reach the running service: its URL from the state folder or `--url`, and a session for an operator
 * or for the user of a device. Commands that act as two operators sign with two credentials.
 */

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fromBase64Url, KedgeError, toBase64Url } from '@kedge/core';
import {
  type Account,
  type Client,
  type Connection,
  connectTo,
  createClient,
  type DeviceState,
  importClientKey,
  resume,
  type ServiceOptions,
} from '@kedge/sdk';
import type { Context } from './command.ts';
import { loadOperator, type Operator, operatorNames } from './operators.ts';
import type { Home } from './settings.ts';

export interface OperatorAccess {
  readonly operator: Operator;
  readonly client: Client;
  readonly connection: Connection;
}

export function serviceUrl(context: Context): string {
  const given = context.flag('url') ?? process.env.KEDGE_URL;
  if (given) return given;
  const file = context.home.file('run', 'service.json');
  if (!existsSync(file))
    throw new Error(
      `No service has run in ${context.home.path} yet. Start one with npm start, or name one with --url.`,
    );
  return (JSON.parse(readFileSync(file, 'utf8')) as { url: string }).url;
}

/** Signs in as `--as NAME`, or as the first operator of the state folder. */
export async function asOperator(context: Context): Promise<OperatorAccess> {
  const name = context.flag('as') ?? operatorNames(context.home)[0];
  if (!name)
    throw new Error('There is no operator credential in this state folder. Make one with kedge operator create NAME.');
  return signInOperator(serviceUrl(context), await loadOperator(context.home, name), pinOf(context.home));
}

export async function secondOperator(context: Context, first: string): Promise<Operator> {
  const name = context.flag('as2') ?? operatorNames(context.home).find((other) => other !== first);
  if (!name)
    throw new KedgeError(
      'two_operators_needed',
      'This act needs two operators, and only one credential is here. Name the second with --as2 NAME.',
    );
  return loadOperator(context.home, name);
}

export async function signInOperator(
  url: string,
  operator: Operator,
  thumbprint: string | null,
): Promise<OperatorAccess> {
  const client = createClient({ url, token: null });
  const connection = connectTo(client, thumbprint ?? (await seenThumbprint(client)));
  const { token } = await client.call('createOperatorSession', {
    proof: connection.prove(operator.key, { act: 'operator_sign_in', subject: operator.name }),
  });
  return { operator, client: client.as(token), connection };
}

/** The enclave's thumbprint from the publishable key that the first start left here. */
function pinOf(home: Home): string | null {
  const file = home.file('publishable-key');
  return existsSync(file) ? (readFileSync(file, 'utf8').trim().split('.')[1] ?? null) : null;
}

/** Before there is a pin, on the machine where the enclave runs, the enclave is taken at its word. */
export async function seenThumbprint(client: Client): Promise<string> {
  const { attestation } = await client.call('getEnclave', {});
  const { identity } = JSON.parse(new TextDecoder().decode(fromBase64Url(attestation.document))) as {
    identity: { x: string; y: string };
  };
  return createHash('sha256')
    .update(Uint8Array.of(4))
    .update(fromBase64Url(identity.x))
    .update(fromBase64Url(identity.y))
    .digest('base64url');
}

export function service(context: Context): ServiceOptions {
  const key = context.flag('key') ?? process.env.KEDGE_PUBLISHABLE_KEY ?? readOr(context.home.file('publishable-key'));
  if (!key) throw new Error('No publishable key: give one with --key pk_…, or make one with kedge key create.');
  return { url: serviceUrl(context), publishableKey: key.trim(), extractable: true };
}

/** The account on the device `--device NAME` (default `device`), signed in anew. */
export async function openDevice(context: Context): Promise<Account> {
  const account = resume(service(context), await loadDevice(context.home, deviceName(context)));
  await account.signIn();
  return account;
}

export function deviceName(context: Context): string {
  const name = context.flag('device') ?? 'device';
  if (!/^[a-z0-9-]{1,32}$/.test(name)) throw new Error('A device’s name has 1 to 32 of a–z, 0–9 and the hyphen.');
  return name;
}

export async function saveDevice(home: Home, name: string, device: DeviceState): Promise<void> {
  mkdirSync(home.file('devices'), { recursive: true, mode: 0o700 });
  const file = {
    project: device.project,
    user_id: device.userId,
    public_key: toBase64Url(device.clientKey.publicKey),
    pkcs8: toBase64Url(await device.clientKey.exportPrivate()),
    wrap_secret: device.wrapSecret && toBase64Url(device.wrapSecret),
  };
  writeFileSync(home.file('devices', `${name}.json`), `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 });
}

async function loadDevice(home: Home, name: string): Promise<DeviceState> {
  const text = readOr(home.file('devices', `${name}.json`));
  if (text === null)
    throw new Error(
      `There is no device ${name} here. Sign up with kedge user sign-up, or recover with kedge user recover.`,
    );
  const file = JSON.parse(text) as {
    project: string;
    user_id: string;
    public_key: string;
    pkcs8: string;
    wrap_secret: string | null;
  };
  return {
    project: file.project,
    userId: file.user_id,
    clientKey: await importClientKey(fromBase64Url(file.pkcs8), fromBase64Url(file.public_key)),
    wrapSecret: file.wrap_secret === null ? null : fromBase64Url(file.wrap_secret),
    sessionToken: '',
  };
}

function readOr(file: string): string | null {
  return existsSync(file) ? readFileSync(file, 'utf8') : null;
}
