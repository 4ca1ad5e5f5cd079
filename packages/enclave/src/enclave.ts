/**
 * What the gateway may ask of the enclave: this page and `enclave-recovery.ts` are all of it. A hostile gateway that holds the socket and both
 * databases can call everything here in any order; it can delay, and nothing else, because every act on a user's
 * behalf carries that user's proof, and the enclave decides on its own sealed state. All secrets that pass are sealed:
 * to the enclave (HPKE), to the caller's one-time key (HPKE), or under the server key. `service.ts` implements it,
 * `client.ts` reaches it over the socket, `wire.ts` says how.
 *
 * Every method throws `KedgeError`; with `enclave_sealed` while the enclave is sealed, save where it says otherwise.
 * A `proof` is the text of the header `Kedge-Proof` (core/proof.ts).
 */

import type { BackupKeyEnvironment, BackupKeyType, SignableField } from '@kedge/core';
import type { EnclaveRecoveries } from './enclave-recovery.ts';

export type * from './enclave-recovery.ts';

/** A document of the enclave and its P-256 signature (`r ‖ s`) over `"kedge/<kind>/v1\0" ‖ document`. */
export interface Signed {
  /** JSON in the spelling of RFC 8785, UTF-8. The bytes are what is signed. */
  readonly document: Uint8Array;
  readonly signature: Uint8Array;
}

/** What a check of recovery material found; all but `good` say why it would not help in a recovery. */
export type BackupFinding =
  | 'good'
  | 'not_for_this_enclave'
  | 'checksum_differs'
  | 'chain_code_invalid'
  | 'key_differs'
  | 'xpub_differs';

/** A signature in the form of the vendor that people come from, and the text that it covers. */
export interface VendorSignature {
  /** ECDSA P-256 with SHA-256 by the same identity, DER, over the text in UTF-8. The text starts with `{` or a hex digit. */
  readonly signature: Uint8Array;
  readonly payload: string;
}

/** One version of the server key: made, in use, only opening, opening nothing, gone. */
export type ServerKeyState = 'active' | 'decrypt_only' | 'retired' | 'destroyed';

export interface ServerKeyVersion {
  readonly version: number;
  readonly state: ServerKeyState;
  /** Wallets and backup keys still wrapped under it. */
  readonly wallets: number;
  /** Service time in ms until it may be destroyed; null unless `retired`. */
  readonly destroyableInMs: number | null;
}

export interface RotationStatus {
  readonly running: boolean;
  /** Service time in ms until the old version may be retired; null when no rotation runs. */
  readonly retirableInMs: number | null;
  readonly versions: readonly ServerKeyVersion[];
  /** Of the last `startRotation`, `finishRotation` and `destroyServerKey`: for a gateway that never heard the answer. */
  readonly receipts: readonly Signed[];
}

export interface EnclaveStatus {
  /** Why the enclave is sealed, null when it works. */
  readonly sealed: string | null;
  readonly rootKeys: 'software' | 'pkcs11';
  /** Whether this enclave holds the writer lease; a standby answers nothing but this. */
  readonly writer: boolean;
  /** 16 bytes, new at each start. */
  readonly boot: Uint8Array;
  readonly sequence: number;
  /** The last ledger head that the enclave signed. */
  readonly ledger: { readonly seq: number; readonly hash: Uint8Array } | null;
  /** Wallet openings in the last minute and the number at which the breaker trips. */
  readonly opens: { readonly lastMinute: number; readonly limit: number };
  readonly capabilities: readonly { readonly operation: string; readonly where: string }[];
}

interface UserCall {
  readonly project: string;
  readonly user: string;
  readonly proof: string;
}

export interface Enclave extends EnclaveRecoveries {
  /** Answers while sealed. */
  status(): Promise<EnclaveStatus>;
  /** Answers while sealed. JSON: `{identity, sealing_key, boot, at, root_keys}`, kind `attestation`. */
  attestation(): Promise<Signed>;

