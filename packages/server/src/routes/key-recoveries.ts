/**
 * Recoveries by a backup key and rehearsals, from request to cancellation. `app.ts` binds these. A recovery is written
 * down before the enclave hears of it, so that none can run that nobody here knows of; what it would sign is read from
 * the bytes by the chain's own codec, and named by what its approvers will vote over.
 */
import { createHash } from 'node:crypto';
import type { BitcoinCodec, ChainCodec } from '@kedge/chains';
import {
  assertMayAct,
  bytesToHex,
  DAY_MS,
  equalBytes,
  KedgeError,
  type KeyBackupId,
  newId,
  type Parsed,
  type ProjectId,
  planHash,
  RELEASE_BYTES_MAX,
  RELEASE_TRANSACTION_BYTES_MAX,
  type RecoveryId,
  SECOND_MS,
} from '@kedge/core';
import { findApproverList, findBoundList, hasOpenChange } from '../approver-list-store.ts';
import { type BackupKeyRow, findBackupKey, findKeyBackup } from '../backup-key-store.ts';
import type { Handlers } from '../binding.ts';
import { codecOf } from '../codecs.ts';
import { signedView } from '../events.ts';
import { principalName } from '../principal.ts';
import { RequestInvalid } from '../problems.ts';
import { getRecovery, openRecovery, planFor, planStep, takeStep, tickRecovery } from '../recovery-progress.ts';
import {
  deleteDrill,
  findNewestRecovery,
  findRecovery,
  insertRecovery,
  insertRehearsal,
  insertVote,
  isRehearsalOf,
  listPlannedTransactions,
  listRecoveries,
  listVotes,
  type PlannedTransactionRow,
  type RecoveryRow,
  setDrill,
} from '../recovery-store.ts';
import { outcomeView, recoverySummaryView, recoveryView } from '../recovery-views.ts';
import type { Services } from '../services.ts';
import { inProject, pageOf } from '../store.ts';
import { getBackupKey } from './backup-keys.ts';

type Routes = Pick<
  Handlers,
  | 'createRehearsal'
  | 'setDrills'
  | 'createKeyRecovery'
  | 'listRecoveries'
  | 'getRecovery'
  | 'voteRecovery'
  | 'cancelRecovery'
>;

/** Who cancelled, as the enclave takes it. */
const CANCELLED_BY_CHARS_MAX = 128;
/** The request that wrote it down has so long to bring it to the enclave itself. */
const OPENING_MS = 30 * SECOND_MS;

