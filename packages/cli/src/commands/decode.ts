/**
 * `tx decode`: what a transaction does, from its bytes alone; no node is asked and nothing is sent. The bytes come as hex,
 * base64 or base58, and the chain is found out where only one can be meant. A further chain is an entry of `decoders`.
 */
import {
  bitcoinCodec,
  type ChainCodec,
  ChainError,
  type ChainName,
  evmChainIdOf,
  evmCodec,
  type Intent,
  SOLANA_GENESIS,
  solanaCodec,
  solanaNetwork,
  warningMeanings,
} from '@kedge/chains';
import { base58 } from '@scure/base';
import { type Command, type Context, type Result, required } from '../command.ts';
import { bitcoinNetworkOf } from './descriptors.ts';

export const decodeCommands: readonly Command[] = [
  {
    words: 'tx decode',
    usage: 'tx decode RAW [--chain bitcoin|evm|solana] [--network NAME] [--from ACCOUNT]',
    summary: 'what a transaction does, from its hex, base64 or base58; asks nobody',
    run: decode,
  },
];

interface Decoder {
  /** The codec that reads these bytes. Throws `ChainError` or, for a network that isn't one, `Error`. */
  codec(raw: Uint8Array, network: string | undefined): ChainCodec;
  /** Whether the bytes say which network they are for. */
  readonly namesNetwork: boolean;
  readonly unit: string;
}

const decoders: Readonly<Record<ChainName, Decoder>> = {
  bitcoin: {
    codec: (_, network) => bitcoinCodec(bitcoinNetworkOf(network ?? 'mainnet')),
    namesNetwork: false,
    unit: 'sats',
  },
  evm: {
    codec: (raw, network) => evmCodec(network === undefined ? evmChainIdOf(raw) : chainIdOf(network)),
    namesNetwork: true,
    unit: 'wei',
  },
  solana: {
    codec: (_, network) => solanaCodec(clusterOf(network ?? 'mainnet')),
    namesNetwork: false,
    unit: 'lamports',
  },
};

/** Base58 takes time that grows with the square; what is spelled in it (Solana) is short. */
const BASE58_LENGTH_MAX = 2_000;
const TEXT_LENGTH_MAX = 1_000_000;

interface Reading {
  readonly chain: ChainName;
  readonly unit: string;
  readonly network: string | null;
  /** Null for unsigned bytes. */
  readonly id: string | null;
  readonly intent: Intent;
}

async function decode(context: Context): Promise<Result> {
  const { chain, network, from } = {
    chain: context.flag('chain'),
    network: context.flag('network'),
    from: context.flag('from'),
  };
  const names = Object.keys(decoders) as ChainName[];
  if (chain !== undefined && !names.includes(chain as ChainName))
    throw new Error(`There is no chain ${chain}: ${names.join(', ')}.`);
  const raws = spellings(required(context, 0, 'The transaction').trim());
  if (raws.length === 0) throw new Error('This is neither hex nor base64 nor base58. Copy the transaction again.');
  const readings: Reading[] = [];
  const refusals: unknown[] = [];
  for (const raw of raws) {
    for (const name of chain === undefined ? names : [chain as ChainName]) {
      try {
        readings.push(read(name, raw, network, from));
      } catch (error) {
        refusals.push(error);
      }
    }
  }
  const [reading] = readings;
  if (reading === undefined) {
    if (chain !== undefined) throw refusals[0];
    throw new Error(`No chain reads this as a transaction (${names.join(', ')}). Name it with --chain to hear why.`);
  }
  if (readings.length > 1)
    throw new Error(
      `This could be of several chains: ${readings.map((one) => one.chain).join(', ')}. Name it with --chain.`,
    );
  return { data: asData(reading), lines: asLines(reading) };
}

function read(chain: ChainName, raw: Uint8Array, network: string | undefined, from: string | undefined): Reading {
  const decoder = decoders[chain];
  const codec = decoder.codec(raw, network);
  const intent = codec.decode(raw, from);
  return {
    chain,
    unit: decoder.unit,
    network: decoder.namesNetwork || network !== undefined ? codec.network : null,
    id: idOf(codec, raw),
    intent,
  };
}

function idOf(codec: ChainCodec, raw: Uint8Array): string | null {
  try {
    return codec.transactionId(raw);
  } catch (error) {
    if (error instanceof ChainError) return null;
    throw error;
  }
}

/** All byte strings that the text may stand for; each spelling in its canonical form only. */
function spellings(text: string): readonly Uint8Array[] {
  if (text.length > TEXT_LENGTH_MAX) throw new Error(`A transaction has at most ${TEXT_LENGTH_MAX} characters.`);
  const found: Uint8Array[] = [];
  const hex = text.replace(/^0x/, '');
  if (/^([0-9a-fA-F]{2})+$/.test(hex)) found.push(new Uint8Array(Buffer.from(hex, 'hex')));
  const base64 = Buffer.from(text, 'base64');
  if (base64.toString('base64') === text) found.push(new Uint8Array(base64));
  if (text.length <= BASE58_LENGTH_MAX && /^[1-9A-HJ-NP-Za-km-z]+$/.test(text)) found.push(base58.decode(text));
  return found;
}

function chainIdOf(network: string): number {
  const [, id] = /^(?:eip155:)?([1-9][0-9]{0,14})$/.exec(network) ?? [];
  if (id === undefined) throw new Error('An EVM network is a chain id, or eip155: and the chain id.');
  return Number(id);
}

function clusterOf(network: string): string {
  const known = Object.entries(SOLANA_GENESIS).find(([name]) => name === network);
  if (known !== undefined) return solanaNetwork(known[1]);
  if (/^solana:[1-9A-HJ-NP-Za-km-z]{32}$/.test(network)) return network;
  throw new Error('A Solana network is mainnet, devnet, testnet, or solana: and 32 characters of the genesis hash.');
}

function asData({ chain, network, id, intent }: Reading): unknown {
  return {
    chain,
    network,
    signed: id !== null,
    transaction_id: id,
    from: intent.from,
    outputs: intent.outputs.map(({ to, amount, asset, change }) => ({ to, amount: String(amount), asset, change })),
    allowances: intent.allowances.map(({ spender, amount, asset }) => ({ spender, amount: String(amount), asset })),
    fee_max: intent.feeMax === null ? null : String(intent.feeMax),
    warnings: intent.warnings,
  };
}

function asLines({ chain, unit, network, id, intent }: Reading): readonly string[] {
  const { from, outputs, allowances, feeMax, warnings } = intent;
  const amountOf = (amount: bigint, asset: string) =>
    asset === 'native' ? `${amount} ${unit}` : `${amount} of ${asset}`;
  return [
    `chain     ${chain}, ${network ?? 'the bytes do not say which network'}`,
    `signed    ${id === null ? 'no' : `yes, as ${id}`}`,
    `from      ${from ?? 'not proven by the bytes'}`,
    ...outputs.map(
      ({ to, amount, asset, change }) => `${change ? 'change  ' : 'pays    '}  ${amountOf(amount, asset)} to ${to}`,
    ),
    ...(outputs.length === 0 ? ['pays      nothing that can be shown'] : []),
    ...allowances.map(({ spender, amount, asset }) => `allows    ${amountOf(amount, asset)} to be taken by ${spender}`),
    `fee       ${feeMax === null ? 'unknown' : `at most ${feeMax} ${unit}`}`,
    ...warnings.map((warning) => `warning   ${warning}: ${warningMeanings[warning]}`),
  ];
}
