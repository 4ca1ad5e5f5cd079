/**
 * The chain that an EVM transaction names, for whoever gets bytes and doesn't know whose they are: `kedge tx decode`.
 * It says nothing else about them; `evmCodec` of that chain id reads and checks the rest.
 */
import { Transaction } from 'micro-eth-signer';
import { ChainError } from '../chain.ts';
import { RAW_BYTES_MAX } from './codec.ts';

/** EIP-155. Throws `transaction_invalid` for bytes that are no transaction, or that name no chain. */
export function evmChainIdOf(raw: Uint8Array): number {
  try {
    const chainId = raw.length > RAW_BYTES_MAX ? undefined : Transaction.fromBytes(raw).raw.chainId;
    if (chainId !== undefined && chainId > 0n && chainId <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(chainId);
  } catch {}
  throw new ChainError('transaction_invalid', 'This is no EVM transaction that names its chain. Check the bytes.');
}
