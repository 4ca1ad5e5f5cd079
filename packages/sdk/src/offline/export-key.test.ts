/** Exported keys, opened by software that we did not write. */
import assert from 'node:assert/strict';
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import { computeAddress, decodeBase58, Wallet } from 'ethers';
import { exportKey } from './export-key.ts';

const key = new Uint8Array(32).map((_, index) => index + 1);
const hex = Buffer.from(key).toString('hex');

test('ethers opens the hex and the keystore to the same address', async () => {
  const passphrase = 'a passphrase of some length';
  const keystore = await exportKey(key, 'keystore', { passphrase, address: computeAddress(`0x${hex}`) });
  assert.equal(Wallet.fromEncryptedJsonSync(keystore, passphrase).privateKey, `0x${hex}`);
  assert.equal(new Wallet(`0x${(await exportKey(key, 'hex')).trim()}`).address, computeAddress(`0x${hex}`));
  assert.throws(() => Wallet.fromEncryptedJsonSync(keystore, 'another passphrase'), /incorrect password/);
});

test('the WIF is version, key, compression mark and double SHA-256 checksum', async () => {
  const bytes = Buffer.from(decodeBase58((await exportKey(key, 'wif')).trim()).toString(16), 'hex');
  const twice = createHash('sha256')
    .update(createHash('sha256').update(bytes.subarray(0, -4)).digest())
    .digest();
  assert.equal(bytes.toString('hex'), `80${hex}01${twice.subarray(0, 4).toString('hex')}`);
});

test('the Solana keypair is the seed and the public key that OpenSSL derives from it', async () => {
  const pair = JSON.parse(await exportKey(key, 'solana')) as number[];
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), key]);
  const { x } = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({ format: 'jwk' });
  assert.deepEqual(pair, [...key, ...Buffer.from(x!, 'base64url')]);
});

test('a short passphrase and a key of another length are refused', async () => {
  await assert.rejects(exportKey(key, 'keystore', { passphrase: 'short' }), { code: 'request_invalid' });
  await assert.rejects(exportKey(key.subarray(1), 'hex'), { code: 'request_invalid' });
});
