/**
 * Keygen and resharing under faults: at every message boundary the network is cut, a message is lost, or a device dies.
 * Whatever happens, a full quorum of one sharing can sign, and no address is shown that somebody can't sign for.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import type { PublicShare } from './key-share.ts';
import { keygen } from './keygen.ts';
import { signNotice } from './notice.ts';
import { type SelfTest, selfTests } from './self-test.ts';
import {
  isConfirmed,
  isTested,
  learn,
  mayErase,
  maySign,
  reinstate,
  type SharingState,
  settle,
} from './sharing-status.ts';
import { createDevices, groupOf, play, results } from './testing/devices.ts';
import { assertSpendable, type Fault, faults, nameOf, reshareWorld, runWith, survives } from './testing/faults.ts';
import { Keeper, talk } from './testing/keeper.ts';
import { fastArithmetic, frostSeats } from './testing/wallets.ts';

const none = new Uint8Array(0);
/** Faults at every third message, from a random one on; `npm run test:slow` has those at every message. */
const EVERY = Number(process.env.FAULTS_EVERY ?? 3);
const start = randomInt(EVERY);
const some = (all: readonly Fault[]) => all.filter(({ at }) => at % EVERY === start);

describe('resharing', () => {
  test('without a fault the old sharing ends erased everywhere that is reachable, and the new one signs', async () => {
    const world = await reshareWorld();
    await world.run(null);
    await talk(world.keepers.filter((_, at) => at !== 2));
    for (const keeper of world.keepers) keeper.forget();
    const statuses = world.keepers.map((keeper) => keeper.states.map(({ status }) => status).join());
    assert.deepEqual(statuses, ['erased,active', 'erased,active', 'active', 'active']);
    await assertSpendable(world, 'in the end', true);
    // T-RSH-3: the lost device comes back, and nobody signs with it.
    assert.equal(world.keepers.filter((keeper) => keeper.signs(world.old)).length, 1);
  });

  test('T-RSH-2 forget-and-forgive: after a fault at any message, a full quorum of one sharing can sign', async () => {
    const messages = await (await reshareWorld()).run(null);
    for (const fault of some(faults(messages, [1, 2, 3])))
      await survives(await reshareWorld(), fault, fault.at % 5 === 0);
  });

  test('T-RSH-2 the same with an ECDSA root, at three messages chosen at random', async (t) => {
    const messages = 48;
    for (let run = 0; run < 3; run++) {
      const all = faults(messages, [1, 2, 3]);
      const fault = all[randomInt(all.length)]!;
      t.diagnostic(nameOf(fault));
      await survives(await reshareWorld('replace', 'ecdsa-secp256k1'), fault, true);
    }
  });

  test('T-RSH-2 dealers that call it off after a cut keep the old sharing; the new shares go only when all called it off', async () => {
    const messages = await (await reshareWorld()).run(null);
    for (const at of [messages - 6, messages - 4, messages - 1, messages]) {
      const world = await reshareWorld();
      await world.run({ kind: 'cut', at });
      const pending = world.keepers.flatMap(({ states }) => states.filter(({ status }) => status === 'pending'));
      const [first] = pending;
      if (!first) continue;
      world.keepers[0]!.callOff(first.record.sharingId);
      await talk(world.keepers);
      for (const keeper of world.keepers) keeper.forget();
      await assertSpendable(world, `one called it off, cut at ${at}`);
      for (const keeper of world.keepers) keeper.callOff(first.record.sharingId);
      await talk(world.keepers);
      for (const keeper of world.keepers) keeper.forget();
      await assertSpendable(world, `all called it off, cut at ${at}`, true);
    }
  });

  test('one who is active never calls it off, and one who called it off never becomes active', async () => {
    const world = await reshareWorld();
    await world.run(null);
    const fresh = world.keepers[3]!;
    const id = fresh.states[0]!.record.sharingId;
    fresh.callOff(id);
    await talk(world.keepers.filter((_, at) => at !== 2));
    assert.equal(fresh.find(id)!.status, 'pending');
    assert.ok(isConfirmed(fresh.find(id)!), 'whatever it hears');
    const other = world.keepers[0]!;
    if (other.find(id)!.status === 'active') {
      other.callOff(id);
      assert.equal(other.find(id)!.aborted, false);
    }
    await assertSpendable(world, 'with a holder that called it off');
    // The way out of a group of two, one active and one aborted: a human brings the old share back.
    for (const keeper of world.keepers.slice(0, 2)) {
      const old = keeper.find(world.old)!;
      if (old.status === 'superseding') keeper.change(reinstate(old, keeper.states, { human: true }));
    }
    await assertSpendable(world, 'after a human decided', true);
  });

  test('T-RSH-3 a superseded share refuses to sign from the moment that the new one is active', async () => {
    const world = await reshareWorld();
    await world.run(null);
    await talk(world.keepers.filter((_, at) => at !== 2));
    for (const keeper of world.keepers.slice(0, 2)) {
      assert.equal(maySign(keeper.find(world.old)!), false);
      assert.equal(keeper.signs(world.old), false);
    }
  });

  test('T-RSH-4 adding a group changes the status of no other sharing, and the main group signs on', async () => {
    const world = await reshareWorld('add');
    await world.run(null);
    await talk(world.keepers);
    for (const keeper of world.keepers) keeper.forget();
    for (const keeper of world.keepers.slice(0, 3)) assert.equal(keeper.find(world.old)!.status, 'active');
    const added = world.keepers[3]!.states[0]!;
    assert.equal(added.status, 'active');
    assert.ok(isTested(added));
    assert.notDeepEqual(added.record.roots[0]!.groupId, world.keepers[0]!.find(world.old)!.record.roots[0]!.groupId);
    const holders = world.keepers.slice(0, 2).map((keeper) => keeper.holder(world.old));
    results(await play(frostSeats(holders, { suite: 'eddsa-ed25519', message: none })));
  });

  test('an old share is erased on the word of all new holders, or of t + 1 when a human decides; and not before the backup', async () => {
    const world = await reshareWorld();
    await world.run(null);
    const [first] = world.keepers;
    await talk(world.keepers.filter((_, at) => at !== 2));
    const old = first!.find(world.old)!;
    assert.equal(old.status, 'superseding');
    const next = first!.states.find(({ supersedes }) => supersedes.length > 0)!;
    const heard = (count: number) => [
      old,
      {
        ...next,
        notices: next.notices
          .filter(({ kind }) => kind !== 'active')
          .concat(next.notices.filter(({ kind }) => kind === 'active').slice(0, count)),
      },
    ];
    assert.equal(mayErase(old, heard(3), { backupProven: true }), true);
    assert.equal(mayErase(old, heard(3), { backupProven: false }), false);
    assert.equal(mayErase(old, heard(2), { backupProven: true }), false);
    assert.equal(mayErase(old, heard(2), { backupProven: true, decision: { human: true } }), false, 't + 1 is 3 here');
    assert.equal(mayErase(old, heard(3), { backupProven: true, decision: { human: true } }), true);
  });
});

