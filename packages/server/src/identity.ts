/**
 * The enclave as it presents itself: the contents of its attestation, decoded for pages, key pins and the JWKS.
 * It checks the attestation's form and not its signature: the gateway has no better root of trust than the socket that
 * it came from; whoever pins the identity checks the signature.
 */
import { createHash } from 'node:crypto';
import { concatBytes, fromBase64Url, KedgeError, toBase64Url } from '@kedge/core';
import type { Enclave } from '@kedge/enclave/client';
import { z } from 'zod';

const coordinate = z.string().length(43);
const attestationSchema = z.object({
  identity: z.object({ kty: z.literal('EC'), crv: z.literal('P-256'), x: coordinate, y: coordinate }),
});

export type IdentityJwk = z.output<typeof attestationSchema>['identity'];

export async function enclaveIdentity(enclave: Enclave): Promise<IdentityJwk> {
  const { document } = await enclave.attestation();
  const parsed = attestationSchema.safeParse(JSON.parse(new TextDecoder().decode(document)));
  if (!parsed.success) throw new KedgeError('enclave_unavailable', 'The enclave presents itself in another form.');
  return parsed.data.identity;
}

/** Base64url of SHA-256 over the public key (SEC1). What a publishable key pins. */
export function thumbprint(identity: IdentityJwk): string {
  return toBase64Url(createHash('sha256').update(publicKeyOf(identity)).digest());
}

/** SEC1 uncompressed, 65 bytes. */
export function publicKeyOf({ x, y }: IdentityJwk): Uint8Array {
  return concatBytes(new Uint8Array([4]), fromBase64Url(x), fromBase64Url(y));
}

/**
 * The identity as a JSON Web Key Set, with the thumbprint as `kid`. `kedge_uses` says what its signatures are about:
 * the assignment of backup keys, in the bare form and attested, and documents of the enclave.
 */
export function jwksOf(identity: IdentityJwk): object {
  return { keys: [{ ...identity, alg: 'ES256', use: 'sig', kid: thumbprint(identity), kedge_uses }] };
}

const kedge_uses = ['assignment-sig', 'attestation'];
