/** For tests and journeys; no shipped entry imports it. */
export { CrashPoints } from './crash-points.ts';
export { openTestEnclave, type TestEnclave, type TestEnclaveOptions } from './in-process.ts';
export { approver, nameOf, type OwnedKey, TestApprovals } from './recovery.ts';
export { createSoftHsmToken, type SoftHsmToken } from './softhsm.ts';
export { createTestKey, createTestUser, newTestUser, proveFor, type TestKey, type TestUser } from './user.ts';
export { createTestVault, type TestVault, type TestVaultCoin } from './vault.ts';
