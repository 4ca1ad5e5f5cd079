/**
 * The life of a wallet on three devices, with nothing but the public entries of `@kedge/mpc`: make the keys, prove that
 * they work, sign for Ethereum, Bitcoin and Solana, hand the wallet to a larger group without moving a coin, and in the end
 * take the whole key out and open it with a library by other people. `main.ts` tells it in Node, `browser.test.ts` in
 * Chromium. All devices are in one process here; what goes between them is what would go over a network.
 */
import {
  type Arithmetic,
  chainCodeDigest,
  type EcdsaSignature,
  type GroupDescriptor,
  isProven,
  keygen,
  nobleArithmetic,
  type PublicShare,
  reshare,
  rosterOf,
  type SchnorrSignature,
  type SelfTestSignature,
  type SharingResult,
  type SuiteName,
  selfTests,
  signEcdsa,
  signFrost,
  suiteNames,
} from '@kedge/mpc';
import { exportKey, toXprv } from '@kedge/mpc/export';
import {
  computeAddress,
  concat,
  encodeBase58,
  getBytes,
  HDNodeWallet,
  hexlify,
  keccak256,
  recoverAddress,
  ripemd160,
  SigningKey,
  sha256,
  toUtf8Bytes,
} from 'ethers';
import { converse, createDevice, type Device, signerOf } from './device.ts';

/** Not hardened: nobody holds the key from which a hardened child is made. */
const PATH = [0, 7];
const KEY_PATH_ONLY = { merkleRoot: new Uint8Array(0) };

export interface StoryOptions {
  /** Of the group that the wallet is handed to. */
  readonly second: { readonly threshold: number; readonly count: number };
  readonly nowMs: bigint;
  readonly say?: (line: string) => void;
  /** Pure JavaScript by default. */
  readonly arithmetic?: Arithmetic;
}

export interface Addresses {
  readonly ethereum: string;
  /** Pay to public key hash. */
  readonly bitcoin: string;
  /** The output key, as in `OP_1 <key>`. */
  readonly taproot: string;
  readonly solana: string;
}

export interface Story {
  readonly before: Addresses;
  readonly after: Addresses;
  /** What a library by other people derives from the exported key. */
  readonly elsewhere: Pick<Addresses, 'ethereum' | 'bitcoin'>;
  readonly seconds: number;
}

export async function tell({
  second,
  nowMs,
  say = () => undefined,
  arithmetic = nobleArithmetic,
}: StoryOptions): Promise<Story> {
  const started = performance.now();
  const told = new Wallet(arithmetic, nowMs, say);

  const [phone, laptop, server] = await Promise.all(['phone', 'laptop', 'server'].map(createDevice));
  await told.make([phone!, laptop!, server!], 2);
  const before = await told.signWith([phone!, server!]);
  await told.signWith([laptop!, server!]);

  // The phone is lost. The other two bring in new devices, and the key stays what it is.
  const fresh = await Promise.all(Array.from({ length: second.count - 2 }, (_, at) => createDevice(`new ${at + 1}`)));
  const group = [laptop!, server!, ...fresh];
  await told.handOver([laptop!, server!], group, second.threshold);
  const after = await told.signWith(group.slice(-second.threshold));

  const elsewhere = await told.takeOut(group.slice(0, second.threshold));
  const seconds = (performance.now() - started) / 1_000;
  say(`Told in ${seconds.toFixed(1)} s.`);
  return { before, after, elsewhere, seconds };
}

class Wallet {
  readonly #arithmetic: Arithmetic;
  readonly #nowMs: bigint;
  readonly #say: (line: string) => void;

  constructor(arithmetic: Arithmetic, nowMs: bigint, say: (line: string) => void) {
    this.#arithmetic = arithmetic;
    this.#nowMs = nowMs;
    this.#say = say;
  }

  /** One session makes all three roots. The descriptor is what everybody pinned beforehand, such as by QR code. */
  async make(devices: readonly Device[], threshold: number): Promise<void> {
    const descriptor = groupOf(devices, threshold);
    const results = await converse(
      devices.map((device, at) => ({
        address: at + 1,
        device,
        protocol: keygen({
          descriptor,
          suites: suiteNames,
          purpose: toUtf8Bytes('the example'),
          nowMs: this.#nowMs,
          store: device.sharings,
          arithmetic: this.#arithmetic,
        }),
      })),
    );
    await this.#adopt(devices, results);
    this.#say(`${names(devices)} made a wallet, any ${threshold} of which sign. Nobody ever had its keys:`);
    for (const { suite, publicKey } of results[0]!.record.roots)
      this.#say(`  ${suite.padEnd(18)} ${hexlify(publicKey)}`);
  }

