/**
 * Child processes: started by the path of their entry, never imported. A child reports on stdout in lines of JSON and
 * keeps its stdin open to notice when we are gone; so whatever ends us ends it too.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface ChildOptions {
  readonly name: string;
  /** Arguments for node, the entry first. */
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Called with every line of its stderr. */
  readonly onLog?: (line: string) => void;
}

export interface Child {
  readonly name: string;
  readonly pid: number;
  /** The first line of stdout that `accepts` takes. Rejects when the child ends before. */
  line(accepts: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  /** How many lines so far `accepts` takes. */
  count(accepts: (line: Record<string, unknown>) => boolean): number;
  /** The n-th such line, from 1. */
  nth(accepts: (line: Record<string, unknown>) => boolean, n: number): Promise<Record<string, unknown>>;
  /** Resolves with its exit code, however it ended. */
  readonly ended: Promise<number>;
  /** Asks it to stop, and kills it if it hasn't within 10 s. */
  stop(): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  send(line: object): void;
}

const STOP_MS_MAX = 10_000;

export function startChild({ name, argv, env = {}, onLog }: ChildOptions): Child {
  const child: ChildProcess = spawn(process.execPath, argv, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env, KEDGE_CHILD: '1' },
    detached: true, // Ctrl-C in the terminal reaches us alone; we stop the children in order
  });
  const seen: Record<string, unknown>[] = [];
  const waiting = new Set<() => void>();
  let lastWords = '';
  const ended = new Promise<number>((resolve) =>
    child.once('exit', (code, signal) => {
      if (code !== 0) onLog?.(`ended ${signal ? `by ${signal}` : `with code ${code}`}`);
      resolve(code ?? 128);
    }),
  );

  createInterface({ input: child.stdout! }).on('line', (text) => {
    const line = parseLine(text);
    if (line === null) return;
    seen.push(line);
    for (const look of waiting) look();
  });
  createInterface({ input: child.stderr! }).on('line', (text) => {
    lastWords = text;
    onLog?.(text);
  });
  child.stdin!.on('error', () => undefined); // it has ended; `ended` says so
  const onExit = () => child.kill('SIGKILL');
  process.once('exit', onExit);
  void ended.then(() => process.removeListener('exit', onExit));

  return {
    name,
    pid: child.pid ?? 0,
    ended,
    line: (accepts) => nth(accepts, 1),
    count: (accepts) => seen.filter(accepts).length,
    nth,
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
      await ended;
      clearTimeout(timer);
    },
    kill: (signal) => child.kill(signal),
    send: (line) => child.stdin!.write(`${JSON.stringify(line)}\n`),
  };

  function nth(accepts: (line: Record<string, unknown>) => boolean, n: number): Promise<Record<string, unknown>> {
    const already = seen.filter(accepts)[n - 1];
    if (already) return Promise.resolve(already);
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = seen.filter(accepts)[n - 1];
        if (!found) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      void ended.then((code) =>
        reject(new Error(`${name} ended with code ${code}: ${lastWords || 'it said nothing'}`)),
      );
    });
  }
}

function parseLine(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null;
  }
}
