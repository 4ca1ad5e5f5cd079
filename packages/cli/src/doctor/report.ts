/**
 * Asking a process of ours about its own side: its entry is started by path with the verb `check` and prints one line
 * of JSON. So the doctor opens no database and loads no PKCS#11 module itself.
 */
import { startChild } from '../operator/children.ts';
import type { Home } from '../settings.ts';
import { bad, type Finding, reported } from './findings.ts';

/** Arguments for node, without a verb. */
export interface ProcessEntries {
  readonly enclave: readonly string[];
  readonly gateway: readonly string[];
}

export interface Report {
  readonly findings: readonly Finding[];
  /** Everything else that the process said. */
  readonly said: Readonly<Record<string, unknown>>;
}

export async function report(
  home: Home,
  entry: readonly string[],
  name: 'enclave' | 'gateway',
  args: readonly string[] = [],
): Promise<Report> {
  const child = startChild({
    name,
    argv: [...entry, 'check', ...args],
    env: { [`KEDGE_${name.toUpperCase()}_CONFIG`]: home.file('run', `${name}.json`) },
  });
  try {
    const said = await child.line((line) => Array.isArray(line.checks));
    await child.ended;
    const checks = said.checks as readonly { code: string; ok: boolean; detail: string }[];
    return { findings: checks.map((check) => reported(home, check)), said };
  } catch (error) {
    return { findings: [bad(home, 'check_failed', error instanceof Error ? error.message : String(error))], said: {} };
  }
}
