/**
 * The two prime-order groups, behind the one interface through which every protocol of this package does its arithmetic.
 * The noble backends here are the default and the reference; `@kedge/mpc/fast` has a quicker secp256k1 for servers.
 *
 * secp256k1: scalars 32 bytes big-endian, points 33 bytes (SEC1 compressed). ed25519: scalars 32 bytes little-endian,
 * points 32 bytes (RFC 8032), and a point with a torsion component is refused like one off the curve.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { fromInteger, toInteger } from './bytes.ts';
import { MpcError } from './errors.ts';

declare const backend: unique symbol;
/** A point of the backend that made it; it means nothing to another one. May be the identity, until it is encoded. */
export interface Point {
  readonly [backend]: true;
}

export interface Group {
  readonly name: 'secp256k1' | 'ed25519';
  readonly order: bigint;
  readonly pointBytes: number;
  /** kG for a secret or public `k` in 0..order-1. */
  base(k: bigint): Point;
  /** kP for a secret `k`: not faster for some values than for others, as far as the backend can promise it. */
  mulSecret(point: Point, k: bigint): Point;
  /** kP for a `k` that everybody may know; P may be the identity. */
  mulPublic(point: Point, k: bigint): Point;
  add(a: Point, b: Point): Point;
  negate(point: Point): Point;
  equals(a: Point, b: Point): boolean;
  isIdentity(point: Point): boolean;
  readonly identity: Point;
  /** Throws `bad_encoding` for the identity: it is never on the wire. */
  encode(point: Point): Uint8Array;
  /** Throws `bad_encoding` for a wrong length or prefix, a point off the curve or in a subgroup, and the identity. */
  decode(bytes: Uint8Array): Point;
  /** A point that we computed ourselves. Throws when it is not on the curve; for bytes of others there is `decode`. */
  fromAffine(x: bigint, y: bigint): Point;
  encodeScalar(k: bigint): Uint8Array;
  /** Throws `bad_encoding` unless it is 32 bytes and below the order. */
  decodeScalar(bytes: Uint8Array): bigint;
}

/** What is left of a group once an integer was reduced: 0..order-1, for negative ones too. */
export function mod(value: bigint, order: bigint): bigint {
  const rest = value % order;
  return rest < 0n ? rest + order : rest;
}

/** The inverse modulo a prime; `value` is not 0. Blinded by the caller where it is secret. */
export function invert(value: bigint, order: bigint): bigint {
  let [a, b] = [mod(value, order), order];
  let [x, y] = [1n, 0n];
  while (a > 1n) {
    const quotient = b / a;
    [b, a] = [a, b - quotient * a];
    [y, x] = [x, y - quotient * x];
  }
  if (a !== 1n) throw new MpcError('out_of_range', 'Zero has no inverse.');
  return mod(x, order);
}

type Secp256k1Point = InstanceType<typeof secp256k1.Point>;
type Ed25519Point = InstanceType<typeof ed25519.Point>;

/** Both curves of noble have these, but no common type that says so. */
interface NoblePoint {
  add(other: NoblePoint): NoblePoint;
  negate(): NoblePoint;
  equals(other: NoblePoint): boolean;
  is0(): boolean;
  multiply(k: bigint): NoblePoint;
  multiplyUnsafe(k: bigint): NoblePoint;
  toBytes(): Uint8Array;
}

function nobleGroup(
  own: Pick<Group, 'name' | 'order' | 'pointBytes' | 'encodeScalar'> & {
    readonly base: NoblePoint;
    readonly zero: NoblePoint;
    readonly parse: (bytes: Uint8Array) => NoblePoint;
    readonly affine: (x: bigint, y: bigint) => NoblePoint;
    readonly scalar: (bytes: Uint8Array) => bigint;
  },
): Group {
  const inside = (point: Point) => point as unknown as NoblePoint;
  const outside = (point: NoblePoint) => point as unknown as Point;
  const { base, zero, order, pointBytes } = own;
  return {
    name: own.name,
    order,
    pointBytes,
    identity: outside(zero),
    base: (k) => outside(k === 0n ? zero : base.multiply(k)),
    mulSecret: (point, k) => outside(k === 0n ? zero : inside(point).multiply(k)),
    mulPublic: (point, k) => outside(k === 0n || inside(point).is0() ? zero : inside(point).multiplyUnsafe(k)),
    add: (a, b) => outside(inside(a).add(inside(b))),
    negate: (point) => outside(inside(point).negate()),
    equals: (a, b) => inside(a).equals(inside(b)),
    isIdentity: (point) => inside(point).is0(),
    encode(point) {
      if (inside(point).is0()) throw new MpcError('bad_encoding', 'The identity has no encoding.');
      return inside(point).toBytes();
    },
    decode(bytes) {
      const malformed = new MpcError('bad_encoding', `A point of ${own.name} is malformed.`);
      if (bytes.length !== pointBytes) throw malformed;
      let point: NoblePoint;
      try {
        point = own.parse(bytes);
      } catch {
        throw malformed;
      }
      if (point.is0()) throw malformed;
      return outside(point);
    },
    fromAffine: (x, y) => outside(own.affine(x, y)),
    encodeScalar: own.encodeScalar,
    decodeScalar(bytes) {
      const k = bytes.length === 32 ? own.scalar(bytes) : order;
      if (k >= order) throw new MpcError('bad_encoding', `A scalar of ${own.name} is not canonical.`);
      return k;
    },
  };
}

export const secp256k1Group: Group = nobleGroup({
  name: 'secp256k1',
  order: secp256k1.Point.Fn.ORDER,
  pointBytes: 33,
  base: secp256k1.Point.BASE as unknown as NoblePoint,
  zero: secp256k1.Point.ZERO as unknown as NoblePoint,
  parse: (bytes) => secp256k1.Point.fromBytes(bytes) as Secp256k1Point as unknown as NoblePoint,
  affine(x, y) {
    const point = secp256k1.Point.fromAffine({ x, y });
    point.assertValidity();
    return point as unknown as NoblePoint;
  },
  encodeScalar: fromInteger,
  scalar: toInteger,
});

export const ed25519Group: Group = nobleGroup({
  name: 'ed25519',
  order: ed25519.Point.Fn.ORDER,
  pointBytes: 32,
  base: ed25519.Point.BASE as unknown as NoblePoint,
  zero: ed25519.Point.ZERO as unknown as NoblePoint,
  parse(bytes) {
    const point: Ed25519Point = ed25519.Point.fromBytes(bytes, false);
    if (!point.isTorsionFree()) throw new Error('outside the prime-order subgroup');
    return point as unknown as NoblePoint;
  },
  affine(x, y) {
    const point = ed25519.Point.fromAffine({ x, y });
    point.assertValidity();
    return point as unknown as NoblePoint;
  },
  encodeScalar: (k) => fromInteger(k).reverse(),
  scalar: (bytes) => toInteger(Uint8Array.from(bytes).reverse()),
});
