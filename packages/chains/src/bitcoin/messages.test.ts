/** Signed messages: the vectors of BIP322, and two other implementations of the older kind (BIP137). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js';
import { hexToBytes } from '@noble/hashes/utils.js';
import { base64 } from '@scure/base';
import { WIF } from '@scure/btc-signer';
import { taprootTweakPrivKey } from '@scure/btc-signer/utils.js';
import fc from 'fast-check';
import type { KeySignature, SigningDigest } from '../chain.ts';
import { electrumIsMissing } from '../testing/electrum.ts';
import { assertCode } from '../testing/refusals.ts';
import { readVector } from '../testing/vectors.ts';
import { addressOfScript } from './address.ts';
import {
  bip137Digest,
  bip137Signature,
  checkBip137,
  checkMessage,
  MESSAGE_BYTES_MAX,
  type MessageSigner,
  messageDigests,
  messageTransaction,
  proveMessage,
} from './messages.ts';
import { bitcoinNetworks } from './networks.ts';
import { p2tr, p2wpkh, p2wsh, readMultisigScript } from './scripts.ts';
import { transactionId } from './transaction.ts';

const { mainnet } = bitcoinNetworks;
/** Of odd proofs; `npm run test:slow` makes it a million. */
const RUNS = Number(process.env.DECODER_RUNS ?? 50_000);
const origin = { fingerprint: '00000000', path: '' };

interface Vector {
  readonly message: string;
  readonly address: string;
  readonly type: string;
  readonly private_keys: readonly string[];
  readonly witness_script: string;
  readonly bip322_signatures: readonly string[];
}

const vectors = readVector<{
  readonly tx_hashes: readonly { message: string; address: string; to_sign_tx_hash: string }[];
  readonly simple: readonly Vector[];
  readonly full: readonly Vector[];
  readonly error: readonly { description: string; message: string; address: string; signature: string }[];
}>('bip322.json');

/** The output of a vector's address, built from its keys by our own scripts. */
function signerOf({ type, private_keys, witness_script }: Vector): MessageSigner & { secrets: Uint8Array[] } {
  const secrets = private_keys.map((wif) => WIF(mainnet).decode(wif));
  const publicKeys = secrets.map((secret) => secp256k1.getPublicKey(secret, true));
  if (type === 'p2wpkh') {
    const [publicKey] = publicKeys;
    return {
      script: p2wpkh(publicKey!),
      witnessScript: null,
      outputKey: null,
      keys: [{ publicKey: publicKey!, origin }],
      secrets,
    };
  }
  if (type === 'p2tr') {
    const publicKey = publicKeys[0]!.slice(1);
    return { ...p2tr(publicKey), witnessScript: null, keys: [{ publicKey, origin }], secrets };
  }
  const witnessScript = hexToBytes(witness_script);
  const keys = readMultisigScript(witnessScript)!.keys.map((publicKey) => ({ publicKey, origin }));
  return { script: p2wsh(witnessScript), witnessScript, outputKey: null, keys, secrets };
}

/** What a holder of these secrets answers. */
function signed(digests: readonly SigningDigest[], secrets: readonly Uint8Array[]): KeySignature[] {
  return digests.flatMap(({ input, algorithm, digest, publicKey }) =>
    secrets.flatMap((secret) => {
      const own = secp256k1.getPublicKey(secret, true);
      const key = algorithm === 'schnorr' ? own.slice(1) : own;
      if (Buffer.compare(key, publicKey!) !== 0) return [];
      const signature =
        algorithm === 'schnorr'
          ? schnorr.sign(digest, taprootTweakPrivKey(secret))
          : secp256k1.sign(digest, secret, { prehash: false });
      return [{ input, publicKey: key, signature }];
    }),
  );
}