export function keyRecoveryRoutes(services: Services): Routes {
  const { db, enclave, clock, ledger } = services;

  /** The row of this request: from an earlier try, or written now. */
  const writeDown = async (
    key: BackupKeyRow,
    { project, id, body }: { project: ProjectId; id: RecoveryId; body: Parsed<'createKeyRecovery', 'body'> },
  ): Promise<RecoveryRow> => {
    const on = inProject(db, project);
    const known = await findRecovery(on, id);
    const codec = codecOf(body.network);
    const transactions = plannedOf(codec, key, body);
    const list = await findBoundList(on, key.id);
    if (list === null)
      throw new KedgeError('conflict', 'No approver list decides over this key. Bind one, then ask again.');
    const name = { project, recovery: id, user: key.user_identifier, key: key.id };
    assertAccountOf(codec, body.account, body.sandbox ? (await enclave.throwAwayKey(name)).publicKey : key.public_key);
    if (!body.sandbox && known === null) {
      if (body.participants.length === 0)
        throw new RequestInvalid([
          {
            path: 'body.participants',
            message: 'somebody must be alerted of a real recovery: name one address or more',
          },
        ]);
      assertMayAct('request_recovery', {
        recovery: (await findNewestRecovery(on, key.id))?.status ?? null,
        listChangeOpen: await hasOpenChange(on, list),
        lockdown: false,
        rotating: false,
      });
    }
    if (body.backup_id !== undefined && (await findKeyBackup(on, body.backup_id))?.backup_type !== 'data')
      throw new RequestInvalid([{ path: 'body.backup_id', message: 'no recovery material of this project' }]);
    const { window_s } = (await findApproverList(on, list))!;
    const now = clock.wallMs();
    const draft: RecoveryRow = {
      id,
      project,
      key_id: key.id,
      list,
      network: body.network,
      account: body.account,
      sweep_to: body.sweep_to === undefined ? null : codec.parseAddress(body.sweep_to),
      sandbox: body.sandbox,
      status: 'requested',
      plan_hash: new Uint8Array(),
      backup_id: (body.backup_id ?? null) as KeyBackupId | null,
      participants: body.participants.map((email) => ({ id: newId(clock, services.random), email })),
      outcome: null,
      waits_for: [],
      cooling_left_s: null,
      alerts_accepted: 0,
      reminders: [],
      timeline: [{ state: 'requested', at: new Date(now).toISOString() }],
      votes_until: new Date(now + window_s * SECOND_MS),
      transaction_ids: [],
      certificate: null,
      certificate_signature: null,
      next_due_at: new Date(now + OPENING_MS),
      created_at: new Date(now),
    };
    const row = { ...draft, plan_hash: planHash(planFor(draft, key, transactions)) };
    if (known !== null) {
      if (!equalBytes(known.plan_hash, row.plan_hash))
        throw new KedgeError('conflict', 'That rehearsal is under way, of something else. Ask for another one.');
      return known;
    }
    await ledger.write({
      happenings: [
        {
          type: 'recovery.requested',
          project: row.project,
          data: { recovery: id, key: key.id, list, sandbox: row.sandbox, plan: bytesToHex(row.plan_hash) },
        },
      ],
      next: async (tx) => {
        if (!(await insertRecovery(inProject(tx, row.project), row, transactions)))
          throw new KedgeError('conflict', 'That recovery exists already.');
      },
    });
    return row;
  };

  const whole = async (row: RecoveryRow) => {
    const on = inProject(db, row.project);
    const key = await findBackupKey(on, row.key_id);
    return recoveryView(row, key!, await listPlannedTransactions(on, row.id), await listVotes(on, row.id));
  };

  return {
    async createRehearsal({ principal, params, resourceId, commit }) {
      const { project } = principal;
      const key = await getBackupKey(services, principal, params.key_id);
      const recovery = resourceId as RecoveryId;
      const { publicKey } = await enclave.throwAwayKey({
        project,
        recovery,
        user: key.user_identifier,
        key: key.id,
      });
      return commit({
        happenings: [{ type: 'drill.started', project, data: { key: key.id, recovery } }],
        next: async (tx) => {
          await insertRehearsal(inProject(tx, project), recovery, key.id, new Date(clock.wallMs()));
          return { recovery_id: recovery, public_key: bytesToHex(publicKey) };
        },
      });
    },

    async setDrills({ principal, params, body, commit }) {
      const { project } = principal;
      const key = await getBackupKey(services, principal, params.key_id);
      const { every_days, remind } = body;
      const dueAt = every_days === null ? null : new Date(clock.wallMs() + every_days * DAY_MS);
      return commit({
        happenings: [{ type: 'drill.scheduled', project, data: { key: key.id, every_days } }],
        next: async (tx) => {
          const on = inProject(tx, project);
          if (every_days === null || dueAt === null) await deleteDrill(on, key.id);
          else await setDrill(on, { key_id: key.id, every_days, remind, next_due_at: dueAt });
          return { key_id: key.id, every_days, next_due_at: dueAt?.toISOString() ?? null };
        },
      });
    },

    async createKeyRecovery({ principal, params, body, resourceId, commit }) {
      const { project } = principal;
      const key = await getBackupKey(services, principal, params.key_id);
      const id = (body.recovery_id ?? resourceId) as RecoveryId;
      if (body.recovery_id !== undefined) {
        const on = inProject(db, project);
        if (!body.sandbox || !(await isRehearsalOf(on, id, key.id)))
          throw new RequestInvalid([
            { path: 'body.recovery_id', message: 'only a rehearsal of this key has its id made before' },
          ]);
      } else if (body.sandbox)
        throw new RequestInvalid([{ path: 'body.recovery_id', message: 'ask for a rehearsal first, and give its id' }]);
      const row = await writeDown(key, { project, id, body });
      if (row.status === 'failed')
        throw new KedgeError('conflict', 'The enclave refused this recovery. Send it as a new request.');
      if (row.status !== 'requested') return whole(row);
      const step = await openRecovery(services, row);
      const transactions = await listPlannedTransactions(inProject(db, project), row.id);
      return commit({
        happenings: step.happenings,
        next: async (tx) => recoveryView(await step.apply(tx), key, transactions, []),
      });
    },

    listRecoveries: ({ principal, query }) =>
      pageOf(
        query,
        (before, limit) => listRecoveries(inProject(db, principal.project), before, limit),
        recoverySummaryView,
      ),

    getRecovery: async ({ principal, params }) =>
      whole(await getRecovery(services, principal.project, params.recovery_id)),

    async voteRecovery({ principal: { project }, params, body, proof, commit }) {
      const { id } = await getRecovery(services, project, params.recovery_id);
      const { approver_id: approver, choice } = body;
      const voted = await enclave.voteRecovery({
        project,
        recovery: id,
        approver,
        choice,
        proof: proof.text,
        token: null,
      });
      const step = planStep(services, await getRecovery(services, project, id), {
        ...voted,
        happenings: [{ type: 'recovery.voted', project, data: { recovery: id, approver, choice } }],
        write: (on) => insertVote(on, id, { approver, choice, at: new Date(clock.wallMs()) }),
      });
      return commit({
        happenings: step.happenings,
        next: async (tx) => {
          const { status } = await step.apply(tx);
          return { status, votes: outcomeView(voted.view.votes), receipt: signedView(voted.receipt) };
        },
      });
    },

    async cancelRecovery({ principal, params, commit }) {
      const { project } = principal;
      const row = await getRecovery(services, project, params.recovery_id);
      // Written down, and not with the enclave yet: it is brought there first, or it would come to life afterwards.
      if (row.status === 'requested') await tickRecovery(services, row);
      const by = principalName(principal);
      const cancelled = await enclave.cancelRecovery({ project, recovery: row.id, by: cancelledBy(by) });
      const step = planStep(services, await getRecovery(services, project, row.id), {
        ...cancelled,
        happenings: [],
      });
      if (step.happenings.length === 0) return recoverySummaryView(await takeStep(services, step));
      return commit({
        happenings: step.happenings.map((happening) => ({ ...happening, data: { ...happening.data, by } })),
        next: async (tx) => recoverySummaryView(await step.apply(tx)),
      });
    },
  };
}

