/** Starting the service as processes, for the journeys and tools that play an operator. */
export { type Home, openHome } from '../settings.ts';
export { type Child, startChild } from './children.ts';
export { type RunningService, shippedEntries, startService } from './service.ts';
