/**
 * What a Solana message does, from its bytes alone. Three rules keep it honest. A token's receiver is shown as a wallet
 * only where the token account is that wallet's by derivation, and as the bare token account otherwise. A token whose
 * mint the bytes don't name is shown under its source account, which is on nobody's list. And one instruction that can't
 * be explained makes the fee unknown, because it may move funds of its own.
 */
import { base58 } from '@scure/base';
import { type Intent, type IntentOutput, NATIVE_ASSET, type Warning } from '../chain.ts';
import { type Action, actionOf, instructionsOf } from './instructions.ts';
import { associatedTokenAccount, isOnCurve } from './tokens.ts';
import { type Message, unreadable } from './wire.ts';

/** Lamports for each signature, since the first block. */
export const SIGNATURE_FEE = 5_000n;
/**
 * The deposit of a token account (165 bytes) that a transaction creates, in lamports. The bytes don't say it; it counts
 * as fee, as it leaves the wallet and is not the receiver's to send on. The cluster's rate has never been higher.
 */
export const TOKEN_ACCOUNT_DEPOSIT = 2_039_280n;
/** Ten times what the busiest hours ask of a transfer. */
const FEE_HIGH = 10_000_000n;
const UNITS_MAX = 1_400_000n;
/** What an instruction counts for when no limit is set (SIMD-170): a built-in program's less than others', budget included. */
const UNITS_DEFAULT = 200_000n;
const UNITS_DEFAULT_BUDGET = 3_000n;
const U64_MAX = (1n << 64n) - 1n;

/** `account`: whose wallet reads it; a token account that is this wallet's by derivation is then shown as the wallet. */
export function intentOf(message: Message, network: string, account?: string): Intent {
  const addresses = message.keys.map((key) => base58.encode(key));
  const feePayer = addresses[0]!;
  const instructions = instructionsOf(message, addresses);
  const actions = instructions.map(actionOf);
  const walletOf = walletFinder(message, addresses, actions, account);
  const outputs: IntentOutput[] = [];
  const allowances: Intent['allowances'][number][] = [];
  const payers = new Set([feePayer]);
  const warnings = new Set<Warning>();
  let created = 0n;

  for (const action of actions) {
    switch (action.kind) {
      case 'transfer': {
        const { from, to, amount } = action;
        payers.add(from);
        outputs.push({ to, amount, asset: NATIVE_ASSET, change: to === feePayer });
        break;
      }
      case 'token_transfer': {
        const { source, mint, authority, amount } = action;
        // A delegate may move what lies in another wallet's account: then it is not proven who pays.
        payers.add(mint !== null && walletOf(source, mint) === authority ? authority : source);
        const to = (mint === null ? null : walletOf(action.to, mint)) ?? action.to;
        outputs.push({ to, amount, asset: mint ?? source, change: to === feePayer });
        if (mint === null) warnings.add('unknown_instruction');
        break;
      }
      case 'token_approve': {
        const { source, mint, to, authority, amount } = action;
        payers.add(authority);
        allowances.push({ spender: to, amount, asset: mint ?? source });
        warnings.add('approves_spender');
        if (amount === U64_MAX) warnings.add('unlimited_approval');
        if (mint === null) warnings.add('unknown_instruction');
        break;
      }
      case 'create_token_account':
        payers.add(action.payer);
        warnings.add('creates_account');
        created += 1n;
        break;
      case 'memo':
        warnings.add('carries_data');
        break;
      // A nonce keeps a transaction good for ever: never ours.
      case 'nonce':
      case 'unknown':
        warnings.add('unknown_instruction');
        break;
    }
  }
  const fee = feeOf(message, actions);
  const explained = !actions.some(({ kind }) => kind === 'unknown' || kind === 'nonce');
  if (!explained) warnings.add('fee_unknown');
  if (fee > FEE_HIGH) warnings.add('fee_high');
  if (outputs.some(({ to, asset }) => asset === NATIVE_ASSET && !isOnCurve(base58.decode(to))))
    warnings.add('output_unspendable');
  return {
    chain: 'solana',
    network,
    from: payers.size === 1 ? feePayer : null,
    outputs,
    allowances,
    feeMax: explained ? fee + created * TOKEN_ACCOUNT_DEPOSIT : null,
    warnings: [...warnings],
  };
}

/** Signatures, and what is bid for compute units: micro-lamports, rounded up. Throws for a budget that no node takes. */
function feeOf({ required }: Message, actions: readonly Action[]): bigint {
  const budget = new Map<string, bigint>();
  let others = 0n;
  for (const action of actions) {
    if (!('value' in action)) {
      others += 1n;
      continue;
    }
    if (budget.has(action.kind)) throw unreadable('it sets its compute budget twice');
    budget.set(action.kind, action.value);
  }
  const asked = budget.get('unit_limit') ?? others * UNITS_DEFAULT + BigInt(budget.size) * UNITS_DEFAULT_BUDGET;
  const units = asked < UNITS_MAX ? asked : UNITS_MAX;
  return BigInt(required) * SIGNATURE_FEE + ((budget.get('unit_price') ?? 0n) * units + 999_999n) / 1_000_000n;
}

/**
 * Whose associated token account this is, among the wallets that the bytes or the reader name: the signers, the wallets
 * of accounts being created, keys that no instruction uses (`compile` puts the receiver there), and `account`. Proven by
 * derivation, never taken from the bytes.
 */
function walletFinder(
  { required, instructions }: Message,
  addresses: readonly string[],
  actions: readonly Action[],
  account: string | undefined,
): (tokenAccount: string, mint: string) => string | null {
  const used = new Set(instructions.flatMap(({ program, accounts }) => [program, ...accounts]));
  const candidates = new Set([
    ...addresses.filter((_, at) => at < required || !used.has(at)),
    ...actions.flatMap((action) => (action.kind === 'create_token_account' ? [action.wallet] : [])),
    ...(account === undefined ? [] : [account]),
  ]);
  const byMint = new Map<string, Map<string, string>>();
  return (tokenAccount, mint) => {
    let wallets = byMint.get(mint);
    if (wallets === undefined) {
      wallets = new Map([...candidates].map((wallet) => [associatedTokenAccount(wallet, mint).address, wallet]));
      byMint.set(mint, wallets);
    }
    return wallets.get(tokenAccount) ?? null;
  };
}
