/**
 * What a backend of the enclave must offer: keys that never leave it in the clear, and six things to do with them.
 * `software.ts` keeps them in a 0600 file, `pkcs11.ts` in a hardware token; both pass `root-keys.conformance.ts`.
 * Counters, time, rotation and release live above this interface, written once.
 */

/** A wrapping key: AES-256, one per purpose and version. `state` has version 1 only. */
export interface WrappingKey {
  readonly purpose: 'client_secret' | 'wallet' | 'state';
  readonly version: number;
}

export interface RootKeys {
  readonly kind: 'software' | 'pkcs11';
  /** Makes the wrapping key if it doesn't exist. Durable when the promise resolves. */
  createKey(key: WrappingKey): Promise<void>;
  hasKey(key: WrappingKey): Promise<boolean>;
  /** Destroys the wrapping key for good; no error when it is gone already. Durable when the promise resolves. */
  destroyKey(key: WrappingKey): Promise<void>;
  /** AES-256-GCM: `nonce (12) ‖ ciphertext ‖ tag (16)`, the nonce chosen by the backend. Throws `RootKeysError('no_key')`. */
  wrap(key: WrappingKey, plaintext: Uint8Array, aad: Uint8Array): Promise<Uint8Array>;
  /** Inverse of {@link wrap}. Throws `RootKeysError('no_key')`, or `('refused')` for other bytes, key or AAD. */
  unwrap(key: WrappingKey, wrapped: Uint8Array, aad: Uint8Array): Promise<Uint8Array>;
  /** HMAC-SHA256 (32 bytes) under the one MAC key of the backend; callers separate their domains in `data`. */
  mac(data: Uint8Array): Promise<Uint8Array>;
  /** ECDSA P-256 with SHA-256 over `message` by the identity key: `r ‖ s`, 64 bytes, low s. */
  sign(message: Uint8Array): Promise<Uint8Array>;
  /** The identity's public key, SEC1 uncompressed (65 bytes). */
  identity(): Promise<Uint8Array>;
  /** From the backend's own generator. */
  random(length: number): Promise<Uint8Array>;
  /** For `kedge doctor`: each operation, and where it runs. */
  capabilities(): Promise<readonly RootKeysCapability[]>;
  close(): Promise<void>;
}

export interface RootKeysCapability {
  readonly operation: 'wrap' | 'mac' | 'sign' | 'random';
  readonly where: 'in_hardware' | 'in_enclave' | 'missing';
}

export type RootKeysErrorCode =
  | 'no_key'
  | 'refused'
  | 'unavailable'
  | 'pin_wrong'
  | 'token_absent'
  | 'operation_missing'
  | 'damaged';

export class RootKeysError extends Error {
  override readonly name = 'RootKeysError';
  readonly code: RootKeysErrorCode;

  constructor(code: RootKeysErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}

/** How a backend labels a wrapping key: `wallet/v3`. Throws `RangeError` for a version that can't exist: a bug of the caller. */
export function wrappingKeyName({ purpose, version }: WrappingKey): string {
  const newest = purpose === 'state' ? 1 : 0xffff_ffff;
  if (!Number.isInteger(version) || version < 1 || version > newest)
    throw new RangeError(`no version ${version} of ${purpose}`);
  return `${purpose}/v${version}`;
}

const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** The same P-256 signature `r ‖ s` with the smaller of its two `s`, so that nobody can respell it. */
export function lowS(signature: Uint8Array): Uint8Array {
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).toString('hex')}`);
  if (s <= P256_ORDER / 2n) return signature;
  const lower = (P256_ORDER - s).toString(16).padStart(64, '0');
  return new Uint8Array([...signature.subarray(0, 32), ...Buffer.from(lower, 'hex')]);
}
