/**
 * A thief with dumps, logs and our source. Every ciphertext is tried with every string of 16 to 64 bytes that the loot
 * holds, as a key and hashed to one; addresses that bind the ciphertexts are known from the source. With `leaked` the
 * same thief also holds the root, and must then succeed: a script that can't succeed proves nothing.
 */
import { createDecipheriv, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  addressBytes,
  bytesToHex,
  clientSecretAddress,
  open,
  serverWrapAddress,
  walletAddress,
  walletHalf,
} from '@kedge/core';
import { openPkcs11, openSoftware, type RootKeys } from '@kedge/enclave';
import { nobleAead } from '@kedge/sdk';
import { computeAddress } from 'ethers';
import type { World } from '../harness/world.ts';
import { type Loot, type LootRow, readDump } from './loot.ts';

export interface ThiefResult {
  readonly ciphertexts: number;
  readonly strings: number;
  readonly attempts: number;
  readonly ciphertextsOpened: number;
  /** Addresses of the wallets whose key was found. */
  readonly opened: readonly string[];
  /** Wallets in whose place the thief found something sealed again. */
  readonly wrapped: number;
}

interface Ciphertext {
  readonly nonce: Uint8Array;
  readonly body: Uint8Array;
  readonly aad: Uint8Array;
}

export async function runThief(
  world: World,
  { what, folder, leaked }: { what: 'primary' | 'vault' | 'both'; folder: string; leaked: boolean },
): Promise<ThiefResult> {
  const loot = await readDump(world, folder);
  const rows = [...(what === 'vault' ? [] : loot.primary), ...(what === 'primary' ? [] : loot.vault)];
  const found = candidateKeys(rows, world.logs);
  // The control tries the strings of the leaked root alone: it shows that trying strings can succeed, and is quick.
  const keys = leaked ? leakedKeys(world) : found;
  const ciphertexts = rows.flatMap(ciphertextsOf);
  let attempts = 0;
  let ciphertextsOpened = 0;
  // Nearly every try ends with an error that nobody reads.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  for (const { nonce, body, aad } of ciphertexts) {
    for (const key of keys) {
      attempts += 1;
      if (tryOpen(key, nonce, body, aad)) ciphertextsOpened += 1;
    }
  }
  Error.stackTraceLimit = stackTraceLimit;
  const withRoot = leaked ? await openWithRoot(world, loot, found) : { opened: [], wrapped: 0 };
  return { ciphertexts: ciphertexts.length, strings: keys.length, attempts, ciphertextsOpened, ...withRoot };
}

/** Every 32 bytes in a row of the root's file; a token gives none, only its services. */
function leakedKeys(world: World): Uint8Array[] {
  if (world.rootIsHardware) return [];
  const bytes = new Uint8Array(readFileSync(world.home.file('root.keys')));
  return Array.from({ length: bytes.length - 31 }, (_, at) => bytes.subarray(at, at + 32));
}

/** Every 16–64-byte value, as it stands and decoded; 32 bytes are a key, anything else is hashed to one. */
function candidateKeys(rows: readonly LootRow[], logs: readonly string[]): Uint8Array[] {
  const strings = new Map<string, Uint8Array>();
  const add = (bytes: Uint8Array) => {
    if (bytes.length >= 16 && bytes.length <= 64) strings.set(bytesToHex(bytes), bytes);
  };
  const addText = (text: string) => {
    for (const token of text.match(/[A-Za-z0-9_+/=@.-]{16,128}/g) ?? []) {
      add(Buffer.from(token));
      add(new Uint8Array(Buffer.from(token, 'base64url')));
      if (/^[0-9a-f]+$/i.test(token)) add(new Uint8Array(Buffer.from(token, 'hex')));
    }
  };
  for (const { row } of rows) {
    for (const value of Object.values(row)) {
      if (value instanceof Uint8Array) add(value);
      else if (typeof value === 'string') addText(value);
    }
  }
  for (const line of logs) addText(line);
  return [...strings.values()].map((bytes) =>
    bytes.length === 32 ? bytes : createHash('sha256').update(bytes).digest(),
  );
}

