/** Real local engines for demos and tests. Imports nothing of ours, so that any part may be tried against it. */
export { type BitcoinDevnet, startBitcoin } from './bitcoin.ts';
export { type EvmDevnet, startEvm } from './evm.ts';
export { type SolanaDevnet, startSolana } from './solana.ts';
