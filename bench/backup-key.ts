/**
 * P9, the second half: what a backup key costs the enclave, in process over PostgreSQL. A check and a release, each
 * against what no such design can do without: reading the row, unwrapping the key twice with AES-GCM, and signing. Every
 * answer of ours is signed as well, a release is durable before it signs, and the chain code is decrypted with RSA-4096.
 */
import { createCipheriv, createDecipheriv, createPrivateKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { openPostgres } from '@kedge/store';
import { startPostgres } from '@kedge/store/testing';
import pg from 'pg';
import { openTestEnclave, TestApprovals } from '../packages/enclave/src/testing/index.ts';
import { measurePairs, type Question } from './measure.ts';
import { random } from './vault.ts';

const KEYS = 200;
const CHECKS = 200;
const RELEASES = 20;
const AT_ONCE = 8;

export const backupKey: Question = {
  name: 'backup-key',
  async run() {
    const server = await startPostgres({});
    const url = await server.url('bench');
    const db = await openPostgres({ url, poolSize: AT_ONCE });
    const opened = await openTestEnclave({ db });
    const approvals = new TestApprovals(opened);
    const { enclave } = opened;
    const { project, user } = approvals;

    const newKey = async () => {
      const key = randomUUID() as string;
      const wanted = {
        project,
        user,
        key,
        type: 'secp256k1',
        environment: 'HOT',
        nonce: null,
        signWith: null,
      } as const;
      return { key, publicKey: (await enclave.createBackupKey(wanted)).publicKey };
    };
    const keys = await Promise.all(Array.from({ length: KEYS }, newKey));

    const pool = new pg.Pool({ connectionString: url, max: AT_ONCE });
    pool.on('error', () => undefined);
    const lookups = (await db.query<{ lookup: Uint8Array }>('select lookup from backup_keys order by id')).map(
      (row) => row.lookup,
    );
    const wrapping = random(32);
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
    const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' });
    const [outer, payload] = [sealed(wrapping, random(32)), sealed(wrapping, Buffer.concat([pkcs8, random(6_000)]))];
    const unwrapAndSign = async (at: number) => {
      const lookup = lookups[at % lookups.length];
      await pool.query({
        name: 'key',
        text: 'select server_key, outer_wrap, payload from backup_keys where lookup = $1',
        values: [lookup],
      });
      unseal(wrapping, outer);
      const der = unseal(wrapping, payload).subarray(0, pkcs8.length);
      sign('sha256', random(32), createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
    };

    let next = 0;
    const check = await measurePairs({
      id: 'P9',
      what: 'a backup key checked in process, PostgreSQL, 8 at once ÷ read, unwrap, sign',
      count: CHECKS,
      unit: 'per s',
      bar: { atLeast: 0.6 },
      ours: () =>
        atOnce(CHECKS, async () => {
          const { key, publicKey } = keys[next++ % KEYS]!;
          const { outcome } = await enclave.verifyBackupKey({ project, user, key, publicKey });
          if (outcome !== 'passed') throw new Error(outcome);
        }),
      reference: () => atOnce(CHECKS, unwrapAndSign),
    });

    const creation = await measurePairs({
      id: 'P9',
      what: 'a backup key made: pair, seal, row, attestation ÷ pair and row alone',
      count: CHECKS,
      unit: 'per s',
      bar: { atLeast: 0 },
      ours: () => atOnce(CHECKS, newKey),
      reference: () =>
        atOnce(CHECKS, async () => {
          generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
          await pool.query(
            'insert into backup_keys (id, lookup, server_key, outer_wrap, payload) values ($1, $2, 0, $3, $4)',
            [randomUUID(), random(20), outer, payload],
          );
        }),
    });
    await pool.query('delete from backup_keys where server_key = 0');

    // Approved beforehand; the reference signs as often, with the durable note that any "once" needs.
    await pool.query('create table notes (id uuid primary key)');
    const ready: (() => Promise<void>)[] = [];
    const prepare = async () => {
      const owned = await approvals.newKey();
      const { psbt, plan } = approvals.spend(owned);
      const backup = await owned.vault.backup();
      await approvals.approve(plan);
      ready.push(async () => {
        const call = { project, recovery: plan.recovery, transactions: [psbt], thaws: [], rehearsed: null };
        const { signatures } = await enclave.releaseRecovery({ ...call, backup });
        if (signatures.length !== 1) throw new Error('no signature');
      });
    };
    for (let at = 0; at < 40 * RELEASES; at++) await prepare();
    const release = await measurePairs({
      id: 'P9',
      what: 'a recovery released, one input ÷ read, unwrap, one durable row, sign',
      count: RELEASES,
      unit: 'per s',
      bar: { atLeast: 0.6 },
      ours: () => atOnce(RELEASES, () => ready.pop()!()),
      reference: () =>
        atOnce(RELEASES, async (at) => {
          await unwrapAndSign(at);
          await pool.query('insert into notes values ($1)', [randomUUID()]);
        }),
    });
    enclave.stop();
    await pool.end();
    await db.close();
    await server.stop();
    return [creation, check, release];
  },
};

function sealed(key: Uint8Array, content: Uint8Array): Buffer {
  const nonce = random(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()]);
}

function unseal(key: Uint8Array, sealed: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12)).setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
}

async function atOnce(count: number, work: (at: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < count) await work(next++);
    }),
  );
}
