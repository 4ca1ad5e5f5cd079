/**
 * A second opinion on spends: the script interpreter of bitcore-lib, which knows Taproot where the devnet's engine
 * doesn't. Tests ask it whether final bytes satisfy the outputs that they spend, input by input.
 */
import { createRequire } from 'node:module';
import { parseTransaction, type TransactionOutput } from '../bitcoin/transaction.ts';

interface Bitcore {
  readonly Transaction: {
    new (
      hex: string,
    ): { readonly inputs: { output: unknown; readonly witnesses: unknown; readonly script: unknown }[] };
    readonly Output: new (fields: { satoshis: number; script: unknown }) => unknown;
  };
  readonly Script: {
    fromHex(hex: string): unknown;
    Interpreter: {
      new (): { errstr: string; verify(...args: readonly unknown[]): boolean };
      readonly SCRIPT_VERIFY_P2SH: number;
      readonly SCRIPT_VERIFY_WITNESS: number;
      readonly SCRIPT_VERIFY_TAPROOT: number;
      readonly SCRIPT_VERIFY_STRICTENC: number;
      readonly SCRIPT_VERIFY_DERSIG: number;
      readonly SCRIPT_VERIFY_LOW_S: number;
      readonly SCRIPT_VERIFY_NULLDUMMY: number;
    };
  };
}

const { Transaction, Script } = createRequire(import.meta.url)('bitcore-lib') as Bitcore;
const { Interpreter } = Script;
const FLAGS =
  Interpreter.SCRIPT_VERIFY_P2SH |
  Interpreter.SCRIPT_VERIFY_WITNESS |
  Interpreter.SCRIPT_VERIFY_TAPROOT |
  Interpreter.SCRIPT_VERIFY_STRICTENC |
  Interpreter.SCRIPT_VERIFY_DERSIG |
  Interpreter.SCRIPT_VERIFY_LOW_S |
  Interpreter.SCRIPT_VERIFY_NULLDUMMY;

/** Null if every input may spend its output; otherwise what the interpreter says of the first that may not. */
export function refusalOf(final: Uint8Array, spent: readonly TransactionOutput[]): string | null {
  const tx = new Transaction(Buffer.from(final).toString('hex'));
  const scripts = spent.map(({ script }) => Script.fromHex(Buffer.from(script).toString('hex')));
  tx.inputs.forEach((input, i) => {
    input.output = new Transaction.Output({ satoshis: Number(spent[i]!.amount), script: scripts[i] });
  });
  for (let i = 0; i < parseTransaction(final).inputs.length; i++) {
    const { witnesses, script } = tx.inputs[i]!;
    const interpreter = new Interpreter();
    const accepts = interpreter.verify(script, scripts[i], tx, i, FLAGS, witnesses, Number(spent[i]!.amount));
    if (!accepts) return `input ${i}: ${interpreter.errstr}`;
  }
  return null;
}
