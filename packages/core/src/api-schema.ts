/**
 * What the tables of endpoints are written with: the form of an endpoint, who may call, and the fields that many share,
 * each bounded. `api.ts` and the tables it takes in build on it; no endpoint is here.
 */
import { z } from 'zod';
import type { Act } from './proof.ts';
import { RELEASE_BYTES_MAX } from './recovery-plan.ts';

export const BODY_BYTES_MAX = 64 * 1024;
/** Of bodies that carry the transactions of a release, in base64 inside JSON. */
export const LARGE_BODY_BYTES_MAX = Math.ceil((RELEASE_BYTES_MAX * 4) / 3) + BODY_BYTES_MAX;
/** Of an uploaded file, which is encrypted already: 10 MiB. */
export const FILE_BYTES_MAX = 10 * 1024 * 1024;
/** For endpoints that read whole tables. All others end within half a minute. */
export const SLOW_REQUEST_MS_MAX = 600_000;
export const PAGE_SIZE_MAX = 100;

/** Who calls. The one list, also the authorisation matrix's. */
export const principalKinds = ['anonymous', 'publishable_key', 'secret_key', 'user', 'operator'] as const;
export type PrincipalKind = (typeof principalKinds)[number];

/** What secret keys and tokens may be limited to; one that isn't may do all that a secret key may. */
export const scopes = [
  'keys:read',
  'keys:write',
  'backups:read',
  'backups:write',
  'approvers:read',
  'approvers:write',
  'recoveries:read',
  'recoveries:write',
] as const;
export type Scope = (typeof scopes)[number];

/** Some of them, each once. */
export const scopeList = z
  .array(z.enum(scopes))
  .min(1)
  .max(scopes.length)
  .refine((given) => new Set(given).size === given.length, 'a scope comes twice');

export const uuid = z.uuid().toLowerCase();
export const base64Url = (bytesMax: number) =>
  z
    .string()
    .max(Math.ceil((bytesMax * 4) / 3))
    .regex(/^[A-Za-z0-9_-]*$/, 'base64url without padding');
/** As OpenSSL and wallets spell bytes, for what was made to be handed on to them. */
export const base64 = (bytesMax: number) =>
  z
    .string()
    .max(4 * Math.ceil(bytesMax / 3))
    .regex(/^[A-Za-z0-9+/]*={0,2}$/, 'base64');
export const hex = (bytesMax: number) =>
  z
    .string()
    .max(2 * bytesMax)
    .regex(/^([0-9a-f]{2})*$/, 'lower-case hex');
export const evmHex = (bytesMax: number) =>
  z
    .string()
    .max(2 + 2 * bytesMax)
    .regex(/^0x([0-9a-f]{2})+$/, '0x and lower-case hex');
export const time = z.iso.datetime();
export const amount = z.string().regex(/^(0|[1-9][0-9]{0,77})$/, 'a whole number of the smallest unit');
export const asset = z
  .string()
  .min(1)
  .max(128)
  .default('native')
  .meta({ description: '`native`, or the address of a token’s contract.' });
export const name = z
  .string()
  .trim()
  .min(1)
  .max(64)
  .regex(/^\P{C}*$/u, 'no control characters');
export const account = z.union([z.email().max(254).toLowerCase(), uuid]);
export const page = z.strictObject({
  limit: z.coerce.number().int().min(1).max(PAGE_SIZE_MAX).default(20),
  cursor: z.string().max(200).optional(),
});
export const listOf = <T extends z.ZodType>(item: T) =>
  z.object({ data: z.array(item), next_cursor: z.string().nullable() });

export const signedSchema = z
  .object({ document: base64Url(8192), signature: base64Url(64) })
  .meta({ id: 'Signed', description: 'A document of the enclave with its P-256 signature.' });

export const intentSchema = z
  .object({
    chain: z.string(),
    network: z.string(),
    from: z.string().nullable(),
    outputs: z.array(
      z.object({
        to: z.string(),
        amount,
        asset: z.string(),
        change: z.boolean().default(false).meta({ description: 'Back to the wallet itself.' }),
      }),
    ),
    allowances: z
      .array(z.object({ spender: z.string(), amount, asset: z.string() }))
      .default([])
      .meta({ description: 'What another may take later.' }),
    fee_max: amount.nullable().meta({ description: 'Null where the bytes do not say.' }),
    warnings: z.array(z.string()),
  })
  .meta({ id: 'Intent' });

export interface Endpoint {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: `/v1/${string}`;
  readonly summary: string;
  readonly principals: readonly PrincipalKind[];
  /**
   * The scope that a limited key or token needs. `any`: whichever it has; without one, nothing limited will do, except
   * where anybody may call.
   */
  readonly scope?: Scope | 'any';
  /** The act that the header `Kedge-Proof` must prove, where one is needed. */
  readonly proof?: Act;
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  /** The body is multipart/form-data: a file named `file`, and these fields of text. */
  readonly upload?: z.ZodObject;
  readonly response: z.ZodType;
  readonly status: 200 | 201 | 204;
  /** The body may have `LARGE_BODY_BYTES_MAX`. */
  readonly large?: true;
  /** It may take as long as `SLOW_REQUEST_MS_MAX`. */
  readonly slow?: true;
}

export const endpoint = <const E extends Endpoint>(row: E): E => row;
export const id = <const N extends string>(key: N) => z.strictObject({ [key]: uuid } as { [K in N]: typeof uuid });
