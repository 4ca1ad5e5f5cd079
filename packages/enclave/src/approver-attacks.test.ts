/**
 * What is tried around a recovery rather than in it: lists that would decide otherwise than they read, names that mean two
 * things, calls that race, and rehearsals that are to prove more than they did. Each test is named for the attack. The
 * attacker is a hostile gateway, and now and then one approver who helps it.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { COOLING_PERIOD_MS_MAX, type ProofKey } from '@kedge/core';
import { type DrivenClock, drivenClock } from '@kedge/core/testing';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { approver, createTestKey, openTestEnclave, TestApprovals, type TestEnclave } from './testing/index.ts';

const clock: DrivenClock = drivenClock();
let opened: TestEnclave;
let approvals: TestApprovals;

before(async () => {
  const officers = await Promise.all([generateIdentity(), generateIdentity()]);
  opened = await openTestEnclave({ clock, officers: await Promise.all(officers.map(identityToRecipient)) });
  approvals = new TestApprovals(opened);
});
after(async () => {
  opened.enclave.stop();
  await opened.db.close();
});

describe('lists', () => {
  test('a cooling period that no recovery can have: the list would lock the owner out, so it is not made', async () => {
    const { project } = approvals;
    const rules = approvals.rules({ coolingPeriodMs: COOLING_PERIOD_MS_MAX + 1 });
    const list = randomUUID() as string;
    await assert.rejects(opened.enclave.createApproverList({ project, list, rules }), { code: 'request_invalid' });
    const owned = await approvals.newKey();
    const change = { project, list: owned.list, change: randomUUID() as string };
    await assert.rejects(opened.enclave.openListChange({ ...change, rules }), { code: 'request_invalid' });
  });

  test('a key that stands in the list twice, in two spellings, or that nobody or everybody can sign with', async () => {
    const p256 = Buffer.from(
      '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
      'hex',
    );
    const spelledOtherwise = Uint8Array.of(5, ...p256.subarray(1));
    const notOnTheCurve = Uint8Array.of(...p256.subarray(0, 64), 0);
    const identity = Uint8Array.of(1, ...new Uint8Array(31));
    const make = (key: ProofKey) => {
      const { project } = approvals;
      const approvers = [
        { ...approver('ada', null), key: { algorithm: 'p256' as const, publicKey: new Uint8Array(p256) } },
        { ...approver('bert', null), key },
        approver('cleo', null),
      ];
      const rules = approvals.rules({ approvers });
      return opened.enclave.createApproverList({ project, list: randomUUID(), rules });
    };
    const { algorithm, publicKey } = createTestKey();
    await make({ algorithm, publicKey });
    for (const key of [
      { algorithm: 'p256', publicKey: spelledOtherwise },
      { algorithm: 'p256', publicKey: notOnTheCurve },
      { algorithm: 'p256', publicKey: createTestKey().publicKey },
      { algorithm: 'ed25519', publicKey: new Uint8Array(p256) },
      { algorithm: 'ed25519', publicKey: identity },
      { algorithm: 'ed25519', publicKey: new Uint8Array(32).fill(0xff) },
    ] as const)
      await assert.rejects(make(key), { code: 'request_invalid' });
  });

  test('a slash in the id of a project or list: a vote for one list would be a vote in another', async () => {
    const { project } = approvals;
    const rules = approvals.rules();
    for (const name of [
      { project, list: 'one/two' },
      { project: `${project}/one`, list: 'two' },
      { project, list: '' },
    ])
      await assert.rejects(opened.enclave.createApproverList({ ...name, rules }), { code: 'request_invalid' });
  });
});
