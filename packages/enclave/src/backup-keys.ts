/**
 * Keys of the scheme backup-key, in rows that name nobody and have one size whatever is in them. A key is born here by
 * OpenSSL. HOT: its private half lies under a fresh data key, and that under the server key. COLD: the private half lies
 * under a key that is shared among the officers, two of whom must open their age files to have it; what is under the
 * server key is that sealed form, and the enclave itself can't go further. This file creates and checks; it signs
 * nothing for anybody.
 */
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, sign, verify } from 'node:crypto';
import { promisify } from 'node:util';
import {
  type Address,
  addressBytes,
  type BackupKeyEnvironment,
  type BackupKeyType,
  type CborValue,
  decodeCbor,
  encodeCbor,
  equalBytes,
  fromBase64Url,
  KedgeError,
  newVaultRowId,
  open,
  type RandomBytes,
  type SealedKeyKind,
  seal,
  sealedKeyAddress,
  sealedKeyWrapAddress,
} from '@kedge/core';
import type { Database } from '@kedge/store';
import { Encrypter } from 'age-encryption';
import { opensslAead } from './aead.ts';
import { createOuterWraps, type OuterWraps } from './outer-wraps.ts';
import type { RootKeys } from './root-keys.ts';
import { combineShares, splitSecret } from './secret-shares.ts';
import type { ServerKeys } from './server-keys.ts';

/** Holds the largest there is: an RSA-4096 key in PKCS#8 (about 2.4 kB) with the files of eight officers. */
const PAYLOAD_PAD = 6_144;
const LOOKUP = 20;
export const OFFICERS_MAX = 8;
/** Officers who must come together to thaw a cold key. */
const OFFICERS_NEEDED = 2;
/** Making an RSA-4096 key takes a core for seconds: so many are made at once, and so many wait. */
const RSA_AT_ONCE = 1;
const RSA_WAITING_MAX = 16;

/** Who a key belongs to, as the gateway says: nobody gains by lying about it, as every part is attested. */
export interface BackupKeyName {
  readonly project: string;
  readonly user: string;
  readonly key: string;
}

/** What is known of a key from its birth on. */
export interface BackupKeyBirth {
  readonly type: BackupKeyType;
  readonly environment: BackupKeyEnvironment;
  /** Compressed SEC1 (33), Ed25519 (32), or SubjectPublicKeyInfo in DER. */
  readonly publicKey: Uint8Array;
  readonly createdAt: string;
  readonly nonce: Uint8Array | null;
}

/** The private half: PKCS#8 in DER, or what only officers open. */
type Private = { readonly hot: Uint8Array } | { readonly cold: Uint8Array; readonly officers: readonly Uint8Array[] };

interface FoundRow {
  readonly lookup: Uint8Array;
  readonly server_key: number;
  readonly outer_wrap: Uint8Array;
  readonly payload: Uint8Array;
}

export interface BackupKeys extends Pick<OuterWraps, 'countByVersion' | 'rewrap'> {
  /**
   * Makes and stores; if the key exists already, gives its birth. Throws `KedgeError('cold_keys_unavailable')` when too
   * few officers are configured, `('overloaded')`.
   */
  create(
    name: BackupKeyName,
    wanted: Pick<BackupKeyBirth, 'type' | 'environment' | 'createdAt' | 'nonce'>,
  ): Promise<BackupKeyBirth>;
  /** Its birth and, of a hot key, its private half; null when there is none of that name. Throws `('sealed_data_invalid')`. */
  open(name: BackupKeyName): Promise<{ birth: BackupKeyBirth; privateKey: KeyObject | null } | null>;
  /** Of a cold key, the age file of each officer. Throws `('not_found')`, `('conflict')` for a hot one. */
  officerFiles(name: BackupKeyName): Promise<readonly Uint8Array[]>;
  /**
   * A cold key with what two officers took out of their files: `index ‖ share` (33 bytes), wiped here.
   * Throws `('not_found')`, `('request_invalid')` when they don't open it.
   */
  thaw(name: BackupKeyName, shares: readonly Uint8Array[]): Promise<{ birth: BackupKeyBirth; privateKey: KeyObject }>;
}

