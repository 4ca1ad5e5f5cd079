/**
 * Journey 1, backup-key: a full key born in the enclave is one key of a 2-of-3 wallet and the authority of a Solana
 * account. It is assigned, checked with OpenSSL, backed up, rehearsed with, and used once, when the owner's key is lost.
 * The service runs as processes of its own; the chains are real nodes; Electrum, which we did not write, opens the wallet.
 */
import { execFileSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync, type JsonWebKey, type KeyObject, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Bitcoin,
  bitcoinNetworks,
  type Chain,
  createBitcoin,
  createDescriptor,
  createEsplora,
  createSolana,
  type Descriptor,
  type DescriptorKey,
  parseExtendedKey,
  psbtToText,
  withBlockhashOf,
} from '@kedge/chains';
import { type Electrum, electrumIsMissing, type TreeHolder, treeHolder, withElectrum } from '@kedge/chains/testing';
import { fromBase64Url, hexToBytes, toBase64Url } from '@kedge/core';
import { type BitcoinDevnet, type SolanaDevnet, startBitcoin, startSolana } from '@kedge/devnet';
import {
  type BackupKeyService,
  backupKeys,
  type Client,
  type ClientKey,
  type Connection,
  connectTo,
  createClient,
  createClientKey,
  type RecoveryService,
  recoveries,
  sealThaw,
  thumbprintOf,
} from '@kedge/sdk';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { robRecovery } from './attacks/recovery-robber.ts';
import { check, checkRefused, type Journey, type Step, until } from './harness/journey.ts';
import type { World } from './harness/world.ts';

const { regtest } = bitcoinNetworks;
const DAY_MS = 86_400_000;
const SATS = 5_000_000n;
const LAMPORTS = 2_000_000_000n;

export const backupKeyJourney: Journey = { number: 1, scheme: 'backup-key', steps, prepare };

/** Two officers, whose recipients the enclave is configured with. */
const officers: string[] = [];

async function prepare(): Promise<Readonly<Record<string, string>>> {
  officers.push(await generateIdentity(), await generateIdentity());
  return { KEDGE_ENCLAVE_OFFICERS: (await Promise.all(officers.map(identityToRecipient))).join(' ') };
}

interface Assigned {
  readonly keyId: string;
  readonly publicKey: string;
}

/** The wallet of owner, platform and backup key. */
interface Wallet {
  readonly descriptor: Descriptor;
  readonly platform: TreeHolder;
  readonly owner: TreeHolder;
  readonly backup: { readonly key: DescriptorKey & { kind: 'extended' } };
  readonly backupId: string;
}

