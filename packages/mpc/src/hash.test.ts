/**
 * Tagged hashing is injective in its items (T-ENC-1), its tags are all different, and nobody makes one up: every call in
 * the package takes a constant of `tags.ts`.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { sha256 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { concat, Reader, toHex, u8, u16be, u32be, utf8 } from './bytes.ts';
import { hashToScalar, list, taggedHash } from './hash.ts';
import { tags } from './tags.ts';
import * as naive from './testing/naive.ts';

const items = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 });
const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** What docs/mpc.md says is hashed after the tag. */
const preimage = (tuple: readonly Uint8Array[]) =>
  concat(u16be(tuple.length), ...tuple.flatMap((item) => [u32be(item.length), item]));

test('T-ENC-1: the preimage gives back the items, so that no two lists of items share one', () => {
  fc.assert(
    fc.property(items, (tuple) => {
      const reader = new Reader(preimage(tuple), 'preimage');
      const read = Array.from({ length: reader.u16() }, () => reader.sized(40));
      reader.end();
      assert.deepEqual(read, tuple);
    }),
    { numRuns: 1_000 },
  );
});

test('T-ENC-1: the hash is that of tag and preimage', () => {
  fc.assert(
    fc.property(fc.constantFrom(...Object.values(tags)), items, (tag, tuple) => {
      const name = sha256(utf8(`kedge/v1/${tag}`));
      assert.deepEqual(taggedHash(tag, ...tuple), sha256(concat(name, name, preimage(tuple))));
      assert.deepEqual(taggedHash(tag, ...tuple), naive.th(tag, ...tuple));
      assert.equal(hashToScalar(tag, order, ...tuple), naive.ts(tag, ...tuple));
      assert.deepEqual(list(tuple), preimage(tuple));
    }),
    { numRuns: 300 },
  );
});

test('T-ENC-1: other boundaries, another order, arity or type is another hash', () => {
  const changes: ((tuple: Uint8Array[]) => Uint8Array[])[] = [
    (tuple) => [concat(...tuple)],
    (tuple) => [concat(tuple[0]!, tuple[1]!), ...tuple.slice(2)],
    (tuple) => [...tuple].reverse(),
    (tuple) => [...tuple, new Uint8Array(0)],
    (tuple) => tuple.slice(1),
    (tuple) => [list(tuple)],
    (tuple) => [tuple[0]!.subarray(0, -1), concat(tuple[0]!.subarray(-1), tuple[1]!), ...tuple.slice(2)],
    (tuple) => [concat(u8(0), tuple[0]!), ...tuple.slice(1)],
    (tuple) => tuple.map((item) => utf8(toHex(item))),
  ];
  const distinct = fc.uniqueArray(fc.uint8Array({ minLength: 1, maxLength: 20 }), {
    minLength: 2,
    maxLength: 5,
    selector: toHex,
  });
  fc.assert(
    fc.property(distinct, (tuple) => {
      const hash = toHex(taggedHash('sid', ...tuple));
      for (const change of changes) assert.notEqual(toHex(taggedHash('sid', ...change(tuple))), hash);
    }),
    { numRuns: 200 },
  );
  assert.notDeepEqual(taggedHash('sid', u8(1)), taggedHash('sid', u16be(1)));
  assert.notDeepEqual(taggedHash('sid', u16be(1)), taggedHash('sid', u32be(1)));
  assert.notDeepEqual(taggedHash('sid'), taggedHash('sid', new Uint8Array(0)));
});

test('all tags are different, also as the two that a scalar is hashed with', () => {
  const all = Object.values(tags).flatMap((tag) => [tag, `${tag}/0`, `${tag}/1`]);
  assert.equal(new Set(all).size, all.length);
  assert.equal(new Set(all.map((tag) => toHex(sha256(utf8(`kedge/v1/${tag}`))))).size, all.length);
});

test('every call takes its tag from the list', () => {
  let calls = 0;
  const used = new Set<string>();
  const folder = new URL('.', import.meta.url);
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts') || file.endsWith('.test.ts') || file.startsWith('testing/') || file === 'hash.ts')
      continue;
    const source = readFileSync(new URL(file, folder), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
    for (const [, given] of source.matchAll(/\b(?:taggedHash|hashToScalar)\(\s*([^,)]+)/g)) {
      // One constant, or one of two.
      const [, first, second] = /^(?:\w+ === '\w+' \? )?tags\.(\w+)(?: : tags\.(\w+))?$/.exec(given!) ?? [];
      assert.ok(first && first in tags && (!second || second in tags), `${file}: ${given}`);
      calls++;
    }
    for (const [, name] of source.matchAll(/\btags\.(?!ts\b)(\w+)/g)) used.add(name!);
    assert.doesNotMatch(source, /kedge\/v1\/(?!\$\{tags\.|random\/)/, `${file} spells out a tag`);
  }
  assert.ok(calls >= 30, 'the pattern has found the calls there are');
  assert.deepEqual([...used].sort(), Object.keys(tags).sort(), 'no tag is left over');
});
