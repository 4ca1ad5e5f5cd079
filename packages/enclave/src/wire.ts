/**
 * How gateway and enclave talk: frames of 4 bytes big-endian length and that many bytes of deterministic CBOR, over a
 * Unix socket on one machine and mutual TLS otherwise. The first frame of each side is `{kedge: "enclave", version}`.
 * Then the client sends `[id, method, parameters]` and gets `[id, true, result]` or `[id, false, {code, detail, retry_after_s}]`
 * in any order; parameters that don't fit the method (`parameters.ts`) are such an error. A frame over 1 MiB or a
 * thousandth-and-first call in flight ends the connection.
 */
import { type CborValue, decodeCbor, encodeCbor } from '@kedge/core';
import type { Enclave } from './enclave.ts';

export const WIRE_VERSION = 1;
export const FRAME_BYTES_MAX = 1024 * 1024;
export const IN_FLIGHT_MAX = 1_000;
/** A gateway needs one; this leaves room for many gateways and reconnects, and bounds what all callers can hold in memory. */
export const CONNECTIONS_MAX = 64;

/** Every method of {@link Enclave}: the server calls nothing else. */
export const wireMethods = [
  'status',
  'attestation',
  'signUp',
  'recover',
  'replaceWords',
  'signIn',
  'enrollClientKey',
  'revokeClientKey',
  'createWallet',
  'openWallet',
  'createBackupKey',
  'verifyBackupKey',
  'encryptionKey',
  'verifyBackup',
  'createApproverList',
  'bindApproverList',
  'openListChange',
  'voteListChange',
  'listChange',
  'listChangeTokens',
  'throwAwayKey',
  'requestRecovery',
  'recoveryTokens',
  'voteRecovery',
  'noteRecoveryAlert',
  'tickRecovery',
  'cancelRecovery',
  'coldFiles',
  'releaseRecovery',
  'completeRecovery',
  'operatorSignIn',
  'startRotation',
  'startRotationWhenDue',
  'rotation',
  'rewrapClientSecrets',
  'rewrapWallets',
  'finishRotation',
  'destroyServerKey',
  'compact',
  'checkLedger',
  'signHead',
  'mirror',
  'checkMirror',
  'backUp',
  'acceptRestore',
] as const satisfies readonly (keyof Enclave)[];

export type WireMethod = (typeof wireMethods)[number];

export const hello: CborValue = { kedge: 'enclave', version: WIRE_VERSION };

/** One frame, ready to write. Throws `RangeError` when the value is too large. */
export function encodeFrame(value: CborValue): Uint8Array {
  const body = encodeCbor(value);
  if (body.length > FRAME_BYTES_MAX) throw new RangeError('the frame would be larger than 1 MiB');
  const frame = new Uint8Array(4 + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, 4);
  return frame;
}

/** Gathers chunks into frames. `push` throws `RangeError` for what is not a frame; the connection must then end. */
export class FrameReader {
  #chunks: Uint8Array[] = [];
  #length = 0;

  push(chunk: Uint8Array): CborValue[] {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    const values: CborValue[] = [];
    for (let body = this.#take(); body !== null; body = this.#take()) values.push(decodeCbor(body));
    return values;
  }

  /** Joins the chunks only once a whole frame is there, so that a slow sender costs no copying. */
  #take(): Uint8Array | null {
    const header = this.#peekLength();
    if (header === null || this.#length < 4 + header) return null;
    const all = this.#joined();
    this.#chunks = [all.subarray(4 + header)];
    this.#length -= 4 + header;
    return all.slice(4, 4 + header);
  }

  #peekLength(): number | null {
    if (this.#length < 4) return null;
    const first = this.#chunks[0]!.length >= 4 ? this.#chunks[0]! : this.#joined();
    const length = new DataView(first.buffer, first.byteOffset).getUint32(0);
    if (length > FRAME_BYTES_MAX) throw new RangeError('a frame over 1 MiB');
    return length;
  }

  #joined(): Uint8Array {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }
}