function steps(world: World): readonly Step[] {
  let client: Client;
  let connection: Connection;
  let keys: BackupKeyService;
  let approvals: RecoveryService;
  let pin = '';
  let secret = '';
  let project = '';
  let bitcoinNode: BitcoinDevnet;
  let solanaNode: SolanaDevnet;
  let bitcoin: Bitcoin;
  let solana: Chain;
  let hot: Assigned;
  let cold: Assigned;
  let authority: Assigned;
  let wallet: Wallet;
  let coldWallet: Wallet;
  let olive: ClientKey;
  let pia: ClientKey;
  let used: { readonly recovery: string; readonly transaction: Uint8Array };
  /** By key. */
  const lists = new Map<string, { readonly list: string; readonly approvers: { readonly olive: string } }>();

  /** A token lasts an hour; an integrator gets another one when it is over. */
  const signIn = async () => {
    const { url } = world.app();
    const { access_token } = await createClient({ url, token: secret }).call('createToken', { body: {} });
    client = createClient({ url, token: access_token });
    connection = connectTo(client, pin);
    keys = backupKeys({ client, pin, project });
    approvals = recoveries({ connection, client, project });
    return access_token;
  };
  const newHolder = () => treeHolder(new Uint8Array(randomBytes(32)), '48h/1h/0h/2h');
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
  const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));

  /** Owner and platform with keys of their own, a lawyer with nothing but her mail. */
  const protect = async (key: Assigned, user: string, coolingDays: number) => {
    const publicKey = ({ publicKey: bytes }: ClientKey) => `p256:${toBase64Url(bytes)}`;
    const { listId, rules } = await approvals.protect(key.keyId, user, {
      name: `Judges of ${user}`,
      approvers: [
        { name: 'Olive, the owner', public_key: publicKey(olive) },
        { name: 'Pia, of the platform', public_key: publicKey(pia), veto: true },
        { name: 'Lea, the lawyer', email: 'lea@example.org' },
      ],
      policy: { kind: 'majority' },
      cooling_period_s: (coolingDays * DAY_MS) / 1_000,
    });
    lists.set(key.keyId, { list: listId, approvers: { olive: rules.approvers[0]!.id } });
  };

  /** A 2-of-3 wallet with the backup key's xpub, and the chain code that leads to it stored with the service. */
  const makeWallet = async ({ keyId, publicKey }: Assigned, register: boolean): Promise<Wallet> => {
    const { chainCode, xpub } = keys.createXpub(publicKey, 'test');
    if (register) await keys.registerXpub(keyId, xpub);
    const backupId = await keys.store({ chainCode, publicKey, coin: 'btc', label: 'journey' });
    chainCode.fill(0);
    const backup = {
      key: {
        kind: 'extended' as const,
        origin: null,
        key: parseExtendedKey(xpub),
        path: [],
        branches: [0, 1] as const,
        ranged: true,
      },
    };
    const [owner, platform] = [newHolder(), newHolder()];
    const parts = { script: 'p2wsh', threshold: 2, keys: [owner.key, platform.key, backup.key] } as const;
    return { descriptor: createDescriptor(parts, regtest), owner, platform, backup, backupId };
  };

  const fund = async ({ descriptor }: Pick<Wallet, 'descriptor'>) => {
    const { address } = descriptor.derive({ change: 0, index: 0 });
    await bitcoinNode.fund(address, SATS);
    return address;
  };
  const signBy = (holder: TreeHolder, psbt: Uint8Array, { descriptor }: Wallet) =>
    bitcoin.attach(psbt, holder.sign(bitcoin.digests(psbt, descriptor.text)));
  /** Sent, mined, and told by the node. */
  const confirm = async (final: Uint8Array) => {
    const id = await bitcoin.broadcast(final);
    await bitcoinNode.mine(1);
    const { status } = await bitcoin.track(id, final);
    check(status === 'confirming', `the node has ${id} in a block`);
    return id;
  };

  /** The letters in the outbox that a person got about a recovery. */
  const mailsTo = (address: string, recovery: string): readonly string[] => {
    const folder = world.home.file('outbox');
    const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.eml')) : [];
    return names
      .map((name) =>
        readFileSync(join(folder, name), 'utf8')
          .replace(/=\r?\n/g, '')
          .replace(/=3D/g, '='),
      )
      .filter((text) => new RegExp(`^To: .*${address}`, 'mi').test(text) && text.includes(recovery));
  };
  const linksTo = (address: string, recovery: string, kind: 'approvals' | 'cancellations') =>
    mailsTo(address, recovery).flatMap((text) =>
      [...text.matchAll(new RegExp(`https?://\\S+/${kind}/${recovery}/[^\\s<>"]+`, 'g'))].map(([link]) => link),
    );
  const linkTo = (address: string, recovery: string, kind: 'approvals' | 'cancellations') =>
    until(async () => linksTo(address, recovery, kind).at(-1) ?? null);

  const look = (recovery: string) => client.call('getRecovery', { params: { recovery_id: recovery } });
  const reaches = (recovery: string, status: string) =>
    until(async () => ((await look(recovery)).status === status ? true : null)).catch(async (cause: unknown) => {
      const { status: now, waits_for } = await look(recovery);
      throw new Error(`the recovery is ${now}, waits for [${waits_for}], and not ${status}`, { cause });
    });

  /** Olive votes on her device, which works out the plan from the bytes; Lea by the button behind her link. */
  const approve = async (keyId: string, recovery: string) => {
    const { plan } = await approvals.read(recovery);
    await approvals.vote(plan, { id: lists.get(keyId)!.approvers.olive, key: olive }, 'approve');
    const link = await linkTo('lea@example.org', recovery, 'approvals');
    const page = await fetch(link);
    check(page.status === 200, 'Lea’s link shows a page');
    check((await look(recovery)).status === 'approving', 'looking at it decides nothing');
    const answer = await fetch(link, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'choice=approve',
    });
    check(answer.ok, 'her button works');
    return plan;
  };

  return [
    {
      title: 'Integrate: a token, three kinds of key, and OpenSSL checks what came back',
      async run(tell) {
        [bitcoinNode, solanaNode] = await Promise.all([startBitcoin(), startSolana()]);
        world.alsoStops(() => Promise.all([bitcoinNode.stop(), solanaNode.stop()]));
        bitcoin = createBitcoin({
          network: regtest,
          node: createEsplora({ urls: [bitcoinNode.esploraUrl], network: regtest }),
        });
        solana = createSolana({ urls: [solanaNode.rpcUrl], genesisHash: solanaNode.genesisHash });
        await world.start();
        const { secretKey, projectId } = await world.createProject();
        project = projectId;
        const { url, publishableKey } = world.app();
        pin = thumbprintOf(publishableKey);
        secret = secretKey;
        const access_token = await signIn();
        [olive, pia] = [await createClientKey({ extractable: false }), await createClientKey({ extractable: false })];

        const made: Record<string, Assigned> = {};
        const assign = async (name: string, wanted: Parameters<BackupKeyService['create']>[0]) => {
          const answer = await keys.create(wanted);
          made[name] = { keyId: answer.key_id, publicKey: answer.public_key };
          return answer;
        };
        const first = await assign('hot', {
          user_identifier: 'customer-17',
          key_type: 'secp256k1',
          sign_with: ['user_id', 'key_id', 'key_fingerprint'],
        });
        await assign('cold', { user_identifier: 'customer-18', key_type: 'secp256k1', key_environment: 'COLD' });
        await assign('authority', { user_identifier: 'customer-17', key_type: 'ed25519' });
        await assign('rsa', { user_identifier: 'customer-17', key_type: 'rsa4096' });
        [hot, cold, authority] = [made.hot!, made.cold!, made.authority!];
        const openssl = await verifyWithOpenssl(world, first.signed_payload!, bytesOf(first.signature));
        check(openssl === 'Verified OK', 'OpenSSL verifies the signature over the payload');

        let refused = '';
        const lying: typeof fetch = async (input, init) => {
          const answer = await fetch(input, init);
          if (init?.method !== 'POST' || !String(input).endsWith('/v1/keys')) return answer;
          const body = (await answer.json()) as { public_key: string };
          const flipped = body.public_key.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'));
          return Response.json({ ...body, public_key: flipped }, { status: 201 });
        };
        const tampered = backupKeys({ client: createClient({ url, token: access_token, fetch: lying }), pin, project });
        refused = (
          await checkRefused(tampered.create({ user_identifier: 'customer-19', key_type: 'secp256k1' }), 'key_refused')
        ).code;
        tell(
          `Four keys, each attested by the enclave that the publishable key pins; ${openssl.toLowerCase()} by OpenSSL.`,
        );
        tell('An answer with one digit changed on the way was refused, and the refusal stands in the ledger.');
        return { keys: made, openssl, tampered: refused };
      },
    },
    {
      title: 'A chain code of one’s own makes the xpub, and is stored so that the enclave alone can read it',
      async run(tell) {
        wallet = await makeWallet(hot, true);
        coldWallet = await makeWallet(cold, true);
        const fileId = await keys.storeFile(new Uint8Array(randomBytes(50_000)), hot.publicKey);
        const [tooShort, zero] = [new Uint8Array(31).fill(1), new Uint8Array(32)];
        for (const chainCode of [tooShort, zero])
          await checkRefused(
            keys.store({ chainCode, publicKey: hot.publicKey, coin: 'btc', label: 'wrong' }),
            'request_invalid',
          );
        tell(`The wallet’s descriptor: ${wallet.descriptor.text.slice(0, 60)}…`);
        return { descriptor: wallet.descriptor.text, backup_id: wallet.backupId, file_backup_id: fileId };
      },
    },
    {
      title: 'The wallet: 2 of 3, opened in Electrum too; the two other keys spend as usual',
      async run(tell) {
        const address = await fund(wallet);
        await fund(wallet);
        const inElectrum = electrumIsMissing ? null : await withElectrum((electrum) => openIn(electrum, wallet));
        if (inElectrum) check(inElectrum.addresses[0] === address, 'Electrum derives the same addresses');
        const to = coldWallet.descriptor.derive({ change: 0, index: 0 }).address;
        const unsigned = await bitcoin.build({ from: wallet.descriptor.text, to, amount: SATS / 2n });
        const final = bitcoin.final(signBy(wallet.platform, signBy(wallet.owner, unsigned, wallet), wallet));
        const txid = await confirm(final);
        const account = solana.account(hexToBytes(authority.publicKey));
        await solanaNode.fund(account, LAMPORTS);
        tell(`${address}: funded, and spent by owner and platform in ${txid.slice(0, 16)}….`);
        tell(`The ed25519 key is the authority of the Solana account ${account}.`);
        return { address, electrum: inElectrum, txid, solana_account: account };
      },
    },
    {
      title: 'Verify: each answer says what the enclave saw, and nothing of what it opened',
      async run(tell) {
        const outcomes: Record<string, string> = {};
        outcomes.key = (await keys.verify(hot.keyId)).outcome;
        outcomes.backup = (await keys.verifyBackup(wallet.backupId)).outcome;
        outcomes.cold = (await keys.verify(cold.keyId)).outcome;
        const foreign = keys.createXpub(hot.publicKey, 'test');
        const foreignId = await keys.store({ ...foreign, publicKey: hot.publicKey, coin: 'btc', label: 'other' });
        outcomes.foreign_chain_code = (await keys.verifyBackup(foreignId)).outcome;
        const { enclave } = world.service!.children;
        enclave.kill('SIGKILL');
        await enclave.ended;
        outcomes.without_enclave = (await keys.verify(hot.keyId)).outcome;
        await world.startEnclave();
        await until(async () => ((await keys.verify(hot.keyId)).outcome === 'passed' ? true : null));
        const { data } = await client.call('listKeyBackups', { query: { limit: 100 } });
        outcomes.file = data.find(({ backup_type }) => backup_type === 'file')!.outcome;
        check(outcomes.key === 'passed' && outcomes.backup === 'passed', 'key and backup pass');
        check(outcomes.foreign_chain_code === 'attention', 'the chain code of another xpub is found');
        check(outcomes.cold === 'held_offline', 'a cold key is held offline');
        check(outcomes.without_enclave === 'did_not_finish', 'without the enclave nothing is said about the key');
        check(outcomes.file === 'not_checked', 'only its owner can open a file');
        tell(
          `Key ${outcomes.key}, backup ${outcomes.backup}, a chain code of another wallet: ${outcomes.foreign_chain_code}.`,
        );
        return { outcomes };
      },
    },
    {
      title: 'Rehearse: the whole recovery on a throw-away key, with a certificate at its end',
      async run(tell) {
        await protect(hot, 'customer-17', 3);
        const { recovery_id: recovery, public_key } = await client.call('createRehearsal', {
          params: { key_id: hot.keyId },
        });
        const stage = await makeWallet({ keyId: hot.keyId, publicKey: public_key }, false);
        await fund(stage);
        const to = wallet.descriptor.derive({ change: 0, index: 3 }).address;
        const unsigned = await bitcoin.build({ from: stage.descriptor.text, to, amount: 'all' });
        await client.call('createKeyRecovery', {
          params: { key_id: hot.keyId },
          body: {
            network: bitcoin.network,
            account: stage.descriptor.text,
            transactions: [base64(unsigned)],
            backup_id: wallet.backupId,
            sandbox: true,
            recovery_id: recovery,
            participants: ['olive@example.org'],
          },
        });
        await approve(hot.keyId, recovery);
        await reaches(recovery, 'releasable');
        const released = await client.call('releaseRecovery', {
          params: { recovery_id: recovery },
          body: { backup_id: stage.backupId },
        });
        const signed = bytesOf(released.transactions[0]!);
        const txid = await confirm(bitcoin.final(signBy(stage.platform, signed, stage)));
        const certificate = await client.call('getCertificate', { params: { recovery_id: recovery } });
        const file = join(world.folder, 'certificate.json');
        writeFileSync(file, JSON.stringify(certificate));
        const jwks = join(world.folder, 'jwks.json');
        writeFileSync(jwks, await (await fetch(`${client.url}/.well-known/kedge-enclave.json`)).text());
        const verified = await world.kedge('drill', 'verify', file, '--jwks', jwks, '--pin', pin);
        const openssl = await verifyWithOpenssl(
          world,
          Buffer.from(certificate.signed_message, 'base64'),
          bytesOf(certificate.signature_der),
        );
        check(openssl === 'Verified OK', 'OpenSSL verifies the certificate');
        tell(`The throw-away wallet was emptied by ${txid.slice(0, 16)}…, in the same way as a real one would be.`);
        tell('kedge drill verify and OpenSSL accept the certificate, with files alone.');
        return {
          txid,
          certificate: (verified.json as { certificate: unknown }).certificate,
          openssl,
          signed_message: certificate.signed_message,
          signature_der: certificate.signature_der,
          enclave: JSON.parse(readFileSync(jwks, 'utf8')),
        };
      },
    },
    {
      title: 'Recover: the owner’s key is lost; votes, days of waiting, one signature, and the coins have moved',
      async run(tell) {
        const safe = await makeWallet(hot, false);
        const to = safe.descriptor.derive({ change: 0, index: 0 }).address;
        const unsigned = await bitcoin.build({ from: wallet.descriptor.text, to, amount: 'all' });
        const { recovery_id: recovery } = await client.call('createKeyRecovery', {
          params: { key_id: hot.keyId },
          body: {
            network: bitcoin.network,
            account: wallet.descriptor.text,
            transactions: [base64(unsigned)],
            backup_id: wallet.backupId,
            participants: ['olive@example.org', 'family@example.org'],
          },
        });
        await linkTo('family@example.org', recovery, 'cancellations');
        await approve(hot.keyId, recovery);
        await reaches(recovery, 'cooling');
        const release = () => client.call('releaseRecovery', { params: { recovery_id: recovery }, body: {} });
        const early = await checkRefused(release(), 'conflict');
        // The alert, a reminder after each of two days, and with the second the last warning.
        for (const letters of [2, 4, 4]) {
          await world.advance(DAY_MS);
          await signIn();
          await until(async () => (mailsTo('family@example.org', recovery).length === letters ? true : null));
        }
        await reaches(recovery, 'releasable');
        const released = await release();
        const again = await release();
        check(
          JSON.stringify(again.signatures) === JSON.stringify(released.signatures),
          'asked again, it gives the same signatures',
        );
        // The platform signs in Electrum, which takes the enclave's signature for what it is and finishes the transaction.
        const halfSigned = bytesOf(released.transactions[0]!);
        const final = electrumIsMissing
          ? bitcoin.final(signBy(wallet.platform, halfSigned, wallet))
          : await withElectrum(async (electrum) => {
              const { owner, platform, backup } = wallet;
              const opened = electrum.multisig(2, [owner, platform, backup], [platform]);
              return hexToBytes(await opened.run('signtransaction', psbtToText(halfSigned)));
            });
        const txid = await confirm(final);
        await client.call('completeRecovery', {
          params: { recovery_id: recovery },
          body: { outcome: 'completed', transaction_ids: [txid] },
        });
        used = { recovery, transaction: unsigned };
        const balance = await bitcoin.balance(wallet.descriptor.text);
        check(balance.confirmed === 0n, 'nothing is left in the old wallet');
        tell(`Refused before its time (${early.code}); after three days the enclave signed, once.`);
        tell(`${txid}: platform and enclave together, without the owner’s key.`);
        return { recovery, txid, raw_tx: Buffer.from(final).toString('hex'), to };
      },
    },
    {
      title: 'Recover a cold key: two officers thaw it for this one release',
      async run(tell) {
        await protect(cold, 'customer-18', 0);
        const to = wallet.descriptor.derive({ change: 0, index: 5 }).address;
        await fund(coldWallet);
        const { recovery_id: recovery } = await client.call('createKeyRecovery', {
          params: { key_id: cold.keyId },
          body: {
            network: bitcoin.network,
            account: coldWallet.descriptor.text,
            sweep_to: to,
            participants: ['olive@example.org'],
          },
        });
        await approve(cold.keyId, recovery);
        await reaches(recovery, 'releasable');
        const unsigned = await bitcoin.build({ from: coldWallet.descriptor.text, to, amount: 'all' });
        const body = { transactions: [base64(unsigned)], backup_id: coldWallet.backupId };
        const release = () => client.call('releaseRecovery', { params: { recovery_id: recovery }, body });
        const cold_alone = await checkRefused(release(), 'request_invalid');
        const { files } = await client.call('getColdFiles', { params: { recovery_id: recovery } });
        const { sealingKey } = await connection.attestation(true);
        for (const identity of officers) {
          const shares = await Promise.all(
            files.map((file) => sealThaw(bytesOf(file), identity, { project, recovery, sealingKey })),
          );
          const own = shares.find((share) => share !== null);
          check(own !== undefined, 'one of the files is this officer’s');
          await client.call('createThaw', {
            params: { recovery_id: recovery },
            body: { sealed_share: toBase64Url(own) },
          });
        }
        const released = await release();
        const final = bitcoin.final(signBy(coldWallet.platform, bytesOf(released.transactions[0]!), coldWallet));
        const txid = await confirm(final);
        await client.call('completeRecovery', {
          params: { recovery_id: recovery },
          body: { outcome: 'completed', transaction_ids: [txid] },
        });
        tell(`Without the officers: ${cold_alone.code}. With two of them: ${txid}, a full sweep.`);
        return { recovery, txid };
      },
    },
    {
      title: 'Recover a Solana account: the ed25519 key signs the approved message',
      async run(tell) {
        await protect(authority, 'customer-17', 0);
        const account = solana.account(hexToBytes(authority.publicKey));
        const to = solana.account(rawPublicKey(generateKeyPairSync('ed25519').publicKey));
        const transfer = { from: account, to, amount: LAMPORTS / 2n };
        const message = await solana.build(transfer);
        const { recovery_id: recovery } = await client.call('createKeyRecovery', {
          params: { key_id: authority.keyId },
          body: {
            network: solana.network,
            account,
            transactions: [base64(message)],
            participants: ['olive@example.org'],
          },
        });
        await approve(authority.keyId, recovery);
        await reaches(recovery, 'releasable');
        await solanaNode.expireBlockhashes();
        const fresh = withBlockhashOf(message, await solana.build(transfer));
        const released = await client.call('releaseRecovery', {
          params: { recovery_id: recovery },
          body: { transactions: [base64(fresh)] },
        });
        const final = solana.final(bytesOf(released.transactions[0]!));
        const id = await solana.broadcast(final);
        await solanaNode.mine(1);
        const { confirmed } = await solana.balance(to);
        check(confirmed === LAMPORTS / 2n, 'the lamports have arrived');
        await client.call('completeRecovery', {
          params: { recovery_id: recovery },
          body: { outcome: 'completed', transaction_ids: [id] },
        });
        tell(`${id.slice(0, 20)}…: half of it has arrived at ${to}.`);
        return { recovery, transaction: id, to };
      },
    },
    {
      title: 'Don’t: whoever holds the gateway, its databases and the enclave’s socket gets no signature',
      async run(tell) {
        await fund(wallet);
        const to = coldWallet.descriptor.derive({ change: 0, index: 0 }).address;
        const other = await bitcoin.build({ from: wallet.descriptor.text, to, amount: 'all' });
        const { list, approvers } = lists.get(hot.keyId)!;
        const tried = await robRecovery(world, {
          ...{ project, user: 'customer-17', key: hot.keyId, list, approver: approvers.olive },
          descriptor: wallet.descriptor.text,
          used: { ...used, other },
        });
        check(tried.signatures === 0, 'no signature was given');
        for (const { call, code } of tried.refused) tell(`${call}: ${code}`);
        return { ...tried };
      },
    },
  ];

  async function openIn(electrum: Electrum, { owner, platform, backup }: Wallet) {
    const opened = electrum.multisig(2, [owner, platform, backup]);
    const addresses = JSON.parse(await opened.run('listaddresses', '--receiving')) as string[];
    return { addresses: addresses.slice(0, 3) };
  }
}

/** By the program that everybody has, with the service's published key: what it says. */
async function verifyWithOpenssl(world: World, message: string | Uint8Array, signature: Uint8Array): Promise<string> {
  const published = await fetch(`${world.app().url}/.well-known/kedge-enclave.json`);
  const { keys } = (await published.json()) as { keys: [JsonWebKey] };
  const file = (name: string, content: string | Uint8Array) => {
    const path = join(world.folder, name);
    writeFileSync(path, content);
    return path;
  };
  const pem = createPublicKey({ key: keys[0], format: 'jwk' }).export({ format: 'pem', type: 'spki' });
  const args = ['-verify', file('enclave.pem', String(pem)), '-signature', file('signature', signature)];
  return execFileSync('openssl', ['dgst', '-sha256', ...args, file('message', message)], { encoding: 'utf8' }).trim();
}

function rawPublicKey(key: KeyObject): Uint8Array {
  return fromBase64Url(key.export({ format: 'jwk' }).x!);
}
