/** Published test vectors, read from `vectors/` by the chains' tests; each file names its source and licence. */
import { readFileSync } from 'node:fs';

export function readVector<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../../vectors/${name}`, import.meta.url), 'utf8')) as T;
}
