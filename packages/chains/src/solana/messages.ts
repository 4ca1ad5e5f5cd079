/**
 * Texts that a Solana wallet signs to show it holds its key: version 0 of the off-chain message format, which wallets
 * and the command line of Solana know. Its first byte, ff, begins no transaction, so that no signature over a text can
 * ever be one over funds. Pure: makes the bytes to sign and checks a signature over them.
 */
import { base58 } from '@scure/base';
import { ChainError } from '../chain.ts';
import { isSignedBy } from './wire.ts';

/** The header's fields up to the text: domain, version, application, format, signers, length. */
const DOMAIN = Uint8Array.of(0xff, ...new TextEncoder().encode('solana offchain'));
const VERSION = 0;
/** Half a surrogate pair doesn't survive the way to UTF-8 and back. */
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
/** A hardware wallet takes no more than a packet, 1,232 bytes, of which the header for one signer has 85. */
const SHORT_BYTES_MAX = 1_147;
/** The header's length field has 16 bits, and some wallets count a header in. */
const LONG_BYTES_MAX = 65_515;

/**
 * The bytes that Ed25519 signs for this text, for one signer: an account as `solanaCodec` gives it. `application`: 32
 * bytes that name who asks, zeros by default. Throws `transaction_invalid` for an empty or too long text.
 */
export function solanaMessage(text: string, account: string, application: Uint8Array = new Uint8Array(32)): Uint8Array {
  const body = new TextEncoder().encode(text);
  if (body.length === 0 || body.length > LONG_BYTES_MAX || decoder.decode(body) !== text)
    throw new ChainError(
      'transaction_invalid',
      `A text to sign has 1 to ${LONG_BYTES_MAX} bytes of UTF-8. Shorten it, or take out what is no character.`,
    );
  if (application.length !== 32) throw new RangeError('an application is named by 32 bytes');
  return Uint8Array.from([
    ...DOMAIN,
    VERSION,
    ...application,
    formatOf(body),
    1,
    ...base58.decode(account),
    body.length & 0xff,
    body.length >> 8,
    ...body,
  ]);
}

/** Whether the account's key signed this text. */
export function verifySolanaMessage(
  text: string,
  account: string,
  signature: Uint8Array,
  application?: Uint8Array,
): boolean {
  return isSignedBy(signature, solanaMessage(text, account, application), base58.decode(account));
}

/** 0: printable ASCII, short. 1: UTF-8, short. 2: UTF-8, long. */
function formatOf(body: Uint8Array): number {
  if (body.length > SHORT_BYTES_MAX) return 2;
  return body.every((byte) => byte >= 0x20 && byte <= 0x7e) ? 0 : 1;
}
