/** The words on the device: what they derive, and what is refused before anything is sent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToHex } from '@kedge/core';
import { createWords, openWrapSecret, sealWrapSecret, secretsOfWords } from './words.ts';

const known = 'abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about';

test('words are twelve, valid, and never the same', async () => {
  const [first, second] = [createWords(), createWords()];
  assert.equal(first.split(' ').length, 12);
  assert.notEqual(first, second);
  await secretsOfWords(first);
});

test('the two secrets of the words differ, and spelling with other spaces or case changes nothing', async () => {
  const secrets = await secretsOfWords(known);
  assert.notEqual(bytesToHex(secrets.recoverySecret), bytesToHex(secrets.secondWrapKey));
  const respelled = await secretsOfWords(`  ${known.toUpperCase().replaceAll(' ', '  ')}\n`);
  assert.deepEqual(respelled, secrets);
});

test('a missing, misspelled or swapped word is refused on the device', async () => {
  for (const words of [
    known.replace(/ about$/, ''),
    known.replace('about', 'abuot'),
    known.replace('about', 'zoo'),
    '',
  ]) {
    await assert.rejects(secretsOfWords(words), { code: 'request_invalid' }, words);
  }
});

test('the wrap secret opens with its words and with no others', async () => {
  const { secondWrapKey } = await secretsOfWords(known);
  const wrapSecret = new Uint8Array(32).fill(7);
  const sealed = sealWrapSecret(secondWrapKey, wrapSecret);
  assert.deepEqual(openWrapSecret(secondWrapKey, sealed), wrapSecret);
  assert.equal(openWrapSecret((await secretsOfWords(createWords())).secondWrapKey, sealed), null);
});
