/** Two implementations, one wire: what one seals, signs or agrees on, the other opens, verifies and derives. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes, webcrypto } from 'node:crypto';
import { describe, test } from 'node:test';
import { createDevice, play, results, testCrypto } from '../testing/devices.ts';
import { createWallet, ecdsaSeats } from '../testing/wallets.ts';
import { nodeCrypto, nodeIdentity } from './node-crypto.ts';

const fresh = (length: number) => new Uint8Array(randomBytes(length));
const ways = [
  ['node to web', nodeCrypto, testCrypto],
  ['web to node', testCrypto, nodeCrypto],
] as const;

describe('the envelopes of node:crypto and of WebCrypto', () => {
  for (const [name, ours, theirs] of ways) {
    test(`${name}: sealed and opened`, async () => {
      const [key, nonce, header, plaintext] = [fresh(32), fresh(12), fresh(44), fresh(1_000)];
      const sealed = await (await ours.sealingKey(key)).seal(nonce, header, plaintext);
      const opening = await theirs.sealingKey(key);
      assert.deepEqual(await opening.open(nonce, header, sealed), plaintext);
      for (const at of [0, 999, 1_000, 1_015]) {
        const changed = sealed.slice();
        changed[at]! ^= 1;
        assert.equal(await opening.open(nonce, header, changed), null);
      }
      assert.equal(await opening.open(nonce, fresh(44), sealed), null);
      assert.equal(await opening.open(nonce, header, sealed.subarray(0, 15)), null);
    });

    test(`${name}: the same shared secret, and none with a point of small order`, async () => {
      const [a, b] = [await ours.createAgreement(), await theirs.createAgreement()];
      assert.deepEqual(await a.agree(b.publicKey), await b.agree(a.publicKey));
      for (const key of [new Uint8Array(32), fresh(31)])
        await assert.rejects(async () => {
          await a.agree(key);
        });
    });
  }

  test('a signature of a node identity verifies with both, a changed one with neither', async () => {
    const identity = nodeIdentity(generateKeyPairSync('ed25519').privateKey);
    const data = fresh(32);
    const signature = await identity.sign(data);
    const wrong = signature.slice();
    wrong[3]! ^= 1;
    for (const crypto of [nodeCrypto, testCrypto]) {
      assert.equal(await crypto.verify(identity.publicKey, data, signature), true);
      assert.equal(await crypto.verify(identity.publicKey, data, wrong), false);
      assert.equal(await crypto.verify(identity.publicKey, data, signature.subarray(1)), false);
      assert.equal(await crypto.verify(new Uint8Array(31), data, signature), false);
    }
  });

  test('an identity key is an Ed25519 key', () => {
    assert.throws(() => nodeIdentity(generateKeyPairSync('x25519').privateKey));
  });

  test('both hash the same', async () => {
    const data = fresh(100_000);
    const expected = new Uint8Array(await webcrypto.subtle.digest('SHA-256', data));
    for (const crypto of [nodeCrypto, testCrypto]) assert.deepEqual(await crypto.digest(data), expected);
  });

  test('a server with node:crypto and a browser with WebCrypto sign together', async () => {
    const server = await createDevice(undefined, nodeIdentity(generateKeyPairSync('ed25519').privateKey));
    const wallet = await createWallet({ threshold: 2, count: 2, devices: [server, await createDevice()] });
    const [first, second] = ecdsaSeats(wallet, { digest: fresh(32) });
    results(await play([{ ...first!, crypto: nodeCrypto }, second!]));
  });
});
