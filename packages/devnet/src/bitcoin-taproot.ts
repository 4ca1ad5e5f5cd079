/**
 * Taproot spends (BIP341, BIP342), judged by the script interpreter of bitcore-lib, because the engine doesn't know them:
 * without this, anyone could take such coins. Called before a transaction reaches the pool, which is the only way into
 * a block. Only the inputs that spend Taproot outputs are judged here; the rest is the engine's.
 */
import { createRequire } from 'node:module';
import { type EngineOutput, type EngineTransaction, isTaproot } from './bitcoin-engine.ts';

/** Null if every Taproot input is valid; otherwise why not. `spent` holds the outputs that its inputs spend, in order. */
export function taprootFault(tx: EngineTransaction, spent: readonly EngineOutput[]): string | null {
  if (!spent.some(({ script }) => isTaproot(script.toRaw()))) return null;
  const { Transaction, Script } = loadBitcore();
  const other = new Transaction(tx.toRaw().toString('hex'));
  // The digest commits to the scripts and amounts of all the outputs that are spent (BIP341).
  spent.forEach(({ script, value }, i) => {
    other.inputs[i]!.output = new Transaction.Output({ script: script.toRaw().toString('hex'), satoshis: value });
  });
  for (const [i, { script, value }] of spent.entries()) {
    const raw = script.toRaw();
    if (!isTaproot(raw)) continue;
    const { Interpreter } = Script;
    const flags =
      Interpreter.SCRIPT_VERIFY_P2SH | Interpreter.SCRIPT_VERIFY_WITNESS | Interpreter.SCRIPT_VERIFY_TAPROOT;
    const interpreter = new Interpreter();
    const input = other.inputs[i]!;
    // It takes the scriptSig as a script of its own; a witness program's must be empty (BIP141).
    if (tx.inputs[i]!.script.toRaw().length > 0) return 'SCRIPT_ERR_WITNESS_MALLEATED';
    let valid = false;
    try {
      valid = interpreter.verify(new Script(''), new Script(raw), other, i, flags, input.witnesses, value);
    } catch {
      // It throws for some malformed witnesses instead of judging them.
    }
    if (!valid) return interpreter.errstr || 'the interpreter refuses it';
  }
  return null;
}

interface Bitcore {
  readonly Transaction: {
    new (raw: string): { inputs: { output: unknown; readonly witnesses: readonly Buffer[] }[] };
    readonly Output: new (options: { script: string; satoshis: number }) => unknown;
  };
  readonly Script: {
    new (raw: string | Buffer): unknown;
    readonly Interpreter: {
      new (): {
        readonly errstr: string;
        verify(
          scriptSig: unknown,
          scriptPubkey: unknown,
          tx: unknown,
          input: number,
          flags: number,
          witness: readonly Buffer[],
          satoshis: number,
        ): boolean;
      };
      readonly SCRIPT_VERIFY_P2SH: number;
      readonly SCRIPT_VERIFY_WITNESS: number;
      readonly SCRIPT_VERIFY_TAPROOT: number;
    };
  };
}

/** At the first Taproot spend: it takes longer to load than the engine needs to start. */
function loadBitcore(): Bitcore {
  return createRequire(import.meta.url)('bitcore-lib') as Bitcore;
}
