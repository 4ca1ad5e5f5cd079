/** Chains: public data only. Secret keys stay with their holders; a node is optional for everything but reading and sending. */

export { type AssembledCoin, assemblePsbt, type Payment } from './bitcoin/assemble.ts';
export {
  type Bitcoin,
  type BitcoinNode,
  type BitcoinOptions,
  type BitcoinTransfer,
  createBitcoin,
} from './bitcoin/bitcoin.ts';
export { type BitcoinCodec, bitcoinCodec } from './bitcoin/codec.ts';
export {
  createDescriptor,
  type DerivedOutput,
  type Descriptor,
  type DescriptorKey,
  type DescriptorParts,
  descriptorChecksum,
  parseDescriptor,
} from './bitcoin/descriptor.ts';
export { createEsplora, type Esplora, type EsploraOptions } from './bitcoin/esplora.ts';
export { type BitcoinNetwork, type BitcoinNetworkName, bitcoinNetworks } from './bitcoin/networks.ts';
export { type Psbt, parsePsbt, psbtFromText, psbtToText } from './bitcoin/psbt.ts';
export { combinePsbts } from './bitcoin/psbt-combine.ts';
export { planSweep, previewSweep, type SweepPlan } from './bitcoin/sweep.ts';
export {
  type ExtendedPublicKey,
  formatExtendedKey,
  parseExtendedKey,
  rootExtendedKey,
} from './bitcoin/xpub.ts';
export {
  type AddressAt,
  type Balance,
  type Chain,
  type ChainCodec,
  ChainError,
  type ChainErrorCode,
  type ChainName,
  type Coin,
  type Curve,
  type FeeLevel,
  type Intent,
  type KeySignature,
  NATIVE_ASSET,
  type Replacement,
  type SigningDigest,
  type TransactionState,
  type Transfer,
  type Warning,
} from './chain.ts';
export { findCodec } from './codecs.ts';
export { evmChainIdOf } from './evm/chain-id.ts';
export { evmCodec, FEE_HIGH_WEI, NEW_CONTRACT } from './evm/codec.ts';
export { createEvm, type Evm, type EvmOptions } from './evm/evm.ts';
export {
  attachToMessage,
  isSignedBy,
  messageSigner,
  personalMessageDigest,
  readTypedMessage,
  type TypedMessage,
} from './evm/messages.ts';
export { readBounded } from './http.ts';
export { SOLANA_GENESIS, solanaCodec, solanaNetwork, withBlockhashOf } from './solana/codec.ts';
export { solanaMessage, verifySolanaMessage } from './solana/messages.ts';
export { createSolana, type SolanaOptions } from './solana/solana.ts';
export { createSpends, memoryReservations, type Reservation, type Reservations, type Spends } from './spends.ts';
export { warningMeanings } from './warnings.ts';
