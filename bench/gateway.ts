/**
 * P13: what the service adds to its framework, over HTTP. The processes are those of the journeys on PostgreSQL, the load
 * comes from here over 32 connections, so both sides share the two cores; only the ratios mean something.
 */
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { Agent, request } from 'node:http';
import { signUp } from '@kedge/sdk';
import { openPostgres } from '@kedge/store';
import { startPostgres } from '@kedge/store/testing';
import Fastify from 'fastify';
import { World } from '../journeys/harness/world.ts';
import { measurePairs, type Question, type Row } from './measure.ts';

const CONNECTIONS = 32;
const REQUESTS = 400;
const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });

export const gateway: Question = {
  name: 'gateway',
  async run() {
    // The bench comes from one address with one credential: the limits that would stop it are lifted.
    const lifted = {
      KEDGE_LIMITS_PER_ADDRESS_PER_MINUTE: '1000000000',
      KEDGE_LIMITS_PER_PRINCIPAL_PER_MINUTE: '1000000000',
    };
    const world = await World.open({ database: 'postgres', hsm: 'software', env: lifted });
    const service = await world.start();
    const postgres = await startPostgres();
    const bare = await startBare(await postgres.url('bare'));
    try {
      const rows: Row[] = [];
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
      const { account } = await signUp(world.app());
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
      return rows;
    } finally {
      await bare.close();
      await postgres.stop();
      await world.close();
      agent.destroy();
    }
  },
};

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
async function startBare(databaseUrl: string): Promise<{ url: string; signature: string; close(): Promise<void> }> {
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
    async close() {
      await app.close();
      await db.close();
    },
  };
}
