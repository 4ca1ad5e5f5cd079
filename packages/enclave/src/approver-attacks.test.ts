/**
 * What is tried around a recovery rather than in it: lists that would decide otherwise than they read, names that mean two
 * things, calls that race, and rehearsals that are to prove more than they did. Each test is named for the attack. The
 * attacker is a hostile gateway, and now and then one approver who helps it.
 */
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { assemblePsbt, bitcoinNetworks, createDescriptor, type Descriptor, rootExtendedKey } from '@kedge/chains';
import { COOLING_PERIOD_MS_MAX, DAY_MS, type ListRules, type ProofKey } from '@kedge/core';
import { type DrivenClock, drivenClock } from '@kedge/core/testing';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import {
  approver,
  createTestKey,
  createTestVault,
  nameOf,
  openTestEnclave,
  TestApprovals,
  type TestEnclave,
} from './testing/index.ts';

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

describe('races', () => {
  test('one id for two recoveries under two lists: one of them begins, and the other list stays free', async () => {
    const [mine, victim] = [await approvals.newKey(), await approvals.newKey()];
    const recovery = randomUUID() as string;
    const plans = [mine, victim].map((owned) => ({ ...approvals.spend(owned).plan, recovery }));
    const results = await Promise.allSettled(plans.map((plan) => opened.enclave.requestRecovery({ plan })));
    assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    await opened.enclave.cancelRecovery({ project: approvals.project, recovery, by: 'owner' });
    const rules: ListRules = approvals.rules({ windowMs: DAY_MS });
    for (const { list } of [mine, victim]) {
      const change = { project: approvals.project, list, change: randomUUID() as string, rules };
      assert.equal((await opened.enclave.openListChange(change)).outcome.state, 'open');
    }
  });
});

describe('a sweep', () => {
  test('burns a fifth of a large wallet as fee: more than any rate that a network asks for is not signed', async () => {
    const owned = await approvals.newKey();
    const { vault } = owned;
    const { descriptor } = createTestVault(opened.enclave, owned.publicKey);
    const { address, script } = descriptor.derive({ change: 0, index: 0 });
    const plan = approvals.plan(owned, [], { release: { kind: 'sweep', destination: address } });
    await approvals.approve(plan);
    const coin = vault.coin(1_000_000_000n);
    const burning = vault.spend([coin], descriptor, 810_000_000n, 190_000_000n);
    await assert.rejects(approvals.release(plan, [burning], vault), { code: 'request_invalid' });
    const both = assemblePsbt(
      vault.descriptor,
      [{ ...coin, vout: 0, output: vault.descriptor.derive({ change: 0, index: 0 }) }],
      Array.from({ length: 2 }, () => ({ amount: 499_950_000n, script, own: null })),
    );
    await assert.rejects(approvals.release(plan, [both], vault), { code: 'request_invalid' }, 'in pieces');
    await approvals.release(plan, [vault.spend([coin], descriptor, 999_900_000n, 100_000n)], vault);
  });
});

describe('time of everybody', () => {
  test('transactions with thousands of keys to derive are refused before one is, and unread while nobody has approved', async () => {
    const owned = await approvals.newKey();
    const descriptor = walletOfFifteen(owned.publicKey);
    const output = descriptor.derive({ change: 0, index: 0 });
    const { script } = output;
    const coin = (amount: bigint) => ({
      txid: randomBytes(32).toString('hex'),
      vout: 0,
      amount,
      output,
      previous: null,
    });
    const coins = Array.from({ length: 150 }, () => coin(10_000n));
    const psbt = assemblePsbt(descriptor, coins, [{ amount: 1_490_000n, script, own: null }]);
    const plan = approvals.plan(owned, [psbt], { account: descriptor.text });
    await opened.enclave.requestRecovery({ plan });
    for (const sent of [[psbt], [new Uint8Array(10)]])
      await assert.rejects(approvals.release(plan, sent, owned.vault), { code: 'conflict' });
    await approvals.approve(plan);
    await assert.rejects(approvals.release(plan, [psbt], owned.vault), /derives 1500 keys/);
  });
});

describe('rehearsals', () => {
  const rehearse = async (environment: 'HOT' | 'COLD' = 'HOT') => {
    const real = await approvals.newKey({}, 'secp256k1', environment);
    const recovery = randomUUID() as string;
    const { project, user } = approvals;
    const { publicKey } = await opened.enclave.throwAwayKey({ project, recovery, user, key: real.key });
    const vault = createTestVault(opened.enclave, publicKey);
    const psbt = vault.spend([vault.coin()], vault.descriptor, 60_000n);
    const plan = approvals.plan({ ...real, vault }, [psbt], { recovery, sandbox: true });
    assert.equal((await approvals.approve(plan)).status, 'releasable');
    return { real, vault, psbt, plan };
  };

  test('an old rehearsal is asked for again, to have a certificate of today', async () => {
    const { real, vault, psbt, plan } = await rehearse();
    const rehearsed = await real.vault.backup();
    const first = await approvals.release(plan, [psbt], vault, { rehearsed });
    clock.jumpWall(300 * DAY_MS);
    const second = await approvals.release(plan, [psbt], vault, { rehearsed });
    const textOf = (release: typeof first) => new TextDecoder().decode(release.certificate!.document);
    assert.equal(textOf(second), textOf(first));
    clock.jumpWall(-300 * DAY_MS);
  });

  test('the officers’ files of a real cold key are not given out for a rehearsal, which nobody can cancel in time', async () => {
    const { plan } = await rehearse('COLD');
    await assert.rejects(opened.enclave.coldFiles(nameOf(plan)), { code: 'conflict' });
  });
});

/** 8 of 15, the first of which is the backup key. */
function walletOfFifteen(publicKey: Uint8Array): Descriptor {
  const others = Array.from({ length: 14 }, () => secp256k1.getPublicKey(secp256k1.utils.randomSecretKey()));
  const keys = [publicKey, ...others].map((key) => ({
    kind: 'extended' as const,
    origin: null,
    key: rootExtendedKey(key, new Uint8Array(randomBytes(32))),
    path: [],
    branches: [0, 1] as const,
    ranged: true,
  }));
  return createDescriptor({ script: 'p2wsh', threshold: 8, keys }, bitcoinNetworks.regtest);
}
