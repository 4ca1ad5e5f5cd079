/**
 * One writer per data directory: a file beside it names the owner by process id and process start time, so that a
 * process which got a dead owner's id is not mistaken for the owner. `pglite.ts` takes the lock before it opens.
 * It never waits, and it never takes a lock from a living process; a dead process's lock is taken over.
 */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { StoreError } from './database.ts';

/** Takes the lock or throws `StoreError('locked')`. Gives the function that releases it. */
export function lockDirectory(directory: string): () => void {
  const path = `${directory}.lock`;
  const own = `${process.pid} ${startOf(process.pid)}`;
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, own);
  try {
    // A hard link appears whole or not at all, so no one ever reads a half-written lock.
    while (!tryLink(draft, path)) takeOver(path);
  } finally {
    rmSync(draft, { force: true });
  }
  const release = () => {
    process.off('exit', release);
    if (readLock(path) === own) rmSync(path, { force: true });
  };
  process.on('exit', release);
  return release;
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function takeOver(path: string): void {
  const found = readLock(path);
  if (found === undefined) return; // released just now
  const [pid, start] = found.split(' ');
  if (start !== undefined && start === startOf(Number(pid))) {
    throw new StoreError('locked', `The data directory is in use by process ${pid} (${path}).`);
  }
  // Renamed away first: of two processes that found the same dead lock, one wins the rename.
  const stale = `${path}.stale-${process.pid}`;
  try {
    renameSync(path, stale);
    // The other may have taken over between our reading and our renaming: then this is a living lock, put it back.
    if (readLock(stale) !== found) tryLink(stale, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  } finally {
    rmSync(stale, { force: true });
  }
}

function readLock(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Start time of a process in clock ticks after boot, the 22nd field of its stat line; undefined if it is gone. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // the name before may hold spaces
    return fields[0] === 'Z' ? undefined : fields[19]; // a zombie has ended, nobody has collected it yet
  } catch {
    return processExists(pid) ? 'unknown' : undefined; // no /proc on macOS: the id alone has to do
  }
}

function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
