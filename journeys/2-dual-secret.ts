/**
 * Journey 2, dual-secret: from sign-up through every loss it survives to leaving without us. The service runs as
 * processes of its own; the chain is anvil; what the wallets sign is checked with ethers, which we did not write.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { type Account, recover, resume, signUp, type Wallet } from '@kedge/sdk';
import { exportKey } from '@kedge/sdk/offline';
import { Transaction as EthersTransaction, Wallet as EthersWallet } from 'ethers';
import { runGateway } from './attacks/hostile-gateway.ts';
import { readDump } from './attacks/loot.ts';
import { runThief } from './attacks/thief.ts';
import { check, checkRefused, type Journey, type Step, until } from './harness/journey.ts';
import type { World } from './harness/world.ts';

const WEI_PER_ETHER = 10n ** 18n;
const STRANGER = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';
const USERS = 20;
const WALLETS_PER_USER = 10;
const DAY_MS = 86_400_000;

interface Cast {
  account: Account;
  words: string;
  email: string;
  wallets: Wallet[];
}

export const dualSecretJourney: Journey = { number: 2, scheme: 'dual-secret', steps };

function steps(world: World): readonly Step[] {
  const sent: string[] = [];
  const watching: typeof fetch = async (input, init) => {
    sent.push(`${String(input)} ${String(init?.body ?? '')} ${JSON.stringify(init?.headers ?? {})}`);
    return fetch(input, init);
  };
  const app = () => ({ ...world.app(), fetch: watching });
  const ada: Cast = { account: null as unknown as Account, words: '', email: 'ada@example.org', wallets: [] };
  let wrapped: Wallet;
  let exported: { wallet: Wallet; hex: string; keystore: string };

  const spend = async (account: Account, wallet: Wallet) => {
    const transaction = await account.transfer(wallet, { to: STRANGER, amount: WEI_PER_ETHER / 100n });
    return mined(world, transaction.raw_tx, wallet.address);
  };

  return [
    {
      title: 'Sign-up: twelve words made on the device, never sent',
      async run(tell) {
        await world.start();
        await world.createProject();
        const signedUp = await signUp(app(), { email: ada.email });
        Object.assign(ada, signedUp);
        const secrets = ada.words.split(' ');
        check(secrets.length === 12, 'there are twelve words');
        check(
          !sent.some((request) => request.includes(ada.words) || request.includes(secrets.slice(0, 3).join(' '))),
          'no request holds the words',
        );
        const loot = await readDump(world);
        const user = loot.primary.find((row) => row.table === 'users' && row.row.id === ada.account.device.userId);
        check(
          user !== undefined && user.row.client_secret instanceof Uint8Array,
          'the client secret lies sealed in the primary database',
        );
        const keys = await ada.account
          .client()
          .call('listClientKeys', { params: { user_id: ada.account.device.userId } });
        check(keys.data.length === 1, 'one client key is enrolled');
        tell(
          `Ada signs up as ${ada.account.device.userId}. Her words were shown to her once; ${sent.length} requests were sent and none holds them.`,
        );
        tell(
          'The server keeps a fingerprint of the secret derived from them, and her client secret sealed under the server key.',
        );
        return {
          user_id: ada.account.device.userId,
          requests: sent.length,
          words_sent: false,
          client_keys: keys.data.length,
          client_secret_bytes: (user.row.client_secret as Uint8Array).length,
        };
      },
    },
    {
      title: 'Two wallets, sealed in rows that name nobody',
      async run(tell) {
        const vault = await ada.account.createVault('savings');
        ada.wallets = [await ada.account.createWallet(vault.id), await ada.account.createWallet(vault.id)];
        const loot = await readDump(world);
        const rows = loot.vault.filter((row) => row.table === 'wallets');
        check(rows.length === 2, 'the vault database holds two sealed wallets');
        const text = JSON.stringify(loot.vaultLines);
        const names = [
          ada.account.device.userId,
          ada.email,
          vault.id,
          ...ada.wallets.flatMap((wallet) => [wallet.id, wallet.address, wallet.public_key]),
        ];
        for (const name of names)
          check(!text.toLowerCase().includes(name.toLowerCase()), `the vault dump does not name ${name}`);
        check(
          new Set(rows.map((row) => (row.row.payload as Uint8Array).length)).size === 1,
          'all sealed wallets have the same size',
        );
        tell(`Wallets ${ada.wallets.map((wallet) => wallet.address).join(' and ')}. ${ada.wallets[0]!.custody}`);
        tell('Their rows in the vault database hold no id, address, e-mail or time.');
        return {
          wallets: ada.wallets.map(({ id, address, custody }) => ({ id, address, custody })),
          vault_rows: rows.length,
        };
      },
    },
    {
      title: 'A transfer, signed on the device with the key sealed to it',
      async run(tell) {
        await world.evm.fund(ada.wallets[0]!.address, WEI_PER_ETHER);
        const evidence = await spend(ada.account, ada.wallets[0]!);
        tell(`Mined in block ${Number(evidence.receipt.blockNumber)}: ${evidence.tx_hash}`);
        return evidence;
      },
    },
    {
      title: 'All devices lost: the words recover the account',
      async run(tell) {
        const old = ada.account;
        const oldDevice = { ...old.device };
        ada.account = await recover(app(), { account: ada.email, words: ada.words });
        check(ada.account.device.userId === oldDevice.userId, 'it is the same account');
        await checkRefused(old.client().call('listVaults', {}), 'unauthenticated');
        await checkRefused(resume(app(), oldDevice).signIn(), 'proof_invalid');
        const evidence = await spend(ada.account, ada.wallets[0]!);
        tell('The old session and the old key have ended; the same address spends again.');

        const bert = await signUp(app(), { email: 'bert@example.org' });
        const tries: string[] = [];
        for (let attempt = 1; attempt <= 11; attempt++) {
          const { code } = await checkRefused(
            recover(app(), { account: 'bert@example.org', words: ada.words }),
            'recovery_refused',
            'recovery_limited',
          );
          tries.push(code);
        }
        check(
          tries.slice(0, 10).every((code) => code === 'recovery_refused') && tries[10] === 'recovery_limited',
          'ten wrong tries are refused and the eleventh is not even looked at',
        );
        await checkRefused(recover(app(), { account: 'bert@example.org', words: bert.words }), 'recovery_limited');

        const oldWords = ada.words;
        ada.words = (await ada.account.replaceWords()).words;
        await checkRefused(recover(app(), { account: ada.email, words: oldWords }), 'recovery_refused');
        ada.account = await recover(app(), { account: ada.email, words: ada.words });
        tell(
          'Well-formed wrong words fail; the eleventh try within the hour is refused even with the right ones. Replaced words stop at once.',
        );
        return { ...evidence, tries, user_id: ada.account.device.userId };
      },
    },
    {
      title: 'The server key is rotated under traffic, killed in the middle, and the old one destroyed',
      run: (tell) => rotate(world, ada, tell),
    },
    {
      title: 'Thieves of each database, of both, and a hostile gateway',
      async run(tell) {
        const folder = (await world.dump()).folder;
        const results: Record<string, unknown> = {};
        for (const what of ['primary', 'vault', 'both'] as const) {
          const result = await runThief(world, { what, folder, leaked: false });
          check(result.ciphertextsOpened === 0, `the thief of ${what} opens nothing`);
          results[what] = {
            ciphertexts: result.ciphertexts,
            strings: result.strings,
            attempts: result.attempts,
            opened: 0,
          };
          tell(
            `A thief with ${what === 'both' ? 'both dumps' : `the ${what} dump`}, our source and all logs: ${result.attempts.toLocaleString('en')} attempts, nothing opens.`,
          );
        }
        const control = await runThief(world, { what: 'both', folder, leaked: true });
        check(
          world.rootIsHardware || control.ciphertextsOpened > 0,
          'the same trying of strings succeeds with those of a leaked root',
        );
        check(
          control.opened.some((address) => ada.wallets.some((wallet) => wallet.address === address)),
          'the same thief with a leaked server key opens Ada’s wallet',
        );
        tell(
          `Control: with the server key leaked, the same thief opens ${control.opened.length} wallets, so the check can fail.`,
        );
        (await ada.account.openWallet(ada.wallets[0]!)).fill(0);
        const seenProof = /"kedge-proof":"([^"]+)"/.exec(sent.findLast((request) => request.includes('/open '))!)![1]!;
        const hostile = await runGateway(world, {
          folder,
          user: ada.account.device.userId,
          wallet: ada.wallets[0]!.id,
          seenProof,
        });
        check(hostile.opened === 0, 'a hostile gateway opens nothing');
        tell(
          `A hostile gateway with both databases and the enclave’s socket: ${hostile.refused.length} calls, each refused.`,
        );
        return {
          thieves: results,
          control: { ciphertexts_opened: control.ciphertextsOpened, wallets_opened: control.opened.length },
          hostile_gateway: hostile,
        };
      },
    },
    {
      title: 'The second wrap: nobody opens it without the user’s words',
      async run(tell) {
        const vault = await ada.account.createVault('cold');
        wrapped = await ada.account.createWallet(vault.id, { secondWrap: true });
        check(
          /Nobody can open/.test(wrapped.custody) && /could open/.test(ada.wallets[0]!.custody),
          'the labels say which wallet the operator could open',
        );
        const loot = await runThief(world, { what: 'both', folder: (await world.dump()).folder, leaked: true });
        check(!loot.opened.includes(wrapped.address), 'the operator with everything but the words does not open it');
        check(loot.opened.includes(ada.wallets[0]!.address), 'while the same operator opens the other wallet');
        check(loot.wrapped > 0, 'what the operator finds in the place of the key is sealed again');
        ada.account = await recover(app(), { account: ada.email, words: ada.words });
        await world.evm.fund(wrapped.address, WEI_PER_ETHER);
        const evidence = await spend(ada.account, wrapped);
        tell(`${wrapped.address}: “${wrapped.custody}”`);
        tell(
          'The operator with the HSM, both databases and the source opens the plain wallet and not this one. Ada, with her words on a new device, spends from it.',
        );
        return { ...evidence, label: wrapped.custody, operator_opened: false };
      },
    },
    {
      title: 'Leaving: the exported key spends with the service gone',
      async run(tell) {
        const wallet = ada.wallets[0]!;
        const key = await ada.account.openWallet(wallet, { leaving: true });
        const passphrase = 'correct horse battery staple';
        exported = {
          wallet,
          hex: await exportKey(key, 'hex'),
          keystore: await exportKey(key, 'keystore', { passphrase, address: wallet.address }),
        };
        key.fill(0);
        const { url } = world.service!;
        await world.stop();
        check(await portRefused(url), 'the port of the service is refused');
        const fromHex = new EthersWallet(`0x${exported.hex.trim()}`);
        const fromKeystore = EthersWallet.fromEncryptedJsonSync(exported.keystore, passphrase);
        check(
          fromHex.address === wallet.address && fromKeystore.address === wallet.address,
          'ethers opens both forms to the same address',
        );
        const evidence = await ethersSpend(world, fromKeystore.privateKey, wallet.address);
        await world.start();
        const again = await ada.account.client().call('getWallet', { params: { wallet_id: wallet.id } });
        check(again.exported_at !== null, 'the wallet stays marked exported');
        tell(
          `ethers opened hex and keystore and spent from ${wallet.address} while our ports were closed. The wallet stays marked exported.`,
        );
        return { ...evidence, exported_at: again.exported_at, opened_by: 'ethers' };
      },
    },
    {
      title: 'Backup, total loss, restore; and a database put back to yesterday',
      async run(tell) {
        const { folder, passphraseFile } = await world.dump();
        check((await world.kedge('backup', 'verify', folder)).json.ok === true, 'the backup verifies offline');
        const pk = world.app().publishableKey;
        await world.stop();
        await world.loseEverything();
        await world.kedge(
          'backup',
          'restore',
          folder,
          ...(world.rootIsHardware ? [] : ['--passphrase-file', passphraseFile]),
        );
        const restored = await world.start();
        writeFileSync(world.home.file('publishable-key'), pk, { mode: 0o600 });
        check(restored.sealed !== null, 'a restored enclave starts sealed');
        await checkRefused(ada.account.openWallet(ada.wallets[1]!), 'unauthenticated');
        await checkRefused(ada.account.signIn(), 'enclave_sealed');
        await world.kedge('enclave', 'accept-restore');
        await world.evm.fund(ada.wallets[1]!.address, WEI_PER_ETHER);
        await ada.account.signIn();
        const evidence = await spend(ada.account, ada.wallets[1]!);
        tell(
          `Everything was deleted and restored from the backup. The enclave started sealed (“${restored.sealed}”), opened nothing, and after two operators accepted, Ada spends.`,
        );

        await world.stop();
        const putBack = await world.copyVault();
        await world.start();
        ada.words = (await ada.account.replaceWords()).words;
        await world.stop();
        await putBack();
        const yesterday = await world.start();
        check(yesterday.sealed !== null, 'a vault database put back to yesterday is noticed at boot');
        tell(`A vault database put back to yesterday by hand: “${yesterday.sealed}”.`);
        await world.kedge('enclave', 'accept-restore');
        return { ...evidence, sealed_after_restore: restored.sealed, sealed_after_rollback: yesterday.sealed };
      },
    },
    {
      title: 'The ledger of all that happened, verified offline',
      async run(tell) {
        const file = join(world.folder, 'ledger.jsonl');
        await world.kedge('ledger', 'export', file);
        await world.stop();
        const whole = await world.kedge('ledger', 'verify', file);
        check(whole.json.ok === true, 'the ledger verifies against the signed head');
        const lines = readFileSync(file, 'utf8').trim().split('\n');
        const middle = Math.floor(lines.length / 2);
        const tampered: Record<string, readonly string[]> = {
          'a flipped byte': lines.with(middle, lines[middle]!.replace(/\\"at\\":\\"2/, '\\"at\\":\\"3')),
          'a dropped row': lines.toSpliced(middle, 1),
          'a swapped row': lines.with(middle, lines[middle + 1]!).with(middle + 1, lines[middle]!),
        };
        const found: Record<string, unknown> = {};
        for (const [name, altered] of Object.entries(tampered)) {
          const copy = join(world.folder, 'tampered.jsonl');
          writeFileSync(copy, `${altered.join('\n')}\n`);
          const verdict = await world.tryKedge('ledger', 'verify', copy, '--head', `${file}.head`);
          check(verdict.code === 1 && verdict.json.ok === false, `${name} is found`);
          found[name] = verdict.json.reason;
        }
        tell(
          `${String(whole.json.events)} events hold, with the service stopped. A flipped byte, a dropped row and a swapped row are each found.`,
        );
        return { events: whole.json.events, found };
      },
    },
  ];
}

async function rotate(world: World, ada: Cast, tell: (sentence: string) => void): Promise<Record<string, unknown>> {
  const crowd: { account: Account; wallets: Wallet[] }[] = [];
  const app = { ...world.app(), patienceMs: 60_000 }; // rides out a restart of both processes
  for (let user = 0; user < USERS; user++) {
    const { account } = await signUp(app, { externalId: `user-${user}` });
    const vault = await account.createVault('crowd');
    const wallets: Wallet[] = [];
    for (let index = 0; index < WALLETS_PER_USER; index++) wallets.push(await account.createWallet(vault.id));
    crowd.push({ account, wallets });
  }
  const before = await readDump(world);
  const superseded = before.ciphertextsUnderServerKey();

  let opens = 0;
  let ended = false;
  const failures: string[] = [];
  const traffic = (async () => {
    for (let turn = 0; !ended; turn++) {
      const { account, wallets } = crowd[turn % USERS]!;
      const wallet = wallets[Math.floor(turn / USERS) % WALLETS_PER_USER]!;
      await account.openWallet(wallet).then(
        (key) => {
          key.fill(0);
          opens += 1;
        },
        (error: Error) => failures.push(error.message),
      );
      await pause(120); // a crowd, not a flood: the limits are on
    }
  })();

  await until(async () => (opens >= USERS ? opens : null));
  world.service!.children.enclave.send({ die_at: 'vault wallets 1 before' });
  await world.kedge('rotate', 'start');
  await world.service!.children.enclave.ended;
  await world.kill();
  await world.start();
  const status = (await world.kedge('rotate', 'status')).json as unknown as Rotation;
  check(status.running, 'after the restart the rotation is still under way');
  await world.advance(70_000);
  const finished = await until(async () => {
    const now = (await world.kedge('rotate', 'status')).json as unknown as Rotation;
    return now.running ? null : now;
  });
  ended = true;
  await traffic;
  check(failures.length === 0, `no open fails (${failures[0] ?? ''})`);
  const active = finished.versions.find((version) => version.state === 'active')!;
  check(
    active.wallets >= USERS * WALLETS_PER_USER && active.client_secrets >= USERS,
    'every client secret and wallet is under the new version',
  );
  check(
    finished.versions.every(
      (version) => version.state === 'active' || (version.wallets === 0 && version.client_secrets === 0),
    ),
    'nothing is under the old one',
  );
  tell(
    `${active.client_secrets} client secrets and ${active.wallets} wallets rewrapped; killed with -9 when ${status.done} of ${status.total} were done, and finished after a restart. ${opens} opens meanwhile, none failed.`,
  );

  const early = await world.tryKedge('rotate', 'destroy', '1');
  check(early.code !== 0, 'the old version cannot be destroyed at once');
  await world.advance(7 * DAY_MS + 1_200_000);
  const destroyed = (await world.kedge('rotate', 'destroy', '1')).json as unknown as Rotation;
  check(
    destroyed.versions.some((version) => version.version === 1 && version.state === 'destroyed'),
    'after seven days two operators destroy it',
  );
  const after = await readDump(world);
  const left = superseded.filter((hex) => after.contains(hex));
  check(left.length === 0, 'a dump taken afterwards holds no superseded ciphertext');
  await ada.account.signIn();
  const key = await ada.account.openWallet(ada.wallets[0]!);
  key.fill(0);
  tell(
    `Seven days later two operators destroyed version 1. None of its ${superseded.length} ciphertexts is in a dump taken afterwards.`,
  );
  return {
    rewrapped: { client_secrets: active.client_secrets, wallets: active.wallets },
    opens,
    failed_opens: 0,
    killed_at: { done: status.done, total: status.total },
    superseded: superseded.length,
    left: 0,
    versions: destroyed.versions,
  };
}

interface Rotation {
  readonly running: boolean;
  readonly done: number;
  readonly total: number;
  readonly versions: readonly { version: number; state: string; wallets: number; client_secrets: number }[];
}

interface TransactionEvidence extends Record<string, unknown> {
  readonly chain: 'evm';
  readonly address: string;
  readonly raw_tx: string;
  readonly tx_hash: string;
  readonly receipt: Record<string, unknown>;
}

/** Waits until the transaction is in a block; ethers must recover the sender from the raw bytes. */
async function mined(world: World, rawTx: string, address: string): Promise<TransactionEvidence> {
  const parsed = EthersTransaction.from(rawTx);
  check(parsed.from === address, 'ethers recovers the sender from the raw transaction');
  const receipt = await until(
    () => rpc(world, 'eth_getTransactionReceipt', [parsed.hash]) as Promise<Record<string, unknown> | null>,
  );
  check(receipt.status === '0x1', 'the transaction succeeded');
  return { chain: 'evm', address, raw_tx: rawTx, tx_hash: parsed.hash!, receipt };
}

async function ethersSpend(world: World, privateKey: string, address: string): Promise<TransactionEvidence> {
  const nonce = Number(await rpc(world, 'eth_getTransactionCount', [address, 'pending']));
  const rawTx = await new EthersWallet(privateKey).signTransaction({
    type: 2,
    chainId: world.evm.chainId,
    nonce,
    to: STRANGER,
    value: WEI_PER_ETHER / 100n,
    gasLimit: 21_000,
    maxFeePerGas: 10n ** 10n,
    maxPriorityFeePerGas: 10n ** 9n,
  });
  await rpc(world, 'eth_sendRawTransaction', [rawTx]);
  return mined(world, rawTx, address);
}

async function rpc(world: World, method: string, params: readonly unknown[]): Promise<unknown> {
  const response = await fetch(world.evm.rpcUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  });
  const { result, error } = (await response.json()) as { result?: unknown; error?: { message: string } };
  if (error) throw new Error(`${method}: ${error.message}`);
  return result ?? null;
}

function portRefused(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connectTcp(Number(port), hostname, () => {
      socket.destroy();
      resolve(false);
    }).on('error', () => resolve(true));
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
