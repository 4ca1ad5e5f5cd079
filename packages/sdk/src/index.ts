/** The holder's side: accounts, proofs, trust in the enclave, and the typed client. */
export {
  type Account,
  type DeviceState,
  recover,
  resume,
  signUp,
  type Transaction,
  type TransferRequest,
  type Wallet,
} from './account.ts';
export {
  type BackupKeyOptions,
  type BackupKeyService,
  backupKeys,
  type RecoveryMaterial,
  type RootXpub,
} from './backup-key.ts';
export { type CallOptions, type Client, type ClientOptions, createClient, randomBytes } from './client.ts';
export { type ClientKey, createClientKey, importClientKey } from './client-key.ts';
export { type Connection, connect, connectTo, type ServiceOptions } from './connection.ts';
export { sealThaw } from './officer.ts';
export { type ReadRecovery, type RecoveryOptions, type RecoveryService, readRecovery, recoveries } from './recovery.ts';
export { type Attestation, checkAttestation, thumbprintOf, verifyP256, verifySigned } from './trust.ts';
export { createWords, nobleAead } from './words.ts';
