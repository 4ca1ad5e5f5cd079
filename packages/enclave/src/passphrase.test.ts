/** age files under a passphrase: opened by the software of age's author, and open what that software seals. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decrypter, Encrypter } from 'age-encryption';
import { passphraseIdentity, passphraseRecipient } from './passphrase.ts';

const passphrase = 'correct horse battery staple';
const secret = new Uint8Array(100).fill(7);
const LIGHT = 10;

async function seal(workFactor?: number): Promise<Uint8Array> {
  const encrypter = new Encrypter();
  encrypter.addRecipient(passphraseRecipient(passphrase, workFactor));
  return encrypter.encrypt(secret);
}

async function open(sealed: Uint8Array, words = passphrase): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(passphraseIdentity(words));
  return decrypter.decrypt(sealed);
}

test('what is sealed here is opened by age-encryption, and the other way round', async () => {
  const theirs = new Decrypter();
  theirs.addPassphrase(passphrase);
  assert.deepEqual(await theirs.decrypt(await seal(LIGHT)), secret);
  const encrypter = new Encrypter();
  encrypter.setScryptWorkFactor(LIGHT);
  encrypter.setPassphrase(passphrase);
  assert.deepEqual(await open(await encrypter.encrypt(secret)), secret);
});

test('another passphrase, a flipped byte and a stanza of another form open nothing', async () => {
  const sealed = await seal(LIGHT);
  await assert.rejects(open(sealed, 'correct horse battery stable'));
  const flipped = sealed.slice();
  flipped[flipped.length - 1]! ^= 1;
  await assert.rejects(open(flipped));
  const text = Buffer.from(sealed).toString('latin1');
  for (const [from, to] of [
    [/ 10\n/, ' 21\n'],
    [/ 10\n/, ' 010\n'],
    [/ 10\n/, ' 10 10\n'],
    [/scrypt \S+/, 'scrypt AAAA'],
  ] as const)
    await assert.rejects(open(new Uint8Array(Buffer.from(text.replace(from, to), 'latin1'))));
});

test('while a passphrase is stretched as long as in a backup, the process goes on', async () => {
  let done = false;
  const sealing = seal().finally(() => {
    done = true;
  });
  const startedMs = performance.now();
  let longestMs = 0;
  while (!done) {
    const turnMs = performance.now();
    await new Promise((resolve) => setImmediate(resolve));
    longestMs = Math.max(longestMs, performance.now() - turnMs);
  }
  const tookMs = performance.now() - startedMs;
  assert.deepEqual(await open(await sealing), secret);
  assert.ok(longestMs < tookMs / 2, `it stood still for ${Math.round(longestMs)} of ${Math.round(tookMs)} ms`);
});
