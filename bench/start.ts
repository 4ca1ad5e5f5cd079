/**
 * P15: how long gateway and enclave take from start to ready, and what they hold then, each from what `tsc` made and on
 * PostgreSQL, against a process that imports the same packages of others and answers one route.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { startPostgres } from '@kedge/store/testing';
import { makeCrowd } from './crowd.ts';
import { pairsAtMost, type Question, type Row } from './measure.ts';
import { enclaveConfig, gatewayConfig } from './processes.ts';

const SHARED = [
  '@noble/hashes/hkdf.js',
  '@noble/hashes/sha2.js',
  'cborg',
  '@hpke/core',
  'pg',
  '@electric-sql/pglite',
  'zod',
  'uuid',
];
const GATEWAY = [
  ...SHARED,
  ...['fastify', '@fastify/helmet', '@fastify/rate-limit', '@fastify/swagger', '@fastify/swagger-ui'],
  ...['pino', 'prom-client', 'micro-eth-signer', '@noble/curves/secp256k1.js', '@noble/curves/ed25519.js'],
  ...['@scure/base', '@scure/bip32', '@scure/btc-signer'],
];
const ENCLAVE = [...SHARED, '@node-rs/argon2', 'age-encryption', 'koffi'];

interface Started {
  readonly ms: number;
  readonly mib: number;
  stop(): Promise<void>;
}

export const start: Question = {
  name: 'start',
  async run() {
    const server = await startPostgres();
    const crowd = await makeCrowd(server, { users: 10, openable: 1, wallets: 10 });
    const socket = join(crowd.folder, 'enclave.sock');
    const file = (name: string, config: object) => {
      writeFileSync(join(crowd.folder, name), JSON.stringify(config));
      return join(crowd.folder, name);
    };
    const enclaveFile = file('enclave.json', enclaveConfig(crowd, socket));
    const gatewayFile = file('gateway.json', gatewayConfig(crowd, 'gateway', socket));
    const startEnclave = () => startScript('enclave', ['dist/main.js', 'serve'], { KEDGE_ENCLAVE_CONFIG: enclaveFile });
    const startGateway = () => startScript('server', ['dist/main.js', 'serve'], { KEDGE_GATEWAY_CONFIG: gatewayFile });
    const rows: Row[] = [];
    rows.push(...(await measure('enclave', startEnclave, () => startScript('enclave', bare(ENCLAVE)))));
    const enclave = await startEnclave();
    rows.push(...(await measure('gateway', startGateway, () => startScript('server', bare(GATEWAY)))));
    await enclave.stop();
    await server.stop();
    rmSync(crowd.folder, { recursive: true, force: true });
    return rows;
  },
};

async function measure(name: string, ours: () => Promise<Started>, reference: () => Promise<Started>): Promise<Row[]> {
  const [ms, mib]: [number, number][][] = [[], []];
  for (let round = -1; round < 30; round++) {
    const pair: Started[] = [];
    for (const begin of [ours, reference]) {
      const started = await begin();
      await started.stop();
      pair.push(started);
    }
    if (round < 0) continue;
    ms!.push([pair[0]!.ms, pair[1]!.ms]);
    mib!.push([pair[0]!.mib, pair[1]!.mib]);
  }
  const common = { id: 'P15', bar: { atMost: 1.5 } };
  return [
    pairsAtMost({ ...common, what: `${name} from start to ready`, unit: 'ms' }, ms!),
    pairsAtMost({ ...common, what: `${name}: resident memory when ready`, unit: 'MiB' }, mib!),
  ];
}

/** The packages of others that the process loads, and one route. */
function bare(packages: readonly string[]): string[] {
  const imports = packages.map((name) => `import '${name}';`).join('');
  const serve = `import { createServer } from 'node:http';
    const server = createServer((_, response) => response.end('{}')).listen(0, '127.0.0.1', () => console.log('{"ready":true}'));
    process.once('SIGTERM', () => process.exit(0));`;
  return ['--input-type=module', '-e', imports + serve];
}

/** Resolves when it says that it is ready. */
async function startScript(folder: string, argv: string[], env: Record<string, string> = {}): Promise<Started> {
  const cwd = new URL(`../packages/${folder}/`, import.meta.url).pathname;
  const began = performance.now();
  const child = spawn(process.execPath, argv, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await readyLine(child);
  const ms = performance.now() - began;
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  return {
    ms,
    mib: Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) / 1024,
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve());
        child.kill('SIGTERM');
      }),
  };
}

async function readyLine(child: ChildProcess): Promise<void> {
  for await (const line of createInterface({ input: child.stdout! })) {
    if ((JSON.parse(line) as { ready?: boolean }).ready) return;
  }
  throw new Error('the process ended before it was ready');
}
