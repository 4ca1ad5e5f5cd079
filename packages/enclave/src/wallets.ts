/**
 * The sealed wallets of dual-secret, in rows that name nobody. A fresh data key seals the wallet's key; the data key is
 * sealed under the client's half, and that again wrapped by the server key. So opening takes the HSM, the client
 * secret from the primary database and this row; a rotation touches the outer wrap alone.
 */
import { createECDH, generateKeyPairSync } from 'node:crypto';
import {
  addressBytes,
  clientSecretAddress,
  concatBytes,
  equalBytes,
  fromBase64Url,
  KedgeError,
  newVaultRowId,
  open,
  type RandomBytes,
  seal,
  serverWrapAddress,
  walletAddress,
  walletHalf,
} from '@kedge/core';
import type { Database } from '@kedge/store';
import { opensslAead, opensslHmac } from './aead.ts';
import { createOuterWraps, type OuterWraps } from './outer-wraps.ts';
import type { RootKeys } from './root-keys.ts';
import type { ServerKeys } from './server-keys.ts';

const PAYLOAD_PAD = 512;
const LOOKUP = 20;

export type Curve = 'secp256k1' | 'ed25519';

/** Who a wallet belongs to, as the caller's proof said. */
export interface WalletName {
  readonly project: string;
  readonly user: string;
  readonly wallet: string;
}

export interface WalletContent {
  readonly curve: Curve;
  /** Compressed SEC1 (33) or Ed25519 (32). */
  readonly publicKey: Uint8Array;
  /** 32 bytes; with the second wrap, what the client sealed. */
  readonly key: Uint8Array;
  readonly secondWrap: boolean;
}

/** What opens. */
interface FoundRow {
  readonly lookup: Uint8Array;
  readonly server_key: number;
  readonly outer_wrap: Uint8Array;
  readonly payload: Uint8Array;
}

export interface SealedWallets extends Pick<OuterWraps, 'countByVersion' | 'rewrap'> {
  /** A new client secret under the active server key: version (4, big-endian) ‖ wrapped. */
  createClientSecret(project: string, user: string): Promise<Uint8Array>;
  rewrapClientSecret(project: string, user: string, sealed: Uint8Array): Promise<Uint8Array>;
  /** Seals and stores; if the wallet exists already, gives what is stored. */
  create(name: WalletName, clientSecret: Uint8Array, content: () => WalletContent): Promise<WalletContent>;
  /** Throws `KedgeError('sealed_data_invalid')`, also when there is no such wallet. */
  open(name: WalletName, clientSecret: Uint8Array): Promise<WalletContent>;
  /** Throws `KedgeError('client_secret_superseded')` when a rotation has retired the version it is wrapped under. */
  assertCurrent(clientSecret: Uint8Array): void;
}

