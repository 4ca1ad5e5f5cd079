/**
 * The enclave's side of the wire: one listener, frames in, methods of `enclave.ts` called by name, frames out. It keeps
 * a caller to the bounds of `wire.ts` and turns whatever goes wrong into an error code; it decides nothing.
 */
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { type CborValue, KedgeError } from '@kedge/core';
import { StoreError } from '@kedge/store';
import type { EnclaveAddress } from './client.ts';
import type { Enclave } from './enclave.ts';
import {
  CONNECTIONS_MAX,
  encodeFrame,
  FrameReader,
  hello,
  IN_FLIGHT_MAX,
  WIRE_VERSION,
  type WireMethod,
  wireMethods,
} from './wire.ts';

/** A connection that hasn't shown its certificate by then gives its place to others. */
const HANDSHAKE_MS_MAX = 5_000;

/** `onBug` hears of errors that are nobody's fault but ours. */
export async function listen(
  enclave: Enclave,
  address: EnclaveAddress,
  onBug: (error: unknown) => void,
): Promise<Server> {
  const accept = (socket: Socket) => serve(enclave, socket, onBug);
  if ('socket' in address) {
    rmSync(address.socket, { force: true });
    const umask = process.umask(0o177);
    const server = createServer(accept);
    try {
      await listening(server, (ready) => server.listen(address.socket, ready));
    } finally {
      process.umask(umask);
    }
    chmodSync(address.socket, 0o600);
    return server;
  }
  const { ca, cert, key } = address;
  const server = createTlsServer(
    {
      ca: readFileSync(ca),
      cert: readFileSync(cert),
      key: readFileSync(key),
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_MS_MAX,
      minVersion: 'TLSv1.3',
    },
    accept,
  );
  await listening(server, (ready) => server.listen(address.port, address.host, ready));
  return server;
}

function listening(server: Server, start: (ready: () => void) => void): Promise<void> {
  server.maxConnections = CONNECTIONS_MAX;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    start(resolve);
  });
}

function serve(enclave: Enclave, socket: Socket, onBug: (error: unknown) => void): void {
  const reader = new FrameReader();
  let greeted = false;
  let inFlight = 0;

  /** Who does not read their answers is not read either: otherwise the answers would pile up here. */
  const send = (frame: Uint8Array) => {
    if (!socket.write(frame)) socket.pause();
  };

  const answer = async (id: number, method: WireMethod, parameters: CborValue) => {
    inFlight += 1;
    const frame = await (enclave[method] as (call: CborValue) => Promise<unknown>)(parameters)
      .then((result) => encodeFrame([id, true, (result ?? null) as CborValue]))
      .catch((error: unknown) => encodeFrame([id, false, describe(error, onBug)]));
    inFlight -= 1;
    if (!socket.destroyed) send(frame);
  };

  socket.on('error', () => socket.destroy());
  socket.on('drain', () => socket.resume());
  send(encodeFrame(hello));
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const value of reader.push(chunk)) {
        if (!greeted) {
          assertHello(value);
          greeted = true;
          continue;
        }
        const [id, method, parameters] = parseCall(value);
        if (inFlight >= IN_FLIGHT_MAX) throw new RangeError('too many calls in flight');
        void answer(id, method, parameters);
      }
    } catch {
      socket.destroy(); // not our protocol, or out of its bounds: there is nobody to explain it to
    }
  });
}

function assertHello(value: CborValue): void {
  const { kedge, version } = value as { kedge?: CborValue; version?: CborValue };
  if (kedge !== 'enclave' || version !== WIRE_VERSION) throw new RangeError('not our protocol');
}

function parseCall(value: CborValue): [number, WireMethod, CborValue] {
  if (!Array.isArray(value) || value.length !== 3) throw new RangeError('not a call');
  const [id, method, parameters] = value as [CborValue, CborValue, CborValue];
  if (typeof id !== 'number' || !wireMethods.includes(method as WireMethod)) throw new RangeError('not a call');
  return [id, method as WireMethod, parameters];
}

function describe(error: unknown, onBug: (error: unknown) => void): CborValue {
  if (error instanceof KedgeError)
    return { code: error.code, detail: error.message, retry_after_s: error.retryAfterS ?? null };
  if (error instanceof StoreError && (error.code === 'unavailable' || error.code === 'full')) {
    return { code: error.code === 'full' ? 'store_full' : 'store_unavailable', detail: '', retry_after_s: 2 };
  }
  onBug(error);
  return { code: 'internal', detail: '', retry_after_s: null };
}
