/** Many signatures of one wallet, each verified by a library that had no part in making it. */
import assert from 'node:assert/strict';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { verifySchnorr } from 'tiny-secp256k1';
import { concat, toHex } from '../bytes.ts';
import { dealWallet } from './dealer.ts';
import { play, results } from './devices.ts';
import { ecdsaSeats, frostSeats, type Holder } from './wallets.ts';

export interface Configuration {
  readonly threshold: number;
  readonly count: number;
}

/** `npm test` makes few, `npm run test:slow` many; MPC_SIGNATURES says how many. */
export const signatureCount = (otherwise: number): number => Number(process.env.MPC_SIGNATURES ?? otherwise);

/** A different set of signers each time, where there is a choice. */
function signersOf(wallet: readonly Holder[], threshold: number, at: number): Holder[] {
  const start = at % wallet.length;
  const chosen = Array.from({ length: threshold }, (_, k) => wallet[(start + k) % wallet.length]!);
  return chosen.sort((a, b) => a.index - b.index);
}

/** Low s, a fresh r, and OpenSSL agrees: `count` times, at as many derived keys. */
export async function signManyEcdsa({ threshold, count }: Configuration, signatures: number): Promise<void> {
  const wallet = await dealWallet({ threshold, count });
  const half = (2n ** 256n - 432420386565659656852420866394968145599n) / 2n;
  const seen = new Set<string>();
  for (let at = 0; at < signatures; at++) {
    const message = Buffer.from(`payment ${at}`);
    const digest = new Uint8Array(createHash('sha256').update(message).digest());
    const played = await play(ecdsaSeats(signersOf(wallet, threshold, at), { digest, path: [0, at] }));
    for (const signature of results(played)) {
      const spki = concat(Buffer.from('3036301006072a8648ce3d020106052b8104000a032200', 'hex'), signature.publicKey);
      const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
      assert.ok(verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature.bytes), `signature ${at}`);
      assert.ok(signature.s <= half, `signature ${at} has a high s`);
    }
    const r = String(results(played)[0]!.r);
    assert.ok(!seen.has(r), `signature ${at} repeats an r`);
    seen.add(r);
  }
}

export async function signManyFrost(
  suite: 'schnorr-secp256k1' | 'eddsa-ed25519',
  { threshold, count }: Configuration,
  signatures: number,
): Promise<void> {
  const wallet = await dealWallet({ threshold, count, suites: [suite] });
  const seen = new Set<string>();
  for (let at = 0; at < signatures; at++) {
    const digest = new Uint8Array(createHash('sha256').update(`message ${at}`).digest());
    const isTaproot = suite === 'schnorr-secp256k1';
    const message = isTaproot ? digest : digest.slice(0, at % 33);
    const taproot = isTaproot && at % 2 === 0 ? { merkleRoot: new Uint8Array(at % 4 === 0 ? 0 : 32) } : null;
    const seats = frostSeats(signersOf(wallet, threshold, at), { suite, message, path: [at], taproot });
    const [signature] = results(await play(seats));
    assert.ok(
      isTaproot ? verifySchnorr(message, signature!.publicKey, signature!.bytes) : verifyEd25519(message, signature!),
      `signature ${at}`,
    );
    const nonce = toHex(signature!.bytes.slice(0, 32));
    assert.ok(!seen.has(nonce), `signature ${at} repeats a nonce`);
    seen.add(nonce);
  }
}

export function verifyEd25519(
  message: Uint8Array,
  { publicKey, bytes }: { publicKey: Uint8Array; bytes: Uint8Array },
): boolean {
  const spki = concat(Buffer.from('302a300506032b6570032100', 'hex'), publicKey);
  return verify(null, message, createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }), bytes);
}
