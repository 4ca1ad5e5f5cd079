/**
 * Threshold signing for Node and browsers. Whole keys are in `@kedge/mpc/export`, a quicker secp256k1 for servers in
 * `@kedge/mpc/fast`; neither is reachable from here.
 */

export { type BackupContext, type BackupSubject, backupContext, type JointKey } from './backup/context.ts';
export { DRIVE_FILE_BYTES, type DriveFile, openDriveFile, readDriveFile, sealDriveFile } from './backup/drive-file.ts';
export { type JointKeyOptions, type MadeJointKey, makeJointKey } from './backup/joint-key.ts';
export {
  backupStatement,
  type DeviceOpening,
  openBackupOnDevice,
  openBackupOnServer,
  type RestoredShare,
  ROWS_ASKED,
  type ServerOpening,
} from './backup/open.ts';
export { BLOB_BYTES, encryptShare, verifyBlob } from './backup/verifiable-encryption.ts';
export { type Derived, derive } from './derive.ts';
export { type EcdsaSignature, type EcdsaSignOptions, recoverPublicKey, signEcdsa } from './ecdsa/sign.ts';
export { convicts } from './envelope.ts';
export { type EnvelopeCrypto, type IdentityKey, webCrypto, webIdentity } from './envelope-crypto.ts';
export { type FailureClass, MpcError, type MpcErrorCode } from './errors.ts';
export { type FrostSignOptions, type SchnorrSignature, signFrost } from './frost/sign.ts';
export { type TaprootOutput, taprootOutput } from './frost/taproot.ts';
export { ed25519Group, type Group, secp256k1Group } from './group.ts';
export {
  type CounterVerdict,
  type CounterWindow,
  judgeCounter,
  RESTORE_STEP,
  type SeenHello,
} from './hello-counter.ts';
export type { SessionJournal } from './journal.ts';
export {
  decodeKeyShare,
  decodeOtSetup,
  encodeKeyShare,
  encodeOtSetup,
  type KeyShare,
  type OtSetup,
  type PublicShare,
  wipeKeyShare,
  wipeOtSetup,
} from './key-share.ts';
export { type KeygenOptions, keygen } from './keygen.ts';
export { decodeNotice, encodeNotice, type Notice, type NoticeKind, signNotice, verifyNotice } from './notice.ts';
export { type RenewOptions, renewSetup } from './ot/renew.ts';
export { afterCrash, newSetup, type PairState, type SetupRecord } from './pair-state.ts';
export {
  decodeDescriptor,
  deviceFingerprint,
  encodeDescriptor,
  type GroupDescriptor,
  type Member,
  type Participant,
} from './participant.ts';
export type { Protocol, SharingRef } from './protocol.ts';
export { createEntropy, type Entropy } from './random.ts';
export {
  chainCodeDigest,
  type PinnedKey,
  type ReshareOptions,
  type RosterEntry,
  reshare,
  rosterOf,
  type SourceSharing,
} from './reshare.ts';
export { mayRetry } from './retry-limits.ts';
export { isProven, type SelfTest, type SelfTestSignature, selfTests } from './self-test.ts';
export { type Handled, type Out, type Outcome, Session, type SessionOptions } from './session.ts';
export type { NewShares, Receiver, SharingRecord, SharingResult, SharingStore } from './sharing.ts';
export * from './sharing-status.ts';
export type { Signer } from './signers.ts';
export { type Arithmetic, nobleArithmetic, type SuiteName, suiteNames } from './suite.ts';
