/**
 * secp256k1 through libsecp256k1 in WebAssembly (the package tiny-secp256k1): some ten times quicker than noble, for
 * servers that set up many pairs, and for tests. Never loaded by the main entry of this package, and never the verifier of
 * a signature, which stays with noble. The library multiplies by a variable base in variable time, so that a secret scalar
 * is split into two random parts for every multiplication. Points are kept uncompressed, so that only `decode` takes a
 * square root; the empty array is the identity, which the library cannot represent.
 */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { isPointCompressed, pointAdd, pointCompress, pointFromScalar, pointMultiply } from 'tiny-secp256k1';
import { concat, EMPTY, equalBytes, fromInteger, toInteger, u8, wipe } from '../bytes.ts';
import { MpcError } from '../errors.ts';
import { type Group, mod, type Point, secp256k1Group } from '../group.ts';
import { randomScalar } from '../random.ts';

export { nodeCrypto, nodeIdentity } from './node-crypto.ts';

/** `random` is the operating system's. Throws unless a self-test finds that the library agrees with noble. */
export function openFastSecp256k1(random: (length: number) => Uint8Array): Group {
  const group = fastGroup(random);
  selfTest(group);
  return group;
}

const { order, encodeScalar, decodeScalar } = secp256k1Group;
/** Below it a public multiplication by additions is quicker. */
const SMALL_BITS = 3n;
const SMALL = (1n << SMALL_BITS) - 1n;
const fieldPrime = (1n << 256n) - (1n << 32n) - 977n;

function fastGroup(random: (length: number) => Uint8Array): Group {
  const inside = (point: Point) => point as unknown as Uint8Array;
  const outside = (bytes: Uint8Array | null) => (bytes ?? EMPTY) as unknown as Point;
  const isIdentity = (point: Point) => inside(point).length === 0;
  const identity = outside(null);

  const multiplied = (point: Point, k: bigint): Point => {
    if (k === 0n || isIdentity(point)) return identity;
    const scalar = fromInteger(k);
    const product = outside(pointMultiply(inside(point), scalar, false));
    wipe(scalar);
    return product;
  };
  const add = (a: Point, b: Point): Point => {
    if (isIdentity(a)) return b;
    if (isIdentity(b)) return a;
    return outside(pointAdd(inside(a), inside(b), false));
  };

  /** By doubling and adding: an index of a party, in every check of a share. */
  const multipliedSmall = (point: Point, k: bigint): Point => {
    let product = identity;
    for (let bit = SMALL_BITS - 1n; bit >= 0n; bit--) {
      product = add(product, product);
      if ((k >> bit) & 1n) product = add(product, point);
    }
    return product;
  };

  return {
    name: 'secp256k1',
    order,
    pointBytes: 33,
    identity,
    base(k) {
      if (k === 0n) return identity;
      const scalar = fromInteger(k);
      const point = outside(pointFromScalar(scalar, false));
      wipe(scalar);
      return point;
    },
    mulSecret(point, k) {
      const part = randomScalar((_, length) => random(length), 'split', order);
      return add(multiplied(point, mod(k - part, order)), multiplied(point, part));
    },
    mulPublic: (point, k) => (k <= SMALL ? multipliedSmall(point, k) : multiplied(point, k)),
    add,
    negate(point) {
      if (isIdentity(point)) return point;
      const negated = Uint8Array.from(inside(point));
      negated.set(fromInteger(fieldPrime - toInteger(negated.subarray(33))), 33);
      return outside(negated);
    },
    equals: (a, b) => equalBytes(inside(a), inside(b)),
    isIdentity,
    encode(point) {
      if (isIdentity(point)) throw new MpcError('bad_encoding', 'The identity has no encoding.');
      const bytes = inside(point).slice(0, 33);
      bytes[0] = 2 | (inside(point)[64]! & 1);
      return bytes;
    },
    decode(bytes) {
      // Asked first: the library throws from inside WebAssembly, whose stack shrinks with every throw until it is used up.
      if ((bytes[0] !== 2 && bytes[0] !== 3) || !isPointCompressed(bytes)) {
        throw new MpcError('bad_encoding', 'A point of secp256k1 is malformed.');
      }
      return outside(pointCompress(bytes, false));
    },
    fromAffine: (x, y) => outside(pointCompress(concat(u8(4), fromInteger(x), fromInteger(y)), false)),
    encodeScalar,
    decodeScalar,
  };
}

/** Every operation against noble once, with the scalars at the edges and one in the middle. */
function selfTest(group: Group): void {
  const middle = order / 3n;
  const { x, y } = secp256k1.Point.BASE;
  const results = (over: Group): string => {
    const three = over.base(3n);
    const points = [
      over.base(1n),
      over.base(order - 1n),
      over.base(middle),
      over.mulSecret(three, middle),
      over.mulSecret(three, order - 1n),
      over.mulPublic(three, middle),
      over.mulPublic(three, SMALL),
      over.add(three, three),
      over.add(three, over.base(middle)),
      over.negate(three),
      over.decode(over.encode(over.base(middle))),
      over.fromAffine(x, y),
    ];
    const identities = [
      over.base(0n),
      over.mulPublic(three, 0n),
      over.mulSecret(three, 0n),
      over.add(three, over.negate(three)),
      over.add(over.identity, over.identity),
    ];
    // x = 5 is not on the curve, and the field's prime is not an x.
    const refused = [fromInteger(5n), fromInteger(fieldPrime)].map((x) => {
      try {
        return over.decode(Uint8Array.of(2, ...x)) === undefined;
      } catch {
        return true;
      }
    });
    return [
      ...points.map((point) => over.encode(point)),
      ...identities.map(over.isIdentity),
      ...refused,
      over.equals(over.add(three, three), over.base(6n)),
    ].join(' ');
  };
  if (results(group) !== results(secp256k1Group)) {
    throw new Error('the fast secp256k1 does not agree with the reference');
  }
}