describe('BIP322', () => {
  for (const { message, address, to_sign_tx_hash } of vectors.tx_hashes) {
    test(`the transaction to sign for ${JSON.stringify(message)} is the standard's`, () => {
      const vector = vectors.simple.find((one) => one.address === address)!;
      assert.equal(transactionId(messageTransaction(message, signerOf(vector).script)), to_sign_tx_hash);
    });
  }

  for (const vector of vectors.simple) {
    const { message, address, type, bip322_signatures } = vector;

    test(`the proofs of ${type} over ${JSON.stringify(message)} are valid, with and without their prefix`, () => {
      for (const proof of bip322_signatures) {
        assert.equal(checkMessage(message, address, proof, mainnet), 'valid');
        assert.equal(checkMessage(message, address, proof.replace(/^smp/, ''), mainnet), 'valid');
        assert.equal(checkMessage(`${message} `, address, proof, mainnet), 'invalid');
      }
    });

    test(`we make such a proof of ${type} over ${JSON.stringify(message)}, from the same keys`, () => {
      const { secrets, ...signer } = signerOf(vector);
      assert.equal(addressOfScript(signer.script, mainnet), address);
      const digests = messageDigests(message, signer);
      assert.equal(digests.length, secrets.length);
      const signatures = signed(digests, secrets);
      const proof = proveMessage(message, signer, signatures);
      assert.ok(proof.startsWith('smp'));
      assert.equal(checkMessage(message, address, proof, mainnet), 'valid');
      assertCode('signature_missing', () => proveMessage(message, signer, signatures.slice(1)));
      assertCode('transaction_invalid', () => proveMessage(`${message}!`, signer, signatures));
      assertCode('transaction_invalid', () => proveMessage(message, signer, [...signatures, signatures[0]!]));
    });
  }

  for (const { description, message, address, signature } of vectors.error) {
    test(`never valid: ${description}`, () => {
      assert.notEqual(checkMessage(message, address, signature, mainnet), 'valid');
    });
  }

  test('the other variants, and scripts that we do not know, are inconclusive', () => {
    for (const { message, address, bip322_signatures } of vectors.full)
      assert.equal(checkMessage(message, address, bip322_signatures[0]!, mainnet), 'inconclusive');
    const [{ message, bip322_signatures }] = vectors.simple as [Vector];
    for (const address of ['1BoatSLRHtKNngkdXEeobR76b53LETtpyT', '3P14159f73E4gFr7JterCCQh9QjiTjiZrG'])
      assert.equal(checkMessage(message, address, bip322_signatures[0]!, mainnet), 'inconclusive');
  });

  test('one changed character anywhere in a proof is noticed', () => {
    for (const { message, address, bip322_signatures } of vectors.simple.slice(0, 6)) {
      const proof = bip322_signatures[0]!;
      for (let at = 0; at < proof.length; at++) {
        for (const other of proof.charAt(at) === 'A' ? ['B', 'Q'] : ['A']) {
          const changed = proof.slice(0, at) + other + proof.slice(at + 1);
          assert.equal(checkMessage(message, address, changed, mainnet), 'invalid', `character ${at}`);
        }
      }
    }
  });

  test('a signature that somebody made into its twin (high s) is no other proof', () => {
    const { message, address, bip322_signatures } = vectors.simple[0]!;
    const witness = base64.decode(bip322_signatures[0]!.slice(3));
    const length = witness[1]!;
    const der = secp256k1.Signature.fromBytes(witness.slice(2, 1 + length), 'der');
    const twin = new secp256k1.Signature(der.r, secp256k1.Point.Fn.ORDER - der.s).toBytes('der');
    const malleated = new Uint8Array([2, twin.length + 1, ...twin, 1, ...witness.slice(2 + length)]);
    assert.equal(checkMessage(message, address, `smp${base64.encode(malleated)}`, mainnet), 'invalid');
  });

  test('whatever is offered as a proof, the answer is one of three words', () => {
    const addresses = vectors.simple.map(({ address }) => address);
    const bytes = fc.uint8Array({ maxLength: 200 }).map((some) => base64.encode(some));
    const items = fc
      .array(fc.uint8Array({ maxLength: 70 }), { maxLength: 5 })
      .map((some) => base64.encode(new Uint8Array([some.length, ...some.flatMap((item) => [item.length, ...item])])));
    fc.assert(
      fc.property(fc.oneof(fc.string(), bytes, items), fc.constantFrom(...addresses), (proof, address) => {
        assert.match(checkMessage('', address, proof, mainnet), /^(invalid|inconclusive)$/);
      }),
      { numRuns: RUNS },
    );
  });

  test('half a character and a message without end are refused before anything is signed', () => {
    const signer = signerOf(vectors.simple[0]!);
    for (const message of ['\ud83d', 'a\udc00b', 'a'.repeat(MESSAGE_BYTES_MAX + 1)]) {
      assertCode('transaction_invalid', () => messageDigests(message, signer));
      assertCode('transaction_invalid', () => bip137Digest(message));
    }
    messageDigests('😄'.repeat(MESSAGE_BYTES_MAX / 4), signer);
  });
});