export function createBackupKeys(deps: {
  readonly kind: SealedKeyKind;
  readonly db: Database;
  readonly rootKeys: RootKeys;
  readonly serverKeys: ServerKeys;
  readonly random: RandomBytes;
  /** age recipients. */
  readonly officers: readonly string[];
}): BackupKeys {
  const { kind, db, rootKeys, serverKeys, random, officers } = deps;
  const outerWraps = createOuterWraps({ db, serverKeys, table: 'backup_keys', address: sealedKeyWrapAddress });
  const makeRsa = bounded(RSA_AT_ONCE, RSA_WAITING_MAX);

  const addressOf = ({ project, user, key }: BackupKeyName) => sealedKeyAddress(kind, project, user, key);
  const lookupOf = async ({ project, user, key }: BackupKeyName) =>
    (await rootKeys.mac(addressBytes([`kedge/${kind}-lookup/v1`, project, user, key]))).slice(0, LOOKUP);

  const find = async (lookup: Uint8Array): Promise<FoundRow | null> => {
    const [row] = await db.read<Omit<FoundRow, 'lookup'>>(
      'select server_key, outer_wrap, payload from backup_keys where lookup = $1',
      [lookup],
    );
    return row ? { ...row, lookup } : null;
  };

  const openRow = async (row: FoundRow, name: BackupKeyName) => {
    const dataKey = await outerWraps.unwrap(row);
    const content = open(opensslAead, dataKey, row.payload, addressOf(name));
    dataKey.fill(0);
    if (content === null) throw new KedgeError('sealed_data_invalid', 'The sealed key does not open.');
    return decodeContent(content);
  };

  const openCold = async (name: BackupKeyName) => {
    const row = await find(await lookupOf(name));
    if (row === null) throw new KedgeError('not_found', 'There is no such key.');
    const { birth, secret } = await openRow(row, name);
    if (!('hot' in secret)) return { birth, secret };
    secret.hot.fill(0);
    throw new KedgeError('conflict', 'This key is hot: no officer has a share of it.');
  };

  const makePair = (type: BackupKeyType) => (type === 'rsa4096' ? makeRsa(() => generate(type)) : generate(type));

  return {
    countByVersion: outerWraps.countByVersion,
    rewrap: outerWraps.rewrap,

    async create(name, { type, environment, createdAt, nonce }) {
      if (environment === 'COLD' && officers.length < OFFICERS_NEEDED) throw new KedgeError('cold_keys_unavailable');
      const lookup = await lookupOf(name);
      const existing = await find(lookup);
      if (existing) return (await openRow(existing, name)).birth;
      const { pkcs8, publicKey } = await makePair(type);
      const birth: BackupKeyBirth = { type, environment, publicKey, createdAt, nonce };
      const content = encodeContent(
        birth,
        environment === 'HOT' ? { hot: pkcs8 } : await sealToOfficers(officers, pkcs8, addressOf(name), random),
      );
      pkcs8.fill(0);
      const dataKey = random(32);
      const payload = seal(opensslAead, random, dataKey, content, addressOf(name), PAYLOAD_PAD);
      content.fill(0);
      const { serverKey, outer } = await outerWraps.wrap(lookup, dataKey);
      dataKey.fill(0);
      await db.query(
        'insert into backup_keys (id, lookup, server_key, outer_wrap, payload) values ($1, $2, $3, $4, $5) on conflict (lookup) do nothing',
        [newVaultRowId(random), lookup, serverKey, outer, payload],
      );
      // Two calls for one key may have raced: what is stored is what counts.
      return (await openRow((await find(lookup))!, name)).birth;
    },

    async open(name) {
      const row = await find(await lookupOf(name));
      if (row === null) return null;
      const { birth, secret } = await openRow(row, name);
      return { birth, privateKey: 'hot' in secret ? readPkcs8(secret.hot) : null };
    },

    officerFiles: async (name) => (await openCold(name)).secret.officers,

    async thaw(name, shares) {
      try {
        const { birth, secret } = await openCold(name);
        const key = combine(shares);
        const pkcs8 = open(opensslAead, key, secret.cold, [...addressOf(name), 'cold']);
        key.fill(0);
        if (pkcs8 === null) throw wrongShares();
        return { birth, privateKey: readPkcs8(pkcs8) };
      } finally {
        for (const share of shares) share.fill(0);
      }
    },
  };
}

/** Wipes the bytes. */
function readPkcs8(pkcs8: Uint8Array): KeyObject {
  const copy = Buffer.from(pkcs8);
  try {
    return createPrivateKey({ key: copy, format: 'der', type: 'pkcs8' });
  } catch (cause) {
    throw new KedgeError('sealed_data_invalid', 'The sealed key is no key of its type.', { cause });
  } finally {
    copy.fill(0);
    pkcs8.fill(0);
  }
}

function combine(shares: readonly Uint8Array[]): Uint8Array {
  if (shares.length !== OFFICERS_NEEDED || shares.some(({ length }) => length !== 33)) throw wrongShares();
  try {
    return combineShares(shares.map((share) => ({ index: share[0]!, bytes: share.subarray(1) })));
  } catch (cause) {
    throw wrongShares(cause);
  }
}

