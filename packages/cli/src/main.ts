/**
 * `kedge`: one table of commands, found by their words. It parses the line, runs the command, prints its result as
 * lines or as JSON, and turns an error into one sentence and what to do next. Exit code 1 for an error, 2 for a wrong line.
 */
import { ChainError } from '@kedge/chains';
import { errorEntry, KedgeError } from '@kedge/core';
import { parseLine } from './command.ts';
import { commands } from './commands/all.ts';

async function main(argv: readonly string[]): Promise<number> {
  const line = parseLine(argv);
  if (line.help || line.words.length === 0 || line.words[0] === 'help') {
    process.stdout.write(`${usage(line.words[0] === 'help' ? line.words[1] : line.words[0])}\n`);
    return line.words.length === 0 && !line.help ? 2 : 0;
  }
  const command = commands.find(({ words }) => words.split(' ').every((word, index) => line.words[index] === word));
  if (!command) {
    process.stderr.write(`There is no command "${line.words.join(' ')}".\n\n${usage(line.words[0])}\n`);
    return 2;
  }
  const result = await command.run(line.context(command.words.split(' ').length));
  if (line.json) process.stdout.write(`${JSON.stringify(result.data)}\n`);
  else for (const text of result.lines) process.stdout.write(`${text}\n`);
  return result.exitCode ?? 0;
}

function usage(noun: string | undefined): string {
  const matching = commands.filter(({ words }) => words.split(' ')[0] === noun);
  const shown = matching.length > 0 ? matching : commands;
  const width = Math.max(...shown.map(({ usage: text }) => text.length));
  return [
    'kedge: keys of crypto wallets that outlive their devices',
    '',
    ...shown.map((command) => `  ${command.usage.padEnd(width)}  ${command.summary}`),
    '',
    '  --json on every command; --home FOLDER or KEDGE_HOME for another state folder',
  ].join('\n');
}

function explain(error: unknown): { code: string; detail: string; next_step: string | null } {
  if (error instanceof KedgeError)
    return { code: error.code, detail: error.message, next_step: errorEntry(error.code).nextStep };
  if (error instanceof ChainError) return { code: error.code, detail: error.message, next_step: null };
  return { code: 'failed', detail: error instanceof Error ? error.message : String(error), next_step: null };
}

const argv = process.argv.slice(2);
main(argv).then(
  (code) => process.exit(code),
  (error: unknown) => {
    const explained = explain(error);
    if (argv.includes('--json')) process.stdout.write(`${JSON.stringify({ error: explained })}\n`);
    else process.stderr.write(`${explained.detail}${explained.next_step ? `\n${explained.next_step}` : ''}\n`);
    process.exit(1);
  },
);
