/** `ledger`: take the ledger with you, and check it with nothing of ours running. */
import { readFileSync, writeFileSync } from 'node:fs';
import {
  bytesToHex,
  equalBytes,
  fromBase64Url,
  headMessage,
  hexToBytes,
  type LedgerEntry,
  verifyLedger,
} from '@kedge/core';
import { verifyP256 } from '@kedge/sdk';
import { asOperator } from '../access.ts';
import { type Command, type Context, type Result, required } from '../command.ts';

export const ledgerCommands: readonly Command[] = [
  {
    words: 'ledger export',
    usage: 'ledger export FILE',
    summary: 'write all events, and the signed head to FILE.head',
    run: exportLedger,
  },
  {
    words: 'ledger verify',
    usage: 'ledger verify FILE [--head FILE] [--identity HEX]',
    summary: 'check an exported ledger offline',
    run: verify,
  },
];

const PAGE = 1_000;

async function exportLedger(context: Context): Promise<Result> {
  const file = required(context, 0, 'The file to write');
  const { client } = await asOperator(context);
  const head = await client.call('getLedgerHead', {});
  const lines: string[] = [];
  for (let after = 0; after < head.seq; after += PAGE) {
    const { data } = await client.call('listLedgerEvents', { query: { after, limit: PAGE } });
    lines.push(...data.filter((entry) => entry.seq <= head.seq).map((entry) => JSON.stringify(entry)));
  }
  writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 });
  writeFileSync(`${file}.head`, `${JSON.stringify(head)}\n`, { mode: 0o600 });
  return {
    data: { file, head: `${file}.head`, events: lines.length, identity: head.identity },
    lines: [`${lines.length} events in ${file}, the signed head in ${file}.head.`],
  };
}

async function verify(context: Context): Promise<Result> {
  const file = required(context, 0, 'The file of the ledger');
  const head = JSON.parse(readFileSync(context.flag('head') ?? `${file}.head`, 'utf8')) as {
    seq: number;
    hash: string;
    signature: string;
    identity: string;
  };
  const identity = hexToBytes(context.flag('identity') ?? head.identity);
  const signed = await verifyP256(
    identity,
    headMessage({ seq: head.seq, hash: hexToBytes(head.hash) }),
    fromBase64Url(head.signature),
  );
  if (!signed)
    return verdict({
      ok: false,
      reason: 'the head is not signed by the enclave of that identity',
      identity: bytesToHex(identity),
    });
  const entries = readFileSync(file, 'utf8').split('\n').filter(Boolean).map(parseEntry);
  const broken = entries.indexOf(null);
  if (broken >= 0) return verdict({ ok: false, seq: broken + 1, reason: `line ${broken + 1} is not an event` });
  const result = verifyLedger(entries as LedgerEntry[], { seq: head.seq, hash: hexToBytes(head.hash) });
  const pinned = context.flag('identity') !== undefined && equalBytes(identity, hexToBytes(head.identity));
  return verdict({ ...result, head: head.seq, identity_pinned: pinned });
}

function verdict(data: { readonly ok: boolean; readonly reason?: string; readonly [name: string]: unknown }): Result {
  const lines = data.ok
    ? [
        `The ledger holds: ${String(data.events)} events, up to the head that the enclave signed.`,
        ...(data.identity_pinned ? [] : ['Give --identity HEX to also check which enclave signed it.']),
      ]
    : [`THE LEDGER DOES NOT HOLD: ${data.reason}.`];
  return { data, lines, exitCode: data.ok ? 0 : 1 };
}

function parseEntry(line: string): LedgerEntry | null {
  try {
    const { seq, body, hash } = JSON.parse(line) as { seq: number; body: string; hash: string };
    return { seq, body, hash: hexToBytes(hash) };
  } catch {
    return null;
  }
}
