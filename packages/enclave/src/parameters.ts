/**
 * The shape of every call's parameters, checked before a method sees them: what comes over the wire is whatever a
 * hostile gateway encoded. A list in the place of a text would be another name for the same thing, and a list of numbers
 * in the place of bytes would be stored and never compare equal. `service.ts` checks each call here, and nothing twice.
 */
import {
  APPROVERS_MAX,
  backupKeyEnvironments,
  backupKeyTypes,
  KedgeError,
  PROOF_CHARS_MAX,
  RELEASE_TRANSACTION_BYTES_MAX,
  RELEASE_TRANSACTIONS_MAX,
  signableFields,
} from '@kedge/core';
import type { WireMethod } from './wire.ts';

type Check = (value: unknown) => boolean;

const text =
  (max: number): Check =>
  (value) =>
    typeof value === 'string' && value.length <= max;
/** Subjects of proofs join ids by slashes: one inside of an id would let them be read in two ways. */
const id: Check = (value) => text(64)(value) && value !== '' && !String(value).includes('/');
const bytes =
  (max: number, min = 0): Check =>
  (value) =>
    value instanceof Uint8Array && value.length >= min && value.length <= max;
const integer =
  (min: number): Check =>
  (value) =>
    Number.isSafeInteger(value) && Number(value) >= min;
const list =
  (max: number, item: Check): Check =>
  (value) =>
    Array.isArray(value) && value.length <= max && value.every(item);
const nullable =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
const boolean: Check = (value) => typeof value === 'boolean';
const anyOf =
  (...checks: readonly Check[]): Check =>
  (value) =>
    checks.some((check) => check(value));
const oneOf =
  (...options: readonly string[]): Check =>
  (value) =>
    typeof value === 'string' && options.includes(value);
const record =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value) => {
    if (value === null || typeof value !== 'object' || Array.isArray(value) || value instanceof Uint8Array)
      return false;
    const given = value as Readonly<Record<string, unknown>>;
    const names = Object.keys(fields);
    return (
      Object.keys(given).length === names.length &&
      names.every((name) => Object.hasOwn(given, name) && fields[name]!(given[name]))
    );
  };
/** The client sends null for a call without parameters; in process there is nothing. */
const nothing: Check = (value) => value === null || value === undefined;

/** At most so many events between two heads, and client secrets in one call. */
const BATCH_MAX = 1_000;
const proof = text(PROOF_CHARS_MAX);
/** An account in a recovery may be an e-mail address. */
const user = { project: id, user: text(256), proof };
const hash = bytes(32, 32);
const clientSecret = bytes(256);
const sealedRecovery = bytes(1_024);

/** As integrators name their users. */
const keyName = { project: id, user: text(256), key: text(64) };
/** RSA-4096 in SubjectPublicKeyInfo is the longest. */
const publicKey = bytes(1_024, 32);

const proofKey = record({ algorithm: oneOf('p256', 'ed25519'), publicKey: bytes(65, 32) });
const rules = record({
  approvers: list(
    APPROVERS_MAX,
    record({ id: text(64), veto: boolean, mustApprove: boolean, key: nullable(proofKey) }),
  ),
  policy: anyOf(
    record({ kind: oneOf('majority') }),
    record({ kind: oneOf('percentage'), percent: integer(1) }),
    record({ kind: oneOf('exact'), count: integer(1) }),
  ),
  windowMs: integer(0),
  coolingPeriodMs: integer(0),
  linksSuffice: boolean,
});
const plan = record({
  project: id,
  recovery: text(64),
  list: id,
  user: text(256),
  key: text(64),
  network: text(128),
  account: text(4_096),
  release: anyOf(
    record({ kind: oneOf('transactions'), ids: list(RELEASE_TRANSACTIONS_MAX, text(64)) }),
    record({ kind: oneOf('sweep'), destination: text(128) }),
  ),
  sandbox: boolean,
});
const recovery = { project: id, recovery: text(64) };
const change = { project: id, list: id, change: text(64) };
const vote = {
  approver: text(64),
  choice: oneOf('approve', 'reject'),
  proof: nullable(proof),
  token: nullable(bytes(32, 32)),
};
/** RSA-4096. */
const backup = nullable(record({ version: integer(1), data: bytes(512, 512) }));