/** A name cut off would be that of others as well; the event beside the receipt has it in full. */
function cancelledBy(name: string): string {
  if (name.length <= CANCELLED_BY_CHARS_MAX) return name;
  return `sha256/${createHash('sha256').update(name).digest('hex')}`;
}

/** The enclave looks as well; here it is told before anything is written down. */
function assertAccountOf(codec: ChainCodec, account: string, publicKey: Uint8Array): void {
  const holds =
    codec.name === 'bitcoin'
      ? (codec as BitcoinCodec)
          .descriptor(account)
          .keys.some((each) => equalBytes(each.kind === 'extended' ? each.key.publicKey : each.publicKey, publicKey))
      : codec.parseAddress(account) === codec.account(publicKey);
  if (!holds) throw new RequestInvalid([{ path: 'body.account', message: 'this key has no part in that account' }]);
}

/** What the request would have signed, each read and named by the chain's codec. Empty for a sweep. */
function plannedOf(
  codec: ChainCodec,
  key: BackupKeyRow,
  { transactions, sweep_to, account }: Parsed<'createKeyRecovery', 'body'>,
): PlannedTransactionRow[] {
  const invalid = (path: string, message: string) => new RequestInvalid([{ path: `body.${path}`, message }]);
  if (codec.curve !== key.key_type) throw invalid('network', `a key of ${key.key_type} signs nothing there`);
  if ((transactions === undefined) === (sweep_to === undefined))
    throw invalid('transactions', 'either the transactions or sweep_to');
  if (sweep_to !== undefined) {
    if (codec.name !== 'bitcoin') throw invalid('sweep_to', 'only on Bitcoin; elsewhere name the transactions');
    codec.address(account);
    return [];
  }
  const planned = readTransactions(codec, account, transactions ?? []);
  if (new Set(planned.map(({ plan_id }) => plan_id)).size !== planned.length)
    throw invalid('transactions', 'one of them comes twice');
  return planned;
}

/** Throws `RequestInvalid`, and what the codec throws of bytes that are no transaction of the account. */
export function readTransactions(
  codec: ChainCodec,
  account: string,
  texts: readonly string[],
): PlannedTransactionRow[] {
  const all = texts.map((text) => new Uint8Array(Buffer.from(text, 'base64')));
  if (all.reduce((sum, { length }) => sum + length, 0) > RELEASE_BYTES_MAX)
    throw new KedgeError('request_too_large', 'The transactions of one release have at most 640 KiB together.');
  return all.map((bytes, at) => {
    if (bytes.length === 0 || bytes.length > RELEASE_TRANSACTION_BYTES_MAX)
      throw new RequestInvalid([{ path: `body.transactions.${at}`, message: 'empty, or larger than 256 KiB' }]);
    codec.decode(bytes, account);
    return { plan_id: codec.planId(bytes), bytes };
  });
}
