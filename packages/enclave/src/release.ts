/**
 * The release gate: the only code that signs with a backup key. It asks the sealed state whether this recovery may be
 * released, holds the transactions against the plan that was voted on, writes down what it is about to sign, and signs
 * once: the same call again gives the same signatures, any other is refused. Chain code and private key exist here for
 * the time of one call. What leaves are signatures; a child key never does, as with the xpub it would give the parent.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import {
  type BitcoinCodec,
  type ChainCodec,
  ChainError,
  type Descriptor,
  findCodec,
  type SigningDigest,
} from '@kedge/chains';
import {
  addressBytes,
  assertMayAct,
  type BackupKeyType,
  bytesToHex,
  type DrillCertificate,
  encodeCbor,
  equalBytes,
  KedgeError,
  moveRecovery,
  quorumOf,
  RELEASE_BYTES_MAX,
  type RecoveryPlan,
  type SealingKey,
  utf8ToBytes,
} from '@kedge/core';
import { derivePrivate, type ExtendedPrivateKey, publicHalf, wipeKey } from '@kedge/core/private-keys';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { type BackupKeyBirth, type BackupKeys, isPairOf, rawPublicKey } from './backup-keys.ts';
import type { Enclave, ReleasedSignature } from './enclave.ts';
import type { EncryptionKeys } from './encryption-keys.ts';
import { type Recoveries, type StoredRecovery, situation } from './recoveries.ts';
import type { RootKeys } from './root-keys.ts';

type ReleaseCall = Parameters<Enclave['releaseRecovery']>[0];

/** Digests in one release: more would keep the enclave from everybody else for seconds. */
const DIGESTS_MAX = 500;
/** Keys to derive for one release, about a millisecond each, in which nobody else is served: 500 inputs of three keys. */
const DERIVED_KEYS_MAX = 1_500;

/** What a release needs of a key, for as long as one call lasts. */
interface Signer {
  readonly publicKey: Uint8Array;
  /** Which of the digests are this key's, with where they stand below it. */
  own(transaction: number, digests: readonly SigningDigest[]): OwnDigest[];
  sign(digest: OwnDigest): Uint8Array;
  wipe(): void;
}

interface OwnDigest {
  readonly transaction: number;
  readonly input: number;
  readonly digest: Uint8Array;
  readonly publicKey: Uint8Array;
  /** Below the backup key; empty for itself. */
  readonly path: string;
}

export interface ReleaseGate {
  /** Throws `request_invalid` for a plan that could never be released, whatever is voted. */
  assertPlan(plan: RecoveryPlan): Promise<void>;
  throwAwayKey(name: Pick<RecoveryPlan, 'project' | 'recovery' | 'user' | 'key'>): Promise<{ publicKey: Uint8Array }>;
  coldFiles(name: { project: string; recovery: string }): Promise<readonly Uint8Array[]>;
  release(call: ReleaseCall): Promise<{
    stored: StoredRecovery;
    signatures: ReleasedSignature[];
  }>;
}

