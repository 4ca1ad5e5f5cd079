/**
 * The end of a recovery: cold files and thaws, the release, how it ended, and the certificate of a rehearsal. `app.ts`
 * binds these. Whether anything is signed, and that it is what was voted on, the enclave decides; the gateway carries
 * the bytes there and puts the signatures into the transactions, where the chain's codec can.
 */
import { createHash } from 'node:crypto';
import { type ChainCodec, ChainError } from '@kedge/chains';
import { bytesToHex, concatBytes, KedgeError, type KeyBackupId, utf8ToBytes } from '@kedge/core';
import type { ReleasedSignature } from '@kedge/enclave/client';
import { findKeyBackup, readKeyBackup } from '../backup-key-store.ts';
import type { Handlers } from '../binding.ts';
import { codecOf } from '../codecs.ts';
import { signedView } from '../events.ts';
import { bytesAt, RequestInvalid } from '../problems.ts';
import { getRecovery, planStep, takeStep, tickRecovery } from '../recovery-progress.ts';
import {
  countThaws,
  findNewestBackup,
  insertThaw,
  listNewestThaws,
  listPlannedTransactions,
  noteCompletion,
  type RecoveryRow,
  restartDrill,
  storeCertificate,
} from '../recovery-store.ts';
import { recoverySummaryView } from '../recovery-views.ts';
import type { Services } from '../services.ts';
import { type InProject, inProject } from '../store.ts';
import { readTransactions } from './key-recoveries.ts';

type Routes = Pick<Handlers, 'getColdFiles' | 'createThaw' | 'releaseRecovery' | 'completeRecovery' | 'getCertificate'>;

/** A release takes so many, of different officers. */
const THAWS_TAKEN = 2;
/** Of one recovery: also those that officers sealed anew. */
const THAWS_MAX = 64;
const CERTIFICATE_DOMAIN = 'kedge/drill-certificate/v1\0';

