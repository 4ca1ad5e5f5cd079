/**
 * The integrator's own database, as small as one can be: a JSON file that is replaced whole. For each customer it holds
 * two ids. There is no field for a public key, a chain code or anything else of the key that the integrator doesn't hold:
 * what isn't stored can't be stolen, and is asked for by id when it is needed.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

export interface BackupKeyReference {
  readonly keyId: string;
  readonly backupId: string;
}

export interface Customers {
  find(customer: string): BackupKeyReference | null;
  all(): readonly (readonly [customer: string, reference: BackupKeyReference])[];
  save(customer: string, reference: BackupKeyReference): void;
}

export function openCustomers(file: string): Customers {
  const rows = new Map<string, BackupKeyReference>(
    existsSync(file)
      ? Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, BackupKeyReference>)
      : [],
  );
  return {
    find: (customer) => rows.get(customer) ?? null,
    all: () => [...rows],
    save(customer, { keyId, backupId }) {
      rows.set(customer, { keyId, backupId });
      // A file that is half written would lose the others too.
      writeFileSync(`${file}.new`, `${JSON.stringify(Object.fromEntries(rows), null, 2)}\n`, { mode: 0o600 });
      renameSync(`${file}.new`, file);
    },
  };
}