export function createReleaseGate(deps: {
  readonly rootKeys: RootKeys;
  readonly recoveries: Recoveries;
  readonly backupKeys: BackupKeys;
  readonly encryptionKeys: EncryptionKeys;
  readonly sealingKey: SealingKey;
  readonly random: (length: number) => Uint8Array;
  readonly at: () => string;
}): ReleaseGate {
  const { rootKeys, recoveries, backupKeys, encryptionKeys, sealingKey, random, at } = deps;

  const birthOf = async ({ project, user, key }: RecoveryPlan) => {
    const opened = await backupKeys.open({ project, user, key });
    if (opened === null) throw new KedgeError('not_found', 'There is no such key.');
    return opened.birth;
  };

  /** The key of a rehearsal follows from the root and the rehearsal's id: nothing is stored, and no wallet of anybody has it. */
  const throwAway = async (
    name: Pick<RecoveryPlan, 'project' | 'recovery' | 'user' | 'key'>,
    type: BackupKeyType,
  ): Promise<KeyObject> => {
    const { project, recovery, user, key } = name;
    const seed = await rootKeys.mac(addressBytes(['kedge/throw-away-key/v1', project, recovery, user, key]));
    try {
      return privateKeyOf(type, seed.subarray(0, 32));
    } finally {
      seed.fill(0);
    }
  };

  const throwAwayKey: ReleaseGate['throwAwayKey'] = async (name) => {
    const { type } = await birthOf(name as RecoveryPlan);
    assertSigns(type);
    return { publicKey: rawPublicKey(type, createPublicKey(await throwAway(name, type))) };
  };

  /** The shares that officers sealed to this enclave for this recovery. */
  const openThaws = async ({ project, recovery }: RecoveryPlan, thaws: readonly Uint8Array[]) => {
    const aad = encodeCbor({ project, recovery });
    const shares: Uint8Array[] = [];
    try {
      for (const thaw of thaws) shares.push(await sealingKey.open(thaw, utf8ToBytes('kedge/thaw/v1'), aad));
    } catch (error) {
      for (const share of shares) share.fill(0);
      throw error;
    }
    return shares;
  };

  const openPrivate = async (
    plan: RecoveryPlan,
    thaws: readonly Uint8Array[],
  ): Promise<{ type: BackupKeyType; publicKey: Uint8Array; privateKey: KeyObject }> => {
    if (plan.sandbox) {
      const { type } = await birthOf(plan);
      const privateKey = await throwAway(plan, type);
      return { type, publicKey: rawPublicKey(type, createPublicKey(privateKey)), privateKey };
    }
    const opened = await backupKeys.open(plan);
    if (opened === null) throw new KedgeError('not_found', 'There is no such key.');
    const { birth, privateKey } =
      opened.privateKey === null ? await backupKeys.thaw(plan, await openThaws(plan, thaws)) : opened;
    if (privateKey === null || !isPairOf(birth, privateKey, random(32)))
      throw new KedgeError('sealed_data_invalid', 'The sealed key is not the one that was attested.');
    return { type: birth.type, publicKey: birth.publicKey, privateKey };
  };

  const openSigner = async (plan: RecoveryPlan, { backup, thaws }: ReleaseCall): Promise<Signer> => {
    const { type, publicKey, privateKey } = await openPrivate(plan, thaws);
    if (type === 'ed25519') return ed25519Signer(privateKey, publicKey);
    if (codecOf(plan.network).name !== 'bitcoin') return bareSigner(scalarOf(privateKey), publicKey);
    if (backup === null)
      throw new KedgeError('request_invalid', 'The release needs the backup that holds the chain code of this wallet.');
    const chainCode = await encryptionKeys.chainCode({ ...backup, publicKey });
    return bip32Signer(scalarOf(privateKey), chainCode, publicKey);
  };

  const certify = async (
    stored: StoredRecovery,
    signer: Signer,
    signatures: number,
    { transactions, rehearsed }: ReleaseCall,
  ): Promise<DrillCertificate> => {
    const { plan, rules, votes } = stored;
    const real = await backupKeys.open(plan);
    if (real === null) throw new KedgeError('not_found', 'There is no such key.');
    const { birth, privateKey } = real;
    const chose = (choice: 'approve' | 'reject') =>
      votes.filter((vote) => vote.choice === choice).map(({ approver }) => approver);
    return {
      project: plan.project,
      recovery: plan.recovery,
      user: plan.user,
      key_id: plan.key,
      key_type: birth.type,
      key_environment: birth.environment,
      public_key: bytesToHex(birth.publicKey),
      key_outcome:
        privateKey === null ? 'held_offline' : isPairOf(birth, privateKey, random(32)) ? 'passed' : 'attention',
      backup_outcome: await backupOutcome(birth, rehearsed),
      approver_list: plan.list,
      approvals: chose('approve'),
      rejections: chose('reject'),
      needed: quorumOf(rules),
      throw_away_public_key: bytesToHex(signer.publicKey),
      network: plan.network,
      transactions: transactions.map((transaction) => codecOf(plan.network).planId(transaction)),
      signatures,
      issued_at: at(),
    };
  };

  const backupOutcome = async (
    { publicKey }: BackupKeyBirth,
    rehearsed: ReleaseCall['rehearsed'],
  ): Promise<DrillCertificate['backup_outcome']> => {
    if (rehearsed === null) return 'not_checked';
    const chainCode = await encryptionKeys.chainCode({ ...rehearsed, publicKey }).catch(nullIfInvalid);
    chainCode?.fill(0);
    return chainCode === null ? 'attention' : 'passed';
  };

  return {
    throwAwayKey,

    async assertPlan(plan) {
      const birth = await birthOf(plan);
      assertSigns(birth.type);
      const publicKey = plan.sandbox ? (await throwAwayKey(plan)).publicKey : birth.publicKey;
      readable(() => assertFits(plan, birth.type, publicKey));
    },

    async coldFiles(name) {
      const { plan, recovery } = await recoveries.get(name);
      // Again when it was released: the answer may have been lost with the enclave, and the shares with it. It signs nothing else.
      if (recovery.status !== 'released') assertMayAct('release_recovery', { ...situation, recovery: recovery.status });
      // Its release needs no share, and its approval nobody had the time to object to.
      if (plan.sandbox)
        throw new KedgeError('conflict', 'A rehearsal signs without the officers. Their files stay here.');
      return backupKeys.officerFiles(plan);
    },

    async release(call) {
      const { transactions } = call;
      if (transactions.reduce((sum, { length }) => sum + length, 0) > RELEASE_BYTES_MAX)
        throw new KedgeError(
          'request_invalid',
          `One release takes ${RELEASE_BYTES_MAX} bytes of transactions together.`,
        );
      const { plan, recovery, released } = await recoveries.get(call);
      // Before anything is read or derived: that costs everybody's time, and here anybody may ask.
      if (released === null) assertMayAct('release_recovery', { ...situation, recovery: recovery.status });
      const byTransaction = readable(() => plannedDigests(plan, transactions));
      let signer: Signer | null = null;
      let own: OwnDigest[] = [];
      try {
        const stored = await recoveries.update(call, async (before) => {
          const again = before.released !== null;
          if (!again) assertMayAct('release_recovery', { ...situation, recovery: before.recovery.status });
          signer = await openSigner(before.plan, call);
          own = byTransaction.flatMap((digests, transaction) => assertOwn(signer!.own(transaction, digests)));
          const released = hashOf(own);
          if (!again) {
            const certificate = plan.sandbox ? await certify(before, signer, own.length, call) : null;
            return { ...before, recovery: moveRecovery(before.recovery, 'released'), released, certificate };
          }
          if (!equalBytes(before.released!, released))
            throw new KedgeError('conflict', 'The release was used for other transactions, and there is one.');
          return before;
        });
        const { sign } = signer!;
        const signatures = own.map((digest) => ({
          transaction: digest.transaction,
          input: digest.input,
          publicKey: digest.publicKey,
          signature: sign(digest),
        }));
        return { stored, signatures };
      } finally {
        (signer as Signer | null)?.wipe();
      }
    },
  };
}

