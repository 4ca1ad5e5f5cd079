/**
 * The world of a journey: a state folder, real databases, a real root, the service as processes of its own with a
 * driven clock, local chains that outlive it, and the CLI run as a person would run it. Everything is made in one
 * temporary folder and taken down at the end.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Child, type Home, openHome, type RunningService, startChild, startService } from '@kedge/cli/operator';
import { type EvmDevnet, startEvm } from '@kedge/devnet';
import { createSoftHsmToken } from '@kedge/enclave/testing';
import type { ServiceOptions } from '@kedge/sdk';
import { openPglite, openPostgres } from '@kedge/store';
import { emptyDataDir, type PostgresServer, startPostgres, temporaryRoot } from '@kedge/store/testing';
import { harnessEntry, QUICK_START } from './entries.ts';

export interface WorldOptions {
  /** Settings beside the world's own, as environment variables. */
  readonly env?: Readonly<Record<string, string>>;
  readonly database: 'pglite' | 'postgres';
  readonly hsm: 'software' | 'pkcs11';
  /** Starts on databases that are empty instead of missing: making the embedded ones takes seconds, and is shown elsewhere. */
  readonly prepared?: boolean;
  /** The time that was advanced has passed for processes that are started later too, as cooling periods need it. */
  readonly timeGoesOn?: boolean;
}

/** Below the ports that Linux gives to whoever asks for any: one of those may be taken while the service is down for a moment. */
const PORTS = { first: 20_000, count: 12_000 };

/** On the build of the packages: from source, each start would take a second longer. */
const cli = fileURLToPath(new URL('../../packages/cli/dist/main.js', import.meta.url));

export interface CommandResult {
  readonly code: number;
  readonly json: Record<string, unknown>;
  readonly stdout: string;
}

export class World {
  readonly options: WorldOptions;
  readonly folder: string;
  readonly evm: EvmDevnet;
  /** Everything that gateway and enclave wrote to their logs, for the thieves and the canaries. */
  readonly logs: string[] = [];
  readonly #postgres: PostgresServer | null;
  readonly #env: Record<string, string>;
  /** A database beside the two, from which they can be dropped. */
  #maintenance: string | null = null;
  readonly #others: (() => Promise<unknown>)[] = [];
  /** How far the wall clock of the processes is ahead of the machine's. */
  #wallAheadMs = 0;
  service: RunningService | null = null;

  private constructor(
    options: WorldOptions,
    folder: string,
    evm: EvmDevnet,
    postgres: PostgresServer | null,
    env: Record<string, string>,
  ) {
    this.options = options;
    this.folder = folder;
    this.evm = evm;
    this.#postgres = postgres;
    this.#env = env;
  }

  static async open(options: WorldOptions): Promise<World> {
    const folder = mkdtempSync(join(temporaryRoot, 'kedge-j-'));
    const evm = await startEvm();
    const postgres = options.database === 'postgres' ? await startPostgres() : null;
    const env: Record<string, string> = {
      KEDGE_HOME: join(folder, 'home'),
      KEDGE_BACKUPS: join(folder, 'backups'),
      KEDGE_EVM_RPC_URL: evm.rpcUrl,
      KEDGE_EVM_CHAIN_ID: String(evm.chainId),
      KEDGE_GATEWAY_PORT: String(PORTS.first + (process.pid % PORTS.count)),
      KEDGE_GATEWAY_ROTATION_BATCH: '10',
    };
    if (postgres) {
      env.KEDGE_DATABASE_PRIMARY = await postgres.url('primary');
      env.KEDGE_DATABASE_VAULT = await postgres.url('vault');
    }
    if (options.hsm === 'pkcs11') {
      mkdirSync(join(folder, 'hsm'));
      const token = createSoftHsmToken(join(folder, 'hsm'));
      writeFileSync(join(folder, 'pin'), token.pin, { mode: 0o600 });
      Object.assign(env, token.env, {
        KEDGE_ROOT_KIND: 'pkcs11',
        KEDGE_ROOT_MODULE: token.module,
        KEDGE_ROOT_TOKEN_LABEL: token.tokenLabel,
        KEDGE_ROOT_PIN_FILE: join(folder, 'pin'),
      });
      Object.assign(process.env, token.env);
    }
    Object.assign(env, options.env);
    const world = new World(options, folder, evm, postgres, env);
    if (options.prepared && !postgres) await prepareDatabases(world.home);
    if (postgres) await world.kedge('migrate');
    return world;
  }

