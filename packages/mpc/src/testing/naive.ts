/**
 * The second implementation of base OT, OT extension, multiplication and ECDSA signing: bits in arrays, integers for
 * everything else, each formula of docs/mpc.md written out in its order, and no line shared with the first one. It is slow,
 * leaks through every side channel and keeps all it computes in plain sight, so that a test can compare the messages byte
 * for byte and play a peer who deviates between two steps. Tests only.
 */
import { secp256k1, secp256k1_hasher } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';

type Random = (purpose: string, length: number) => Uint8Array;
type Point = InstanceType<typeof Point>;
/** 0 or 1. */
type Bit = number;

const Point = secp256k1.Point;
const G = Point.BASE;
const q = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

const integer = (bytes: Uint8Array): bigint => BigInt(`0x${bytesToHex(bytes)}`);
const bytes32 = (k: bigint): Uint8Array => hexToBytes(k.toString(16).padStart(64, '0'));
const modq = (k: bigint): bigint => ((k % q) + q) % q;
const bytesOf = (...values: number[]): Uint8Array => Uint8Array.from(values);
const be16 = (value: number): Uint8Array => bytesOf(value >> 8, value & 255);
const be32 = (value: number): Uint8Array => bytesOf(value >> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255);
const times = (point: Point, k: bigint): Point => (k === 0n ? Point.ZERO : point.multiplyUnsafe(k));

export function th(tag: string, ...items: Uint8Array[]): Uint8Array {
  const name = sha256(utf8ToBytes(`kedge/v1/${tag}`));
  const delimited = items.map((item) => concatBytes(be32(item.length), item));
  return sha256(concatBytes(name, name, be16(items.length), ...delimited));
}

export const ts = (tag: string, ...items: Uint8Array[]): bigint =>
  integer(concatBytes(th(`${tag}/0`, ...items), th(`${tag}/1`, ...items))) % q;

export const bitsOf = (bytes: Uint8Array): Bit[] =>
  Array.from({ length: 8 * bytes.length }, (_, j) => (bytes[Math.floor(j / 8)]! >> (j % 8)) & 1);

export function bytesOfBits(bits: Bit[]): Uint8Array {
  const bytes = new Uint8Array(bits.length / 8);
  bits.forEach((bit, j) => {
    bytes[Math.floor(j / 8)]! |= bit << (j % 8);
  });
  return bytes;
}

const xor = (a: Bit[], b: Bit[]): Bit[] => a.map((bit, j) => bit ^ b[j]!);

function scalar(random: Random, purpose: string): bigint {
  const k = integer(random(purpose, 48)) % q;
  if (k === 0n) throw new Error('zero');
  return k;
}

// --- Base OT -----------------------------------------------------------------------------------------------------------

const hashToPoint = (otid: Uint8Array, i: number, c: number, point: Uint8Array): Point =>
  Point.fromAffine(
    secp256k1_hasher.hashToCurve(concatBytes(otid, bytesOf(i, c), point), { DST: 'kedge/v1/baseot-h2c' }).toAffine(),
  );

export function baseOtSender(random: Random) {
  const y = scalar(random, 'base OT: y');
  return { y, message: times(G, y).toBytes() };
}

export function baseOtReceiver(otid: Uint8Array, random: Random) {
  const delta = bitsOf(random('base OT: Delta', 16));
  const b: bigint[] = [];
  const message: Uint8Array[] = [];
  for (let i = 0; i < 128; i++) {
    b[i] = scalar(random, `base OT: b ${i}`);
    const V = times(G, scalar(random, `base OT: w ${i}`));
    const U = times(G, b[i]!).subtract(hashToPoint(otid, i, delta[i]!, V.toBytes()));
    message.push(...(delta[i] === 0 ? [U.toBytes(), V.toBytes()] : [V.toBytes(), U.toBytes()]));
  }
  return { delta, b, message: concatBytes(...message) };
}

const pairAt = (message: Uint8Array, i: number): [Uint8Array, Uint8Array] => [
  message.slice(66 * i, 66 * i + 33),
  message.slice(66 * i + 33, 66 * i + 66),
];

