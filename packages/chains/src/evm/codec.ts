/**
 * The half of an EVM chain that needs no node: addresses, bytes, intents, digests, signatures. The SDK, the offline
 * commands and fuzzers use it alone; `evm.ts` adds the node. Only bytes that one transaction has and that only this chain
 * takes are read: legacy (with EIP-155), EIP-2930 and EIP-1559. No secret key enters, and nothing a node said.
 */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { addr, ethHex, Transaction } from 'micro-eth-signer';
import {
  type ChainCodec,
  ChainError,
  type Intent,
  type IntentOutput,
  type KeySignature,
  NATIVE_ASSET,
  printable,
  type SigningDigest,
  type Warning,
} from '../chain.ts';
import { recoverSigner, type Signature, signatureOf } from './signatures.ts';
import { decodeTokenCall, isUnlimited } from './tokens.ts';

/** The destination in an {@link Intent} that creates a contract: never an address, so no allow-list holds it. */
export const NEW_CONTRACT = 'new_contract';

/**
 * A fee that could come to this much is warned of as `fee_high`: 0.1 of the chain's coin, fifty times what a transfer
 * costs at 100 gwei.
 */
export const FEE_HIGH_WEI = 10n ** 17n;

/** Geth takes no larger transaction into its pool. */
export const RAW_BYTES_MAX = 128 * 1024;
const ZERO_ADDRESS = `0x${'0'.repeat(40)}`;

/** `chainId` as in EIP-155; `network` is spelled `eip155:<chainId>` (CAIP-2). An account is its address. */
export function evmCodec(chainId: number): ChainCodec {
  if (!Number.isSafeInteger(chainId) || chainId < 1) throw new RangeError(`no chain id: ${chainId}`);
  const network = `eip155:${chainId}`;

  return {
    name: 'evm',
    network,
    curve: 'secp256k1',
    account(publicKey) {
      if (publicKey.length !== 33) throw new RangeError('expected a compressed public key of 33 bytes');
      return addr.fromPublicKey(publicKey);
    },
    address(account, at) {
      if (at !== undefined) throw new RangeError('an EVM account has one address');
      return parseAddress(account);
    },
    parseAddress,
    decode(raw, account) {
      const tx = parseTransaction(raw, chainId);
      const signer = tx.isSigned ? addr.fromPublicKey(signerOf(tx)) : null;
      return { chain: 'evm', network, from: signer, ...effectsOf(tx, signer ?? maybeAddress(account)) };
    },
    resources: (raw) => [`nonce:${parseTransaction(raw, chainId).raw.nonce}`],
    planId: (unsigned) => bytesToHex(digestOf(parseUnsigned(unsigned, chainId))),
    digests: (unsigned) => [
      {
        input: 0,
        algorithm: 'ecdsa',
        digest: digestOf(parseUnsigned(unsigned, chainId)),
        publicKey: null,
        origin: null,
      } satisfies SigningDigest,
    ],
    attach(unsigned, signatures) {
      const tx = parseUnsigned(unsigned, chainId);
      const [signature] = signatures;
      if (signatures.length !== 1 || signature === undefined || signature.input !== 0)
        throw new ChainError(
          'transaction_invalid',
          `An EVM transaction takes 1 signature, for its input 0, and here are ${signatures.length}. Sign its one digest.`,
        );
      return attachSignature(tx, signature);
    },
    final(attached) {
      const tx = parseTransaction(attached, chainId);
      if (!tx.isSigned)
        throw new ChainError('signature_missing', 'The transaction is not signed. Attach the signature of its sender.');
      signerOf(tx);
      return attached.slice();
    },
    transactionId(final) {
      const tx = parseTransaction(final, chainId);
      signerOf(tx);
      return tx.hash;
    },
  };
}

/** EIP-55: mixed case is a checksum and has to fit; one case throughout carries none. Throws `address_invalid`. */
export function parseAddress(text: string): string {
  if (!/^0x[0-9a-fA-F]{40}$/.test(text) || !addr.isValid(text)) {
    throw new ChainError(
      'address_invalid',
      `${printable(text)} is no EVM address, or a letter of it is wrong. Copy it again from its owner.`,
    );
  }
  return addr.addChecksum(text);
}

export type ParsedTransaction = ReturnType<typeof Transaction.fromBytes>;

/**
 * Throws `transaction_invalid` for bytes that aren't the one spelling of a transaction, or that any chain would take; for
 * blobs (EIP-4844) and for handing the account over to code (EIP-7702); `wrong_network` for another chain's.
 */
