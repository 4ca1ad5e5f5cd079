/**
 * The work of a rotation: every client secret and every wallet under the active server key, then the old version is
 * retired. The scheduler wakes it; what is left to do stands in the rows and in the enclave, so it may be killed at any
 * point and goes on from there. Requests go on meanwhile: both versions open until the end, sign-ups use the new one.
 * A client secret that does not open is left as it is, told once, and keeps the old version from being retired.
 */
import { setTimeout } from 'node:timers/promises';
import { toBase64Url, type UserId } from '@kedge/core';
import type { Signed } from '@kedge/enclave/client';
import { type Happening, serverKeyHappening } from '../events.ts';
import { activeVersion } from '../routes/rotations.ts';
import type { Job } from '../scheduler.ts';
import type { Services } from '../services.ts';
import {
  acrossProjects,
  countSecretsByServerKey,
  listSecretsToRewrap,
  markSecretsRefused,
  replaceSecrets,
  type SealedSecretRow,
} from '../store.ts';

const WALLETS_AT_ONCE = 250;
/** After each step the job rests for so many times as long as the step took: people who open wallets come first. */
const REST_PER_STEP = 3;
const REST_MS_MAX = 1_000;

export function rotationJob(services: Services): Job {
  const { db, enclave, ledger, log } = services;
  /** By signature, what is known to be in the ledger. */
  const told = new Set<string>();
  const tell = async (receipt: Signed) => {
    const signature = toBase64Url(receipt.signature);
    if (told.has(signature)) return;
    await ledger.tell([serverKeyHappening(receipt)]);
    told.add(signature);
  };
  return {
    name: 'rotation',
    everyMs: 5_000,
    async run(stopping) {
      const { running, versions, retirableInMs, receipts } = await enclave.rotation();
      // Whoever asked for a change may have died before its event was written.
      for (const receipt of receipts) await tell(receipt);
      if (!running) return;
      const active = activeVersion(versions);
      const refused = await rewrapClientSecrets(services, active, stopping);
      await rewrapWallets(services, stopping);
      if (stopping()) return;

      const counts = await countSecretsByServerKey(acrossProjects(db));
      const left = [...counts].reduce((sum, [version, count]) => (version === active ? sum : sum + count), 0);
      if (left > 0) {
        if (refused > 0)
          log.error(
            { left, refused },
            'client secrets do not open; the rotation cannot finish until an operator has looked into them',
          );
        return;
      }
      if ((await enclave.rewrapWallets({ limit: WALLETS_AT_ONCE })).left > 0) return;
      if (retirableInMs !== 0) return; // requests under way may still hold a client secret under the old version
      // Before the end, so that a crash in between repeats it: superseded ciphertexts must be gone from a later dump.
      await db.compact(['users']);
      await enclave.compact();
      const { receipt } = await enclave.finishRotation();
      await tell(receipt);
    },
  };
}

/** Starts one when the server key has served its time; the enclave knows when that is. */
export function rotationScheduleJob({ enclave }: Services): Job {
  return {
    name: 'rotation-schedule',
    everyMs: 3_600_000,
    async run() {
      await enclave.startRotationWhenDue(); // the job above finds the receipt
    },
  };
}

/** Goes once through all that are under another version. Gives how many do not open. */
async function rewrapClientSecrets(services: Services, active: number, stopping: () => boolean): Promise<number> {
  const on = acrossProjects(services.db);
  let refused = 0;
  for (let after: string | null = null; !stopping(); ) {
    const rows = await listSecretsToRewrap(on, active, after, services.options.rotationBatch);
    const last = rows.at(-1);
    if (last === undefined) break;
    const beganMs = services.clock.monotonicMs();
    refused += await rewrapBatch(services, active, rows);
    after = last.id;
    await rest(services, beganMs);
  }
  return refused;
}

async function rewrapBatch(
  { enclave, ledger }: Services,
  active: number,
  rows: readonly SealedSecretRow[],
): Promise<number> {
  const { serverKey, secrets } = await enclave.rewrapClientSecrets({
    secrets: rows.map(({ project, id, client_secret }) => ({ project, user: id, clientSecret: client_secret })),
  });
  if (serverKey !== active) return 0; // another rotation has begun; the next run sees it
  const opened = rows.flatMap((row, index) => {
    const next = secrets[index];
    return next ? [{ id: row.id, server_key: row.server_key, next }] : [];
  });
  const unopened = rows.filter((_, index) => !secrets[index]);
  const news = unopened.filter((row) => row.refused_key !== active);
  const happenings: Happening[] = news.map(({ id, project, server_key }) => ({
    type: 'user.client_secret_refused',
    project,
    user: id,
    data: { server_key, active },
  }));
  if (opened.length > 0)
    happenings.push({ type: 'rotation.advanced', data: { version: active, client_secrets: opened.length } });
  if (happenings.length > 0) {
    await ledger.write({
      happenings,
      next: async (tx) => {
        await replaceSecrets(acrossProjects(tx), opened, active);
        await markSecretsRefused(
          acrossProjects(tx),
          news.map(({ id }): UserId => id),
          active,
        );
      },
    });
  }
  return unopened.length;
}

async function rewrapWallets(services: Services, stopping: () => boolean): Promise<void> {
  const { enclave, ledger } = services;
  while (!stopping()) {
    const beganMs = services.clock.monotonicMs();
    const { rewrapped, left } = await enclave.rewrapWallets({ limit: WALLETS_AT_ONCE });
    if (rewrapped > 0) {
      await ledger.tell([{ type: 'rotation.advanced', data: { wallets: rewrapped } }]);
    }
    if (left === 0 || rewrapped === 0) return;
    await rest(services, beganMs);
  }
}

async function rest({ clock }: Services, beganMs: number): Promise<void> {
  await setTimeout(Math.min(REST_MS_MAX, REST_PER_STEP * (clock.monotonicMs() - beganMs)));
}
