/** The public names of the package: engines, migrations, the one write path, the ledger's sequencer, dumps. */
export { type Check, type CheckedDatabase, checkDatabase } from './check.ts';
export { type Commit, commit, createEventWriter, eventsSql, type NewEvent } from './commit.ts';
export { type Database, type Queryable, type SqlValue, StoreError, type StoreErrorCode } from './database.ts';
export { dumpTables, loadTables } from './dump.ts';
export {
  assertMigrated,
  type Migration,
  type MigrationPlan,
  migrate,
  pendingMigrations,
  readMigrations,
} from './migrate.ts';
export { type DatabaseLimits, databaseLimits, openDatabase } from './open.ts';
export { openPglite, type PgliteOptions } from './pglite.ts';
export { openPostgres, type PostgresOptions } from './postgres.ts';
export {
  type ChainedEvent,
  type ChainHead,
  createSequencer,
  type Sequencer,
  type SequencerOptions,
} from './sequencer.ts';
