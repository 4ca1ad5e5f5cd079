export * from './bare-frost.ts';
export * from './dealer.ts';
export * from './devices.ts';
export * from './wallets.ts';
