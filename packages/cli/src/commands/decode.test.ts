/** `kedge tx decode` as people and scripts use it: any spelling, the chain found out, refusals that say what to do. */
import { deepEqual, equal, match, rejects } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { base58 } from '@scure/base';
import { parseLine, type Result } from '../command.ts';
import { decodeCommands } from './decode.ts';

const solana = readVector<{ cases: SolanaCase[] }>('solana-transactions.json').cases;
const eip155 = readVector<Record<'unsigned' | 'signed', string>>('eip155.json');
const [
  {
    cases: [eip1559],
  },
] = [readVector<{ cases: { unsigned: string; chain_id: number }[] }>('eip1559.json')];

interface SolanaCase {
  readonly title: string;
  readonly raw: string;
  readonly transaction_id: string | null;
  readonly from: string | null;
  readonly outputs: {
    readonly to: string;
    readonly amount: string;
    readonly asset: string;
    readonly change: boolean;
  }[];
  readonly fee_max: string | null;
  readonly warnings: readonly string[];
}

for (const { title, raw, ...expected } of solana) {
  test(`Solana: ${title}, in hex, base64 and base58`, async () => {
    const bytes = Buffer.from(raw, 'base64');
    for (const text of [bytes.toString('hex'), `0x${bytes.toString('hex')}`, raw, base58.encode(bytes)]) {
      const { data } = await decode(text);
      const { chain, network, signed, allowances, ...rest } = data as Record<string, unknown>;
      deepEqual([chain, network, signed, allowances], ['solana', null, expected.transaction_id !== null, []]);
      deepEqual(rest, expected);
    }
  });
}

test('EVM: the chain is read from the bytes, signed and unsigned', async () => {
  const unsigned = (await decode(eip155.unsigned)).data as Record<string, unknown>;
  deepEqual([unsigned.chain, unsigned.network, unsigned.signed], ['evm', 'eip155:1', false]);
  const { data, lines } = await decode(eip155.signed);
  deepEqual((data as Record<string, unknown>).outputs, [
    { to: `0x${'35'.repeat(20)}`, amount: '1000000000000000000', asset: 'native', change: false },
  ]);
  match(lines.join('\n'), /^pays {6}1000000000000000000 wei to 0x3535/m);
  match(lines.join('\n'), /^signed {4}yes, as 0x[0-9a-f]{64}$/m);
  const other = (await decode(eip1559!.unsigned)).data as Record<string, unknown>;
  equal(other.network, `eip155:${eip1559!.chain_id}`);
});

test('people read what is paid, to whom, at what fee, and every warning', async () => {
  const creation = solana.find(({ warnings }) => warnings.includes('creates_account'))!;
  const { lines } = await decode(creation.raw);
  const text = lines.join('\n');
  match(
    text,
    new RegExp(
      `^pays {6}${creation.outputs[0]!.amount} of ${creation.outputs[0]!.asset} to ${creation.outputs[0]!.to}$`,
      'm',
    ),
  );
  match(text, new RegExp(`^fee {7}at most ${creation.fee_max} lamports$`, 'm'));
  match(text, /^warning {3}creates_account: The receiver has no account/m);
});

test('a network that is named has to be one, and has to fit', async () => {
  const { raw } = solana[0]!;
  equal(
    ((await decode(raw, '--network', 'mainnet')).data as { network: string }).network,
    'solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp',
  );
  await rejects(decode(raw, '--chain', 'solana', '--network', 'moon'), /mainnet, devnet, testnet/);
  await rejects(decode(eip155.signed, '--chain', 'evm', '--network', '5'), /for chain 1, not 5/);
  await rejects(decode(eip155.signed, '--chain', 'evm', '--network', 'eip155:x'), /chain id/);
});

test('what is no transaction is refused with what to do next', async () => {
  await rejects(decode('!!'), /neither hex nor base64 nor base58/);
  await rejects(decode('00ff'), /No chain reads this .* --chain/);
  await rejects(decode('00ff', '--chain', 'solana'), /can't be used/);
  await rejects(decode('00ff', '--chain', 'dogecoin'), /There is no chain dogecoin/);
  await rejects(decode('00'.repeat(600_000)), /at most/);
  await rejects(decodeCommands[0]!.run(parseLine(['tx', 'decode']).context(2)), /is missing/);
});

function decode(...words: string[]): Promise<Result> {
  return decodeCommands[0]!.run(parseLine(['tx', 'decode', ...words]).context(2));
}

function readVector<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../../vectors/${name}`, import.meta.url), 'utf8')) as T;
}
