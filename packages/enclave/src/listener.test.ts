/** The wire between gateway and enclave, over a Unix socket and over mutual TLS, and whoever does not keep to it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect as connectPlain, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { type CborValue, decodeCbor, KedgeError } from '@kedge/core';
import { StoreError } from '@kedge/store';
import { connectEnclave, type EnclaveAddress } from './client.ts';
import type { Enclave } from './enclave.ts';
import { listen } from './listener.ts';
import { createTestUser, openTestEnclave } from './testing/index.ts';
import { CONNECTIONS_MAX, encodeFrame, FRAME_BYTES_MAX, FrameReader, hello, IN_FLIGHT_MAX } from './wire.ts';

const folder = mkdtempSync(join(tmpdir(), 'kedge-listener-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let sockets = 0;
const newSocket = () => ({ socket: join(folder, `${++sockets}.sock`) });
const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });

/** An enclave of which a test needs a method or two. */
const stub = (methods: Partial<Enclave>) => methods as Enclave;
const noBug = (error: unknown) => assert.fail(`no bug was expected: ${String(error)}`);

async function closed(server: Server): Promise<void> {
  server.close();
  await once(server, 'close');
}

/** A caller without our client: raw bytes out, frames in. */
function rawCaller(socket: Socket) {
  const reader = new FrameReader();
  const frames: CborValue[] = [];
  socket.on('data', (chunk: Buffer) => frames.push(...reader.push(chunk)));
  socket.on('error', () => undefined);
  const ended = new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
  });
  return {
    frames,
    ended,
    send: (bytes: Uint8Array) => socket.write(bytes),
    async until(count: number) {
      while (frames.length < count)
        await Promise.race([once(socket, 'data'), ended.then(() => assert.fail('the connection has ended'))]);
    },
    end: () => socket.destroy(),
  };
}

describe('over a Unix socket', () => {
  test('a user signs up, makes a wallet and opens it; the socket is for its owner alone', async () => {
    const opened = await openTestEnclave();
    const address = newSocket();
    const server = await listen(opened.enclave, address, noBug);
    assert.equal(statSync(address.socket).mode & 0o777, 0o600);
    const { enclave, close } = connectEnclave(address);
    const user = await createTestUser(
      { ...opened, enclave: { ...enclave, stop: () => undefined, giveBackOpens: async () => undefined } },
      'project',
    );
    const { wallet } = await user.createWallet();
    assert.equal((await user.openWallet(wallet)).length, 32);
    assert.equal((await enclave.rotation()).running, false);
    assert.equal(await enclave.startRotationWhenDue(), null);
    close();
    await closed(server);
    opened.enclave.stop();
  });

  test('many calls at once are answered each with its own answer, in whatever order they finish', async () => {
    const server = await listen(
      stub({ rewrapWallets: async ({ limit }) => ({ rewrapped: limit, left: await shuffle(limit) }) }),
      newSocketOf('many'),
      noBug,
    );
    const { enclave, close } = connectEnclave(newSocketOf('many'));
    const answers = await Promise.all(Array.from({ length: 500 }, (_, limit) => enclave.rewrapWallets({ limit })));
    assert.deepEqual(
      answers,
      Array.from({ length: 500 }, (_, limit) => ({ rewrapped: limit, left: limit })),
    );
    close();
    await closed(server);
  });

  test('a failure arrives with its code and its sentence; what is our bug arrives as internal and is told to the operator', async () => {
    const bugs: unknown[] = [];
    const failures: Error[] = [
      new KedgeError('open_limited', 'Too often.', { retryAfterS: 60 }),
      new StoreError('unavailable', 'secret host name'),
      new StoreError('full', 'secret path'),
      new TypeError('secret value'),
    ];
    const address = newSocket();
    const server = await listen(stub({ compact: () => Promise.reject(failures.shift()!) }), address, (bug) =>
      bugs.push(bug),
    );
    const { enclave, close } = connectEnclave(address);
    await assert.rejects(enclave.compact(), { code: 'open_limited', message: 'Too often.', retryAfterS: 60 });
    for (const code of ['store_unavailable', 'store_full', 'internal']) {
      await assert.rejects(
        enclave.compact(),
        (error: KedgeError) => error.code === code && !error.message.includes('secret'),
        code,
      );
    }
    assert.equal(bugs.length, 1);
    close();
    await closed(server);
  });

  test('an answer that is too large, or cannot be spelled, fails that call and harms no other', async () => {
    const bugs: unknown[] = [];
    const answers = [new Uint8Array(FRAME_BYTES_MAX), 0.5, undefined];
    const address = newSocket();
    const server = await listen(stub({ compact: async () => answers.shift() as never }), address, (bug) =>
      bugs.push(bug),
    );
    const { enclave, close } = connectEnclave(address);
    await assert.rejects(enclave.compact(), { code: 'internal' });
    await assert.rejects(enclave.compact(), { code: 'internal' });
    assert.equal(await enclave.compact(), null);
    assert.equal(bugs.length, 2);
    close();
    await closed(server);
  });

  test('while the enclave is away a call fails with enclave_unavailable; once it is back the next call succeeds by itself', async () => {
    const address = newSocket();
    const { enclave, close } = connectEnclave(address);
    await assert.rejects(enclave.compact(), { code: 'enclave_unavailable' });
    for (let round = 0; round < 3; round++) {
      const connections = new Set<Socket>();
      const server = await listen(
        stub({ compact: async () => undefined, mirror: () => new Promise(() => undefined) }),
        address,
        noBug,
      );
      server.on('connection', (socket: Socket) => connections.add(socket));
      await enclave.compact();
      const underWay = enclave.mirror();
      for (const socket of connections) socket.destroy();
      await assert.rejects(underWay, { code: 'enclave_unavailable' }, 'a call under way fails at once');
      await closed(server);
      await assert.rejects(enclave.compact(), { code: 'enclave_unavailable' });
    }
    close();
  });

  test('a call after 1,000 unanswered ones is refused by the client as overloaded, before it reaches the wire', async () => {
    const address = newSocket();
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const server = await listen(stub({ compact: () => released }), address, noBug);
    const { enclave, close } = connectEnclave(address);
    const calls = Array.from({ length: IN_FLIGHT_MAX }, () => enclave.compact());
    await assert.rejects(enclave.compact(), { code: 'overloaded' });
    release();
    await Promise.all(calls);
    await enclave.compact();
    close();
    await closed(server);
  });
});

