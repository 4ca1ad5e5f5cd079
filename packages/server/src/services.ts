/**
 * What routes and jobs work with, as one value: the gateway's dependencies and what `app.ts` builds from them.
 * Everything outside the process is an argument of `createGateway` and nothing else is global, so a test or a journey
 * composes a gateway from other parts without a switch in the shipped ones.
 */
import type { Chain } from '@kedge/chains';
import type { Clock, RandomBytes } from '@kedge/core';
import type { Enclave } from '@kedge/enclave/client';
import type { Database } from '@kedge/store';
import type { Logger } from 'pino';
import type { GatewayKey } from './gateway-key.ts';
import type { TokenIssuer } from './issuer.ts';
import type { Ledger } from './ledger.ts';
import type { Limits } from './limits.ts';
import type { Metrics } from './metrics.ts';
import type { MailTransport } from './notify/transport.ts';
import type { WalletRow } from './store.ts';
import type { WebTokens } from './web-tokens.ts';

export interface GatewayOptions {
  /** Tells gateways apart that share a database; the same after a restart. */
  readonly name: string;
  /** Where this gateway is reached from outside: for the pages, and the one host that links in mails name. */
  readonly url: string;
  /** The folder that holds backups; the enclave is configured with the same one. */
  readonly backups: string;
  /** Addresses of proxies whose X-Forwarded-For is believed. */
  readonly trustedProxy?: string | undefined;
  /** Blocks after which a transaction counts as final. */
  readonly confirmations: number;
  /** Secrets rewrapped in one step of a rotation; smaller is gentler. */
  readonly rotationBatch: number;
  readonly limits: Limits;
  /** When a request is given up, except those that may take minutes. */
  readonly requestMsMax: number;
}

export interface GatewayDeps {
  readonly db: Database;
  readonly enclave: Enclave;
  readonly chains: { readonly [Name in WalletRow['chain']]: Chain };
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly log: Logger;
  readonly key: GatewayKey;
  /** Whose tokens are taken besides our own; null when none is configured. */
  readonly issuer: TokenIssuer | null;
  readonly mail: MailTransport;
  readonly options: GatewayOptions;
  /** Certificate and key in PEM, when the gateway itself ends TLS. */
  readonly tls?: { readonly cert: Uint8Array; readonly key: Uint8Array };
}

export interface Services extends GatewayDeps {
  readonly ledger: Ledger;
  readonly metrics: Metrics;
  readonly webTokens: WebTokens;
  /** A UUID, new at each start. */
  readonly boot: string;
  readonly startedAtMs: number;
}
