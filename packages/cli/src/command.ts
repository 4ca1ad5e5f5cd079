/**
 * What a command of the CLI is: its words, its usage line, and a function that gets a context and returns what to show.
 * A command never prints by itself: it returns data for `--json` and lines for people, both from one result.
 */
import { parseArgs } from 'node:util';
import { type Home, openHome } from './settings.ts';

export interface Context {
  readonly home: Home;
  readonly json: boolean;
  /** Words after the command's own. */
  readonly args: readonly string[];
  flag(name: string): string | undefined;
  on(name: string): boolean;
  /** Progress for people; silent with --json. */
  note(line: string): void;
}

export interface Result {
  readonly data: unknown;
  readonly lines: readonly string[];
  /** 0 unless the command found what it looks for (doctor, verify). */
  readonly exitCode?: number;
}

export interface Command {
  readonly words: string;
  readonly usage: string;
  readonly summary: string;
  readonly run: (context: Context) => Promise<Result>;
}

/** Every flag of every command; a value follows unless it is listed as a switch. */
const valueFlags = [
  'as',
  'as2',
  'chain',
  'database',
  'device',
  'email',
  'environment',
  'external-id',
  'format',
  'from',
  'head',
  'home',
  'hsm',
  'jwks',
  'key',
  'kind',
  'label',
  'level',
  'network',
  'out',
  'passphrase-file',
  'pin',
  'project',
  'scheme',
  'scopes',
  'secret-key-file',
  'to',
  'type',
  'url',
  'vault',
  'words-file',
  'identity',
  'database-url',
] as const;
const switches = ['json', 'help', 'ephemeral', 'keep', 'second-wrap', 'yes', 'no-install', 'once', 'cold'] as const;

export interface ParsedLine {
  readonly words: readonly string[];
  context(skip: number): Context;
  readonly json: boolean;
  readonly help: boolean;
}

/** Throws `Error` for a flag that no command has. */
export function parseLine(argv: readonly string[]): ParsedLine {
  const options = Object.fromEntries([
    ...valueFlags.map((name) => [name, { type: 'string' as const }]),
    ...switches.map((name) => [name, { type: 'boolean' as const }]),
  ]);
  const parsed = parseArgs({ args: [...argv], options, allowPositionals: true });
  const values = parsed.values as Readonly<Record<string, string | boolean | undefined>>;
  const { positionals } = parsed;
  const json = values.json === true;
  return {
    words: positionals,
    json,
    help: values.help === true,
    context: (skip) => ({
      home: openHome(typeof values.home === 'string' ? values.home : undefined),
      json,
      args: positionals.slice(skip),
      flag: (name) => (typeof values[name] === 'string' ? (values[name] as string) : undefined),
      on: (name) => values[name] === true,
      note: (line) => {
        if (!json) process.stderr.write(`${line}\n`);
      },
    }),
  };
}

/** The n-th word after the command, or an error that shows the usage. */
export function required(context: Context, index: number, what: string): string {
  const word = context.args[index];
  if (word === undefined) throw new Error(`${what} is missing. See kedge help.`);
  return word;
}
