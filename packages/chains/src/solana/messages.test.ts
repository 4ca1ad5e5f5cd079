/** Texts signed off the chain: Solana's own library makes and verifies the same bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ed25519 } from '@noble/curves/ed25519.js';
import { base58 } from '@scure/base';
import {
  address,
  compileOffchainMessageV0Envelope,
  OffchainMessageContentFormat,
  offchainMessageApplicationDomain,
  type SignatureBytes,
  verifyOffchainMessageEnvelope,
} from '@solana/kit';
import { ChainError } from '../chain.ts';
import { solanaCodec } from './codec.ts';
import { solanaMessage, verifySolanaMessage } from './messages.ts';

const secretKey = ed25519.utils.randomSecretKey();
const account = base58.encode(ed25519.getPublicKey(secretKey));
const application = new Uint8Array(32).fill(7);
const formats = [
  ['I am who I say.', OffchainMessageContentFormat.RESTRICTED_ASCII_1232_BYTES_MAX],
  ['Grüße', OffchainMessageContentFormat.UTF8_1232_BYTES_MAX],
  ['two\nlines', OffchainMessageContentFormat.UTF8_1232_BYTES_MAX],
  ['x'.repeat(1_147), OffchainMessageContentFormat.RESTRICTED_ASCII_1232_BYTES_MAX],
  ['x'.repeat(1_148), OffchainMessageContentFormat.UTF8_65535_BYTES_MAX],
  ['ü'.repeat(30_000), OffchainMessageContentFormat.UTF8_65535_BYTES_MAX],
] as const;

for (const [text, format] of formats) {
  test(`Solana's library makes the same bytes of ${text.length} characters in format ${format}, and verifies our signature`, async () => {
    const envelope = compileOffchainMessageV0Envelope({
      version: 0,
      applicationDomain: offchainMessageApplicationDomain(base58.encode(application)),
      requiredSignatories: [{ address: address(account) }],
      content: { format, text },
    } as unknown as Parameters<typeof compileOffchainMessageV0Envelope>[0]);
    const bytes = solanaMessage(text, account, application);
    assert.deepEqual(bytes, new Uint8Array(envelope.content));
    const signature = ed25519.sign(bytes, secretKey);
    assert.ok(verifySolanaMessage(text, account, signature, application));
    await verifyOffchainMessageEnvelope({ ...envelope, signatures: { [account]: signature as SignatureBytes } });
  });
}

test('another text, application, account or signature does not verify', () => {
  const signature = ed25519.sign(solanaMessage('text', account), secretKey);
  const other = base58.encode(ed25519.getPublicKey(ed25519.utils.randomSecretKey()));
  assert.ok(verifySolanaMessage('text', account, signature));
  assert.ok(!verifySolanaMessage('texts', account, signature));
  assert.ok(!verifySolanaMessage('text', account, signature, application));
  assert.ok(!verifySolanaMessage('text', other, signature));
  assert.ok(
    !verifySolanaMessage(
      'text',
      account,
      signature.map((byte) => byte ^ 1),
    ),
  );
  assert.ok(!verifySolanaMessage('text', account, new Uint8Array()));
});

test('attack: a text to sign is never a transaction', () => {
  const codec = solanaCodec('solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp');
  assert.throws(() => codec.digests(solanaMessage('text', account)), ChainError);
});

test('nothing, too much, and half a character are refused', () => {
  for (const text of ['', 'x'.repeat(65_516), '\ud800']) assert.throws(() => solanaMessage(text, account), ChainError);
});
