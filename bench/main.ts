/**
 * `npm run bench -- [name …] [--json] [--million] [--peer folder]`: answers the questions of docs/operations.md about speed,
 * each against a limit measured in the same run. A new question is one file that exports a `Question`, and a line below.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import type { Question, Row } from './measure.ts';

const questions: Readonly<Record<string, () => Promise<Question>>> = {
  words: async () => (await import('./words.ts')).words, // first, because it also looks at memory
  'wallet-open': async () => (await import('./wallet-open.ts')).walletOpen,
  rotation: async () => (await import('./rotation.ts')).rotation,
  gentle: async () => (await import('./gentle.ts')).gentle,
  hsm: async () => (await import('./hsm.ts')).hsm,
  opening: async () => (await import('./opening.ts')).opening,
  start: async () => (await import('./start.ts')).start,
  'backup-key': async () => (await import('./backup-key.ts')).backupKey,
  recoveries: async () => (await import('./recoveries.ts')).recoveries,
  chains: async () => (await import('./chains.ts')).chains,
  gateway: async () => (await import('./gateway.ts')).gateway,
  mpc: async () => (await import('./mpc.ts')).mpc,
};

const args = process.argv.slice(2);
const peerAt = args.indexOf('--peer');
const [, peer = null] = peerAt < 0 ? [] : args.splice(peerAt, 2);
const names = args.filter((arg) => !arg.startsWith('--'));
const unknown = names.filter((name) => !Object.hasOwn(questions, name));
if (unknown.length > 0) {
  console.error(`There is no question "${unknown[0]}"; there are ${Object.keys(questions).join(', ')}.`);
  process.exit(2);
}
const json = args.includes('--json');

console.error(describeMachine());
let missed = false;
for (const name of names.length > 0 ? names : Object.keys(questions)) {
  const question = await questions[name]!();
  for (const row of await question.run({ million: args.includes('--million'), peer })) {
    missed ||= !row.met;
    console.log(json ? JSON.stringify(row) : describeRow(row));
  }
}
process.exit(missed ? 1 : 0);

function describeRow({ id, what, value, unit, reference, ratio, low, high, bar, met }: Row): string {
  if (bar === null) return `${id.padEnd(4)} ${what.padEnd(64)} ${figure(value)} ${unit}`;
  const bound = 'atLeast' in bar ? `≥ ${bar.atLeast}` : `≤ ${bar.atMost}`;
  const mark = met ? 'met' : 'MISSED';
  if (ratio === null) return `${id.padEnd(4)} ${what.padEnd(64)} ${figure(value)} ${unit}  (${bound}: ${mark})`;
  return `${id.padEnd(4)} ${what.padEnd(64)} ${figure(value)} ${unit}, reference ${figure(reference!)}: ${ratio.toFixed(2)}× [${low!.toFixed(2)}, ${high!.toFixed(2)}]  (${bound}: ${mark})`;
}

function figure(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(1);
}

function describeMachine(): string {
  const commit = quietly('git', 'rev-parse', '--short', 'HEAD');
  const changed = quietly('git', 'status', '--porcelain') === '' ? '' : ' with changes';
  const versionOf = (name: string) =>
    (
      JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8')) as {
        version: string;
      }
    ).version;
  const versions = ['pg', '@electric-sql/pglite', '@node-rs/argon2', 'koffi']
    .map((name) => `${name} ${versionOf(name)}`)
    .join(', ');
  return [
    `${cpus()[0]?.model ?? 'unknown CPU'} × ${cpus().length}, ${Math.round(totalmem() / 2 ** 30)} GiB, load ${loadavg()
      .map((load) => load.toFixed(1))
      .join(' ')}`,
    `Node ${process.versions.node}, OpenSSL ${process.versions.openssl}, ${versions}; commit ${commit}${changed}; ${new Date().toISOString()}`,
  ].join('\n');
}

function quietly(command: string, ...argv: string[]): string {
  try {
    return execFileSync(command, argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}