// What was planned.

/** `Chain.network` as everybody spells it. Throws `request_invalid`. */
function codecOf(network: string): ChainCodec {
  const codec = findCodec(network);
  if (codec !== null) return codec;
  throw new KedgeError('request_invalid', 'No network is spelled like that. Use CAIP-2, as eip155:1.');
}

function assertSigns(type: BackupKeyType): void {
  if (type === 'rsa4096')
    throw new KedgeError('request_invalid', 'An RSA key is no key of a wallet: it signs no transactions.');
}

function assertFits({ network, account, release }: RecoveryPlan, type: BackupKeyType, publicKey: Uint8Array): void {
  const codec = codecOf(network);
  if (codec.curve !== type) throw new KedgeError('request_invalid', `That network has no keys of the type ${type}.`);
  if (codec.name === 'bitcoin') {
    const descriptor = (codec as BitcoinCodec).descriptor(account);
    if (!namesKey(descriptor, publicKey))
      throw new KedgeError('request_invalid', 'The descriptor of the wallet does not hold this backup key.');
  } else if (codec.parseAddress(account) !== codec.account(publicKey))
    throw new KedgeError('request_invalid', 'The account is not this backup key’s.');
  if (release.kind === 'sweep') {
    if (codec.name !== 'bitcoin')
      throw new KedgeError('request_invalid', 'Only Bitcoin wallets are swept. Name the transactions.');
    codec.parseAddress(release.destination);
  } else if (release.ids.length === 0 || !release.ids.every((id) => /^[0-9a-f]{64}$/.test(id)))
    throw new KedgeError('request_invalid', 'The plan names no transactions.');
  else if (new Set(release.ids).size !== release.ids.length)
    throw new KedgeError('request_invalid', 'The plan names a transaction twice.');
}

