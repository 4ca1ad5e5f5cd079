/**
 * P7, P13 and P15: the service over HTTP. The processes are those of the journeys on PostgreSQL, the load comes from
 * here over 32 connections, so both sides share the two cores; only the ratios mean something.
 */
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createSealingKey, sealTo } from '@kedge/core';
import { type Account, randomBytes, signUp, type Wallet } from '@kedge/sdk';
import { openPostgres } from '@kedge/store';
import { startPostgres } from '@kedge/store/testing';
import Fastify from 'fastify';
import { World } from '../journeys/harness/world.ts';
import { measurePairs, type Question, type Row, single } from './measure.ts';

const CONNECTIONS = 32;
const REQUESTS = 400;
const OPENS = 64;
const USERS = 40;
const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });

export const gateway: Question = {
  name: 'gateway',
  async run() {
    // The bench comes from one address with one credential: the limits that would stop it are lifted, those of the enclave are not.
    const lifted = {
      KEDGE_LIMITS_PER_ADDRESS_PER_MINUTE: '1000000000',
      KEDGE_LIMITS_PER_PRINCIPAL_PER_MINUTE: '1000000000',
    };
    const world = await World.open({ database: 'postgres', hsm: 'software', env: lifted });
    const beforeMs = performance.now();
    const service = await world.start();
    const readyMs = performance.now() - beforeMs;
    const postgres = await startPostgres();
    const bare = await startBare(await postgres.url('bare'));
    try {
      const rows: Row[] = [];
      rows.push(
        single({
          id: 'P15',
          what: 'service from start to ready, sources through tsx',
          value: readyMs / 1000,
          unit: 's',
          bar: { atMost: 10 },
        }),
      );
      for (const child of [service.children.enclave, service.children.gateway]) {
        rows.push(
          single({
            id: 'P15',
            what: `resident memory of the ${child.name} after its start`,
            value: residentMiB(child.pid),
            unit: 'MiB',
            bar: { atMost: 1.5 * bare.residentMiB },
          }),
        );
      }
      await world.createProject();
      rows.push(
        await measurePairs({
          id: 'P13',
          what: 'GET /healthz against a bare Fastify route',
          count: REQUESTS,
          unit: 'requests/s',
          bar: { atLeast: 0.5 },
          ours: () => load(`${service.url}/healthz`),
          reference: () => load(`${bare.url}/bare`),
        }),
      );
      const crowd = await makeCrowd(world);
      const { account } = crowd[0]!;
      rows.push(
        await measurePairs({
          id: 'P13',
          what: 'GET of a user by session against one Ed25519 check and one select',
          count: REQUESTS,
          unit: 'requests/s',
          bar: { atLeast: 0.5 },
          ours: () =>
            load(`${service.url}/v1/users/${account.device.userId}`, {
              authorization: `Bearer ${account.device.sessionToken}`,
            }),
          reference: () => load(`${bare.url}/signed`, { signature: bare.signature }),
        }),
      );
      let turn = 0;
      const sealing = await createSealingKey(randomBytes);
      rows.push(
        await measurePairs({
          id: 'P7',
          what: 'wallet opened over HTTP against its slowest part, HPKE to the caller',
          count: OPENS,
          unit: 'opens/s',
          bar: { atLeast: 0.5 },
          ours: () => concurrently(OPENS, () => open(crowd[turn++ % crowd.length]!)),
          reference: () =>
            concurrently(OPENS, () =>
              sealTo(sealing.publicKey, new Uint8Array(40), new Uint8Array(8), new Uint8Array(32)),
            ),
        }),
      );
      return rows;
    } finally {
      await bare.close();
      await postgres.stop();
      await world.close();
      agent.destroy();
    }
  },
};

interface Holder {
  readonly account: Account;
  readonly wallets: readonly Wallet[];
  next: number;
}

/** Enough wallets that neither the limit a minute nor the limit a day is met. */
async function makeCrowd(world: World): Promise<Holder[]> {
  const crowd: Holder[] = [];
  for (let user = 0; user < USERS; user++) {
    const { account } = await signUp(world.app());
    const vault = await account.createVault('bench');
    crowd.push({
      account,
      next: 0,
      wallets: [
        await account.createWallet(vault.id),
        await account.createWallet(vault.id),
        await account.createWallet(vault.id),
      ],
    });
  }
  return crowd;
}

async function open(holder: Holder): Promise<void> {
  const key = await holder.account.openWallet(holder.wallets[holder.next++ % holder.wallets.length]!);
  key.fill(0);
}

async function concurrently(count: number, work: () => Promise<unknown>): Promise<void> {
  let left = count;
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      while (left-- > 0) await work();
    }),
  );
}

function load(url: string, headers: Record<string, string> = {}): Promise<void> {
  return concurrently(REQUESTS, () => get(url, headers));
}

function get(url: string, headers: Record<string, string>): Promise<void> {
  return new Promise((resolve, reject) => {
    request(url, { agent, headers }, (response) => {
      response.resume();
      response.once('end', () =>
        response.statusCode === 200 ? resolve() : reject(new Error(`${url} answered ${response.statusCode}`)),
      );
    })
      .once('error', reject)
      .end();
  });
}

/** What the framework does at the least: nothing, and one signature with one select. */
async function startBare(
  databaseUrl: string,
): Promise<{ url: string; signature: string; residentMiB: number; close(): Promise<void> }> {
  const db = await openPostgres({ url: databaseUrl });
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const message = Buffer.from('bench');
  const signature = sign(null, message, privateKey).toString('base64url');
  const app = Fastify();
  app.get('/bare', async () => ({ ok: true }));
  app.get('/signed', async (incoming) => {
    if (!verify(null, message, publicKey, Buffer.from(String(incoming.headers.signature), 'base64url')))
      throw new Error('signature');
    return (await db.query('select 1 as one'))[0];
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    url,
    signature,
    residentMiB: residentMiB(process.pid),
    async close() {
      await app.close();
      await db.close();
    },
  };
}

function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) / 1024;
}
