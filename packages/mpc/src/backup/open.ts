/**
 * Opening a device backup from a new device: the server multiplies points of the blob that it stored itself by its half of
 * the key and proves it (Chaum-Pedersen, batched); the device adds its own half from the drive. The restored share is used
 * once, as a dealer of a resharing to a new group, and never signs.
 */
import { concat, equalBytes, Reader, u8, u16be, wipe } from '../bytes.ts';
import { assertEmpty } from '../dealing.ts';
import { badInput, blaming, MpcError } from '../errors.ts';
import { type Group, mod, type Point } from '../group.ts';
import { hashToScalar, list, taggedHash } from '../hash.ts';
import { encodeRef, type Inbox, type Machine, type Protocol, type SessionContext, type Step } from '../protocol.ts';
import { type Arithmetic, nobleArithmetic, suiteOf } from '../suite.ts';
import { tags } from '../tags.ts';
import { type BackupContext, type BackupSubject, backupContext, type JointKey } from './context.ts';
import { assertHalf } from './joint-key.ts';
import { BLOB_BYTES, type OpenRow, openHalf, ROWS, verifyBlob } from './verifiable-encryption.ts';

const DEVICE = 1;
const SERVER = 2;
/** Rows that the device asks for: one good one is enough, and a verified blob has bad ones only by the prover's luck. */
export const ROWS_ASKED = 8;

interface Opening {
  /** The account record's view, ours: context and X_i are computed from it, never taken from the other side. */
  readonly subject: BackupSubject;
  readonly key: JointKey;
  /** The new device, which is not the one of the backup. */
  readonly newDeviceIdentity: Uint8Array;
  /** Random distinct row numbers, `ROWS_ASKED` of them; all of them in a second try. */
  readonly rows: readonly number[];
  readonly arithmetic?: Arithmetic;
}

export interface DeviceOpening extends Opening {
  /** q_D from the drive file, 32 bytes. */
  readonly decryptionShare: Uint8Array;
}

export interface ServerOpening extends Opening {
  /** q_S. */
  readonly secret: Uint8Array;
  /** What is stored under this backup id. */
  readonly blob: Uint8Array;
  /** Resolves when the try was counted, whatever comes after; rejects when it is not allowed, and nothing is sent. */
  readonly beforeAnswer: () => Promise<void>;
}

/** s_i and the chain code. Secret. */
export interface RestoredShare {
  readonly secret: Uint8Array;
  readonly chainCode: Uint8Array;
}

export function openBackupOnDevice(options: DeviceOpening): Protocol<RestoredShare | null> {
  const { arithmetic = nobleArithmetic } = options;
  assertHalf(arithmetic.secp256k1, options.decryptionShare, options.key.deviceKey);
  return protocolOf(options, (context) => new DeviceSide(options, arithmetic, context));
}

export function openBackupOnServer(options: ServerOpening): Protocol<RestoredShare | null> {
  const { arithmetic = nobleArithmetic } = options;
  // The proof's nonce is hedged with what it would give away.
  return { ...protocolOf(options, (context) => new ServerSide(options, arithmetic, context)), secret: options.secret };
}

function protocolOf(
  { subject, key, newDeviceIdentity, rows }: Opening,
  begin: (context: SessionContext) => Machine<RestoredShare | null>,
): Protocol<RestoredShare | null> {
  if (new Set(rows).size !== rows.length || rows.some((row) => !Number.isInteger(row) || row < 0 || row >= ROWS))
    throw badInput(`Rows are distinct numbers below ${ROWS}.`);
  if (rows.length !== ROWS_ASKED && rows.length !== ROWS) throw badInput(`Ask for ${ROWS_ASKED} rows, or for all.`);
  return {
    name: 'backup-open',
    suite: 1,
    sharing: subject.sharing,
    participants: [
      { address: DEVICE, identityKey: newDeviceIdentity },
      { address: SERVER, identityKey: subject.serverIdentity },
    ],
    // The whole context: a server whose sharing is another one never meets this device.
    request: concat(encodeRef(subject.sharing), backupContext(key, subject).ctx, ...rows.map((row) => u8(row))),
    begin,
  };
}

class ServerSide implements Machine<RestoredShare | null> {
  readonly #options: ServerOpening;
  readonly #arithmetic: Arithmetic;
  readonly #context: SessionContext;

  constructor(options: ServerOpening, arithmetic: Arithmetic, context: SessionContext) {
    this.#options = options;
    this.#arithmetic = arithmetic;
    this.#context = context;
  }

  /** Nothing before the device's first message was authenticated. */
  start(): Step<RestoredShare | null> {
    return { kind: 'send' };
  }

