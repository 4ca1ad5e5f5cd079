/**
 * An account on one device: sign up, open wallets, sign transfers, recover with the 12 words. Every answer of the
 * enclave is checked against its identity, every unsigned transaction is decoded here before it is signed, and a
 * wallet's key is in memory only while it signs. What must survive on the device is {@link DeviceState}.
 */
import { evmCodec, type Intent, type KeySignature, NATIVE_ASSET, type SigningDigest } from '@kedge/chains';
import {
  createSealingKey,
  decodeCbor,
  equalBytes,
  fromBase64Url,
  hexToBytes,
  KedgeError,
  open as openSealed,
  type ResponseOf,
  seal,
  toBase64Url,
  userSubject,
  utf8ToBytes,
} from '@kedge/core';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { type Client, randomBytes } from './client.ts';
import { type ClientKey, createClientKey } from './client-key.ts';
import { type Connection, connect, type ServiceOptions } from './connection.ts';
import type { ProofRequest } from './prove.ts';
import { createWords, nobleAead, openWrapSecret, sealWrapSecret, secretsOfWords } from './words.ts';

export type Wallet = ResponseOf<'createWallet'>['wallet'];
export type Transaction = ResponseOf<'createTransaction'>;

/** What a device keeps. */
export interface DeviceState {
  /** As the enclave said at sign-up or recovery: part of whom every proof is for. */
  readonly project: string;
  readonly userId: string;
  readonly clientKey: ClientKey;
  /** Opens the second wrap; made at sign-up, opened with the words at recovery. Null on a device that was only enrolled. */
  readonly wrapSecret: Uint8Array | null;
  readonly sessionToken: string;
}

export interface TransferRequest {
  readonly to: string;
  readonly amount: bigint;
  /** A token, by the address of its contract; the chain's own coin by default. */
  readonly asset?: string;
  readonly feeLevel?: 'slow' | 'recommended' | 'fast';
  /** The most that the fee may come to; by default a tenth of the amount of coin, but at least 0.01 of it. */
  readonly feeMax?: bigint;
}

/** 0.01 ether in wei: below this a fee needs no leave. */
const FEE_UNASKED_MAX = 10n ** 16n;

export interface Account {
  readonly device: DeviceState;
  createVault(label: string): Promise<ResponseOf<'createVault'>>;
  /** With `secondWrap` this device makes the key and seals it under the words' wrap secret before it leaves. */
  createWallet(vaultId: string, options?: { secondWrap?: boolean }): Promise<Wallet>;
  /** The wallet's secret key (32 bytes). Wipe it when done. `leaving` marks the wallet exported for ever. */
  openWallet(wallet: Wallet, options?: { leaving?: boolean }): Promise<Uint8Array>;
  /** Builds, decodes, signs and broadcasts a transfer. Amounts in the chain's smallest unit. */
  transfer(wallet: Wallet, transfer: TransferRequest): Promise<Transaction>;
  /** New words, shown once; the old ones stop. */
  replaceWords(): Promise<{ words: string }>;
  /** A session for a device whose old one has ended. */
  signIn(): Promise<void>;
  enrollClientKey(key: { algorithm: 'p256' | 'ed25519'; publicKey: Uint8Array }, label: string): Promise<void>;
  /** The client with this account's session, for everything else. */
  client(): Client;
}

