/** dual-secret: which losses it survives, which thefts it withstands, and derivations that may never change. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { bytesToHex, utf8ToBytes } from '../bytes.ts';
import { addressBytes } from '../sealed.ts';
import { forAll } from './conformance.ts';
import {
  clientSecretAddress,
  dualSecret,
  recoverySecret,
  secondWrapKey,
  serverWrapAddress,
  walletAddress,
  walletHalf,
} from './dual-secret.ts';
import type { Holding } from './scheme.ts';

const plain = { secondWrap: false };
const wrapped = { secondWrap: true };

/** What an owner has who never exported, minus what is lost. */
const left = (kind: typeof plain, ...lost: Holding[]) =>
  new Set(dualSecret.holdings(kind).filter((holding) => holding !== 'export' && !lost.includes(holding)));

test('losses: the words bring back a lost device, a device brings back lost words, both lost is the end', () => {
  for (const kind of [plain, wrapped]) {
    assert.equal(dualSecret.canRecover(kind, left(kind, 'client_key')), true, 'device lost');
    assert.equal(dualSecret.canRecover(kind, left(kind, 'recovery_words')), true, 'words lost');
    assert.equal(dualSecret.canRecover(kind, left(kind, 'client_key', 'recovery_words')), false, 'both lost');
  }
});

test('losses: without the server key, either database or the service only an export helps', () => {
  for (const kind of [plain, wrapped]) {
    for (const lost of [
      ['server_key'],
      ['client_secret'],
      ['sealed_wallet'],
      ['server_key', 'client_secret', 'sealed_wallet'],
    ] as Holding[][]) {
      const rest = left(kind, ...lost);
      assert.equal(dualSecret.canRecover(kind, rest), false, lost.join());
      assert.equal(dualSecret.canRecover(kind, new Set([...rest, 'export'])), true, lost.join());
    }
  }
});

test('thefts: both databases, or the HSM, open nothing; all three open a wallet without the second wrap', () => {
  const thefts: readonly (readonly [Holding[], plain: boolean, wrapped: boolean])[] = [
    [['client_secret', 'sealed_wallet'], false, false],
    [['server_key'], false, false],
    [['server_key', 'sealed_wallet'], false, false],
    [['server_key', 'client_secret'], false, false],
    [['server_key', 'client_secret', 'sealed_wallet'], true, false],
    [['client_key', 'client_secret', 'sealed_wallet'], false, false],
    [['client_key', 'recovery_words'], false, false],
    [['server_key', 'client_secret', 'sealed_wallet', 'recovery_words'], true, true],
    [['server_key', 'client_secret', 'sealed_wallet', 'client_key'], true, true],
    [['export'], true, true],
  ];
  for (const [stolen, spends, spendsWrapped] of thefts) {
    assert.equal(dualSecret.canSpend(plain, new Set(stolen)), spends, stolen.join());
    assert.equal(dualSecret.canSpend(wrapped, new Set(stolen)), spendsWrapped, `second wrap: ${stolen.join()}`);
  }
});

test('nobody spends without the server key, the client secret and the sealed wallet together, but for an export', () => {
  forAll(dualSecret, (kind, held) => {
    if (!dualSecret.canSpend(kind, held) || held.has('export')) return;
    for (const needed of ['server_key', 'client_secret', 'sealed_wallet'] as const)
      assert.equal(held.has(needed), true, needed);
  });
});

test('the derivations are HKDF-SHA256 as documented, so that a wallet of today opens tomorrow', () => {
  const seed = Uint8Array.from({ length: 64 }, (_, at) => at);
  const secret = seed.subarray(0, 32);
  // RFC 5869, one block, no salt; made here from HMAC alone. The client secret is uniform: expanded, not extracted.
  const expand = (key: Uint8Array, info: string) =>
    createHmac('sha256', key).update(info).update(Uint8Array.of(1)).digest('hex');
  const expected = (key: Uint8Array, info: string) =>
    expand(createHmac('sha256', new Uint8Array(32)).update(key).digest(), info);
  assert.equal(bytesToHex(recoverySecret(seed)), expected(seed, 'kedge/recovery/v1'));
  assert.equal(bytesToHex(secondWrapKey(seed)), expected(seed, 'kedge/second-wrap/v1'));
  assert.equal(bytesToHex(walletHalf(secret, 'w')), expand(secret, 'kedge/wallet-half/v1/w'));
});

test('no two of the addresses that data is bound to are alike', () => {
  const addresses = [
    clientSecretAddress('p', 'u', 1),
    clientSecretAddress('p', 'u', 2),
    clientSecretAddress('u', 'p', 1),
    walletAddress('data-key', 'p', 'u', 'w'),
    walletAddress('payload', 'p', 'u', 'w'),
    walletAddress('payload', 'p', 'w', 'u'),
    serverWrapAddress('00', 1),
    serverWrapAddress('00', 2),
    serverWrapAddress('01', 1),
    [new TextDecoder().decode(utf8ToBytes('kedge/wallet/payload/v1'))],
  ].map((address) => bytesToHex(addressBytes(address)));
  assert.equal(new Set(addresses).size, addresses.length);
});
