/**
 * What `kedge doctor` asks the enclave's side while no enclave runs: the vault database, the root keys, the sealed state
 * and its mirror. `main.ts` runs it as the verb `check`. It makes no key, no database and no mirror, and it unseals
 * nothing; it only says what the next start would meet.
 */
import { createHmac } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type Clock, decodeCbor, utf8ToBytes } from '@kedge/core';
import { type Check, checkDatabase, type Database, type MigrationPlan } from '@kedge/store';
import type { EnclaveConfig } from './config.ts';
import { LEASE_S } from './lease.ts';
import { type Mirror, openFileMirror } from './mirror.ts';
import { type RootKeys, RootKeysError, type RootKeysErrorCode } from './root-keys.ts';
import { SealedState } from './state.ts';

export interface EnclaveReport {
  readonly checks: readonly Check[];
  /** The writes of the sealed state so far; null where there is none. The primary database must not remember more. */
  readonly sequence: number | null;
}

export interface CheckDeps {
  readonly config: EnclaveConfig;
  readonly clock: Clock;
  readonly plan: MigrationPlan;
  /** Opens the root keys that the configuration names, and makes none. */
  readonly openRootKeys: () => Promise<RootKeys>;
}

/** A clock that was set back by less than this is not worth a finding. */
const SET_BACK_MS_MAX = 5_000;

export async function checkEnclave(deps: CheckDeps): Promise<EnclaveReport> {
  const { config, clock, plan } = deps;
  const { checks, db } = await checkDatabase('vault', config.database, plan, () => clock.wallMs());
  if (db === null) {
    // A locked database has an enclave that uses the same root; a key file is not to be opened twice.
    const inUse = checks.some(({ code }) => code === 'database_locked');
    return {
      checks: inUse && config.root.kind === 'software' ? checks : [...checks, ...(await checkRoot(deps, false))],
      sequence: null,
    };
  }
  try {
    return await checkState(deps, db, checks);
  } finally {
    await db.close();
  }
}

/** The root keys alone: what can be asked while an enclave runs, if they are in a token. `needed`: something is sealed under them. */
export async function checkRoot({ config, openRootKeys }: CheckDeps, needed: boolean): Promise<readonly Check[]> {
  try {
    const rootKeys = await openRootKeys();
    const capabilities = await rootKeys.capabilities();
    await rootKeys.close();
    return [describeRoot(config, capabilities)];
  } catch (error) {
    if (!(error instanceof RootKeysError))
      return [{ code: 'root_unusable', ok: false, detail: error instanceof Error ? error.message : String(error) }];
    if (error.code === 'no_key' && !needed)
      return [{ code: 'root_keys', ok: true, detail: `none yet; the first start makes them in ${placeOf(config)}` }];
    return [
      {
        code: findingOf[error.code],
        ok: false,
        detail: config.root.kind === 'pkcs11' ? `${error.message} Module: ${config.root.module}` : error.message,
      },
    ];
  }
}

const findingOf: { readonly [C in RootKeysErrorCode]: string } = {
  token_absent: 'hsm_absent',
  unavailable: 'hsm_absent',
  pin_wrong: 'hsm_pin_wrong',
  operation_missing: 'hsm_operation_missing',
  no_key: 'root_missing',
  refused: 'root_unusable',
  damaged: 'root_unusable',
};

function describeRoot(config: EnclaveConfig, capabilities: Awaited<ReturnType<RootKeys['capabilities']>>): Check {
  const missing = capabilities.filter(({ where }) => where === 'missing');
  const said = capabilities.map(({ operation, where }) => `${operation} ${where.replace('_', ' ')}`).join(', ');
  return {
    code: missing.length > 0 ? 'hsm_operation_missing' : 'root_keys',
    ok: missing.length === 0,
    detail: `${said}; ${placeOf(config)}`,
  };
}

function placeOf({ root }: EnclaveConfig): string {
  return root.kind === 'pkcs11'
    ? `token "${root.tokenLabel}" through ${root.module}`
    : `${root.file} (software is not hardware)`;
}

async function checkState(deps: CheckDeps, db: Database, before: readonly Check[]): Promise<EnclaveReport> {
  const { config, clock } = deps;
  const checks = [...before];
  const [lease] = await db.query<{ until: Date; held: boolean }>(
    'select until, until > now() and until <= now() + make_interval(secs => $1) as held from lease',
    [LEASE_S],
  );
  const [head] = await db.query<{ sequence: bigint }>('select sequence from head');
  const sequence = head ? Number(head.sequence) : null;
  if (lease) checks.push(...checkLastTick(lease.until.getTime() - LEASE_S * 1_000, clock.wallMs()));
  if (lease?.held && config.root.kind === 'software') {
    checks.push({
      code: 'enclave',
      ok: true,
      detail: 'an enclave holds the writer lease now, so its root and mirror are left alone',
    });
    return { checks, sequence };
  }
  const root = await checkRoot(deps, head !== undefined);
  checks.push(...root);
  if (!head || root.some(({ ok }) => !ok)) return { checks, sequence };
  const rootKeys = await deps.openRootKeys();
  try {
    checks.push(...(await checkMirror(config, db, rootKeys)));
  } finally {
    await rootKeys.close();
  }
  return { checks, sequence };
}

/** The lease is renewed every two seconds by the database's clock: the last sign of life that the vault database has. */
function checkLastTick(lastMs: number, wallMs: number): Check[] {
  const aheadMs = lastMs - wallMs;
  if (aheadMs <= SET_BACK_MS_MAX)
    return [{ code: 'clock', ok: true, detail: 'this machine’s clock has gone on since the enclave last ran' }];
  return [
    {
      code: 'clock_jumped',
      ok: false,
      detail: `this machine's clock is ${Math.round(aheadMs / 1000)} s before the time at which the enclave last ran`,
    },
  ];
}

async function checkMirror(config: EnclaveConfig, db: Database, rootKeys: RootKeys): Promise<Check[]> {
  if (!(await rootKeys.hasKey({ purpose: 'state', version: 1 }))) {
    return [
      { code: 'root_missing', ok: false, detail: 'the root keys here are not those that sealed the vault database' },
    ];
  }
  const key = await rootKeys.mac(utf8ToBytes('kedge/mirror-key/v1'));
  const mirror = existsSync(config.mirror)
    ? openFileMirror(config.mirror, (bytes) => createHmac('sha256', key).update(bytes).digest())
    : noMirror;
  try {
    // With a head in the database `open` makes nothing; the fence is one that no write would pass.
    const { state, doubt } = await SealedState.open({
      db,
      mirror,
      fence: -1n,
      rootKeys,
      random: () => new Uint8Array(),
    });
    if (doubt !== null) return [{ code: 'mirrors_disagree', ok: false, detail: doubt }];
    const stored = await state.read(await state.key('sealed'));
    const agreed: Check = {
      code: 'mirrors',
      ok: true,
      detail: `the file mirror and the vault database agree, at write ${state.sequence}`,
    };
    if (stored === null) return [agreed];
    return [agreed, { code: 'enclave_sealed', ok: false, detail: String(decodeCbor(stored)) }];
  } catch (error) {
    return [
      {
        code: 'root_unusable',
        ok: false,
        detail: `the sealed state does not open: ${error instanceof Error ? error.message : String(error)}`,
      },
    ];
  } finally {
    mirror.close();
  }
}

const noMirror: Mirror = { read: () => null, write: () => undefined, close: () => undefined };
