/**
 * Tokens of the SPL token program: where a wallet's tokens lie (the associated token account, derived from wallet and
 * mint) and what the chain's bytes of mints and token accounts say. Pure; `solana.ts` gets the bytes from a node.
 * Token-2022 is another program, whose tokens may take fees and call code on transfer: it is not read here.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base58 } from '@scure/base';

export const TOKEN_PROGRAM = 'TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA';
export const ASSOCIATED_TOKEN_PROGRAM = 'ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL';
export const TOKEN_ACCOUNT_BYTES = 165;
const MINT_BYTES = 82;
const PROGRAM_ADDRESS_SEED = new TextEncoder().encode('ProgramDerivedAddress');

export interface AssociatedTokenAccount {
  readonly address: string;
  /** How many candidates the program hashes until it finds it; each costs it compute units. */
  readonly attempts: number;
}

/** Where the wallet's tokens of this mint lie, whether or not the account exists. Both in base58. */
export function associatedTokenAccount(wallet: string, mint: string): AssociatedTokenAccount {
  const program = base58.decode(ASSOCIATED_TOKEN_PROGRAM);
  const seeds = [wallet, TOKEN_PROGRAM, mint].map((address) => base58.decode(address));
  for (let bump = 255; bump >= 0; bump--) {
    const hash = sha256.create();
    for (const part of [...seeds, Uint8Array.of(bump), program, PROGRAM_ADDRESS_SEED]) hash.update(part);
    const address = hash.digest();
    if (!isOnCurve(address)) return { address: base58.encode(address), attempts: 256 - bump };
  }
  // One in 2^256.
  throw new RangeError('no associated token account');
}

/**
 * Whether a key may exist for this address. Addresses off the curve belong to programs. As the runtime sees it: `y`
 * beyond the field and `-0` are points, as in ZIP-215.
 */
export function isOnCurve(address: Uint8Array): boolean {
  try {
    ed25519.Point.fromBytes(address, true);
    return true;
  } catch {
    return false;
  }
}

export interface TokenAccount {
  readonly mint: string;
  readonly owner: string;
  readonly amount: bigint;
  readonly frozen: boolean;
}

/** Null for bytes that are no initialised token account. */
export function parseTokenAccount(data: Uint8Array): TokenAccount | null {
  const state = data[108];
  if (data.length !== TOKEN_ACCOUNT_BYTES || (state !== 1 && state !== 2)) return null;
  return {
    mint: base58.encode(data.subarray(0, 32)),
    owner: base58.encode(data.subarray(32, 64)),
    amount: new DataView(data.buffer, data.byteOffset, data.byteLength).getBigUint64(64, true),
    frozen: state === 2,
  };
}

/** The decimals of an initialised mint; null for other bytes. */
export function parseMint(data: Uint8Array): { readonly decimals: number } | null {
  return data.length === MINT_BYTES && data[45] === 1 ? { decimals: data[44]! } : null;
}
