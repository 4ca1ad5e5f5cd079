/**
 * ERC-20 calls as bytes: written for a transfer, read back for an intent. The codec and the connector use it. Only calls
 * of exactly the standard's length and padding are recognised; anything longer, shorter or padded otherwise is some other
 * call and stays `carries_data`. `transferFrom` is not recognised on purpose: whose tokens it moves has no place in an
 * intent. Whether a contract at the address keeps the standard, nobody can tell from bytes.
 */
import { concatBytes, hexToBytes } from '@noble/hashes/utils.js';
import { addr, ethHex } from 'micro-eth-signer';

export const UINT256_MAX = (1n << 256n) - 1n;

/** No supply of a token comes near this, so an allowance of it never runs out. */
const UNLIMITED_FROM = 1n << 120n;
/** COMP, UNI and others of their kind keep amounts in 96 bits, and all of them set means without limit. */
const UNLIMITED_96_BIT = (1n << 96n) - 1n;

export function isUnlimited(amount: bigint): boolean {
  return amount >= UNLIMITED_FROM || amount === UNLIMITED_96_BIT;
}

/** What a call of a token does, in the words of the standard. `increaseAllowance` is OpenZeppelin's, and common. */
export type TokenCall =
  | { readonly name: 'transfer'; readonly to: string; readonly amount: bigint }
  | { readonly name: 'approve' | 'increaseAllowance'; readonly spender: string; readonly amount: bigint };

/** The first four bytes of keccak256 of the signature, as the ABI says; a test computes them again. */
const selectors = {
  transfer: 'a9059cbb',
  approve: '095ea7b3',
  increaseAllowance: '39509351',
  balanceOf: '70a08231',
} as const;

/** Selector and two words. */
const CALL_BYTES = 4 + 2 * 32;

/** `transfer(address,uint256)`. */
export function encodeTransfer(to: string, amount: bigint): Uint8Array {
  return concatBytes(hexToBytes(selectors.transfer), wordOf(BigInt(to)), wordOf(amount));
}

/** `balanceOf(address)`. */
export function encodeBalanceOf(owner: string): Uint8Array {
  return concatBytes(hexToBytes(selectors.balanceOf), wordOf(BigInt(owner)));
}

/** Null for any other call. */
export function decodeTokenCall(data: Uint8Array): TokenCall | null {
  if (data.length !== CALL_BYTES || data.subarray(4, 16).some((byte) => byte !== 0)) return null;
  const selector = ethHex.encode(data.subarray(0, 4)).slice(2);
  const address = addr.addChecksum(ethHex.encode(data.subarray(16, 36)));
  const amount = BigInt(ethHex.encode(data.subarray(36)));
  switch (selector) {
    case selectors.transfer:
      return { name: 'transfer', to: address, amount };
    case selectors.approve:
      return { name: 'approve', spender: address, amount };
    case selectors.increaseAllowance:
      return { name: 'increaseAllowance', spender: address, amount };
    default:
      return null;
  }
}

function wordOf(value: bigint): Uint8Array {
  return hexToBytes(value.toString(16).padStart(64, '0'));
}
