/** The enclave's half of HPKE: the published keys, the library on the other side, and keys nothing may be sealed to. */
import assert from 'node:assert/strict';
import { createHmac, createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { bytesToHex, createSealingKey, hexToBytes, utf8ToBytes } from '@kedge/core';
import { sealFrom, sealTo } from './hpke.ts';

type Vector = Record<'info' | 'ikm_e' | 'ikm_r' | 'pk_r' | 'enc', string>;
const vector = JSON.parse(readFileSync(new URL('../../../vectors/hpke.json', import.meta.url), 'utf8')) as Vector;
const random = (length: number) => new Uint8Array(randomBytes(length));
const info = utf8ToBytes('kedge/answer/v1');
const aad = utf8ToBytes('the hash of the proof');

/** RFC 9180 §7.1.3, DeriveKeyPair. */
function derivedKeyPair(ikm: Uint8Array) {
  const labeled = 'HPKE-v1KEM\0\u0020';
  const prk = createHmac('sha256', '').update(`${labeled}dkp_prk`).update(ikm).digest();
  const secret = createHmac('sha256', prk).update(`\0\u0020${labeled}sk\u0001`).digest();
  const key = Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), secret]);
  const privateKey = createPrivateKey({ key, format: 'der', type: 'pkcs8' });
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

test('RFC 9180: from the published ephemeral key, the library opens what was sealed, with the published info', async () => {
  const recipient = await createSealingKey(() => hexToBytes(vector.ikm_r));
  assert.equal(bytesToHex(recipient.publicKey), vector.pk_r);
  const plaintext = random(40);
  const sealed = sealFrom(
    derivedKeyPair(hexToBytes(vector.ikm_e)),
    recipient.publicKey,
    plaintext,
    hexToBytes(vector.info),
    aad,
  );
  assert.equal(bytesToHex(sealed.subarray(0, 32)), vector.enc);
  assert.deepEqual(await recipient.open(sealed, hexToBytes(vector.info), aad), plaintext);
});

test('the library opens messages of any length, and no two are alike', async () => {
  const key = await createSealingKey(random);
  for (const length of [0, 1, 40, 5_000]) {
    const plaintext = random(length);
    const sealed = sealTo(key.publicKey, plaintext, info, aad);
    assert.equal(sealed.length, 32 + length + 16);
    assert.deepEqual(await key.open(sealed, info, aad), plaintext);
  }
  assert.notDeepEqual(sealTo(key.publicKey, aad, info, aad), sealTo(key.publicKey, aad, info, aad));
});

test('a message for another act, proof or key does not open', async () => {
  const [key, other] = [await createSealingKey(random), await createSealingKey(random)];
  const sealed = sealTo(key.publicKey, utf8ToBytes('wallet key'), info, aad);
  const refused = { code: 'request_invalid' };
  await assert.rejects(key.open(sealed, utf8ToBytes('kedge/answer/v2'), aad), refused);
  await assert.rejects(key.open(sealed, info, utf8ToBytes('another proof')), refused);
  await assert.rejects(other.open(sealed, info, aad), refused);
});

test('low-order point attack: nothing is sealed to a key with which the secret would be known to all', () => {
  const lowOrder = [
    '00'.repeat(32),
    `01${'00'.repeat(31)}`,
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
    `ec${'ff'.repeat(30)}7f`,
    `ed${'ff'.repeat(30)}7f`,
    `ee${'ff'.repeat(30)}7f`,
  ];
  for (const point of lowOrder)
    assert.throws(() => sealTo(hexToBytes(point), aad, info, aad), { code: 'proof_invalid' }, point);
  for (const length of [0, 31, 33])
    assert.throws(() => sealTo(random(length), aad, info, aad), { code: 'proof_invalid' });
});