export function baseOtSenderKeys(otid: Uint8Array, y: bigint, received: Uint8Array): [Uint8Array, Uint8Array][] {
  return Array.from({ length: 128 }, (_, i) => {
    const r = pairAt(received, i);
    const key = (c: 0 | 1) => {
      const Z = times(Point.fromBytes(r[c]).add(hashToPoint(otid, i, c, r[c === 0 ? 1 : 0])), y);
      return th('bot/key', otid, bytesOf(i), bytesOf(c), times(G, y).toBytes(), r[0], r[1], Z.toBytes());
    };
    return [key(0), key(1)];
  });
}

export function baseOtReceiverKeys(
  otid: Uint8Array,
  { delta, b, message }: ReturnType<typeof baseOtReceiver>,
  Y: Uint8Array,
): Uint8Array[] {
  return b.map((bi, i) => {
    const Z = times(Point.fromBytes(Y), bi).toBytes();
    return th('bot/key', otid, bytesOf(i), bytesOf(delta[i]!), Y, ...pairAt(message, i), Z);
  });
}

// --- OT extension and multiplication -----------------------------------------------------------------------------------

export interface Session {
  sid: Uint8Array;
  otid: Uint8Array;
  bob: number;
  alice: number;
}

function oracle({ sid, otid, bob, alice }: Session) {
  const mk = th('mul/session', sid, otid, bytesOf(bob), bytesOf(alice));
  const prefix = concatBytes(sha256(utf8ToBytes('kedge/v1/ote')), mk);
  return (...parts: Uint8Array[]) => sha256(concatBytes(prefix, ...parts));
}

const prg = (sha: ReturnType<typeof oracle>, i: number, k: Uint8Array): Bit[] =>
  bitsOf(concatBytes(...[0, 1, 2].map((n) => sha(bytesOf(1), be16(i), bytesOf(n), k))).slice(0, 68));

const ro = (sha: ReturnType<typeof oracle>, j: number, m: number, t: Bit[]): bigint =>
  integer(sha(bytesOf(2), be16(j), bytesOf(m), bytesOfBits(t))) % q;

export const gadget = (otid: Uint8Array): bigint[] =>
  Array.from({ length: 416 }, (_, j) => integer(th('rvole/gadget', otid, be16(j))) % q);

/** Bit p is the coefficient of x^p. */
const polynomial = (bits: Bit[]): bigint => bits.reduceRight((value, bit) => 2n * value + BigInt(bit), 0n);

export function gfMultiply(a: bigint, b: bigint): bigint {
  let product = 0n;
  for (let p = 127n; p >= 0n; p--) {
    product <<= 1n;
    if (product >> 128n) product ^= (1n << 128n) | 0x87n;
    if ((b >> p) & 1n) product ^= a;
  }
  return product;
}

const gfBits = (value: bigint): Bit[] => Array.from({ length: 128 }, (_, p) => Number((value >> BigInt(p)) & 1n));

const checkSum = (chi: bigint[], v: Bit[]): Bit[] =>
  gfBits(
    chi.reduce(
      (sum, weight, m) => sum ^ gfMultiply(weight, polynomial(v.slice(128 * m, Math.min(128 * m + 128, 416)))),
      polynomial(v.slice(416, 544)),
    ),
  );

const checkWeights = (sha: ReturnType<typeof oracle>, h: Uint8Array): bigint[] =>
  [0, 1, 2, 3].map((m) => polynomial(bitsOf(sha(bytesOf(4, m), h).slice(0, 16))));

const row = (columns: Bit[][], j: number): Bit[] => columns.map((column) => column[j]!);

/** `deviate` may change the u_i before anything is computed from them. */
export function bobExtends(
  session: Session,
  pairs: [Uint8Array, Uint8Array][],
  random: Random,
  deviate: (u: Bit[][]) => void = () => {},
) {
  const sha = oracle(session);
  const x = bitsOf(random('multiply: choice bits', 68));
  const beta = x.slice(0, 416);
  const g = gadget(session.otid);
  const b = modq(beta.reduce((sum, bit, j) => sum + BigInt(bit) * g[j]!, 0n));
  const T0 = pairs.map(([k0], i) => prg(sha, i, k0));
  const u = pairs.map(([, k1], i) => xor(xor(T0[i]!, prg(sha, i, k1)), x));
  deviate(u);
  const uBytes = concatBytes(...u.map(bytesOfBits));
  const h = sha(bytesOf(3), uBytes);
  const chi = checkWeights(sha, h);
  const xt = bytesOfBits(checkSum(chi, x));
  const ht = sha(bytesOf(5), ...T0.map((column) => bytesOfBits(checkSum(chi, column))));
  const t = beta.map((_, j) => row(T0, j));
  return { beta, x, b, t, h, xt, ht, T0, message: concatBytes(uBytes, xt, ht) };
}

