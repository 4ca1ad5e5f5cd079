/** What tests of other packages may use: fast databases, a real PostgreSQL, the conformance suite. Never imported by shipped code. */
export { type DatabaseCase, databaseCases, databaseConformance } from '../conformance.ts';
export { smallDisk, temporaryRoot } from './files.ts';
export { emptyDataDir, memoryDatabase } from './memory.ts';
export { type PostgresServer, startPostgres } from './postgres.ts';