export function createSealedWallets(deps: {
  db: Database;
  rootKeys: RootKeys;
  serverKeys: ServerKeys;
  random: RandomBytes;
}): SealedWallets {
  const { db, rootKeys, serverKeys, random } = deps;
  const outerWraps = createOuterWraps({ db, serverKeys, table: 'wallets', address: serverWrapAddress });

  const lookupOf = async ({ project, user, wallet }: WalletName) =>
    (await rootKeys.mac(addressBytes(['kedge/lookup/v1', project, user, wallet]))).slice(0, LOOKUP);

  const find = async (lookup: Uint8Array): Promise<FoundRow | null> => {
    const [row] = await db.read<Omit<FoundRow, 'lookup'>>(
      'select server_key, outer_wrap, payload from wallets where lookup = $1',
      [lookup],
    );
    return row ? { lookup, server_key: row.server_key, outer_wrap: row.outer_wrap, payload: row.payload } : null;
  };

  const openClientSecret = (project: string, user: string, sealed: Uint8Array) => {
    const version = versionOf(sealed);
    return serverKeys.unwrap(
      'client_secret',
      version,
      sealed.subarray(4),
      addressBytes(clientSecretAddress(project, user, version)),
    );
  };

  /** Opened again before it is given: what is superseded will be gone. */
  const sealClientSecret = async (project: string, user: string, secret: Uint8Array) => {
    const version = serverKeys.active;
    const aad = addressBytes(clientSecretAddress(project, user, version));
    const wrapped = await serverKeys.wrap('client_secret', secret, aad);
    const again = await serverKeys.unwrap('client_secret', version, wrapped, aad);
    const same = equalBytes(secret, again);
    again.fill(0);
    if (!same) throw new Error('a client secret that was just sealed does not open');
    const sealed = new Uint8Array(4 + wrapped.length);
    new DataView(sealed.buffer).setUint32(0, version);
    sealed.set(wrapped, 4);
    return sealed;
  };

  const openRow = async (
    row: FoundRow,
    { project, user, wallet }: WalletName,
    sealedSecret: Uint8Array,
  ): Promise<WalletContent> => {
    const secret = await openClientSecret(project, user, sealedSecret);
    const half = walletHalf(secret, wallet, opensslHmac);
    const inner = await outerWraps.unwrap(row);
    const dataKey = open(opensslAead, half, inner, walletAddress('data-key', project, user, wallet));
    const content = dataKey && open(opensslAead, dataKey, row.payload, walletAddress('payload', project, user, wallet));
    for (const used of [secret, half, dataKey]) used?.fill(0);
    if (content === null) throw new KedgeError('sealed_data_invalid');
    return decodeContent(content);
  };

  return {
    async createClientSecret(project, user) {
      const secret = random(32);
      const sealed = await sealClientSecret(project, user, secret);
      secret.fill(0);
      return sealed;
    },

    async rewrapClientSecret(project, user, sealed) {
      const secret = await openClientSecret(project, user, sealed);
      const rewrapped = await sealClientSecret(project, user, secret);
      secret.fill(0);
      return rewrapped;
    },

    async create(name, sealedSecret, content) {
      const lookup = await lookupOf(name);
      const existing = await find(lookup);
      if (existing) return openRow(existing, name, sealedSecret);
      const { project, user, wallet } = name;
      const secret = await openClientSecret(project, user, sealedSecret);
      const half = walletHalf(secret, wallet, opensslHmac);
      const dataKey = random(32);
      const made = content();
      const encoded = encodeContent(made);
      const payload = seal(
        opensslAead,
        random,
        dataKey,
        encoded,
        walletAddress('payload', project, user, wallet),
        PAYLOAD_PAD,
      );
      const inner = seal(opensslAead, random, half, dataKey, walletAddress('data-key', project, user, wallet));
      for (const used of [secret, half, dataKey, encoded, made.key]) used.fill(0);
      const { serverKey, outer } = await outerWraps.wrap(lookup, inner);
      await db.query(
        'insert into wallets (id, lookup, server_key, outer_wrap, payload) values ($1, $2, $3, $4, $5) on conflict (lookup) do nothing',
        [newVaultRowId(random), lookup, serverKey, outer, payload],
      );
      // Two calls for one wallet may have raced: what is stored is what counts.
      return openRow((await find(lookup))!, name, sealedSecret);
    },

    async open(name, sealedSecret) {
      const row = await find(await lookupOf(name));
      if (!row) throw new KedgeError('sealed_data_invalid', 'There is no sealed wallet of that name.');
      return openRow(row, name, sealedSecret);
    },

    assertCurrent(sealed) {
      const version = versionOf(sealed);
      const known = serverKeys.versions.find((candidate) => candidate.version === version);
      if (known?.state === 'retired' || known?.state === 'destroyed') throw new KedgeError('client_secret_superseded');
    },

    countByVersion: outerWraps.countByVersion,
    rewrap: outerWraps.rewrap,
  };
}

/** The version of the server key that a sealed client secret says it is wrapped under. */
export function versionOf(clientSecret: Uint8Array): number {
  if (clientSecret.length < 4) throw new KedgeError('sealed_data_invalid');
  return new DataView(clientSecret.buffer, clientSecret.byteOffset).getUint32(0);
}

/** A new key pair by OpenSSL. */
export function generateWalletKey(curve: Curve): WalletContent {
  if (curve === 'secp256k1') {
    const pair = createECDH('secp256k1');
    pair.generateKeys();
    const scalar = pair.getPrivateKey();
    const key = new Uint8Array(32);
    key.set(scalar, 32 - scalar.length);
    scalar.fill(0);
    return { curve, key, publicKey: new Uint8Array(pair.getPublicKey(null, 'compressed')), secondWrap: false };
  }
  const { privateKey } = generateKeyPairSync('ed25519');
  const { d, x } = privateKey.export({ format: 'jwk' });
  return { curve, key: fromBase64Url(d!), publicKey: fromBase64Url(x!), secondWrap: false };
}

/**
 * What is sealed: curve (1) ‖ second wrap (1) ‖ length of the public key (1) ‖ public key ‖ key. Not CBOR, since every
 * opening reads it and nobody else writes it: the seal says that it is ours.
 */
function encodeContent({ curve, publicKey, key, secondWrap }: WalletContent): Uint8Array {
  const header = Uint8Array.of(CURVES.indexOf(curve), secondWrap ? 1 : 0, publicKey.length);
  return concatBytes(header, publicKey, key);
}

/** Wipes `bytes`. */
function decodeContent(bytes: Uint8Array): WalletContent {
  const [curve, secondWrap, length] = bytes as unknown as readonly [number, number, number];
  const content: WalletContent = {
    curve: CURVES[curve]!,
    secondWrap: secondWrap === 1,
    publicKey: bytes.slice(3, 3 + length),
    key: bytes.slice(3 + length),
  };
  bytes.fill(0);
  return content;
}

const CURVES = ['secp256k1', 'ed25519'] as const satisfies readonly Curve[];
