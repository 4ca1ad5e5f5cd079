/**
 * The enclave as one value built from its dependencies: the key holder of the operator. It implements the page
 * `enclave.ts`, method by method, and decides on its own sealed state alone. `main.ts` composes it with a real database,
 * root keys, mirror and clock; the gateway never imports this file. A plaintext secret lives here and nowhere else on
 * the operator's side, in bytes, as short as it can.
 */
import { createHash } from 'node:crypto';
import {
  type Act,
  type CborValue,
  type Clock,
  createSealingKey,
  decodeCbor,
  decodeProof,
  encodeCbor,
  equalBytes,
  headMessage,
  KedgeError,
  linkBodyHash,
  type Proof,
  type ProofKey,
  proofHash,
  type RandomBytes,
  recoveryInfo,
  type TimeFacts,
  toBase64Url,
  userSubject,
  utf8ToBytes,
} from '@kedge/core';
import type { Database } from '@kedge/store';
import { type Account, Accounts, withKey, withoutKey } from './accounts.ts';
import { ApproverLists } from './approver-lists.ts';
import { type BackupFolder, encodeManifest, writeBackup } from './backup.ts';
import { backupKeyMethods } from './backup-key-methods.ts';
import { createBackupKeys } from './backup-keys.ts';
import type { Enclave } from './enclave.ts';
import { createEncryptionKeys } from './encryption-keys.ts';
import { sealTo } from './hpke.ts';
import { OpenLimits } from './limits.ts';
import type { Mirror } from './mirror.ts';
import { endsStretch, yieldToCallers } from './outer-wraps.ts';
import { assertParameters } from './parameters.ts';
import { type Expected, ProofChecker, p256Jwk, sameKey } from './proofs.ts';
import { Recoveries } from './recoveries.ts';
import { recoveryMethods } from './recovery-methods.ts';
import { createReleaseGate } from './release.ts';
import type { RootKeys } from './root-keys.ts';
import { ServerKeys } from './server-keys.ts';
import { ServiceTime, TICK_MS } from './service-time.ts';
import { readSigned, signDocument } from './signing.ts';
import { type Finding, SealedState } from './state.ts';
import { createVoteChecker } from './votes.ts';
import { type Curve, createSealedWallets, generateWalletKey, versionOf } from './wallets.ts';
import { wireMethods } from './wire.ts';
import { WordsHasher } from './words.ts';

export interface EnclaveDeps {
  readonly db: Database;
  readonly rootKeys: RootKeys;
  readonly mirror: Mirror;
  /** The fencing number of the writer lease that the caller holds (lease.ts). */
  readonly fence: bigint;
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** Operators by name, with the keys that sign their acts. */
  readonly operators: ReadonlyMap<string, ProofKey>;
  /** All wallet openings in a minute at which the breaker trips. */
  readonly opensPerMinuteMax: number;
  /** Argon2id hashes at once. */
  readonly cores: number;
  readonly backups: BackupFolder;
  /** age recipients to whom cold backup keys are sealed. */
  readonly officers: readonly string[];
}

export interface RunningEnclave extends Enclave {
  /** Stops the ticks; databases and root keys are the caller's to close. */
  stop(): void;
  /** Writes down which openings were charged in advance and not used; before a clean stop. */
  giveBackOpens(): Promise<void>;
}

/** Opens or makes the sealed state. A state that can't be believed gives an enclave that is sealed, not an error. */
export async function createEnclave(deps: EnclaveDeps): Promise<RunningEnclave> {
  const finding = await SealedState.open({
    db: deps.db,
    mirror: deps.mirror,
    fence: deps.fence,
    rootKeys: deps.rootKeys,
    random: deps.random,
  });
  try {
    return await createFrom(deps, finding);
  } catch (error) {
    if (finding.doubt === null || !(error instanceof KedgeError)) throw error;
    return createDamaged(deps, `${finding.doubt}; it does not open and must be restored from a backup`);
  }
}

