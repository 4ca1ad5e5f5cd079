/**
 * Tokens of an issuer that the operator configured: JWTs (RFC 7519) that a backend brings in the place of a secret key.
 * `principal.ts` asks `read` for each request that comes with one. Which algorithms count is said here and never by a
 * token; keys come from the configured URL and never from a token. Claims say the project (`kedge_project`) and what may be
 * done (`scope`); a token without a scope that we know may do nothing. Kept keys outlast an issuer that is down, for an hour.
 */
import { readBounded } from '@kedge/chains';
import { type Clock, HOUR_MS, KedgeError, MINUTE_MS, type ProjectId, type Scope, SECOND_MS, scopes } from '@kedge/core';
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, errors, type JSONWebKeySet, jwtVerify } from 'jose';
import { z } from 'zod';

export interface TokenIssuerOptions {
  /** What `iss` must be, letter by letter. */
  readonly issuer: string;
  readonly jwksUrl: string;
  /** What `aud` must hold. */
  readonly audience: string;
  readonly fetch: typeof globalThis.fetch;
  readonly clock: Clock;
  /** Told why keys could not be read. */
  readonly onFailure?: (error: unknown) => void;
  /** For reading the keys; 5,000 by default. */
  readonly timeoutMs?: number;
}

export interface IssuedToken {
  readonly issuer: string;
  readonly subject: string;
  readonly project: ProjectId;
  readonly scopes: readonly Scope[];
}

export interface TokenIssuer {
  /** Null for what isn't a token of this issuer that holds now. Throws `KedgeError('issuer_unavailable')`. */
  read(token: string): Promise<IssuedToken | null>;
}

/** Signatures by a public key only: what is published can't sign. */
const ALGORITHMS = ['ES256', 'RS256', 'EdDSA'];
const SKEW_S = 30;
const LIFETIME_S_MAX = 24 * (HOUR_MS / SECOND_MS);
const FRESH_MS = 10 * MINUTE_MS;
/** How long keys go on while the issuer gives none. */
const KEPT_MS_MAX = HOUR_MS;
/** Tokens with invented key ids make nobody ask the issuer more often. */
const ASK_AGAIN_MS = 30 * SECOND_MS;
const TIMEOUT_MS = 5 * SECOND_MS;
const KEY_SET_BYTES_MAX = 64 * 1024;

const keySetSchema = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) });
const claimsSchema = z.object({
  sub: z
    .string()
    .min(1)
    .max(255)
    .regex(/^\P{C}*$/u),
  kedge_project: z.uuid().toLowerCase(),
  scope: z.string().max(4096).default(''),
  iat: z.number(),
  exp: z.number(),
});

export function createTokenIssuer(options: TokenIssuerOptions): TokenIssuer {
  const { issuer, audience, clock, onFailure = () => undefined } = options;
  let known: { readonly keys: JSONWebKeySet; readonly atMs: number } | null = null;
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let asking: Promise<void> | null = null;

  const ageMs = () => (known === null ? Number.POSITIVE_INFINITY : clock.monotonicMs() - known.atMs);

  const refresh = async (): Promise<void> => {
    if (asking === null) {
      if (clock.monotonicMs() - askedAtMs < ASK_AGAIN_MS) return;
      askedAtMs = clock.monotonicMs();
      asking = readKeySet(options)
        .then((keys) => {
          known = { keys, atMs: clock.monotonicMs() };
        }, onFailure)
        .finally(() => {
          asking = null;
        });
    }
    await asking;
  };

  const currentKeys = async (): Promise<JSONWebKeySet> => {
    if (ageMs() >= FRESH_MS) await refresh();
    if (known === null || ageMs() >= KEPT_MS_MAX)
      throw new KedgeError('issuer_unavailable', undefined, { retryAfterS: ASK_AGAIN_MS / SECOND_MS });
    return known.keys;
  };

  const verify = async (token: string, keys: JSONWebKeySet): Promise<IssuedToken | 'no_such_key' | null> => {
    try {
      const { payload } = await jwtVerify(token, createLocalJWKSet(keys), {
        algorithms: ALGORITHMS,
        issuer,
        audience,
        clockTolerance: SKEW_S,
        maxTokenAge: LIFETIME_S_MAX,
        currentDate: new Date(clock.wallMs()),
      });
      const claims = claimsSchema.safeParse(payload);
      if (!claims.success || claims.data.exp - claims.data.iat > LIFETIME_S_MAX) return null;
      const { sub, kedge_project, scope } = claims.data;
      const asked = scope.split(' ');
      return {
        issuer,
        subject: sub,
        project: kedge_project as ProjectId,
        scopes: scopes.filter((known) => asked.includes(known)),
      };
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) return 'no_such_key';
      // Not about the token: a key of the set is none, or too short.
      if (!(error instanceof errors.JOSEError)) onFailure(error);
      return null;
    }
  };

  return {
    async read(token) {
      if (!isAddressed(token, issuer)) return null;
      const keys = await currentKeys();
      const found = await verify(token, keys);
      if (found !== 'no_such_key') return found;
      await refresh();
      if (known === null || known.keys === keys) return null;
      const again = await verify(token, known.keys);
      return again === 'no_such_key' ? null : again;
    },
  };
}

/** Before anybody is asked: a token that names this issuer, one of our algorithms and a key. It proves nothing. */
function isAddressed(token: string, issuer: string): boolean {
  try {
    const { alg, kid } = decodeProtectedHeader(token);
    return ALGORITHMS.includes(String(alg)) && typeof kid === 'string' && decodeJwt(token).iss === issuer;
  } catch {
    return false;
  }
}

async function readKeySet({ fetch, jwksUrl, timeoutMs = TIMEOUT_MS }: TokenIssuerOptions): Promise<JSONWebKeySet> {
  const signal = AbortSignal.timeout(timeoutMs);
  const response = await fetch(jwksUrl, {
    headers: { accept: 'application/json' },
    redirect: 'error',
    signal,
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new RangeError(`the key set answers with HTTP status ${response.status}`);
  }
  return keySetSchema.parse(JSON.parse(await readBounded(response, KEY_SET_BYTES_MAX, signal)));
}
