/**
 * The attack L1: after a whole life of the service, a thief greps everything that it left on the disk and in its logs
 * for every secret that there was: raw, in hex, base64, base64url, UTF-16 and reversed. A secret is found in its own home
 * or nowhere.
 */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { test } from 'node:test';
import { addressBytes, clientSecretAddress, fromBase64Url, recoverySecret, secondWrapKey } from '@kedge/core';
import { openSoftware } from '@kedge/enclave';
import { type Account, recover, signUp } from '@kedge/sdk';
import { Mnemonic } from 'ethers';
import { grepFolder, grepText, type Marker } from './attacks/grep.ts';
import { readDump } from './attacks/loot.ts';
import { World } from './harness/world.ts';

const STRANGER = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';

test('no secret is found outside its home, in files, dumps or logs, in any spelling', async (t) => {
  const world = await World.open({ database: 'pglite', hsm: 'software', prepared: true });
  t.after(() => world.close());
  writeFileSync(world.home.file('kedge.toml'), 'log_level = "debug"\n');
  await world.start();
  await world.createProject();
  const { key: secretKey } = (await world.kedge('key', 'create', '--kind', 'secret')).json as { key: string };

  const email = 'ada@example.org';
  const { account, words } = await signUp(world.app(), { email });
  const vault = await account.createVault('savings');
  const [plain, wrapped] = [
    await account.createWallet(vault.id),
    await account.createWallet(vault.id, { secondWrap: true }),
  ];
  const [plainKey, wrappedKey] = [await account.openWallet(plain), await account.openWallet(wrapped)];
  await world.evm.fund(plain.address, 10n ** 18n);
  await account.transfer(plain, { to: STRANGER, amount: 10n ** 15n });
  const recovered = await recover(world.app(), { account: email, words });
  const { words: newWords } = await recovered.replaceWords();

  const markers: Marker[] = [
    { name: 'the secret key of the project', secret: secretKey },
    { name: 'the key of a wallet', secret: plainKey },
    { name: 'the key of a second-wrapped wallet', secret: wrappedKey },
    ...wordMarkers('the words', words),
    ...wordMarkers('the new words', newWords),
    ...(await deviceMarkers('the device', account)),
    ...(await deviceMarkers('the recovered device', recovered)),
  ];
  await misplace(world, markers, recovered);

  const { folder, passphraseFile } = await world.dump();
  markers.push({ name: 'the passphrase of the backup', secret: readFileSync(passphraseFile, 'utf8') });
  markers.push({ name: 'the key of the gateway', secret: readFileSync(world.home.file('gateway.key')) });
  for (const name of readdirSync(world.home.file('operators'))) {
    const { pkcs8 } = JSON.parse(readFileSync(world.home.file('operators', name), 'utf8')) as { pkcs8: string };
    markers.push({ name: `the key in ${name}`, secret: scalarOf(fromBase64Url(pkcs8)) });
  }
  markers.push(...(await serviceMarkers(world, folder)));
  await world.kill(); // the write-ahead logs are as a crash leaves them

  const places = (hits: readonly string[]) =>
    [...new Set(hits.map((hit) => hit.replace(/ \(.*\) in /, ' in ')))].sort();
  assert.deepEqual(places(grepFolder(world.folder, markers)), [
    'the key in operator-1.json in home/operators/operator-1.json',
    'the key in operator-2.json in home/operators/operator-2.json',
    'the key of the gateway in home/gateway.key',
    `the passphrase of the backup in backups/${basename(passphraseFile)}`,
  ]);
  assert.deepEqual(grepText('the logs', world.logs.join('\n'), markers), []);

  const name: Marker = { name: 'the name of the account', secret: email };
  const found = places(grepFolder(world.folder, [name]));
  assert.equal(
    found.some((hit) => hit.includes('home/primary/pg_wal')) && found.some((hit) => hit.endsWith('primary.jsonl.gz')),
    true,
    'what is no secret is found, so the grep can see',
  );
  assert.equal(
    found.some((hit) => hit.includes('home/vault') || hit.includes('vault.jsonl.gz')),
    false,
    'and not in the vault',
  );
  t.diagnostic(`${markers.length} secrets, ${world.logs.length} lines of log`);
});

