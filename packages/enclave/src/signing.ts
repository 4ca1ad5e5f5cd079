/**
 * What the enclave signs with its identity: attestations, receipts, mirrors, manifests. Each kind has a domain of its
 * own, so a document of one kind never passes for another. One signature has none, because integrations of others expect
 * it: that over the public key of a new backup key. Its text starts with `{` or a hex digit, every domain with `k`.
 */
import { createPublicKey, verify } from 'node:crypto';
import { canonicalJson, concatBytes, utf8ToBytes } from '@kedge/core';
import type { Signed, VendorSignature } from './enclave.ts';
import { p256Jwk } from './proofs.ts';
import type { RootKeys } from './root-keys.ts';

export type SignedKind =
  | 'attestation'
  | 'receipt'
  | 'mirror'
  | 'backup-manifest'
  | 'key-attestation'
  | 'encryption-key'
  | 'drill-certificate';

export async function signDocument(
  rootKeys: RootKeys,
  kind: SignedKind,
  content: Readonly<Record<string, unknown>>,
): Promise<Signed> {
  const document = utf8ToBytes(canonicalJson(content));
  return { document, signature: await rootKeys.sign(signedMessage(kind, document)) };
}

/** Over the bare text. Throws unless no document of ours could begin like it. */
export async function signBare(rootKeys: RootKeys, payload: string): Promise<VendorSignature> {
  if (!/^[{0-9a-f]/.test(payload)) throw new Error('a bare signature must not pass for a document');
  return { payload, signature: derSignature(await rootKeys.sign(utf8ToBytes(payload))) };
}

/** `r ‖ s` as the SEQUENCE of two INTEGERs that X9.62 and OpenSSL use. */
function derSignature(signature: Uint8Array): Uint8Array {
  const integers = [signature.subarray(0, 32), signature.subarray(32)].map((number) => {
    let start = 0;
    while (start < 31 && number[start] === 0) start += 1;
    const digits = number.subarray(start);
    const padded = digits[0]! >= 0x80 ? concatBytes(Uint8Array.of(0), digits) : digits;
    return concatBytes(Uint8Array.of(2, padded.length), padded);
  });
  const body = concatBytes(...integers);
  return concatBytes(Uint8Array.of(0x30, body.length), body);
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
