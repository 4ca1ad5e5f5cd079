/** The domain of Kedge, pure: no clock, no network, no disk and no randomness of its own. */
export * from './api.ts';
export {
  BODY_BYTES_MAX,
  type Endpoint,
  FILE_BYTES_MAX,
  LARGE_BODY_BYTES_MAX,
  PAGE_SIZE_MAX,
  type PrincipalKind,
  principalKinds,
  type Scope,
  SLOW_REQUEST_MS_MAX,
  scopes,
  signedSchema,
} from './api-schema.ts';
export * from './approvers.ts';
export * from './bytes.ts';
export * from './canonical-json.ts';
export * from './cbor.ts';
export * from './clock.ts';
export * from './conflicts.ts';
export * from './errors.ts';
export * from './hkdf.ts';
export * from './hpke.ts';
export * from './ids.ts';
export * from './ledger.ts';
export * from './proof.ts';
export * from './recovery.ts';
export * from './recovery-plan.ts';
export * from './schemes/backup-key.ts';
export * from './schemes/dual-secret.ts';
export * from './schemes/scheme.ts';
export * from './sealed.ts';
export * from './vault.ts';
