/**
 * What the doctor can find, in one table: a stable code, what it means, and the next thing to type. The table in
 * docs/operations.md is made from it. The two processes report codes of this table; everything else is found here.
 */
import type { Home } from '../settings.ts';

export interface Finding {
  /** Names the check when it is fine, and what was found when it isn't. */
  readonly code: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly next_step: string | null;
}

type NextStep = (home: Home, detail: string) => string;

const table = {
  node_too_old: [
    'Node is older than 20.19.',
    () => 'Install Node 20.19 or newer (https://nodejs.org), then npm start.',
  ],
  state_folder_unwritable: [
    'The state folder cannot be written.',
    ({ path }) => `chown -R "$USER" ${path}   (or set KEDGE_HOME to a folder of yours)`,
  ],
  state_folder_open: ['Other users may enter the state folder.', ({ path }) => `chmod 700 ${path}`],
  disk_full: [
    'Less than 1 GB is free where the state folder lies.',
    ({ path }) => `df -h ${path}   (then free space, or move the folder and set KEDGE_HOME)`,
  ],
  port_taken: [
    'Another process listens on the port that is configured.',
    (_, detail) =>
      pidIn(detail)
        ? `kill ${pidIn(detail)}   (or set gateway.port in kedge.toml)`
        : 'Set gateway.port in kedge.toml to a free one.',
  ],
  operators_few: [
    'There are fewer than two operator credentials; destroying a server key and accepting a restore take two.',
    () => 'kedge operator create NAME',
  ],
  database_public: [
    'A database is reached at a public address.',
    () =>
      'Give it a private address, let it listen on no other, and set database.primary or database.vault in kedge.toml.',
  ],
  database_locked: [
    'Another process has the embedded database open.',
    (_, detail) =>
      pidIn(detail)
        ? `kill ${pidIn(detail)}   (if that is no Kedge that should run)`
        : 'Stop the process that has it open.',
  ],
  database_unavailable: [
    'A database does not answer.',
    () => 'Look at its log, and at database.primary and database.vault in kedge.toml.',
  ],
  migration_pending: ['A database has an older schema than this version.', () => 'kedge migrate'],
  schema_too_new: [
    'A database was migrated by a newer version.',
    (_, detail) =>
      `Install ${/version \S+ or later/.exec(detail)?.[0] ?? 'the version that is named'}; an older one must not write to it.`,
  ],
  clock_jumped: [
    'The clock of this machine, of a database, and of the last sign of life do not agree.',
    () => 'timedatectl status   (then correct the clock before starting)',
  ],
  enclave_sealed: [
    'The enclave is sealed and opens nothing.',
    () => 'Find out why; then two operators: kedge enclave accept-restore',
  ],
  enclave_unavailable: [
    'The enclave does not answer the gateway.',
    () => 'Read its log; with kedge serve: stop it and start it again.',
  ],
  enclave_standby: [
    'The enclave that answers is a standby.',
    () => 'kedge doctor   (on the machine of the other enclave, or in ten seconds)',
  ],
  mirrors_disagree: [
    'The vault database and what is remembered of it outside do not agree.',
    () => 'Look for a restored or copied database; then two operators: kedge enclave accept-restore',
  ],
  hsm_absent: [
    'The PKCS#11 module or its token is not there.',
    ({ settings }) => `ls -l ${settings['root.module']}   (then check root.module and root.token_label)`,
  ],
  hsm_pin_wrong: [
    'The token refuses the PIN.',
    ({ settings }) =>
      `Correct the PIN in ${settings['root.pin_file']} before the token locks; it is tried once a start.`,
  ],
  hsm_operation_missing: [
    'The token lacks an operation that Kedge needs.',
    ({ settings }) =>
      `pkcs11-tool --module ${settings['root.module']} --list-mechanisms   (then allow it, or take another token)`,
  ],
  root_missing: [
    'The root keys that sealed the vault database are not here.',
    () => 'Restore them: kedge backup restore FOLDER --home NEW_FOLDER, or the backup of the token.',
  ],
  root_unusable: [
    'The root keys do not open, or not what is sealed under them.',
    () => 'Read the detail; if the file or token is damaged: kedge backup restore FOLDER --home NEW_FOLDER',
  ],
  backup_missing: ['There is no backup.', () => 'kedge backup create'],
  backup_old: ['The newest backup is older than seven days.', () => 'kedge backup create'],
  ledger_behind: [
    'Events wait to be chained, or heads are not being signed.',
    () => 'Read the log of the gateway; if the enclave is sealed, that comes first.',
  ],
  service_silent: [
    'The process that last ran the service is there, but does not answer.',
    ({ path }, detail) => `ps ${pidIn(detail)}   (kill it if it is Kedge; if not: rm ${path}/run/service.json)`,
  ],
  check_failed: [
    'A part could not be looked at.',
    () => 'Correct what the detail names in kedge.toml, then kedge doctor.',
  ],
} as const satisfies Record<string, readonly [meaning: string, next: NextStep]>;

export type FindingCode = keyof typeof table;

/** For the docs. */
export const findingMeanings: readonly (readonly [FindingCode, string])[] = Object.entries(table).map(
  ([code, [meaning]]) => [code as FindingCode, meaning],
);

export function good(code: string, detail: string): Finding {
  return { code, ok: true, detail, next_step: null };
}

export function bad(home: Home, code: FindingCode, detail: string): Finding {
  return { code, ok: false, detail, next_step: table[code][1](home, detail) };
}

/** What a process reported, with the next step from the table. */
export function reported(home: Home, { code, ok, detail }: { code: string; ok: boolean; detail: string }): Finding {
  if (ok) return good(code, detail);
  return bad(home, Object.hasOwn(table, code) ? (code as FindingCode) : 'check_failed', detail);
}

function pidIn(detail: string): string | undefined {
  return /process (\d+)/.exec(detail)?.[1];
}