describe('what a hostile party says about a sharing', () => {
  const zeros = new Uint8Array(32);

  /** A resharing that everybody confirmed and nobody heard of yet, as the first old holder has it. */
  async function afterReshare() {
    const world = await reshareWorld();
    await world.run(null);
    const [first] = world.keepers;
    const next = first!.states.find(({ supersedes }) => supersedes.length > 0)!;
    const bare: SharingState = { ...next, status: 'pending', notices: [], selfTests: [] };
    return { ...world, first: first!, next, bare, old: first!.find(world.old)! };
  }

  test('a confirmation of something else, sent first, does not keep the true one out', async () => {
    const { next, bare, keepers } = await afterReshare();
    const { sharingId } = next.record;
    const lie = await signNotice('confirm', sharingId, zeros, keepers[3]!.device.identity);
    const heard = learn(learn(bare, { notices: [lie] }), { notices: next.notices });
    assert.equal(isConfirmed(heard), true);
  });

  test('notices of strangers and signatures that prove nothing are not kept', async () => {
    const { bare } = await afterReshare();
    const { sharingId } = bare.record;
    const strangers = await createDevices(3);
    const notices = await Promise.all(
      strangers.map(({ identity }) => signNotice('active', sharingId, zeros, identity)),
    );
    const [{ digest }] = selfTests(bare.record.roots[0]!) as [SelfTest];
    const false64 = Array.from({ length: 5 }, (_, at) => new Uint8Array(64).fill(at));
    const tests = false64.flatMap((signature) => [
      { digest, signature },
      { digest: signature.slice(32), signature },
    ]);
    const heard = learn(bare, { notices, selfTests: tests });
    assert.deepEqual([heard.notices.length, heard.selfTests.length], [0, 0]);
  });

  test('a sharing retires only sharings of the same keys, and of no more keys than it has', async () => {
    const { first, keepers } = await afterReshare();
    await talk(keepers.filter((_, at) => at !== 2));
    const next = first.states.find(({ supersedes }) => supersedes.length > 0)!;
    const old: SharingState = { ...first.states[0]!, status: 'active' };
    const [root] = old.record.roots;
    const named = (roots: readonly PublicShare[]): SharingState => ({ ...old, record: { ...old.record, roots } });
    const other = { ...root!, keyId: zeros };
    const statusOf = (victim: SharingState) => settle([victim, next])[0]!.status;
    assert.equal(statusOf(old), 'superseding');
    assert.equal(statusOf(named([other])), 'active', 'the share of another wallet');
    assert.equal(statusOf(named([root!, other])), 'active', 'a root that was not dealt again');
    const victim: SharingState = { ...named([root!, other]), status: 'superseding' };
    assert.equal(mayErase(victim, [victim, next], { backupProven: true }), false);
  });

  test('a share that a human brought back is retired by the next resharing all the same', async () => {
    const { first, keepers } = await afterReshare();
    await talk(keepers.filter((_, at) => at !== 2));
    const next = first.states.find(({ supersedes }) => supersedes.length > 0)!;
    const old = first.states[0]!;
    assert.equal(old.status, 'superseding');
    const off = await signNotice('abort', next.record.sharingId, zeros, keepers[3]!.device.identity);
    const calledOff = learn(next, { notices: [off] });
    const back = reinstate(old, [old, calledOff], { human: true });
    assert.equal(settle([back, calledOff])[0]!.status, 'active');
    const later: SharingState = {
      ...next,
      record: { ...next.record, sharingId: new Uint8Array(16).fill(7) },
      supersedes: [old.record.sharingId, next.record.sharingId],
    };
    const settled = settle([back, calledOff, later]);
    assert.deepEqual(
      settled.map(({ status }) => status),
      ['superseding', 'superseding', 'active'],
    );
  });
});

