/** The enclave as shipped, on a clock and with crash points that the journey drives. In no published package. */
import { readFileSync } from 'node:fs';
import { parseEnclaveConfig, serveEnclave } from '@kedge/enclave';
import { listenToJourney, say } from './driven.ts';

const { clock, database, mirror } = listenToJourney();
const config = parseEnclaveConfig(JSON.parse(readFileSync(process.env.KEDGE_ENCLAVE_CONFIG!, 'utf8')));
serveEnclave(config, { clock, database: database('vault'), mirror }, say).then(
  () => process.exit(0),
  (error: Error) => {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  },
);
