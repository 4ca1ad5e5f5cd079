/** Real local engines for demos and tests. Imports nothing of ours, so that any part may be tried against it. */
export { type EvmDevnet, startEvm } from './evm.ts';
