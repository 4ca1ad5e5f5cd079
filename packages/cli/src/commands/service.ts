/** `serve`, `journey`, `migrate`, `reset`: what starts, prepares and wipes the service on this machine. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import { seenThumbprint, signInOperator } from '../access.ts';
import type { Command, Context, Result } from '../command.ts';
import { startChild } from '../operator/children.ts';
import {
  type Entries,
  localOperators,
  type RunningService,
  shippedEntries,
  startService,
  writeServiceConfigs,
} from '../operator/service.ts';
import { loadOperator } from '../operators.ts';
import { assertPrivate, type Home, openHome } from '../settings.ts';

export const serviceCommands: readonly Command[] = [
  { words: 'serve', usage: 'serve [--ephemeral]', summary: 'run gateway, enclave and devnet until Ctrl-C', run: serve },
  {
    words: 'journey',
    usage: 'journey [1-5] [--keep] [--database pglite|postgres] [--hsm software|pkcs11]',
    summary: 'play a recovery from end to end',
    run: journey,
  },
  { words: 'migrate', usage: 'migrate', summary: 'bring both databases to this version', run: migrate },
  { words: 'reset', usage: 'reset', summary: 'wipe the state folder, after you typed its name', run: reset },
];

async function serve(context: Context): Promise<Result> {
  const ephemeral = context.on('ephemeral');
  const home = ephemeral ? openHome(mkdtempSync(join(tmpdir(), 'kedge-'))) : context.home;
  const say = (line: string) => process.stdout.write(context.json ? '' : `${line}\n`);
  const startedMs = performance.now();
  const service = await startService(home, {
    entries: shippedEntries(),
    onStage: (stage, detail) => say(`  ${stage.padEnd(8)} ${detail}`),
    onLog: (name, line) => process.stderr.write(`${name}: ${line}\n`),
  });
  const stopped = waitForStop(service);
  const first = await firstKeys(home, service);
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  if (context.json) {
    process.stdout.write(
      `${JSON.stringify({ ready: true, url: service.url, home: home.path, rpc_url: service.rpcUrl, chain_id: service.chainId, sealed: service.sealed, ...first })}\n`,
    );
  }
  say('');
  say(`  Kedge is ready after ${seconds} s: ${service.url}`);
  if (!service.firstPort) say('  (another port than configured: that one is taken)');
  say(`  State:   ${home.path}${ephemeral ? ' (ephemeral: gone when this stops)' : ''}`);
  if (first.secret_key) {
    say(`  Project “sandbox” was made. Its keys, shown this once:`);
    say(`    secret       ${first.secret_key}`);
    say(`    publishable  ${first.publishable_key}`);
  }
  if (service.sealed) say(`  SEALED: ${service.sealed}. Two operators: kedge enclave accept-restore.`);
  say('  Ctrl-C stops everything.');
  const why = await stopped;
  await service.stop();
  if (ephemeral) rmSync(home.path, { recursive: true, force: true });
  return { data: { stopped: why }, lines: [`Stopped: ${why}.`], exitCode: why === 'asked to' ? 0 : 1 };
}

function waitForStop(service: RunningService): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve('asked to'));
    if (process.env.KEDGE_CHILD === '1') process.stdin.once('end', () => resolve('asked to')).resume();
    for (const child of [service.children.enclave, service.children.gateway])
      void child.ended.then((code) => resolve(`the ${child.name} ended with code ${code}`));
  });
}

/** On the first start of a state folder: a project with its first two keys. */
async function firstKeys(
  home: Home,
  service: RunningService,
): Promise<{ secret_key?: string; publishable_key?: string }> {
  if (
    existsSync(home.file('publishable-key')) ||
    service.sealed !== null ||
    !existsSync(home.file('operators', `${localOperators[0]}.json`))
  )
    return {};
  const { client } = await signInOperator(service.url, await loadOperator(home, localOperators[0]), null);
  const { data } = await client.call('listProjects', {});
  if (data.length > 0) return {};
  const project = await client.call('createProject', { body: { name: 'sandbox', environment: 'sandbox' } });
  const make = (kind: 'secret' | 'publishable') =>
    client.call('createApiKey', { params: { project_id: project.id }, body: { kind, label: 'first' } });
  const [secret, publishable] = [await make('secret'), await make('publishable')];
  writeFileSync(home.file('publishable-key'), `${publishable.key}\n`, { mode: 0o600 });
  if (publishable.key.split('.')[1] !== (await seenThumbprint(client)))
    throw new Error('The publishable key does not name the enclave that runs here.');
  return { secret_key: secret.key, publishable_key: publishable.key };
}

