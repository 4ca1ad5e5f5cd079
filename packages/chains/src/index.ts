/** Chains: public data only. Secret keys stay with their holders; a node is optional for everything but reading and sending. */
export {
  type Chain,
  ChainError,
  type ChainErrorCode,
  type ChainName,
  type Curve,
  type DigestSignature,
  type Intent,
  type SigningDigest,
  type TransactionState,
  type Transfer,
} from './chain.ts';
export { createEvm, type Evm, type EvmCodec, type EvmOptions, evmCodec, NATIVE_ASSET, NEW_CONTRACT } from './evm.ts';
