/** Proofs as text: one spelling, every field covered by the signature, and nothing from outside gets through unshaped. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromBase64Url, toBase64Url } from './bytes.ts';
import { type CborValue, decodeCbor, encodeCbor } from './cbor.ts';
import { KedgeError } from './errors.ts';
import {
  type Act,
  decodeProof,
  encodeProof,
  PROOF_CHARS_MAX,
  type Proof,
  type ProofDocument,
  proofHash,
  proofMessage,
} from './proof.ts';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const acts: readonly Act[] = [
  'sign_up',
  'sign_in',
  'recover',
  'create_wallet',
  'open_wallet',
  'rotate',
  'destroy_server_key',
];
const plain = { noNullPrototype: true };
const proofs: fc.Arbitrary<Proof> = fc.record(
  {
    document: fc.record(
      {
        act: fc.constantFrom(...acts),
        subject: fc.string({ maxLength: 64 }),
        parameters: fc.dictionary(
          fc.stringMatching(/^[a-z_]{1,12}$/),
          fc.oneof(fc.integer(), fc.string({ maxLength: 40 }), bytes(32), fc.constant(null)),
          { maxKeys: 4, ...plain },
        ),
        answerKey: fc.option(bytes(32)),
        nonce: bytes(16),
        boot: bytes(16),
        expiresAtMs: fc.maxSafeNat(),
      },
      plain,
    ),
    key: fc.oneof(
      bytes(65).map((publicKey) => ({ algorithm: 'p256' as const, publicKey })),
      bytes(32).map((publicKey) => ({ algorithm: 'ed25519' as const, publicKey })),
    ),
    signature: bytes(64),
  },
  plain,
);
const [example] = fc.sample(proofs, { numRuns: 1, seed: 7 }) as [Proof];
const document: ProofDocument = {
  ...example.document,
  act: 'open_wallet',
  subject: 'user',
  parameters: { wallet: 'w' },
  answerKey: new Uint8Array(32),
  expiresAtMs: 1,
};

test('a proof comes back as it was', () => {
  fc.assert(
    fc.property(proofs, (proof) => {
      const text = encodeProof(proof);
      assert.deepEqual(decodeProof(text), proof);
      assert.equal(encodeProof(decodeProof(text)), text);
    }),
    { numRuns: 1_000 },
  );
});

test('altered proof: a signature over one document holds for no document that differs in any field', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const signature = sign(null, proofMessage(document), privateKey);
  assert.equal(verify(null, proofMessage(document), publicKey, signature), true);
  const changes: readonly Partial<ProofDocument>[] = [
    { act: 'export_wallet' },
    { subject: 'user2' },
    { parameters: { wallet: 'x' } },
    { parameters: {} },
    { parameters: { wallet: 'w', more: null } },
    { answerKey: null },
    { answerKey: new Uint8Array(32).fill(1) },
    { nonce: new Uint8Array(16).fill(9) },
    { boot: new Uint8Array(16).fill(9) },
    { expiresAtMs: 2 },
  ];
  for (const change of changes) {
    const altered = { ...document, ...change };
    assert.equal(verify(null, proofMessage(altered), publicKey, signature), false, Object.keys(change).join());
    assert.notDeepEqual(proofHash(altered), proofHash(document));
  }
  assert.equal(changes.length >= Object.keys(document).length, true, 'a field has no mutation here');
});

test('a field that is missing, too many, of another type or another length is refused', () => {
  const whole = decodeCbor(fromBase64Url(encodeProof({ ...example, document }))) as Record<string, CborValue>;
  const inner = whole.document as Record<string, CborValue>;
  const wrongs: readonly CborValue[] = [
    null,
    true,
    1,
    -1,
    '',
    'x',
    [],
    {},
    new Uint8Array(),
    new Uint8Array(31),
    new Uint8Array(66),
    [[]],
  ];
  const refused = (value: CborValue, what: string) =>
    assert.throws(() => decodeProof(toBase64Url(encodeCbor(value))), { code: 'proof_invalid' }, what);
  for (const [place, put] of [
    [whole, (value: Record<string, CborValue>) => value],
    [inner, (value: Record<string, CborValue>) => ({ ...whole, document: value })],
  ] as const) {
    refused(put({ ...place, extra: 1 }), 'one more');
    for (const field of Object.keys(place)) {
      const { [field]: was, ...without } = place;
      refused(put(without), `${field} is missing`);
      for (const wrong of wrongs) {
        if (fits(field, wrong)) continue;
        refused(put({ ...place, [field]: wrong }), `${field}: ${JSON.stringify(wrong)} instead of ${typeof was}`);
      }
    }
  }
});

/** What has the right type though it is nonsense: that is for the enclave to refuse. */
function fits(field: string, value: CborValue): boolean {
  if (field === 'act' || field === 'subject') return typeof value === 'string';
  if (field === 'parameters')
    return value !== null && typeof value === 'object' && !Array.isArray(value) && !(value instanceof Uint8Array);
  if (field === 'answer_key') return value === null;
  return field === 'expires_at' && typeof value === 'number';
}

test('fuzz: whatever stands in the header, the answer is a proof of the right shape or proof_invalid', () => {
  const text = encodeProof(example);
  const mutated = fc
    .tuple(fc.nat(text.length - 1), fc.constantFrom(...'AZaz09-_=+/ .\0'), fc.nat(3))
    .map(([at, char, kind]) => {
      if (kind === 0) return text.slice(0, at);
      if (kind === 1) return text.slice(0, at) + char + text.slice(at);
      if (kind === 2) return text.slice(0, at) + text.slice(at + 1);
      return text.slice(0, at) + char + text.slice(at + 1);
    });
  const flippedBytes = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })).map(([at, bits]) => {
    const flipped = fromBase64Url(text);
    flipped[at % flipped.length]! ^= bits;
    return toBase64Url(flipped);
  });
  const inputs = fc.oneof(
    mutated,
    flippedBytes,
    fc.string({ maxLength: 200 }),
    fc.base64String(),
    fc.uint8Array({ maxLength: 200 }).map(toBase64Url),
  );
  fc.assert(
    fc.property(inputs, (input) => {
      try {
        const proof = decodeProof(input);
        assert.equal(encodeProof(proof), input, 'accepted, so it is the one spelling');
      } catch (error) {
        if (!(error instanceof KedgeError) || error.code !== 'proof_invalid') throw error;
      }
    }),
    { numRuns: 8_000 },
  );
});

test('a proof longer than a header takes is refused before it is read', () => {
  assert.throws(() => decodeProof('A'.repeat(PROOF_CHARS_MAX + 4)), { code: 'proof_invalid' });
  assert.throws(() => decodeProof('A'.repeat(10_000_000)), { code: 'proof_invalid' });
});

test('prototype attack: a parameter called __proto__ never becomes one', () => {
  const entries = [...encodeCbor({ wallet: 'w' })];
  const name = [...new TextEncoder().encode('__proto__')];
  const parameters = Uint8Array.of(0xa1, 0x60 + name.length, ...name, ...entries);
  let decoded: CborValue;
  try {
    decoded = decodeCbor(parameters);
  } catch {
    return; // refusing is as good
  }
  assert.equal((decoded as { wallet?: unknown }).wallet, undefined);
});
