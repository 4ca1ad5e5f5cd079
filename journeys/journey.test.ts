/**
 * The journeys as processes of their own, each once on embedded parts and once on PostgreSQL with a PKCS#11 token; their
 * evidence is checked here again by programs that are not ours, from the JSON alone: transactions by ethers and by
 * btc-signer, addresses by Electrum, the certificate by OpenSSL. Two run side by side.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Address, Transaction as BitcoinTransaction, OutScript, TEST_NETWORK } from '@scure/btc-signer';
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
    readonly txid?: string;
    readonly to?: string;
    readonly electrum?: { readonly addresses: readonly string[] } | null;
    readonly signed_message?: string;
    readonly signature_der?: string;
    readonly enclave?: { readonly keys: readonly JsonWebKey[] };
    readonly signatures?: number;
  };
}

const peers = existsSync('/usr/lib/postgresql') && existsSync('/usr/bin/softhsm2-util');

function play(number: 1 | 2, ...flags: readonly string[]): Promise<{ code: number; lines: Line[]; text: string }> {
  const entry = fileURLToPath(new URL('./main.ts', import.meta.url));
  const child = spawn(
    process.execPath,
    ['--conditions=@kedge/source', '--import', 'tsx', entry, String(number), '--json', ...flags],
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

describe('the journeys', { concurrency: 2 }, () => {
  const variants = [
    ['on PGlite with a software root', true, []],
    ['on PostgreSQL with a PKCS#11 token', peers, ['--database', 'postgres', '--hsm', 'pkcs11']],
  ] as const;
  for (const [title, possible, flags] of variants) {
    const options = { skip: possible ? false : 'needs PostgreSQL and SoftHSM2' };

    test(
      `journey 2, ${title}, ends ok, and ethers recovers the sender of each of its transactions`,
      options,
      async () => {
        const lines = await played(2, 10, flags);
        const transactions = lines.filter((line) => line.evidence?.raw_tx);
        assert.ok(transactions.length >= 5, `only ${transactions.length} transactions`);
        for (const { evidence } of transactions) {
          const parsed = Transaction.from(evidence!.raw_tx!);
          assert.equal(parsed.from, evidence!.address);
          assert.equal(parsed.hash, evidence!.tx_hash);
          assert.deepEqual([evidence!.receipt!.transactionHash, evidence!.receipt!.status], [parsed.hash, '0x1']);
        }
      },
    );

    test(
      `journey 1, ${title}, ends ok, and btc-signer, Electrum and OpenSSL find what it claims`,
      options,
      async () => {
        const lines = await played(1, 9, flags);
        const evidenceOf = (step: number) => lines.find((line) => line.step === step)!.evidence!;

        const { address, electrum } = evidenceOf(3);
        if (electrum) assert.equal(electrum.addresses[0], address, 'Electrum derives another address');
        else assert.ok(!existsSync('/usr/bin/electrum'), 'Electrum is there and was not asked');

        const { raw_tx, txid, to } = evidenceOf(6);
        const swept = BitcoinTransaction.fromRaw(Buffer.from(raw_tx!, 'hex'), { disableScriptCheck: true });
        assert.equal(swept.id, txid);
        assert.equal(swept.outputsLength, 1, 'a sweep has one output');
        const paid = Address({ ...TEST_NETWORK, bech32: 'bcrt' }).encode(OutScript.decode(swept.getOutput(0).script!));
        assert.equal(paid, to);
        for (let input = 0; input < swept.inputsLength; input++) {
          const witness = swept.getInput(input).finalScriptWitness!;
          // A dummy, two signatures in DER and the 2-of-3 script.
          assert.deepEqual([witness.length, witness[1]![0], witness[2]![0], witness[3]![0]], [4, 0x30, 0x30, 0x52]);
        }

        const { signed_message, signature_der, enclave } = evidenceOf(5);
        assert.equal(opensslVerifies(enclave!.keys[0]!, signed_message!, signature_der!), true);
        const changed = Buffer.from(signed_message!, 'base64');
        changed[changed.length >> 1]! ^= 1;
        assert.equal(opensslVerifies(enclave!.keys[0]!, changed.toString('base64'), signature_der!), false);

        assert.equal(evidenceOf(9).signatures, 0, 'a robber has a signature');
      },
    );
  }
});

/** Plays it, and holds it against the story that the documentation tells. */
async function played(number: 1 | 2, steps: number, flags: readonly string[]): Promise<Line[]> {
  const { code, lines, text } = await play(number, ...flags);
  assert.equal(code, 0, text.slice(-2_000));
  const last = lines.at(-1)!;
  assert.deepEqual([last.journey, last.ok, last.steps], [number, true, steps]);
  const told = readFileSync(new URL(`../docs/cut/journey-${number}.txt`, import.meta.url), 'utf8');
  for (const { step, title } of lines)
    if (step) assert.ok(told.includes(`${step}. ${title}`), `docs/cut/journey-${number}.txt lacks step ${step}`);
  return lines;
}

function opensslVerifies(key: JsonWebKey, message: string, signature: string): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'kedge-evidence-'));
  const file = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const pem = createPublicKey({ key, format: 'jwk' }).export({ format: 'pem', type: 'spki' });
  const args = ['-verify', file('key', pem), '-signature', file('signature', Buffer.from(signature, 'base64'))];
  try {
    execFileSync('openssl', ['dgst', '-sha256', ...args, file('message', Buffer.from(message, 'base64'))], {
      stdio: 'ignore',
    });
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
