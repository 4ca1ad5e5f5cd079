/**
 * P7: a wallet opened over HTTP on PostgreSQL with fsync, with the user's proof, the event in the ledger and the hop to
 * the enclave, against the slowest of its parts alone in the same run. Gateway and enclave are processes of what `tsc`
 * made. Requests and proofs are made before each measured window; a bare client fires them over 32 connections.
 */
import type { ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type CborValue, newId, systemClock } from '@kedge/core';
import { connectEnclave } from '@kedge/enclave/client';
import { startPostgres } from '@kedge/store/testing';
import pg from 'pg';
import { encodeFrame, FrameReader, hello } from '../packages/enclave/src/wire.ts';
import { atOnce, makeCrowd, proofToOpen } from './crowd.ts';
import { measureParts, type Question } from './measure.ts';
import { enclaveConfig, gatewayConfig, type Opening, portOf, requestToOpen, startDist } from './processes.ts';
import { RawHttp } from './raw-http.ts';
import { random } from './vault.ts';

const CONNECTIONS = 32;
const OPENS = 192;
const USERS = 1_000;
const OPENABLE = 4;
const WALLETS = 100_000;

export const opening: Question = {
  name: 'opening',
  async run({ million }) {
    const server = await startPostgres({ fsync: 'on', shared_buffers: '512MB', max_wal_size: '4GB' });
    const crowd = await makeCrowd(server, { users: USERS, openable: OPENABLE, wallets: million ? 1_000_000 : WALLETS });
    const children: ChildProcess[] = [];
    const closing: (() => unknown)[] = [];
    try {
      const socket = join(crowd.folder, 'enclave.sock');
      await startDist('enclave', enclaveConfig(crowd, socket), crowd, children);
      const { enclave, close } = connectEnclave({ socket });
      closing.push(close);
      const { boot } = await enclave.status();
      const gatewayUrl = await startDist('gateway', gatewayConfig(crowd, 'whole', socket), crowd, children);
      const whole = await RawHttp.open(portOf(gatewayUrl), CONNECTIONS);
      const stub = await startStub(join(crowd.folder, 'stub.sock'));
      const alone = gatewayConfig(crowd, 'alone', join(crowd.folder, 'stub.sock'));
      const gatewayAlone = await RawHttp.open(portOf(await startDist('gateway', alone, crowd, children)), CONNECTIONS);
      const commits = new pg.Pool({ connectionString: crowd.primaryUrl, max: CONNECTIONS });
      commits.on('error', () => undefined);
      closing.push(
        () => whole.close(),
        () => gatewayAlone.close(),
        () => stub.close(),
        () => commits.end(),
      );

      const draw = (): Opening => {
        const user = crowd.users[randomInt(crowd.users.length)]!;
        const wallet = user.wallets[randomInt(user.wallets.length)]!;
        return { user, wallet, proof: proofToOpen(user, wallet, boot) };
      };
      const openings = () => Array.from({ length: OPENS }, draw);
      const rows = await measureParts({
        id: 'P7',
        what: `a wallet opened over HTTP, ${crowd.wallets.toLocaleString('en')} on PostgreSQL`,
        count: OPENS,
        unit: 'per s',
        bar: { atLeast: 0.5 },
        whole: {
          prepare: () => openings().map(requestToOpen),
          run: (requests: Buffer[]) => whole.fire(requests),
        },
        parts: {
          'gateway: session, lookups, event, on an enclave that answers at once': {
            prepare: () => openings().map(requestToOpen),
            run: (requests: Buffer[]) => gatewayAlone.fire(requests),
          },
          'the hop: a call of the enclave that does nothing': {
            prepare: () => Array.from({ length: OPENS }),
            run: (calls: unknown[]) => atOnce(CONNECTIONS, calls, () => enclave.status()),
          },
          'enclave: proof, limits, opening, HPKE, receipt, over its socket': {
            prepare: openings,
            run: (calls: Opening[]) =>
              atOnce(CONNECTIONS, calls, ({ user: { project, user, clientSecret }, wallet, proof }) =>
                enclave.openWallet({ project, user, wallet, clientSecret, proof } as never),
              ),
          },
          'PostgreSQL: an event committed, bare driver': {
            prepare: () => Array.from({ length: OPENS }, () => newId(systemClock(), random)),
            run: (ids: string[]) =>
              atOnce(CONNECTIONS, ids, (id) =>
                commits.query({
                  name: 'event',
                  text: 'insert into events (id, body) values ($1, $2)',
                  values: [id, BODY],
                }),
              ),
          },
        },
      });
      return rows;
    } finally {
      for (const child of children) child.kill('SIGTERM');
      await Promise.all(children.map((child) => new Promise((resolve) => child.once('exit', resolve))));
      for (const end of closing.reverse()) await end();
      await server.stop();
      rmSync(crowd.folder, { recursive: true, force: true });
    }
  },
};

/** As long as the event of an opening, and no link in a chain that anybody checks. */
const BODY = 'x'.repeat(900);

/** An enclave that answers every opening with the same bytes, at once, and knows nothing else. */
async function startStub(path: string): Promise<Server> {
  const answer = { answer: random(98), receipt: { document: random(420), signature: random(64) } };
  const server = createServer((socket: Socket) => {
    const reader = new FrameReader();
    let greeted = false;
    socket.on('error', () => socket.destroy());
    socket.write(encodeFrame(hello));
    socket.on('data', (chunk) => {
      for (const value of reader.push(chunk)) {
        if (!greeted) {
          greeted = true;
          continue;
        }
        const [id, method] = value as [number, string];
        const unknown: CborValue = { code: 'enclave_unavailable', detail: '', retry_after_s: null };
        socket.write(encodeFrame(method === 'openWallet' ? [id, true, answer] : [id, false, unknown]));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return server;
}
