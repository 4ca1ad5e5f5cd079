/**
 * What a transaction does, in lines that a person without a glossary understands. The letters and the pages for links
 * show these; they are made from the decoded bytes and from nothing that anybody claims of them.
 */
import { type Intent, NATIVE_ASSET, warningMeanings } from '@kedge/chains';
import { codecOf } from './codecs.ts';
import type { PlannedTransactionRow, RecoveryRow } from './recovery-store.ts';

const coins: { readonly [C in Intent['chain']]: { readonly name: string; readonly decimals: number } } = {
  bitcoin: { name: 'BTC', decimals: 8 },
  evm: { name: 'of the chain’s coin', decimals: 18 },
  solana: { name: 'SOL', decimals: 9 },
};

/** One paragraph for each transaction of the plan, or the one of a sweep. */
export function planWords(
  { network, account, sweep_to }: RecoveryRow,
  transactions: readonly PlannedTransactionRow[],
): string[][] {
  if (sweep_to !== null)
    return [[`Everything that the wallet holds goes to one address, and nowhere else: ${sweep_to}`]];
  const codec = codecOf(network);
  return transactions.map(({ bytes }) => intentWords(codec.decode(bytes, account)));
}

function intentWords({ chain, outputs, allowances, feeMax, warnings }: Intent): string[] {
  const amountOf = (amount: bigint, asset: string) =>
    asset === NATIVE_ASSET
      ? `${decimal(amount, coins[chain].decimals)} ${coins[chain].name}`
      : `${amount} units of the token ${asset}`;
  const lines = outputs.map(({ to, amount, asset, change }) =>
    change ? `${amountOf(amount, asset)} back to the wallet itself` : `${amountOf(amount, asset)} to ${to}`,
  );
  for (const { spender, amount, asset } of allowances)
    lines.push(`${spender} may take ${amountOf(amount, asset)} later`);
  lines.push(
    feeMax === null ? 'The fee is not in the transaction.' : `At most ${amountOf(feeMax, NATIVE_ASSET)} as a fee`,
  );
  for (const warning of warnings) lines.push(`Take care: ${warningMeanings[warning]}`);
  return lines;
}

function decimal(amount: bigint, decimals: number): string {
  const digits = amount.toString().padStart(decimals + 1, '0');
  const fraction = digits.slice(-decimals).replace(/0+$/, '');
  return `${digits.slice(0, -decimals)}${fraction === '' ? '' : `.${fraction}`}`;
}