/** Alice until the corrections are known. */
export function aliceCorrects(
  session: Session,
  delta: Bit[],
  keys: Uint8Array[],
  extension: Uint8Array,
  a: [bigint, bigint],
  random: Random,
) {
  const sha = oracle(session);
  const u = keys.map((_, i) => bitsOf(extension.slice(68 * i, 68 * i + 68)));
  const xt = extension.slice(8704, 8720);
  const ht = extension.slice(8720, 8752);
  const Q = keys.map((key, i) => (delta[i] ? xor(prg(sha, i, key), u[i]!) : prg(sha, i, key)));
  const h = sha(bytesOf(3), extension.slice(0, 8704));
  const chi = checkWeights(sha, h);
  const qt = Q.map((column, i) => (delta[i] ? xor(checkSum(chi, column), bitsOf(xt)) : checkSum(chi, column)));
  if (bytesToHex(sha(bytesOf(5), ...qt.map(bytesOfBits))) !== bytesToHex(ht)) throw new Error('CHECK-OTE');

  const ah = scalar(random, 'multiply: check input');
  const inputs = [a[0], a[1], ah];
  const rows = Array.from({ length: 416 }, (_, j) => row(Q, j));
  const al0 = rows.map((qj, j) => [0, 1, 2].map((m) => ro(sha, j, m, qj)));
  const al1 = rows.map((qj, j) => [0, 1, 2].map((m) => ro(sha, j, m, xor(qj, delta))));
  const at = al0.map((row, j) => row.map((pad, m) => modq(pad - al1[j]![m]! + inputs[m]!)));
  return { session, a, ah, h, xt, ht, Q, al0, at, g: gadget(session.otid) };
}

/** The rest of Alice, from the corrections as they then are. */
export function aliceSeals({ session, a, ah, h, xt, ht, al0, at, g }: ReturnType<typeof aliceCorrects>) {
  const sha = oracle(session);
  const atBytes = concatBytes(...at.flat().map(bytes32));
  const w = sha(bytesOf(7), h, xt, ht, atBytes);
  const [th1, th2] = [1, 2].map((m) => integer(sha(bytesOf(6, m), w)) % q) as [bigint, bigint];
  const eta = modq(ah + th1 * a[0] + th2 * a[1]);
  const mu = al0.map(([r0, r1, r2]) => modq(r2! + th1 * r0! + th2 * r1!));
  const hm = sha(bytesOf(8), ...mu.map(bytes32));
  const c = [0, 1].map((m) => modq(-al0.reduce((sum, row, j) => sum + g[j]! * row[m]!, 0n))) as [bigint, bigint];
  return { c, message: concatBytes(atBytes, bytes32(eta), hm) };
}

export function bobFinishes(
  session: Session,
  { beta, t, h, xt, ht }: ReturnType<typeof bobExtends>,
  correction: Uint8Array,
): [bigint, bigint] {
  const sha = oracle(session);
  const number = (n: number): bigint => {
    const k = integer(correction.slice(32 * n, 32 * n + 32));
    if (k >= q) throw new Error('not canonical');
    return k;
  };
  const at = Array.from({ length: 416 }, (_, j) => [number(3 * j), number(3 * j + 1), number(3 * j + 2)]);
  const eta = number(1248);
  const hm = correction.slice(39_968, 40_000);
  const dd = t.map((tj, j) => [0, 1, 2].map((m) => modq(ro(sha, j, m, tj) + (beta[j] ? at[j]![m]! : 0n))));
  const w = sha(bytesOf(7), h, xt, ht, correction.slice(0, 39_936));
  const [th1, th2] = [1, 2].map((m) => integer(sha(bytesOf(6, m), w)) % q) as [bigint, bigint];
  const mu = dd.map(([d0, d1, d2], j) => modq(d2! + th1 * d0! + th2 * d1! - (beta[j] ? eta : 0n)));
  if (bytesToHex(sha(bytesOf(8), ...mu.map(bytes32))) !== bytesToHex(hm)) throw new Error('CHECK-MUL');
  const g = gadget(session.otid);
  return [0, 1].map((m) => modq(dd.reduce((sum, row, j) => sum + g[j]! * row[m]!, 0n))) as [bigint, bigint];
}