  /** The same keys for other devices and another threshold. The old shares are worth nothing together with the new ones. */
  async handOver(dealers: readonly Device[], group: readonly Device[], threshold: number): Promise<void> {
    const descriptor = groupOf(group, threshold);
    const signers = inOrder(dealers).map(signerOf);
    const source = rootsOf(dealers[0]!);
    const results = await converse(
      rosterOf(signers, descriptor).map(({ address, identityKey }) => {
        const device = group.find(({ identity }) => identity.publicKey.join() === identityKey.join())!;
        return {
          address,
          device,
          protocol: reshare({
            source,
            // From the account record of each device; a new device is told by its user, never by the session.
            pinned: source.map((root) => ({
              publicKey: root.publicKey,
              chainCodeDigest: chainCodeDigest(root.chainCode),
            })),
            dealers: signers,
            descriptor,
            mode: 'replace',
            supersedes: [source[0]!.sharingId],
            groupId: source[0]!.groupId,
            epoch: source[0]!.epoch + 1n,
            purpose: toUtf8Bytes('the phone is lost'),
            own: dealers.includes(device) ? [...device.shares.values()] : null,
            nowMs: this.#nowMs,
            store: device.sharings,
            arithmetic: this.#arithmetic,
          }),
        };
      }),
    );
    await this.#adopt(
      results.map(({ own }) => group[own!.shares[0]!.index - 1]!),
      results,
    );
    this.#say(`${names(dealers)} handed it to ${names(group)}: now any ${threshold} of ${group.length} sign.`);
  }

  /** Four signatures, each checked by somebody else's code where there is some at hand. */
  async signWith(devices: readonly Device[]): Promise<Addresses> {
    this.#say(`${names(devices)} sign at m/${PATH.join('/')}:`);
    const transaction = getBytes(keccak256(toUtf8Bytes('a transaction of Ethereum')));
    const ethereum = await this.#ecdsa(devices, transaction, PATH);
    const ethereumAddress = computeAddress(hexlify(ethereum.publicKey));
    agree(recoverAddress(transaction, ethersForm(ethereum)) === ethereumAddress);
    this.#say(`  Ethereum ${ethereumAddress}  ${hexlify(ethereum.bytes)} v=${27 + ethereum.recovery}`);

    const sighash = getBytes(sha256(sha256(toUtf8Bytes('an input of Bitcoin'))));
    const bitcoin = await this.#ecdsa(devices, sighash, PATH);
    agree(SigningKey.recoverPublicKey(sighash, ethersForm(bitcoin)) === uncompressed(bitcoin.publicKey));
    const bitcoinAddress = p2pkh(bitcoin.publicKey);
    this.#say(`  Bitcoin  ${bitcoinAddress}  ${hexlify(bitcoin.bytes)}`);

    const taproot = await this.#schnorr(devices, 'schnorr-secp256k1', sighash, true);
    this.#say(`  Taproot  ${hexlify(taproot.publicKey)}  ${hexlify(taproot.bytes)}`);

    const message = toUtf8Bytes('a message of Solana, of any length');
    const solana = await this.#schnorr(devices, 'eddsa-ed25519', message, false);
    agree(await ed25519Verifies(solana, message));
    const solanaAddress = encodeBase58(solana.publicKey);
    this.#say(`  Solana   ${solanaAddress}  ${hexlify(solana.bytes)}`);
    return {
      ethereum: ethereumAddress,
      bitcoin: bitcoinAddress,
      taproot: hexlify(taproot.publicKey),
      solana: solanaAddress,
    };
  }

  /** DANGER, and the owner's right: t devices send their shares to one of them, and every device records it for ever. */
  async takeOut(devices: readonly Device[]): Promise<Pick<Addresses, 'ethereum' | 'bitcoin'>> {
    const holders = inOrder(devices);
    const signers = holders.map(signerOf);
    const keys = await converse(
      holders.map((device) => ({
        address: signerOf(device).index,
        device,
        protocol: exportKey({
          share: device.shares.get('ecdsa-secp256k1')!,
          holders: signers,
          exporter: signers[0]!.index,
          purpose: toUtf8Bytes('the owner moves elsewhere'),
          markExported: async () => undefined,
          arithmetic: this.#arithmetic,
        }),
      })),
    );
    const key = keys[0]!;
    const child = HDNodeWallet.fromExtendedKey(toXprv(key)).derivePath(PATH.join('/'));
    key.wipe();
    const ethereum = computeAddress(child.publicKey);
    const bitcoin = p2pkh(getBytes(child.publicKey));
    this.#say(`${names(holders)} exported the key; ethers derives ${ethereum} and ${bitcoin} from its xprv.`);
    return { ethereum, bitcoin };
  }

  /** New shares come into use when everybody has taken part in a signature that means nothing on any chain. */
  async #adopt(devices: readonly Device[], results: readonly SharingResult[]): Promise<void> {
    devices.forEach((device, at) => {
      device.adopt(results[at]!);
    });
    for (const root of results[0]!.record.roots) {
      const signatures: SelfTestSignature[] = [];
      for (const { signers, digest } of selfTests(root)) {
        const present = devices.filter((device) => signers.includes(signerOf(device).index));
        const { bytes } =
          root.suite === 'ecdsa-secp256k1'
            ? await this.#ecdsa(present, digest, [])
            : await this.#schnorr(present, root.suite, digest, false, []);
        signatures.push({ digest, signature: bytes });
      }
      agree(isProven(root, signatures));
    }
  }

  /** Each device is asked by its own user; `intent` is what it showed and `beforeRelease` where it counts the payment. */
  async #ecdsa(devices: readonly Device[], digest: Uint8Array, path: readonly number[]): Promise<EcdsaSignature> {
    const signers = inOrder(devices).map(signerOf);
    const signatures = await converse(
      devices.map((device) => ({
        address: signerOf(device).index,
        device,
        protocol: signEcdsa({
          share: device.shares.get('ecdsa-secp256k1')!,
          setups: device.setups,
          pairs: device.pairs,
          signers,
          path,
          digest,
          intent: toUtf8Bytes('what the user saw'),
          beforeRelease: async () => undefined,
          arithmetic: this.#arithmetic,
        }),
      })),
    );
    return signatures[0]!;
  }

  async #schnorr(
    devices: readonly Device[],
    suite: Exclude<SuiteName, 'ecdsa-secp256k1'>,
    message: Uint8Array,
    asTaproot: boolean,
    path: readonly number[] = PATH,
  ): Promise<SchnorrSignature> {
    const signers = inOrder(devices).map(signerOf);
    const signatures = await converse(
      devices.map((device) => ({
        address: signerOf(device).index,
        device,
        protocol: signFrost({
          share: device.shares.get(suite)!,
          signers,
          path,
          message,
          taproot: asTaproot ? KEY_PATH_ONLY : null,
          intent: toUtf8Bytes('what the user saw'),
          beforeRelease: async () => undefined,
          arithmetic: this.#arithmetic,
        }),
      })),
    );
    return signatures[0]!;
  }
}

