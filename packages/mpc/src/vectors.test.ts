/** Published vectors, as data in `vectors/`, against what this package computes and what it verifies with. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { ed25519, ed25519_FROST } from '@noble/curves/ed25519.js';
import { schnorr, schnorr_FROST, secp256k1 } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { createBase58check } from '@scure/base';
import { concat, toHex, u8 } from './bytes.ts';
import { derive } from './derive.ts';
import { recoverPublicKey } from './ecdsa/sign.ts';
import { taprootOutput } from './frost/taproot.ts';
import { ed25519Group, type Group, secp256k1Group } from './group.ts';
import { combine, lagrange } from './secret-sharing.ts';

const load = <T>(name: string) =>
  JSON.parse(readFileSync(new URL(`../../../vectors/${name}.json`, import.meta.url), 'utf8')) as T;
const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));

test('BIP32: every step that is not hardened', () => {
  const { steps } = load<{ steps: { parent: string; index: number; child: string }[] }>('bip32');
  const read = (xpub: string) => {
    const bytes = createBase58check(sha256).decode(xpub);
    return { chainCode: bytes.slice(13, 45), publicKey: bytes.slice(45) };
  };
  assert.ok(steps.length >= 6);
  for (const { parent, index, child } of steps) {
    const { publicKey, chainCode } = read(parent);
    const derived = derive(secp256k1Group, publicKey, chainCode, [index]);
    assert.deepEqual({ publicKey: derived.publicKey, chainCode: derived.chainCode }, { ...read(child) });
  }
});

test('BIP341: output keys', () => {
  const { vectors } = load<{
    vectors: { internalKey: string; merkleRoot: string; tweak: string; outputKey: string }[];
  }>('bip341');
  for (const { internalKey, merkleRoot, tweak, outputKey } of vectors)
    for (const prefix of [2, 3]) {
      const output = taprootOutput(concat(u8(prefix), hex(internalKey)), hex(merkleRoot));
      assert.equal(toHex(output.key), outputKey, 'the parity of the internal key does not matter');
      assert.equal(output.tweak, BigInt(`0x${tweak}`));
      assert.equal(output.isNegated, prefix === 3);
    }
});

test('BIP340: the verifier of a Taproot signature', () => {
  const { vectors } = load<{
    vectors: { publicKey: string; message: string; signature: string; valid: boolean; comment: string }[];
  }>('bip340');
  for (const { publicKey, message, signature, valid, comment } of vectors)
    assert.equal(schnorr.verify(hex(signature), hex(message), hex(publicKey)), valid, comment);
});

interface Wycheproof {
  readonly groups: readonly { publicKey: string; tests: readonly [string, string, string, number][] }[];
}

test('Wycheproof: recovering the key accepts exactly the signatures that are valid', () => {
  let count = 0;
  for (const { publicKey, tests } of load<Wycheproof>('wycheproof-ecdsa-secp256k1-p1363').groups) {
    const key = toHex(secp256k1.Point.fromBytes(hex(publicKey)).toBytes());
    for (const [message, signature, result, id] of tests) {
      const digest = sha256(hex(message));
      const recovered = ([0, 1] as const).map((bit) => toHex(recoverPublicKey(hex(signature), bit, digest)));
      // r + order, which the recovery bits 2 and 3 stand for, is refused in signing: a valid signature with it is not made here.
      const isLarge = signature.length === 128 && result === 'valid' && !recovered.includes(key);
      if (isLarge) assert.ok(BigInt(`0x${signature.slice(0, 64)}`) < 2n ** 129n, `test ${id}`);
      else assert.equal(recovered.includes(key), result === 'valid', `test ${id}`);
      count++;
    }
  }
  assert.ok(count > 200);
});

test('Wycheproof: low s only, as Bitcoin wants it', () => {
  for (const { publicKey, tests } of load<Wycheproof>('wycheproof-ecdsa-secp256k1-bitcoin').groups)
    for (const [message, signature, result, id] of tests) {
      let verified = false;
      try {
        verified = secp256k1.verify(hex(signature), sha256(hex(message)), hex(publicKey), {
          prehash: false,
          lowS: true,
          format: 'der',
        });
      } catch {
        // not a signature in DER
      }
      assert.equal(verified, result === 'valid', `test ${id}`);
    }
});

test('Wycheproof: the verifier of an Ed25519 signature', () => {
  for (const { publicKey, tests } of load<Wycheproof>('wycheproof-ed25519').groups)
    for (const [message, signature, result, id] of tests) {
      let verified = false;
      try {
        verified = ed25519.verify(hex(signature), hex(message), hex(publicKey), { zip215: false });
      } catch {
        // not of the length of a signature
      }
      assert.equal(verified, result === 'valid', `test ${id}`);
    }
});

interface FrostVectors {
  readonly inputs: {
    readonly participant_list: readonly number[];
    readonly group_secret_key: string;
    readonly verifying_key_key: string;
    readonly message: string;
    readonly participant_shares: readonly { identifier: number; participant_share: string }[];
  };
  readonly round_one_outputs: {
    readonly outputs: readonly {
      identifier: number;
      hiding_nonce: string;
      binding_nonce: string;
      hiding_nonce_commitment: string;
      binding_nonce_commitment: string;
    }[];
  };
  readonly round_two_outputs: { readonly outputs: readonly { identifier: number; sig_share: string }[] };
  readonly final_output: { readonly sig: string };
}

describe('FROST: shares, nonces and signatures of the published runs', () => {
  for (const [name, frost, group] of [
    ['frost-ed25519', ed25519_FROST, ed25519Group],
    ['frost-secp256k1-tr', schnorr_FROST, secp256k1Group],
  ] as const satisfies readonly (readonly [string, typeof ed25519_FROST, Group])[])
    test(name, () => {
      const { inputs, round_one_outputs, round_two_outputs, final_output } = load<FrostVectors>(name);
      const shares = new Map(
        inputs.participant_shares.map((share) => [share.identifier, hex(share.participant_share)]),
      );
      const signers = inputs.participant_list;
      const scalars = new Map(signers.map((index) => [index, group.decodeScalar(shares.get(index)!)]));
      assert.equal(toHex(group.encodeScalar(combine(scalars, group.order))), inputs.group_secret_key);
      assert.notEqual(lagrange(signers[0]!, signers, group.order), 0n);
      const identifier = (index: number) => frost.Identifier.fromNumber(index);
      const publicShares = [...shares].map(([index, share]) => [
        identifier(index),
        group.encode(group.base(group.decodeScalar(share))),
      ]);
      const common = {
        signers: { min: 2, max: 3 },
        commitments: [hex(inputs.verifying_key_key)],
        verifyingShares: Object.fromEntries(publicShares) as Record<string, Uint8Array>,
      };
      const list = round_one_outputs.outputs.map((round) => ({
        identifier: identifier(round.identifier),
        hiding: hex(round.hiding_nonce_commitment),
        binding: hex(round.binding_nonce_commitment),
      }));
      const parts: Record<string, Uint8Array> = {};
      for (const [at, round] of round_one_outputs.outputs.entries()) {
        const { hiding, binding } = list[at]!;
        const nonces = { hiding: hex(round.hiding_nonce), binding: hex(round.binding_nonce) };
        assert.deepEqual(group.encode(group.base(group.decodeScalar(nonces.hiding))), hiding);
        assert.deepEqual(group.encode(group.base(group.decodeScalar(nonces.binding))), binding);
        const secret = { identifier: identifier(round.identifier), signingShare: shares.get(round.identifier)! };
        const part = frost.signShare(secret, common, nonces, list, hex(inputs.message));
        assert.equal(toHex(part), round_two_outputs.outputs[at]!.sig_share);
        parts[secret.identifier] = part;
      }
      assert.equal(toHex(frost.aggregate(common, list, hex(inputs.message), parts)), final_output.sig);
    });
});