/** Signs up on a new device. `words` are shown to the user once and kept nowhere. */
export async function signUp(
  service: ServiceOptions,
  who: { email?: string; externalId?: string; label?: string } = {},
): Promise<{ account: Account; words: string }> {
  const connection = connect(service);
  const clientKey = await createClientKey({ extractable: service.extractable ?? false });
  const words = createWords();
  const wrapSecret = randomBytes(32);
  const secrets = await secretsOfWords(words);
  const secondWrap = sealWrapSecret(secrets.secondWrapKey, wrapSecret);
  const made = await connection.withWords(
    'sign_up',
    clientKey,
    secrets.recoverySecret,
    secondWrap,
    (sealed, prove, patience) =>
      connection.client.call('createUser', {
        patience,
        body: {
          ...(who.email === undefined ? {} : { email: who.email }),
          ...(who.externalId === undefined ? {} : { external_id: who.externalId }),
          ...(who.label === undefined ? {} : { label: who.label }),
          sealed_recovery: sealed,
        },
        proof: prove(who.email ?? who.externalId ?? ''),
      }),
  );
  const { project } = await connection.assertReceipt(made.receipt, {
    act: 'sign_up',
    user: made.user.id,
    client_key: keyText(clientKey),
  });
  const device = { project, userId: made.user.id, clientKey, wrapSecret, sessionToken: made.session.token };
  return { account: createAccount(connection, device), words };
}

/** Recovers an account, named by id or e-mail, on a new device. Throws `KedgeError('recovery_refused' | 'recovery_limited')`. */
export async function recover(
  service: ServiceOptions,
  request: { account: string; words: string; label?: string },
): Promise<Account> {
  const connection = connect(service);
  const clientKey = await createClientKey({ extractable: service.extractable ?? false });
  const secrets = await secretsOfWords(request.words);
  const made = await connection.withWords(
    'recover',
    clientKey,
    secrets.recoverySecret,
    new Uint8Array(),
    (sealed, prove, patience) =>
      connection.client.call('createRecovery', {
        patience,
        body: {
          account: request.account,
          ...(request.label === undefined ? {} : { label: request.label }),
          sealed_recovery: sealed,
        },
        proof: prove(request.account),
      }),
  );
  const { project } = await connection.assertReceipt(made.receipt, {
    act: 'recover',
    user: made.session.user_id,
    client_key: keyText(clientKey),
  });
  const wrapSecret = openWrapSecret(secrets.secondWrapKey, fromBase64Url(made.second_wrap));
  if (wrapSecret === null) throw tampered('What the service keeps for the second wrap does not open with your words.');
  return createAccount(connection, {
    project,
    userId: made.session.user_id,
    clientKey,
    wrapSecret,
    sessionToken: made.session.token,
  });
}

/** The account of a device that was here before. */
export function resume(service: ServiceOptions, device: DeviceState): Account {
  return createAccount(connect(service), device);
}