  get home(): Home {
    return openHome(this.#env.KEDGE_HOME, this.#env);
  }

  get rootIsHardware(): boolean {
    return this.options.hsm === 'pkcs11';
  }

  async start(): Promise<RunningService> {
    const entry = (name: 'enclave' | 'gateway') => [...harnessEntry(name), String(this.#wallAheadMs)];
    this.service = await startService(this.home, {
      entries: { enclave: entry('enclave'), gateway: entry('gateway'), devnet: [] },
      onStage: () => undefined,
      onLog: (name, line) => this.logs.push(`${name}: ${line}`),
    });
    return this.service;
  }

  async stop(): Promise<void> {
    await this.service?.stop();
    this.service = null;
  }

  async restart(): Promise<RunningService> {
    await this.stop();
    return this.start();
  }

  /** `kill -9` for both processes at once. */
  async kill(): Promise<void> {
    const { enclave, gateway } = this.service!.children;
    for (const child of [gateway, enclave]) child.kill('SIGKILL');
    await Promise.all([gateway.ended, enclave.ended]);
    this.service = null;
  }

  /** The enclave alone, again: what a service manager does when it has died. */
  async startEnclave(): Promise<void> {
    const { children, stop } = this.service!;
    const env = { KEDGE_ENCLAVE_CONFIG: this.home.file('run', 'enclave.json') };
    const onLog = (line: string) => this.logs.push(`enclave: ${line}`);
    const argv = [...harnessEntry('enclave'), String(this.#wallAheadMs)];
    const enclave = startChild({ name: 'enclave', argv, env, onLog });
    const both = () => stop().then(() => enclave.stop());
    this.service = { ...this.service!, children: { ...children, enclave }, stop: both };
    await enclave.line((line) => line.ready === true);
  }

  /** PostgreSQL is stopped, and with it both databases, until `work` is done. */
  async withoutDatabases(work: () => Promise<void>): Promise<void> {
    await this.#postgres!.restart(work);
  }

  /** Moves the time of both processes: the enclave's tick by tick, which counts them; the gateway's at once. */
  async advance(ms: number): Promise<void> {
    await this.#pass(ms, {});
  }

  /** The machine sleeps: time passes, and each process hears of it at once. */
  async pause(ms: number): Promise<void> {
    await this.#pass(ms, { step_ms: ms });
  }

  /** Moves the wall clock alone, as a broken time server would; of a service that is down, what it finds when it starts. */
  async jumpWall(ms: number): Promise<void> {
    if (this.options.timeGoesOn) this.#wallAheadMs += ms;
    if (this.service === null) return;
    const { enclave, gateway } = this.service.children;
    for (const child of [enclave, gateway]) await ordered(child, { jump_wall_ms: ms }, 'jumped');
  }

  async #pass(ms: number, step: { readonly step_ms?: number }): Promise<void> {
    if (this.options.timeGoesOn) this.#wallAheadMs += ms;
    const { enclave, gateway } = this.service!.children;
    await ordered(enclave, { advance_ms: ms, ...step }, 'advanced');
    await ordered(gateway, { advance_ms: ms, step_ms: ms }, 'advanced');
  }

  /** What an app ships with: where the service is and its publishable key. */
  app(): ServiceOptions {
    return {
      url: this.service!.url,
      publishableKey: readFileSync(join(this.folder, 'publishable-key'), 'utf8').trim(),
      extractable: true,
    };
  }

  /** The first keys of a project, made with the CLI as an operator would. */
  async createProject(): Promise<{ projectId: string; secretKey: string }> {
    const project = (await this.kedge('project', 'create', 'journey')).json as { id: string };
    const keyOf = async (kind: string) =>
      (await this.kedge('key', 'create', '--project', project.id, '--kind', kind)).json as { key: string };
    const [key, secret] = [await keyOf('publishable'), await keyOf('secret')];
    writeFileSync(join(this.folder, 'publishable-key'), key.key);
    writeFileSync(this.home.file('publishable-key'), key.key, { mode: 0o600 });
    return { projectId: project.id, secretKey: secret.key };
  }

  /** What a journey started beside the service, and is taken down with it. */
  alsoStops(stop: () => Promise<unknown>): void {
    this.#others.push(stop);
  }

  /** Runs the CLI with `--json`. Throws when it fails, unless `code` says that it must. */
  async kedge(...args: readonly string[]): Promise<CommandResult> {
    const result = await this.tryKedge(...args);
    if (result.code !== 0) throw new Error(`kedge ${args.join(' ')} failed: ${result.stdout}`);
    return result;
  }

  async tryKedge(...args: readonly string[]): Promise<CommandResult> {
    const child = spawn(process.execPath, [QUICK_START, cli, ...args, '--json'], {
      env: { ...process.env, ...this.#env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => (stdout += chunk));
    child.stderr.on('data', (chunk) => (stderr += chunk));
    const code = await new Promise<number>((resolve) => child.once('close', (exit) => resolve(exit ?? 1)));
    return { code, json: parse(stdout), stdout: stdout + stderr };
  }

  /** A backup of the running service: the dumps that a thief of backups would hold. */
  async dump(): Promise<{ folder: string; passphraseFile: string }> {
    const { folder, passphrase } = (await this.kedge('backup', 'create')).json as {
      folder: string;
      passphrase: string | null;
    };
    const passphraseFile = `${folder}.passphrase`;
    writeFileSync(passphraseFile, passphrase ?? '', { mode: 0o600 });
    return { folder, passphraseFile };
  }

  /** The vault database as it is now, to be put back later by somebody's hand. The service must be stopped. */
  async copyVault(): Promise<() => Promise<void>> {
    if (this.#postgres) {
      await this.#sql(`create database vault_yesterday template vault`);
      return async () => {
        await this.#sql('drop database vault with (force)');
        await this.#sql('alter database vault_yesterday rename to vault');
      };
    }
    const vault = this.home.file('vault');
    const copy = join(this.folder, 'vault-yesterday');
    cpSync(vault, copy, { recursive: true });
    return async () => {
      rmSync(vault, { recursive: true });
      cpSync(copy, vault, { recursive: true });
    };
  }

  /** The state folder, and with PostgreSQL both databases, are gone. */
  async loseEverything(): Promise<void> {
    rmSync(this.home.path, { recursive: true });
    if (!this.#postgres) return;
    for (const name of ['primary', 'vault']) {
      await this.#sql(`drop database "${name}" with (force)`);
      await this.#sql(`create database "${name}"`);
    }
  }

  async close(): Promise<void> {
    await this.stop();
    for (const stop of this.#others) await stop();
    await this.evm.stop();
    await this.#postgres?.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #sql(statement: string): Promise<void> {
    this.#maintenance ??= await this.#postgres!.url('maintenance');
    const db = await openPostgres({ url: this.#maintenance, poolSize: 1 });
    try {
      await db.query(statement);
    } finally {
      await db.close();
    }
  }

  /** The PIN of the token, as a dishonest operator knows it. */
  get pin(): Uint8Array {
    return new Uint8Array(readFileSync(join(this.folder, 'pin')));
  }
}

async function prepareDatabases(home: Home): Promise<void> {
  mkdirSync(home.path, { mode: 0o700 });
  for (const name of ['primary', 'vault']) {
    const db = await openPglite({ dataDir: home.file(name), loadDataDir: await emptyDataDir() });
    await db.close();
  }
}

async function ordered(child: Child, order: object, done: 'advanced' | 'jumped'): Promise<void> {
  const before = child.count((line) => line[done] === true);
  child.send(order);
  await child.nth((line) => line[done] === true, before + 1);
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}