export function parseTransaction(raw: Uint8Array, chainId: number): ParsedTransaction {
  if (raw.length > RAW_BYTES_MAX)
    throw unreadable(`it has ${raw.length} bytes, and no node takes more than ${RAW_BYTES_MAX}`);
  let tx: ParsedTransaction;
  let respelled: Uint8Array;
  try {
    tx = Transaction.fromBytes(raw);
    respelled = tx.toBytes(); // the library reads some fields that it refuses to write
  } catch (cause) {
    throw unreadable('its bytes are no transaction', cause);
  }
  if (tx.type === 'eip4844' || tx.type === 'eip7702')
    throw unreadable(`transactions of type ${tx.type} are not supported`);
  if (respelled.length !== raw.length || respelled.some((byte, at) => byte !== raw[at])) {
    throw unreadable('its bytes are not the canonical spelling');
  }
  if (tx.raw.chainId === undefined)
    throw unreadable('it names no chain, so it could be repeated on every chain (EIP-155)');
  if (tx.raw.chainId !== BigInt(chainId)) {
    throw new ChainError(
      'wrong_network',
      `The transaction is for chain ${tx.raw.chainId}, not ${chainId}. Build it again for this chain.`,
    );
  }
  return tx;
}

/** The public key (compressed) that a signed transaction's signature is by. Throws `transaction_invalid`. */
export function signerOf(tx: ParsedTransaction): Uint8Array {
  const { r, s, yParity } = tx.raw;
  if (r === undefined || s === undefined || yParity === undefined) throw unreadable('it is not signed');
  try {
    return recoverSigner(new secp256k1.Signature(r, s, yParity), digestOf(tx));
  } catch (cause) {
    throw unreadable('its signature is by nobody', cause);
  }
}

function parseUnsigned(raw: Uint8Array, chainId: number): ParsedTransaction {
  const tx = parseTransaction(raw, chainId);
  if (tx.isSigned)
    throw new ChainError('transaction_invalid', 'The transaction is signed already. Broadcast it, or build another.');
  return tx;
}

function unreadable(reason: string, cause?: unknown): ChainError {
  return new ChainError('transaction_invalid', `The transaction can't be used: ${reason}. Build it again.`, { cause });
}

function maybeAddress(account: string | undefined): string | null {
  return account === undefined ? null : parseAddress(account);
}

/** `payer`: the signer, or whoever is going to sign. */
function effectsOf(
  tx: ParsedTransaction,
  payer: string | null,
): Pick<Intent, 'outputs' | 'allowances' | 'feeMax' | 'warnings'> {
  const outputs: IntentOutput[] = [];
  const allowances: Intent['allowances'][number][] = [];
  const warnings = new Set<Warning>();
  const pay = (to: string, amount: bigint, asset: string) => {
    if (amount > 0n && (to === ZERO_ADDRESS || to === asset)) warnings.add('output_unspendable');
    outputs.push({ to, amount, asset, change: to === payer });
  };
  const { value } = tx.raw;
  const data = tx.raw.data === '' ? new Uint8Array() : ethHex.decode(tx.raw.data);
  if (tx.raw.to === '0x') {
    warnings.add('creates_contract');
    pay(NEW_CONTRACT, value, NATIVE_ASSET);
  } else {
    const to = addr.addChecksum(tx.raw.to);
    const call = decodeTokenCall(data);
    // A token keeps no coin of the chain for whoever sends one along: what goes there is told like any payment.
    if (call === null || value > 0n) pay(to, value, NATIVE_ASSET);
    if (call?.name === 'transfer') pay(call.to, call.amount, to);
    else if (call !== null) {
      allowances.push({ spender: call.spender, amount: call.amount, asset: to });
      if (call.amount > 0n) warnings.add('approves_spender');
      if (isUnlimited(call.amount)) warnings.add('unlimited_approval');
    } else if (data.length > 0) warnings.add('carries_data');
  }
  if ('accessList' in tx.raw && tx.raw.accessList.length > 0) warnings.add('has_access_list');
  if (tx.fee >= FEE_HIGH_WEI) warnings.add('fee_high');
  return { outputs, allowances, feeMax: tx.fee, warnings: [...warnings].sort() };
}

function digestOf(tx: ParsedTransaction): Uint8Array {
  return keccak_256(tx.toBytes({ includeSignature: false }));
}

function attachSignature(tx: ParsedTransaction, given: KeySignature): Uint8Array {
  let signature: Signature;
  try {
    signature = signatureOf(given, digestOf(tx));
  } catch (cause) {
    throw new ChainError(
      'transaction_invalid',
      "The signature is not by the wallet's key over this transaction. Let its holder sign the digest again.",
      { cause },
    );
  }
  const { r, s, recovery } = signature;
  return new Transaction(tx.type, { ...tx.raw, r, s, yParity: recovery } as typeof tx.raw, {
    strict: false,
  }).toBytes();
}
