/**
 * Every hash domain of the package, in one place: a tag that is used twice, or is another tag's beginning, is the kind
 * of mistake that forges proofs. `hash.test.ts` holds the list to that.
 */
export const tags = {
  backupChallenge: 'bkp/chal',
  backupContext: 'bkp/ctx',
  backupDleq: 'bkp/dleq',
  backupDleqWeight: 'bkp/dleq-w',
  backupEphemeral: 'bkp/eph',
  backupId: 'bkp/id',
  backupOk: 'bkp/ok',
  backupPad: 'bkp/pad',
  backupReceipt: 'bkp/receipt',
  baseOtKey: 'bot/key',
  /** The domain separation tag of RFC 9380, not one of `taggedHash`. */
  baseOtPoint: 'baseot-h2c',
  broadcast: 'bcast',
  chainCode: 'cc',
  counterEvidence: 'counter/evidence',
  descriptor: 'group/descriptor',
  deviceFingerprint: 'device/fingerprint',
  envelope: 'env',
  gadget: 'rvole/gadget',
  groupId: 'group/id',
  hello: 'hello',
  helloSignature: 'signed/hello',
  keyId: 'key/id',
  keygenChainCode: 'dkg/chaincode',
  keygenCommitment: 'dkg/com',
  keygenConfirm: 'dkg/confirm',
  multiplySession: 'mul/session',
  notice: 'notice',
  /** The first half of the prefix of the oracles in `ot/extension.ts`, not a tag of `taggedHash`. */
  otOracles: 'ote',
  otSelfTest: 'ot/selftest',
  otRenewConfirm: 'ot/renew',
  otSetup: 'ot/setup',
  proofOfKnowledge: 'pok',
  request: 'request',
  reshareCommitment: 'reshare/com',
  reshareConfirm: 'reshare/confirm',
  selfTest: 'sharing/selftest',
  rootSession: 'root/sid',
  sessionId: 'sid',
  sharingId: 'sharing/id',
  signCommitment: 'sign/com',
  transcript: 'transcript',
  zeroSeed: 'zero/seed',
  zeroShare: 'zero/share',
} as const;

export type Tag = (typeof tags)[keyof typeof tags];
