/**
 * `Idempotency-Key`: a request sent again has its effect once. `binding.ts` claims a row before it calls the handler and
 * passes on the row's `resource_id`, which becomes the id of what is created; the answer is stored in the very commit
 * that makes the change. So a crash at any point is healed by sending the request again: before the commit the handler
 * runs anew with the same id (the enclave's calls stand that), after it the stored answer comes back.
 *
 * A key belongs to a principal and, where the endpoint takes a proof, to the key that signed it, and the signature is
 * checked here first: publishable keys are shared by strangers, and a stored answer holds a session. Whether the proof
 * holds for the act remains for the enclave. The request hash leaves the proof out, because a retry signs a fresh one.
 */
import { createHash, createPublicKey, verify } from 'node:crypto';
import {
  type Clock,
  KedgeError,
  MINUTE_MS,
  newId,
  type Proof,
  proofMessage,
  type RandomBytes,
  toBase64Url,
} from '@kedge/core';
import { type Database, type Queryable, StoreError } from '@kedge/store';
import type { GatewayKey } from './gateway-key.ts';

/** A mark of running that is older than this belongs to a request that died. Longer than any request may take. */
const RUNNING_MS_MAX = MINUTE_MS;

export interface IdempotencyDeps {
  readonly db: Database;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly key: GatewayKey;
  /** The name of this gateway, the same after a restart. */
  readonly gateway: string;
  /** New at each start. */
  readonly boot: string;
}

export interface IdempotentRequest {
  readonly key: string;
  readonly principal: string;
  readonly proof: Proof | null;
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

export type Claimed = { readonly replay: string } | { readonly claim: Claim };

export interface Claim {
  readonly resourceId: string;
  /** Stores the answer, inside the transaction that makes the change. Throws `idempotency_running` if another took over. */
  store(tx: Queryable, response: string): Promise<void>;
  /** The request had no effect that counts: the next one with this key runs at once, with the same resource id. */
  fail(): Promise<void>;
}

interface Row {
  readonly request_hash: Uint8Array;
  readonly resource_id: string;
  readonly status: 'running' | 'failed' | 'done';
  readonly gateway: string;
  readonly boot: string;
  readonly started_at: Date;
  readonly response: Uint8Array | null;
}

/** Throws `idempotency_mismatch`, `idempotency_running`, `proof_invalid`. */
export async function claimRequest(deps: IdempotencyDeps, request: IdempotentRequest): Promise<Claimed> {
  const { db, clock, random, gateway, boot } = deps;
  if (request.proof !== null && !isSignedByItsKey(request.proof)) {
    throw new KedgeError('proof_invalid', 'The signature of the proof does not hold.');
  }
  const scope = hashOf(request.principal, request.proof === null ? '' : toBase64Url(request.proof.key.publicKey));
  const keyHash = hashOf(request.key);
  const requestHash = hashOf(request.method, request.path, canonicalJson(request.body));
  const now = new Date(clock.wallMs());

  const [inserted] = await db.query<{ resource_id: string }>(
    `insert into idempotency (scope, key_hash, request_hash, resource_id, status, gateway, boot, started_at)
     values ($1, $2, $3, $4, 'running', $5, $6, $7) on conflict do nothing returning resource_id`,
    [scope, keyHash, requestHash, newId(clock, random), gateway, boot, now],
  );
  if (inserted) return { claim: claim(deps, scope, keyHash, inserted.resource_id, now) };

  const [row] = await db.query<Row>(
    `select request_hash, resource_id, status, gateway, boot, started_at, response
     from idempotency where scope = $1 and key_hash = $2`,
    [scope, keyHash],
  );
  if (!row) return claimRequest(deps, request); // purged between the two statements
  if (!Buffer.from(row.request_hash).equals(requestHash)) throw new KedgeError('idempotency_mismatch');
  const replay = row.response && deps.key.open(row.response, Buffer.concat([scope, keyHash]));
  if (row.status === 'done' && replay) return { replay };
  if (!mayTakeOver(row, deps, now)) throw new KedgeError('idempotency_running', undefined, { retryAfterS: 1 });

  const [taken] = await db.query<{ resource_id: string }>(
    `update idempotency set status = 'running', gateway = $5, boot = $6, started_at = $7
     where scope = $1 and key_hash = $2 and boot = $3 and started_at = $4 returning resource_id`,
    [scope, keyHash, row.boot, row.started_at, gateway, boot, laterThan(row.started_at, now)],
  );
  if (!taken) throw new KedgeError('idempotency_running', undefined, { retryAfterS: 1 });
  return { claim: claim(deps, scope, keyHash, taken.resource_id, laterThan(row.started_at, now)) };
}

function mayTakeOver(row: Row, { gateway, boot }: IdempotencyDeps, now: Date): boolean {
  if (row.status !== 'running') return true;
  if (row.gateway === gateway && row.boot !== boot) return true; // that process is gone: we are its successor
  return now.getTime() - row.started_at.getTime() > RUNNING_MS_MAX;
}

/** The start of a claim names it, so a later one must differ even within the same millisecond. */
function laterThan(before: Date, now: Date): Date {
  return new Date(Math.max(now.getTime(), before.getTime() + 1));
}

function claim(
  { db, key, boot }: IdempotencyDeps,
  scope: Buffer,
  keyHash: Buffer,
  resourceId: string,
  startedAt: Date,
): Claim {
  const own = 'scope = $1 and key_hash = $2 and boot = $3 and started_at = $4';
  const name = [scope, keyHash, boot, startedAt] as const;
  return {
    resourceId,
    async store(tx, response) {
      const sealed = key.seal(response, Buffer.concat([scope, keyHash]));
      const stored = await tx.query(`update idempotency set status = 'done', response = $5 where ${own} returning 1`, [
        ...name,
        sealed,
      ]);
      if (stored.length === 0) throw new KedgeError('idempotency_running', undefined, { retryAfterS: 1 });
    },
    async fail() {
      try {
        await db.query(`update idempotency set status = 'failed' where ${own} and status = 'running'`, name);
      } catch (error) {
        // Without a database the mark stays and times out; the caller is about to hear of the database anyway.
        if (!(error instanceof StoreError)) throw error;
      }
    },
  };
}

/** Only that the named key signed it. That the key may, and that the proof fits the act, is for the enclave to say. */
function isSignedByItsKey({ document, key, signature }: Proof): boolean {
  const message = proofMessage(document);
  try {
    if (key.algorithm === 'ed25519') {
      const jwk = { kty: 'OKP', crv: 'Ed25519', x: toBase64Url(key.publicKey) };
      return verify(null, message, createPublicKey({ key: jwk, format: 'jwk' }), signature);
    }
    const jwk = {
      kty: 'EC',
      crv: 'P-256',
      x: toBase64Url(key.publicKey.subarray(1, 33)),
      y: toBase64Url(key.publicKey.subarray(33)),
    };
    return verify(
      'sha256',
      message,
      { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' },
      signature,
    );
  } catch {
    return false; // not a point of the curve
  }
}

/** SHA-256 over the parts, each with its length before it. */
function hashOf(...parts: readonly string[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part);
  return hash.digest();
}

/** Two spellings of one body are one request: keys are sorted. */
function canonicalJson(value: unknown): string {
  return (
    JSON.stringify(value, (_, inner: unknown) =>
      inner !== null && typeof inner === 'object' && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
        : inner,
    ) ?? ''
  );
}
