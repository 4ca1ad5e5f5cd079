/** The story as `main.ts` tells it, with the quick arithmetic: other devices, another threshold, the same addresses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nobleArithmetic } from '@kedge/mpc';
import { openFastSecp256k1 } from '@kedge/mpc/fast';
import { tell } from './story.ts';

const secp256k1 = openFastSecp256k1((length) => globalThis.crypto.getRandomValues(new Uint8Array(length)));

test('three devices make a wallet, five sign with it, and the exported key is that wallet', async () => {
  const lines: string[] = [];
  const { before, after, elsewhere } = await tell({
    second: { threshold: 3, count: 5 },
    nowMs: 1_700_000_000_000n,
    say: (line) => lines.push(line),
    arithmetic: { ...nobleArithmetic, secp256k1 },
  });
  assert.deepEqual(after, before);
  assert.deepEqual(elsewhere, { ethereum: before.ethereum, bitcoin: before.bitcoin });
  assert.equal(lines.filter((line) => line.includes(before.ethereum)).length, 4, lines.join('\n'));
});
