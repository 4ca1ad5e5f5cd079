/**
 * A whole gateway inside a test: real database, real enclave, driven clock, requests through `app.inject`. And people
 * who use it: operators, and users with a client key and words, who make their proofs as a device would. Tests of this
 * package share it; no shipped entry imports it.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, randomUUID, sign } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Chain, createEvm } from '@kedge/chains';
import {
  type Act,
  type CborValue,
  type Clock,
  createSealingKey,
  decodeCbor,
  type Endpoint,
  type EndpointName,
  encodeCbor,
  encodeProof,
  endpoints,
  fromBase64Url,
  type ProofDocument,
  type ProofKey,
  proofHash,
  proofMessage,
  type ResponseOf,
  recoveryInfo,
  sealTo,
  toBase64Url,
  userSubject,
  utf8ToBytes,
} from '@kedge/core';
import { type DrivenClock, drivenClock } from '@kedge/core/testing';
import type { Enclave } from '@kedge/enclave/client';
import { openTestEnclave, type TestEnclave } from '@kedge/enclave/testing';
import { type Database, migrate, readMigrations } from '@kedge/store';
import { memoryDatabase } from '@kedge/store/testing';
import type { Logger } from 'pino';
import { createGateway, createLog, type Gateway, type GatewayOptions, gatewayKey } from '../index.ts';
import type { TokenIssuer } from '../issuer.ts';
import type { Letter, MailTransport } from '../notify/transport.ts';

const random = (length: number) => new Uint8Array(randomBytes(length));
const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash('sha256').update(bytes).digest());

export interface TestGatewayOptions {
  readonly db?: Database;
  readonly enclave?: TestEnclave;
  /** Stands between the gateway and the enclave. */
  readonly wrapEnclave?: (enclave: Enclave) => Enclave;
  readonly wrapDatabase?: (db: Database) => Database;
  readonly chain?: Chain;
  /** Takes the letters; by default they are kept. */
  readonly mail?: MailTransport;
  readonly log?: Logger;
  readonly issuer?: (clock: Clock) => TokenIssuer;
  readonly options?: Partial<GatewayOptions>;
}

export interface TestGateway extends Gateway {
  readonly db: Database;
  readonly enclave: TestEnclave;
  readonly clock: DrivenClock;
  /** What was sent, unless the test brought its own way out. */
  readonly letters: Letter[];
  call<N extends EndpointName>(name: N, request?: TestRequest): Promise<Answer<ResponseOf<N>>>;
  /** Like `call`, for what must succeed. */
  get<N extends EndpointName>(name: N, request?: TestRequest): Promise<ResponseOf<N>>;
  prove(key: TestKey, request: TestProof): Promise<string>;
  /** Events by type, oldest first, whether chained or not. */
  events(): Promise<{ type: string; user: string | null; data: Record<string, unknown> }[]>;
  close(): Promise<void>;
}

