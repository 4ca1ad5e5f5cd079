/** `vault`: vaults of a device's account, their wallets, and leaving with an exported key. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import type { Account, Wallet } from '@kedge/sdk';
import { type ExportFormat, exportKey } from '@kedge/sdk/offline';
import { openDevice } from '../access.ts';
import { type Command, type Context, type Result, required } from '../command.ts';

/** What software for the one chain that there is opens. */
const evmFormats: readonly ExportFormat[] = ['hex', 'keystore'];

export const vaultCommands: readonly Command[] = [
  { words: 'vault create', usage: 'vault create LABEL [--device NAME]', summary: 'make a vault', run: create },
  { words: 'vault list', usage: 'vault list', summary: 'the vaults of the account', run: list },
  {
    words: 'vault add-wallet',
    usage: 'vault add-wallet VAULT_ID [--second-wrap]',
    summary: 'make a wallet',
    run: addWallet,
  },
  { words: 'vault wallets', usage: 'vault wallets VAULT_ID', summary: 'its wallets with their balances', run: wallets },
  {
    words: 'vault export',
    usage: 'vault export WALLET_ID --format hex|keystore --out FILE',
    summary: 'leave with the key of a wallet',
    run: exportWallet,
  },
];

async function create(context: Context): Promise<Result> {
  const vault = await (await openDevice(context)).createVault(required(context, 0, 'The label'));
  return { data: vault, lines: [`${vault.id}  ${vault.label} (${vault.scheme})`] };
}

async function list(context: Context): Promise<Result> {
  const { data } = await (await openDevice(context)).client().call('listVaults', { query: { limit: 100 } });
  return {
    data,
    lines: data.map(
      (vault) => `${vault.id}  ${vault.status.padEnd(8)}  ${vault.label}${vault.exported ? '  (exported)' : ''}`,
    ),
  };
}

async function addWallet(context: Context): Promise<Result> {
  const account = await openDevice(context);
  const wallet = await account.createWallet(required(context, 0, 'The id of the vault'), {
    secondWrap: context.on('second-wrap'),
  });
  return { data: wallet, lines: [`${wallet.id}  ${wallet.network}  ${wallet.address}`, wallet.custody] };
}

async function wallets(context: Context): Promise<Result> {
  const account = await openDevice(context);
  const { data } = await account
    .client()
    .call('listWallets', { params: { vault_id: required(context, 0, 'The id of the vault') }, query: { limit: 100 } });
  const shown = await Promise.all(
    data.map(async (wallet) => ({ ...wallet, balance: await balanceOf(account, wallet) })),
  );
  return {
    data: shown,
    lines: shown.map(
      (wallet) => `${wallet.id}  ${wallet.address}  ${wallet.balance}${wallet.exported_at ? '  (exported)' : ''}`,
    ),
  };
}

async function balanceOf(account: Account, wallet: Wallet): Promise<string> {
  return (await account.client().call('getBalance', { params: { wallet_id: wallet.id } })).amount;
}

async function exportWallet(context: Context): Promise<Result> {
  const format = context.flag('format') ?? 'keystore';
  if (!evmFormats.includes(format as ExportFormat)) throw new Error(`The format is one of ${evmFormats.join(', ')}.`);
  const out = context.flag('out');
  if (!out) throw new Error('Name the file to write with --out FILE. It will hold the key of the wallet.');
  const account = await openDevice(context);
  const wallet = await account
    .client()
    .call('getWallet', { params: { wallet_id: required(context, 0, 'The id of the wallet') } });
  const passphrase = format === 'keystore' ? await readPassphrase(context) : '';
  const key = await account.openWallet(wallet, { leaving: true });
  const text = await exportKey(key, format as ExportFormat, { passphrase, address: wallet.address });
  key.fill(0);
  writeFileSync(out, text, { mode: 0o600, flag: 'wx' });
  return {
    data: { wallet_id: wallet.id, format, file: out },
    lines: [
      `The key of ${wallet.address} is in ${out}. Whoever has that file can spend. The wallet stays marked exported.`,
    ],
  };
}

async function readPassphrase(context: Context): Promise<string> {
  const file = context.flag('passphrase-file');
  if (file) return readFileSync(file, 'utf8').trim();
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const passphrase = await prompt.question('A passphrase for the keystore: ');
  prompt.close();
  return passphrase;
}