function namesKey({ keys }: Descriptor, publicKey: Uint8Array): boolean {
  return keys.some((key) => equalBytes(key.kind === 'extended' ? key.key.publicKey : key.publicKey, publicKey));
}

/** What would be signed, of exactly what was approved. Throws for anything else. */
function plannedDigests(
  { network, account, release }: RecoveryPlan,
  transactions: readonly Uint8Array[],
): readonly (readonly SigningDigest[])[] {
  const codec = codecOf(network);
  const ids = transactions.map((transaction) => codec.planId(transaction));
  if (transactions.length === 0 || new Set(ids).size !== ids.length) throw notPlanned();
  if (release.kind === 'transactions') {
    if (ids.length !== release.ids.length || !ids.every((id, at) => id === release.ids[at])) throw notPlanned();
  }
  if (codec.name === 'bitcoin') assertFewKeys(codec as BitcoinCodec, transactions, account);
  if (release.kind === 'sweep')
    for (const transaction of transactions) assertSweeps(codec, transaction, account, release.destination);
  const digests = transactions.map((transaction) => codec.digests(transaction, account));
  if (digests.flat().length > DIGESTS_MAX)
    throw new KedgeError('request_invalid', `One release signs ${DIGESTS_MAX} inputs at most.`);
  return digests;
}

function assertFewKeys(codec: BitcoinCodec, transactions: readonly Uint8Array[], account: string): void {
  const inputs = transactions.reduce((sum, transaction) => sum + codec.resources(transaction).length, 0);
  if (inputs * codec.descriptor(account).keys.length > DERIVED_KEYS_MAX)
    throw new KedgeError(
      'request_invalid',
      `One release derives ${DERIVED_KEYS_MAX} keys, those of every input together. Plan fewer inputs at once.`,
    );
}

/**
 * Every coin is the account's, with its amount proven, everything goes to one address, and the fee is no more than a
 * network may ask. In one output: many would make the transaction heavy, and a heavy one may cost more.
 */
function assertSweeps(codec: ChainCodec, transaction: Uint8Array, account: string, destination: string): void {
  const to = codec.parseAddress(destination);
  const { outputs } = codec.decode(transaction); // without the account nothing is derived
  if (outputs.length !== 1 || outputs[0]!.to !== to) throw notPlanned();
  const { from, warnings } = codec.decode(transaction, account);
  if (from === null) throw notPlanned();
  for (const warning of ['amount_unproven', 'fee_high', 'time_locked', 'fee_unknown'] as const)
    if (warnings.includes(warning))
      throw new KedgeError('request_invalid', `The sweep is not signed, because of ${warning}. Build it again.`);
}

function notPlanned(): KedgeError {
  return new KedgeError(
    'request_invalid',
    'These are not the transactions that were approved. Send those, or open another recovery.',
  );
}

function assertOwn(own: OwnDigest[]): OwnDigest[] {
  if (own.length === 0)
    throw new KedgeError('request_invalid', 'A transaction asks for no signature by this key, or has it already.');
  return own;
}

function hashOf(own: readonly OwnDigest[]): Uint8Array {
  const hash = createHash('sha256');
  for (const { transaction, input, digest, publicKey } of own)
    hash.update(encodeCbor([transaction, input, digest, publicKey]));
  return new Uint8Array(hash.digest());
}

/** What a codec throws is about what the caller sent. */
function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof ChainError) throw new KedgeError('request_invalid', error.message, { cause: error });
    throw error;
  }
}

// Keys in use.

