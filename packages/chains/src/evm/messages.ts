/**
 * Messages that an EVM account signs off the chain: texts (EIP-191) and typed data (EIP-712). A holder gets the digest,
 * and here its signature becomes the 65 bytes that others check, and is checked. A signature over typed data can move
 * money as surely as a transaction: permits (ERC-2612 and its relatives) are told like approvals. That nothing is told of
 * other types proves nothing about them. Nothing here signs.
 */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { concatBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { addr } from 'micro-eth-signer';
import { ChainError, type Intent, type KeySignature, type Warning } from '../chain.ts';
import { parseAddress } from './codec.ts';
import { recoverSigner, signatureOf } from './signatures.ts';
import { isUnlimited, UINT256_MAX } from './tokens.ts';
import { addressOf, integerOf, invalid, readTypedData, type TypedData } from './typed-data.ts';

/** What typed data asks for. */
export interface TypedMessage {
  /** To sign: 32 bytes. */
  readonly digest: Uint8Array;
  readonly primaryType: string;
  /** The domain's; null where it names none. Without a chain any chain would take the signature. */
  readonly chainId: bigint | null;
  readonly verifyingContract: string | null;
  /** What a permit lets another take. */
  readonly allowances: Intent['allowances'];
  readonly warnings: readonly Warning[];
}

/** Longer texts nobody reads before signing. */
const TEXT_BYTES_MAX = 64 * 1024;

/** EIP-191, version 0x45 (`personal_sign`): the digest to sign of a text as UTF-8, or of bytes. Throws `transaction_invalid`. */
export function personalMessageDigest(message: string | Uint8Array): Uint8Array {
  if (typeof message === 'string' && /\p{Surrogate}/u.test(message)) throw invalid('it is no Unicode text');
  const bytes = typeof message === 'string' ? utf8ToBytes(message) : message;
  if (bytes.length > TEXT_BYTES_MAX) throw invalid(`it has ${bytes.length} bytes, more than ${TEXT_BYTES_MAX}`);
  return keccak_256(concatBytes(utf8ToBytes(`\x19Ethereum Signed Message:\n${bytes.length}`), bytes));
}

/**
 * EIP-712: what the parsed JSON of `eth_signTypedData_v4` asks for. Throws `transaction_invalid`, and `wrong_network` when
 * its domain names another chain than this one.
 */
export function readTypedMessage(json: unknown, chainId: number): TypedMessage {
  const data = readTypedData(json);
  if (data.chainId !== null && data.chainId !== BigInt(chainId))
    throw new ChainError(
      'wrong_network',
      `The message is for chain ${data.chainId}, not ${chainId}. Sign it with a wallet of that chain, if you mean to.`,
    );
  const { verifyingContract } = data.domain;
  const contract = verifyingContract === undefined ? null : addressOf(verifyingContract, 'verifyingContract');
  const allowances = allowancesOf(data, contract);
  const warnings = new Set<Warning>();
  // Whatever the type is called: a spender may spend, unless it is one of the two that take an allowance back.
  if (allowances.some(({ amount }) => amount > 0n) || (namesSpender(data) && !isKnownPermit(data)))
    warnings.add('approves_spender');
  if (allowances.some(({ amount }) => isUnlimited(amount))) warnings.add('unlimited_approval');
  return {
    digest: data.digest,
    primaryType: data.primaryType,
    chainId: data.chainId,
    verifyingContract: contract,
    allowances,
    warnings: [...warnings].sort(),
  };
}

/** `r ‖ s ‖ v`, 65 bytes with `v` 27 or 28 and the low `s`. Throws `transaction_invalid` unless that key signed that digest. */
export function attachToMessage(
  digest: Uint8Array,
  signature: Pick<KeySignature, 'publicKey' | 'signature'>,
): Uint8Array {
  try {
    const { r, s, recovery } = signatureOf(signature, digest);
    return concatBytes(new secp256k1.Signature(r, s).toBytes('compact'), new Uint8Array([27 + recovery]));
  } catch (cause) {
    throw new ChainError(
      'transaction_invalid',
      "The signature is not by the wallet's key over this message. Let its holder sign the digest again.",
      { cause },
    );
  }
}

/** The address whose key signed the digest. Throws `transaction_invalid` for anything but 65 canonical bytes. */
export function messageSigner(digest: Uint8Array, signature: Uint8Array): string {
  const v = signature[64];
  if (signature.length !== 65 || (v !== 27 && v !== 28)) throw noSignature();
  try {
    const compact = secp256k1.Signature.fromBytes(signature.subarray(0, 64), 'compact');
    return addr.fromPublicKey(recoverSigner(compact.addRecoveryBit(v - 27), digest));
  } catch (cause) {
    throw noSignature(cause);
  }
}

/** Whether this account signed it. Contracts' own rules (ERC-1271) are not asked. Throws `address_invalid`. */
export function isSignedBy(account: string, digest: Uint8Array, signature: Uint8Array): boolean {
  const address = parseAddress(account);
  try {
    return messageSigner(digest, signature) === address;
  } catch (error) {
    if (error instanceof ChainError) return false;
    throw error;
  }
}

function noSignature(cause?: unknown): ChainError {
  return new ChainError(
    'transaction_invalid',
    'These are no 65 bytes of a signature over a message. Let its holder sign the digest again.',
    { cause },
  );
}

/**
 * The permits that money is taken with: ERC-2612 (`value`), DAI's older one (`allowed`), Uniswap's Permit2 (`details` or
 * `permitted`, one or a list), and ERC-3009, where the receiver or anybody else sends the transfer. Others that name a
 * spender are warned of without an amount. Every shape that is there counts: a witness of Permit2 is a field of the
 * caller's own name and type, so a `value` of 0 beside `permitted` says nothing.
 */
function allowancesOf(data: TypedData, contract: string | null): TypedMessage['allowances'] {
  const { message, primaryType } = data;
  const fields = data.fieldsOf(primaryType) ?? new Map<string, string>();
  const found: TypedMessage['allowances'][number][] = [];
  if (contract !== null && AUTHORIZATIONS.has(primaryType) && shapeOf(fields) === AUTHORIZATION)
    found.push({
      spender: addressOf(message.to, 'to'),
      amount: integerOf('uint256', message.value, 'value'),
      asset: contract,
    });
  if (fields.get('spender') !== 'address') return found;
  const spender = addressOf(message.spender, 'spender');
  if (contract !== null && fields.get('value') === 'uint256')
    found.push({ spender, amount: integerOf('uint256', message.value, 'value'), asset: contract });
  if (contract !== null && fields.get('allowed') === 'bool')
    found.push({ spender, amount: message.allowed === true ? UINT256_MAX : 0n, asset: contract });
  for (const field of ['details', 'permitted']) {
    const type = fields.get(field)?.replace(/\[\]$/, '');
    const inner = type === undefined ? null : data.fieldsOf(type);
    const amountType = inner?.get('amount');
    if (inner?.get('token') !== 'address' || amountType === undefined || !/^uint[0-9]+$/.test(amountType)) continue;
    for (const each of [message[field]].flat()) {
      const { token, amount } = each as Readonly<Record<string, unknown>>; // its shape was checked when it was hashed
      found.push({ spender, amount: integerOf(amountType, amount, 'amount'), asset: addressOf(token, 'token') });
    }
  }
  return found;
}

/** ERC-3009's two, and the fields of both. */
const AUTHORIZATIONS: ReadonlySet<string> = new Set(['TransferWithAuthorization', 'ReceiveWithAuthorization']);
const AUTHORIZATION = 'address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce';
/** ERC-2612's and DAI's: with these fields and no others, a value of 0 takes an allowance back. */
const PERMITS: ReadonlySet<string> = new Set([
  'address owner,address spender,uint256 value,uint256 nonce,uint256 deadline',
  'address holder,address spender,uint256 nonce,uint256 expiry,bool allowed',
]);

function isKnownPermit(data: TypedData): boolean {
  return data.primaryType === 'Permit' && PERMITS.has(shapeOf(data.fieldsOf('Permit') ?? new Map()));
}

/** As EIP-712 writes it between the brackets: contracts know a type by it. */
function shapeOf(fields: ReadonlyMap<string, string>): string {
  return [...fields].map(([name, type]) => `${type} ${name}`).join(',');
}

function namesSpender(data: TypedData): boolean {
  return data.fieldsOf(data.primaryType)?.get('spender') === 'address';
}
