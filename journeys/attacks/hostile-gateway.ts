/**
 * The attacker's own program in the place of the gateway: it holds the enclave's socket, both databases, and a proof
 * that it saw going by. It calls everything the wire offers with what it has, and should get nothing.
 */
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import {
  type Act,
  type CborValue,
  createSealingKey,
  encodeCbor,
  encodeProof,
  fromBase64Url,
  type ProofKey,
  proofMessage,
  recoveryInfo,
  sealTo,
  userSubject,
} from '@kedge/core';
import { connectEnclave, type Enclave } from '@kedge/enclave/client';
import type { World } from '../harness/world.ts';
import { readDump } from './loot.ts';

export interface HostileResult {
  readonly opened: number;
  /** Each call with the code it was refused with. */
  readonly refused: readonly { readonly call: string; readonly code: string }[];
}

export async function runGateway(
  world: World,
  { folder, user, wallet, seenProof }: { folder: string; user: string; wallet: string; seenProof: string },
): Promise<HostileResult> {
  const loot = await readDump(world, folder);
  const victim = loot.primary.find((row) => row.table === 'users' && row.row.id === user)!.row;
  const stranger = loot.primary.find((row) => row.table === 'users' && row.row.id !== user)!.row;
  const project = String(victim.project);
  const clientSecret = victim.client_secret as Uint8Array;
  const { enclave, close } = connectEnclave({ socket: world.home.file('run', 'enclave.sock') });
  const own = await createForger(enclave);
  const sealedRecovery = await own.sealWords('recover');
  const sealedHash = new Uint8Array(createHash('sha256').update(sealedRecovery).digest());
  const signUpWords = await own.sealWords('sign_up');
  const signUpHash = new Uint8Array(createHash('sha256').update(signUpWords).digest());
  const replaceWords = await own.sealWords('replace_words');
  const key = { algorithm: own.key.algorithm, public_key: own.key.publicKey };

  const calls: Record<string, () => Promise<unknown>> = {
    'open with a forged proof': async () =>
      enclave.openWallet({
        project,
        user,
        wallet,
        clientSecret,
        proof: await own.prove('open_wallet', userSubject(project, user), { wallet }),
      }),
    'open with no proof': () => enclave.openWallet({ project, user, wallet, clientSecret, proof: '' }),
    'open with a proof that was used': () =>
      enclave.openWallet({ project, user, wallet, clientSecret, proof: seenProof }),
    'open for the stranger with a proof of the victim': () =>
      enclave.openWallet({
        project,
        user: String(stranger.id),
        wallet,
        clientSecret: stranger.client_secret as Uint8Array,
        proof: seenProof,
      }),
    'sign up over the victim': async () =>
      enclave.signUp({
        project,
        user,
        sealedRecovery: signUpWords,
        proof: await own.prove('sign_up', '', { sealed_recovery: signUpHash }),
      }),
    'recover with a guess': async () =>
      enclave.recover({
        project,
        user,
        sealedRecovery,
        proof: await own.prove('recover', user, { sealed_recovery: sealedHash }),
      }),
    'replace the words': async () =>
      enclave.replaceWords({
        project,
        user,
        sealedRecovery: replaceWords,
        proof: await own.prove('replace_words', userSubject(project, user), {
          sealed_recovery: new Uint8Array(createHash('sha256').update(replaceWords).digest()),
        }),
      }),
    'enrol a key of its own': async () =>
      enclave.enrollClientKey({
        project,
        user,
        proof: await own.prove('enroll_client_key', userSubject(project, user), key),
      }),
    'revoke the key of the victim': async () =>
      enclave.revokeClientKey({
        project,
        user,
        proof: await own.prove('revoke_client_key', userSubject(project, user), key),
      }),
    'sign in as the victim': async () =>
      enclave.signIn({ project, user, proof: await own.prove('sign_in', userSubject(project, user), {}) }),
    'rotate the server key': async () => enclave.startRotation({ proof: await own.prove('rotate', 'operator-1', {}) }),
    'destroy a server key': async () =>
      enclave.destroyServerKey({
        version: 2,
        proofs: [
          await own.prove('destroy_server_key', 'operator-1', { version: 2 }),
          await own.prove('destroy_server_key', 'operator-2', { version: 2 }),
        ],
      }),
    'accept a restore': async () =>
      enclave.acceptRestore({
        proofs: [
          await own.prove('accept_restore', 'operator-1', {}),
          await own.prove('accept_restore', 'operator-2', {}),
        ],
      }),
    'take a backup with a passphrase of its own': async () =>
      enclave.backUp({
        proof: await own.prove('back_up', 'operator-1', { sealed_passphrase: null }),
        name: 'stolen',
        primary: { sha256: new Uint8Array(32), users: 0, serverKeys: [] },
        sealedPassphrase: null,
      }),
    'have another history signed': () => enclave.signHead({ seq: 1, hash: new Uint8Array(32), bodyHashes: [] }),
    'rewrap the secret of the victim for the stranger': async () => {
      const { secrets } = await enclave.rewrapClientSecrets({
        secrets: [{ project, user: String(stranger.id), clientSecret }],
      });
      if (secrets[0] === null) throw Object.assign(new Error(), { code: 'sealed_data_invalid' });
    },
  };

  const refused: { call: string; code: string }[] = [];
  let opened = 0;
  for (const [call, attempt] of Object.entries(calls)) {
    await attempt().then(
      () => {
        opened += 1;
        refused.push({ call, code: 'NOT REFUSED' });
      },
      (error: { code?: string }) => refused.push({ call, code: error.code ?? 'failed' }),
    );
  }
  close();
  return { opened, refused };
}

/** Proofs that are well made and signed by a key that nobody enrolled. */
/** A stranger’s key, and proofs by it. */
export async function createForger(enclave: Enclave): Promise<{
  key: ProofKey;
  prove(act: Act, subject: string, parameters: { readonly [name: string]: CborValue }): Promise<string>;
  sealWords(act: 'sign_up' | 'recover' | 'replace_words'): Promise<Uint8Array>;
}> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const key: ProofKey = { algorithm: 'ed25519', publicKey: fromBase64Url(publicKey.export({ format: 'jwk' }).x!) };
  const attestation = JSON.parse(new TextDecoder().decode((await enclave.attestation()).document)) as {
    sealing_key: string;
    boot: string;
  };
  const answerKey = await createSealingKey((length) => new Uint8Array(randomBytes(length)));
  return {
    key,
    async prove(act, subject, parameters) {
      const document = {
        act,
        subject,
        parameters,
        answerKey: answerKey.publicKey,
        nonce: new Uint8Array(randomBytes(16)),
        boot: fromBase64Url(attestation.boot),
        expiresAtMs: (await now(enclave)) + 40_000,
      };
      return encodeProof({ document, key, signature: new Uint8Array(sign(null, proofMessage(document), privateKey)) });
    },
    sealWords: (act) =>
      sealTo(
        fromBase64Url(attestation.sealing_key),
        encodeCbor({ recovery_secret: new Uint8Array(randomBytes(32)), second_wrap: new Uint8Array() }),
        recoveryInfo(act),
        encodeCbor({ algorithm: key.algorithm, public_key: key.publicKey }),
      ),
  };
}

/** The enclave's own idea of the time: a journey may have moved it. */
async function now(enclave: Enclave): Promise<number> {
  const { at } = JSON.parse(new TextDecoder().decode((await enclave.attestation()).document)) as { at: string };
  return Date.parse(at);
}
