/**
 * Web tokens (RFC 7519, signed as ES256): what a backend gets for its secret key to hand on for an hour, perhaps with
 * fewer scopes. `principal.ts` asks `read` for each request that comes with one. The signing key follows from the
 * gateway's own key, so all gateways that share that accept each other's; it is no key of the enclave. A token says who
 * it is for; whether the secret key behind it still holds is looked up each time.
 */
import { createECDH, createPrivateKey, createPublicKey, hkdfSync, type KeyObject, sign, verify } from 'node:crypto';
import {
  type ApiKeyId,
  type Clock,
  HOUR_MS,
  type ProjectId,
  type Scope,
  SECOND_MS,
  scopes,
  toBase64Url,
} from '@kedge/core';
import { z } from 'zod';

export const WEB_TOKEN_MS = HOUR_MS;
const ISSUER = 'kedge';
const HEADER = toBase64Url(Buffer.from('{"alg":"ES256","typ":"JWT"}'));

export interface WebToken {
  readonly apiKey: ApiKeyId;
  readonly project: ProjectId;
  /** Null: all that a secret key may. */
  readonly scopes: readonly Scope[] | null;
}

export interface WebTokens {
  issue(token: WebToken): string;
  /** Null for one that is altered, over, or not ours. */
  read(text: string): WebToken | null;
}

const claimsSchema = z.strictObject({
  iss: z.literal(ISSUER),
  sub: z.uuid(),
  project: z.uuid(),
  scopes: z.array(z.enum(scopes)).nullable(),
  iat: z.int(),
  exp: z.int(),
});

export function createWebTokens(clock: Clock, secret: Uint8Array): WebTokens {
  const privateKey = signingKeyFrom(secret);
  const publicKey = createPublicKey(privateKey);
  const dsaEncoding = 'ieee-p1363';
  return {
    issue({ apiKey, project, scopes: given }) {
      const issuedAt = Math.floor(clock.wallMs() / SECOND_MS);
      const exp = issuedAt + WEB_TOKEN_MS / SECOND_MS;
      const claims = { iss: ISSUER, sub: apiKey, project, scopes: given, iat: issuedAt, exp };
      const signed = `${HEADER}.${toBase64Url(Buffer.from(JSON.stringify(claims)))}`;
      const signature = sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding });
      return `${signed}.${toBase64Url(signature)}`;
    },

    read(text) {
      const [header, body, signature, ...rest] = text.split('.');
      // One header, by its spelling: no algorithm, key or type is ever taken from a token.
      if (header !== HEADER || body === undefined || signature === undefined || rest.length > 0) return null;
      const bytes = Buffer.from(signature, 'base64url');
      if (toBase64Url(bytes) !== signature) return null;
      if (!verify('sha256', Buffer.from(`${header}.${body}`), { key: publicKey, dsaEncoding }, bytes)) return null;
      const claims = claimsSchema.parse(JSON.parse(Buffer.from(body, 'base64url').toString()));
      if (clock.wallMs() >= claims.exp * SECOND_MS) return null;
      return { apiKey: claims.sub as ApiKeyId, project: claims.project as ProjectId, scopes: claims.scopes };
    },
  };
}

const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** FIPS 186-5, A.2.1: 128 extra bits make the bias of the remainder nothing. */
function signingKeyFrom(secret: Uint8Array): KeyObject {
  const wide = Buffer.from(hkdfSync('sha256', secret, '', 'kedge/web-tokens/v1', 48)).toString('hex');
  const scalar = (BigInt(`0x${wide}`) % (P256_ORDER - 1n)) + 1n;
  const d = Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex');
  const pair = createECDH('prime256v1');
  pair.setPrivateKey(d);
  const point = pair.getPublicKey();
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map(toBase64Url) as [string, string];
  return createPrivateKey({ key: { kty: 'EC', crv: 'P-256', d: toBase64Url(d), x, y }, format: 'jwk' });
}
