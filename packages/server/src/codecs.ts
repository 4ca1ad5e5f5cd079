/**
 * Which chain a CAIP-2 name in a request means, for bytes that the gateway only reads: transactions of a recovery are
 * decoded, named and given their signatures without a node. Routes, pages and letters ask here.
 */
import { type ChainCodec, findCodec } from '@kedge/chains';
import { RequestInvalid } from './problems.ts';

/** Throws `RequestInvalid` at `body.network`. */
export function codecOf(network: string): ChainCodec {
  const codec = findCodec(network);
  if (codec !== null) return codec;
  throw new RequestInvalid([{ path: 'body.network', message: 'no network that is known here, in CAIP-2' }]);
}
