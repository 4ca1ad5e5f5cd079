/**
 * The key of a device backup: each side makes a half and proves that it knows it. Without the proof a server that answers
 * with aG − Q_D would decrypt alone, so nothing is encrypted before it was verified.
 */
import { concat, Reader, sized } from '../bytes.ts';
import { badInput, blaming, MpcError, peerFault } from '../errors.ts';
import type { Group } from '../group.ts';
import { taggedHash } from '../hash.ts';
import type { PublicShare } from '../key-share.ts';
import { encodeRef, type Inbox, type Machine, type Protocol, type SessionContext, type Step } from '../protocol.ts';
import { type ProofContext, prove, verifyProof } from '../schnorr-proof.ts';
import { type Arithmetic, nobleArithmetic } from '../suite.ts';
import { tags } from '../tags.ts';
import type { JointKey } from './context.ts';

const DEVICE = 1;
const SERVER = 2;

export interface JointKeyOptions {
  readonly sharing: Pick<PublicShare, 'keyId' | 'groupId' | 'sharingId' | 'epoch'>;
  readonly deviceIdentity: Uint8Array;
  readonly serverIdentity: Uint8Array;
  readonly purpose: Uint8Array;
  readonly arithmetic?: Arithmetic;
}

export interface MadeJointKey extends JointKey {
  /** q_D or q_S, 32 bytes big-endian. Secret: the drive file's, or the enclave's. */
  readonly secret: Uint8Array;
}

/** The device is at address 1, the server at 2. */
export function makeJointKey(options: JointKeyOptions): Protocol<MadeJointKey> {
  const { sharing, deviceIdentity, serverIdentity, purpose, arithmetic = nobleArithmetic } = options;
  return {
    name: 'backup-key',
    suite: 1,
    sharing,
    participants: [
      { address: DEVICE, identityKey: deviceIdentity },
      { address: SERVER, identityKey: serverIdentity },
    ],
    request: concat(encodeRef(sharing), sized(purpose)),
    begin: (context) => new JointKeyMachine(arithmetic.secp256k1, context),
  };
}

class JointKeyMachine implements Machine<MadeJointKey> {
  readonly #group: Group;
  readonly #context: SessionContext;
  #secret: Uint8Array;
  readonly #public: Uint8Array;
  readonly #proof: Uint8Array;

  constructor(group: Group, context: SessionContext) {
    this.#group = group;
    this.#context = context;
    const secret = context.random.scalar('backup key', group.order);
    const point = group.base(secret);
    this.#secret = group.encodeScalar(secret);
    this.#public = group.encode(point);
    const nonce = context.random.scalar('backup proof', group.order);
    this.#proof = prove(group, this.#proofContext(context.me), secret, point, nonce);
  }

  start(): Step<MadeJointKey> {
    return { kind: 'send', broadcast: concat(this.#public, this.#proof) };
  }

  step(_: number, inbox: Inbox): Step<MadeJointKey> {
    const peer = this.#context.peers[0]!;
    const group = this.#group;
    const theirs = blaming(peer, () => {
      const reader = new Reader(inbox.get(peer)!.broadcast, 'half of the backup key');
      const bytes = reader.take(group.pointBytes).slice();
      const point = group.decode(bytes);
      if (!verifyProof(group, this.#proofContext(peer), point, reader.rest()))
        throw peerFault('bad_proof', peer, 'The peer does not know its half of the backup key.');
      if (group.isIdentity(group.add(point, group.decode(this.#public))))
        throw new MpcError('out_of_range', 'The halves of the backup key cancel out.');
      return bytes;
    });
    const isDevice = this.#context.me === DEVICE;
    const secret = this.#secret;
    this.#secret = new Uint8Array(0); // the caller's now
    const result: MadeJointKey = {
      backupId: taggedHash(tags.backupId, this.#context.sid).slice(0, 16),
      deviceKey: isDevice ? this.#public : theirs,
      serverKey: isDevice ? theirs : this.#public,
      secret,
    };
    return { kind: 'done', result };
  }

  dispose(): void {
    this.#secret.fill(0);
  }

  #proofContext(prover: number): ProofContext {
    return { sid: this.#context.sid, prover, role: 'backup', coefficient: 0 };
  }
}

/** For those who restore: whether this half is q·G. Throws `bad_input` when it is another backup's. */
export function assertHalf(group: Group, secret: Uint8Array, publicKey: Uint8Array): void {
  const point = group.base(group.decodeScalar(secret));
  if (!group.equals(point, group.decode(publicKey))) throw badInput('This drive file belongs to another backup.');
}
