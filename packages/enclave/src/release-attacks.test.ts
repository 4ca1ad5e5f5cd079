/**
 * What a hostile gateway tries, with the socket and both databases in its hands, to have a signature by a backup key:
 * each test is named for the attack. It may ask for anything in any order and lie in every field; what it lacks are the
 * keys of the approvers.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { approverSubject, DAY_MS, listHash } from '@kedge/core';
import { type DrivenClock, drivenClock } from '@kedge/core/testing';
import {
  approver,
  createTestKey,
  createTestVault,
  nameOf,
  openTestEnclave,
  proveFor,
  TestApprovals,
  type TestEnclave,
} from './testing/index.ts';

const clock: DrivenClock = drivenClock();
let opened: TestEnclave;
let approvals: TestApprovals;
const mallory = createTestKey();
const operators = new Map([
  ['ada', createTestKey()],
  ['bert', createTestKey()],
]);

before(async () => {
  opened = await openTestEnclave({ clock, operators });
  approvals = new TestApprovals(opened);
});
after(async () => {
  opened.enclave.stop();
  await opened.db.close();
});

describe('a signature without the approvers', () => {
  test('outside a recovery: there is no call that signs', async () => {
    const owned = await approvals.newKey();
    const { psbt, plan } = approvals.spend(owned);
    await assert.rejects(approvals.release(plan, [psbt], owned.vault), { code: 'not_found' });
  });

  test('votes missing: one of the two that are needed', async () => {
    const owned = await approvals.newKey();
    const { psbt, plan } = approvals.spend(owned);
    await opened.enclave.requestRecovery({ plan });
    await opened.enclave.noteRecoveryAlert({ ...nameOf(plan), channels: 1 });
    await approvals.vote(plan, 'ada');
    await assert.rejects(approvals.release(plan, [psbt], owned.vault), { code: 'conflict' });
  });

  test('forged vote: a proof by a key of one’s own, one for another recovery, one for another project’s list, and one used twice', async () => {
    const owned = await approvals.newKey();
    const { plan } = approvals.spend(owned);
    const { plan: other } = approvals.spend(await approvals.newKey());
    await opened.enclave.requestRecovery({ plan });
    const call = { ...nameOf(plan), approver: 'ada', choice: 'approve' as const, token: null };
    await assert.rejects(approvals.vote(plan, 'ada', 'approve', mallory), { code: 'proof_invalid' });
    for (const lie of [
      await approvals.proveVote(other, 'ada', approvals.ada, 'approve'),
      await approvals.proveVote({ ...plan, project: 'another' }, 'ada', approvals.ada, 'approve'),
      await approvals.proveVote({ ...plan, release: other.release }, 'ada', approvals.ada, 'approve'),
      await approvals.proveVote(plan, 'bert', approvals.ada, 'approve'),
      await approvals.proveVote(plan, 'ada', approvals.ada, 'reject'),
    ])
      await assert.rejects(opened.enclave.voteRecovery({ ...call, proof: lie }), { code: 'proof_invalid' });
    const proof = await approvals.proveVote(plan, 'ada', approvals.ada, 'approve');
    await opened.enclave.voteRecovery({ ...call, proof });
    await assert.rejects(opened.enclave.voteRecovery({ ...call, proof }), { code: 'proof_replayed' });
    await assert.rejects(opened.enclave.voteRecovery({ ...call, approver: 'bert', proof }), { code: 'proof_invalid' });
  });

  test('one approver votes twice, and one votes for another', async () => {
    const owned = await approvals.newKey();
    const { psbt, plan } = approvals.spend(owned);
    await opened.enclave.requestRecovery({ plan });
    await approvals.vote(plan, 'ada');
    const { votes } = await approvals.vote(plan, 'ada');
    assert.deepEqual(votes, { state: 'open', approvals: 1, rejections: 0, needed: 2 });
    await assert.rejects(approvals.vote(plan, 'bert', 'approve', approvals.ada), { code: 'proof_invalid' });
    await assert.rejects(approvals.release(plan, [psbt], owned.vault), { code: 'conflict' });
  });

  test('the gateway votes by the links that it mails: one voice of those who have no key, and never more', async () => {
    const owned = await approvals.newKey();
    const { psbt, plan } = approvals.spend(owned);
    await opened.enclave.requestRecovery({ plan });
    await opened.enclave.noteRecoveryAlert({ ...nameOf(plan), channels: 1 });
    const { tokens } = await opened.enclave.recoveryTokens(nameOf(plan));
    assert.deepEqual(
      tokens.map((token) => token.approver),
      ['cleo'],
    );
    const { token } = tokens[0]!;
    const call = { ...nameOf(plan), choice: 'approve' as const, proof: null };
    await opened.enclave.voteRecovery({ ...call, approver: 'cleo', token });
    for (const name of ['ada', 'bert'])
      await assert.rejects(opened.enclave.voteRecovery({ ...call, approver: name, token }), { code: 'forbidden' });
    await assert.rejects(opened.enclave.voteRecovery({ ...call, approver: 'mallory', token }), { code: 'not_found' });
    await assert.rejects(approvals.release(plan, [psbt], owned.vault), { code: 'conflict' });
    const { plan: next } = approvals.spend(await approvals.newKey());
    await opened.enclave.requestRecovery({ plan: next });
    await assert.rejects(opened.enclave.voteRecovery({ ...call, ...nameOf(next), approver: 'cleo', token }), {
      code: 'forbidden',
    });
  });

  test('a list that links alone could decide is made only by whoever says so', async () => {
    const rules = approvals.rules({
      approvers: [approver('ada', approvals.ada), approver('c', null), approver('d', null)],
    });
    const name = { project: approvals.project, list: randomUUID() as string };
    await assert.rejects(opened.enclave.createApproverList({ ...name, rules }), { code: 'request_invalid' });
    await opened.enclave.createApproverList({ ...name, rules: { ...rules, linksSuffice: true } });
    const twice = [approver('ada', approvals.ada), approver('bert', approvals.ada), approver('c', null)];
    await assert.rejects(
      opened.enclave.createApproverList({ ...name, list: randomUUID(), rules: approvals.rules({ approvers: twice }) }),
      { code: 'request_invalid' },
      'one key votes as two',
    );
  });

  test('no alert: a recovery that nobody was told of is not released', async () => {
    const owned = await approvals.newKey();
    const { psbt, plan } = approvals.spend(owned);
    await opened.enclave.requestRecovery({ plan });
    await approvals.vote(plan, 'ada');
    const { status, waitsFor } = await approvals.vote(plan, 'bert');
    assert.deepEqual([status, waitsFor], ['cooling', ['alert']]);
    await assert.rejects(approvals.release(plan, [psbt], owned.vault), { code: 'conflict' });
  });

  test('a veto and a cancellation end it for good', async () => {
    const approvers = [
      approver('ada', approvals.ada, { veto: true }),
      approver('bert', approvals.bert),
      approver('cleo', null),
    ];
    for (const end of ['veto', 'cancel'] as const) {
      const owned = await approvals.newKey({ approvers });
      const { psbt, plan } = approvals.spend(owned);
      if (end === 'veto') {
        await opened.enclave.requestRecovery({ plan });
        assert.equal((await approvals.vote(plan, 'ada', 'reject')).status, 'declined');
      } else {
        assert.equal((await approvals.approve(plan)).status, 'releasable');
        await opened.enclave.cancelRecovery({ ...nameOf(plan), by: 'owner' });
      }
      await assert.rejects(approvals.release(plan, [psbt], owned.vault), { code: 'conflict' });
      await assert.rejects(approvals.vote(plan, 'bert', 'reject'), { code: 'conflict' });
      await opened.enclave.requestRecovery({ plan });
      await assert.rejects(approvals.release(plan, [psbt], owned.vault), { code: 'conflict' }, 'asked for again');
    }
  });
});

describe('other judges', () => {
  test('frozen list: it changes by its own votes alone, and not while a recovery runs', async () => {
    const owned = await approvals.newKey();
    const { plan } = approvals.spend(owned);
    const name = { project: approvals.project, list: owned.list, change: randomUUID() as string };
    const rules = approvals.rules({ approvers: [approver('mallory', mallory)] });
    await opened.enclave.requestRecovery({ plan });
    await assert.rejects(opened.enclave.openListChange({ ...name, rules }), { code: 'conflict' });
    await opened.enclave.cancelRecovery({ ...nameOf(plan), by: 'owner' });
    await opened.enclave.openListChange({ ...name, rules });
    const { plan: second } = approvals.spend(owned);
    await assert.rejects(opened.enclave.requestRecovery({ plan: second }), { code: 'conflict' }, 'a change is open');
    const parameters = { change: name.change, rules: listHash(rules), choice: 'approve' };
    const { text } = await proveFor(opened, mallory, {
      act: 'vote_list_change',
      subject: approverSubject(name.project, name.list, 'mallory'),
      parameters,
    });
    const vote = { ...name, approver: 'mallory', choice: 'approve' as const, proof: text, token: null };
    await assert.rejects(opened.enclave.voteListChange(vote), { code: 'not_found' }, 'who is to come has no vote yet');
    await approvals.voteChange(name, rules, 'ada', 'reject');
    const { outcome } = await approvals.voteChange(name, rules, 'bert', 'reject');
    assert.equal(outcome.state, 'declined');
    await opened.enclave.requestRecovery({ plan: second });
    await assert.rejects(approvals.vote(second, 'ada', 'approve', mallory), { code: 'proof_invalid' });
  });

  test('a change takes effect with the deciding vote of the members from before, those who leave among them', async () => {
    const owned = await approvals.newKey();
    const name = { project: approvals.project, list: owned.list, change: randomUUID() as string };
    const rules = approvals.rules({ approvers: [approver('bert', approvals.bert)] });
    await opened.enclave.openListChange({ ...name, rules });
    await approvals.voteChange(name, rules, 'ada');
    assert.equal((await approvals.voteChange(name, rules, 'bert')).outcome.state, 'approved');
    const { plan } = approvals.spend(owned);
    await opened.enclave.requestRecovery({ plan });
    await assert.rejects(approvals.vote(plan, 'ada'), { code: 'not_found' });
    assert.equal((await approvals.vote(plan, 'bert')).votes.state, 'approved');
  });

  test('another list: a key keeps the one that it was bound to, and a list the rules that it was made with', async () => {
    const owned = await approvals.newKey();
    const { project, user } = approvals;
    const list = randomUUID() as string;
    const rules = approvals.rules({ approvers: [approver('mallory', mallory)] });
    await opened.enclave.createApproverList({ project, list, rules });
    await assert.rejects(opened.enclave.createApproverList({ project, list: owned.list, rules }), { code: 'conflict' });
    await assert.rejects(opened.enclave.bindApproverList({ project, user, key: owned.key, list }), {
      code: 'conflict',
    });
    const { plan } = approvals.spend(owned);
    await assert.rejects(opened.enclave.requestRecovery({ plan: { ...plan, list } }), { code: 'conflict' });
  });

  test('foreign tenant: a project names another one’s key, list or recovery', async () => {
    const owned = await approvals.newKey();
    const { psbt, plan } = approvals.spend(owned);
    const stranger = new TestApprovals(opened);
    const { list } = await stranger.newKey();
    const { project, user } = stranger;
    await assert.rejects(opened.enclave.bindApproverList({ project, user, key: owned.key, list: owned.list }), {
      code: 'not_found',
    });
    // A binding to a name that holds nothing is a binding to nothing.
    await opened.enclave.bindApproverList({ project, user, key: owned.key, list });
    await assert.rejects(opened.enclave.requestRecovery({ plan: { ...plan, project, list } }), { code: 'not_found' });
    await approvals.approve(plan);
    await assert.rejects(
      opened.enclave.releaseRecovery({
        project,
        recovery: plan.recovery,
        transactions: [psbt],
        backup: await owned.vault.backup(),
        thaws: [],
        rehearsed: null,
      }),
      { code: 'not_found' },
    );
  });

  test('two recoveries of one key at once', async () => {
    const owned = await approvals.newKey();
    await opened.enclave.requestRecovery({ plan: approvals.spend(owned).plan });
    await assert.rejects(opened.enclave.requestRecovery({ plan: approvals.spend(owned).plan }), { code: 'conflict' });
  });
});

describe('other transactions', () => {
  test('a PSBT with a changed output, amount, coin or order, one more, one less, and one twice', async () => {
    const owned = await approvals.newKey();
    const { vault } = owned;
    const thief = createTestVault(opened.enclave, owned.publicKey).descriptor;
    const coins = [vault.coin(), vault.coin(80_000n, 1)];
    const first = vault.spend([coins[0]!], vault.descriptor, 60_000n);
    const second = vault.spend([coins[1]!], vault.descriptor, 60_000n);
    const plan = approvals.plan(owned, [first, second]);
    await approvals.approve(plan);
    for (const lie of [
      [vault.spend([coins[0]!], thief, 60_000n), second],
      [vault.spend([coins[0]!], vault.descriptor, 59_000n), second],
      [vault.spend([coins[0]!], vault.descriptor, 60_000n, 30_000n), second],
      [vault.spend([vault.coin()], vault.descriptor, 60_000n), second],
      [second, first],
      [first],
      [first, second, vault.spend([vault.coin()], thief, 60_000n)],
      [first, first],
      [],
      [first, new Uint8Array(10)],
    ])
      await assert.rejects(approvals.release(plan, lie, vault), { code: 'request_invalid' });
    assert.equal((await approvals.release(plan, [first, second], vault)).signatures.length, 2, 'nothing was used up');
  });

  test('a second use of a release, for the same plan or another', async () => {
    const owned = await approvals.newKey();
    const { vault } = owned;
    const { descriptor } = createTestVault(opened.enclave, owned.publicKey);
    const { address } = descriptor.derive({ change: 0, index: 0 });
    const plan = approvals.plan(owned, [], { release: { kind: 'sweep', destination: address } });
    await approvals.approve(plan);
    await approvals.release(plan, [vault.spend([vault.coin()], descriptor, 99_000n)], vault);
    const second = [vault.spend([vault.coin()], descriptor, 99_000n)];
    await assert.rejects(approvals.release(plan, second, vault), { code: 'conflict' });
    await opened.enclave.completeRecovery({ ...nameOf(plan), outcome: 'completed' });
    await assert.rejects(approvals.release(plan, second, vault), { code: 'conflict' });
  });

  test('a sweep that pays somebody else, keeps change, burns the fee, or spends coins of others', async () => {
    const owned = await approvals.newKey();
    const { vault } = owned;
    const good = createTestVault(opened.enclave, owned.publicKey).descriptor;
    const other = createTestVault(opened.enclave, owned.publicKey);
    const destination = good.derive({ change: 0, index: 0 }).address;
    const plan = approvals.plan(owned, [], { release: { kind: 'sweep', destination } });
    await approvals.approve(plan);
    for (const lie of [
      vault.spend([vault.coin()], other.descriptor, 99_000n),
      vault.spend([vault.coin()], good, 50_000n),
      vault.spend([vault.coin()], good, 60_000n, 40_000n),
      other.spend([other.coin()], good, 99_000n),
    ])
      await assert.rejects(approvals.release(plan, [lie], vault), { code: 'request_invalid' });
  });

  test('the chain code of another wallet, or another key’s backup, leads to no signature', async () => {
    const owned = await approvals.newKey();
    const { psbt, plan } = approvals.spend(owned);
    await approvals.approve(plan);
    const stranger = await approvals.newKey();
    for (const vault of [createTestVault(opened.enclave, owned.publicKey), stranger.vault, null])
      await assert.rejects(approvals.release(plan, [psbt], vault), { code: 'request_invalid' });
    await approvals.release(plan, [psbt], owned.vault);
  });

  test('a rehearsal never signs with the real key: its plan can’t name the real wallet', async () => {
    const owned = await approvals.newKey();
    const { psbt, plan } = approvals.spend(owned);
    await assert.rejects(opened.enclave.requestRecovery({ plan: { ...plan, sandbox: true } }), {
      code: 'request_invalid',
    });
    const { publicKey } = await opened.enclave.throwAwayKey({ ...nameOf(plan), user: approvals.user, key: owned.key });
    const vault = createTestVault(opened.enclave, publicKey, owned.vault.chainCode.slice());
    const drill = approvals.plan({ ...owned, vault }, [psbt], { recovery: plan.recovery, sandbox: true });
    await approvals.approve(drill);
    await assert.rejects(approvals.release(drill, [psbt], vault), { code: 'request_invalid' });
    await assert.rejects(approvals.release(drill, [psbt], owned.vault), { code: 'request_invalid' });
  });

  test('a plan for a wallet that the key is not of, an RSA key, an unknown network, no transactions', async () => {
    const owned = await approvals.newKey();
    const { plan } = approvals.spend(owned);
    const rsa = await approvals.newKey({}, 'rsa4096').catch(() => null);
    const wrong = [
      { account: (await approvals.newKey()).vault.descriptor.text },
      { account: 'wsh(nonsense)' },
      { network: 'eip155:1' },
      { network: 'eip155:0x1' },
      { network: 'dogecoin' },
      { release: { kind: 'transactions' as const, ids: [] } },
      { release: { kind: 'transactions' as const, ids: ['00'.repeat(32), '00'.repeat(32)] } },
      { release: { kind: 'sweep' as const, destination: 'nowhere' } },
      ...(rsa ? [{ key: rsa.key, list: rsa.list }] : []),
    ];
    for (const lie of wrong)
      await assert.rejects(opened.enclave.requestRecovery({ plan: { ...plan, ...lie } }), { code: 'request_invalid' });
  });
});

describe('the sealed state', () => {
  test('expired window, read from a database that was rolled back to before it closed: the enclave starts sealed', async () => {
    const owned = await approvals.newKey({ windowMs: DAY_MS });
    const { psbt, plan } = approvals.spend(owned);
    await opened.enclave.requestRecovery({ plan });
    await approvals.vote(plan, 'ada');
    const rows = await opened.db.query('select * from state');
    const head = await opened.db.query('select * from head');
    await opened.enclave.cancelRecovery({ ...nameOf(plan), by: 'owner' });
    const after_ = await opened.db.query('select * from state');
    await opened.db.query('delete from state');
    for (const { partition, bucket, key, version, sealed } of rows as unknown as Record<string, never>[])
      await opened.db.query('insert into state values ($1, $2, $3, $4, $5)', [
        partition!,
        bucket!,
        key!,
        version!,
        sealed!,
      ]);
    const [{ sequence, root }] = head as unknown as [{ sequence: never; root: never }];
    const [now] = (await opened.db.query('select * from head')) as unknown as [{ sequence: never; root: never }];
    await opened.db.query('update head set sequence = $1, root = $2', [sequence, root]);
    await assert.rejects(approvals.release(plan, [psbt], owned.vault), { code: 'sealed_data_invalid' });
    await opened.restart();
    assert.match(String((await opened.enclave.status()).sealed), /older than the enclave remembers/);
    await assert.rejects(approvals.release(plan, [psbt], owned.vault), { code: 'enclave_sealed' });
    await opened.db.query('delete from state');
    for (const { partition, bucket, key, version, sealed } of after_ as unknown as Record<string, never>[])
      await opened.db.query('insert into state values ($1, $2, $3, $4, $5)', [
        partition!,
        bucket!,
        key!,
        version!,
        sealed!,
      ]);
    await opened.db.query('update head set sequence = $1, root = $2', [now.sequence, now.root]);
    await opened.restart();
    assert.equal((await opened.enclave.status()).sealed, null);
    await assert.rejects(approvals.vote(plan, 'bert'), { code: 'conflict' }, 'cancelled stays cancelled');
  });

  test('a restored state brings no recovery back: what was open is cancelled by the acceptance', async () => {
    const owned = await approvals.newKey();
    const { psbt, plan } = approvals.spend(owned);
    assert.equal((await approvals.approve(plan)).status, 'releasable');
    const change = {
      project: approvals.project,
      list: (await approvals.newKey()).list,
      change: randomUUID() as string,
    };
    const rules = approvals.rules({ windowMs: DAY_MS });
    await opened.enclave.openListChange({ ...change, rules });
    rmSync(opened.mirrorFile); // as after a restore: nothing says that this is the newest state
    await opened.restart();
    assert.notEqual((await opened.enclave.status()).sealed, null);
    const accept = { act: 'accept_restore' as const };
    const proofs = [...operators].map(([subject, key]) => proveFor(opened, key, { ...accept, subject }));
    await opened.enclave.acceptRestore({ proofs: (await Promise.all(proofs)).map(({ text }) => text) });
    await assert.rejects(approvals.release(plan, [psbt], owned.vault), { code: 'conflict' });
    assert.equal((await opened.enclave.tickRecovery(nameOf(plan))).view.status, 'cancelled');
    await assert.rejects(approvals.voteChange(change, rules, 'ada'), { code: 'conflict' });
    assert.equal(
      (await opened.enclave.requestRecovery({ plan: approvals.spend(owned).plan })).view.status,
      'approving',
    );
  });

  test('votes that race are counted one after the other, whoever comes first', async () => {
    for (let round = 0; round < 10; round++) {
      const owned = await approvals.newKey();
      const { psbt, plan } = approvals.spend(owned);
      await opened.enclave.requestRecovery({ plan });
      await opened.enclave.noteRecoveryAlert({ ...nameOf(plan), channels: 1 });
      const [token] = (await opened.enclave.recoveryTokens(nameOf(plan))).tokens;
      const link = { ...nameOf(plan), approver: 'cleo', choice: 'reject' as const, proof: null, token: token!.token };
      const results = await Promise.allSettled([
        approvals.vote(plan, 'ada'),
        approvals.vote(plan, 'bert', round % 2 === 0 ? 'approve' : 'reject'),
        opened.enclave.voteRecovery(link),
        approvals.release(plan, [psbt], owned.vault),
      ]);
      const { view } = await opened.enclave.tickRecovery(nameOf(plan));
      const expected = round % 2 === 0 ? ['releasable', 'released'] : ['declined'];
      assert.ok(
        expected.includes(view.status),
        `${view.status}: ${JSON.stringify(results.map(({ status }) => status))}`,
      );
    }
  });
});