  /**
   * Enrols the first client key of a new account. `sealedRecovery`: HPKE to the sealing key, see sdk/account.ts.
   * Idempotent for the same user, key and words. Gives the sealed client secret, to be kept in the primary database.
   */
  signUp(
    call: UserCall & { readonly sealedRecovery: Uint8Array },
  ): Promise<{ clientSecret: Uint8Array; serverKey: number; receipt: Signed }>;
  /**
   * Ends all enrolled keys of the account and enrols the one that signed the proof, if the words are right; gives the
   * wrap secret as the client sealed it under those words.
   * For an account that doesn't exist the gateway passes the text that the caller typed as `user`: same time, same errors.
   * Throws `recovery_refused`, `recovery_limited`.
   */
  recover(
    call: UserCall & { readonly sealedRecovery: Uint8Array },
  ): Promise<{ secondWrap: Uint8Array; receipt: Signed }>;
  /** New words instead of the old ones, which stop at once. */
  replaceWords(call: UserCall & { readonly sealedRecovery: Uint8Array }): Promise<{ receipt: Signed }>;
  /** Says whether an enrolled key signed a fresh `sign_in`; changes nothing. */
  signIn(call: UserCall): Promise<{ receipt: Signed }>;
  /** Enrols the key in `parameters.public_key` / `parameters.algorithm`. */
  enrollClientKey(call: UserCall): Promise<{ receipt: Signed }>;
  /** Ends the key in `parameters.public_key`; its proofs stop at once. */
  revokeClientKey(call: UserCall): Promise<{ receipt: Signed }>;

  /**
   * Makes the key of a wallet and seals it under server key and client secret. With the second wrap the client made
   * the key: `sealedKey` is then opaque to us and `publicKey` is the client's word. Idempotent for the same wallet id.
   * Gives the public key: compressed SEC1 for secp256k1, 32 bytes for ed25519.
   */
  createWallet(
    call: UserCall & {
      readonly vault: string;
      readonly wallet: string;
      readonly curve: 'secp256k1' | 'ed25519';
      readonly clientSecret: Uint8Array;
      readonly sealedKey: Uint8Array | null;
      readonly publicKey: Uint8Array | null;
    },
  ): Promise<{ publicKey: Uint8Array; serverKey: number; receipt: Signed }>;
  /**
   * Opens a wallet for the holder of the proof (`open_wallet` or `export_wallet`). `answer`: HPKE `enc (32) ‖ ct` to
   * the proof's answer key over CBOR `{key}`. Throws `open_limited`, `open_breaker`, `sealed_data_invalid`,
   * and `client_secret_superseded` before the proof is used: read the client secret again and repeat the call.
   */
  openWallet(
    call: UserCall & { readonly wallet: string; readonly clientSecret: Uint8Array },
  ): Promise<{ answer: Uint8Array; receipt: Signed }>;

  /**
   * Makes a backup key. Idempotent for the same project, user and key. `attestation`: kind `key-attestation`, core's
   * `KeyAttestation`. Fields of `signWith` that are not about the key itself are what the gateway says they are.
   * Throws `cold_keys_unavailable`, `conflict` (the key exists as another), `overloaded`.
   */
  createBackupKey(call: {
    readonly project: string;
    readonly user: string;
    readonly key: string;
    readonly type: BackupKeyType;
    readonly environment: BackupKeyEnvironment;
    /** The client's, 16 to 64 bytes. */
    readonly nonce: Uint8Array | null;
    /** Null: the signature covers the hex of the public key. Else these, where they have a value, and the public key. */
    readonly signWith: { readonly [F in SignableField]: string | null } | null;
  }): Promise<{ publicKey: Uint8Array; vendor: VendorSignature; attestation: Signed; receipt: Signed }>;
  /** Whether the sealed key opens and is the private half of `publicKey`. */
  verifyBackupKey(call: {
    readonly project: string;
    readonly user: string;
    readonly key: string;
    readonly publicKey: Uint8Array;
  }): Promise<{ outcome: 'passed' | 'attention' | 'held_offline'; receipt: Signed }>;
  /** RSA-4096 for OAEP with SHA-256: SubjectPublicKeyInfo in DER. `signed`: kind `encryption-key`. */
  encryptionKey(): Promise<{ version: number; publicKey: Uint8Array; signed: Signed }>;
  /** Decrypts recovery material, compares, and says no more than what it found. */
  verifyBackup(call: {
    readonly project: string;
    readonly backup: string;
    readonly version: number;
    readonly data: Uint8Array;
    readonly checksum: Uint8Array | null;
    readonly publicKey: Uint8Array | null;
    readonly chainCode: Uint8Array | null;
  }): Promise<{ finding: BackupFinding; receipt: Signed }>;

