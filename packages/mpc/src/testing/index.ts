/** Devices, wallets and networks in memory, for the tests of packages that use this one. */
export * from './bare-frost.ts';
export * from './dealer.ts';
export * from './devices.ts';
export * from './wallets.ts';