function newSocketOf(name: string): { socket: string } {
  return { socket: join(folder, `${name}.sock`) };
}

/** Resolves after a number of turns that differs from call to call. */
async function shuffle(limit: number): Promise<number> {
  for (let turn = 0; turn < (limit * 7) % 13; turn++) await new Promise(setImmediate);
  return limit;
}

describe('a caller who does not keep to the protocol loses the connection, and only its own', () => {
  const oversize = new Uint8Array(4);
  new DataView(oversize.buffer).setUint32(0, FRAME_BYTES_MAX + 1);
  const frames = (...values: CborValue[]) => Buffer.concat(values.map(encodeFrame));
  const attacks: Readonly<Record<string, Uint8Array>> = {
    'oversize-frame attack: a length over 1 MiB': oversize,
    'a length of 4 GiB': Buffer.from('ffffffff', 'hex'),
    'garbage instead of a hello': Buffer.from('GET / HTTP/1.1\r\nHost: enclave\r\n\r\n'),
    'a TLS hello on the plain socket': Buffer.from('160301020001000001fc0303', 'hex'),
    'an empty frame': Buffer.from('00000000', 'hex'),
    'a frame that is no CBOR': Buffer.from('00000001ff', 'hex'),
    'a hello in another spelling': Buffer.from('00000018bf656b6564676567656e636c6176656776657273696f6e01ff', 'hex'),
    'a hello of another product': frames({ kedge: 'gateway', version: 1 }),
    'a hello of another version': frames({ kedge: 'enclave', version: 2 }),
    'null instead of a hello': frames(null),
    'a call before the hello': frames([1, 'status', null]),
    'a method that does not exist': frames(hello, [1, 'exportEverything', null]),
    'a method that every object has': frames(hello, [1, 'constructor', null]),
    'a method of the process that is not on the wire': frames(hello, [1, 'stop', null]),
    'a method that is a number': frames(hello, [1, 2, null]),
    'a call without an id': frames(hello, ['status', null]),
    'a call whose id is a text': frames(hello, ['1', 'status', null]),
    'a call with a fourth part': frames(hello, [1, 'status', null, null]),
    'a second hello': frames(hello, hello),
    'good calls, then garbage': Buffer.concat([frames(hello, [1, 'compact', null]), Buffer.from('00000001ff', 'hex')]),
  };
  for (const [what, bytes] of Object.entries(attacks)) {
    test(what, async () => {
      const address = newSocket();
      const server = await listen(stub({ compact: async () => undefined }), address, noBug);
      const { enclave, close } = connectEnclave(address);
      await enclave.compact();
      const caller = rawCaller(connectPlain(address.socket));
      caller.send(bytes);
      await caller.ended;
      assert.deepEqual(caller.frames[0] ?? hello, hello, 'nothing but the hello was told');
      await enclave.compact();
      close();
      await closed(server);
    });
  }

  test('flood: 1,000 calls in flight are served, the thousandth-and-first ends the connection', async () => {
    const address = newSocket();
    let release = () => {};
    let started = 0;
    const server = await listen(
      stub({
        compact: () => {
          started += 1;
          return new Promise((resolve) => {
            const before = release;
            release = () => {
              before();
              resolve();
            };
          });
        },
      }),
      address,
      noBug,
    );
    const within = rawCaller(connectPlain(address.socket));
    within.send(frames(hello, ...Array.from({ length: IN_FLIGHT_MAX }, (_, id) => [id, 'compact', null])));
    await within.until(1);
    while (started < IN_FLIGHT_MAX) await new Promise(setImmediate);
    release();
    await within.until(1 + IN_FLIGHT_MAX);
    within.end();

    const beyond = rawCaller(connectPlain(address.socket));
    beyond.send(frames(hello, ...Array.from({ length: IN_FLIGHT_MAX + 1 }, (_, id) => [id, 'compact', null])));
    await beyond.ended;
    assert.equal(started, 2 * IN_FLIGHT_MAX, 'the call too many was not started');
    release();
    await closed(server);
  });

  test('flood: who reads no answers is not read either, and gets them all once they read', async () => {
    const CALLS = 100;
    let started = 0;
    const large = new Uint8Array(256 * 1024);
    const compact = async () => {
      started += 1;
      return large as never;
    };
    const address = newSocket();
    const server = await listen(stub({ compact }), address, noBug);
    const socket = connectPlain(address.socket);
    socket.write(frames(hello));
    for (let id = 0; id < CALLS; id++) {
      await new Promise((resolve) => socket.write(frames([id, 'compact', null]), resolve));
      await turns(20); // each call in a chunk of its own
    }
    assert.equal(started > 0 && started < CALLS / 2, true, `${started} calls were started`);
    const caller = rawCaller(socket);
    await caller.until(1 + CALLS);
    assert.equal(started, CALLS);
    caller.end();
    await closed(server);
  });

  test('flood: one connection too many is dropped without a hello, and the others are served', async () => {
    const address = newSocket();
    const server = await listen(stub({ compact: async () => undefined }), address, noBug);
    const callers = Array.from({ length: CONNECTIONS_MAX }, () => rawCaller(connectPlain(address.socket)));
    await Promise.all(callers.map((caller) => caller.until(1)));
    const beyond = rawCaller(connectPlain(address.socket));
    await beyond.ended;
    assert.deepEqual(beyond.frames, []);
    callers[0]!.send(frames(hello, [1, 'compact', null]));
    await callers[0]!.until(2);
    for (const caller of callers) caller.end();
    await closed(server);
  });

  test('parameters of another form are answered as such: the connection stays, and no bug is told', async () => {
    const opened = await openTestEnclave();
    const address = newSocket();
    const server = await listen(opened.enclave, address, noBug);
    const caller = rawCaller(connectPlain(address.socket));
    const user = { project: 'project', user: 'user', proof: '' };
    const calls: [string, CborValue][] = [
      ['signIn', null],
      ['signIn', [user]],
      ['signIn', { ...user, project: ['project'] }],
      ['signIn', { ...user, proof: 'x'.repeat(4_097) }],
      ['signIn', { ...user, more: null }],
      ['signIn', { project: 'project', user: 'user' }],
      ['signHead', { seq: 1, hash: new Uint8Array(31), bodyHashes: [] }],
      ['signHead', { seq: -1, hash: new Uint8Array(32), bodyHashes: [] }],
      ['signHead', { seq: 1, hash: new Uint8Array(32), bodyHashes: [[0]] }],
      ['checkMirror', { mirror: { document: new Uint8Array(8_193), signature: new Uint8Array(64) } }],
      ['acceptRestore', { proofs: ['', '', ''] }],
      ['compact', {}],
    ];
    caller.send(frames(hello, ...calls.map(([method, parameters], id) => [id, method, parameters])));
    await caller.until(1 + calls.length);
    for (const [id, ok, { code }] of caller.frames.slice(1) as unknown as [number, boolean, { code: string }][])
      assert.deepEqual([ok, code], [false, 'request_invalid'], JSON.stringify(calls[id]));
    caller.end();
    await closed(server);
    opened.enclave.stop();
  });

  test('frames arrive whole however they are cut into pieces', async () => {
    const bytes = frames(hello, [1, 'compact', { data: new Uint8Array(3_000) }], [2, 'compact', null]);
    for (const size of [1, 2, 3, 5, 1_000, bytes.length]) {
      const reader = new FrameReader();
      const values: CborValue[] = [];
      for (let at = 0; at < bytes.length; at += size) values.push(...reader.push(bytes.subarray(at, at + size)));
      assert.deepEqual(
        values,
        [hello, [1, 'compact', { data: new Uint8Array(3_000) }], [2, 'compact', null]],
        `pieces of ${size}`,
      );
    }
  });

  test('a frame of exactly 1 MiB passes, one byte more is not even made', () => {
    const head = 5; // CBOR's own bytes for a byte string of that length
    const most = new Uint8Array(FRAME_BYTES_MAX - head);
    const frame = encodeFrame(most);
    assert.equal(frame.length, 4 + FRAME_BYTES_MAX);
    assert.deepEqual(new FrameReader().push(frame), [most]);
    assert.throws(() => encodeFrame(new Uint8Array(FRAME_BYTES_MAX - head + 1)), RangeError);
    assert.deepEqual(decodeCbor(frame.subarray(4)), most);
  });
});