export function releaseRoutes(services: Services): Routes {
  const { db, enclave, clock } = services;

  /** As time has left it: a job may not have had its turn yet. */
  const current = async (project: RecoveryRow['project'], id: string) => {
    const row = await getRecovery(services, project, id);
    return row.status === 'cooling' || row.status === 'approving' ? tickRecovery(services, row) : row;
  };

  return {
    async getColdFiles({ principal: { project }, params }) {
      const { id } = await getRecovery(services, project, params.recovery_id);
      const { files } = await enclave.coldFiles({ project, recovery: id });
      return { files: files.map((file) => Buffer.from(file).toString('base64')) };
    },

    async createThaw({ principal: { project }, params, body, resourceId, commit }) {
      const row = await current(project, params.recovery_id);
      // Also once it is released: the same signatures are there to be had again, and an enclave that restarted forgot the parts.
      if (row.status !== 'releasable' && row.status !== 'released')
        throw new KedgeError(
          'conflict',
          `The recovery is ${row.status}. Parts of a key are taken once it is releasable.`,
        );
      const share = bytesAt('body.sealed_share', body.sealed_share);
      return commit({
        happenings: [{ type: 'recovery.thaw_stored', project, data: { recovery: row.id } }],
        next: async (tx) => {
          const on = inProject(tx, project);
          await insertThaw(on, resourceId, row.id, share);
          const thaws = await countThaws(on, row.id);
          if (thaws > THAWS_MAX)
            throw new KedgeError('conflict', `There are ${THAWS_MAX} parts already. Release, or cancel the recovery.`);
          return { thaws };
        },
      });
    },

    async releaseRecovery({ principal: { project }, params, body, commit }) {
      const row = await current(project, params.recovery_id);
      const on = inProject(db, project);
      const codec = codecOf(row.network);
      const transactions = await transactionsOf(on, codec, row, body.transactions);
      const thaws = await listNewestThaws(on, row.id, THAWS_TAKEN);
      const released = await enclave.releaseRecovery({
        project,
        recovery: row.id,
        transactions,
        backup: await backupOf(on, codec, row, body.backup_id),
        thaws,
        rehearsed: row.sandbox ? await contentOf(on, await findNewestBackup(on, row.key_id)) : null,
      });
      const { signatures, certificate, receipt } = released;
      const at = new Date(clock.wallMs());
      const step = planStep(services, await getRecovery(services, project, row.id), {
        ...released,
        happenings:
          certificate === null || row.certificate !== null
            ? []
            : [
                {
                  type: 'drill.certificate_issued',
                  project,
                  data: { recovery: row.id, key: row.key_id, document: hashOf(certificate.document) },
                },
              ],
        async write(on) {
          if (certificate !== null && (await storeCertificate(on, row.id, certificate)))
            await restartDrill(on, row.key_id, at);
        },
      });
      const response = {
        status: released.view.status,
        signatures: signatures.map(({ transaction, input, publicKey, signature }) => ({
          transaction,
          input,
          public_key: bytesToHex(publicKey),
          signature: bytesToHex(signature),
        })),
        transactions: transactions.map((bytes, i) => attached(codec, bytes, i, signatures)),
        receipt: signedView(receipt),
      };
      if (step.happenings.length === 0) {
        await takeStep(services, step);
        return response;
      }
      return commit({
        happenings: step.happenings,
        next: async (tx) => {
          await step.apply(tx);
          return response;
        },
      });
    },

    async completeRecovery({ principal: { project }, params, body, commit }) {
      const row = await getRecovery(services, project, params.recovery_id);
      const { outcome, transaction_ids } = body;
      const completed = await enclave.completeRecovery({ project, recovery: row.id, outcome });
      const before = await getRecovery(services, project, row.id);
      // Asked again it changes nothing: no event would tell of that.
      const ids = before.status === outcome ? before.transaction_ids : transaction_ids;
      const step = planStep(services, before, {
        ...completed,
        write: (on) => noteCompletion(on, row.id, ids),
      });
      const done = async (applied: RecoveryRow) => recoverySummaryView({ ...applied, transaction_ids: ids });
      if (step.happenings.length === 0) return done(await takeStep(services, step));
      return commit({ happenings: step.happenings, next: async (tx) => done(await step.apply(tx)) });
    },

    async getCertificate({ principal: { project }, params }) {
      const { certificate, certificate_signature: signature } = await getRecovery(
        services,
        project,
        params.recovery_id,
      );
      if (certificate === null || signature === null)
        throw new KedgeError('not_found', 'There is no certificate: only a rehearsal that was released has one.');
      const spelled = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
      return {
        document: spelled(certificate),
        signature: spelled(signature),
        signed_message: spelled(concatBytes(utf8ToBytes(CERTIFICATE_DOMAIN), certificate)),
        signature_der: spelled(derSignature(signature)),
      };
    },
  };

  /** Those of the plan, unless others come along; that they are of the plan the enclave sees. */
  async function transactionsOf(
    on: InProject,
    codec: ChainCodec,
    row: RecoveryRow,
    given: readonly string[] | undefined,
  ): Promise<Uint8Array[]> {
    if (given !== undefined) return readTransactions(codec, row.account, given).map(({ bytes }) => bytes);
    if (row.sweep_to !== null)
      throw new RequestInvalid([
        { path: 'body.transactions', message: `a sweep names its transactions now, each to ${row.sweep_to} alone` },
      ]);
    return (await listPlannedTransactions(on, row.id)).map(({ bytes }) => bytes);
  }

  async function backupOf(on: InProject, codec: ChainCodec, row: RecoveryRow, asked: string | undefined) {
    if (codec.name !== 'bitcoin') return null;
    const own = row.sandbox ? null : await findNewestBackup(on, row.key_id);
    const id = (asked ?? row.backup_id ?? own) as KeyBackupId | null;
    const content = await contentOf(on, id);
    if (asked !== undefined && content === null)
      throw new RequestInvalid([{ path: 'body.backup_id', message: 'no recovery material of this project' }]);
    return content;
  }
}

async function contentOf(on: InProject, id: KeyBackupId | null) {
  const row = id === null ? null : await findKeyBackup(on, id);
  if (row === null || row.backup_type !== 'data') return null;
  return { version: row.encryption_key, data: await readKeyBackup(on, row.id) };
}

/** Null where they don't fit, as with an account that wants something else beside them. */
function attached(
  codec: ChainCodec,
  bytes: Uint8Array,
  index: number,
  signatures: readonly ReleasedSignature[],
): string | null {
  try {
    const own = signatures.filter(({ transaction }) => transaction === index);
    return Buffer.from(codec.attach(bytes, own)).toString('base64');
  } catch (error) {
    if (error instanceof ChainError) return null;
    throw error;
  }
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** `r ‖ s` as SEQUENCE of two INTEGER. */
function derSignature(signature: Uint8Array): Uint8Array {
  const integer = (half: Uint8Array) => {
    const first = half.findIndex((byte) => byte !== 0);
    const digits = first === -1 ? half.subarray(-1) : half.subarray(first);
    const body = (digits[0]! & 0x80) === 0 ? digits : concatBytes(new Uint8Array(1), digits);
    return concatBytes(new Uint8Array([0x02, body.length]), body);
  };
  const body = concatBytes(integer(signature.subarray(0, 32)), integer(signature.subarray(32)));
  return concatBytes(new Uint8Array([0x30, body.length]), body);
}
