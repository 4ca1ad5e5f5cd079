/** Every command, in the order of the help and of docs/operations.md. */
import type { Command } from '../command.ts';
import { backupCommands } from './backup.ts';
import { backupKeyCommands } from './backup-keys.ts';
import { decodeCommands } from './decode.ts';
import { descriptorCommands } from './descriptors.ts';
import { devnetCommands } from './devnet.ts';
import { doctorCommands } from './doctor.ts';
import { drillCommands } from './drills.ts';
import { enclaveCommands } from './enclave.ts';
import { ledgerCommands } from './ledger.ts';
import { projectCommands } from './projects.ts';
import { rotateCommands } from './rotate.ts';
import { serviceCommands } from './service.ts';
import { transactionCommands } from './transactions.ts';
import { userCommands } from './users.ts';
import { vaultCommands } from './vaults.ts';

export const commands: readonly Command[] = [
  ...serviceCommands,
  ...devnetCommands,
  ...projectCommands,
  ...userCommands,
  ...vaultCommands,
  ...transactionCommands,
  ...backupKeyCommands,
  ...descriptorCommands,
  ...decodeCommands,
  ...rotateCommands,
  ...ledgerCommands,
  ...drillCommands,
  ...backupCommands,
  ...enclaveCommands,
  ...doctorCommands,
];