  step(round: number, inbox: Inbox): Step<RestoredShare | null> {
    blaming(DEVICE, () => assertEmpty(inbox.get(DEVICE)!.pairwise));
    if (round === 2) return { kind: 'done', result: null };
    const { subject, key, rows, blob, secret, beforeAnswer } = this.#options;
    const backup = backupContext(key, subject);
    const stored = verifyBlob(backup, blob, this.#arithmetic);
    const group = this.#arithmetic.secp256k1;
    const q = group.decodeScalar(secret);
    const E = rows.map((row) => group.decode(stored[row]!.E));
    const K = E.map((point) => group.encode(group.mulSecret(point, q)));
    const statement = new Statement(group, this.#context.sid, backup, E, K);
    const k = this.#context.random.scalar('backup proof', group.order);
    const A1 = group.encode(group.base(k));
    const A2 = group.encode(group.mulSecret(statement.weightedE, k));
    const z = group.encodeScalar(mod(k + statement.challenge(A1, A2) * q, group.order));
    const answer = concat(blob, ...K, A1, A2, z, subject.sharing.chainCode);
    return { kind: 'send', before: beforeAnswer, pairwise: new Map([[DEVICE, answer]]) };
  }

  dispose(): void {
    // q_S is the caller's.
  }
}

class DeviceSide implements Machine<RestoredShare | null> {
  readonly #options: DeviceOpening;
  readonly #arithmetic: Arithmetic;
  readonly #context: SessionContext;

  constructor(options: DeviceOpening, arithmetic: Arithmetic, context: SessionContext) {
    this.#options = options;
    this.#arithmetic = arithmetic;
    this.#context = context;
  }

  start(): Step<RestoredShare | null> {
    return { kind: 'send' };
  }

  step(round: number, inbox: Inbox): Step<RestoredShare | null> {
    const { pairwise } = inbox.get(SERVER)!;
    if (round === 1) {
      blaming(SERVER, () => assertEmpty(pairwise));
      return { kind: 'send' };
    }
    return { kind: 'done', result: blaming(SERVER, () => this.#restore(pairwise)) };
  }

  dispose(): void {
    // q_D is the caller's.
  }

  #restore(answer: Uint8Array): RestoredShare {
    const { subject, key, rows, decryptionShare } = this.#options;
    const group = this.#arithmetic.secp256k1;
    const backup = backupContext(key, subject);
    const reader = new Reader(answer, 'answer of the server');
    const stored = verifyBlob(backup, reader.take(BLOB_BYTES), this.#arithmetic);
    const K = rows.map(() => reader.take(group.pointBytes));
    const [A1, A2, z] = [reader.take(group.pointBytes), reader.take(group.pointBytes), reader.take(32)];
    const chainCode = reader.take(32).slice();
    reader.end();
    const points = K.map((bytes) => group.decode(bytes));
    const E = rows.map((row) => group.decode(stored[row]!.E));
    const statement = new Statement(group, this.#context.sid, backup, E, K);
    if (!statement.verify(A1, A2, z, points))
      throw new MpcError('bad_proof', 'The server did not multiply with its half of the backup key.');
    if (!equalBytes(chainCode, subject.sharing.chainCode))
      throw new MpcError('key_changed', 'The server sent another chain code.');
    const q = group.decodeScalar(decryptionShare);
    for (const [at, row] of rows.entries()) {
      const shared = group.add(group.mulSecret(E[at]!, q), points[at]!);
      const secret = this.#tryRow(backup, stored[row]!, shared);
      if (secret) return { secret, chainCode };
    }
    throw new MpcError('bad_share', 'No row holds the share; ask for all rows, then for the other ways to recover.');
  }

  #tryRow(backup: BackupContext, row: OpenRow, shared: Point): Uint8Array | null {
    const { group } = suiteOf(backup.suite, this.#arithmetic);
    let value: bigint;
    try {
      value = openHalf(backup, row, shared, this.#arithmetic);
    } catch {
      return null; // not a scalar: the prover was lucky in this row
    }
    const secret = group.encodeScalar(value);
    if (group.equals(group.base(value), group.decode(backup.publicShare))) return secret;
    wipe(secret);
    return null;
  }
}

/** One proof for all rows: q_S is the same in Q_S = q_S·G and in every K_i = q_S·E_i. */
class Statement {
  readonly weightedE: Point;
  readonly #group: Group;
  readonly #items: readonly Uint8Array[];
  readonly #weights: readonly bigint[];
  readonly #serverKey: Uint8Array;

  constructor(
    group: Group,
    sid: Uint8Array,
    { ctx, serverKey }: BackupContext,
    E: readonly Point[],
    K: readonly Uint8Array[],
  ) {
    this.#group = group;
    this.#serverKey = serverKey;
    this.#items = [sid, ctx, serverKey, list(E.map((point) => group.encode(point))), list(K)];
    this.#weights = E.map((_, n) => hashToScalar(tags.backupDleqWeight, group.order, ...this.#items, u16be(n)));
    this.weightedE = this.#weighted(E);
  }

  challenge(A1: Uint8Array, A2: Uint8Array): bigint {
    return hashToScalar(tags.backupDleq, this.#group.order, ...this.#items, A1, A2);
  }

  verify(A1: Uint8Array, A2: Uint8Array, z: Uint8Array, K: readonly Point[]): boolean {
    const group = this.#group;
    const e = this.challenge(A1, A2);
    const scalar = group.decodeScalar(z);
    const first = group.add(group.decode(A1), group.mulPublic(group.decode(this.#serverKey), e));
    const second = group.add(group.decode(A2), group.mulPublic(this.#weighted(K), e));
    return group.equals(group.base(scalar), first) && group.equals(group.mulPublic(this.weightedE, scalar), second);
  }

  #weighted(points: readonly Point[]): Point {
    const group = this.#group;
    return points.reduce((sum, point, n) => group.add(sum, group.mulPublic(point, this.#weights[n]!)), group.identity);
  }
}

/** What server and device sign about a backup: the receipt for a stored blob, and the success of the rehearsal. */
export function backupStatement(kind: 'receipt' | 'ok', ctx: Uint8Array, blob: Uint8Array): Uint8Array {
  return taggedHash(kind === 'receipt' ? tags.backupReceipt : tags.backupOk, ctx, taggedHash(tags.backupBlob, blob));
}
