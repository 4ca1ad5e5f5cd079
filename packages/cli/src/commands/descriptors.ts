/**
 * `descriptor check` and `psbt show`: what a Bitcoin wallet's text or a half-signed transaction says, read offline and with
 * no service. Nothing is signed, sent or kept.
 */
import { readFileSync } from 'node:fs';
import {
  type BitcoinNetwork,
  bitcoinCodec,
  bitcoinNetworks,
  type Descriptor,
  type Intent,
  parseDescriptor,
  psbtFromText,
  warningMeanings,
} from '@kedge/chains';
import { type Command, type Context, type Result, required } from '../command.ts';

export const descriptorCommands: readonly Command[] = [
  {
    words: 'descriptor check',
    usage: 'descriptor check TEXT [--network mainnet|testnet|signet|regtest]',
    summary: 'read an output descriptor; its keys and first addresses',
    run: checkDescriptor,
  },
  {
    words: 'psbt show',
    usage: 'psbt show FILE [--from DESCRIPTOR] [--network mainnet|testnet|signet|regtest]',
    summary: 'what a half-signed Bitcoin transaction does, and whose signatures are missing',
    run: showPsbt,
  },
];

const RECEIVING_SHOWN = 5;
const CHANGE_SHOWN = 2;

/** A checksum may be left out, as people who type do; then it is said, and the whole text printed. */
async function checkDescriptor(context: Context): Promise<Result> {
  const text = required(context, 0, 'The descriptor').trim();
  const network = networkOf(context, text);
  const descriptor = parseDescriptor(text, network, { checksum: 'optional' });
  const addressesOf = (change: 0 | 1, count: number) =>
    Array.from(
      { length: descriptor.ranged ? count : 1 - change },
      (_, index) => descriptor.derive({ change, index }).address,
    );
  const receiving = addressesOf(0, RECEIVING_SHOWN);
  const change = descriptor.hasChangeBranch ? addressesOf(1, CHANGE_SHOWN) : [];
  const { script, threshold, keys } = descriptor;
  const notes = notesOn(descriptor, text);
  return {
    data: {
      descriptor: descriptor.text,
      network: network.name,
      script,
      threshold,
      keys: keys.map(keyView),
      receiving,
      change,
      notes,
    },
    lines: [
      descriptor.text,
      `${script}, ${threshold} of ${keys.length} keys, ${network.name}`,
      ...keys.map((key) =>
        `  key        ${keyView(key).fingerprint ?? '(no origin)'}  ${keyView(key).path ?? ''}`.trimEnd(),
      ),
      ...receiving.map((address, index) => `  receive ${String(index).padEnd(2)} ${address}`),
      ...change.map((address, index) => `  change ${String(index).padEnd(3)} ${address}`),
      ...notes.map((note) => `  note       ${note}`),
    ],
  };
}

function notesOn(descriptor: Descriptor, text: string): readonly string[] {
  const notes: string[] = [];
  if (!text.includes('#'))
    notes.push('It came without a checksum, so a wrong character would not be noticed. Keep the line above.');
  else if (text !== descriptor.text) notes.push('It was spelled in another way. The line above is the same wallet.');
  if (descriptor.keys.some((key) => key.origin === null))
    notes.push('A key has no origin. Hardware wallets need it to find the key: [fingerprint/path] in front.');
  if (descriptor.ranged && !descriptor.hasChangeBranch)
    notes.push('It has no branch for change. Wallets write <0;1> to have both in one.');
  return notes;
}

function keyView(key: Descriptor['keys'][number]): { fingerprint: string | null; path: string | null } {
  return { fingerprint: key.origin?.fingerprint ?? null, path: key.origin?.path ?? null };
}

async function showPsbt(context: Context): Promise<Result> {
  const file = readFileSync(required(context, 0, 'The file of the PSBT'));
  // As other wallets write them: the bytes themselves, or base64 or hex in a text file.
  const bytes =
    file.subarray(0, 5).toString('latin1') === 'psbt\xff' ? new Uint8Array(file) : psbtFromText(file.toString());
  const from = context.flag('from');
  const codec = bitcoinCodec(networkOf(context, from ?? ''));
  const intent = codec.decode(bytes, from);
  const missing = codec
    .digests(bytes)
    .map(({ input, origin }) => ({ input, ...(origin ?? { fingerprint: null, path: null }) }));
  const signatures = codec.signatures(bytes);
  return {
    data: {
      network: codec.params.name,
      coins: codec.resources(bytes),
      from: intent.from,
      outputs: intent.outputs.map(({ to, amount, change }) => ({ to, amount_sats: String(amount), change })),
      fee_sats: String(intent.feeMax),
      warnings: intent.warnings,
      signatures,
      missing,
    },
    lines: [
      ...codec.resources(bytes).map((coin, i) => `  spends     ${coin}  ${signatures[i]} signed`),
      ...outputLines(intent),
      `  fee        ${intent.feeMax} sats`,
      ...[...new Set(missing.map(({ fingerprint }) => fingerprint ?? 'a key without origin'))].map(
        (key) => `  may sign   ${key}`,
      ),
      ...intent.warnings.map((warning) => `  warning    ${warning}: ${warningMeanings[warning]}`),
      ...(from === undefined
        ? ['  note       Name the wallet with --from to see which outputs are its own change.']
        : []),
    ],
  };
}

function outputLines({ outputs }: Intent): readonly string[] {
  return outputs.map(({ to, amount, change }) => `  ${change ? 'change    ' : 'pays      '} ${to}  ${amount} sats`);
}

/** The flag; otherwise mainnet, or testnet where a key says that it is for a test network. */
function networkOf({ flag }: Context, text: string): BitcoinNetwork {
  return bitcoinNetworkOf(flag('network') ?? (/\b[tuvUV]pub/.test(text) ? 'testnet' : 'mainnet'));
}

export function bitcoinNetworkOf(name: string): BitcoinNetwork {
  if (Object.hasOwn(bitcoinNetworks, name)) return bitcoinNetworks[name as keyof typeof bitcoinNetworks];
  throw new Error(`There is no network ${name}: it is ${Object.keys(bitcoinNetworks).join(', ')}.`);
}
