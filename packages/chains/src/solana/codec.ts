/**
 * The half of Solana that needs no node: addresses, decoding, what to sign, signatures, ids. For the SDK, the offline
 * commands and the enclave's own decoding; `solana.ts` adds the node. Unsigned bytes are the message itself, which is
 * also what Ed25519 signs; final bytes are the transaction as it goes over the wire. No secret key ever enters.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { base58 } from '@scure/base';
import { type ChainCodec, ChainError, printable } from '../chain.ts';
import { intentOf } from './intent.ts';
import {
  encodeMessage,
  encodeTransaction,
  equal,
  isSignedBy,
  parseRaw,
  type RawTransaction,
  unreadable,
} from './wire.ts';

/** Genesis hashes of the public clusters, as their nodes give them. */
export const SOLANA_GENESIS = {
  mainnet: '5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d',
  devnet: 'EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG',
  testnet: '4uhcVJyU9pJkvQyS88uRDiswHXSCkY3zQawwpjk2NsNY',
} as const;

/** `solana:` and the first 32 characters of the genesis hash (CAIP-2). Throws `RangeError`. */
export function solanaNetwork(genesisHash: string): string {
  if (!/^[1-9A-HJ-NP-Za-km-z]{43,44}$/.test(genesisHash))
    throw new RangeError(`no genesis hash: ${printable(genesisHash)}`);
  return `solana:${genesisHash.slice(0, 32)}`;
}

/**
 * `network` as {@link solanaNetwork} spells it. Messages don't name their cluster, only one of its recent blockhashes, so
 * bytes of another cluster decode here too; no node of this one takes them. Throws `RangeError`.
 */
export function solanaCodec(network: string): ChainCodec {
  if (!/^solana:[1-9A-HJ-NP-Za-km-z]{32}$/.test(network))
    throw new RangeError(`no Solana network: ${printable(network)}`);
  return {
    name: 'solana',
    network,
    curve: 'ed25519',
    account: accountOf,
    address(account, at) {
      if (at !== undefined) throw new RangeError('a Solana account has one address');
      return parseAddress(account);
    },
    parseAddress,
    decode: (raw, account) =>
      intentOf(parseRaw(raw).message, network, account === undefined ? undefined : parseAddress(account)),
    // Nodes run a message once, whoever signs it how often: two spends must not be the same message.
    resources: (raw) => [`message:${base58.encode(sha256(parseRaw(raw).messageBytes))}`],
    planId: (unsigned) =>
      bytesToHex(sha256(encodeMessage({ ...parseUnsigned(unsigned).message, blockhash: new Uint8Array(32) }))),
    digests(unsigned) {
      const { message, messageBytes } = parseUnsigned(unsigned);
      return message.keys.slice(0, message.required).map((publicKey) => ({
        input: 0,
        algorithm: 'ed25519' as const,
        digest: messageBytes,
        publicKey,
        origin: null,
      }));
    },
    attach(unsigned, signatures) {
      const { message, messageBytes } = parseUnsigned(unsigned);
      const signers = message.keys.slice(0, message.required);
      const stranger = signatures.some(
        ({ input, publicKey }) => input !== 0 || !signers.some((signer) => equal(signer, publicKey)),
      );
      if (stranger || signatures.length > signers.length)
        throw badSignature('A signature is by a key that the transaction does not ask, or it is there twice');
      const ordered = signers.map((signer) => {
        const found = signatures.filter(({ publicKey }) => equal(signer, publicKey));
        if (found.length > 1) throw badSignature('A signature is there twice');
        if (found[0] === undefined)
          throw new ChainError(
            'signature_missing',
            `The signature of ${base58.encode(signer)} is missing. Let every signer sign the message.`,
          );
        if (!isSignedBy(found[0].signature, messageBytes, signer))
          throw badSignature(`The signature of ${base58.encode(signer)} is not over this transaction`);
        return found[0].signature;
      });
      return encodeTransaction(messageBytes, ordered);
    },
    final(attached) {
      if (parseRaw(attached).signatures === null)
        throw new ChainError('signature_missing', 'The transaction is not signed. Sign its message and attach that.');
      return attached;
    },
    transactionId: (final) => base58.encode(parseFinal(final).signatures[0]!),
  };
}

/**
 * The same message with the blockhash of one that was just built: for a transaction that people took longer to approve
 * than its blockhash lasts. Its `planId` stays. Throws `transaction_invalid`.
 */
export function withBlockhashOf(unsigned: Uint8Array, fresh: Uint8Array): Uint8Array {
  return encodeMessage({ ...parseUnsigned(unsigned).message, blockhash: parseUnsigned(fresh).message.blockhash });
}

/** Signed bytes. Throws `transaction_invalid` for others. */
export function parseFinal(final: Uint8Array): RawTransaction & { readonly signatures: readonly Uint8Array[] } {
  const parsed = parseRaw(final);
  if (parsed.signatures === null) throw unreadable('it is not signed');
  return { ...parsed, signatures: parsed.signatures };
}

function parseUnsigned(raw: Uint8Array): RawTransaction {
  const parsed = parseRaw(raw);
  if (parsed.signatures !== null)
    throw new ChainError('transaction_invalid', 'The transaction is signed already. Broadcast it, or build another.');
  return parsed;
}

function badSignature(what: string): ChainError {
  return new ChainError('transaction_invalid', `${what}. Let its holder sign the transaction's message again.`);
}

/** Throws `key_invalid` for what is no Ed25519 public key, or one of the few that anybody can sign for. */
function accountOf(publicKey: Uint8Array): string {
  try {
    if (publicKey.length === 32 && !ed25519.Point.fromBytes(publicKey).isSmallOrder()) return base58.encode(publicKey);
  } catch {}
  throw new ChainError('key_invalid', 'This is no Ed25519 public key: it has 32 bytes that are a point of the curve.');
}

/** An address is 32 bytes in base58 and has no checksum: a wrong letter may give another address. */
function parseAddress(text: string): string {
  try {
    // 44 letters hold 32 bytes; decoding takes time that grows with the square.
    if (text.length <= 44 && base58.decode(text).length === 32) return text;
  } catch {}
  throw new ChainError(
    'address_invalid',
    `${printable(text)} is no Solana address. Copy it again from its owner: it has 32 to 44 letters and digits.`,
  );
}