  /** Checks an operator's `operator_sign_in`. Answers while sealed. */
  operatorSignIn(call: { readonly proof: string }): Promise<{ operator: string }>;
  /** Makes the next server key and starts to rewrap. Throws `rotation_running`. */
  startRotation(call: { readonly proof: string }): Promise<{ receipt: Signed }>;
  /** The same start, by the schedule: only if the active server key has served 90 days. Gives null otherwise. */
  startRotationWhenDue(): Promise<{ receipt: Signed } | null>;
  rotation(): Promise<RotationStatus>;
  /** Same secrets under the active server key. At most 1,000 a call; one that doesn't open comes back null. */
  rewrapClientSecrets(call: {
    readonly secrets: readonly { readonly project: string; readonly user: string; readonly clientSecret: Uint8Array }[];
  }): Promise<{ serverKey: number; secrets: readonly (Uint8Array | null)[] }>;
  /** Rewraps up to `limit` wallets, then backup keys, under the active server key. */
  rewrapWallets(call: { readonly limit: number }): Promise<{ rewrapped: number; left: number }>;
  /** Retires the old version once nothing is wrapped under it and a minute has passed. Throws `rotation_not_running`,
   * `rotation_running`. */
  finishRotation(): Promise<{ receipt: Signed }>;
  /** Destroys a version that has been retired for seven days of service time; two operators. */
  destroyServerKey(call: {
    readonly version: number;
    readonly proofs: readonly string[];
  }): Promise<{ receipt: Signed }>;
  /** Rewrites the vault database in an order that says nothing, without superseded ciphertexts. */
  compact(): Promise<void>;

  /** Whether the primary database still holds the last head that was signed; seals the enclave if not. */
  checkLedger(call: { readonly seq: number; readonly hash: Uint8Array } | null): Promise<void>;
  /**
   * Signs a head that extends the last signed one. `bodyHashes`: SHA-256 of each event body since then, at most 1,000.
   * Kind `ledger-head`; the document is core's `headMessage` without its domain.
   */
  signHead(call: {
    readonly seq: number;
    readonly hash: Uint8Array;
    readonly bodyHashes: readonly Uint8Array[];
  }): Promise<{ signature: Uint8Array }>;
  /** What the primary database keeps as the second mirror of the enclave's state. */
  mirror(): Promise<Signed>;
  /** Tells the enclave which mirror the primary database holds; seals it if that one is ahead of its own state. */
  checkMirror(call: { readonly mirror: Signed }): Promise<void>;

  /**
   * Writes vault dump, sealed root and signed manifest into the backup folder `name`. `primary` is what the gateway
   * wrote there before. `sealedPassphrase`: HPKE to the sealing key; null with a hardware root, which has its own backup.
   */
  backUp(call: {
    readonly proof: string;
    readonly name: string;
    /** Throws `backup_blocked` when one of its versions of the server key opens nothing any more. */
    readonly primary: { readonly sha256: Uint8Array; readonly users: number; readonly serverKeys: readonly number[] };
    readonly sealedPassphrase: Uint8Array | null;
  }): Promise<{ manifest: Signed; receipt: Signed }>;
  /** Two operators take the data as it is: limits halved, event written. Answers while sealed. */
  acceptRestore(call: { readonly proofs: readonly string[] }): Promise<{ receipt: Signed }>;
}
