/**
 * Every decoder against random bytes and against valid messages that were changed: it gives a value that encodes to the same
 * bytes, or an `MpcError`, and nothing else. DECODER_RUNS says how many inputs each decoder gets.
 */
import assert from 'node:assert/strict';
import { createHash, randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import { backupContext } from './backup/context.ts';
import { openDriveFile, readDriveFile, sealDriveFile } from './backup/drive-file.ts';
import { encryptShare, verifyBlob } from './backup/verifiable-encryption.ts';
import { concat, equalBytes } from './bytes.ts';
import { convicts, ENVELOPE_MAX, readHeader } from './envelope.ts';
import { MpcError } from './errors.ts';
import { ed25519Group, secp256k1Group } from './group.ts';
import { openHello } from './hello.ts';
import { decodeKeyShare, decodeOtSetup, encodeKeyShare, encodeOtSetup } from './key-share.ts';
import { decodeNotice, encodeNotice, signNotice } from './notice.ts';
import { Multiplier, multiply, readCorrection } from './ot/multiply.ts';
import { decodeDescriptor, encodeDescriptor } from './participant.ts';
import { verifyProof } from './schnorr-proof.ts';
import { dealWallet } from './testing/dealer.ts';
import { dealSetup } from './testing/dealt-setup.ts';
import { groupOf, openSeat, play, testCrypto } from './testing/devices.ts';
import { fastArithmetic, frostSeats } from './testing/wallets.ts';

const RUNS = Number(process.env.DECODER_RUNS ?? 50_000);
const SEED = process.env.DECODER_SEED ?? String(randomInt(2 ** 31));

/** Quick, and the same for the same seed. */
function randomSource(seed: string) {
  let block = createHash('sha512').update(seed).digest();
  let at = 0;
  const next = () => {
    if (at + 4 > block.length) {
      block = createHash('sha512').update(block).digest();
      at = 0;
    }
    at += 4;
    return block.readUInt32LE(at - 4);
  };
  return {
    below: (bound: number) => next() % bound,
    bytes(length: number) {
      const bytes = new Uint8Array(length);
      for (let k = 0; k < length; k += 4) {
        const word = next();
        for (let b = 0; b < 4 && k + b < length; b++) bytes[k + b] = word >>> (8 * b);
      }
      return bytes;
    },
  };
}
type Source = ReturnType<typeof randomSource>;

/** One change of a valid message: a byte, a bit, a cut, an extension, a piece moved. */
function mutate(valid: Uint8Array, random: Source): Uint8Array {
  const bytes = valid.slice();
  const at = random.below(Math.max(1, bytes.length));
  switch (random.below(6)) {
    case 0:
      bytes[at] = random.below(256);
      return bytes;
    case 1:
      bytes[at]! ^= 1 << random.below(8);
      return bytes;
    case 2:
      return bytes.slice(0, at);
    case 3:
      return concat(bytes, random.bytes(1 + random.below(8)));
    case 4:
      return concat(bytes.slice(0, at), random.bytes(4), bytes.slice(at + 4));
    default:
      bytes.copyWithin(at, random.below(Math.max(1, bytes.length)));
      return bytes;
  }
}

interface Decoder {
  readonly name: string;
  readonly valid: Uint8Array;
  /** Gives the bytes back that the value encodes to, or null when it says no without throwing. */
  readonly decode: (bytes: Uint8Array) => Uint8Array | null | Promise<Uint8Array | null>;
  /** For decoders that do public-key work on what looks right: how many of a thousand inputs look right. */
  readonly deep?: number;
}

async function decoders(): Promise<Decoder[]> {
  const [a] = await dealWallet({ threshold: 2, count: 3, suites: ['ecdsa-secp256k1'] });
  const [e, f] = await dealWallet({ threshold: 2, count: 2, suites: ['eddsa-ed25519'] });
  const descriptor = groupOf([a!.device, e!.device], 2);
  const notice = await signNotice('confirm', new Uint8Array(16), new Uint8Array(32), a!.device.identity);
  const seats = frostSeats([e!, f!], { suite: 'eddsa-ed25519', message: new Uint8Array(32) });
  const { traffic } = await play(seats);
  const hello = traffic.find(({ bytes }) => bytes[0] === 1)!.bytes.slice(1);
  const envelope = traffic.find(({ bytes }) => bytes[0] === 2)!.bytes.slice(1);
  const file = {
    backupId: new Uint8Array(16),
    ctx: new Uint8Array(32),
    deviceKey: new Uint8Array(33),
    serverKey: new Uint8Array(33),
  };
  const drive = await sealDriveFile(file, new Uint8Array(32), new Uint8Array(64), testCrypto);
  const share = a!.shares.get('ecdsa-secp256k1')!;
  const keys = { backupId: new Uint8Array(16), deviceKey: share.commitments[0]!, serverKey: share.commitments[1]! };
  const identity = a!.device.identity.publicKey;
  const context = backupContext(keys, { sharing: share, index: 1, deviceIdentity: identity, serverIdentity: identity });
  const source = randomSource('blob');
  const blob = encryptShare(context, share.secret, (_, length) => source.bytes(length), fastArithmetic);
  const session = { sid: new Uint8Array(32), otid: new Uint8Array(32), bob: 1, alice: 2 };
  const dealt = dealSetup((_, length) => source.bytes(length));
  const random = (_: string, length: number) => source.bytes(length);
  const first = new Multiplier(session, dealt.bob, random);
  const correction = multiply(session, dealt.alice, first.message, [1n, 2n], random).message;
  return [
    {
      name: 'key share',
      valid: encodeKeyShare(share),
      decode: (bytes) => encodeKeyShare(decodeKeyShare(bytes, fastArithmetic)),
      deep: 2,
    },
    {
      name: 'OT set-up',
      valid: encodeOtSetup(a!.setups.get(2)![0]!),
      decode: (bytes) => encodeOtSetup(decodeOtSetup(bytes)),
    },
    {
      name: 'group descriptor',
      valid: encodeDescriptor(descriptor),
      decode: (bytes) => encodeDescriptor(decodeDescriptor(bytes)),
    },
    { name: 'notice', valid: encodeNotice(notice), decode: (bytes) => encodeNotice(decodeNotice(bytes)) },
    {
      name: 'hello',
      valid: hello,
      decode: async (bytes) =>
        typeof (await openHello(seats[0]!.protocol, seats[0]!.protocol.participants, bytes, testCrypto)) === 'string'
          ? null
          : bytes,
      deep: 4,
    },
    { name: 'envelope header', valid: envelope, decode: (bytes) => (readHeader(bytes) ? bytes : null) },
    { name: 'drive file', valid: drive, decode: (bytes) => (readDriveFile(bytes) ? bytes : null) },
    {
      name: 'drive file, opened',
      valid: drive,
      decode: async (bytes) => ((await openDriveFile(bytes, new Uint8Array(64), testCrypto)) ? bytes : null),
      deep: 10,
    },
    {
      name: 'backup',
      valid: blob,
      decode: (bytes) => (verifyBlob(context, bytes, fastArithmetic) ? bytes : null),
      deep: 0.04,
    },
    {
      name: 'signed broadcast',
      valid: traffic.at(-1)!.bytes,
      decode: async (bytes) => ((await convicts(identity, bytes, bytes, testCrypto)) ? bytes : null),
      deep: 4,
    },
    {
      name: 'point of secp256k1',
      valid: share.publicKey,
      decode: (bytes) => secp256k1Group.encode(secp256k1Group.decode(bytes)),
    },
    {
      name: 'point of secp256k1, quick',
      valid: share.publicKey,
      decode: (bytes) => fastArithmetic.secp256k1.encode(fastArithmetic.secp256k1.decode(bytes)),
    },
    {
      name: 'point of ed25519',
      valid: e!.shares.get('eddsa-ed25519')!.publicKey,
      decode: (bytes) => ed25519Group.encode(ed25519Group.decode(bytes)),
      deep: 100,
    },
    {
      name: 'scalar of secp256k1',
      valid: share.secret,
      decode: (bytes) => secp256k1Group.encodeScalar(secp256k1Group.decodeScalar(bytes)),
    },
    {
      name: 'scalar of ed25519',
      valid: new Uint8Array(32),
      decode: (bytes) => ed25519Group.encodeScalar(ed25519Group.decodeScalar(bytes)),
    },
    {
      name: 'proof of knowledge',
      valid: concat(share.publicKey, share.secret),
      decode: (bytes) =>
        verifyProof(
          fastArithmetic.secp256k1,
          { sid: new Uint8Array(32), prover: 1, role: 'keygen', coefficient: 0 },
          fastArithmetic.secp256k1.base(5n),
          bytes,
        )
          ? bytes
          : null,
      deep: 5,
    },
    {
      name: 'OT extension',
      valid: first.message,
      decode: (bytes) => (multiply(session, dealt.alice, bytes, [1n, 2n], random) ? bytes : null),
      deep: 0.5,
    },
    {
      name: 'correction',
      valid: correction,
      decode(bytes) {
        const { corrections, eta, muHash } = readCorrection(bytes);
        return concat(corrections, eta, muHash);
      },
      deep: 2,
    },
  ];
}

describe(`decoders, ${RUNS} inputs each, DECODER_SEED=${SEED}`, async () => {
  for (const { name, valid, decode, deep = 1000 } of await decoders()) {
    test(name, async () => {
      const random = randomSource(`${SEED} ${name}`);
      await tryDecode(decode, valid);
      for (let run = 0; run < RUNS; run++) {
        await tryDecode(decode, inputFor(valid, deep, random));
      }
    });
  }

  test('a session: whatever arrives, it goes on, and holds no more than it declares', async () => {
    const [e, f] = await dealWallet({ threshold: 2, count: 2, suites: ['eddsa-ed25519'] });
    const seats = frostSeats([e!, f!], { suite: 'eddsa-ed25519', message: new Uint8Array(32) });
    const { traffic } = await play(seats);
    const random = randomSource(`${SEED} session`);
    const session = openSeat(frostSeats([e!, f!], { suite: 'eddsa-ed25519', message: new Uint8Array(32) })[0]!);
    await session.start();
    for (let run = 0; run < RUNS; run += 50) {
      const batch = Array.from({ length: 50 }, () => mutate(traffic[random.below(traffic.length)]!.bytes, random));
      const { outcome } = await session.handle(batch);
      assert.equal(outcome.status, 'running');
    }
    const { outcome } = await session.handle([concat(Uint8Array.of(2), new Uint8Array(ENVELOPE_MAX + 1))]);
    assert.equal(outcome.status, 'running');
    session.dispose();
  });
});

/** `deep` of a thousand look right; the rest are noise, or the beginning of something right. */
function inputFor(valid: Uint8Array, deep: number, random: Source): Uint8Array {
  if (random.below(1_000_000) < deep * 1000) return mutate(valid, random);
  return random.below(2) === 0 ? random.bytes(random.below(300)) : valid.subarray(0, random.below(valid.length));
}

async function tryDecode(decode: Decoder['decode'], input: Uint8Array): Promise<void> {
  let again: Uint8Array | null;
  try {
    again = await decode(input);
  } catch (error) {
    assert.ok(error instanceof MpcError, `${error}`);
    return;
  }
  if (again) assert.ok(equalBytes(again, input), 'what it read is what was there');
}