const calls = {
  status: nothing,
  attestation: nothing,
  signUp: record({ ...user, sealedRecovery }),
  recover: record({ ...user, sealedRecovery }),
  replaceWords: record({ ...user, sealedRecovery }),
  signIn: record(user),
  enrollClientKey: record(user),
  revokeClientKey: record(user),
  createWallet: record({
    ...user,
    vault: text(64),
    wallet: text(64),
    curve: oneOf('secp256k1', 'ed25519'),
    clientSecret,
    sealedKey: nullable(bytes(256)),
    publicKey: nullable(bytes(33, 32)),
  }),
  openWallet: record({ ...user, wallet: text(64), clientSecret }),
  createBackupKey: record({
    ...keyName,
    type: oneOf(...backupKeyTypes),
    environment: oneOf(...backupKeyEnvironments),
    nonce: nullable(bytes(64, 16)),
    signWith: nullable(record(Object.fromEntries(signableFields.map((field) => [field, nullable(text(256))])))),
  }),
  verifyBackupKey: record({ ...keyName, publicKey }),
  encryptionKey: nothing,
  verifyBackup: record({
    project: id,
    backup: text(64),
    version: integer(1),
    data: bytes(512, 512),
    checksum: nullable(hash),
    publicKey: nullable(publicKey),
    chainCode: nullable(hash),
  }),
  createApproverList: record({ project: id, list: id, rules }),
  bindApproverList: record({ ...keyName, list: id }),
  openListChange: record({ ...change, rules }),
  voteListChange: record({ ...change, ...vote }),
  listChange: record(change),
  listChangeTokens: record(change),
  throwAwayKey: record({ ...recovery, user: text(256), key: text(64) }),
  requestRecovery: record({ plan }),
  recoveryTokens: record(recovery),
  voteRecovery: record({ ...recovery, ...vote }),
  noteRecoveryAlert: record({ ...recovery, channels: integer(0) }),
  tickRecovery: record(recovery),
  cancelRecovery: record({ ...recovery, by: text(128) }),
  coldFiles: record(recovery),
  releaseRecovery: record({
    ...recovery,
    transactions: list(RELEASE_TRANSACTIONS_MAX, bytes(RELEASE_TRANSACTION_BYTES_MAX, 1)),
    backup,
    thaws: list(2, bytes(256)),
    rehearsed: backup,
  }),
  completeRecovery: record({ ...recovery, outcome: oneOf('completed', 'failed') }),
  operatorSignIn: record({ proof }),
  startRotation: record({ proof }),
  startRotationWhenDue: nothing,
  rotation: nothing,
  rewrapClientSecrets: record({
    secrets: list(BATCH_MAX, record({ project: id, user: text(64), clientSecret })),
  }),
  rewrapWallets: record({ limit: integer(0) }),
  finishRotation: nothing,
  destroyServerKey: record({ version: integer(1), proofs: list(2, proof) }),
  compact: nothing,
  checkLedger: nullable(record({ seq: integer(0), hash })),
  signHead: record({ seq: integer(0), hash, bodyHashes: list(BATCH_MAX, hash) }),
  mirror: nothing,
  checkMirror: record({ mirror: record({ document: bytes(8_192), signature: bytes(64, 64) }) }),
  backUp: record({
    proof,
    name: text(64),
    primary: record({ sha256: hash, users: integer(0), serverKeys: list(BATCH_MAX, integer(1)) }),
    sealedPassphrase: nullable(bytes(1_024)),
  }),
  acceptRestore: record({ proofs: list(2, proof) }),
} satisfies Record<WireMethod, Check>;

/** Throws `KedgeError('request_invalid')`. */
export function assertParameters(method: string, value: unknown): void {
  if (Object.hasOwn(calls, method) && calls[method as WireMethod](value)) return;
  throw new KedgeError('request_invalid', `The parameters of ${method} are not of the form that the enclave takes.`);
}