async function journey(context: Context): Promise<Result> {
  const entry = fileURLToPath(new URL('../../../../journeys/main.ts', import.meta.url));
  const flags = ['database', 'hsm'].flatMap((name) => (context.flag(name) ? [`--${name}`, context.flag(name)!] : []));
  const on = ['keep', 'json'].filter((name) => context.on(name)).map((name) => `--${name}`);
  return foreground(context, [
    '--conditions=@kedge/source',
    '--import',
    'tsx',
    entry,
    ...context.args,
    ...flags,
    ...on,
  ]);
}

/** Runs an entry with its output passed through. */
async function foreground(_context: Context, argv: readonly string[]): Promise<Result> {
  const { spawn } = await import('node:child_process');
  const child = spawn(process.execPath, argv, { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  const code = await new Promise<number>((resolve) => child.once('exit', (exit) => resolve(exit ?? 1)));
  return process.exit(code);
}

async function migrate({ home }: Context): Promise<Result> {
  const entries: Entries = shippedEntries();
  assertPrivate(home);
  writeServiceConfigs(home, {
    port: 0,
    rpcUrl: home.settings['evm.rpc_url'] || 'http://127.0.0.1:8545',
    chainId: home.settings['evm.chain_id'],
  });
  const run = async (name: string, entry: readonly string[], variable: string) => {
    const child = startChild({
      name,
      argv: [entry[0]!, 'migrate'],
      env: { [variable]: home.file('run', `${name}.json`) },
    });
    const line = await child.line((candidate) => 'migrated' in candidate);
    await child.ended;
    return line.migrated as readonly unknown[];
  };
  const vault = await run('enclave', entries.enclave, 'KEDGE_ENCLAVE_CONFIG');
  const primary = await run('gateway', entries.gateway, 'KEDGE_GATEWAY_CONFIG');
  return {
    data: { primary, vault },
    lines: [
      `primary database: ${primary.length} migrations applied`,
      `vault database: ${vault.length} migrations applied`,
    ],
  };
}

async function reset(context: Context): Promise<Result> {
  const { home } = context;
  if (!existsSync(home.path)) return { data: { wiped: false }, lines: [`There is nothing at ${home.path}.`] };
  const service = home.file('run', 'service.json');
  if (existsSync(service) && alive((JSON.parse(readFileSync(service, 'utf8')) as { pid: number }).pid))
    throw new Error('The service is running. Stop it first (Ctrl-C where it was started).');
  const name = basename(home.path);
  context.note(`This deletes ${home.path} for good, with everything in it:`);
  for (const entry of readdirSync(home.path))
    context.note(`  ${entry}${statSync(home.file(entry)).isDirectory() ? '/' : ''}`);
  context.note('Every wallet whose keys are sealed here is lost, unless there is a backup elsewhere.');
  if (!context.on('yes')) {
    const prompt = createInterface({ input: process.stdin, output: process.stderr });
    const typed = await prompt.question(`Type the name of the folder (${name}) to go on: `);
    prompt.close();
    if (typed.trim() !== name) throw new Error('That is not its name. Nothing was deleted.');
  } else if (context.args[0] !== name)
    throw new Error(`With --yes, name the folder: kedge reset ${name} --yes. Nothing was deleted.`);
  rmSync(home.path, { recursive: true });
  return { data: { wiped: home.path }, lines: [`Deleted ${home.path}.`] };
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
