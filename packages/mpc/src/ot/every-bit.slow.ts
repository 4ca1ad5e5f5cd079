/**
 * The two exhaustive runs that the tests beside the sources only sample: every single bit of an OT extension changed on the
 * way (T-OT-3), and every scalar of a correction replaced by one that is not canonical. About a minute.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromInteger } from '../bytes.ts';
import { secp256k1Group } from '../group.ts';
import { dealSetup } from '../testing/dealt-setup.ts';
import { seededRandom } from '../testing/seeded-random.ts';
import { EXTENSION_BYTES, Oracles, receiveExtension } from './extension.ts';
import { Multiplier, type MultiplySession, multiply } from './multiply.ts';

const setup = dealSetup(seededRandom('every bit'));
const session: MultiplySession = { sid: new Uint8Array(32), otid: new Uint8Array(32).fill(1), bob: 1, alice: 2 };
const start = () => new Multiplier(session, setup.bob, seededRandom('bob'));

test('every bit of the extension', () => {
  const message = Uint8Array.from(start().message);
  for (let bit = 0; bit < 8 * EXTENSION_BYTES; bit++) {
    message[bit >> 3]! ^= 1 << (bit & 7);
    const receive = () => receiveExtension(new Oracles(session), setup.alice, message);
    assert.throws(receive, { code: 'check_failed', failure: 'poison' }, `bit ${bit}`);
    message[bit >> 3]! ^= 1 << (bit & 7);
  }
});

test('every scalar of the correction, in every way not canonical', () => {
  const { message } = multiply(session, setup.alice, start().message, [1n, 2n], seededRandom('alice'));
  for (const bad of [secp256k1Group.order, secp256k1Group.order + 1n, (1n << 256n) - 1n]) {
    for (let n = 0; n <= 1_248; n++) {
      const copy = Uint8Array.from(message);
      copy.set(fromInteger(bad), 32 * n);
      const bob = start();
      assert.throws(() => bob.finish(copy), { code: 'bad_encoding' }, `scalar ${n}`);
    }
  }
});
