/**
 * A real PostgreSQL server for tests: its own directory, a socket and a free local port, gone after `stop()`.
 * Tests of every package start one per file. PostgreSQL refuses to run as root, so as root it runs as `postgres`.
 * The kernel ends it when the test's process ends in any way, kill -9 included. It never touches an installed server.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';

export interface PostgresServer {
  /** The address of a database, made empty at the first call. */
  url(database: string): Promise<string>;
  /** Ends every connection and starts again on the same directory and port; `meanwhile` runs without a server. */
  restart(meanwhile?: () => Promise<void>): Promise<void>;
  stop(): Promise<void>;
  readonly dataDir: string;
}

/** `settings` are added to the command line, as in `{ shared_buffers: '256MB' }`. */
export async function startPostgres(settings: Readonly<Record<string, string>> = {}): Promise<PostgresServer> {
  const bin = findBinaries();
  const directory = mkdtempSync(join(tmpdir(), 'kedge-pg-'));
  if (process.getuid?.() === 0) chownSync(directory, postgresId('-u'), postgresId('-g'));
  const dataDir = join(directory, 'data');
  const initdb = [
    '-D',
    dataDir,
    '-U',
    'postgres',
    '-A',
    'trust',
    '-E',
    'UTF8',
    '--locale=C',
    '--no-sync',
    '--wal-segsize=1',
  ];
  execFileSync(...asServerUser(join(bin, 'initdb'), initdb), { stdio: 'pipe', cwd: directory });

  const port = await freePort();
  const options = { fsync: 'off', wal_recycle: 'off', ...settings };
  const args = ['-D', dataDir, '-k', directory, '-h', '127.0.0.1', '-p', String(port)].concat(
    Object.entries(options).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  );
  const start = () => startServer(...asServerUser(join(bin, 'postgres'), args), directory);
  let server = await start();
  const databases = new Map<string, Promise<unknown>>();

  return {
    dataDir,
    async url(database) {
      if (!databases.has(database)) databases.set(database, createDatabase(port, database));
      await databases.get(database);
      return addressOf(port, database);
    },
    async restart(meanwhile) {
      await stopServer(server);
      try {
        await meanwhile?.();
      } finally {
        server = await start();
      }
    },
    async stop() {
      await stopServer(server);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function startServer(command: string, args: readonly string[], cwd: string): Promise<ChildProcess> {
  const server = spawn(command, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
  const kill = () => server.kill('SIGQUIT');
  process.once('exit', kill);
  server.once('exit', () => process.off('exit', kill));
  const said: string[] = [];
  // The pipe is read to the end, or a talkative server would block on it.
  const output = createInterface({ input: server.stderr! });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.once('exit', () => reject(new Error(`PostgreSQL did not start:\n${said.join('\n')}`)));
    output.on('line', (line) => {
      if (said.length < 100) said.push(line);
      if (line.includes('database system is ready to accept connections')) resolve();
    });
  });
  return server;
}

async function stopServer(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill('SIGINT'); // its "fast" shutdown: connections are closed, data is kept
  await exited;
}

async function createDatabase(port: number, database: string): Promise<void> {
  const client = new pg.Client({ connectionString: addressOf(port, 'postgres') });
  await client.connect();
  try {
    await client.query(`create database ${client.escapeIdentifier(database)}`);
  } finally {
    await client.end();
  }
}

function addressOf(port: number, database: string): string {
  return `postgres://postgres@127.0.0.1:${port}/${encodeURIComponent(database)}`;
}

/** The newest installed PostgreSQL, as Debian lays them out, or the one on the path elsewhere. */
function findBinaries(): string {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root)
    ? readdirSync(root)
        .map(Number)
        .sort((a, b) => b - a)
    : [];
  const version = versions.find((version) => existsSync(join(root, String(version), 'bin/initdb')));
  return version === undefined ? '' : join(root, String(version), 'bin');
}

/** `--pdeathsig` asks the kernel to stop the server when this process is gone. Linux only, like running as root. */
function asServerUser(command: string, args: readonly string[]): [command: string, args: string[]] {
  if (process.platform !== 'linux') return [command, [...args]];
  const user = process.getuid?.() === 0 ? ['--reuid=postgres', '--regid=postgres', '--clear-groups'] : [];
  return ['setpriv', ['--pdeathsig=QUIT', ...user, command, ...args]];
}

function postgresId(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('No free port.');
  return address.port;
}
