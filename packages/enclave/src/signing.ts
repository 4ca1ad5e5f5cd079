/**
 * What the enclave signs with its identity: attestations, receipts, mirrors, manifests. Each kind has a domain of its
 * own, so a document of one kind never passes for another.
 */
import { createPublicKey, verify } from 'node:crypto';
import { concatBytes, utf8ToBytes } from '@kedge/core';
import type { Signed } from './enclave.ts';
import { p256Jwk } from './proofs.ts';
import type { RootKeys } from './root-keys.ts';

export type SignedKind = 'attestation' | 'receipt' | 'mirror' | 'backup-manifest';

export async function signDocument(
  rootKeys: RootKeys,
  kind: SignedKind,
  content: Readonly<Record<string, unknown>>,
): Promise<Signed> {
  const document = utf8ToBytes(JSON.stringify(content));
  return { document, signature: await rootKeys.sign(signedMessage(kind, document)) };
}

/** Null when the signature doesn't hold. */
export function readSigned(
  identity: Uint8Array,
  kind: SignedKind,
  { document, signature }: Signed,
): Record<string, unknown> | null {
  const key = createPublicKey({ key: p256Jwk(identity), format: 'jwk' });
  if (!verify('sha256', signedMessage(kind, document), { key, dsaEncoding: 'ieee-p1363' }, signature)) return null;
  return JSON.parse(new TextDecoder().decode(document)) as Record<string, unknown>;
}

function signedMessage(kind: SignedKind, document: Uint8Array): Uint8Array {
  return concatBytes(utf8ToBytes(`kedge/${kind}/v1\0`), document);
}