function ciphertextsOf({ table, row }: LootRow): Ciphertext[] {
  if (table === 'users') {
    const sealed = row.client_secret as Uint8Array;
    const version = new DataView(sealed.buffer, sealed.byteOffset).getUint32(0);
    return [
      wrapped(sealed.subarray(4), addressBytes(clientSecretAddress(String(row.project), String(row.id), version))),
    ];
  }
  if (table === 'wallets' && row.outer_wrap instanceof Uint8Array) {
    const lookup = bytesToHex(row.lookup as Uint8Array);
    return [
      wrapped(row.outer_wrap, addressBytes(serverWrapAddress(lookup, Number(row.server_key)))),
      envelope(row.payload as Uint8Array, new Uint8Array()),
    ];
  }
  if (table === 'state') {
    const key = bytesToHex(row.key as Uint8Array);
    return [envelope(row.sealed as Uint8Array, addressBytes(['kedge/state/v1', key, String(row.version)]))];
  }
  if (table === 'head') return [wrapped(row.state_key as Uint8Array, Buffer.from('kedge/state-key/v1'))];
  return [];
}

const wrapped = (bytes: Uint8Array, aad: Uint8Array): Ciphertext => ({
  nonce: bytes.subarray(0, 12),
  body: bytes.subarray(12),
  aad,
});
const envelope = (bytes: Uint8Array, aad: Uint8Array): Ciphertext => ({
  nonce: bytes.subarray(4, 16),
  body: bytes.subarray(48),
  aad,
});

function tryOpen(key: Uint8Array, nonce: Uint8Array, body: Uint8Array, aad: Uint8Array): boolean {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce);
  decipher.setAAD(aad);
  decipher.setAuthTag(body.subarray(-16));
  decipher.update(body.subarray(0, -16));
  try {
    decipher.final();
    return true;
  } catch {
    return false;
  }
}

async function openWithRoot(
  world: World,
  loot: Loot,
  keys: readonly Uint8Array[],
): Promise<{ opened: string[]; wrapped: number }> {
  const rootKeys = await stolenRoot(world);
  const secrets = new Map<string, Uint8Array>();
  for (const { row } of loot.primary.filter(({ table }) => table === 'users')) {
    const sealed = row.client_secret as Uint8Array;
    const version = new DataView(sealed.buffer, sealed.byteOffset).getUint32(0);
    secrets.set(
      String(row.id),
      await rootKeys.unwrap(
        { purpose: 'client_secret', version },
        sealed.subarray(4),
        addressBytes(clientSecretAddress(String(row.project), String(row.id), version)),
      ),
    );
  }
  const opened: string[] = [];
  let sealedAgain = 0;
  for (const { row: wallet } of loot.primary.filter(({ table }) => table === 'wallets')) {
    const [project, user, id] = [String(wallet.project), String(wallet.user_id), String(wallet.id)];
    const lookup = bytesToHex((await rootKeys.mac(addressBytes(['kedge/lookup/v1', project, user, id]))).slice(0, 20));
    const row = loot.vault.find(
      (candidate) => candidate.table === 'wallets' && bytesToHex(candidate.row.lookup as Uint8Array) === lookup,
    )?.row;
    if (!row) continue;
    const version = Number(row.server_key);
    const inner = await rootKeys.unwrap(
      { purpose: 'wallet', version },
      row.outer_wrap as Uint8Array,
      addressBytes(serverWrapAddress(lookup, version)),
    );
    const dataKey = open(
      nobleAead,
      walletHalf(secrets.get(user)!, id),
      inner,
      walletAddress('data-key', project, user, id),
    );
    const content =
      dataKey && open(nobleAead, dataKey, row.payload as Uint8Array, walletAddress('payload', project, user, id));
    if (!content) continue;
    // Curve, second wrap, length of the public key, public key, key: enclave/src/wallets.ts.
    const [, secondWrap, publicKeyLength] = content;
    const key = content.subarray(3 + publicKeyLength!);
    if (!secondWrap) opened.push(computeAddress(`0x${bytesToHex(key)}`));
    else {
      sealedAgain += 1;
      const secret = keys
        .map((candidate) => open(nobleAead, candidate, key, ['kedge/second-wrapped-key/v1']))
        .find((tried) => tried !== null);
      if (secret) opened.push(computeAddress(`0x${bytesToHex(secret)}`));
    }
  }
  await rootKeys.close();
  return { opened, wrapped: sealedAgain };
}

/** The file, or the token with its PIN: what an operator has. */
function stolenRoot(world: World): Promise<RootKeys> {
  const { settings } = world.home;
  if (settings['root.kind'] === 'software') return openSoftware({ file: world.home.file('root.keys') });
  return openPkcs11({ module: settings['root.module'], tokenLabel: settings['root.token_label'], pin: world.pin });
}
