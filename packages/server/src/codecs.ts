/**
 * Which chain a CAIP-2 name means, for bytes that the gateway only reads: transactions of a recovery are decoded, named
 * and given their signatures without a node. Routes, pages and letters ask here. A codec is made once and kept; one that
 * is not known is the caller's mistake, and said so.
 */
import { bitcoinCodec, bitcoinNetworks, type ChainCodec, evmCodec, solanaCodec } from '@kedge/chains';
import { RequestInvalid } from './problems.ts';

/** Chain ids are the caller's to choose: no more than this many codecs are kept. */
const CODECS_MAX = 64;
const codecs = new Map<string, ChainCodec>();

/** Throws `RequestInvalid` at `body.network`. */
export function codecOf(network: string): ChainCodec {
  const known = codecs.get(network);
  if (known !== undefined) return known;
  const made = makeCodec(network);
  if (made === null)
    throw new RequestInvalid([{ path: 'body.network', message: 'no network that is known here, in CAIP-2' }]);
  const [oldest] = codecs.keys();
  if (codecs.size >= CODECS_MAX && oldest !== undefined) codecs.delete(oldest);
  codecs.set(network, made);
  return made;
}

function makeCodec(network: string): ChainCodec | null {
  const [, chainId] = /^eip155:([1-9][0-9]{0,15})$/.exec(network) ?? [];
  if (chainId !== undefined && Number.isSafeInteger(Number(chainId))) return evmCodec(Number(chainId));
  if (/^solana:[1-9A-HJ-NP-Za-km-z]{32}$/.test(network)) return solanaCodec(network);
  const params = Object.values(bitcoinNetworks).find(({ caip2 }) => caip2 === network);
  return params === undefined ? null : bitcoinCodec(params);
}
