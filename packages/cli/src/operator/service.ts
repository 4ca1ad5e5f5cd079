/**
 * Starting the whole service as processes: devnet, enclave, gateway, in this order, from the settings of a state
 * folder. `kedge serve` and the journeys call it; the journeys pass entries of their harness instead of the shipped ones.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { createOperator, operatorKeys, operatorNames } from '../operators.ts';
import { assertPrivate, type Home, type Settings } from '../settings.ts';
import { type Child, startChild } from './children.ts';

export interface Entries {
  readonly enclave: readonly string[];
  readonly gateway: readonly string[];
  readonly devnet: readonly string[];
}

/** The entries as they are shipped: beside this file in the build of the workspace. */
export function shippedEntries(): Entries {
  const entry = (name: string) => [fileURLToPath(new URL(`../../../${name}/dist/main.js`, import.meta.url)), 'serve'];
  return {
    enclave: entry('enclave'),
    gateway: entry('server'),
    devnet: [fileURLToPath(new URL('../../../devnet/dist/main.js', import.meta.url)), '--json'],
  };
}

export interface RunningService {
  readonly url: string;
  readonly rpcUrl: string;
  readonly chainId: number;
  readonly sealed: string | null;
  readonly rootKeys: string;
  readonly firstPort: boolean;
  readonly children: { readonly devnet: Child | null; readonly enclave: Child; readonly gateway: Child };
  stop(): Promise<void>;
}

export interface ServiceOptions {
  readonly entries: Entries;
  readonly onStage: (stage: string, detail: string) => void;
  readonly onLog: (name: string, line: string) => void;
}

/** The local operators of a state folder on one machine. */
export const localOperators = ['operator-1', 'operator-2'] as const;