function wrongShares(cause?: unknown): KedgeError {
  const detail = `The shares do not open the cold key. ${OFFICERS_NEEDED} officers, each with the file of this recovery, are needed.`;
  return new KedgeError('request_invalid', detail, { cause });
}

/** Whether the private half is the one of that public key: it signs something fresh, and the public key verifies it. */
export function isPairOf({ type, publicKey }: BackupKeyBirth, privateKey: KeyObject, fresh: Uint8Array): boolean {
  const digest = type === 'ed25519' ? null : 'sha256';
  const own = createPublicKey(privateKey);
  return equalBytes(rawPublicKey(type, own), publicKey) && verify(digest, fresh, own, sign(digest, fresh, privateKey));
}

const generatePair = promisify(generateKeyPair);

async function generate(type: BackupKeyType): Promise<{ pkcs8: Uint8Array; publicKey: Uint8Array }> {
  const { privateKey, publicKey } =
    type === 'secp256k1'
      ? await generatePair('ec', { namedCurve: 'secp256k1' })
      : type === 'ed25519'
        ? await generatePair('ed25519')
        : await generatePair('rsa', { modulusLength: 4096 });
  return { pkcs8: privateKey.export({ format: 'der', type: 'pkcs8' }), publicKey: rawPublicKey(type, publicKey) };
}

export function rawPublicKey(type: BackupKeyType, key: KeyObject): Uint8Array {
  if (type === 'rsa4096') return new Uint8Array(key.export({ format: 'der', type: 'spki' }));
  const { x, y } = key.export({ format: 'jwk' });
  if (type === 'ed25519') return fromBase64Url(x!);
  const compressed = new Uint8Array(33);
  compressed[0] = 2 + (fromBase64Url(y!).at(-1)! & 1);
  compressed.set(fromBase64Url(x!), 1);
  return compressed;
}

/** SEC1 and PKCS#8 apart, cold content is: `cold` under a random key, and a share of that key in an age file for each officer. */
async function sealToOfficers(
  officers: readonly string[],
  pkcs8: Uint8Array,
  address: Address,
  random: RandomBytes,
): Promise<Private> {
  const key = random(32);
  const cold = seal(opensslAead, random, key, pkcs8, [...address, 'cold']);
  const shares = splitSecret(key, { threshold: OFFICERS_NEEDED, count: officers.length }, random);
  key.fill(0);
  const files: Uint8Array[] = [];
  for (const [at, { index, bytes }] of shares.entries()) {
    const encrypter = new Encrypter();
    encrypter.addRecipient(officers[at]!);
    const share = Uint8Array.of(index, ...bytes);
    files.push(await encrypter.encrypt(share));
    share.fill(0);
    bytes.fill(0);
  }
  return { cold, officers: files };
}

function encodeContent(
  { type, environment, publicKey, createdAt, nonce }: BackupKeyBirth,
  secret: Private,
): Uint8Array {
  return encodeCbor({
    type,
    environment,
    public_key: publicKey,
    created_at: createdAt,
    nonce,
    ...('hot' in secret ? { hot: secret.hot } : { cold: secret.cold, officers: secret.officers }),
  });
}

/** Wipes `bytes`. The seal says that it is ours. */
function decodeContent(bytes: Uint8Array): { birth: BackupKeyBirth; secret: Private } {
  const value = decodeCbor(bytes) as unknown as {
    type: BackupKeyType;
    environment: BackupKeyEnvironment;
    public_key: Uint8Array;
    created_at: string;
    nonce: Uint8Array | null;
    hot?: Uint8Array;
    cold: Uint8Array;
    officers: readonly Uint8Array[];
  } & CborValue;
  const copied = value.hot?.slice();
  const birth: BackupKeyBirth = {
    type: value.type,
    environment: value.environment,
    publicKey: value.public_key.slice(),
    createdAt: value.created_at,
    nonce: value.nonce?.slice() ?? null,
  };
  const secret: Private = copied ? { hot: copied } : { cold: value.cold.slice(), officers: value.officers };
  value.hot?.fill(0);
  bytes.fill(0);
  return { birth, secret };
}

/** Runs at most `atOnce`, and refuses who would be behind `waitingMax` others. */
function bounded(atOnce: number, waitingMax: number) {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= atOnce) {
      if (waiting.length >= waitingMax) throw new KedgeError('overloaded', undefined, { retryAfterS: 10 });
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else running += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };
}