async function createFrom(deps: EnclaveDeps, { state, doubt }: Finding): Promise<RunningEnclave> {
  const { db, rootKeys, clock, random, operators } = deps;
  state.takeOver();
  const time = await ServiceTime.load(clock, state);
  const serverKeys = await ServerKeys.load(rootKeys, state, time);
  const accounts = await Accounts.load(state, time);
  const wallets = createSealedWallets({ db, rootKeys, serverKeys, random });
  const keyParts = { db, rootKeys, serverKeys, random, officers: deps.officers };
  const backupKeys = createBackupKeys({ kind: 'backup-key', ...keyParts });
  const ownKeys = createBackupKeys({ kind: 'encryption-key', ...keyParts });
  const encryptionKeys = createEncryptionKeys(ownKeys);
  const words = new WordsHasher(rootKeys, deps.cores);
  const limits = new OpenLimits(clock, deps.opensPerMinuteMax);
  const boot = random(16);
  const proofs = new ProofChecker(clock, boot);
  const sealingKey = await createSealingKey(random);
  const identity = await rootKeys.identity();
  const capabilities = await rootKeys.capabilities();
  const sealedKey = await state.key('sealed');
  const ledgerKey = await state.key('ledger');

  let sealed = doubt ?? (await readText(state, sealedKey));
  let ledger = decodeHead(await state.read(ledgerKey));

  const facts = (): TimeFacts => ({
    serviceMs: Math.floor(time.nowMs()),
    wallMs: Math.floor(clock.wallMs()),
    chainMs: null,
  });
  const at = () => new Date(clock.wallMs()).toISOString();
  const voteChecker = createVoteChecker(rootKeys, proofs);
  const lists = await ApproverLists.load(state, voteChecker, facts);
  const recoveries = new Recoveries(state, lists, voteChecker, facts);
  const gate = createReleaseGate({ rootKeys, recoveries, backupKeys, encryptionKeys, sealingKey, random, at });
  /** A receipt for one act of a user: it names the proof, so that it can't pass for another time the same was done. */
  const userReceipt = (
    { document }: Proof,
    call: { readonly project: string; readonly user: string },
    data: Readonly<Record<string, unknown>> = {},
  ) =>
    receipt(document.act, { project: call.project, user: call.user, proof: toBase64Url(proofHash(document)), ...data });
  const receipt = (act: string, data: Readonly<Record<string, unknown>>) =>
    signDocument(rootKeys, 'receipt', { act, at: at(), boot: toBase64Url(boot), sequence: state.sequence, ...data });
  const sealWith = async (reason: string) => {
    sealed = reason;
    await state.write([{ key: sealedKey, value: encodeCbor(reason) }]);
  };
  const refuseSealed = () => {
    if (sealed !== null) throw new KedgeError('enclave_sealed', `The enclave is sealed: ${sealed}.`);
  };
  const checkUser = async (
    call: { project: string; user: string; proof: string },
    act: Act | readonly Act[],
    parameters: Expected['parameters'],
  ) => {
    const account = await accounts.get(call.project, call.user);
    return {
      proof: proofs.check(call.proof, { act, subject: userSubject(call.project, call.user), parameters }, account.keys),
    };
  };
  const checkOperator = (text: string, act: Act, parameters: Expected['parameters'] = {}): string => {
    const proof = proofs.check(text, { act, subject: null, parameters }, [...operators.values()]);
    const named = operators.get(proof.document.subject);
    if (!named || !sameKey(named, proof.key))
      throw new KedgeError('proof_invalid', 'The key of this proof is not that operator’s.');
    return proof.document.subject;
  };
  const checkTwoOperators = (texts: readonly string[], act: Act, parameters: Expected['parameters'] = {}): string[] => {
    if (texts.length !== 2) throw new KedgeError('two_operators_needed');
    const names = texts.map((text) => checkOperator(text, act, parameters));
    if (names[0] === names[1]) throw new KedgeError('two_operators_needed');
    return names;
  };
  /** What a client sealed about its words: bound to the act and to the client's key, so that nobody else can present it. */
  const openWords = async (sealedRecovery: Uint8Array, act: 'sign_up' | 'recover' | 'replace_words', key: ProofKey) => {
    const aad = encodeCbor({ algorithm: key.algorithm, public_key: key.publicKey });
    const value = decodeCbor(await sealingKey.open(sealedRecovery, recoveryInfo(act), aad)) as {
      readonly [name: string]: CborValue;
    };
    const { recovery_secret: recoverySecret, second_wrap: secondWrap } = value;
    if (
      !(recoverySecret instanceof Uint8Array) ||
      recoverySecret.length !== 32 ||
      !(secondWrap instanceof Uint8Array) ||
      secondWrap.length > 256
    ) {
      throw new KedgeError('request_invalid', 'The sealed message about the words is not of the right form.');
    }
    return { recoverySecret, secondWrap };
  };
  const countByVersion = async () => {
    const counts = new Map(await wallets.countByVersion());
    for (const [version, count] of await backupKeys.countByVersion())
      counts.set(version, (counts.get(version) ?? 0) + count);
    return counts;
  };
  const sealedHash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

  /** Each method in this object runs only while the enclave is unsealed. */
  const guarded: Omit<Enclave, 'status' | 'attestation' | 'operatorSignIn' | 'acceptRestore'> = {
    async signUp({ project, user, proof: text, sealedRecovery }) {
      const proof = proofs.check(
        text,
        { act: 'sign_up', subject: null, parameters: { sealed_recovery: sealedHash(sealedRecovery) } },
        null,
      );
      const { recoverySecret, secondWrap } = await openWords(sealedRecovery, 'sign_up', proof.key);
      const salt = random(16);
      await accounts.change(project, user, async (existing) => {
        const account = existing ?? {
          salt,
          fingerprint: null,
          secondWrap,
          keys: [proof.key],
          tries: [],
          opens: { dayStartMs: 0, charged: 0 },
        };
        const fingerprint = await words.fingerprint(project, user, account.salt, recoverySecret);
        const same =
          existing?.fingerprint &&
          equalBytes(existing.fingerprint, fingerprint) &&
          existing.keys.some((key) => sameKey(key, proof.key));
        if (existing && !same) throw new KedgeError('conflict', 'That account exists already.');
        return { next: existing ? null : { ...account, fingerprint }, result: undefined };
      });
      recoverySecret.fill(0);
      const clientSecret = await wallets.createClientSecret(project, user);
      return {
        clientSecret,
        serverKey: versionOf(clientSecret), // not the active one: a rotation may have begun since it was wrapped
        receipt: await userReceipt(proof, { project, user }, { client_key: keyText(proof.key) }),
      };
    },

    async recover({ project, user, proof: text, sealedRecovery }) {
      const proof = proofs.check(
        text,
        { act: 'recover', subject: null, parameters: { sealed_recovery: sealedHash(sealedRecovery) } },
        null,
      );
      const { secondWrap } = await accounts.guess(project, user, async (account) => {
        const { recoverySecret } = await openWords(sealedRecovery, 'recover', proof.key);
        const fingerprint = await words.fingerprint(project, user, account.salt, recoverySecret);
        recoverySecret.fill(0);
        const right = account.fingerprint !== null && equalBytes(fingerprint, account.fingerprint);
        return right ? { ...account, keys: [proof.key] } : null;
      });
      return { secondWrap, receipt: await userReceipt(proof, { project, user }, { client_key: keyText(proof.key) }) };
    },

    async replaceWords({ project, user, proof: text, sealedRecovery }) {
      const { proof } = await checkUser({ project, user, proof: text }, 'replace_words', {
        sealed_recovery: sealedHash(sealedRecovery),
      });
      const { recoverySecret, secondWrap } = await openWords(sealedRecovery, 'replace_words', proof.key);
      const salt = random(16);
      const fingerprint = await words.fingerprint(project, user, salt, recoverySecret);
      recoverySecret.fill(0);
      await accounts.change(project, user, async (account) => ({
        next: { ...stillEnrolled(account, proof.key), salt, fingerprint, secondWrap },
        result: undefined,
      }));
      return { receipt: await userReceipt(proof, { project, user }) };
    },

    async signIn({ project, user, proof }) {
      const checked = await checkUser({ project, user, proof }, 'sign_in', {});
      return {
        receipt: await userReceipt(checked.proof, { project, user }, { client_key: keyText(checked.proof.key) }),
      };
    },

    async enrollClientKey({ project, user, proof: text }) {
      const { proof, key } = await checkKeyAct({ project, user, proof: text }, 'enroll_client_key');
      await accounts.change(project, user, async (account) => ({
        next: withKey(stillEnrolled(account, proof.key), key),
        result: undefined,
      }));
      return { receipt: await userReceipt(proof, { project, user }, { client_key: keyText(key) }) };
    },

    async revokeClientKey({ project, user, proof: text }) {
      const { proof, key } = await checkKeyAct({ project, user, proof: text }, 'revoke_client_key');
      await accounts.change(project, user, async (account) => ({
        next: withoutKey(stillEnrolled(account, proof.key), key),
        result: undefined,
      }));
      return { receipt: await userReceipt(proof, { project, user }, { client_key: keyText(key) }) };
    },

    async createWallet({ project, user, vault, wallet, curve, clientSecret, sealedKey: key, publicKey, proof }) {
      if ((key === null) !== (publicKey === null))
        throw new KedgeError('request_invalid', 'A second wrap needs both the sealed key and the public key.');
      wallets.assertCurrent(clientSecret);
      const parameters = { vault, curve, sealed_key: key === null ? null : sealedHash(key), public_key: publicKey };
      const checked = await checkUser({ project, user, proof }, 'create_wallet', parameters);
      const content = await wallets.create({ project, user, wallet }, clientSecret, () =>
        key !== null && publicKey !== null
          ? { curve: curve as Curve, publicKey, key, secondWrap: true }
          : generateWalletKey(curve),
      );
      content.key.fill(0);
      const { publicKey: made } = content;
      return {
        publicKey: made,
        serverKey: serverKeys.active,
        receipt: await userReceipt(checked.proof, { project, user }, { wallet, public_key: toBase64Url(made) }),
      };
    },

    async openWallet({ project, user, wallet, clientSecret, proof: text }) {
      wallets.assertCurrent(clientSecret);
      const { proof } = await checkUser({ project, user, proof: text }, ['open_wallet', 'export_wallet'], { wallet });
      const { answerKey } = proof.document;
      if (answerKey === null) throw new KedgeError('proof_invalid', 'The proof names no key to seal the answer to.');
      // The account's own limit first: what it refuses must not count toward the breaker that stops everybody.
      await accounts.chargeOpen(project, user);
      limits.charge(`${project}/${user}/${wallet}`);
      const content = await wallets.open({ project, user, wallet }, clientSecret);
      const plaintext = encodeCbor({ key: content.key });
      content.key.fill(0);
      const hash = proofHash(proof.document);
      const answer = sealTo(answerKey, plaintext, utf8ToBytes('kedge/answer/v1'), hash);
      plaintext.fill(0);
      return {
        answer,
        receipt: await userReceipt(proof, { project, user }, { wallet, public_key: toBase64Url(content.publicKey) }),
      };
    },

    ...backupKeyMethods({ rootKeys, backupKeys, encryptionKeys, random, at, receipt }),
    ...recoveryMethods({ rootKeys, lists, recoveries, gate, receipt }),

    async startRotation({ proof }) {
      const operator = checkOperator(proof, 'rotate');
      return { receipt: await serverKeys.startRotation((version) => receipt('rotate', { operator, version })) };
    },

    async startRotationWhenDue() {
      if (!serverKeys.due) return null;
      return { receipt: await serverKeys.startRotation((version) => receipt('rotate', { operator: null, version })) };
    },

    async rotation() {
      const counts = await countByVersion();
      return {
        running: serverKeys.rotating,
        retirableInMs: serverKeys.retirableInMs,
        receipts: serverKeys.receipts,
        versions: serverKeys.versions.map((known) => ({
          version: known.version,
          state: known.state,
          wallets: counts.get(known.version) ?? 0,
          destroyableInMs: serverKeys.destroyableInMs(known),
        })),
      };
    },

    async rewrapClientSecrets({ secrets }) {
      const rewrapped: (Uint8Array | null)[] = [];
      for (const [index, { project, user, clientSecret }] of secrets.entries()) {
        if (endsStretch(index)) await yieldToCallers();
        rewrapped.push(await wallets.rewrapClientSecret(project, user, clientSecret).catch(nullIfInvalid));
      }
      return { serverKey: serverKeys.active, secrets: rewrapped };
    },

    async rewrapWallets({ limit }) {
      const first = await wallets.rewrap(limit);
      const second = await backupKeys.rewrap(Math.max(0, limit - first.rewrapped));
      return { rewrapped: first.rewrapped + second.rewrapped, left: first.left + second.left };
    },

    async finishRotation() {
      const counts = await countByVersion();
      if ([...counts.keys()].some((version) => version !== serverKeys.active)) {
        throw new KedgeError(
          'rotation_running',
          'Some wallets or backup keys are still wrapped under the old version.',
        );
      }
      const version = serverKeys.active;
      return { receipt: await serverKeys.retire((retired) => receipt('finish_rotation', { version, retired })) };
    },

    async destroyServerKey({ version, proofs: texts }) {
      const by = checkTwoOperators(texts, 'destroy_server_key', { version });
      return {
        receipt: await serverKeys.destroy(version, () => receipt('destroy_server_key', { operators: by, version })),
      };
    },

    compact: () => db.compact(['state', 'wallets', 'backup_keys']),

    async checkLedger(held) {
      if (ledger === null) return;
      if (held !== null && held.seq === ledger.seq && equalBytes(held.hash, ledger.hash)) return;
      await sealWith(
        `the primary database does not hold event ${ledger.seq} as it was signed: it is older than the enclave remembers`,
      );
      refuseSealed();
    },

    async signHead({ seq, hash, bodyHashes }) {
      // Without a last head, as at the start and after an accepted restore, the chain is checked from its first event.
      const from = ledger ?? { seq: 0, hash: null };
      let linked: Uint8Array | null = from.hash;
      bodyHashes.forEach((bodyHash, index) => {
        linked = linkBodyHash(linked, from.seq + index + 1, bodyHash);
      });
      const extendsIt = from.seq + bodyHashes.length === seq && linked !== null && equalBytes(linked, hash);
      if (!extendsIt) throw new KedgeError('conflict', 'This head does not extend the last one that was signed.');
      await state.write([{ key: ledgerKey, value: encodeCbor({ seq, hash }) }]);
      ledger = { seq, hash };
      return { signature: await rootKeys.sign(headMessage({ seq, hash })) };
    },

    mirror: () =>
      signDocument(rootKeys, 'mirror', { sequence: state.sequence, root: toBase64Url(state.root), at: at() }),

    async checkMirror({ mirror }) {
      const content = readSigned(identity, 'mirror', mirror);
      if (content === null)
        throw new KedgeError('request_invalid', 'The mirror in the primary database is not signed by this enclave.');
      const sequence = Number(content.sequence);
      const sameWrite = sequence === state.sequence && content.root === toBase64Url(state.root);
      if (sequence < state.sequence || sameWrite) return;
      await sealWith(
        `the enclave state is at write ${state.sequence}, but the primary database remembers write ${content.sequence}`,
      );
      refuseSealed();
    },

    async backUp({ proof, name, primary, sealedPassphrase }) {
      const operator = checkOperator(proof, 'back_up', {
        sealed_passphrase: sealedPassphrase === null ? null : sealedHash(sealedPassphrase),
      });
      const passphrase =
        sealedPassphrase &&
        (await sealingKey.open(sealedPassphrase, utf8ToBytes('kedge/backup-passphrase/v1'), new Uint8Array()));
      const content = await writeBackup({
        db,
        rootKeys,
        folder: deps.backups,
        name,
        primary,
        passphrase,
        sequence: state.sequence,
        at: at(),
      });
      passphrase?.fill(0);
      // The dump of the client secrets is older than ours: what they are under must not have been retired in between.
      if (!primary.serverKeys.every((version) => serverKeys.opens(version))) throw new KedgeError('backup_blocked');
      const manifest = await signDocument(rootKeys, 'backup-manifest', content);
      await deps.backups.write(name, 'manifest.json', encodeManifest(manifest));
      return { manifest, receipt: await receipt('back_up', { operator, name }) };
    },
  };

  async function checkKeyAct(
    call: { project: string; user: string; proof: string },
    act: 'enroll_client_key' | 'revoke_client_key',
  ) {
    const key = keyParameter(call.proof);
    const { proof } = await checkUser(call, act, { algorithm: key.algorithm, public_key: key.publicKey });
    return { proof, key };
  }

  const giveBackOpens = async () => {
    if (sealed === null) await accounts.giveBackOpens(() => clock.monotonicMs());
  };
  const stopTicks = clock.every(TICK_MS, () => time.tick().catch(() => undefined)); // a tick that fails is made up by the next
  const unguarded: Pick<Enclave, 'status' | 'attestation' | 'operatorSignIn' | 'acceptRestore'> = {
    async status() {
      return {
        sealed,
        rootKeys: rootKeys.kind,
        writer: true,
        boot,
        sequence: state.sequence,
        ledger,
        opens: { lastMinute: limits.lastMinute(), limit: limits.limit },
        capabilities,
      };
    },
    attestation: () =>
      signDocument(rootKeys, 'attestation', {
        identity: p256Jwk(identity),
        sealing_key: toBase64Url(sealingKey.publicKey),
        boot: toBase64Url(boot),
        root_keys: rootKeys.kind,
        at: at(),
      }),
    operatorSignIn: async ({ proof }) => ({ operator: checkOperator(proof, 'operator_sign_in') }),
    async acceptRestore({ proofs: texts }) {
      const by = checkTwoOperators(texts, 'accept_restore');
      if (sealed === null) throw new KedgeError('conflict', 'The enclave is not sealed.');
      const reason = sealed;
      const cancelling = await lists.restoreChange();
      await accounts.acceptRestore([
        { key: sealedKey, value: null },
        { key: ledgerKey, value: null },
        cancelling.change,
      ]);
      cancelling.done();
      ledger = null;
      sealed = null;
      return { receipt: await receipt('accept_restore', { operators: by, reason }) };
    },
  };

  return { ...checked(guarded, refuseSealed), ...checked(unguarded, () => undefined), stop: stopTicks, giveBackOpens };
}