export async function startService(home: Home, { entries, onStage, onLog }: ServiceOptions): Promise<RunningService> {
  const { settings } = home;
  assertPrivate(home);
  if (operatorNames(home).length === 0) for (const name of localOperators) await createOperator(home, name);
  mkdirSync(home.file('run'), { recursive: true, mode: 0o700 });
  const started: Child[] = [];
  const stop = async () => {
    for (const child of started.splice(0).reverse()) await child.stop();
  };
  try {
    const devnet = settings['evm.rpc_url'] === '' ? startDevnet(entries, onLog) : null;
    if (devnet) started.push(devnet);
    const chains = devnet ? await devnet.line((line) => 'evm' in line) : null;
    const { rpc_url: rpcUrl, chain_id: chainId } = chains
      ? (chains.evm as { rpc_url: string; chain_id: number })
      : { rpc_url: settings['evm.rpc_url'], chain_id: settings['evm.chain_id'] };
    for (const what of devnetLines(chains)) onStage('devnet', what);
    if (!chains) onStage('devnet', `none: EVM chain ${chainId} at ${rpcUrl}`);

    writeConfig(home, 'enclave.json', enclaveConfig(home));
    const enclave = startChild({
      name: 'enclave',
      argv: entries.enclave,
      env: { KEDGE_ENCLAVE_CONFIG: home.file('run', 'enclave.json') },
      onLog: (line) => onLog('enclave', line),
    });
    started.push(enclave);
    const enclaveReady = await enclave.line((line) => line.ready === true);
    const rootKeys = String(enclaveReady.root_keys);
    const sealed = enclaveReady.sealed === null ? null : String(enclaveReady.sealed);
    onStage(
      'enclave',
      `process ${enclave.pid}, ${rootKeys === 'software' ? 'software root (a file: not hardware)' : 'root in the HSM'}${sealed ? ', SEALED' : ''}`,
    );

    const port = await freePort(settings['gateway.host'], settings['gateway.port']);
    writeConfig(home, 'gateway.json', gatewayConfig(home, { port, rpcUrl, chainId }));
    const gateway = startChild({
      name: 'gateway',
      argv: entries.gateway,
      env: { KEDGE_GATEWAY_CONFIG: home.file('run', 'gateway.json') },
      onLog: (line) => onLog('gateway', line),
    });
    started.push(gateway);
    const { url } = await gateway.line((line) => line.ready === true);
    onStage(
      'gateway',
      `process ${gateway.pid}, ${settings['database.primary'].startsWith('pglite') ? 'embedded databases' : 'PostgreSQL'}`,
    );
    writeFileSync(
      home.file('run', 'service.json'),
      `${JSON.stringify({ url, pid: process.pid, rpc_url: rpcUrl, chain_id: chainId, ...(chains ? { devnet: chains } : {}) })}\n`,
      { mode: 0o600 },
    );
    return {
      url: String(url),
      rpcUrl,
      chainId,
      sealed,
      rootKeys,
      firstPort: port === settings['gateway.port'],
      children: { devnet, enclave, gateway },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** For people: where each local chain is. The money on them is worth nothing. */
function devnetLines(chains: Readonly<Record<string, unknown>> | null): readonly string[] {
  if (chains === null) return [];
  const { bitcoin, evm, solana } = chains as Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  return [
    `EVM chain ${evm?.chain_id} at ${evm?.rpc_url} (anvil, local money)`,
    ...(bitcoin ? [`Bitcoin ${bitcoin.network} at ${bitcoin.esplora_url} (Esplora)`] : []),
    ...(solana ? [`Solana at ${solana.rpc_url} (JSON-RPC)`] : []),
  ];
}

function startDevnet(entries: Entries, onLog: ServiceOptions['onLog']): Child {
  return startChild({ name: 'devnet', argv: entries.devnet, onLog: (line) => onLog('devnet', line) });
}

function enclaveConfig(home: Home): object {
  const { settings } = home;
  return {
    database: settings['database.vault'],
    databaseLimits: databaseLimits(home),
    root:
      settings['root.kind'] === 'pkcs11'
        ? {
            kind: 'pkcs11',
            module: settings['root.module'],
            tokenLabel: settings['root.token_label'],
            pinFile: settings['root.pin_file'],
          }
        : { kind: 'software', file: home.file('root.keys') },
    mirror: home.file('mirror'),
    listen: { socket: socketPath(home) },
    operators: operatorKeys(home),
    opensPerMinuteMax: settings['enclave.opens_per_minute_max'],
    backups: settings.backups,
    officers: settings['enclave.officers'].split(/\s+/).filter((officer) => officer !== ''),
  };
}

function gatewayConfig(
  home: Home,
  { port, rpcUrl, chainId }: { port: number; rpcUrl: string; chainId: number },
): object {
  const { settings } = home;
  const optional = {
    ...(settings['gateway.public_url'] ? { publicUrl: settings['gateway.public_url'] } : {}),
    ...(settings['gateway.trusted_proxy'] ? { trustedProxy: settings['gateway.trusted_proxy'] } : {}),
    ...authConfig(settings),
  };
  const tls =
    settings['gateway.tls_cert'] && settings['gateway.tls_key']
      ? { tls: { cert: settings['gateway.tls_cert'], key: settings['gateway.tls_key'] } }
      : {};
  return {
    database: settings['database.primary'],
    databaseLimits: databaseLimits(home),
    enclave: { socket: socketPath(home) },
    listen: { host: settings['gateway.host'], port, ...tls },
    evm: {
      rpcUrl,
      otherRpcUrls: settings['evm.other_rpc_urls'].split(/\s+/).filter((url) => url !== ''),
      chainId,
      confirmations: settings['evm.confirmations'],
    },
    backups: settings.backups,
    mail: mailConfig(home),
    rotationBatch: settings['gateway.rotation_batch'],
    requestMsMax: settings['gateway.request_ms_max'],
    limits: {
      perAddressPerMinute: settings['limits.per_address_per_minute'],
      perPrincipalPerMinute: settings['limits.per_principal_per_minute'],
      recoveriesPerAddressPerHour: settings['limits.recoveries_per_address_per_hour'],
      signUpsPerAddressPerHour: settings['limits.sign_ups_per_address_per_hour'],
      votesAskedPerProjectPerHour: settings['limits.votes_asked_per_project_per_hour'],
    },
    gatewayKeyFile: home.file('gateway.key'),
    logLevel: settings.log_level,
    ...optional,
  };
}

/** All three settings or none: with one missing, tokens would be refused for no reason that anybody sees. */
function authConfig(settings: Settings): object {
  const [issuer, jwksUrl, audience] = [settings['auth.issuer'], settings['auth.jwks_url'], settings['auth.audience']];
  if (!issuer && !jwksUrl && !audience) return {};
  if (!issuer || !jwksUrl || !audience)
    throw new Error('The settings auth.issuer, auth.jwks_url and auth.audience go together: set all three.');
  return { auth: { issuer, jwksUrl, audience } };
}

function mailConfig({ settings, file }: Home): object {
  const from = settings['mail.from'];
  if (settings['mail.transport'] === 'outbox') return { transport: 'outbox', folder: file('outbox'), from };
  const [domain, selector, keyFile] = [
    settings['mail.dkim_domain'],
    settings['mail.dkim_selector'],
    settings['mail.dkim_key'],
  ];
  const dkim = domain === '' ? {} : { dkim: { domain, selector, keyFile } };
  return { transport: settings['mail.transport'], smtpUrl: settings['mail.smtp_url'], from, ...dkim };
}

function databaseLimits({ settings }: Home): object {
  return {
    statementMsMax: settings['database.statement_ms_max'],
    idleInTransactionMsMax: settings['database.idle_in_transaction_ms_max'],
  };
}

/** For the verbs that run without a service: migrate and restore. */
export function writeServiceConfigs(home: Home, chain: { port: number; rpcUrl: string; chainId: number }): void {
  mkdirSync(home.file('run'), { recursive: true, mode: 0o700 });
  writeConfig(home, 'enclave.json', enclaveConfig(home));
  writeConfig(home, 'gateway.json', gatewayConfig(home, chain));
}

function writeConfig(home: Home, name: string, config: object): void {
  writeFileSync(home.file('run', name), `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}

/** The kernel takes at most 107 bytes for the path of a socket. */
function socketPath(home: Home): string {
  const path = home.file('run', 'enclave.sock');
  if (Buffer.byteLength(path) > 107)
    throw new Error(
      `The path of the state folder is too long for a Unix socket: ${home.path}. Set KEDGE_HOME to a shorter one.`,
    );
  return path;
}

/** `wanted`, or the next one that is free, of a hundred. */
async function freePort(host: string, wanted: number): Promise<number> {
  for (let port = wanted; port < wanted + 100; port++) {
    const free = await new Promise<boolean>((resolve) => {
      const probe = createServer()
        .once('error', () => resolve(false))
        .listen(port, host, () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error(`Ports ${wanted} to ${wanted + 99} on ${host} are all taken. Set gateway.port in kedge.toml.`);
}
