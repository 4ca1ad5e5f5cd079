/** Folders for this package's own tests: temporary ones, and a small disk that can really be full. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** In memory where there is room for it: a real disk takes seconds to sync a fresh data directory. */
export const temporaryRoot = hasRoom('/dev/shm') ? '/dev/shm' : tmpdir();

/** Containers often have 64 MB there. */
function hasRoom(folder: string): boolean {
  if (!existsSync(folder)) return false;
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize > 2 ** 30;
}

export function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(temporaryRoot, 'kedge-store-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Mounts a file system of this size. Skips the test, by name, where mounting is not allowed. */
export function smallDisk(t: TestContext, mebibytes: number): string | undefined {
  const directory = mkdtempSync(join(tmpdir(), 'kedge-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', directory], { stdio: 'pipe' });
  } catch {
    rmdirSync(directory);
    t.skip('mounting a small disk needs root');
    return undefined;
  }
  t.after(() => {
    execFileSync('umount', ['--lazy', directory]);
    rmdirSync(directory);
  });
  return directory;
}

/** The files under a directory that contain these bytes. */
export function filesContaining(directory: string, bytes: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.path, entry.name));
  return files.filter((file) => readFileSync(file).includes(bytes));
}
