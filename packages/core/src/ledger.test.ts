/** The ledger tells of every change made to it: a thousand and more ways to tamper, all of them found. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sha256 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { bytesToHex, utf8ToBytes } from './bytes.ts';
import { headMessage, type LedgerEntry, type LedgerHead, linkBodyHash, linkEvent, verifyLedger } from './ledger.ts';

const LENGTH = 40;

function chain(length: number, from = 0): { entries: LedgerEntry[]; head: LedgerHead } {
  const entries: LedgerEntry[] = [];
  let previous: Uint8Array | null = null;
  for (let seq = 1; seq <= length; seq++) {
    const body = JSON.stringify({ id: `${from + seq}`, type: 'wallet.opened', data: { n: seq } });
    const hash: Uint8Array = linkEvent(previous, seq, body);
    entries.push({ seq, body, hash });
    previous = hash;
  }
  return { entries, head: { seq: length, hash: previous ?? new Uint8Array(32) } };
}

const { entries, head } = chain(LENGTH);

test('a ledger that nobody touched holds, and may have grown since its head was signed', () => {
  assert.deepEqual(verifyLedger(entries, head), { ok: true, events: LENGTH });
  const earlier = { seq: 10, hash: entries[9]!.hash };
  assert.deepEqual(verifyLedger(entries, earlier), { ok: true, events: 10 });
  assert.deepEqual(verifyLedger(entries.slice(0, 10), earlier), { ok: true, events: 10 });
});

type Tamper = (rows: LedgerEntry[], at: number, to: number) => LedgerEntry[];
const seqs = (rows: readonly LedgerEntry[]) => rows.map((row, index) => ({ ...row, seq: index + 1 }));
/** Whoever can write to the table can also hash: everything after the change is linked anew. */
const relinked = (rows: readonly LedgerEntry[]) => {
  let previous: Uint8Array | null = null;
  return seqs(rows).map((row) => {
    const hash: Uint8Array = linkEvent(previous, row.seq, row.body);
    previous = hash;
    return { ...row, hash };
  });
};
const flipText = (text: string, at: number) => {
  const index = at % text.length;
  return text.slice(0, index) + String.fromCharCode(text.charCodeAt(index) ^ 1) + text.slice(index + 1);
};
const tampers: Readonly<Record<string, Tamper>> = {
  'one byte of a body flipped': (rows, at, to) => rows.with(at, { ...rows[at]!, body: flipText(rows[at]!.body, to) }),
  'one byte of a hash flipped': (rows, at, to) => {
    const hash = rows[at]!.hash.slice();
    hash[to % 32]! ^= 1 << (to % 8);
    return rows.with(at, { ...rows[at]!, hash });
  },
  'a row dropped': (rows, at) => rows.toSpliced(at, 1),
  'a row dropped and the others renumbered': (rows, at) => seqs(rows.toSpliced(at, 1)),
  'two rows swapped': (rows, at, to) => rows.with(at, rows[to]!).with(to, rows[at]!),
  'two rows swapped and renumbered': (rows, at, to) => seqs(rows.with(at, rows[to]!).with(to, rows[at]!)),
  'a row doubled': (rows, at) => rows.toSpliced(at, 0, rows[at]!),
  'a row inserted and renumbered': (rows, at, to) => seqs(rows.toSpliced(at, 0, { ...rows[to]!, body: '{}' })),
  'the end cut off': (rows, at) => rows.slice(0, at),
  'the start cut off': (rows, at) => rows.slice(at + 1),
  'the start cut off and renumbered': (rows, at) => seqs(rows.slice(at + 1)),
  'a body changed and all linked anew': (rows, at, to) =>
    relinked(rows.with(at, { ...rows[at]!, body: flipText(rows[at]!.body, to) })),
  'a row dropped, another added, all linked anew': (rows, at) =>
    relinked([...rows.toSpliced(at, 1), { ...rows[0]!, body: '{}' }]),
  'the order changed and all linked anew': (rows, at, to) => relinked(rows.with(at, rows[to]!).with(to, rows[at]!)),
  'a number moved': (rows, at, to) => rows.with(at, { ...rows[at]!, seq: to + 1 }),
  'another ledger of the same length': () => chain(LENGTH, 1_000).entries,
};

for (const [what, tamper] of Object.entries(tampers)) {
  test(`tampering is found, 100 times of 100: ${what}`, () => {
    const places = fc.tuple(fc.nat(LENGTH - 1), fc.nat(LENGTH - 1)).filter(([at, to]) => at !== to);
    fc.assert(
      fc.property(places, ([at, to]) => {
        const verdict = verifyLedger(tamper([...entries], at, to), head);
        assert.equal(verdict.ok, false, `${what} at ${at}, ${to}`);
      }),
      { numRuns: 100 },
    );
  });
}

test('the verdict names the first event that is not what was written', () => {
  const verdict = verifyLedger(tampers['one byte of a body flipped']!([...entries], 16, 3), head);
  assert.equal(verdict.ok === false && verdict.seq, 17);
});

test('a head for another number or another hash does not fit', () => {
  for (const seq of [1, LENGTH - 1, LENGTH + 1]) assert.equal(verifyLedger(entries, { ...head, seq }).ok, false);
  assert.equal(verifyLedger(entries, { ...head, hash: new Uint8Array(32) }).ok, false);
  assert.equal(verifyLedger([], head).ok, false);
  assert.notDeepEqual(headMessage(head), headMessage({ ...head, seq: 1 }));
});

test('an event links the same whether its body or the hash of its body is known', () => {
  const body = '{"type":"wallet.opened","data":"ü"}';
  assert.deepEqual(linkBodyHash(head.hash, 41, sha256(utf8ToBytes(body))), linkEvent(head.hash, 41, body));
  assert.equal(bytesToHex(linkEvent(null, 1, '')), bytesToHex(linkBodyHash(null, 1, sha256(new Uint8Array()))));
});
