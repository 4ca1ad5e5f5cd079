/**
 * Who calls: tokens and what they prove. `binding.ts` asks `identify` once per request; routes make new tokens with
 * `newToken`. A token is 256 random bits behind a prefix that says its kind; the database knows its SHA-256 only. A
 * publishable key ends with the thumbprint of the enclave's identity, so every app that ships one pins the enclave.
 */
import { createHash } from 'node:crypto';
import {
  type ApiKeyId,
  type Clock,
  HOUR_MS,
  KedgeError,
  MINUTE_MS,
  type PrincipalKind,
  type ProjectId,
  type RandomBytes,
  type Scope,
  toBase64Url,
  type UserId,
} from '@kedge/core';
import type { IssuedToken } from './issuer.ts';
import type { Services } from './services.ts';
import {
  type AcrossProjects,
  acrossProjects,
  findApiKey,
  findApiKeyById,
  findOperatorSession,
  findProject,
  findSession,
  type ProjectRow,
  touchOperatorSession,
  touchSession,
} from './store.ts';
import type { WebToken } from './web-tokens.ts';

export const SESSION_MS = 12 * HOUR_MS;
export const SESSION_IDLE_MS = HOUR_MS;
/** Use is noted at most this often, so that reading does not write. */
const TOUCH_MS = MINUTE_MS;

export type Principal =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'publishable_key'; readonly project: ProjectId; readonly apiKey: ApiKeyId }
  | {
      readonly kind: 'secret_key';
      readonly project: ProjectId;
      readonly credential: Credential;
      /** Null: all that a secret key may. */
      readonly scopes: readonly Scope[] | null;
    }
  | { readonly kind: 'user'; readonly project: ProjectId; readonly user: UserId; readonly tokenHash: Uint8Array }
  | { readonly kind: 'operator'; readonly operator: string; readonly tokenHash: Uint8Array };

/** What a backend came with: its key, a web token made with that key, or a token of the configured issuer. */
export type Credential =
  | { readonly type: 'api_key' | 'web_token'; readonly apiKey: ApiKeyId }
  | { readonly type: 'issued_token'; readonly issuer: string; readonly subject: string };

export type PrincipalOf<K extends PrincipalKind> = Extract<Principal, { kind: K }>;

export type TokenPrefix = `sk_${ProjectRow['environment']}` | `pk_${ProjectRow['environment']}` | 'us' | 'op';

export interface NewToken {
  readonly text: string;
  readonly hash: Uint8Array;
}

/** `pin`: the thumbprint of the enclave's identity, for publishable keys. */
export function newToken(random: RandomBytes, prefix: TokenPrefix, pin?: string): NewToken {
  const text = `${prefix}_${toBase64Url(random(32))}${pin === undefined ? '' : `.${pin}`}`;
  return { text, hash: tokenHash(text) };
}

/**
 * Throws `KedgeError('unauthenticated')` for a credential that does not hold; none at all is `anonymous`. Throws
 * `KedgeError('issuer_unavailable')` when nobody can say whether one holds.
 */
export async function identify(
  { db, clock, webTokens, issuer }: Pick<Services, 'db' | 'clock' | 'webTokens' | 'issuer'>,
  authorization: string | undefined,
): Promise<Principal> {
  if (authorization === undefined) return { kind: 'anonymous' };
  const [, token] = /^Bearer ([A-Za-z0-9_.-]{8,8192})$/i.exec(authorization) ?? [];
  if (token === undefined)
    throw new KedgeError('unauthenticated', 'The header Authorization does not hold a bearer token.');
  const on = acrossProjects(db);
  const hash = tokenHash(token);
  const principal = token.startsWith('us_')
    ? await user(on, clock, hash)
    : token.startsWith('op_')
      ? await operator(on, clock, hash)
      : token.startsWith('eyJ')
        ? ((await web(on, webTokens.read(token))) ?? (await issued(on, (await issuer?.read(token)) ?? null)))
        : await apiKey(on, hash);
  if (principal === null) throw new KedgeError('unauthenticated', 'The key or session is unknown, revoked or over.');
  return principal;
}

/** Names a principal in rate limits and idempotency scopes. */
export function principalName(principal: Principal): string {
  switch (principal.kind) {
    case 'anonymous':
      return 'anonymous';
    case 'publishable_key':
      return `api_key/${principal.apiKey}`;
    case 'secret_key': {
      const { credential, project } = principal;
      // A web token counts as its key. A subject of the issuer may act for several projects, each with answers of its own.
      return credential.type === 'issued_token'
        ? `issued_token/${project}/${credential.issuer} ${credential.subject}`
        : `api_key/${credential.apiKey}`;
    }
    case 'user':
      return `user/${principal.user}`;
    case 'operator':
      return `operator/${principal.operator}`;
  }
}

async function apiKey(on: AcrossProjects, hash: Uint8Array): Promise<Principal | null> {
  const row = await findApiKey(on, hash);
  if (row === null) return null;
  const { project, id } = row;
  return row.kind === 'secret'
    ? { kind: 'secret_key', project, credential: { type: 'api_key', apiKey: id }, scopes: row.scopes }
    : { kind: 'publishable_key', project, apiKey: id };
}

/** A token ends with the secret key it was made with. */
async function web(on: AcrossProjects, token: WebToken | null): Promise<Principal | null> {
  const row = token && (await findApiKeyById(on, token.apiKey));
  if (token === null || row?.kind !== 'secret' || row.project !== token.project) return null;
  const credential = { type: 'web_token', apiKey: row.id } as const;
  return { kind: 'secret_key', project: row.project, credential, scopes: inBoth(row.scopes, token.scopes) };
}

/** Null stands for all of them. */
function inBoth(some: readonly Scope[] | null, others: readonly Scope[] | null): readonly Scope[] | null {
  return some === null || others === null ? (some ?? others) : some.filter((scope) => others.includes(scope));
}

/** The issuer says who asks and what they may; that the project it names exists, we look up. */
async function issued(on: AcrossProjects, token: IssuedToken | null): Promise<Principal | null> {
  if (token === null || (await findProject(on, token.project)) === null) return null;
  const { issuer, subject, project, scopes } = token;
  return { kind: 'secret_key', project, credential: { type: 'issued_token', issuer, subject }, scopes };
}

async function user(on: AcrossProjects, clock: Clock, hash: Uint8Array): Promise<Principal | null> {
  const row = await findSession(on, hash);
  if (row === null || !isAlive(row, clock)) return null;
  if (shouldTouch(row, clock)) await touchSession(on, hash, new Date(clock.wallMs()));
  return { kind: 'user', project: row.project, user: row.user_id, tokenHash: hash };
}

async function operator(on: AcrossProjects, clock: Clock, hash: Uint8Array): Promise<Principal | null> {
  const row = await findOperatorSession(on, hash);
  if (row === null || !isAlive(row, clock)) return null;
  if (shouldTouch(row, clock)) await touchOperatorSession(on, hash, new Date(clock.wallMs()));
  return { kind: 'operator', operator: row.operator, tokenHash: hash };
}

interface SessionTimes {
  readonly used_at: Date;
  readonly expires_at: Date;
}

function isAlive(session: SessionTimes, clock: Clock): boolean {
  const now = clock.wallMs();
  return now < session.expires_at.getTime() && now < session.used_at.getTime() + SESSION_IDLE_MS;
}

function shouldTouch(session: SessionTimes, clock: Clock): boolean {
  return clock.wallMs() >= session.used_at.getTime() + TOUCH_MS;
}

function tokenHash(token: string): Uint8Array {
  return new Uint8Array(createHash('sha256').update(token).digest());
}
