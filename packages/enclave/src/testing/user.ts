/** A user who talks to the enclave directly, as a hostile gateway or a test would; proofs made with node:crypto. */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, randomUUID, sign } from 'node:crypto';
import {
  type Act,
  type CborValue,
  createSealingKey,
  decodeCbor,
  encodeCbor,
  encodeProof,
  fromBase64Url,
  type ProofDocument,
  type ProofKey,
  proofHash,
  proofMessage,
  recoveryInfo,
  sealTo,
  userSubject,
  utf8ToBytes,
} from '@kedge/core';
import type { TestEnclave } from './in-process.ts';

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
  readonly lifetimeMs?: number;
}

/** What an act signed by `key` looks like for the enclave as it runs now. */
export async function proveFor(
  opened: TestEnclave,
  key: TestKey,
  request: TestProof,
): Promise<{ text: string; hash: Uint8Array }> {
  const { boot } = await opened.enclave.status();
  const document: ProofDocument = {
    act: request.act,
    subject: request.subject,
    parameters: request.parameters ?? {},
    answerKey: request.answerKey ?? null,
    nonce: new Uint8Array(randomBytes(16)),
    boot,
    expiresAtMs: opened.clock.wallMs() + (request.lifetimeMs ?? 50_000),
  };
  const signature = new Uint8Array(sign(null, proofMessage(document), key.privateKey));
  return {
    text: encodeProof({ document, key: { algorithm: key.algorithm, publicKey: key.publicKey }, signature }),
    hash: proofHash(document),
  };
}

export interface TestUser {
  readonly user: string;
  /** Signs all proofs; after a recovery, the key that recovered. */
  key: TestKey;
  clientSecret: Uint8Array;
  recoverySecret: Uint8Array;
  signUp(): Promise<unknown>;
  prove(request: Omit<TestProof, 'subject'>): Promise<{ text: string; hash: Uint8Array }>;
  signIn(): Promise<unknown>;
  enrollAnother(other?: TestKey): Promise<unknown>;
  recover(secret: Uint8Array, by?: TestKey): Promise<unknown>;
  replaceWords(secret: Uint8Array): Promise<unknown>;
  guessWrong(): Promise<unknown>;
  /** Wrong words for whatever account the gateway names. */
  recoverAs(account: string): Promise<string>;
  createWallet(curve?: 'secp256k1' | 'ed25519', wallet?: string): Promise<{ wallet: string; publicKey: Uint8Array }>;
  openWallet(wallet: string, clientSecret?: Uint8Array): Promise<Uint8Array>;
}

/** A user who has signed up. */
export async function createTestUser(opened: TestEnclave, project: string): Promise<TestUser> {
  const user = newTestUser(opened, project);
  await user.signUp();
  return user;
}

/** A user who has not signed up yet. `clientSecret` is what the primary database would hold. */
export function newTestUser(opened: TestEnclave, project: string): TestUser {
  const user = randomUUID();

  const sealWords = async (act: 'sign_up' | 'recover' | 'replace_words', by: TestKey, secret: Uint8Array) => {
    const document = new TextDecoder().decode((await opened.enclave.attestation()).document);
    const sealingKey = fromBase64Url((JSON.parse(document) as { sealing_key: string }).sealing_key);
    const aad = encodeCbor({ algorithm: by.algorithm, public_key: by.publicKey });
    const sealedRecovery = await sealTo(
      sealingKey,
      encodeCbor({ recovery_secret: secret, second_wrap: new Uint8Array(60) }),
      recoveryInfo(act),
      aad,
    );
    const parameters = { sealed_recovery: new Uint8Array(createHash('sha256').update(sealedRecovery).digest()) };
    return {
      sealedRecovery,
      proof: (await proveFor(opened, by, { act, subject: userSubject(project, user), parameters })).text,
    };
  };

  const self: TestUser = {
    user,
    key: createTestKey(),
    clientSecret: new Uint8Array(),
    recoverySecret: new Uint8Array(randomBytes(32)),
    async signUp() {
      const { clientSecret } = await opened.enclave.signUp({
        project,
        user,
        ...(await sealWords('sign_up', self.key, self.recoverySecret)),
      });
      self.clientSecret = clientSecret;
    },
    prove: (request: Omit<TestProof, 'subject'>) =>
      proveFor(opened, self.key, { ...request, subject: userSubject(project, user) }),
    async signIn() {
      return opened.enclave.signIn({ project, user, proof: (await self.prove({ act: 'sign_in' })).text });
    },
    async enrollAnother(other: TestKey = createTestKey()) {
      const parameters = { algorithm: other.algorithm, public_key: other.publicKey };
      return opened.enclave.enrollClientKey({
        project,
        user,
        proof: (await self.prove({ act: 'enroll_client_key', parameters })).text,
      });
    },
    async recover(secret: Uint8Array, by: TestKey = createTestKey()) {
      return opened.enclave.recover({ project, user, ...(await sealWords('recover', by, secret)) });
    },
    async recoverAs(account) {
      await opened.enclave.recover({
        project,
        user: account,
        ...(await sealWords('recover', createTestKey(), new Uint8Array(32))),
      });
      return 'recovered';
    },
    async replaceWords(secret) {
      return opened.enclave.replaceWords({ project, user, ...(await sealWords('replace_words', self.key, secret)) });
    },
    guessWrong: () => self.recover(new Uint8Array(randomBytes(32))),
    async createWallet(curve: 'secp256k1' | 'ed25519' = 'secp256k1', wallet: string = randomUUID()) {
      const vault = randomUUID();
      const { text: proof } = await self.prove({
        act: 'create_wallet',
        parameters: { vault, curve, sealed_key: null, public_key: null },
      });
      const made = await opened.enclave.createWallet({
        project,
        user,
        vault,
        wallet,
        curve,
        clientSecret: self.clientSecret,
        sealedKey: null,
        publicKey: null,
        proof,
      });
      return { wallet, publicKey: made.publicKey };
    },
    async openWallet(wallet: string, clientSecret: Uint8Array = self.clientSecret) {
      const answerKey = await createSealingKey((length) => new Uint8Array(randomBytes(length)));
      const { text: proof, hash } = await self.prove({
        act: 'open_wallet',
        parameters: { wallet },
        answerKey: answerKey.publicKey,
      });
      const { answer } = await opened.enclave.openWallet({ project, user, wallet, clientSecret, proof });
      return (decodeCbor(await answerKey.open(answer, utf8ToBytes('kedge/answer/v1'), hash)) as { key: Uint8Array })
        .key;
    },
  };
  return self;
}
