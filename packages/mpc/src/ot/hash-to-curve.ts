/**
 * `secp256k1_XMD:SHA-256_SSWU_RO_` of RFC 9380 for many messages at once: what noble's `hashToCurve` gives, byte for byte, in
 * a third of the time. noble divides five times for each point; here every point stays a fraction until one division for all
 * of them (Montgomery's trick), and the square root has the addition chain of this field. A set-up hashes 384 points in each
 * direction, which is most of its work. The base OT alone calls it; see `base-ot.ts` for why no shorter way is safe.
 */
import { normalizeZ } from '@noble/curves/abstract/curve.js';
import { expand_message_xmd } from '@noble/curves/abstract/hash-to-curve.js';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { toInteger, utf8, wipe } from '../bytes.ts';
import type { Group, Point } from '../group.ts';

type NoblePoint = InstanceType<typeof secp256k1.Point>;

/** L of RFC 9380 §5: 256 bits and half as many again, so that the bias is below 2^-128. */
const ELEMENT_BYTES = 48;

/** One point of `group`, which is secp256k1, for each message. */
export function hashToPoints(group: Group, messages: readonly Uint8Array[], domain: string): Point[] {
  const tag = utf8(domain);
  const sums = messages.map((message) => {
    const uniform = expand_message_xmd(message, tag, 2 * ELEMENT_BYTES, sha256);
    const [u0, u1] = [uniform.subarray(0, ELEMENT_BYTES), uniform.subarray(ELEMENT_BYTES)].map((part) =>
      mapToCurve(toInteger(part) % p),
    );
    wipe(uniform);
    return u0!.add(u1!); // the cofactor is 1
  });
  return normalizeZ(secp256k1.Point, sums).map((point) => {
    const { x, y } = point.toAffine();
    return group.fromAffine(x, y);
  });
}

const p = secp256k1.Point.Fp.ORDER;
const LOW = (1n << 256n) - 1n;
const FOLD = (1n << 256n) - p;

/** §8.7: the curve E' with a map onto secp256k1, and the Z for which Z·u² never is a square unless u is 0. */
const A = 0x3f8731abdd661adca08a5558f0f5d272e953d363cb6f0e5d405447c01a444533n;
const B = 1771n;
const Z = p - 11n;
/** A square root of -Z, and that is 11. */
const ROOT = 0x31fdf302724013e57ad13fb38f842afeec184f00a74789dd286729c8303c4a59n;

/** §E.1: the coefficients of the isogeny from E', highest power first; the denominators are monic. */
const X_NUMERATOR = [
  0x8e38e38e38e38e38e38e38e38e38e38e38e38e38e38e38e38e38e38daaaaa88cn,
  0x534c328d23f234e6e2a413deca25caece4506144037c40314ecbd0b53d9dd262n,
  0x07d3d4c80bc321d5b9f315cea7fd44c5d595d2fc0bf63b92dfff1044f17c6581n,
  0x8e38e38e38e38e38e38e38e38e38e38e38e38e38e38e38e38e38e38daaaaa8c7n,
] as const;
const X_DENOMINATOR = [
  0xedadc6f64383dc1df7c4b2d51b54225406d36b641f5e41bbc52a56612a8c6d14n,
  0xd35771193d94918a9ca34ccbb7b640dd86cd409542f8487d9fe6b745781eb49bn,
] as const;
const Y_NUMERATOR = [
  0x2f684bda12f684bda12f684bda12f684bda12f684bda12f684bda12f38e38d84n,
  0x29a6194691f91a73715209ef6512e576722830a201be2018a765e85a9ecee931n,
  0xc75e0c32d5cb7c0fa9d0a54b12a0a6d5647ab046d686da6fdffc90fc201d71a3n,
  0x4bda12f684bda12f684bda12f684bda12f684bda12f684bda12f684b8e38e23cn,
] as const;
const Y_DENOMINATOR = [
  0x6484aa716545ca2cf3a70c3fa8fe337e0a3d21162f0d6299a7bf8192bfd2a76fn,
  0x7a06534bb8bdb49fd5e9e6632722c2989467c1bfc8e8d978dfb425d2685c2573n,
  0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffefffff93bn,
] as const;