const groupOf = (devices: readonly Device[], threshold: number): GroupDescriptor => ({
  threshold,
  members: devices.map(({ identity }, at) => ({ index: at + 1, identityKey: identity.publicKey })),
});

/** Signers stand in the order of their indices. */
const inOrder = (devices: readonly Device[]): Device[] =>
  [...devices].sort((a, b) => signerOf(a).index - signerOf(b).index);

const rootsOf = ({ shares }: Device): PublicShare[] => [...shares.values()];

const names = (devices: readonly Device[]): string => devices.map(({ name }) => name).join(', ');

const ethersForm = ({ bytes, recovery }: EcdsaSignature): string => concat([bytes, Uint8Array.of(27 + recovery)]);

const uncompressed = (publicKey: Uint8Array): string => SigningKey.computePublicKey(publicKey, false);

function p2pkh(publicKey: Uint8Array): string {
  const payload = concat(['0x00', ripemd160(sha256(publicKey))]);
  return encodeBase58(concat([payload, sha256(sha256(payload)).slice(0, 10)]));
}

async function ed25519Verifies({ publicKey, bytes }: SchnorrSignature, message: Uint8Array): Promise<boolean> {
  const { subtle } = globalThis.crypto;
  const key = await subtle.importKey('raw', Uint8Array.from(publicKey), 'Ed25519', false, ['verify']);
  return subtle.verify('Ed25519', key, Uint8Array.from(bytes), Uint8Array.from(message));
}

function agree(holds: boolean): asserts holds {
  if (!holds) throw new Error('somebody else does not agree with us');
}