export interface TestRequest {
  /** A token. */
  readonly as?: string | undefined;
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly proof?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer<T> {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: T;
  /** The code of a problem. */
  readonly code: string | undefined;
}

/** Operators that the test enclave knows. */
export const ada = createTestKey();
export const ben = createTestKey();

/** Limits that no test meets unless it sets its own. */
const noLimits = {
  perAddressPerMinute: 1e9,
  perPrincipalPerMinute: 1e9,
  recoveriesPerAddressPerHour: 1e9,
  signUpsPerAddressPerHour: 1e9,
  votesAskedPerProjectPerHour: 1e9,
};

export async function createTestGateway(given: TestGatewayOptions = {}): Promise<TestGateway> {
  const clock = (given.enclave?.clock as DrivenClock | undefined) ?? drivenClock();
  const enclave =
    given.enclave ??
    (await openTestEnclave({
      clock,
      operators: new Map([
        ['ada', ada],
        ['ben', ben],
      ]),
    }));
  const db = given.db ?? (await migratedDatabase());
  const letters: Letter[] = [];
  const gateway = await createGateway({
    db: given.wrapDatabase?.(db) ?? db,
    // The enclave of the moment: a test may restart it.
    enclave: given.wrapEnclave?.(current(enclave)) ?? current(enclave),
    chains: {
      evm:
        given.chain ??
        createEvm({
          urls: ['http://node.invalid'],
          chainId: 31_337,
          rounds: 1,
          fetch: () => Promise.reject(new TypeError('no node in this test')),
        }),
    },
    clock,
    random,
    log: given.log ?? createLog('silent'),
    key: gatewayKey(new Uint8Array(32).fill(7), random),
    issuer: given.issuer?.(clock) ?? null,
    mail: given.mail ?? {
      async send(letter) {
        letters.push(letter);
        return 'accepted';
      },
      close() {},
    },
    options: {
      name: 'test',
      url: 'http://127.0.0.1:8420',
      backups: enclave.backups ?? mkdtempSync(join(tmpdir(), 'kedge-backups-')),
      confirmations: 2,
      rotationBatch: 1_000,
      limits: noLimits,
      requestMsMax: 15_000,
      ...given.options,
    },
  });
  const call = async <N extends EndpointName>(name: N, request: TestRequest = {}): Promise<Answer<ResponseOf<N>>> => {
    const endpoint: Endpoint = endpoints[name];
    const response = await gateway.app.inject({
      method: endpoint.method,
      url: endpoint.path.replace(/\{(\w+)\}/g, (_, key: string) =>
        encodeURIComponent(request.params?.[key] ?? randomUUID()),
      ),
      ...(request.query ? { query: { ...request.query } } : {}),
      headers: {
        ...(request.as === undefined ? {} : { authorization: `Bearer ${request.as}` }),
        ...(request.proof === undefined ? {} : { 'kedge-proof': request.proof }),
        ...request.headers,
      },
      ...(request.body === undefined ? {} : { payload: request.body as object }),
    });
    const body = response.body === '' ? null : response.json();
    return { status: response.statusCode, headers: response.headers, body, code: body?.code };
  };
  return {
    ...gateway,
    db,
    enclave,
    clock,
    letters,
    call,
    async get(name, request) {
      const answer = await call(name, request);
      if (answer.status >= 300) throw new Error(`${name} answered ${answer.status} ${JSON.stringify(answer.body)}`);
      return answer.body;
    },
    async prove(key, request) {
      const { boot } = await enclave.enclave.status();
      return proofText(key, request, boot, clock.wallMs()).text;
    },
    async events() {
      const rows = await db.query<{ body: string }>('select body from events order by added_at, id');
      return rows.map(({ body }) => JSON.parse(body));
    },
    async close() {
      await gateway.stop();
      if (!given.enclave) enclave.enclave.stop();
      if (!given.db) await db.close();
      if (!given.enclave) await enclave.db.close();
    },
  };
}

export async function migratedDatabase(): Promise<Database> {
  const db = await memoryDatabase();
  await migrateForTest(db);
  return db;
}

export async function migrateForTest(db: Database): Promise<void> {
  const migrations = await readMigrations(new URL('../migrations/', import.meta.url));
  await migrate(db, { migrations, appVersion: '0.1.0' });
}

function current(test: TestEnclave): Enclave {
  return new Proxy({} as Enclave, { get: (_, method) => Reflect.get(test.enclave, method) });
}

// ── proofs ───────────────────────────────────────────────────────────────────────────────────────────────────────

export interface TestKey extends ProofKey {
  readonly privateKey: KeyObject;
}

export function createTestKey(): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { algorithm: 'ed25519', publicKey: fromBase64Url(publicKey.export({ format: 'jwk' }).x!), privateKey };
}

export interface TestProof {
  readonly act: Act;
  readonly subject: string;
  readonly parameters?: { readonly [name: string]: CborValue };
  readonly answerKey?: Uint8Array;
}

export function proofText(
  key: TestKey,
  { act, subject, parameters = {}, answerKey }: TestProof,
  boot: Uint8Array,
  nowMs: number,
) {
  const document: ProofDocument = {
    act,
    subject,
    parameters,
    answerKey: answerKey ?? null,
    nonce: random(16),
    boot,
    expiresAtMs: nowMs + 50_000,
  };
  const signature = new Uint8Array(sign(null, proofMessage(document), key.privateKey));
  return {
    text: encodeProof({ document, key: { algorithm: key.algorithm, publicKey: key.publicKey }, signature }),
    hash: proofHash(document),
  };
}

// ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────

export async function signInOperator(gateway: TestGateway, name: 'ada' | 'ben' = 'ada'): Promise<string> {
  const proof = await gateway.prove(name === 'ada' ? ada : ben, { act: 'operator_sign_in', subject: name });
  return (await gateway.get('createOperatorSession', { proof })).token;
}

