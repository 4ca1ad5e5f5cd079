/**
 * The three output scripts that Kedge makes, from keys: P2WPKH (BIP141), P2WSH of a sorted multisig (BIP67) and P2TR with
 * a key path alone (BIP341, BIP86). `descriptor.ts` derives the keys; `psbt.ts` recognises these scripts again.
 */
import { ripemd160 } from '@noble/hashes/legacy.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes } from '@noble/hashes/utils.js';
import { utils } from '@scure/btc-signer';

const OP_CHECKMULTISIG = 0xae;
const OP_1 = 0x51;

/** `0 <HASH160 of the key>`. */
export function p2wpkh(publicKey: Uint8Array): Uint8Array {
  return concatBytes(new Uint8Array([0, 20]), ripemd160(sha256(publicKey)));
}

/** `0 <SHA-256 of the witness script>`. */
export function p2wsh(witnessScript: Uint8Array): Uint8Array {
  return concatBytes(new Uint8Array([0, 32]), sha256(witnessScript));
}

/** `M <key>… N CHECKMULTISIG`; the keys (33 bytes each, at most 15) must come sorted. */
export function sortedMultisigScript(threshold: number, sortedKeys: readonly Uint8Array[]): Uint8Array {
  const pushes = sortedKeys.flatMap((key) => [new Uint8Array([key.length]), key]);
  return concatBytes(
    new Uint8Array([OP_1 + threshold - 1]),
    ...pushes,
    new Uint8Array([OP_1 + sortedKeys.length - 1, OP_CHECKMULTISIG]),
  );
}

/** Threshold and keys of a script that {@link sortedMultisigScript} could have made, sorted or not; otherwise null. */
export function readMultisigScript(script: Uint8Array): { threshold: number; keys: readonly Uint8Array[] } | null {
  const n = (script.length - 3) / 34;
  if (!Number.isInteger(n) || n < 1 || n > 15) return null;
  const threshold = script[0]! - OP_1 + 1;
  if (threshold < 1 || threshold > n || script.at(-2) !== OP_1 + n - 1 || script.at(-1) !== OP_CHECKMULTISIG)
    return null;
  const keys: Uint8Array[] = [];
  for (let i = 0; i < n; i++) {
    const at = 1 + 34 * i;
    if (script[at] !== 33) return null;
    keys.push(script.slice(at + 1, at + 34));
  }
  return { threshold, keys };
}

/** `1 <output key>`: the internal key (x-only, 32 bytes) tweaked by the hash of itself, so there is no script path (BIP86). */
export function p2tr(internalKey: Uint8Array): { script: Uint8Array; outputKey: Uint8Array } {
  const [outputKey] = utils.taprootTweakPubkey(internalKey, new Uint8Array());
  return { script: concatBytes(new Uint8Array([OP_1, 32]), outputKey), outputKey };
}
