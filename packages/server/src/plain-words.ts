/**
 * What a vote is over, in lines that a person without a glossary understands: what a transaction does, in which account,
 * and who decides by which rules. The pages for links show these. Of a transaction they are made from the decoded bytes and
 * from nothing that anybody claims of them. A name that somebody chose stands in quotes at the end of a line of its own, so
 * that nothing in it passes for what the page says.
 */
import {
  bitcoinNetworks,
  type Intent,
  NATIVE_ASSET,
  SOLANA_GENESIS,
  solanaNetwork,
  warningMeanings,
} from '@kedge/chains';
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '@kedge/core';
import type { ApproverRow, ListContent } from './approver-list-store.ts';
import { codecOf } from './codecs.ts';
import type { PlannedTransactionRow, RecoveryRow } from './recovery-store.ts';

const coins: { readonly [C in Intent['chain']]: { readonly name: string; readonly decimals: number } } = {
  bitcoin: { name: 'BTC', decimals: 8 },
  evm: { name: 'of the chain’s coin', decimals: 18 },
  solana: { name: 'SOL', decimals: 9 },
};

/** Which wallet: the same words for all that is asked of it. */
export function accountWords({ network, account }: RecoveryRow, user: string): string[] {
  const codec = codecOf(network);
  return [
    codec.name === 'bitcoin'
      ? `The wallet is on ${networkWords(network)}`
      : `The account is on ${networkWords(network)}`,
    codec.name === 'bitcoin' ? `Its first address is ${codec.address(account)}` : `Its address is ${account}`,
    `The service calls whose key it is: “${user}”`,
  ];
}

/** Who decides, and how: all of it, so that a change of anything can be seen. */
export function listWords({
  name,
  approvers,
  policy,
  window_s,
  cooling_period_s,
  links_suffice,
}: ListContent): string[] {
  const needed =
    policy.kind === 'majority'
      ? 'more than half of them'
      : policy.kind === 'percentage'
        ? `${policy.percent} % of them`
        : `${policy.count} of them`;
  return [
    ...approvers.map(approverWords),
    `Needed: ${needed}. Votes are taken for ${spanWords(window_s)}.`,
    cooling_period_s === 0
      ? 'Once it is approved, it may be released at once.'
      : `Once it is approved, it can be cancelled for at least ${spanWords(cooling_period_s)}.`,
    links_suffice
      ? 'Links alone suffice: whoever runs the service could vote in their place.'
      : 'Links alone don’t suffice: somebody who votes with a key must agree.',
    `The list is called “${name}”`,
  ];
}

function approverWords({ name, email, public_key, veto, must_approve }: ApproverRow): string {
  const facts = [
    email ?? 'without an address',
    public_key === null ? 'votes by a link' : `votes with the key ${public_key}`,
    ...(veto ? ['may veto'] : []),
    ...(must_approve ? ['must approve'] : []),
  ];
  return `${facts.join(', ')}, called “${name}”`;
}

const spans = [
  { word: 'day', ms: DAY_MS },
  { word: 'hour', ms: HOUR_MS },
  { word: 'minute', ms: MINUTE_MS },
];

/** In the largest unit of which it is two or more, or exactly one. Rounded down: nobody counts on time that isn't there. */
function spanWords(seconds: number): string {
  const ms = seconds * SECOND_MS;
  const fits = spans.find((span) => ms >= 2 * span.ms || ms === span.ms);
  const { word, ms: unit } = fits ?? { word: 'second', ms: SECOND_MS };
  const count = Math.floor(ms / unit);
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

const solanaClusters = Object.entries(SOLANA_GENESIS).map(([name, hash]) => [name, solanaNetwork(hash)] as const);

function networkWords(network: string): string {
  const bitcoin = Object.values(bitcoinNetworks).find(({ caip2 }) => caip2 === network);
  if (bitcoin) return `Bitcoin (${bitcoin.name})`;
  const [cluster] = solanaClusters.find(([, known]) => known === network) ?? [];
  if (cluster !== undefined) return `Solana (${cluster})`;
  return network.startsWith('eip155:') ? `the EVM chain ${network.slice('eip155:'.length)}` : network;
}

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
