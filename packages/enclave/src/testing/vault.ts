/**
 * A 2-of-3 wallet of owner, platform and backup key, for tests of what the enclave signs: keys in the clear for the two,
 * coins that no chain has, and PSBTs as a wallet builds them. The backup key's xpub is made as an integrator makes it,
 * from its public key and a chain code of one's own.
 */
import { constants, createHash, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import {
  assemblePsbt,
  type BitcoinCodec,
  bitcoinCodec,
  bitcoinNetworks,
  createDescriptor,
  type Descriptor,
  rootExtendedKey,
} from '@kedge/chains';
import { bytesToHex, concatBytes } from '@kedge/core';
import { derivePrivate, type ExtendedPrivateKey, publicHalf } from '@kedge/core/private-keys';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import type { Enclave } from '../enclave.ts';

const network = bitcoinNetworks.regtest;

export interface TestVaultCoin {
  readonly txid: string;
  readonly previous: Uint8Array;
  readonly amount: bigint;
  readonly index: number;
}

export interface TestVault {
  readonly codec: BitcoinCodec;
  readonly descriptor: Descriptor;
  readonly chainCode: Uint8Array;
  /** The chain code as an integrator stores it: `{version, data}`. */
  backup(): Promise<{ version: number; data: Uint8Array }>;
  coin(amount?: bigint, index?: number): TestVaultCoin;
  /** Spends the coins: `amount` to the address of another such wallet, the rest less `fee` back as change, if any. */
  spend(coins: readonly TestVaultCoin[], to: Descriptor, amount: bigint, fee?: bigint): Uint8Array;
  /** The owner's (0) or the platform's (1) signatures on top. */
  signAs(who: 0 | 1, psbt: Uint8Array): Uint8Array;
}

/** `publicKey`: of the backup key. */
export function createTestVault(
  enclave: Pick<Enclave, 'encryptionKey'>,
  publicKey: Uint8Array,
  chainCode: Uint8Array = new Uint8Array(randomBytes(32)),
): TestVault {
  const codec = bitcoinCodec(network);
  const others = [0, 1].map(
    (): ExtendedPrivateKey => ({
      privateKey: secp256k1.utils.randomSecretKey(),
      chainCode: new Uint8Array(randomBytes(32)),
      depth: 0,
      index: 0,
      parentFingerprint: 0,
    }),
  );
  const roots = [
    ...others.map((key) => rootExtendedKey(publicHalf(key).publicKey, key.chainCode)),
    rootExtendedKey(publicKey, chainCode),
  ];
  const descriptor = createDescriptor(
    {
      script: 'p2wsh',
      threshold: 2,
      keys: roots.map((key) => ({
        kind: 'extended' as const,
        origin: null,
        key,
        path: [],
        branches: [0, 1] as const,
        ranged: true,
      })),
    },
    network,
  );
  return {
    codec,
    descriptor,
    chainCode,
    async backup() {
      const { version, publicKey: to } = await enclave.encryptionKey();
      const material = JSON.stringify({
        chainCode: bytesToHex(chainCode),
        publicKey: bytesToHex(publicKey),
        coin: 'btc',
        label: 'test',
      });
      const key = createPublicKey({ key: Buffer.from(to), format: 'der', type: 'spki' });
      const data = publicEncrypt(
        { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
        Buffer.from(material),
      );
      return { version, data: new Uint8Array(data) };
    },
    coin(amount = 100_000n, index = 0) {
      const previous = payingTransaction(descriptor.derive({ change: 0, index }).script, amount);
      return { txid: bytesToHex(twice(previous).reverse()), previous, amount, index };
    },
    spend(coins, to, amount, fee = 1_000n) {
      const total = coins.reduce((sum, coin) => sum + coin.amount, 0n);
      const change = total - amount - fee;
      const own = descriptor.derive({ change: 1, index: 0 });
      return assemblePsbt(
        descriptor,
        coins.map(({ txid, previous, amount, index }) => {
          const output = descriptor.derive({ change: 0, index });
          return { txid, vout: 0, amount, output, previous };
        }),
        [
          { amount, script: to.derive({ change: 0, index: 0 }).script, own: null },
          ...(change > 0n ? [{ amount: change, script: own.script, own }] : []),
        ],
      );
    },
    signAs(who, psbt) {
      const root = others[who]!;
      const fingerprint = publicHalf(root).fingerprint.toString(16).padStart(8, '0');
      const signatures = codec
        .digests(psbt, descriptor.text)
        .filter(({ origin }) => origin?.fingerprint === fingerprint)
        .map(({ input, digest, publicKey, origin }) => ({
          input,
          publicKey: publicKey!,
          signature: secp256k1.sign(digest, derivePrivate(root, origin!.path).privateKey, { prehash: false }),
        }));
      return codec.attach(psbt, signatures);
    },
  };
}

/** As on the wire, without witnesses: one input of nobody's, one output. */
function payingTransaction(script: Uint8Array, amount: bigint): Uint8Array {
  const value = new Uint8Array(8);
  new DataView(value.buffer).setBigUint64(0, amount, true);
  return concatBytes(
    Uint8Array.of(2, 0, 0, 0, 1),
    randomBytes(32),
    Uint8Array.of(0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1),
    value,
    Uint8Array.of(script.length),
    script,
    new Uint8Array(4),
  );
}

function twice(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(createHash('sha256').update(bytes).digest()).digest());
}
