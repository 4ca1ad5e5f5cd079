/** What a peer can do to a FROST signature, under the names of docs/mpc.md. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { concat } from '../bytes.ts';
import type { MpcError } from '../errors.ts';
import { mod } from '../group.ts';
import { suiteOf } from '../suite.ts';
import { dealWallet } from '../testing/dealer.ts';
import { deviating, tampered } from '../testing/deviate.ts';
import { type Played, play, results } from '../testing/devices.ts';
import { playTwoFaced } from '../testing/two-faced.ts';
import { fastArithmetic, frostSeats, type Holder } from '../testing/wallets.ts';
import { FrostSigning } from './sign.ts';

const message = new Uint8Array(32).fill(4);
const SUITES = ['schnorr-secp256k1', 'eddsa-ed25519'] as const;

function errorOf(played: Pick<Played<unknown>, 'outcomes'>, address: number): MpcError {
  const outcome = played.outcomes.get(address)!;
  assert.equal(outcome.status, 'aborted');
  return (outcome as { error: MpcError }).error;
}

for (const suite of SUITES) {
  const { group } = suiteOf(suite, fastArithmetic);
  const deal = (threshold: number, count: number) => dealWallet({ threshold, count, suites: [suite] });
  const attack = async (holders: readonly Holder[], change: Parameters<typeof deviating>[1]) => {
    const seats = frostSeats(holders, { suite, message });
    return play([...seats.slice(0, -1), deviating(seats.at(-1)!, change)]);
  };

  describe(`FROST, ${suite}`, () => {
    test('a false signature share names whoever sent it', async () => {
      const played = await attack(await deal(3, 3), (round, step) =>
        round === 2
          ? tampered(step, {
              broadcast: (bytes) => group.encodeScalar(mod(group.decodeScalar(bytes) + 1n, group.order)),
            })
          : step,
      );
      const { failure, code, culprits } = errorOf(played, 1);
      assert.deepEqual({ failure, code, culprits }, { failure: 'peer_fault', code: 'bad_share', culprits: [3] });
    });

    test('T-FR-2 commitments that are malformed, the identity, too short or too long', async () => {
      const bad = [
        (bytes: Uint8Array) => bytes.slice(1),
        (bytes: Uint8Array) => concat(bytes, bytes),
        (bytes: Uint8Array) => bytes.fill(0, 0, group.pointBytes),
        (bytes: Uint8Array) => bytes.fill(255, group.pointBytes),
      ];
      for (const change of bad) {
        const played = await attack(await deal(2, 2), (round, step) =>
          round === 1 ? tampered(step, { broadcast: change }) : step,
        );
        const { failure, culprits } = errorOf(played, 1);
        assert.deepEqual({ failure, culprits }, { failure: 'peer_fault', culprits: [2] });
      }
    });

    test('T-FR-2 a commitment that is told differently to two signers ends the session before it can be used', async () => {
      const holders = await deal(3, 3);
      const seats = frostSeats(holders, { suite, message });
      const { outcomes } = await playTwoFaced(seats.slice(0, 2), seats[2]!, [2]);
      for (const address of [1, 2]) {
        const { failure } = errorOf({ outcomes }, address);
        assert.equal(failure, 'retry');
      }
    });

    test('T-FR-1 the nonces sign once: a second share is refused, whatever the list', async () => {
      const [first, second] = await deal(2, 2);
      let steps = 0;
      const seats = frostSeats([first!, second!], { suite, message });
      const greedy = {
        ...seats[0]!,
        protocol: {
          ...seats[0]!.protocol,
          begin: (context: Parameters<(typeof seats)[0]['protocol']['begin']>[0]) => {
            const machine = seats[0]!.protocol.begin(context);
            assert.ok(machine instanceof FrostSigning);
            return {
              start: () => machine.start(),
              step: (round: number, inbox: Parameters<typeof machine.step>[1]) => {
                const step = machine.step(round, inbox);
                if (round === 1) {
                  steps++;
                  assert.throws(() => machine.step(1, inbox), { code: 'session_over' });
                }
                return step;
              },
              dispose: () => machine.dispose(),
            };
          },
        },
      };
      results(await play([greedy, seats[1]!]));
      assert.equal(steps, 1);
    });

    test('when the limit says no, no signature share leaves', async () => {
      const holders = await deal(2, 2);
      const { MpcError: Refusal } = await import('../errors.ts');
      const refuse = async () => {
        throw new Refusal('not_allowed', 'The request was cancelled.');
      };
      const seats = [
        frostSeats(holders, { suite, message })[0]!,
        frostSeats(holders, { suite, message, beforeRelease: refuse })[1]!,
      ];
      const played = await play(seats, ({ from, bytes }) => {
        assert.ok(from !== 2 || bytes[0] !== 2 || bytes[35] !== 2, 'a share left');
        return [bytes];
      });
      assert.equal(errorOf(played, 2).code, 'not_allowed');
    });
  });
}

test('a Taproot output can not be asked of an Ed25519 key, nor ECDSA of a Schnorr share', async () => {
  const holders = await dealWallet({ threshold: 2, count: 2, suites: ['eddsa-ed25519'] });
  const taproot = { merkleRoot: new Uint8Array(0) };
  assert.throws(() => frostSeats(holders, { suite: 'eddsa-ed25519', message, taproot }), { code: 'bad_input' });
});