describe('keygen', () => {
  for (const count of [2, 3]) {
    test(`T-DKG-5 2-of-${count}: whenever anybody would show an address, everybody holds a share durably`, async () => {
      const start = async () => {
        const devices = await createDevices(count);
        const descriptor = groupOf(devices, 2);
        const keepers = devices.map((device) => new Keeper(device));
        const seats = descriptor.members.map(({ index }, at) => {
          keepers[at]!.terms = {
            role: 'keygen',
            dealers: devices.map(({ identity }) => identity.publicKey),
            supersedes: [],
          };
          const options = {
            descriptor,
            suites: ['eddsa-ed25519'] as const,
            purpose: none,
            nowMs: 1n,
            store: keepers[at]!,
            arithmetic: fastArithmetic,
          };
          return { address: index, device: devices[at]!, protocol: keygen(options) };
        });
        return { keepers, seats };
      };
      const check = (keepers: readonly Keeper[], moment: string) => {
        const shows = keepers.some(({ states }) =>
          states.some((state) => state.status === 'active' && isTested(state)),
        );
        if (!shows) return false;
        for (const keeper of keepers) {
          const [state] = keeper.states;
          assert.ok(
            state && ['active', 'pending'].includes(state.status) && keeper.shares.size === 1,
            `${moment}: a share is missing`,
          );
        }
        return true;
      };
      const probe = await start();
      const messages = await runWith(probe.seats, null);
      await talk(probe.keepers);
      assert.ok(check(probe.keepers, 'without a fault'), 'the address is shown');
      for (const fault of some(faults(messages, [1, 2]))) {
        const { keepers, seats } = await start();
        await runWith(seats, fault);
        for (const keeper of keepers) keeper.forget();
        check(keepers, `after ${nameOf(fault)}`);
        // Only some can talk to each other: every pair, then all.
        await talk(keepers.slice(0, 2));
        for (const keeper of keepers) keeper.forget();
        check(keepers, `two talk after ${nameOf(fault)}`);
        await talk(keepers);
        for (const keeper of keepers) keeper.forget();
        check(keepers, `all talk after ${nameOf(fault)}`);
        const complete = keepers.every((keeper) => keeper.shares.size === 1);
        const shown = check(keepers, `in the end, ${nameOf(fault)}`);
        assert.equal(shown, complete, `${nameOf(fault)}: whoever confirmed can always complete`);
      }
    });
  }
});