/** An enclave over a state that does not open: it says so and does nothing else. */
async function createDamaged({ rootKeys, random }: EnclaveDeps, reason: string): Promise<RunningEnclave> {
  const boot = random(16);
  const capabilities = await rootKeys.capabilities();
  const refuse = () => Promise.reject(new KedgeError('enclave_sealed', `The enclave is sealed: ${reason}.`));
  const refusing = Object.fromEntries(wireMethods.map((method) => [method, refuse])) as unknown as Enclave;
  return {
    ...refusing,
    status: async () => ({
      sealed: reason,
      rootKeys: rootKeys.kind,
      writer: true,
      boot,
      sequence: 0,
      ledger: null,
      opens: { lastMinute: 0, limit: 0 },
      capabilities,
    }),
    stop: () => undefined,
    giveBackOpens: async () => undefined,
  };
}

/** Every method first looks at the form of its parameters, then refuses if it must. */
function checked<T extends object>(methods: T, refuse: () => void): T {
  const wrapped = Object.entries(methods).map(([name, method]) => [
    name,
    async (call: unknown) => {
      assertParameters(name, call);
      refuse();
      return (method as (call: unknown) => unknown)(call);
    },
  ]);
  return Object.fromEntries(wrapped) as T;
}

/** The account may have been recovered by somebody between the check and the change. */
function stillEnrolled(account: Account | null, key: ProofKey): Account {
  if (!account?.keys.some((enrolled) => sameKey(enrolled, key)))
    throw new KedgeError('proof_invalid', 'The key of this proof is not enrolled.');
  return account;
}

/** The key that an enrolling or revoking proof is about. */
function keyParameter(text: string): ProofKey {
  const { algorithm, public_key: publicKey } = decodeProof(text).document.parameters;
  if (
    (algorithm !== 'p256' && algorithm !== 'ed25519') ||
    !(publicKey instanceof Uint8Array) ||
    publicKey.length !== (algorithm === 'p256' ? 65 : 32)
  ) {
    throw new KedgeError('proof_invalid', 'The proof names no client key.');
  }
  return { algorithm, publicKey };
}

function keyText({ algorithm, publicKey }: ProofKey): string {
  return `${algorithm}:${toBase64Url(publicKey)}`;
}

function nullIfInvalid(error: unknown): null {
  if (error instanceof KedgeError && error.code === 'sealed_data_invalid') return null;
  throw error;
}

async function readText(state: SealedState, key: Uint8Array): Promise<string | null> {
  const value = await state.read(key);
  return value === null ? null : String(decodeCbor(value));
}

function decodeHead(value: Uint8Array | null): { seq: number; hash: Uint8Array } | null {
  return value === null ? null : (decodeCbor(value) as { seq: number; hash: Uint8Array });
}
