/**
 * Addresses and output scripts, and what a script of each kind costs to spend. Only kinds whose rules are known today are
 * addresses here: a future witness version is refused, because until its rules exist anybody may spend from it.
 */
import { bytesToHex } from '@noble/hashes/utils.js';
import { Address, OutScript } from '@scure/btc-signer';
import { ChainError } from '../chain.ts';
import type { BitcoinNetwork } from './networks.ts';

/** The longest: a P2WSH or P2TR address of regtest has 64 characters; BIP173 allows 90. */
const ADDRESS_LENGTH_MAX = 90;

/** The output script of an address. Throws `address_invalid`. */
export function scriptOfAddress(text: string, network: BitcoinNetwork): Uint8Array {
  try {
    if (text.length > ADDRESS_LENGTH_MAX) throw new RangeError('too long');
    const script = OutScript.encode(Address(network).decode(text));
    // The library also decodes kinds that are none here, such as P2A, whose coins anybody may take.
    if (addressOfScript(script, network) === null) throw new RangeError('another kind');
    return script;
  } catch {
    // Neither the text nor the library's words for it: people have pasted private keys here.
    throw new ChainError(
      'address_invalid',
      `This is no ${network.name} Bitcoin address, or a character of it is wrong. Copy it again from its owner.`,
    );
  }
}

/** The canonical spelling: segwit addresses in lower case. Throws `address_invalid`. */
export function parseBitcoinAddress(text: string, network: BitcoinNetwork): string {
  const address = addressOfScript(scriptOfAddress(text, network), network);
  if (address === null || (address !== text && address !== text.toLowerCase()))
    throw new ChainError(
      'address_invalid',
      `The address ${address} is spelled unusually. Copy it again from its owner.`,
    );
  return address;
}

/**
 * What each kind takes in the one form that BIP16 and BIP141 know. The library reads longer pushes alike, and an output
 * that is spelled so anybody may spend.
 */
const SCRIPT_BYTES: ReadonlyMap<string, number> = new Map([
  ['pkh', 25],
  ['sh', 23],
  ['wpkh', 22],
  ['wsh', 34],
  ['tr', 34],
]);

/** Null for a script that no address stands for. */
export function addressOfScript(script: Uint8Array, network: BitcoinNetwork): string | null {
  try {
    const kind = OutScript.decode(script);
    if (SCRIPT_BYTES.get(kind.type) !== script.length) return null;
    return Address(network).encode(kind as Parameters<ReturnType<typeof Address>['encode']>[0]);
  } catch {
    return null;
  }
}

/** What pays to a script that no address stands for: `script:` and its bytes in hex, as an intent shows it. */
export function describeScript(script: Uint8Array, network: BitcoinNetwork): string {
  return addressOfScript(script, network) ?? `script:${bytesToHex(script)}`;
}

/** An output that anybody sees can never be spent: OP_RETURN, or longer than consensus lets scripts be. */
export function isUnspendable(script: Uint8Array): boolean {
  return script[0] === 0x6a || script.length > 10_000;
}

/** 3 sat/vB, the rate at which Bitcoin Core calls an output dust. */
const DUST_RATE_SAT_PER_VB = 3n;

/** Below this an output costs more to spend than it is worth, and nodes relay no transaction that makes one. In sats. */
export function dustLimit(script: Uint8Array): bigint {
  if (isUnspendable(script)) return 0n;
  // As Core's GetDustThreshold: the output itself and the smallest input that spends it, witness bytes quartered.
  const isWitness =
    script.length >= 4 &&
    script.length <= 42 &&
    (script[0] === 0 || script[0]! >= 0x51) &&
    script[1] === script.length - 2;
  return BigInt(8 + 1 + script.length + (isWitness ? 67 : 148)) * DUST_RATE_SAT_PER_VB;
}
