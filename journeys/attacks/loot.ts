/** What a thief of backups holds: both dumps as rows, with every byte string in them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { bytesToHex } from '@kedge/core';
import type { World } from '../harness/world.ts';

export interface LootRow {
  readonly table: string;
  readonly row: Readonly<Record<string, unknown>>;
}

export interface Loot {
  readonly primary: readonly LootRow[];
  readonly vault: readonly LootRow[];
  readonly vaultLines: readonly string[];
  /** Hex of everything that a server key seals. */
  ciphertextsUnderServerKey(): string[];
  contains(hex: string): boolean;
}

/** Takes a backup of the running service, or reads one that was taken. */
export async function readDump(world: World, folder?: string): Promise<Loot> {
  const from = folder ?? (await world.dump()).folder;
  const lines = (file: string) =>
    gunzipSync(readFileSync(join(from, file)))
      .toString('utf8')
      .split('\n')
      .filter(Boolean);
  const vaultLines = lines('vault.jsonl.gz');
  const primary = lines('primary.jsonl.gz').map(parseRow);
  const vault = vaultLines.map(parseRow);
  const all = new Set(
    [...primary, ...vault]
      .flatMap(({ row }) => Object.values(row))
      .filter((value) => value instanceof Uint8Array)
      .map(bytesToHex),
  );
  return {
    primary,
    vault,
    vaultLines,
    ciphertextsUnderServerKey: () => [
      ...primary.filter(({ table }) => table === 'users').map(({ row }) => bytesToHex(row.client_secret as Uint8Array)),
      ...vault.filter(({ table }) => table === 'wallets').map(({ row }) => bytesToHex(row.outer_wrap as Uint8Array)),
    ],
    contains: (hex) => all.has(hex),
  };
}

function parseRow(line: string): LootRow {
  const { table, row } = JSON.parse(line) as LootRow;
  return { table, row: Object.fromEntries(Object.entries(row).map(([name, value]) => [name, unmark(value)])) };
}

function unmark(value: unknown): unknown {
  const marked = value as { $bytes?: string; $bigint?: string; $text?: string; $date?: string } | null;
  if (typeof marked?.$bytes === 'string') return new Uint8Array(Buffer.from(marked.$bytes, 'base64'));
  return marked?.$bigint ?? marked?.$text ?? marked?.$date ?? value;
}
