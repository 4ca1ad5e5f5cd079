/** The gateway as shipped, on a clock and with crash points that the journey drives. In no published package. */
import { readConfig, serveGateway } from '@kedge/server';
import { listenToJourney, say } from './driven.ts';

const { clock, database } = listenToJourney();
serveGateway(readConfig(process.env.KEDGE_GATEWAY_CONFIG!), { clock, database: database('primary') }, say).then(
  () => process.exit(0),
  (error: Error) => {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  },
);
