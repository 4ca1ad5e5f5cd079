/**
 * Reads the files that package Kedge (Dockerfile, compose.yaml, systemd units, alert rules) as text and holds them to
 * what the documentation says of them: databases that only their own process reaches, users that are not root, no secret
 * in a file, entries that exist, metrics that exist. It runs none of them.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const text = (path: string) => readFileSync(root + path, 'utf8');
const entryFiles = ['packages/server/dist/main.js', 'packages/enclave/dist/main.js'] as const;

it('the networks of compose.yaml let each process reach its own database and not the other', () => {
  const { services, networks } = readCompose();
  const shared = (a: string, b: string) => services[a]!.networks.filter((name) => services[b]!.networks.includes(name));
  deepEqual(Object.keys(services).sort(), ['enclave', 'gateway', 'primary-database', 'vault-database']);
  deepEqual(shared('gateway', 'vault-database'), []);
  deepEqual(shared('enclave', 'primary-database'), []);
  deepEqual(shared('primary-database', 'vault-database'), []);
  deepEqual(shared('gateway', 'primary-database'), ['primary']);
  deepEqual(shared('enclave', 'vault-database'), ['vault']);
  deepEqual(shared('gateway', 'enclave'), ['wire']);
  for (const name of ['wire', 'primary', 'vault']) equal(networks[name]!.internal, 'true', `${name} has no way out`);
  for (const [name, { ports = [] }] of Object.entries(services)) {
    if (name !== 'gateway') deepEqual(ports, [], `${name} has no port outside`);
    else for (const port of ports) ok(port.startsWith('127.0.0.1:'), port);
  }
});

it('compose.yaml runs entries that exist, with nothing more than they need', () => {
  const { services } = readCompose();
  for (const [name, entry] of [
    ['gateway', entryFiles[0]],
    ['enclave', entryFiles[1]],
  ] as const) {
    const service = services[name]!;
    deepEqual(service.command, ['node', entry, 'serve']);
    ok(existsSync(root + sourceOf(entry)), entry);
    equal(service.read_only, 'true');
    deepEqual(service.cap_drop, ['ALL']);
    deepEqual(service.security_opt, ['no-new-privileges:true']);
  }
  for (const name of ['primary-database', 'vault-database'])
    ok(services[name]!.command.includes('wal_recycle=off'), `${name} erases`);
});

it('every secret is a file that is mounted, and none is written here', () => {
  const { services, secrets } = readCompose();
  const used = new Set(Object.values(services).flatMap((service) => service.secrets));
  deepEqual([...used].sort(), Object.keys(secrets).sort());
  deepEqual(
    services.gateway!.secrets.filter((name) => services.enclave!.secrets.includes(name)),
    ['wire_ca'],
    'they share the authority alone',
  );
  for (const { environment = {} } of Object.values(services)) {
    for (const [name, value] of Object.entries(environment)) {
      if (/PASSWORD|PIN|KEY|SECRET|CONFIG/.test(name)) ok(value.startsWith('/run/secrets/'), `${name} names a file`);
    }
  }
  for (const path of ['Dockerfile', 'compose.yaml', 'ops/alerts.yaml', ...units()]) {
    ok(
      !/[a-z]+:\/\/[^\s/]*:[^\s/]*@|BEGIN [A-Z ]*PRIVATE KEY|\b[sp]k_(sandbox|production)_/.test(text(path)),
      `${path} holds no secret`,
    );
  }
});

it('the image is built without install scripts and runs as a user', () => {
  const lines = text('Dockerfile')
    .split('\n')
    .filter((line) => !line.startsWith('#'));
  const from = lines.flatMap((line, index) => (line.startsWith('FROM ') ? [index] : []));
  equal(from.length, 2, 'what builds does not ship');
  const users = lines.slice(from[1]).filter((line) => line.startsWith('USER '));
  deepEqual(users, ['USER kedge']);
  for (const line of lines.filter((candidate) => /npm (ci|install|prune)/.test(candidate)))
    ok(line.includes('--ignore-scripts'), line);
  for (const [, path = ''] of text('Dockerfile').matchAll(/^COPY (?!--from)(.+) \S+$/gm)) {
    for (const source of path.split(' ')) ok(existsSync(root + source), `${source} is there to copy`);
  }
});

it('the systemd units run their own entry under their own user, shut in', () => {
  const read = units().map((path) => [path, readIni(text(path))] as const);
  deepEqual(read.map(([, unit]) => unit.get('User')).sort(), ['kedge-enclave', 'kedge-gateway']);
  for (const [path, unit] of read) {
    const entry = entryFiles[path.includes('gateway') ? 0 : 1];
    equal(unit.get('ExecStart'), `/usr/bin/node ${entry} serve`);
    for (const name of ['NoNewPrivileges', 'ProtectHome', 'PrivateTmp', 'PrivateDevices', 'RestrictNamespaces'])
      equal(unit.get(name), 'yes', `${path} ${name}`);
    equal(unit.get('ProtectSystem'), 'strict');
    equal(unit.get('CapabilityBoundingSet'), '');
    equal(unit.get('StateDirectoryMode'), '0700');
    equal(unit.get('UMask'), '0077');
    equal(unit.get('LimitCORE'), '0', 'a core dump would hold keys');
  }
});

it('every alert is about a metric that the gateway has, and is in the documentation', () => {
  const rules = text('ops/alerts.yaml');
  const gateway = text('packages/server/src/metrics.ts') + text('packages/server/src/app.ts');
  const known = new Set([...gateway.matchAll(/'(kedge_[a-z_]+)'/g)].map(([, name]) => name!));
  for (const [, expression = ''] of rules.matchAll(/expr: (.+)/g)) {
    const metrics = [...expression.matchAll(/kedge_[a-z_]+/g)].map(([name]) => name);
    ok(metrics.length > 0, expression);
    for (const metric of metrics) ok(known.has(metric), metric);
  }
  const alerts = [...rules.matchAll(/alert: (\w+)/g)].map(([, name]) => name!);
  equal(alerts.length, 8);
  for (const alert of alerts) ok(text('docs/operations.md').includes(`| ${alert} |`), alert);
});

interface Service {
  readonly command: readonly string[];
  readonly networks: readonly string[];
  readonly secrets: readonly string[];
  readonly ports?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly read_only?: string;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, { readonly internal?: string }>>;
  readonly secrets: Readonly<Record<string, unknown>>;
}

function readCompose(): Compose {
  return readYaml(text('compose.yaml')) as unknown as Compose;
}

function units(): string[] {
  return readdirSync(`${root}ops/systemd`).map((name) => `ops/systemd/${name}`);
}

function sourceOf(entry: string): string {
  return entry.replace('/dist/', '/src/').replace(/\.js$/, '.ts');
}

/** The last value of each key, whatever its section. */
function readIni(source: string): ReadonlyMap<string, string> {
  return new Map(
    source
      .split('\n')
      .flatMap((line) =>
        /^[A-Z]\w*=/.test(line) ? [[line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const] : [],
      ),
  );
}

type Yaml = string | readonly string[] | { readonly [key: string]: Yaml };

/** The YAML that our own files use: maps by indentation, lists of strings as `- x` or `[x, y]`, and `{ key: value }`. */
function readYaml(source: string): Yaml {
  const lines = source.split('\n').filter((line) => line.trim() !== '' && !line.trim().startsWith('#'));
  const indentOf = (line: string) => line.length - line.trimStart().length;
  let at = 0;
  const block = (indent: number): Yaml => {
    if (lines[at]!.trim().startsWith('- ')) {
      const items: string[] = [];
      while (at < lines.length && indentOf(lines[at]!) === indent) items.push(scalar(lines[at++]!.trim().slice(2)));
      return items;
    }
    const map: Record<string, Yaml> = {};
    while (at < lines.length && indentOf(lines[at]!) === indent) {
      const [, key = '', value = ''] = /^\s*([\w.-]+):\s*(.*)$/.exec(lines[at++]!) ?? [];
      ok(key, `not the YAML this test reads: ${lines[at - 1]}`);
      map[key] = value === '' ? block(indentOf(lines[at]!)) : inline(value);
    }
    return map;
  };
  return block(0);
}

function inline(value: string): Yaml {
  if (value.startsWith('[')) return splitCommas(value.slice(1, -1)).map(scalar);
  if (!value.startsWith('{')) return scalar(value);
  return Object.fromEntries(
    splitCommas(value.slice(1, -1)).map((pair) => [
      pair.slice(0, pair.indexOf(':')).trim(),
      scalar(pair.slice(pair.indexOf(':') + 1)),
    ]),
  );
}

function splitCommas(list: string): string[] {
  return list
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function scalar(value: string): string {
  return value.trim().replace(/^"(.*)"$/, '$1');
}
