export { type EnvelopeCrypto, type IdentityKey, webCrypto, webIdentity } from './envelope-crypto.ts';
export { type FailureClass, MpcError, type MpcErrorCode } from './errors.ts';
export { ed25519Group, type Group, secp256k1Group } from './group.ts';
export {
  type CounterVerdict,
  type CounterWindow,
  judgeCounter,
  RESTORE_STEP,
  type SeenHello,
} from './hello-counter.ts';
export type { SessionJournal } from './journal.ts';
export {
  decodeDescriptor,
  deviceFingerprint,
  encodeDescriptor,
  type GroupDescriptor,
  type Member,
  type Participant,
} from './participant.ts';
export type { Protocol, SharingRef } from './protocol.ts';
export { createEntropy, type Entropy } from './random.ts';
export { type Handled, type Out, type Outcome, Session, type SessionOptions } from './session.ts';
