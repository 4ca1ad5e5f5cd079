/** The table of errors: complete, in sentences, and without surprises for a machine. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCodes, errorEntry, isErrorCode, KedgeError } from './errors.ts';

for (const code of errorCodes) {
  test(`${code} has a status, a sentence of what happened and one of what to do next`, () => {
    const { status, title, nextStep } = errorEntry(code);
    assert.match(code, /^[a-z]+(_[a-z]+)*$/);
    assert.equal([400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503].includes(status), true, String(status));
    for (const sentence of [title, nextStep]) {
      assert.match(sentence, /^[A-Z0-9].*\.$/);
      assert.equal(sentence.includes('undefined'), false);
    }
    assert.notEqual(title, nextStep);
  });
}

test('no two errors say the same', () => {
  assert.equal(new Set(errorCodes.map((code) => errorEntry(code).title)).size, errorCodes.length);
});

test('only codes of the table are codes, whatever an object has by birth', () => {
  for (const code of errorCodes) assert.equal(isErrorCode(code), true);
  for (const text of ['', 'toString', '__proto__', 'constructor', 'hasOwnProperty', 'Internal'])
    assert.equal(isErrorCode(text), false, text);
});

test('an error without a detail says the sentence of the table', () => {
  assert.equal(new KedgeError('not_found').message, errorEntry('not_found').title);
  assert.equal(new KedgeError('not_found', 'There is no wallet 7.').message, 'There is no wallet 7.');
  assert.equal(new KedgeError('rate_limited', undefined, { retryAfterS: 60 }).retryAfterS, 60);
});