describe('BIP137', () => {
  const secret = new Uint8Array(32).fill(5);
  const publicKey = secp256k1.getPublicKey(secret, true);
  const message = 'Kedge: 10 % für Müller 😄';
  const signature = secp256k1.sign(bip137Digest(message), secret, { prehash: false });
  const { regtest } = bitcoinNetworks;

  interface BitcoreMessage {
    sign(key: unknown): string;
    verify(address: string, signature: string): boolean;
  }
  const { Message, PrivateKey } = createRequire(import.meta.url)('bitcore-lib') as {
    Message: new (text: string) => BitcoreMessage;
    PrivateKey: new (key: string, network: string) => { toAddress(): { toString(): string } };
  };

  test('bitcore takes our signature, and we take its', () => {
    const key = new PrivateKey(Buffer.from(secret).toString('hex'), 'livenet');
    const address = key.toAddress().toString();
    const ours = bip137Signature(message, { publicKey, signature }, 'p2pkh');
    assert.equal(new Message(message).verify(address, ours), true);
    const theirs = new Message(message).sign(key);
    assert.equal(checkBip137(message, address, theirs, mainnet), true);
    assert.equal(checkBip137(`${message} `, address, theirs, mainnet), false);
  });

  test('Electrum takes our signature', { skip: electrumIsMissing }, () => {
    const home = mkdtempSync(join(tmpdir(), 'kedge-electrum-'));
    try {
      const verify = (address: string, proof: string, text: string) =>
        spawnSync('electrum', ['--regtest', '--offline', '-D', home, 'verifymessage', address, proof, text], {
          encoding: 'utf8',
        }).stdout.trim();
      const address = addressOfScript(p2wpkh(publicKey), regtest)!;
      // It knows one header for every kind of address.
      const proof = bip137Signature(message, { publicKey, signature }, 'p2pkh');
      assert.equal(verify(address, proof, message), 'true');
      assert.equal(verify(address, proof, `${message}!`), 'false');
      assert.equal(checkBip137(message, address, proof, regtest), true);
    } finally {
      rmSync(home, { recursive: true });
    }
  });

  test('the header says which kind of address it is for, and no other is believed', () => {
    const address = addressOfScript(p2wpkh(publicKey), regtest)!;
    const nested = bip137Signature(message, { publicKey, signature }, 'p2sh-p2wpkh');
    const segwit = bip137Signature(message, { publicKey, signature });
    assert.equal(checkBip137(message, address, segwit, regtest), true);
    assert.equal(checkBip137(message, address, nested, regtest), false);
    assert.equal(base64.decode(segwit)[0]! >= 39, true);
    const taproot = addressOfScript(p2tr(publicKey.slice(1)).script, regtest)!;
    assert.equal(checkBip137(message, taproot, segwit, regtest), false);
  });

  test('either s of a signature gives the same text; a foreign or broken one gives none', () => {
    const { r, s } = secp256k1.Signature.fromBytes(signature, 'compact');
    const twin = new secp256k1.Signature(r, secp256k1.Point.Fn.ORDER - s).toBytes('compact');
    assert.equal(
      bip137Signature(message, { publicKey, signature: twin }),
      bip137Signature(message, { publicKey, signature }),
    );
    const other = secp256k1.getPublicKey(new Uint8Array(32).fill(6), true);
    for (const [key, broken] of [
      [other, signature],
      [publicKey, new Uint8Array(64)],
      [publicKey, signature.slice(1)],
      [publicKey.slice(1), signature],
    ] as const)
      assertCode('transaction_invalid', () => bip137Signature(message, { publicKey: key, signature: broken }));
  });

  test('one changed character anywhere, and whatever else is offered, is no signature', () => {
    const address = addressOfScript(p2wpkh(publicKey), regtest)!;
    const proof = bip137Signature(message, { publicKey, signature });
    for (let at = 0; at < proof.length; at++) {
      const changed = proof.slice(0, at) + (proof.charAt(at) === 'A' ? 'B' : 'A') + proof.slice(at + 1);
      assert.equal(checkBip137(message, address, changed, regtest), false, `character ${at}`);
    }
    const offered = fc.oneof(
      fc.string(),
      fc.uint8Array({ maxLength: 70 }).map((some) => base64.encode(some)),
    );
    fc.assert(
      fc.property(offered, (some) => assert.equal(checkBip137(message, address, some, regtest), false)),
      { numRuns: RUNS },
    );
  });
});