function createAccount(connection: Connection, initial: DeviceState): Account {
  let device = initial;
  const authed = () => connection.client.as(device.sessionToken);
  const subject = () => userSubject(device.project, device.userId);
  const prove = (request: Omit<ProofRequest, 'subject'>) =>
    connection.prove(device.clientKey, { ...request, subject: subject() });
  const assertReceipt = (
    receipt: { document: string; signature: string },
    expected: Readonly<Record<string, string>>,
  ) => connection.assertReceipt(receipt, { project: device.project, user: device.userId, ...expected });

  const account: Account = {
    get device() {
      return device;
    },
    client: authed,

    createVault: (label) => authed().call('createVault', { body: { scheme: 'dual-secret', label } }),

    async createWallet(vaultId, { secondWrap = false } = {}) {
      const own = secondWrap ? sealOwnKey(requireWrapSecret(device)) : null;
      const parameters = {
        vault: vaultId,
        curve: 'secp256k1',
        sealed_key: own && sha256(own.sealedKey),
        public_key: own?.publicKey ?? null,
      };
      const { wallet, receipt } = await authed().call('createWallet', {
        params: { vault_id: vaultId },
        body: {
          chain: 'evm',
          second_wrap: own && { public_key: bytesToHex(own.publicKey), sealed_key: toBase64Url(own.sealedKey) },
        },
        proof: prove({ act: 'create_wallet', parameters }),
      });
      const publicKey = own?.publicKey ?? hexToBytes(wallet.public_key);
      await assertReceipt(receipt, {
        act: 'create_wallet',
        wallet: wallet.id,
        public_key: toBase64Url(publicKey),
      });
      if (codecOf(wallet).account(publicKey) !== wallet.address)
        throw tampered('The address is not the one of the wallet’s key.');
      return wallet;
    },

    async openWallet(wallet, { leaving = false } = {}) {
      const answerKey = await createSealingKey(randomBytes);
      const request = {
        act: leaving ? ('export_wallet' as const) : ('open_wallet' as const),
        subject: subject(),
        parameters: { wallet: wallet.id },
      };
      let hash: Uint8Array = new Uint8Array();
      const { answer, receipt } = await authed().call(leaving ? 'exportWallet' : 'openWallet', {
        params: { wallet_id: wallet.id },
        proof: connection.prove(device.clientKey, { ...request, answerKey: answerKey.publicKey }, (made) => {
          hash = made;
        }),
      });
      await assertReceipt(receipt, {
        act: request.act,
        wallet: wallet.id,
        public_key: toBase64Url(hexToBytes(wallet.public_key)),
      });
      const plaintext = await answerKey.open(fromBase64Url(answer), utf8ToBytes('kedge/answer/v1'), hash);
      const { key } = decodeCbor(plaintext) as { key: Uint8Array };
      const secret = wallet.second_wrap ? openOwnKey(requireWrapSecret(device), key) : key.slice();
      for (const used of [plaintext, key]) used.fill(0);
      if (!equalBytes(secp256k1.getPublicKey(secret, true), hexToBytes(wallet.public_key))) {
        secret.fill(0);
        throw tampered('The key that was opened is not the key of this wallet.');
      }
      return secret;
    },

    async transfer(wallet, request) {
      const codec = codecOf(wallet);
      const { to, amount, asset = NATIVE_ASSET, feeLevel = 'recommended' } = request;
      const { id, unsigned_tx: unsignedTx } = await authed().call('createTransfer', {
        params: { wallet_id: wallet.id },
        body: { to, amount: String(amount), asset, fee_level: feeLevel },
      });
      let signed: Uint8Array;
      try {
        const unsigned = hexToBytes(unsignedTx.slice(2));
        assertAsked(codec, codec.decode(unsigned, wallet.address), request);
        const digests = codec.digests(unsigned); // nothing is opened for bytes that can't be signed
        const secret = await account.openWallet(wallet);
        let signatures: readonly KeySignature[];
        try {
          signatures = digests.map((digest) => signDigest(secret, digest));
        } finally {
          secret.fill(0);
        }
        signed = codec.final(codec.attach(unsigned, signatures));
      } catch (error) {
        // Nobody is going to sign it, so what it holds may go to the next one at once and not in two minutes.
        await authed()
          .call('deleteTransfer', { params: { wallet_id: wallet.id, transfer_id: id } })
          .catch(() => {});
        throw error;
      }
      return authed().call('createTransaction', {
        params: { wallet_id: wallet.id },
        body: { raw_tx: `0x${bytesToHex(signed)}` },
      });
    },

    async replaceWords() {
      const words = createWords();
      const secrets = await secretsOfWords(words);
      const secondWrap = sealWrapSecret(secrets.secondWrapKey, requireWrapSecret(device));
      const { receipt } = await connection.withWords(
        'replace_words',
        device.clientKey,
        secrets.recoverySecret,
        secondWrap,
        (sealed, prove, patience) =>
          authed().call('replaceRecoveryWords', {
            patience,
            params: { user_id: device.userId },
            body: { sealed_recovery: sealed },
            proof: prove(subject()),
          }),
      );
      await assertReceipt(receipt, { act: 'replace_words' });
      return { words };
    },

    async signIn() {
      const session = await connection.client.call('createSession', {
        body: { user_id: device.userId },
        proof: prove({ act: 'sign_in' }),
      });
      device = { ...device, sessionToken: session.token };
    },

    async enrollClientKey({ algorithm, publicKey }, label) {
      const { receipt } = await authed().call('createClientKey', {
        params: { user_id: device.userId },
        body: { algorithm, public_key: bytesToHex(publicKey), label },
        proof: prove({ act: 'enroll_client_key', parameters: { algorithm, public_key: publicKey } }),
      });
      await assertReceipt(receipt, { act: 'enroll_client_key', client_key: `${algorithm}:${toBase64Url(publicKey)}` });
    },
  };
  return account;
}

