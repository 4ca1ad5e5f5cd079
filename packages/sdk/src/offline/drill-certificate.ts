/**
 * Reading a drill certificate with no network: whether the enclave whose key one kept signed it, and what it says. For
 * auditors and `kedge drill verify`. What it proves is told by core's `DrillCertificate`; whether that is enough, and
 * recent enough, is for the reader to judge.
 */
import { concatBytes, type DrillCertificate, equalBytes, fromBase64Url, KedgeError, toBase64Url } from '@kedge/core';
import { plain, verifySigned } from '../trust.ts';

/** As `GET /v1/recoveries/{id}/certificate` gives it; base64 or base64url. */
export interface SignedCertificate {
  readonly document: string;
  readonly signature: string;
}

/** The service's `/.well-known/kedge-enclave.json`, kept from a day on which one trusted it. */
export interface EnclaveKeys {
  readonly keys: readonly { readonly x: string; readonly y: string }[];
}

/**
 * `pin`: the thumbprint behind the dot of a publishable key, if the kept keys are to be checked against it.
 * Throws `KedgeError('request_invalid')` for what no kept key signed.
 */
export async function verifyDrillCertificate(
  certificate: SignedCertificate,
  { keys }: EnclaveKeys,
  pin: string | null = null,
): Promise<DrillCertificate> {
  const signed = { document: urlSafe(certificate.document), signature: urlSafe(certificate.signature) };
  for (const { x, y } of keys) {
    const identity = concatBytes(Uint8Array.of(4), fromBase64Url(x), fromBase64Url(y));
    const thumbprint = new Uint8Array(await crypto.subtle.digest('SHA-256', plain(identity)));
    if (pin !== null && !equalBytes(thumbprint, fromBase64Url(pin))) continue;
    if (await verifySigned(identity, 'drill-certificate', signed))
      return JSON.parse(new TextDecoder().decode(fromBase64Url(signed.document))) as DrillCertificate;
  }
  throw new KedgeError(
    'request_invalid',
    'None of the kept keys signed this certificate. Check that it is whole, and that the keys are the service’s.',
  );
}

/** Whether everything that the drill looked at was found good. A cold key can't be looked at without its officers. */
export function isDrillPassed({ key_outcome, backup_outcome, signatures }: DrillCertificate): boolean {
  return key_outcome !== 'attention' && backup_outcome === 'passed' && signatures > 0;
}

function urlSafe(base64: string): string {
  const text = base64.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
  try {
    return toBase64Url(fromBase64Url(text));
  } catch (cause) {
    throw new KedgeError('request_invalid', 'The certificate is not base64.', { cause });
  }
}