test('a gateway that finds something else behind the address says that the enclave is unavailable', async () => {
  for (const greeting of [
    'HTTP/1.1 400 Bad Request\r\n\r\n',
    encodeFrame({ kedge: 'enclave', version: 2 }),
    encodeFrame(null),
    encodeFrame([1, true, 'forged']),
  ]) {
    const address = newSocket();
    const server = createServer((socket) =>
      socket
        .on('error', () => undefined)
        .resume()
        .write(greeting),
    );
    server.listen(address.socket);
    await once(server, 'listening');
    const { enclave } = connectEnclave(address);
    await assert.rejects(enclave.status(), { code: 'enclave_unavailable' });
    await closed(server);
  }
});

describe('over mutual TLS', () => {
  const file = (name: string) => join(folder, name);
  const authority = (name: string) => {
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
    );
  };
  const certificate = (name: string, by: string) => {
    openssl(
      'req',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}`,
      '-addext',
      'subjectAltName=IP:127.0.0.1',
    );
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      `${by}.pem`,
      '-CAkey',
      `${by}.key`,
      '-CAcreateserial',
      '-copy_extensions',
      'copy',
      '-out',
      `${name}.pem`,
      '-days',
      '2',
    );
    return { cert: file(`${name}.pem`), key: file(`${name}.key`) };
  };
  authority('ca');
  authority('stranger-ca');
  const ca = file('ca.pem');
  const ofEnclave = certificate('enclave', 'ca');
  const ofGateway = certificate('gateway', 'ca');
  const ofStranger = certificate('stranger', 'stranger-ca');

  async function serving(
    work: (address: { host: string; port: number }, answered: () => number) => Promise<void>,
  ): Promise<void> {
    let count = 0;
    const compact = async () => {
      count += 1;
    };
    const server = await listen(stub({ compact }), { host: '127.0.0.1', port: 0, ca, ...ofEnclave }, noBug);
    await work({ host: '127.0.0.1', port: (server.address() as AddressInfo).port }, () => count);
    await closed(server);
  }

  test('a gateway with a certificate of our authority is served', () =>
    serving(async (address, answered) => {
      const { enclave, close } = connectEnclave({ ...address, ca, ...ofGateway });
      await enclave.compact();
      assert.equal(answered(), 1);
      close();
    }));

  test('a stranger with a certificate of another authority is refused', () =>
    serving(async (address, answered) => {
      await assert.rejects(connectEnclave({ ...address, ca, ...ofStranger }).enclave.compact(), {
        code: 'enclave_unavailable',
      });
      assert.equal(answered(), 0);
    }));

  test('a stranger without a certificate is refused', () =>
    serving(async (address, answered) => {
      const caller = rawCaller(connectTls({ ...address, rejectUnauthorized: false }));
      caller.send(Buffer.concat([encodeFrame(hello), encodeFrame([1, 'compact', null])]));
      await caller.ended;
      assert.deepEqual([answered(), caller.frames], [0, []]);
    }));

  test('downgrade attack: TLS 1.2 is refused', () =>
    serving(async (address, answered) => {
      const caller = rawCaller(connectTls({ ...address, rejectUnauthorized: false, maxVersion: 'TLSv1.2' }));
      await caller.ended;
      assert.deepEqual([answered(), caller.frames], [0, []]);
    }));

  test('someone without TLS is refused', () =>
    serving(async (address, answered) => {
      const caller = rawCaller(connectPlain(address));
      caller.send(Buffer.concat([encodeFrame(hello), encodeFrame([1, 'compact', null])]));
      await caller.ended;
      assert.equal(answered(), 0);
    }));

  test('impostor: a gateway does not talk to an enclave whose certificate another authority signed', async () => {
    const server = await listen(
      stub({}),
      { host: '127.0.0.1', port: 0, ca: file('stranger-ca.pem'), ...ofStranger },
      noBug,
    );
    const address: EnclaveAddress = {
      host: '127.0.0.1',
      port: (server.address() as AddressInfo).port,
      ca,
      ...ofGateway,
    };
    await assert.rejects(connectEnclave(address).enclave.compact(), { code: 'enclave_unavailable' });
    await closed(server);
  });
});

/** Lets the event loop go round, so that sockets of this process are read. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}