function requireWrapSecret({ wrapSecret }: DeviceState): Uint8Array {
  if (wrapSecret === null)
    throw new KedgeError(
      'request_invalid',
      'This device does not hold the wrap secret. Recover the account on it with the 12 words.',
    );
  return wrapSecret;
}

const ownKeyAddress = ['kedge/second-wrapped-key/v1'];

/** A key made here, that the service only ever sees sealed. */
function sealOwnKey(wrapSecret: Uint8Array): { publicKey: Uint8Array; sealedKey: Uint8Array } {
  const secret = secp256k1.utils.randomSecretKey();
  const sealedKey = seal(nobleAead, randomBytes, wrapSecret, secret, ownKeyAddress);
  const publicKey = secp256k1.getPublicKey(secret, true);
  secret.fill(0);
  return { publicKey, sealedKey };
}

function openOwnKey(wrapSecret: Uint8Array, sealedKey: Uint8Array): Uint8Array {
  const secret = openSealed(nobleAead, wrapSecret, sealedKey, ownKeyAddress);
  if (secret === null) throw tampered('What the service keeps for this wallet does not open with your words.');
  return secret;
}

function signDigest(secret: Uint8Array, { input, digest }: SigningDigest): KeySignature {
  const publicKey = secp256k1.getPublicKey(secret, true);
  return { input, publicKey, signature: secp256k1.sign(digest, secret, { prehash: false }) };
}

/** One output and nothing else, as asked for, at a fee that is allowed. Throws. */
function assertAsked(
  codec: ReturnType<typeof codecOf>,
  intent: Intent,
  { to, amount, asset = NATIVE_ASSET, feeMax }: TransferRequest,
): void {
  const [output, ...more] = intent.outputs;
  // A high fee is for feeMax to judge, and a bad destination is told below.
  const warnings = intent.warnings.filter((warning) => warning !== 'fee_high' && warning !== 'output_unspendable');
  if (
    !output ||
    more.length > 0 ||
    output.to !== codec.parseAddress(to) ||
    output.amount !== amount ||
    output.asset !== (asset === NATIVE_ASSET ? asset : codec.parseAddress(asset)) ||
    intent.allowances.length > 0 ||
    warnings.length > 0
  ) {
    throw tampered('The transaction that the service built is not the transfer you asked for.');
  }
  if (intent.warnings.includes('output_unspendable'))
    throw new KedgeError(
      'transaction_invalid',
      `Nobody could spend what arrives at ${output.to}. Nothing was signed. Check the address with the person you pay.`,
    );
  const tenth = asset === NATIVE_ASSET ? amount / 10n : 0n;
  const allowed = feeMax ?? (tenth > FEE_UNASKED_MAX ? tenth : FEE_UNASKED_MAX);
  if (intent.feeMax === null || intent.feeMax > allowed) {
    throw new KedgeError(
      'transaction_invalid',
      `The fee could come to ${intent.feeMax ?? 'any amount'}, more than the ${allowed} allowed. Nothing was signed. Allow more with feeMax if that is right.`,
    );
  }
}

/** The codec of the wallet's own network, so that a transaction for another one is refused. */
function codecOf({ network }: Wallet) {
  return evmCodec(Number(network.replace('eip155:', '')));
}

function keyText({ algorithm, publicKey }: ClientKey): string {
  return `${algorithm}:${toBase64Url(publicKey)}`;
}

function tampered(what: string): KedgeError {
  return new KedgeError(
    'sealed_data_invalid',
    `${what} Nothing was signed. Do not use this service until the operator has explained it.`,
  );
}