function wordMarkers(name: string, words: string): Marker[] {
  const seed = Buffer.from(Mnemonic.fromPhrase(words).computeSeed().slice(2), 'hex');
  const list = words.split(' ');
  return [
    { name, secret: words },
    { name: `${name}, the first four`, secret: list.slice(0, 4).join(' ') },
    { name: `${name}, as a list`, secret: list.slice(0, 4).join('","') },
    { name: `the seed of ${name}`, secret: seed },
    { name: `the recovery secret of ${name}`, secret: recoverySecret(seed) },
    { name: `the second-wrap key of ${name}`, secret: secondWrapKey(seed) },
  ];
}

async function deviceMarkers(name: string, { device }: Account): Promise<Marker[]> {
  return [
    { name: `the client key of ${name}`, secret: scalarOf(await device.clientKey.exportPrivate()) },
    { name: `the session of ${name}`, secret: device.sessionToken },
    { name: `the wrap secret of ${name}`, secret: device.wrapSecret! },
  ];
}

/** What only the enclave knows: taken with its root, as no thief could. */
async function serviceMarkers(world: World, folder: string): Promise<Marker[]> {
  const rootKeys = await openSoftware({ file: world.home.file('root.keys'), create: false });
  const loot = await readDump(world, folder);
  const { row: user } = loot.primary.find(({ table }) => table === 'users')!;
  const { row: head } = loot.vault.find(({ table }) => table === 'head')!;
  const sealed = user.client_secret as Uint8Array;
  const version = new DataView(sealed.buffer, sealed.byteOffset).getUint32(0);
  const address = addressBytes(clientSecretAddress(String(user.project), String(user.id), version));
  return [
    {
      name: 'the client secret',
      secret: await rootKeys.unwrap({ purpose: 'client_secret', version }, sealed.subarray(4), address),
    },
    {
      name: 'the key of the state',
      secret: await rootKeys.unwrap(
        { purpose: 'state', version: 1 },
        head.state_key as Uint8Array,
        Buffer.from('kedge/state-key/v1'),
      ),
    },
  ];
}

function scalarOf(pkcs8: Uint8Array): Uint8Array {
  const { d } = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' }).export({ format: 'jwk' });
  return fromBase64Url(d!);
}

/** Every secret once in every place where a confused app could put it. Only where it is a credential it may be taken. */
async function misplace(world: World, markers: readonly Marker[], { device }: Account): Promise<void> {
  const { url, publishableKey } = world.app();
  const json = { 'content-type': 'application/json' };
  const asApp = { ...json, authorization: `Bearer ${publishableKey}` };
  const asUser = { ...json, authorization: `Bearer ${device.sessionToken}` };
  for (const { secret } of markers) {
    const text = typeof secret === 'string' ? secret : Buffer.from(secret).toString('hex');
    const requests: [path: string, init: RequestInit][] = [
      ['/v1/users', { method: 'POST', headers: asApp, body: JSON.stringify({ words: text, sealed_recovery: text }) }],
      ['/v1/users', { method: 'POST', headers: asApp, body: JSON.stringify({ [text]: text }) }],
      ['/v1/users', { method: 'POST', headers: asApp, body: `{"email": "${text}` }],
      [
        '/v1/recoveries',
        { method: 'POST', headers: asApp, body: JSON.stringify({ account: text, sealed_recovery: text }) },
      ],
      ['/v1/vaults', { headers: { authorization: `Bearer ${text}` } }],
      [
        '/v1/vaults',
        {
          method: 'POST',
          headers: { ...asUser, 'idempotency-key': text },
          body: JSON.stringify({ scheme: text, label: 'x' }),
        },
      ],
      [
        '/v1/sessions',
        {
          method: 'POST',
          headers: { ...asApp, 'kedge-proof': text },
          body: JSON.stringify({ user_id: device.userId }),
        },
      ],
      [`/v1/wallets/${encodeURIComponent(text)}`, { headers: asUser }],
      [`/v1/vaults?cursor=${encodeURIComponent(text)}`, { headers: asUser }],
      [`/${encodeURIComponent(text)}`, {}],
    ];
    for (const [path, init] of requests) {
      const { status } = await fetch(new URL(path, url), init);
      assert.equal(status < 500, true, `${init.method ?? 'GET'} ${path.slice(0, 14)}… answers ${status}`);
    }
  }
}
