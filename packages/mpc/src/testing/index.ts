export * from './devices.ts';
export * from './wallets.ts';
