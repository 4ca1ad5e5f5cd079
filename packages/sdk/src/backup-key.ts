/**
 * The scheme backup-key on the integrator's side: assigning a key and believing it only if the pinned enclave attested
 * exactly what was asked for; chain code and xpub over it; recovery material encrypted to the enclave and stored. The
 * caller keeps a key id and a backup id, and nothing of the key that it doesn't hold. No private key is ever here.
 */
import { formatExtendedKey, rootExtendedKey } from '@kedge/chains';
import {
  bytesToHex,
  canonicalJson,
  concatBytes,
  fromBase64Url,
  type Given,
  hexToBytes,
  KedgeError,
  type KeyAttestation,
  type ResponseOf,
  type SignableField,
  seal,
  toBase64Url,
  utf8ToBytes,
} from '@kedge/core';
import { sha256 } from '@noble/hashes/sha2.js';
import { type Client, randomBytes } from './client.ts';
import { checkAttestation, plain, verifyP256, verifySigned } from './trust.ts';
import { nobleAead } from './words.ts';

export interface BackupKeyOptions {
  /** With a secret key of the project, or a token made from one. */
  readonly client: Client;
  /** The thumbprint of the enclave's identity, as behind the dot of a publishable key: see `thumbprintOf`. */
  readonly pin: string;
  /** The id of the project: a key of another tenant is refused. */
  readonly project: string;
  readonly random?: (length: number) => Uint8Array;
}

type Wanted = Omit<Given<'createBackupKey', 'body'>, 'client_nonce'>;
type Assigned = ResponseOf<'createBackupKey'>;
type RefusalReason = Given<'reportBackupKey', 'body'>['reason'];

/** What makes a public key of secp256k1 the root of a tree of addresses. */
export interface RootXpub {
  /** 32 bytes. Store them encrypted, then wipe them. */
  readonly chainCode: Uint8Array;
  readonly xpub: string;
}

export interface RecoveryMaterial {
  /** 32 bytes, not all zero. */
  readonly chainCode: Uint8Array;
  /** Hex, as it was assigned. */
  readonly publicKey: string;
  readonly coin: string;
  /** At most 64 bytes in UTF-8. */
  readonly label: string;
}

export interface BackupKeyService {
  /** Throws `KedgeError('key_refused')` for an answer that the enclave didn't give to this question, and reports it. */
  create(wanted: Wanted): Promise<Assigned>;
  verify(keyId: string): Promise<ResponseOf<'verifyBackupKey'>>;
  verifyBackup(backupId: string): Promise<ResponseOf<'verifyKeyBackup'>>;
  /** A fresh chain code, and the xpub at depth 0 that it makes of the key. */
  createXpub(publicKey: string, network: 'mainnet' | 'test'): RootXpub;
  /** Registers the xpub: checks then compare stored chain codes with it. */
  registerXpub(keyId: string, xpub: string): Promise<void>;
  /** Encrypts and stores; gives the backup id. Throws `KedgeError('request_invalid')`. */
  store(material: RecoveryMaterial): Promise<string>;
  /** For what is larger: encrypted under a key of its own, which is encrypted to the enclave. Gives the backup id. */
  storeFile(content: Uint8Array, publicKey: string): Promise<string>;
}

/** RFC 8017 §7.1.1: 512 bytes less two hashes and two. */
const OAEP_BYTES_MAX = 446;
const LABEL_BYTES_MAX = 64;
const NONCE_BYTES = 32;
/** "KB", version 1. */
const FILE_HEADER = Uint8Array.of(0x4b, 0x42, 1);

export function backupKeys({ client, pin, project, random = randomBytes }: BackupKeyOptions): BackupKeyService {
  const identity = async () =>
    (await checkAttestation((await client.call('getEnclave', {})).attestation, pin)).identity;

  /** The report may fail as well, in the same hands; what counts is that the key isn't used. */
  const refuse = async (keyId: string, reason: RefusalReason): Promise<never> => {
    await client.call('reportBackupKey', { params: { key_id: keyId }, body: { reason } }).catch(() => undefined);
    throw new KedgeError('key_refused', `The ${reason} of the new key does not hold.`);
  };

  /** The key that the pinned enclave says it has for recovery material. */
  const encryptionKey = async () => {
    const { version, public_key, signed } = await client.call('getEncryptionKey', {});
    const spki = Uint8Array.from(atob(public_key), (char) => char.charCodeAt(0));
    const said = JSON.parse(new TextDecoder().decode(fromBase64Url(signed.document))) as Record<string, unknown>;
    const same = said.version === version && said.public_key === bytesToHex(spki);
    if (!same || !(await verifySigned(await identity(), 'encryption-key', signed)))
      throw new KedgeError('key_refused', 'The encryption key is not one that the enclave signed.');
    const key = await crypto.subtle.importKey('spki', plain(spki), { name: 'RSA-OAEP', hash: 'SHA-256' }, false, [
      'encrypt',
    ]);
    const encrypt = async (plaintext: Uint8Array) =>
      new Uint8Array(await crypto.subtle.encrypt({ name: 'RSA-OAEP' }, key, plain(plaintext)));
    return { version, encrypt };
  };

  return {
    async create(wanted) {
      const nonce = toBase64Url(random(NONCE_BYTES));
      const enclave = await identity();
      const made = await client.call('createBackupKey', { body: { ...wanted, client_nonce: nonce } });
      if (!(await isSignedBare(enclave, wanted, made))) return refuse(made.key_id, 'signature');
      if (!(await verifySigned(enclave, 'key-attestation', made.attestation)))
        return refuse(made.key_id, 'attestation');
      if (!isAttested(wanted, { project, nonce }, made)) return refuse(made.key_id, 'attestation');
      return made;
    },

    verify: (keyId) => client.call('verifyBackupKey', { params: { key_id: keyId } }),
    verifyBackup: (backupId) => client.call('verifyKeyBackup', { params: { backup_id: backupId } }),

    createXpub(publicKey, network) {
      const chainCode = random(32);
      return { chainCode, xpub: formatExtendedKey(rootExtendedKey(hexToBytes(publicKey), chainCode), network) };
    },

    async registerXpub(keyId, xpub) {
      await client.call('registerXpub', { params: { key_id: keyId }, body: { xpub } });
    },

    async store(material) {
      const plaintext = encodeMaterial(material);
      const { version, encrypt } = await encryptionKey();
      const data = await encrypt(plaintext);
      const body = {
        public_key: material.publicKey,
        data: btoa(String.fromCharCode(...data)),
        checksum: bytesToHex(sha256(plaintext)),
        encryption_key_version: version,
      };
      plaintext.fill(0);
      return (await client.call('storeSecureData', { body })).backup_id;
    },

    async storeFile(content, publicKey) {
      const { version, encrypt } = await encryptionKey();
      const fileKey = random(32);
      const sealed = seal(nobleAead, random, fileKey, content, ['kedge/recovery-file/v1', project, publicKey]);
      const file = concatBytes(FILE_HEADER, await encrypt(fileKey), sealed);
      fileKey.fill(0);
      const fields = { public_key: publicKey, checksum: bytesToHex(sha256(file)), encryption_key_version: version };
      return (await client.call('storeSecureFile', { upload: { file, fields } })).backup_id;
    },
  };
}

