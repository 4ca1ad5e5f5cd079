/**
 * What the npm scripts run: plain JavaScript, because on a fresh clone there is nothing else. It installs what is
 * missing, builds what changed, and hands over. `node scripts/bootstrap.mjs start|test|test:slow|check|bench|journey|devnet|docs`.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Of each endpoint, so that the whole sample takes about half of the minutes given. */
const FUZZ_RUNS_PER_MINUTE = 75;
const DECODER_RUNS_PER_MINUTE = 10_000;
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [verb = '', ...args] = process.argv.slice(2);

/** Debian packages of real peers, and a file that shows they are there. */
const peers = [
  { name: 'softhsm2', file: '/usr/bin/softhsm2-util', for: 'the PKCS#11 tests' },
  { name: 'postgresql', file: '/usr/lib/postgresql', for: 'the PostgreSQL tests' },
  { name: 'electrum', file: '/usr/bin/electrum', for: 'the tests with Electrum' },
  { name: 'chromium', file: '/usr/bin/chromium', for: 'the browser tests' },
];

checkNode();
installPackages();
/** Each verb is a list of steps. */
const verbs = {
  start: [build, () => kedge('serve', ...args)],
  journey: [build, installPeers, () => kedge('journey', ...args)],
  devnet: [build, () => node(['packages/devnet/dist/main.js', ...args])],
  bench: [build, installPeers, () => source(['bench/main.ts', ...args])],
  docs: [build, () => source(['scripts/docs.ts', ...args])],
  check: [
    () => run('npx', ['biome', 'ci', '--error-on-warnings', '.']),
    build,
    () => run('npx', ['tsc', '-p', 'tsconfig.root.json']),
    () => run('npx', ['knip', '--no-config-hints']),
    () => source(['scripts/docs.ts', '--check']),
  ],
  test: [installPeers, build, () => test(filesEndingWith('.test.ts'), {})],
  'test:slow': [installPeers, build, testSlow],
};
const steps = Object.hasOwn(verbs, verb)
  ? verbs[verb]
  : fail(`There is no "${verb}": ${Object.keys(verbs).join(', ')}.`);
for (const step of steps) step();

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    fail(`Kedge needs Node 20.19 or newer; this is ${process.versions.node}.`);
}

function installPackages() {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs) return;
  console.log('Installing packages …');
  // Not `npm ci`: it refuses a lockfile in which a registry had no entry for some other platform's optional binary.
  run('npm', ['install', '--no-save', '--loglevel=error']);
}

function installPeers() {
  const missing = peers.filter((peer) => !existsSync(peer.file));
  if (missing.length === 0) return;
  const line = `apt-get install -y ${missing.map((peer) => peer.name).join(' ')}`;
  if (args.includes('--no-install') || process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    console.log(`Skipping ${missing.map((peer) => peer.for).join(' and ')}: to run them, type: sudo ${line}`);
    return;
  }
  console.log(`Installing Debian packages: ${line}`);
  run('apt-get', ['update', '-qq']);
  run('apt-get', ['install', '-y', '-qq', ...missing.map((peer) => peer.name)], { DEBIAN_FRONTEND: 'noninteractive' });
}

function build() {
  run('npx', ['tsc', '-b']);
  for (const name of readdirSync(join(root, 'packages'))) {
    const migrations = join(root, 'packages', name, 'src', 'migrations');
    if (existsSync(migrations))
      cpSync(migrations, join(root, 'packages', name, 'dist', 'migrations'), { recursive: true });
  }
}

function test(files, env) {
  const given = args.filter((arg) => arg.endsWith('.ts'));
  // By default a pipe gets TAP, which tells a failure only where it happened; this tells all of them again at the end.
  const options = ['--test', '--test-force-exit', '--test-reporter=spec', '--test-concurrency=2'];
  source([...options, ...(given.length > 0 ? given : files)], env);
}

/** Volume: everything, or as much as `--minutes N` allow; the seeds are printed by the tests. */
function testSlow() {
  const at = args.indexOf('--minutes');
  const minutes = at < 0 ? 0 : Number(args[at + 1]);
  const fuzzRuns = minutes === 0 ? 50_000 : Math.min(50_000, minutes * FUZZ_RUNS_PER_MINUTE);
  const decoderRuns = minutes === 0 ? 1_000_000 : Math.min(1_000_000, minutes * DECODER_RUNS_PER_MINUTE);
  test(
    [
      ...filesEndingWith('.slow.ts'),
      'packages/server/src/fuzz.test.ts',
      'packages/enclave/src/unjoinable.test.ts',
      'packages/mpc/src/decoders.test.ts',
      'packages/mpc/src/sharing-status.test.ts',
      'packages/chains/src/bitcoin/esplora.test.ts',
      'packages/chains/src/bitcoin/messages.test.ts',
      'packages/chains/src/fuzz.test.ts',
    ],
    {
      KEDGE_MINUTES: String(minutes),
      FUZZ_RUNS: String(fuzzRuns),
      DECODER_RUNS: String(decoderRuns),
      UNJOINABLE_USERS: '10000',
      FAULTS_EVERY: '1',
    },
  );
}

function filesEndingWith(ending) {
  const found = [];
  const walk = (folder) => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      if (entry.isDirectory() && !['node_modules', 'dist'].includes(entry.name)) walk(join(folder, entry.name));
      else if (entry.name.endsWith(ending)) found.push(join(folder, entry.name));
    }
  };
  for (const folder of ['packages', 'journeys', 'examples', 'scripts']) walk(folder);
  return ending === '.test.ts' ? [...found, 'tree.test.ts'] : found;
}

function kedge(...argv) {
  node(['packages/cli/dist/main.js', ...argv]);
}

function node(argv) {
  run(process.execPath, argv);
}

/** Runs TypeScript sources as they are. */
function source(argv, env = {}) {
  run(process.execPath, ['--conditions=@kedge/source', '--import', 'tsx', ...argv], env);
}

function run(command, argv, env = {}) {
  const { status, signal } = spawnSync(command, argv, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (signal) process.exit(130);
  if (status !== 0) process.exit(status ?? 1);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
