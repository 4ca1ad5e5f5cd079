/**
 * Derivation paths in one spelling, `48h/0h/0h/2h`: hardened steps with `h`, no `m/` in front. Other wallets' spellings
 * (`m/48'/0'/0'/2'`, `H`) are understood where people type or paste them, and never written.
 */
import { ChainError } from './chain.ts';

/** BIP32 depth is one byte. */
const STEPS_MAX = 255;
const HARDENED = 0x80000000;

/** The steps as BIP32 numbers them, hardened ones from 2^31 on. Throws `key_invalid`. */
export function parsePath(text: string): readonly number[] {
  const body = text.replace(/^m\/?/, '');
  if (body === '') return [];
  if (body.length > STEPS_MAX * 12) throw badPath();
  const steps = body.split('/');
  if (steps.length > STEPS_MAX) throw badPath();
  return steps.map((step) => {
    const [, digits, hardened] = /^(0|[1-9][0-9]{0,9})([hH']?)$/.exec(step) ?? [];
    const index = Number(digits);
    if (digits === undefined || index >= HARDENED) throw badPath();
    return hardened === '' ? index : index + HARDENED;
  });
}

export function formatPath(steps: readonly number[]): string {
  return steps.map((step) => (step >= HARDENED ? `${step - HARDENED}h` : String(step))).join('/');
}

function badPath(): ChainError {
  return new ChainError(
    'key_invalid',
    'This is no derivation path. Write it as 48h/0h/0h/2h, each step below 2147483648.',
  );
}
