/** How tests of this package say that something is refused: by a `ChainError` with its code, and by no other error. */
import assert from 'node:assert/strict';
import { ChainError, type ChainErrorCode } from '../chain.ts';

export function assertCode(code: ChainErrorCode, act: () => unknown): void {
  assert.throws(act, (error) => isOf(code, error));
}

/** `message`: what the error has to say. */
export function assertCodeLater(code: ChainErrorCode, act: Promise<unknown>, message = /./): Promise<void> {
  return assert.rejects(act, (error) => isOf(code, error, message));
}

function isOf(code: ChainErrorCode, error: unknown, message = /./): boolean {
  assert.ok(error instanceof ChainError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, message);
  return true;
}