/** Throws `KedgeError('request_invalid')` for what no recovery could use, and for what doesn't fit under RSA-OAEP. */
function encodeMaterial({ chainCode, publicKey, coin, label }: RecoveryMaterial): Uint8Array {
  const invalid = (detail: string) => new KedgeError('request_invalid', detail);
  if (chainCode.length !== 32) throw invalid(`A chain code has 32 bytes, this one ${chainCode.length}.`);
  if (chainCode.every((byte) => byte === 0)) throw invalid('The chain code is all zero, which nothing random is.');
  if (utf8ToBytes(label).length > LABEL_BYTES_MAX) throw invalid(`The label is longer than ${LABEL_BYTES_MAX} bytes.`);
  const bytes = utf8ToBytes(JSON.stringify({ chainCode: bytesToHex(chainCode), publicKey, coin, label }));
  if (bytes.length > OAEP_BYTES_MAX)
    throw invalid(`The material has ${bytes.length} bytes; ${OAEP_BYTES_MAX} fit. Store it as a file.`);
  return bytes;
}

/** The vendor-shaped signature, and that its payload says what was asked for. */
async function isSignedBare(enclave: Uint8Array, wanted: Wanted, made: Assigned): Promise<boolean> {
  const signature = fromDer(made.signature);
  const payload = made.signed_payload ?? made.public_key;
  if (signature === null || !(await verifyP256(enclave, utf8ToBytes(payload), signature))) return false;
  if ((made.signed_payload === null) !== (wanted.sign_with === undefined)) return false;
  return made.signed_payload === null || isPayloadOf(made.signed_payload, wanted, made);
}

function isPayloadOf(payload: string, wanted: Wanted, made: Assigned): boolean {
  const said = JSON.parse(payload) as Readonly<Record<string, unknown>>;
  const names = [...(wanted.sign_with ?? []), 'public_key'].sort();
  if (canonicalJson(Object.keys(said).sort()) !== canonicalJson(names)) return false;
  const known: { readonly [F in SignableField | 'public_key']?: string | undefined } = {
    public_key: made.public_key,
    user_id: wanted.user_identifier,
    key_id: made.key_id,
    key_fingerprint: bytesToHex(sha256(hexToBytes(made.public_key))),
    external_customer_id: wanted.organisation?.customer_id,
    external_package_id: wanted.package?.package_id,
  };
  return Object.entries(known).every(([field, value]) => !(field in said) || said[field] === value);
}

/** That the attested document is about this key, this project and this very request. */
function isAttested(
  wanted: Wanted,
  own: { readonly project: string; readonly nonce: string },
  made: Assigned,
): boolean {
  const text = new TextDecoder().decode(fromBase64Url(made.attestation.document));
  const { created_at } = JSON.parse(text) as { created_at?: unknown };
  const expected: KeyAttestation = {
    project: own.project,
    user: wanted.user_identifier,
    key_id: made.key_id,
    key_type: wanted.key_type,
    key_environment: wanted.key_environment ?? 'HOT',
    public_key: made.public_key,
    created_at: String(created_at),
    client_nonce: own.nonce,
  };
  return text === canonicalJson(expected);
}

/** `r ‖ s` from base64 of a DER SEQUENCE of two INTEGERs; null for anything that X.690 would spell otherwise. */
function fromDer(base64: string): Uint8Array | null {
  let der: Uint8Array;
  try {
    der = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
  if (der[0] !== 0x30 || der[1] !== der.length - 2) return null;
  const signature = new Uint8Array(64);
  let at = 2;
  for (const end of [32, 64]) {
    const length = der[at + 1] ?? 0;
    const number = der.subarray(at + 2, at + 2 + length);
    const [first = 0x80, second = 0] = number;
    if (der[at] !== 2 || number.length !== length || length > 33 || first >= 0x80) return null;
    if (first === 0 && length > 1 && second < 0x80) return null;
    const digits = length === 33 ? number.subarray(1) : number;
    if (length === 33 && first !== 0) return null;
    signature.set(digits, end - digits.length);
    at += 2 + length;
  }
  return at === der.length ? signature : null;
}
