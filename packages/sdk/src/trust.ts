/**
 * Which enclave to believe. A publishable key ends with the thumbprint of the enclave's identity, so an app that ships
 * the key ships the pin; everything the enclave signs is checked against it. A gateway that lies about the enclave is
 * found here, before a secret is sealed to the wrong key.
 */
import { concatBytes, equalBytes, fromBase64Url, KedgeError, toBase64Url, utf8ToBytes } from '@kedge/core';

export interface Attestation {
  /** P-256, SEC1 uncompressed. */
  readonly identity: Uint8Array;
  /** X25519, for HPKE. */
  readonly sealingKey: Uint8Array;
  readonly boot: Uint8Array;
  readonly rootKeys: string;
  /** The enclave's wall clock when it signed this, in ms. */
  readonly atMs: number;
}

interface SignedText {
  readonly document: string;
  readonly signature: string;
}

/** The thumbprint (SHA-256 of the identity, base64url) that a publishable key carries. Throws `KedgeError('unauthenticated')`. */
export function thumbprintOf(publishableKey: string): string {
  const thumbprint = publishableKey.split('.')[1];
  if (!publishableKey.startsWith('pk_') || !thumbprint)
    throw new KedgeError(
      'unauthenticated',
      'That is not a publishable key: it starts with pk_ and ends with a dot and a thumbprint.',
    );
  return thumbprint;
}

/** Throws `KedgeError('enclave_unavailable')` when the document isn't signed by the enclave of that thumbprint. */
export async function checkAttestation(signed: SignedText, thumbprint: string): Promise<Attestation> {
  const document = JSON.parse(new TextDecoder().decode(fromBase64Url(signed.document))) as {
    identity: { x: string; y: string };
    sealing_key: string;
    boot: string;
    root_keys: string;
    at: string;
  };
  const identity = concatBytes(
    Uint8Array.of(4),
    fromBase64Url(document.identity.x),
    fromBase64Url(document.identity.y),
  );
  const seen = toBase64Url(new Uint8Array(await crypto.subtle.digest('SHA-256', plain(identity))));
  const genuine =
    equalBytes(utf8ToBytes(seen), utf8ToBytes(thumbprint)) && (await verifySigned(identity, 'attestation', signed));
  if (!genuine) {
    throw new KedgeError(
      'enclave_unavailable',
      'The service presents another enclave than the one this app was made for. Stop, and ask the operator why.',
    );
  }
  return {
    identity,
    sealingKey: fromBase64Url(document.sealing_key),
    boot: fromBase64Url(document.boot),
    rootKeys: document.root_keys,
    atMs: Date.parse(document.at),
  };
}

/** Whether the enclave of `identity` signed the document as that kind. */
export async function verifySigned(identity: Uint8Array, kind: string, signed: SignedText): Promise<boolean> {
  return verifyP256(
    identity,
    concatBytes(utf8ToBytes(`kedge/${kind}/v1\0`), fromBase64Url(signed.document)),
    fromBase64Url(signed.signature),
  );
}

/** ECDSA P-256 with SHA-256; `publicKey` SEC1 uncompressed, `signature` `r ‖ s`. */
export async function verifyP256(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const key = await crypto.subtle.importKey('raw', plain(publicKey), { name: 'ECDSA', namedCurve: 'P-256' }, false, [
    'verify',
  ]);
  return crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, key, plain(signature), plain(message));
}

/** WebCrypto wants bytes over an ArrayBuffer of their own. */
export function plain(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}
