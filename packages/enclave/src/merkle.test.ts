/** The tree over the buckets gives the root that its leaves have, however it came to them. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { BUCKETS, MerkleTree } from './merkle.ts';

const hash = (...parts: readonly Uint8Array[]) =>
  new Uint8Array(createHash('sha256').update(Buffer.concat(parts)).digest());
const empty = hash();
const leafOf = (value: number) => hash(Uint8Array.of(value));

/** The root by the definition: pairs, level by level. */
function rootOf(leaves: readonly Uint8Array[]): Uint8Array {
  let level = leaves;
  while (level.length > 1)
    level = Array.from({ length: level.length / 2 }, (_, at) => hash(level[2 * at]!, level[2 * at + 1]!));
  return level[0]!;
}

test('any leaves give the root of the definition, whether built at once or set one by one', () => {
  const changes = fc.array(
    fc.tuple(
      fc.oneof(
        fc.nat(BUCKETS - 1),
        fc.constantFrom(0, 1, 2, 3, BUCKETS / 2 - 1, BUCKETS / 2, BUCKETS - 2, BUCKETS - 1),
      ),
      fc.nat(3),
    ),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(changes, (given) => {
      const leaves = Array.from({ length: BUCKETS }, () => empty);
      for (const [bucket, value] of given) leaves[bucket] = leafOf(value);
      const expected = rootOf(leaves);
      assert.deepEqual(new MerkleTree((bucket) => leaves[bucket]!).root, expected);
      const grown = new MerkleTree(() => empty);
      for (const [bucket, value] of given) grown.set([[bucket, leafOf(value)]]);
      assert.deepEqual(grown.root, expected);
    }),
    { numRuns: 6 },
  );
});

test('setting a leaf back gives the root from before', () => {
  const tree = new MerkleTree(() => empty);
  const before = tree.root;
  assert.notDeepEqual(tree.set([[77, leafOf(1)]]), before);
  assert.deepEqual(tree.leaf(77), leafOf(1));
  assert.deepEqual(tree.set([[77, empty]]), before);
});