/** §6.6.3 in the straight line of §F.2, whose steps `tv` follow, and the isogeny; nothing is divided. */
function mapToCurve(u: bigint): NoblePoint {
  const tv1 = (Z * ((u * u) % p)) % p;
  const tv2 = (tv1 * tv1 + tv1) % p;
  const tv3 = (B * (tv2 + 1n)) % p;
  const tv4 = (A * (tv2 === 0n ? Z : p - tv2)) % p;
  const square = (tv4 * tv4) % p;
  const gxDenominator = (square * tv4) % p;
  const gx = (((tv3 * tv3 + A * square) % p) * tv3 + B * gxDenominator) % p;

  // §F.2.1.2: y1² = gx when gx is a square, y2² = Z·gx when it is not; both are computed either way.
  const product = (gx * gxDenominator) % p;
  const y1 = (product * powerOfThreeQuarters((((gxDenominator * gxDenominator) % p) * product) % p)) % p;
  const y2 = (y1 * ROOT) % p;
  const isSquare = (((y1 * y1) % p) * gxDenominator) % p === gx;
  const y3 = (((tv1 * u) % p) * y2) % p;
  const x3 = (tv1 * tv3) % p;
  const n = isSquare ? tv3 : x3;
  const y = isSquare ? y1 : y3;
  const signed = (u & 1n) === (y & 1n) ? y : p - y;

  // x = n/d: every polynomial of it times d³.
  const d = tv4;
  const powers = [(((n * n) % p) * n) % p, (((n * n) % p) * d) % p, (((d * d) % p) * n) % p, (square * d) % p] as const;
  const xNumerator = weigh(powers, 0n, X_NUMERATOR);
  const xDenominator = weigh(powers.slice(2), powers[1], X_DENOMINATOR);
  const yNumerator = weigh(powers, 0n, Y_NUMERATOR);
  const yDenominator = weigh(powers.slice(1), powers[0], Y_DENOMINATOR);
  const z = (xDenominator * yDenominator) % p;
  if (z === 0n) return secp256k1.Point.ZERO; // §6.6.3: the exceptional case of the isogeny
  return new secp256k1.Point((xNumerator * yDenominator) % p, (((signed * yNumerator) % p) * xDenominator) % p, z);
}

function weigh(powers: readonly bigint[], leading: bigint, coefficients: readonly bigint[]): bigint {
  let sum = leading;
  for (let k = 0; k < coefficients.length; k++) sum += coefficients[k]! * powers[k]!;
  return sum % p;
}

/** To the power (p - 3)/4, which in binary is 223 ones, a zero, 22 ones, and 00001011. */
function powerOfThreeQuarters(x: bigint): bigint {
  const x2 = (squared(x, 1) * x) % p;
  const x3 = (squared(x2, 1) * x) % p;
  const x6 = (squared(x3, 3) * x3) % p;
  const x9 = (squared(x6, 3) * x3) % p;
  const x11 = (squared(x9, 2) * x2) % p;
  const x22 = (squared(x11, 11) * x11) % p;
  const x44 = (squared(x22, 22) * x22) % p;
  const x88 = (squared(x44, 44) * x44) % p;
  const x176 = (squared(x88, 88) * x88) % p;
  const x220 = (squared(x176, 44) * x44) % p;
  const x223 = (squared(x220, 3) * x3) % p;
  const high = (squared(x223, 23) * x22) % p;
  return (squared((squared(high, 5) * x) % p, 3) * x2) % p;
}

/** 2^256 is 2^32 + 977 modulo p, so what stands above it is folded in twice, which is quicker than to divide. */
function squared(x: bigint, times: number): bigint {
  for (let k = 0; k < times; k++) {
    const square = x * x;
    const folded = (square >> 256n) * FOLD + (square & LOW);
    x = (folded >> 256n) * FOLD + (folded & LOW);
  }
  return x % p;
}