/** BIP32 below the backup key: the account's descriptor says where each key stands, and deriving it says whether that is so. */
function bip32Signer(privateKey: Uint8Array, chainCode: Uint8Array, publicKey: Uint8Array): Signer {
  const root: ExtendedPrivateKey = { privateKey, chainCode, depth: 0, index: 0, parentFingerprint: 0 };
  const fingerprint = publicHalf(root).fingerprint.toString(16).padStart(8, '0');
  /** Deriving is what a release mostly does: each child is made once, and kept until the end of the call. */
  const children = new Map<string, { readonly key: ExtendedPrivateKey; readonly publicKey: Uint8Array }>();
  const childAt = (path: string) => {
    const known = children.get(path);
    if (known !== undefined) return known;
    const key = derivePrivate(root, path);
    const child = { key, publicKey: publicHalf(key).publicKey };
    children.set(path, child);
    return child;
  };
  return {
    publicKey,
    own: (transaction, digests) =>
      digests.flatMap(({ input, algorithm, digest, publicKey: asked, origin }) => {
        if (algorithm !== 'ecdsa' || asked === null || origin?.fingerprint !== fingerprint) return [];
        if (!equalBytes(childAt(origin.path).publicKey, asked))
          throw new KedgeError(
            'request_invalid',
            'The chain code of this backup does not lead to the keys of this wallet. Name another backup.',
          );
        return [{ transaction, input, digest, publicKey: asked, path: origin.path }];
      }),
    sign: ({ digest, path }) => signEcdsa(digest, childAt(path).key.privateKey),
    wipe() {
      for (const { key } of children.values()) wipeKey(key);
      wipeKey(root);
    },
  };
}

/** A secp256k1 key that is an account by itself. */
function bareSigner(privateKey: Uint8Array, publicKey: Uint8Array): Signer {
  return {
    publicKey,
    own: (transaction, digests) =>
      digests.map(({ input, digest }) => ({ transaction, input, digest, publicKey, path: '' })),
    sign: ({ digest }) => signEcdsa(digest, privateKey),
    wipe: () => privateKey.fill(0),
  };
}

/** Solana: the message itself is what Ed25519 signs. */
function ed25519Signer(privateKey: KeyObject, publicKey: Uint8Array): Signer {
  return {
    publicKey,
    own: (transaction, digests) =>
      digests
        .filter((asked) => asked.publicKey !== null && equalBytes(asked.publicKey, publicKey))
        .map(({ input, digest }) => ({ transaction, input, digest, publicKey, path: '' })),
    sign: ({ digest }) => new Uint8Array(sign(null, digest, privateKey)),
    wipe: () => undefined, // OpenSSL has it, and wipes when it is collected
  };
}

/** RFC 6979 and low `s`: the same digest gives the same signature, so that asking again releases nothing new. */
function signEcdsa(digest: Uint8Array, privateKey: Uint8Array): Uint8Array {
  return secp256k1.sign(digest, privateKey, { prehash: false, lowS: true });
}

/** RFC 5915: SEQUENCE, version 1, and the 32 bytes. */
function scalarOf(privateKey: KeyObject): Uint8Array {
  const der = privateKey.export({ format: 'der', type: 'sec1' });
  const scalar = new Uint8Array(der.subarray(7, 39));
  const fits = der[5] === 4 && der[6] === 32;
  der.fill(0);
  if (!fits) throw new KedgeError('sealed_data_invalid', 'The sealed key is no key of its type.');
  return scalar;
}

/** PKCS#8 around a seed or scalar, for OpenSSL. Which are no scalars, one in 2^128, OpenSSL refuses. */
function privateKeyOf(type: BackupKeyType, secret: Uint8Array): KeyObject {
  const head =
    type === 'ed25519'
      ? '302e020100300506032b657004220420'
      : '303e020100301006072a8648ce3d020106052b8104000a042730250201010420';
  const der = Buffer.concat([Buffer.from(head, 'hex'), secret]);
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}

function nullIfInvalid(error: unknown): null {
  if (error instanceof KedgeError && error.code === 'request_invalid') return null;
  throw error;
}
