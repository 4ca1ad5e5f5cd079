/**
 * P6: opening a wallet in process, from the client secret's row to the wallet's key, against the least that any such design
 * must do: two point reads and two AES-GCM on the same rows of the same PostgreSQL, with prepared statements.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import { openPostgres } from '@kedge/store';
import { startPostgres } from '@kedge/store/testing';
import pg from 'pg';
import { generateWalletKey, type WalletName } from '../packages/enclave/src/wallets.ts';
import { measurePairs, type Question } from './measure.ts';
import { openVault, random } from './vault.ts';

const WALLETS = 2_000;
const OPENS = 500;
const AT_ONCE = 8;

export const walletOpen: Question = {
  name: 'wallet-open',
  async run() {
    const server = await startPostgres({ shared_buffers: '256MB' });
    const url = await server.url('bench');
    const db = await openPostgres({ url, poolSize: AT_ONCE });
    const { wallets } = await openVault(db);
    await db.query('create table secrets (user_id text primary key, client_secret bytea not null)');
    const names: WalletName[] = Array.from({ length: WALLETS }, (_, index) => ({
      project: 'bench',
      user: `user ${index}`,
      wallet: `wallet ${index}`,
    }));
    await atOnce(names, async (name) => {
      const clientSecret = await wallets.createClientSecret(name.project, name.user);
      await db.query('insert into secrets values ($1, $2)', [name.user, clientSecret]);
      await wallets.create(name, clientSecret, () => generateWalletKey('secp256k1'));
    });
    await db.query('analyze');

    // The reference knows where the rows are. What it decrypts is as long as what it has read, under one key at hand.
    const pool = new pg.Pool({ connectionString: url, max: AT_ONCE });
    pool.on('error', () => undefined); // the server stops before its connections have closed
    const lookups = (await db.query<{ lookup: Uint8Array }>('select lookup from wallets order by id')).map(
      (row) => row.lookup,
    );
    const key = createSecretKey(random(32));
    const [sample] = await db.query<{ secret: number; wallet: number }>(
      'select octet_length(client_secret) as secret, octet_length(payload) as wallet from secrets, wallets limit 1',
    );
    const [sealedSecret, sealedWallet] = [sealedOf(key, sample!.secret), sealedOf(key, sample!.wallet)];
    const limit = async (index: number) => {
      // Two checkouts: in production the two rows are in two databases.
      const {
        rows: [secret],
      } = await pool.query<{ client_secret: Buffer }>({
        name: 'secret',
        text: 'select client_secret from secrets where user_id = $1',
        values: [names[index]!.user],
      });
      const {
        rows: [wallet],
      } = await pool.query<{ payload: Buffer }>({
        name: 'wallet',
        text: 'select server_key, outer_wrap, payload from wallets where lookup = $1',
        values: [lookups[index]],
      });
      if (secret!.client_secret.length !== sealedSecret.length || wallet!.payload.length !== sealedWallet.length)
        throw new Error('not the rows');
      gcmOpen(key, sealedSecret);
      gcmOpen(key, sealedWallet);
    };

    let next = 0;
    const indexes = () => Array.from({ length: OPENS }, () => next++ % WALLETS);
    const row = await measurePairs({
      id: 'P6',
      what: 'a wallet opened in process, PostgreSQL, 8 at once',
      count: OPENS,
      unit: 'per s',
      bar: { atLeast: 0.8 },
      ours: () =>
        atOnce(indexes(), async (index) => {
          const name = names[index]!;
          const [secret] = await db.read<{ client_secret: Uint8Array }>(
            'select client_secret from secrets where user_id = $1',
            [name.user],
          );
          const { key: opened } = await wallets.open(name, secret!.client_secret);
          opened.fill(0);
        }),
      reference: () => atOnce(indexes(), limit),
    });
    await pool.end();
    await db.close();
    await server.stop();
    return [row];
  },
};

function sealedOf(key: KeyObject, length: number): Buffer {
  const nonce = random(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([nonce, cipher.update(random(length - 28)), cipher.final(), cipher.getAuthTag()]);
}

function gcmOpen(key: KeyObject, sealed: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12)).setAuthTag(sealed.subarray(-16));
  const plaintext = decipher.update(sealed.subarray(12, -16));
  decipher.final();
  return plaintext;
}

async function atOnce<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const item of queue) await work(item);
    }),
  );
}
