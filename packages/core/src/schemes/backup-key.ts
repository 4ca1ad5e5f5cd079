/**
 * backup-key: a full key is born in the enclave as one key of somebody's own multi-sig, and signs only at recovery.
 * Here is what client, gateway and enclave must agree on: the types, what a vendor-shaped signature covers, where
 * sealed things are bound to, and the form of recovery material. Nothing here holds or touches a private key.
 */
import { canonicalJson } from '../canonical-json.ts';
import type { Address } from '../sealed.ts';

export const backupKeyTypes = ['secp256k1', 'ed25519', 'rsa4096'] as const;
export type BackupKeyType = (typeof backupKeyTypes)[number];

/** HOT: usable by the enclave. COLD: sealed at birth to offline officers. Never changes. */
export const backupKeyEnvironments = ['HOT', 'COLD'] as const;
export type BackupKeyEnvironment = (typeof backupKeyEnvironments)[number];

/** What a caller may have signed beside the public key, which is always there and may not be named. */
export const signableFields = [
  'external_customer_id',
  'external_package_id',
  'pulled_by_id',
  'pulled_by_type',
  'user_id',
  'key_id',
  'key_fingerprint',
] as const;
export type SignableField = (typeof signableFields)[number];

/** How a check ended. `did_not_finish` is our fault and says nothing about the key or backup. */
export const checkOutcomes = ['passed', 'attention', 'did_not_finish', 'not_checked', 'held_offline'] as const;
export type CheckOutcome = (typeof checkOutcomes)[number];

/** What the enclave attests of every new key, in the spelling of RFC 8785. Nothing in it is optional but the nonce. */
export interface KeyAttestation {
  readonly project: string;
  /** As the integrator names them: the `user_identifier`. */
  readonly user: string;
  readonly key_id: string;
  readonly key_type: BackupKeyType;
  readonly key_environment: BackupKeyEnvironment;
  /** Hex: compressed SEC1 (33 bytes), Ed25519 (32 bytes), or SubjectPublicKeyInfo in DER. */
  readonly public_key: string;
  /** RFC 3339: the birth of the key. */
  readonly created_at: string;
  /** Base64url of what the client chose; null when it chose none. */
  readonly client_nonce: string | null;
}

/** The exact text under the vendor-shaped signature: the public key's hex, or with fields the canonical JSON of both. */
export function signedPayload(publicKeyHex: string, fields: { readonly [F in SignableField]?: string } | null): string {
  return fields === null ? publicKeyHex : canonicalJson({ ...fields, public_key: publicKeyHex });
}

/** `encryption-key`: the enclave's own, which no caller can name as a backup key. */
export type SealedKeyKind = 'backup-key' | 'encryption-key';

export const sealedKeyAddress = (kind: SealedKeyKind, project: string, user: string, key: string): Address => [
  `kedge/${kind}/payload/v1`,
  project,
  user,
  key,
];

/** The outer wrap names the row by its lookup id alone: a rotation rewraps rows whose owner it can't know. */
export const sealedKeyWrapAddress = (lookupHex: string, version: number): Address => [
  'kedge/backup-key/server-wrap/v1',
  lookupHex,
  String(version),
];

/**
 * What a rehearsal proved, signed by the enclave as kind `drill-certificate`: the votes came together, the throw-away key
 * signed what was planned, and the real key and its backup were looked at in the same act.
 */
export interface DrillCertificate {
  readonly project: string;
  readonly recovery: string;
  readonly user: string;
  readonly key_id: string;
  readonly key_type: BackupKeyType;
  readonly key_environment: BackupKeyEnvironment;
  /** Hex, of the real key. */
  readonly public_key: string;
  /** Whether the real key opened and is a pair; `held_offline` for a cold one. */
  readonly key_outcome: Extract<CheckOutcome, 'passed' | 'attention' | 'held_offline'>;
  /** Whether the stored backup gave a chain code for the real key; `not_checked` where none was named. */
  readonly backup_outcome: Extract<CheckOutcome, 'passed' | 'attention' | 'not_checked'>;
  readonly approver_list: string;
  readonly approvals: readonly string[];
  readonly rejections: readonly string[];
  readonly needed: number;
  /** Hex: of the key that played the backup key. */
  readonly throw_away_public_key: string;
  readonly network: string;
  /** As `ChainCodec.planId` names them. */
  readonly transactions: readonly string[];
  readonly signatures: number;
  /** RFC 3339. */
  readonly issued_at: string;
}
