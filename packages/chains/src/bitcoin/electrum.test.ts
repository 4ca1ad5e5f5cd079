/**
 * Electrum from Debian's package as the stranger who must agree: wallets made here open there with the same addresses,
 * PSBTs go to and fro and each side signs the other's, and our node takes the result each time. It runs offline.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type BitcoinDevnet, startBitcoin } from '@kedge/devnet';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { type Electrum, type ElectrumWallet, electrumIsMissing, withElectrum } from '../testing/electrum.ts';
import { type TreeHolder, treeHolder } from '../testing/holders.ts';
import { type Bitcoin, createBitcoin } from './bitcoin.ts';
import { createDescriptor, type Descriptor } from './descriptor.ts';
import { createEsplora, type Esplora } from './esplora.ts';
import { checkBip137 } from './messages.ts';
import { bitcoinNetworks } from './networks.ts';
import { psbtFromText, psbtToText } from './psbt.ts';
import { combinePsbts } from './psbt-combine.ts';

const { regtest } = bitcoinNetworks;
const AMOUNT = 10_000_000n;

describe('Electrum', { skip: electrumIsMissing }, () => {
  let devnet: BitcoinDevnet;
  let esplora: Esplora;
  let bitcoin: Bitcoin;

  before(async () => {
    devnet = await startBitcoin();
    esplora = createEsplora({ urls: [devnet.esploraUrl], network: regtest });
    bitcoin = createBitcoin({ network: regtest, node: esplora });
  });
  after(() => devnet.stop());

  const newHolder = (path: string) => treeHolder(crypto.getRandomValues(new Uint8Array(32)), path);
  const newVault = () => {
    const holders = [1, 2, 3].map(() => newHolder('48h/1h/0h/2h'));
    const parts = { script: 'p2wsh', threshold: 2, keys: holders.map(({ key }) => key) } as const;
    return { holders, account: createDescriptor(parts, regtest) };
  };
  const addressesOf = (account: Descriptor, change: 0 | 1, count: number) =>
    Array.from({ length: count }, (_, index) => account.derive({ change, index }).address);
  const listed = async (wallet: ElectrumWallet, which: '--receiving' | '--change') =>
    JSON.parse(await wallet.run('listaddresses', which)) as string[];
  /** Our node takes it, and a block too. */
  const arrives = async (final: Uint8Array, to: string) => {
    const id = await bitcoin.broadcast(final);
    await devnet.mine(1);
    assert.equal((await bitcoin.track(id, final)).status, 'confirming');
    assert.ok((await esplora.addressStats(to)).confirmed > 0n);
  };
  const payee = () => newVault().account.derive({ change: 0, index: 0 }).address;
  /** Electrum learns of its coins from the transactions that paid it: it is offline. */
  const teach = async (wallet: ElectrumWallet, address: string) => {
    for (const { txid } of await esplora.addressCoins(address))
      await wallet.run('addtransaction', bytesToHex((await esplora.rawTransaction(txid))!));
  };
  /** Electrum names keys from the account key on (`0/7` below it). The descriptor knows where that stands. */
  const signAs = (holder: TreeHolder, psbt: Uint8Array, account: Descriptor): Uint8Array =>
    bitcoin.attach(psbt, holder.sign(bitcoin.digests(psbt, account.text)));
  const inElectrum = (work: (electrum: Electrum) => Promise<void>) => () => withElectrum(work);

  test(
    'opens a vault of 2 of 3 with the same addresses, for receiving and for change',
    inElectrum(async (electrum) => {
      const { holders, account } = newVault();
      const wallet = electrum.multisig(2, holders);
      assert.deepEqual((await listed(wallet, '--receiving')).slice(0, 20), addressesOf(account, 0, 20));
      assert.deepEqual((await listed(wallet, '--change')).slice(0, 5), addressesOf(account, 1, 5));
    }),
  );

  test(
    'gives back its signature without the others’ fields: combined with what was sent, the next holder signs',
    inElectrum(async (electrum) => {
      const { holders, account } = newVault();
      await devnet.fund(account.derive({ change: 0, index: 0 }).address, AMOUNT, 2);
      const to = payee();
      const unsigned = await bitcoin.build({ from: account.text, to, amount: AMOUNT + AMOUNT / 2n });
      const theirs = await electrum.multisig(2, holders, [holders[0]!]).run('signtransaction', psbtToText(unsigned));
      const combined = combinePsbts([unsigned, psbtFromText(theirs)]);
      assert.deepEqual(bitcoin.decode(combined, account.text), bitcoin.decode(unsigned, account.text));
      await arrives(bitcoin.final(signAs(holders[2]!, combined, account)), to);
    }),
  );

  test(
    'signs a PSBT of ours as one holder, then as the second, and its transaction is taken',
    inElectrum(async (electrum) => {
      const { holders, account } = newVault();
      const [one, , three] = holders as [TreeHolder, TreeHolder, TreeHolder];
      await devnet.fund(account.derive({ change: 0, index: 0 }).address, AMOUNT, 2);
      const to = payee();
      const unsigned = await bitcoin.build({ from: account.text, to, amount: AMOUNT + AMOUNT / 2n });
      const partly = await electrum.multisig(2, holders, [one]).run('signtransaction', psbtToText(unsigned));
      // Ours understands what came back: one signature for each input, and nothing else changed.
      const half = psbtFromText(partly);
      assert.deepEqual(bitcoin.decode(half, account.text).outputs, bitcoin.decode(unsigned, account.text).outputs);
      assert.equal(bitcoin.digests(half).length, 2 * bitcoin.resources(half).length);
      const final = await electrum.multisig(2, holders, [three]).run('signtransaction', partly);
      await arrives(hexToBytes(final), to);
    }),
  );

  test(
    'builds a PSBT that our holders sign, and its intent is what Electrum was asked for',
    inElectrum(async (electrum) => {
      const { holders, account } = newVault();
      const address = account.derive({ change: 0, index: 0 }).address;
      await devnet.fund(address, AMOUNT);
      const wallet = electrum.multisig(2, holders);
      await teach(wallet, address);
      const to = payee();
      const unsigned = psbtFromText(await wallet.run('payto', to, '0.04', '--fee', '0.0001', '--unsigned'));
      const intent = bitcoin.decode(unsigned, account.text);
      assert.equal(intent.feeMax, 10_000n);
      assert.deepEqual(
        intent.outputs.map(({ to: paid, amount, change }) => (change ? 'change' : [paid, amount])).sort(),
        [[to, 4_000_000n], 'change'].sort(),
      );
      const signed = holders.slice(1).reduce((psbt, holder) => signAs(holder, psbt, account), unsigned);
      await arrives(bitcoin.final(signed), to);
    }),
  );

  test(
    'opens a wallet of one P2WPKH key, spends its coin, and signs messages that we verify',
    inElectrum(async (electrum) => {
      const holder = newHolder('84h/1h/0h');
      const account = createDescriptor({ script: 'p2wpkh', threshold: 1, keys: [holder.key] }, regtest);
      const wallet = electrum.single(holder);
      assert.deepEqual((await listed(wallet, '--receiving')).slice(0, 5), addressesOf(account, 0, 5));
      const address = account.derive({ change: 0, index: 0 }).address;
      await devnet.fund(address, AMOUNT);
      const to = payee();
      const unsigned = await bitcoin.build({ from: account.text, to, amount: 'all' });
      await arrives(hexToBytes(await wallet.run('signtransaction', psbtToText(unsigned))), to);

      const proof = await wallet.run('signmessage', address, 'This is mine.');
      assert.equal(checkBip137('This is mine.', address, proof, regtest), true);
      assert.equal(checkBip137('This is yours.', address, proof, regtest), false);
    }),
  );
});
