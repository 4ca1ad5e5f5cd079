/** HPKE: the vector that is published for our suite, and everything that must not open. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from './bytes.ts';
import { createSealingKey, sealTo } from './hpke.ts';

type Vector = Record<'info' | 'ikm_e' | 'ikm_r' | 'pk_r' | 'enc' | 'encryptions_accumulated', string>;
const vector = JSON.parse(readFileSync(new URL('../../../vectors/hpke.json', import.meta.url), 'utf8')) as Vector;

const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));
const buffer = (bytes: Uint8Array) => new Uint8Array(bytes).buffer;
const info = utf8ToBytes('kedge/answer/v1');
const aad = utf8ToBytes('the hash of the proof');

test('RFC 9180: X25519, HKDF-SHA256, AES-256-GCM in base mode gives the published bytes, 1,000 messages long', async () => {
  const key = await createSealingKey(() => hexToBytes(vector.ikm_r));
  assert.equal(bytesToHex(key.publicKey), vector.pk_r);
  const sender = await suite.createSenderContext({
    recipientPublicKey: await suite.kem.deserializePublicKey(buffer(key.publicKey)),
    info: buffer(hexToBytes(vector.info)),
    ekm: await suite.kem.deriveKeyPair(buffer(hexToBytes(vector.ikm_e))),
  });
  assert.equal(bytesToHex(new Uint8Array(sender.enc)), vector.enc);

  // As the vector's makers have it: inputs are drawn from SHAKE128 of nothing, a length byte first; outputs go into SHAKE128.
  const source = createHash('shake128', { outputLength: 1_000 * 512 }).digest();
  let at = 0;
  const draw = () => {
    const start = at + 1;
    at = start + source[at]!;
    return source.subarray(start, at);
  };
  const accumulated = createHash('shake128', { outputLength: 16 });
  for (let count = 0; count < 1_000; count++) {
    const [additional, plaintext] = [draw(), draw()];
    const ciphertext = new Uint8Array(await sender.seal(buffer(plaintext), buffer(additional)));
    accumulated.update(ciphertext);
    if (count > 0) continue; // ours are one-shot: the first message of a context
    const opened = await key.open(concatBytes(hexToBytes(vector.enc), ciphertext), hexToBytes(vector.info), additional);
    assert.deepEqual(opened, new Uint8Array(plaintext));
  }
  assert.equal(accumulated.digest('hex'), vector.encryptions_accumulated);
});

test('what is sealed opens, and the same message is never sealed to the same bytes', async () => {
  const key = await createSealingKey(random);
  for (const length of [0, 1, 32, 5_000]) {
    const plaintext = random(length);
    const sealed = await sealTo(key.publicKey, plaintext, info, aad);
    assert.equal(sealed.length, 32 + length + 16);
    assert.deepEqual(await key.open(sealed, info, aad), plaintext);
  }
  const [first, second] = [await sealTo(key.publicKey, aad, info, aad), await sealTo(key.publicKey, aad, info, aad)];
  assert.notDeepEqual(first, second);
});

test('a Buffer that shares its memory with others is sealed alone', async () => {
  const key = await createSealingKey(random);
  const sealed = await sealTo(
    Buffer.from(key.publicKey),
    Buffer.from('one secret'),
    Buffer.from(info),
    Buffer.from(aad),
  );
  assert.equal(sealed.length, 32 + 10 + 16);
  assert.deepEqual(await key.open(Buffer.from(sealed), Buffer.from(info), Buffer.from(aad)), utf8ToBytes('one secret'));
});

test('a message that was flipped, cut, or made for another act, proof or key does not open', async () => {
  const key = await createSealingKey(random);
  const other = await createSealingKey(random);
  const sealed = await sealTo(key.publicKey, utf8ToBytes('wallet key'), info, aad);
  const refused = { code: 'request_invalid' };
  for (let at = 0; at < sealed.length; at++) {
    const flipped = sealed.slice();
    flipped[at]! ^= 1;
    await assert.rejects(key.open(flipped, info, aad), refused, `byte ${at}`);
  }
  for (const length of [0, 31, 32, 47, sealed.length - 1])
    await assert.rejects(key.open(sealed.subarray(0, length), info, aad), refused);
  await assert.rejects(key.open(sealed, utf8ToBytes('kedge/answer/v2'), aad), refused);
  await assert.rejects(key.open(sealed, info, utf8ToBytes('another proof')), refused);
  await assert.rejects(other.open(sealed, info, aad), refused);
});

test('low-order point attack: nothing is sealed to a key with which the secret would be known to all', async () => {
  const lowOrder = [
    '00'.repeat(32),
    `01${'00'.repeat(31)}`,
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
    `ec${'ff'.repeat(30)}7f`,
  ];
  for (const point of lowOrder) {
    await assert.rejects(sealTo(hexToBytes(point), aad, info, aad), { code: 'proof_invalid' }, point);
  }
  for (const length of [0, 31, 33])
    await assert.rejects(sealTo(random(length), aad, info, aad), { code: 'proof_invalid' });
});
