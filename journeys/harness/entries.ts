/**
 * The entries of gateway and enclave as the journeys start them. They are bundled once a process into the folder for
 * caches, because a service is started dozens of times and each start from source would take seconds more. Only the
 * harness itself is in the bundle: all that is shipped comes from the build of the packages, like the CLI.
 */
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const folder = fileURLToPath(new URL(`../../node_modules/.cache/kedge/journeys-${process.pid}/`, import.meta.url));
let bundled = false;
/** For node: a database engine that lives for seconds isn't worth compiling a second time, for speed. */
export const QUICK_START = '--liftoff-only';

/** Arguments for node, the entry first. */
export function harnessEntry(name: 'enclave' | 'gateway'): readonly string[] {
  if (!bundled) bundle();
  bundled = true;
  return [QUICK_START, `${folder}${name}-main.mjs`];
}

function bundle(): void {
  buildSync({
    entryPoints: ['enclave', 'gateway'].map((name) => fileURLToPath(new URL(`./${name}-main.ts`, import.meta.url))),
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    outdir: folder,
    outExtension: { '.js': '.mjs' },
  });
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
}
