/**
 * What each warning of an intent means to the person who is to sign. One table: the command line prints it, the page
 * docs/chains.md is made from it, and an approval screen may show it.
 */
import type { Warning } from './chain.ts';

export const warningMeanings: { readonly [W in Warning]: string } = {
  amount_unproven:
    'What a coin holds is only claimed, so the fee may be higher than shown. Ask for the PSBT with the previous transactions in it.',
  approves_spender: 'Somebody else may take the amount later, at any time. Sign only if you know that contract.',
  carries_data: 'A contract is called in a way that Kedge does not read. It can do more than the outputs show.',
  change_far:
    'Your change goes to an address so far out that no scan would find it there. Ask for the transaction with another one.',
  change_unproven: 'An output is marked as your change and is not yours. Treat it as a payment.',
  creates_account: 'The receiver has no account for this token yet. You pay for making it.',
  creates_contract: 'It puts new code on the chain and pays nobody.',
  fee_high:
    'The fee is more than a quarter of what is paid, or more than any network has asked for. Check the amount and the fee level.',
  fee_unknown:
    'The bytes do not say what is spent, so not what the fee is. Look at the transaction before it was signed.',
  has_access_list: 'It names storage that it will touch. That is harmless, and unusual for a transfer.',
  not_replaceable: 'Once it is sent, its fee can’t be raised and it can’t be cancelled.',
  output_dust: 'An output is so small that nodes will not pass the transaction on.',
  output_nonstandard: 'An output pays to a script that no address stands for. You can’t know who may spend it.',
  output_unspendable: 'An output can never be spent by anybody. What it holds is gone.',
  time_locked: 'No block may take it before a certain time or height.',
  unknown_instruction: 'It does something that Kedge does not read, beside what the outputs show.',
  unlimited_approval:
    'Somebody else may take all of this token, now and later. Approve the amount that is needed instead.',
};
