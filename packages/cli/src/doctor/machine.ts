/**
 * What the doctor looks at on the machine itself: Node, the state folder, space, the port, addresses of databases, and
 * operator credentials. Nothing here starts a process or opens a database. What a test cannot break for real (the
 * version of Node, the clock, free bytes, name resolution) comes as `Probes`.
 */
import { lookup } from 'node:dns/promises';
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { BlockList, createServer, isIP } from 'node:net';
import { dirname, join } from 'node:path';
import { operatorNames } from '../operators.ts';
import type { Home } from '../settings.ts';
import { bad, type Finding, good } from './findings.ts';

export interface Probes {
  readonly nodeVersion: string;
  freeBytes(path: string): number;
  addressesOf(host: string): Promise<readonly string[]>;
}

export const machineProbes: Probes = {
  nodeVersion: process.versions.node,
  freeBytes(path) {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  },
  addressesOf: async (host) => (await lookup(host, { all: true })).map(({ address }) => address),
};

const FREE_BYTES_MIN = 1e9;
const OPERATORS_MIN = 2;

/** `servicePort`: where the running service of this state folder listens, if it does. */
export async function checkMachine(home: Home, probes: Probes, servicePort: number | null): Promise<Finding[]> {
  return [
    checkNode(home, probes),
    checkFolder(home),
    checkDisk(home, probes),
    await checkPort(home, servicePort),
    ...(await checkDatabaseAddresses(home, probes)),
    checkOperators(home),
  ];
}

export function isNew({ file }: Home): boolean {
  return ['root.keys', 'mirror', 'primary', 'vault'].every((name) => !existsSync(file(name)));
}

export function checkNode(home: Home, { nodeVersion }: Probes): Finding {
  const [major = 0, minor = 0] = nodeVersion.split('.').map(Number);
  const fits = major > 20 || (major === 20 && minor >= 19);
  return fits ? good('node', `Node ${nodeVersion}`) : bad(home, 'node_too_old', `this is Node ${nodeVersion}`);
}

export function checkFolder(home: Home): Finding {
  const { path } = home;
  try {
    if (!existsSync(path)) {
      accessSync(nearestFolder(path), constants.W_OK | constants.X_OK);
      return good('state_folder', `${path} will be made by the first start`);
    }
    const mode = statSync(path).mode & 0o777;
    if ((mode & 0o077) !== 0) return bad(home, 'state_folder_open', `${path} has mode ${mode.toString(8)}`);
    const probe = join(path, `.doctor-${process.pid}`);
    writeFileSync(probe, '', { flag: 'wx' }); // access() says yes to root on a read-only file system
    rmSync(probe);
    return good('state_folder', `${path} is private and can be written`);
  } catch (error) {
    return bad(home, 'state_folder_unwritable', `${path}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
}

export function checkDisk(home: Home, probes: Probes): Finding {
  const free = probes.freeBytes(nearestFolder(home.path));
  const said = `${(free / 1e9).toFixed(1)} GB free at ${home.path}`;
  return free >= FREE_BYTES_MIN ? good('disk', said) : bad(home, 'disk_full', said);
}

/** The service takes the next free port, so a taken one is no failure; but clients know the one that is configured. */
export async function checkPort(home: Home, servicePort: number | null): Promise<Finding> {
  const { 'gateway.host': host, 'gateway.port': port } = home.settings;
  if (port === servicePort) return good('port', `${host}:${port} is the service's own`);
  const code = await new Promise<string | null>((resolve) => {
    const probe = createServer()
      .once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'))
      .listen(port, host, () => probe.close(() => resolve(null)));
  });
  if (code === null) return good('port', `${host}:${port} is free`);
  if (code !== 'EADDRINUSE')
    return bad(home, 'check_failed', `gateway.host and gateway.port: ${host}:${port} gives ${code}`);
  const owner = listenerOn(port);
  return bad(
    home,
    'port_taken',
    `${host}:${port} is held by ${owner ? `process ${owner.pid} (${owner.command})` : 'a process of another user'}`,
  );
}

export async function checkDatabaseAddresses(home: Home, probes: Probes): Promise<Finding[]> {
  const urls = (['database.primary', 'database.vault'] as const).map((key) => [key, home.settings[key]] as const);
  const findings = await Promise.all(urls.map(([key, url]) => checkDatabaseAddress(home, probes, key, url)));
  return findings.filter((finding) => finding !== null);
}

/** Null for an embedded database. */
async function checkDatabaseAddress(home: Home, probes: Probes, key: string, url: string): Promise<Finding | null> {
  if (!url.startsWith('postgres') || !URL.canParse(url)) return null;
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  if (host === '') return good('database_address', `${key} is a Unix socket`);
  const addresses = isIP(host) ? [host] : await probes.addressesOf(host).catch(() => []);
  const open = addresses.find((address) => !privateAddresses.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4'));
  if (open !== undefined)
    return bad(home, 'database_public', `${key} is at ${open === host ? host : `${host} (${open})`}`);
  return good(
    'database_address',
    addresses.length === 0 ? `${key}: ${host} has no address here` : `${key} is at a private address`,
  );
}

const privateAddresses = new BlockList();
for (const [net, prefix] of [
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const) {
  privateAddresses.addSubnet(net, prefix, 'ipv4');
}
for (const [net, prefix] of [
  ['::1', 128],
  ['fc00::', 7],
  ['fe80::', 10],
] as const)
  privateAddresses.addSubnet(net, prefix, 'ipv6');

export function checkOperators(home: Home): Finding {
  const names = operatorNames(home);
  if (names.length === 0 && isNew(home)) return good('operators', `none yet; the first start makes ${OPERATORS_MIN}`);
  const said = names.length === 0 ? 'none' : names.join(', ');
  return names.length >= OPERATORS_MIN ? good('operators', said) : bad(home, 'operators_few', said);
}

function nearestFolder(path: string): string {
  return existsSync(path) ? path : nearestFolder(dirname(path));
}

/** Who listens on a TCP port, from /proc; null where there is none or it belongs to another user. */
function listenerOn(port: number): { pid: number; command: string } | null {
  const sockets = new Set(
    ['/proc/net/tcp', '/proc/net/tcp6']
      .flatMap((file) => listeningInodes(file, port))
      .map((inode) => `socket:[${inode}]`),
  );
  for (const pid of quietly(() => readdirSync('/proc'), []).filter((name) => /^\d+$/.test(name))) {
    const held = quietly(() => readdirSync(`/proc/${pid}/fd`), []).some((fd) =>
      sockets.has(quietly(() => readlinkSync(`/proc/${pid}/fd/${fd}`), '')),
    );
    if (held)
      return { pid: Number(pid), command: quietly(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim(), '?') };
  }
  return null;
}

/** proc(5): the second field is address:port in hex, the fourth the state (0A listens), the tenth the inode. */
function listeningInodes(file: string, port: number): string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = quietly(() => readFileSync(file, 'utf8'), '')
    .split('\n')
    .slice(1);
  return lines
    .map((line) => line.trim().split(/\s+/))
    .flatMap((fields) => (fields[1]?.endsWith(wanted) && fields[3] === '0A' ? [fields[9]!] : []));
}

function quietly<T>(run: () => T, otherwise: T): T {
  try {
    return run();
  } catch {
    return otherwise;
  }
}