export interface TestProject {
  readonly id: string;
  readonly operator: string;
  readonly secretKey: string;
  readonly publishableKey: string;
}

export async function createTestProject(gateway: TestGateway): Promise<TestProject> {
  const operator = await signInOperator(gateway);
  const { id } = await gateway.get('createProject', { as: operator, body: { name: 'test', environment: 'sandbox' } });
  const keyOf = async (kind: string) =>
    (await gateway.get('createApiKey', { as: operator, params: { project_id: id }, body: { kind, label: 'test' } }))
      .key;
  return { id, operator, secretKey: await keyOf('secret'), publishableKey: await keyOf('publishable') };
}

/** A message about words that only the enclave opens, and the proof that goes with it. */
export async function sealWords(
  gateway: TestGateway,
  act: 'sign_up' | 'recover' | 'replace_words',
  who: { subject: string; key: TestKey; words: Uint8Array },
) {
  const attestation = JSON.parse(new TextDecoder().decode((await gateway.enclave.enclave.attestation()).document)) as {
    sealing_key: string;
  };
  const aad = encodeCbor({ algorithm: who.key.algorithm, public_key: who.key.publicKey });
  const message = encodeCbor({ recovery_secret: who.words, second_wrap: new Uint8Array(60) });
  const sealed = await sealTo(fromBase64Url(attestation.sealing_key), message, recoveryInfo(act), aad);
  const prove = () =>
    gateway.prove(who.key, { act, subject: who.subject, parameters: { sealed_recovery: sha256(sealed) } });
  return { sealed_recovery: toBase64Url(sealed), prove };
}

export interface TestUser {
  readonly id: string;
  readonly key: TestKey;
  readonly words: Uint8Array;
  readonly session: string;
  readonly clientKey: string;
  prove(act: Act, parameters?: TestProof['parameters'], answerKey?: Uint8Array): Promise<string>;
  createVault(): Promise<string>;
  createWallet(vault: string): Promise<ResponseOf<'createWallet'>['wallet']>;
  /** The wallet's secret key. */
  openWallet(wallet: string, act?: 'open_wallet' | 'export_wallet'): Promise<Uint8Array>;
}

export async function createTestUser(
  gateway: TestGateway,
  project: TestProject,
  names: { email?: string; external_id?: string } = {},
): Promise<TestUser> {
  const key = createTestKey();
  const words = random(32);
  const { sealed_recovery, prove } = await sealWords(gateway, 'sign_up', { subject: '', key, words });
  const made = await gateway.get('createUser', {
    as: project.publishableKey,
    body: { ...names, sealed_recovery },
    proof: await prove(),
  });
  const id = made.user.id;
  const session = made.session.token;
  const user: TestUser = {
    id,
    key,
    words,
    session,
    clientKey: made.client_key.id,
    prove: (act, parameters = {}, answerKey) =>
      gateway.prove(key, {
        act,
        subject: userSubject(project.id, id),
        parameters,
        ...(answerKey ? { answerKey } : {}),
      }),
    createVault: async () =>
      (await gateway.get('createVault', { as: session, body: { scheme: 'dual-secret', label: 'savings' } })).id,
    async createWallet(vault) {
      const proof = await user.prove('create_wallet', createWalletParameters(vault));
      return (
        await gateway.get('createWallet', { as: session, params: { vault_id: vault }, body: { chain: 'evm' }, proof })
      ).wallet;
    },
    async openWallet(wallet, act = 'open_wallet') {
      const answerKey = await createSealingKey(random);
      const { boot } = await gateway.enclave.enclave.status();
      const { text, hash } = proofText(
        key,
        { act, subject: userSubject(project.id, id), parameters: { wallet }, answerKey: answerKey.publicKey },
        boot,
        gateway.clock.wallMs(),
      );
      const name = act === 'open_wallet' ? 'openWallet' : 'exportWallet';
      const { answer } = await gateway.get(name, { as: session, params: { wallet_id: wallet }, proof: text });
      const opened = decodeCbor(await answerKey.open(fromBase64Url(answer), utf8ToBytes('kedge/answer/v1'), hash)) as {
        key: Uint8Array;
      };
      return opened.key;
    },
  };
  return user;
}

export function createWalletParameters(vault: string): NonNullable<TestProof['parameters']> {
  return { vault, curve: 'secp256k1', sealed_key: null, public_key: null };
}
