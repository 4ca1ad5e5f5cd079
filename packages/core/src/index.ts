/** The domain of Kedge, pure: no clock, no network, no disk and no randomness of its own. */
export * from './api.ts';
export * from './bytes.ts';
export * from './cbor.ts';
export * from './clock.ts';
export * from './errors.ts';
export * from './hkdf.ts';
export * from './hpke.ts';
export * from './ids.ts';
export * from './ledger.ts';
export * from './proof.ts';
export * from './schemes/dual-secret.ts';
export * from './schemes/scheme.ts';
export * from './sealed.ts';
export * from './vault.ts';