// --- ECDSA signing -----------------------------------------------------------------------------------------------------

/** What a signer draws in round 1. */
export interface Nonces {
  r: bigint;
  phi: bigint;
  salt: Uint8Array;
}

export function lambda(i: number, T: number[]): bigint {
  let value = 1n;
  for (const j of T) if (j !== i) value = modq(value * BigInt(j) * inverse(BigInt(j - i)));
  return value;
}

/** By Fermat. */
export function inverse(k: bigint): bigint {
  let result = 1n;
  for (let base = modq(k), exponent = q - 2n; exponent > 0n; exponent >>= 1n, base = modq(base * base)) {
    if (exponent & 1n) result = modq(result * base);
  }
  return result;
}

/** `seeds` has zs_{ij} for every other j of T. */
export const zeroShare = (sid: Uint8Array, i: number, seeds: Map<number, Uint8Array>): bigint =>
  modq(
    [...seeds].reduce((sum, [j, seed]) => {
      const share = ts('zero/share', seed, sid);
      return j > i ? sum + share : sum - share;
    }, 0n),
  );

export function signRound1(sid: Uint8Array, i: number, { r, salt }: Nonces) {
  const R = times(G, r).toBytes();
  return { R, com: th('sign/com', sid, bytesOf(i), R, salt) };
}

/** For one peer, from the outcome c of the multiplication as Alice and the factor chi of the one as Bob. */
export function signRound2({ phi }: Nonces, sk: bigint, c: [bigint, bigint], chi: bigint) {
  return {
    pk: times(G, sk).toBytes(),
    Gu: times(G, c[0]).toBytes(),
    Gv: times(G, c[1]).toBytes(),
    psi: modq(phi - chi),
  };
}

/** CHECK-PT, unbatched, for what peer j sent and the outcome of the multiplication as Bob. */
export function checkPoints(
  chi: bigint,
  d: [bigint, bigint],
  { R, pk, Gu, Gv }: { R: Uint8Array; pk: Uint8Array; Gu: Uint8Array; Gv: Uint8Array },
): boolean {
  const agrees = (point: Uint8Array, own: bigint, other: Uint8Array) =>
    times(Point.fromBytes(point), chi).equals(times(G, own).add(Point.fromBytes(other)));
  return agrees(R, d[0], Gu) && agrees(pk, d[1], Gv);
}

/** `peers` holds for each of them psi_{j,i}, c as Alice and d as Bob. */
export function signRound3(
  { r, phi }: Nonces,
  sk: bigint,
  m: bigint,
  Rs: Uint8Array[],
  peers: { psi: bigint; c: [bigint, bigint]; d: [bigint, bigint] }[],
) {
  const R = Rs.map((bytes) => Point.fromBytes(bytes)).reduce((sum, point) => sum.add(point));
  const rx = R.toAffine().x;
  if (rx >= q) throw new Error('rx');
  const Psi = peers.reduce((sum, { psi }) => sum + psi, phi);
  const u = modq(peers.reduce((sum, { c, d }) => sum + c[0] + d[0], r * Psi));
  const v = modq(peers.reduce((sum, { c, d }) => sum + c[1] + d[1], sk * Psi));
  return { rx, odd: R.toAffine().y & 1n, u, w: modq(m * phi + rx * v) };
}

export function signature(parts: ReturnType<typeof signRound3>[]) {
  const { rx, odd } = parts[0]!;
  const u = modq(parts.reduce((sum, part) => sum + part.u, 0n));
  const w = modq(parts.reduce((sum, part) => sum + part.w, 0n));
  const s = modq(w * inverse(u));
  const low = s <= (q - 1n) / 2n;
  return { r: rx, s: low ? s : q - s, recid: Number(low ? odd : 1n - odd) };
}
