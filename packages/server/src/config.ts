/**
 * The gateway's configuration: one JSON file, named by `KEDGE_GATEWAY_CONFIG`, written by `kedge serve` or by hand.
 * `main.ts` reads it at the start and at no other time. An unknown field is refused, and so is a public bind that
 * nothing encrypts: tokens would cross the network in the clear.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { databaseLimits } from '@kedge/store';
import { z } from 'zod';
import { defaultLimits } from './limits.ts';

const path = z.string().min(1);
const count = z.int().min(1);
/** `name@example.org` or `Name <name@example.org>`. */
const sender = z
  .string()
  .max(254)
  .regex(/^([\w .-]+ <)?[^\s<>@]+@[^\s<>@]+>?$/, 'an address, with a name before it if you like');
/** What links begin with, so nothing may stand behind its path. A slash at its end would make `//` of theirs. */
const publicUrl = z
  .url({ protocol: /^https?$/ })
  .regex(/^[^?#@]*$/, 'only a host and perhaps a path')
  .transform((url) => url.replace(/\/+$/, ''));

export const gatewayConfigSchema = z.strictObject({
  /** Tells gateways apart that share a database; the same after a restart. */
  name: z.string().min(1).max(64).default('gateway'),
  /** `pglite:/absolute/path` or `postgres://…`. */
  database: z.string().min(1),
  /** Of a PostgreSQL. */
  databaseLimits: z
    .strictObject({
      statementMsMax: count.max(30_000).default(databaseLimits.statementMsMax),
      idleInTransactionMsMax: count.default(databaseLimits.idleInTransactionMsMax),
    })
    .prefault({}),
  enclave: z.union([
    z.strictObject({ socket: path }),
    z.strictObject({ host: z.string().min(1), port: z.int().min(1).max(65_535), ca: path, cert: path, key: path }),
  ]),
  listen: z
    .strictObject({
      host: z.string().min(1).default('127.0.0.1'),
      /** 0 takes a free one; the ready line says which. */
      port: z.int().min(0).max(65_535).default(8_420),
      tls: z.strictObject({ cert: path, key: path }).optional(),
    })
    .prefault({}),
  /** Where callers reach this gateway, if that is not where it listens. */
  publicUrl: publicUrl.optional(),
  evm: z.strictObject({
    rpcUrl: z.url(),
    /** Asked, in this order, when the first one fails. */
    otherRpcUrls: z.array(z.url()).max(8).default([]),
    chainId: count,
    /** Blocks after which a transaction counts as final. */
    confirmations: count.default(12),
  }),
  backups: path,
  mail: z.discriminatedUnion('transport', [
    /** One file a letter, for a service without a mail server. */
    z.strictObject({ transport: z.literal('outbox'), folder: path, from: sender }),
    z.strictObject({
      transport: z.literal('smtp'),
      smtpUrl: z.url({ protocol: /^smtps?$/ }),
      from: sender,
      /** Where the mail server doesn't sign what it sends. The key in PEM. */
      dkim: z.strictObject({ domain: z.string().min(1), selector: z.string().min(1), keyFile: path }).optional(),
    }),
  ]),
  gatewayKeyFile: path,
  /** Address or CIDR of the proxy that ends TLS and whose X-Forwarded-For is believed. */
  trustedProxy: z.string().min(1).optional(),
  /** An issuer of JWTs that are taken in the place of secret keys. */
  auth: z
    .strictObject({
      issuer: z.string().min(1).max(256),
      /** https, or http on this machine. */
      jwksUrl: z.url({ protocol: /^https?$/ }),
      audience: z.string().min(1).max(256),
    })
    .optional(),
  rotationBatch: z.int().min(1).max(1_000).default(1_000),
  limits: z
    .strictObject({
      perAddressPerMinute: count.default(defaultLimits.perAddressPerMinute),
      perPrincipalPerMinute: count.default(defaultLimits.perPrincipalPerMinute),
      recoveriesPerAddressPerHour: count.default(defaultLimits.recoveriesPerAddressPerHour),
      signUpsPerAddressPerHour: count.default(defaultLimits.signUpsPerAddressPerHour),
      votesAskedPerProjectPerHour: count.default(defaultLimits.votesAskedPerProjectPerHour),
    })
    .prefault({}),
  /** When a request is given up. With its last statement it ends before the enclave retires an old server key. */
  requestMsMax: z.int().min(1_000).max(20_000).default(15_000),
  logLevel: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

export type GatewayConfig = z.output<typeof gatewayConfigSchema>;

/** Throws an `Error` that says in one sentence what is wrong. */
export function readConfig(file: string): GatewayConfig {
  return parseConfig(JSON.parse(readFileSync(file, 'utf8')));
}

export function parseConfig(value: unknown): GatewayConfig {
  const parsed = gatewayConfigSchema.safeParse(value);
  if (!parsed.success) throw new Error(`The configuration does not fit:\n${z.prettifyError(parsed.error)}`);
  const { listen, trustedProxy, auth } = parsed.data;
  if (!isLoopback(listen.host) && listen.tls === undefined && trustedProxy === undefined) {
    throw new Error(
      `Refusing to listen on ${listen.host} without TLS: set listen.tls, or trustedProxy if a proxy ends TLS in front of this gateway.`,
    );
  }
  if (auth !== undefined) assertKeysComeSafely(new URL(auth.jwksUrl));
  return parsed.data;
}

/** Whoever could change these keys on their way could act for every project. */
function assertKeysComeSafely({ protocol, hostname, username, password }: URL): void {
  if (protocol !== 'https:' && !isLoopback(hostname.replace(/^\[|\]$/g, '')))
    throw new Error('Refusing to read the keys of auth.jwksUrl without TLS: use https.');
  if (username !== '' || password !== '') throw new Error('auth.jwksUrl may not hold a user or password.');
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
