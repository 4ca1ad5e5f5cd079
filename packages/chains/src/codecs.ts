/**
 * Which chain a CAIP-2 name means, for bytes that are only read: gateway, enclave, SDK and CLI decode, name and sign
 * transactions of a recovery without a node. A codec is made once and kept, as Bitcoin's remembers the addresses it derived.
 */
import { bitcoinCodec } from './bitcoin/codec.ts';
import { bitcoinNetworks } from './bitcoin/networks.ts';
import type { ChainCodec } from './chain.ts';
import { evmCodec } from './evm/codec.ts';
import { solanaCodec } from './solana/codec.ts';

/** Names come from outside, and there are as many EVM chains as numbers. */
const CODECS_MAX = 64;
const codecs = new Map<string, ChainCodec>();

/** Null for a name of no chain that is known here, and for another spelling of one that is. */
export function findCodec(network: string): ChainCodec | null {
  const known = codecs.get(network);
  if (known !== undefined) return known;
  const made = makeCodec(network);
  if (made === null) return null;
  const [oldest] = codecs.keys();
  if (codecs.size >= CODECS_MAX && oldest !== undefined) codecs.delete(oldest);
  codecs.set(network, made);
  return made;
}

function makeCodec(network: string): ChainCodec | null {
  const [, chainId] = /^eip155:([1-9][0-9]{0,15})$/.exec(network) ?? [];
  if (chainId !== undefined) return Number.isSafeInteger(Number(chainId)) ? evmCodec(Number(chainId)) : null;
  if (/^solana:[1-9A-HJ-NP-Za-km-z]{32}$/.test(network)) return solanaCodec(network);
  const params = Object.values(bitcoinNetworks).find(({ caip2 }) => caip2 === network);
  return params === undefined ? null : bitcoinCodec(params);
}
