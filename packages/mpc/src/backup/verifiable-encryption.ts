/**
 * The share under the joint key, in a form whose honesty anybody can verify without a secret (docs/mpc.md, "Device backup"):
 * 128 times the share is split in two and both halves are encrypted; a challenge opens one of each. Every cheated row has
 * to be guessed. There is no MAC on purpose: the challenge and the final check against X_i are the integrity.
 */
import { concat, equalBytes, Reader, u8, u16be, wipe } from '../bytes.ts';
import { MpcError } from '../errors.ts';
import { mod, type Point } from '../group.ts';
import { hashToScalar, list, taggedHash } from '../hash.ts';
import { type RandomBytes, randomScalar } from '../random.ts';
import { type Arithmetic, nobleArithmetic, suiteOf } from '../suite.ts';
import { tags } from '../tags.ts';
import { type BackupContext, jointPoint } from './context.ts';

/** One-bit challenges, all from one 256-bit hash; any other number of rows does not decode. */
export const ROWS = 128;
const VERSION = 1;
const POINT = 33;
const ROW_BYTES = 32 + 32 + POINT + 32;
const HEAD_BYTES = 2 + 16 + 32;
export const BLOB_BYTES = HEAD_BYTES + ROWS * ROW_BYTES;

interface Sealed {
  readonly E: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/**
 * `secret` is s_i in the scalar encoding of its suite. `random` gives fresh bytes for each purpose; a second blob with the
 * same ones would open the other halves.
 */
export function encryptShare(
  context: BackupContext,
  secret: Uint8Array,
  random: RandomBytes,
  arithmetic: Arithmetic = nobleArithmetic,
): Uint8Array {
  const { group } = suiteOf(context.suite, arithmetic);
  const s = group.decodeScalar(secret);
  return proveRows(context, (half) => mod(s - half, group.order), random, arithmetic);
}

/** The prover of `encryptShare`: `complement` gives the second half of a row for the first. */
export function proveRows(
  context: BackupContext,
  complement: (half: bigint, row: number) => bigint,
  random: RandomBytes,
  arithmetic: Arithmetic,
): Uint8Array {
  const { group } = suiteOf(context.suite, arithmetic);
  const joint = jointPoint(arithmetic, context);
  const rows = Array.from({ length: ROWS }, (_, i) => {
    const half = randomScalar(random, `backup row ${i}`, group.order);
    const halves = [group.encodeScalar(half), group.encodeScalar(complement(half, i))] as const;
    const sides = halves.map((m, b) => sealHalf(context, joint, i, b, m, random, arithmetic));
    return { V: group.encode(group.base(half)), halves, sides };
  });
  const transcript = rows.map(({ V, sides }) => transcriptRow(V, sides[0]!, sides[1]!));
  const challenge = challengeOf(context, joint, arithmetic, transcript);
  const body = rows.map(({ halves, sides }, i) => {
    const open = bitOf(challenge, i);
    const closed = sides[1 - open]!;
    return concat(halves[open]!, sides[open]!.seed, closed.E, closed.ciphertext);
  });
  for (const { halves, sides } of rows) wipe(...halves, ...sides.map(({ seed }) => seed));
  return concat(u16be(VERSION), context.backupId, challenge, ...body);
}

export interface OpenRow {
  readonly row: number;
  /** The opened half. */
  readonly half: Uint8Array;
  /** Which half is still closed, and its ciphertext. */
  readonly side: 0 | 1;
  readonly E: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/**
 * Verifies a blob against the verifier's own X_i and context, and gives its rows. Throws `bad_proof`, or `bad_encoding`
 * for another length or encoding: then the stored ciphertext is damaged or swapped, and no row of it is used.
 */
export function verifyBlob(
  context: BackupContext,
  blob: Uint8Array,
  arithmetic: Arithmetic = nobleArithmetic,
): OpenRow[] {
  const reader = new Reader(blob, 'backup');
  if (blob.length !== BLOB_BYTES) throw reader.malformed(`${blob.length} bytes instead of ${BLOB_BYTES}`);
  if (reader.u16() !== VERSION) throw reader.malformed('a version that this program does not know');
  const { group } = suiteOf(context.suite, arithmetic);
  const { secp256k1 } = arithmetic;
  const joint = jointPoint(arithmetic, context);
  const target = group.decode(context.publicShare);
  const backupId = reader.take(16);
  const challenge = reader.take(32);
  const transcript: Uint8Array[] = [];
  const rows = Array.from({ length: ROWS }, (_, row): OpenRow => {
    const open = bitOf(challenge, row);
    const half = reader.take(32);
    const seed = reader.take(32);
    const closed = { E: reader.take(POINT), ciphertext: reader.take(32) };
    secp256k1.decode(closed.E);
    const m = group.base(group.decodeScalar(half));
    const V = open === 0 ? m : group.add(target, group.negate(m));
    const opened = sealWithSeed(context, joint, row, open, half, seed, arithmetic);
    if (!opened || group.isIdentity(V)) throw falseBlob();
    const [first, second] = open === 0 ? [opened, closed] : [closed, opened];
    transcript.push(transcriptRow(group.encode(V), first, second));
    return { row, half, side: open === 0 ? 1 : 0, ...closed };
  });
  reader.end();
  if (!equalBytes(backupId, context.backupId)) throw falseBlob();
  if (!equalBytes(challengeOf(context, joint, arithmetic, transcript), challenge)) throw falseBlob();
  return rows;
}

/** The unopened half unmasked with K = q·E, plus the opened one; the caller compares with X_i. */
export function openHalf(
  context: BackupContext,
  { row, half, side, E, ciphertext }: OpenRow,
  K: Point,
  arithmetic: Arithmetic,
): bigint {
  const { group } = suiteOf(context.suite, arithmetic);
  const pad = padOf(context, row, side, E, arithmetic.secp256k1.encode(K));
  const other = ciphertext.map((byte, at) => byte ^ pad[at]!);
  const value = mod(group.decodeScalar(half) + group.decodeScalar(other), group.order);
  wipe(pad, other);
  return value;
}

function sealHalf(
  context: BackupContext,
  joint: Point,
  row: number,
  side: number,
  half: Uint8Array,
  random: RandomBytes,
  arithmetic: Arithmetic,
): Sealed & { readonly seed: Uint8Array } {
  for (let attempt = 0; ; attempt++) {
    const seed = random(`backup seed ${row}.${side}.${attempt}`, 32);
    const sealed = sealWithSeed(context, joint, row, side, half, seed, arithmetic);
    if (sealed) return { ...sealed, seed };
  }
}

/** Hashed ElGamal; null for a seed that gives no key, which never happens. */
function sealWithSeed(
  context: BackupContext,
  joint: Point,
  row: number,
  side: number,
  half: Uint8Array,
  seed: Uint8Array,
  { secp256k1: group }: Arithmetic,
): Sealed | null {
  const e = hashToScalar(tags.backupEphemeral, group.order, context.ctx, u16be(row), u8(side), seed);
  if (e === 0n) return null;
  const E = group.encode(group.base(e));
  const pad = padOf(context, row, side, E, group.encode(group.mulSecret(joint, e)));
  return { E, ciphertext: half.map((byte, at) => byte ^ pad[at]!) };
}

function padOf({ ctx }: BackupContext, row: number, side: number, E: Uint8Array, K: Uint8Array): Uint8Array {
  return taggedHash(tags.backupPad, ctx, u16be(row), u8(side), E, K);
}

const transcriptRow = (V: Uint8Array, first: Sealed, second: Sealed) =>
  concat(V, first.E, first.ciphertext, second.E, second.ciphertext);

function challengeOf(context: BackupContext, joint: Point, { secp256k1 }: Arithmetic, rows: readonly Uint8Array[]) {
  return taggedHash(tags.backupChallenge, context.ctx, secp256k1.encode(joint), context.publicShare, list(rows));
}

const bitOf = (bytes: Uint8Array, at: number): 0 | 1 => ((bytes[at >> 3]! >> (at & 7)) & 1) as 0 | 1;

function falseBlob(): MpcError {
  return new MpcError('bad_proof', 'The stored backup does not contain this share: it is damaged, or another one.');
}
