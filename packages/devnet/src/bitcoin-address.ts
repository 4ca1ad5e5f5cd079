/**
 * Addresses of regtest and the scripts they stand for, for the devnet's faucet and its Esplora façade. The engine's own
 * reader knows neither Bech32m nor the prefixes of Bitcoin Core's regtest.
 */
import { createHash } from 'node:crypto';
import { bech32, bech32m, createBase58check } from '@scure/base';

const HRP = 'bcrt';
const P2PKH = 0x6f;
const P2SH = 0xc4;
const base58check = createBase58check((data: Uint8Array) => new Uint8Array(createHash('sha256').update(data).digest()));

/** The script in hexadecimal; null for what is no address of regtest. */
export function scriptOf(address: string): string | null {
  try {
    return /^bcrt1/i.test(address) ? programScript(address) : hashScript(address);
  } catch {
    return null;
  }
}

/** BIP173 and BIP350: version 0 in Bech32, every later one in Bech32m. */
function programScript(address: string): string | null {
  const code = address.toLowerCase().startsWith(`${HRP}1q`) ? bech32 : bech32m;
  const { prefix, words } = code.decode(address as `${string}1${string}`, 90);
  const [version, ...rest] = words;
  const program = code.fromWords(rest);
  if (prefix !== HRP || version === undefined || version > 16) return null;
  if (program.length < 2 || program.length > 40) return null;
  if (version === 0 && program.length !== 20 && program.length !== 32) return null;
  const opcode = version === 0 ? 0 : 0x50 + version;
  return Buffer.from([opcode, program.length, ...program]).toString('hex');
}

function hashScript(address: string): string | null {
  const [version, ...hash] = base58check.decode(address);
  if (hash.length !== 20) return null;
  const hex = Buffer.from(hash).toString('hex');
  if (version === P2PKH) return `76a914${hex}88ac`;
  return version === P2SH ? `a914${hex}87` : null;
}

/** How Esplora calls a script, and its address if it has one. */
export function describeScript(script: Uint8Array): { type: string; address: string | null } {
  const hex = Buffer.from(script).toString('hex');
  if (hex === '') return { type: 'empty', address: null };
  if (/^76a914.{40}88ac$/.test(hex)) return { type: 'p2pkh', address: base58(P2PKH, script.subarray(3, 23)) };
  if (/^a914.{40}87$/.test(hex)) return { type: 'p2sh', address: base58(P2SH, script.subarray(2, 22)) };
  if (/^(21.{66}|41.{130})ac$/.test(hex)) return { type: 'p2pk', address: null };
  if (script[0] === 0x6a) return { type: 'op_return', address: null };
  const program = programOf(script);
  if (program === null) return { type: 'unknown', address: null };
  const code = program.version === 0 ? bech32 : bech32m;
  const address = code.encode(HRP, [program.version, ...code.toWords(program.bytes)]);
  if (program.version === 0) return { type: program.bytes.length === 20 ? 'v0_p2wpkh' : 'v0_p2wsh', address };
  return { type: program.version === 1 && program.bytes.length === 32 ? 'v1_p2tr' : 'unknown', address };
}

function base58(version: number, hash: Uint8Array): string {
  return base58check.encode(new Uint8Array([version, ...hash]));
}

/** BIP141: a version and one push of 2 to 40 bytes. */
function programOf(script: Uint8Array): { version: number; bytes: Uint8Array } | null {
  const [opcode, length] = script;
  if (opcode === undefined || length === undefined || length < 2 || length > 40 || script.length !== length + 2)
    return null;
  if (opcode !== 0 && (opcode < 0x51 || opcode > 0x60)) return null;
  if (opcode === 0 && length !== 20 && length !== 32) return null;
  return { version: opcode === 0 ? 0 : opcode - 0x50, bytes: script.subarray(2) };
}
