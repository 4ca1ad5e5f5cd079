/**
 * Journey 2 as its own process, once on embedded parts and once on PostgreSQL with a PKCS#11 token; its evidence is
 * checked here again by ethers, from the JSON alone. The two run side by side.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Transaction } from 'ethers';

interface Line {
  readonly step?: number;
  readonly title?: string;
  readonly ok: boolean;
  readonly steps?: number;
  readonly journey?: number;
  readonly evidence?: {
    readonly raw_tx?: string;
    readonly address?: string;
    readonly tx_hash?: string;
    readonly receipt?: { readonly transactionHash: string; readonly status: string };
  };
}

const peers = existsSync('/usr/lib/postgresql') && existsSync('/usr/bin/softhsm2-util');

function play(...flags: readonly string[]): Promise<{ code: number; lines: Line[]; text: string }> {
  const entry = fileURLToPath(new URL('./main.ts', import.meta.url));
  const child = spawn(
    process.execPath,
    ['--conditions=@kedge/source', '--import', 'tsx', entry, '2', '--json', ...flags],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let text = '';
  child.stdout.on('data', (chunk) => (text += chunk));
  child.stderr.on('data', (chunk) => (text += chunk));
  return new Promise((resolve) =>
    child.once('close', (code) => {
      const lines = text
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Line);
      resolve({ code: code ?? 1, lines, text });
    }),
  );
}

describe('journey 2', { concurrency: 2 }, () => {
  const variants = [
    ['on PGlite with a software root', true, []],
    ['on PostgreSQL with a PKCS#11 token', peers, ['--database', 'postgres', '--hsm', 'pkcs11']],
  ] as const;
  for (const [title, possible, flags] of variants) {
    test(`${title} ends ok, and ethers recovers the sender of each of its transactions`, {
      skip: possible ? false : 'needs PostgreSQL and SoftHSM2',
    }, async () => {
      const { code, lines, text } = await play(...flags);
      assert.equal(code, 0, text.slice(-2_000));
      const last = lines.at(-1)!;
      assert.deepEqual([last.journey, last.ok, last.steps], [2, true, 10]);
      const told = readFileSync(new URL('../docs/cut/journey-2.txt', import.meta.url), 'utf8');
      for (const { step, title } of lines)
        if (step) assert.ok(told.includes(`${step}. ${title}`), `docs/cut/journey-2.txt lacks step ${step}`);
      const transactions = lines.filter((line) => line.evidence?.raw_tx);
      assert.ok(transactions.length >= 5, `only ${transactions.length} transactions`);
      for (const { evidence } of transactions) {
        const parsed = Transaction.from(evidence!.raw_tx!);
        assert.equal(parsed.from, evidence!.address);
        assert.equal(parsed.hash, evidence!.tx_hash);
        assert.deepEqual([evidence!.receipt!.transactionHash, evidence!.receipt!.status], [parsed.hash, '0x1']);
      }
    });
  }
});
