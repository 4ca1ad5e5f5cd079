/**
 * P8, the second run: how long people wait for an opening while the server key is rotated under them. Requests come one
 * every 25 ms whether or not the last was answered; the same before the rotation, and while the gateway's job rewraps
 * 40,000 wallets and their client secrets on PostgreSQL. Rewriting the tables, which comes after, locks them and is not in
 * the window: hence no more wallets, or it would begin at once.
 */
import type { ChildProcess } from 'node:child_process';
import { generateKeyPairSync, randomInt } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fromBase64Url } from '@kedge/core';
import { connectEnclave } from '@kedge/enclave/client';
import { startPostgres } from '@kedge/store/testing';
import { type Crowd, makeCrowd, proofToOpen, signedProof } from './crowd.ts';
import { type Question, tailAtMost } from './measure.ts';
import { enclaveConfig, gatewayConfig, portOf, requestToOpen, startDist } from './processes.ts';
import { RawHttp } from './raw-http.ts';

const EVERY_MS = 25;
const IDLE_REQUESTS = 400;

export const gentle: Question = {
  name: 'gentle',
  async run({ million }) {
    const server = await startPostgres({ fsync: 'on', shared_buffers: '512MB', max_wal_size: '4GB' });
    const crowd = await makeCrowd(server, { users: 1_000, openable: 4, wallets: million ? 1_000_000 : 40_000 });
    const children: ChildProcess[] = [];
    const socket = join(crowd.folder, 'enclave.sock');
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const x = publicKey.export({ format: 'jwk' }).x!;
    await startDist('enclave', enclaveConfig(crowd, socket, { ada: `ed25519:${x}` }), crowd, children);
    const { enclave, close } = connectEnclave({ socket });
    const { boot } = await enclave.status();
    const url = await startDist('gateway', gatewayConfig(crowd, 'gateway', socket), crowd, children);
    const http = await RawHttp.open(portOf(url), 1);
    try {
      await arrive(http, crowd, boot, (sent) => sent < IDLE_REQUESTS / 2); // warm
      const idle = await arrive(http, crowd, boot, (sent) => sent < IDLE_REQUESTS);
      const key = { algorithm: 'ed25519' as const, publicKey: fromBase64Url(x) };
      const said = { act: 'rotate' as const, subject: 'ada', parameters: {}, answerKey: null, boot };
      await enclave.startRotation({ proof: signedProof({ key, privateKey }, said) });
      const leftNow = async () =>
        (await enclave.rotation()).versions.find(({ state }) => state === 'decrypt_only')?.wallets ?? 0;
      const all = await leftNow();
      while ((await leftNow()) === all) await new Promise((resolve) => setTimeout(resolve, 20)); // the job wakes every 5 s
      let left = all;
      const look = setInterval(
        () =>
          void leftNow().then((now) => {
            left = now;
          }),
        250,
      );
      const began = performance.now();
      const during = await arrive(http, crowd, boot, () => left > 0);
      clearInterval(look);
      const seconds = (performance.now() - began) / 1_000;
      const what = `p99 of an opening while ${Math.round((all - left) / seconds / 1_000)},000 wallets a second are rewrapped`;
      return [tailAtMost({ id: 'P8', what, unit: 'ms', bar: { atMost: 2 } }, during, idle)];
    } finally {
      http.close();
      close();
      for (const child of children) child.kill('SIGTERM');
      await Promise.all(children.map((child) => new Promise((resolve) => child.once('exit', resolve))));
      await server.stop();
      rmSync(crowd.folder, { recursive: true, force: true });
    }
  },
};

/** Gives how long each took. Proofs are made in advance, or making them would be part of the wait. */
async function arrive(
  http: RawHttp,
  crowd: Crowd,
  boot: Uint8Array,
  more: (sent: number) => boolean,
): Promise<number[]> {
  const ready: Buffer[] = [];
  const draw = () => {
    const user = crowd.users[randomInt(crowd.users.length)]!;
    const wallet = user.wallets[randomInt(user.wallets.length)]!;
    ready.push(requestToOpen({ user, wallet, proof: proofToOpen(user, wallet, boot) }));
  };
  for (let count = 0; count < 100; count++) draw();
  const waits: Promise<number>[] = [];
  const began = performance.now();
  for (let sent = 0; more(sent); sent++) {
    const dueMs = began + sent * EVERY_MS - performance.now();
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs)));
    waits.push(http.time(ready.shift()!));
    setImmediate(draw);
  }
  return Promise.all(waits);
}
