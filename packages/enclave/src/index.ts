/** The enclave as its entries and tests compose it. The gateway imports `@kedge/enclave/client` and nothing else. */
export { backupFolder } from './backup.ts';
export { type EnclaveConfig, parseEnclaveConfig } from './config.ts';
export * from './enclave.ts';
export { acquireLease, type Lease } from './lease.ts';
export { listen } from './listener.ts';
export { type Mirror, type MirrorRecord, openFileMirror } from './mirror.ts';
export { openPkcs11 } from './pkcs11.ts';
export * from './root-keys.ts';
export { type EnclaveParts, serveEnclave } from './run.ts';
export { createEnclave, type EnclaveDeps, type RunningEnclave } from './service.ts';
export { openSoftware, SoftwareRootKeys } from './software.ts';
