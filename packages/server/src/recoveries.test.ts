/** A recovery by a backup key from request to signature, over HTTP and with the real enclave; and its rehearsal. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  approverSubject,
  DAY_MS,
  fromBase64Url,
  HOUR_MS,
  hexToBytes,
  KedgeError,
  MINUTE_MS,
  SECOND_MS,
  toBase64Url,
} from '@kedge/core';
import { drivenClock } from '@kedge/core/testing';
import { createTestVault, openTestEnclave, type TestEnclave } from '@kedge/enclave/testing';
import { sealThaw } from '@kedge/sdk';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { ada, createTestGateway, type TestGateway } from './testing/gateway.ts';
import {
  base64,
  createRecoveryWorld,
  linkTo,
  press,
  type Recovery,
  type RecoveryWorld,
  storeBackup,
} from './testing/recovery-world.ts';
import { unsignedTransfer } from './testing/requests.ts';

describe('a recovery', () => {
  let gateway: TestGateway;
  /** Of the enclave, as the gateway calls it. */
  let fails: string | null = null;
  before(async () => {
    gateway = await createTestGateway({
      wrapEnclave: (enclave) =>
        new Proxy(enclave, {
          get: (target, method) =>
            method === fails
              ? () => Promise.reject(new KedgeError('enclave_unavailable'))
              : Reflect.get(target, method),
        }),
    });
  });
  after(() => gateway.close());

  const pass = async (ms: number) => {
    await gateway.clock.advance(ms);
    for (const job of ['recoveries', 'mails', 'recoveries']) await gateway.scheduler.run(job);
  };
  const eventsOf = async ({ recovery_id }: Recovery) =>
    (await gateway.events())
      .filter(({ data }) => data.recovery === recovery_id)
      .map(({ type }) => type)
      .sort(); // those of one commit are of one moment
  const lettersOf = (to: string) => gateway.letters.filter((letter) => letter.to === to).map(({ subject }) => subject);

  it('goes from the request to a transaction that the network takes, and lets the next one begin', async () => {
    const world = await createRecoveryWorld(gateway, { coolingS: (2 * DAY_MS) / SECOND_MS, backup: true });
    gateway.letters.length = 0;
    const recovery = await world.request();
    assert.equal(recovery.status, 'approving');
    assert.deepEqual(recovery.transactions[0]!.intent.outputs.map(({ amount }) => amount).sort(), ['39000', '60000']);
    await assert.rejects(world.request(), /A recovery is running already/);
    await pass(0);
    assert.deepEqual(lettersOf('eve@example.org'), ['A recovery of your wallet was asked for']);
    assert.doesNotMatch(gateway.letters.find(({ to }) => to === 'cara@example.org')!.text, /http/);

    assert.equal((await world.caraVotes(recovery)).status, 'approving');
    const voted = await press(gateway, linkTo(gateway.letters, 'dan@example.org', recovery.recovery_id), 'approve');
    assert.match(voted.body, /Your vote is counted/);
    const cooling = await world.get(recovery);
    assert.deepEqual([cooling.status, cooling.waits_for.includes('service_time')], ['cooling', true]);
    assert.equal(cooling.ballots.length, 2);
    const early = await gateway.call('releaseRecovery', { ...world.of(recovery), body: {} });
    assert.deepEqual([early.status, early.code], [409, 'conflict']);

    for (let hour = 0; hour < 2 * 24; hour += 6) await pass(6 * HOUR_MS);
    await pass(MINUTE_MS);
    const expected = [
      'A recovery of your wallet was asked for',
      'Your wallet is being recovered',
      'Last warning: your wallet is about to be recovered',
    ];
    for (const to of ['eve@example.org', 'fay@example.org']) assert.deepEqual(lettersOf(to).sort(), expected.sort());
    assert.equal((await world.get(recovery)).status, 'releasable');

    const released = await gateway.get('releaseRecovery', { ...world.of(recovery), body: {} });
    assert.equal(released.status, 'released');
    const { codec } = world.vault;
    const signed = world.vault.signAs(1, new Uint8Array(Buffer.from(released.transactions[0]!, 'base64')));
    assert.equal(codec.transactionId(codec.final(signed)), recovery.transactions[0]!.plan_id);
    const again = await gateway.get('releaseRecovery', { ...world.of(recovery), body: {} });
    assert.deepEqual(again.signatures, released.signatures);

    const body = { outcome: 'completed', transaction_ids: [recovery.transactions[0]!.plan_id] };
    const done = await gateway.get('completeRecovery', { ...world.of(recovery), body });
    assert.deepEqual([done.status, done.transaction_ids], ['completed', body.transaction_ids]);
    assert.deepEqual(await eventsOf(recovery), [
      'recovery.alerted',
      'recovery.approving',
      'recovery.completed',
      'recovery.cooling',
      'recovery.final_warning',
      'recovery.releasable',
      'recovery.released',
      'recovery.reminder',
      'recovery.requested',
      'recovery.voted',
      'recovery.voted',
    ]);
    assert.equal((await world.request()).status, 'approving');
  });

  it('sweeps to the one address that was approved, with transactions that are named at the end', async () => {
    const world = await createRecoveryWorld(gateway, { backup: true });
    const to = createTestVault(gateway.enclave.enclave, hexToBytes(await publicKeyOf(world))).descriptor;
    const { address } = to.derive({ change: 0, index: 0 });
    const recovery = await world.request({ transactions: undefined, sweep_to: address });
    assert.deepEqual([recovery.sweep_to, recovery.transactions], [address, []]);
    await world.approve(recovery);
    const unnamed = await gateway.call('releaseRecovery', { ...world.of(recovery), body: {} });
    assert.deepEqual([unnamed.status, unnamed.code], [400, 'request_invalid']);
    const { vault } = world;
    const elsewhere = [base64(vault.spend([vault.coin()], vault.descriptor, 99_000n))];
    const refused = await gateway.call('releaseRecovery', { ...world.of(recovery), body: { transactions: elsewhere } });
    assert.equal(refused.status, 400);
    const swept = [base64(vault.spend([vault.coin()], to, 99_000n))];
    const released = await gateway.get('releaseRecovery', { ...world.of(recovery), body: { transactions: swept } });
    assert.equal(released.signatures.length, 1);
  });

  it('ends when an approver rejects or somebody who was alerted cancels, and then nothing is signed', async () => {
    for (const end of ['declined', 'cancelled'] as const) {
      const world = await createRecoveryWorld(gateway);
      const recovery = await world.request();
      if (end === 'declined') {
        await world.caraVotes(recovery, 'reject');
        await gateway.scheduler.run('mails');
        await press(gateway, linkTo(gateway.letters, 'dan@example.org', recovery.recovery_id), 'reject');
      } else await gateway.get('cancelRecovery', world.of(recovery));
      assert.equal((await world.get(recovery)).status, end);
      const { code } = await gateway.call('releaseRecovery', { ...world.of(recovery), body: {} });
      assert.equal(code, 'conflict');
      assert.equal(
        (await gateway.db.query('select 1 from recovery_links where subject = $1', [recovery.recovery_id])).length,
        0,
      );
    }
  });

  it('that the service died over, before the enclave heard of it, goes on by itself and asks people once', async () => {
    const world = await createRecoveryWorld(gateway);
    gateway.letters.length = 0;
    fails = 'requestRecovery';
    await assert.rejects(world.request(), /enclave_unavailable/);
    fails = 'recoveryTokens'; // this time the enclave has it, and the gateway never writes that down
    await pass(MINUTE_MS);
    fails = null;
    const [row] = (await gateway.get('listRecoveries', { as: world.project.secretKey, query: { limit: '1' } })).data;
    assert.equal(row!.status, 'requested');
    await pass(2 * MINUTE_MS);
    await pass(2 * MINUTE_MS);
    assert.equal((await world.get(row as Recovery)).status, 'approving');
    assert.deepEqual(gateway.letters.map(({ to }) => to).sort(), [
      'cara@example.org',
      'dan@example.org',
      'eve@example.org',
      'fay@example.org',
    ]);
  });

  it('takes a vote by a link later when the enclave is away, and forgets officers’ parts when it is over', async () => {
    const world = await createRecoveryWorld(gateway);
    const recovery = await world.request();
    await pass(0);
    await world.caraVotes(recovery);
    const link = linkTo(gateway.letters, 'dan@example.org', recovery.recovery_id);
    fails = 'voteRecovery';
    const away = await press(gateway, link, 'approve');
    assert.deepEqual([away.statusCode, /open the link again/.test(away.body)], [503, true]);
    fails = null;
    assert.equal((await press(gateway, link, 'approve')).statusCode, 200);
    assert.equal((await world.get(recovery)).status, 'releasable');
    for (const thaws of [1, 2]) {
      const body = { sealed_share: Buffer.alloc(200, thaws).toString('base64url') };
      assert.equal((await gateway.get('createThaw', { ...world.of(recovery), body })).thaws, thaws);
    }
    await gateway.get('cancelRecovery', world.of(recovery));
    const left = await gateway.db.query('select 1 from thaws where recovery = $1', [recovery.recovery_id]);
    assert.equal(left.length, 0);
  });

  it('that was cancelled before the enclave heard of it never comes to life', async () => {
    const world = await createRecoveryWorld(gateway);
    fails = 'requestRecovery';
    await assert.rejects(world.request(), /enclave_unavailable/);
    fails = null;
    const [row] = (await gateway.get('listRecoveries', { as: world.project.secretKey })).data;
    assert.equal((await gateway.get('cancelRecovery', world.of(row as Recovery))).status, 'cancelled');
    await pass(2 * MINUTE_MS);
    assert.equal((await world.get(row as Recovery)).status, 'cancelled');
  });

  it('that is asked for again with its Idempotency-Key is the same one', async () => {
    const world = await createRecoveryWorld(gateway);
    const request = {
      as: world.project.secretKey,
      params: { key_id: world.key },
      headers: { 'idempotency-key': 'once' },
      body: {
        network: world.vault.codec.network,
        account: world.vault.descriptor.text,
        transactions: [base64(world.vault.spend([world.vault.coin()], world.vault.descriptor, 60_000n))],
        participants: ['eve@example.org'],
      },
    };
    fails = 'requestRecovery';
    assert.equal((await gateway.call('createKeyRecovery', request)).status, 503);
    fails = null;
    const first = await gateway.get('createKeyRecovery', request);
    assert.equal((await gateway.get('createKeyRecovery', request)).recovery_id, first.recovery_id);
    assert.equal((await gateway.get('listRecoveries', { as: world.project.secretKey })).data.length, 1);
  });

  it('says what is wrong with a request, and where', async () => {
    const world = await createRecoveryWorld(gateway);
    const wrong = async (overrides: object, path: string) => {
      const body = {
        network: world.vault.codec.network,
        account: world.vault.descriptor.text,
        transactions: [base64(world.vault.spend([world.vault.coin()], world.vault.descriptor, 60_000n))],
        participants: ['eve@example.org'],
        ...overrides,
      };
      const call = { as: world.project.secretKey, params: { key_id: world.key }, body };
      const { status, body: problem } = await gateway.call('createKeyRecovery', call);
      assert.equal(status, 400, path);
      const { issues, detail } = problem as unknown as { issues?: { path: string }[]; detail: string };
      assert.match(issues?.[0]?.path ?? detail, new RegExp(path));
    };
    await wrong({ participants: [] }, 'body.participants');
    await wrong({ network: 'bip122:00000000000000000000000000000000' }, 'body.network');
    await wrong({ network: 'solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp' }, 'body.network');
    await wrong({ transactions: undefined }, 'body.transactions');
    await wrong({ sweep_to: 'bc1q' }, 'body.transactions');
    await wrong({ transactions: ['AAAA'] }, '.');
    await wrong({ transactions: [unsignedTransfer().slice(2)] }, '.');
    await wrong({ sandbox: true }, 'body.recovery_id');
    await wrong({ sandbox: true, recovery_id: world.key }, 'body.recovery_id');
    await wrong({ backup_id: world.key }, 'body.backup_id');
    await wrong({ account: 'wpkh(nonsense)' }, '.');
    const stranger = createTestVault(
      gateway.enclave.enclave,
      hexToBytes(await publicKeyOf(await createRecoveryWorld(gateway))),
    );
    await wrong({ account: stranger.descriptor.text }, 'body.account');
    assert.deepEqual(
      (await gateway.get('listRecoveries', { as: world.project.secretKey })).data,
      [],
      'nothing is left behind',
    );
  });

  it('is rehearsed on a throw-away key, and OpenSSL finds the certificate good', async () => {
    const world = await createRecoveryWorld(gateway, { coolingS: (7 * DAY_MS) / SECOND_MS, backup: true });
    const as = world.project.secretKey;
    const { recovery_id, public_key } = await gateway.get('createRehearsal', { as, params: { key_id: world.key } });
    const vault = createTestVault(gateway.enclave.enclave, hexToBytes(public_key));
    const backup_id = await storeBackup(gateway, as, public_key, vault);
    const recovery = await world.request({
      account: vault.descriptor.text,
      transactions: [base64(vault.spend([vault.coin()], vault.descriptor, 60_000n))],
      sandbox: true,
      recovery_id,
      backup_id,
      participants: [],
    });
    assert.equal(recovery.recovery_id, recovery_id);
    await world.approve(recovery);
    assert.match(gateway.letters.find(({ text }) => text.includes(recovery_id))!.subject, /^Rehearsal/);
    const released = await gateway.get('releaseRecovery', { ...world.of(recovery), body: {} });
    assert.equal(released.signatures.length, 1);

    const certificate = await gateway.get('getCertificate', world.of(recovery));
    const said = JSON.parse(Buffer.from(certificate.document, 'base64').toString());
    assert.deepEqual([said.key_outcome, said.backup_outcome], ['passed', 'passed']);
    assert.equal(isGoodForOpenSsl(certificate, await identityOf(gateway)), true);
    const other = Buffer.from(certificate.signed_message, 'base64');
    other[other.length - 3]! ^= 1;
    const forged = { ...certificate, signed_message: other.toString('base64') };
    assert.equal(isGoodForOpenSsl(forged, await identityOf(gateway)), false);
    assert.equal((await eventsOf(recovery)).includes('drill.certificate_issued'), true);
  });
});

describe('a recovery of a cold key', () => {
  const clock = drivenClock();
  let enclave: TestEnclave;
  let gateway: TestGateway;
  const officers: string[] = [];
  before(async () => {
    officers.push(await generateIdentity(), await generateIdentity(), await generateIdentity());
    const recipients = await Promise.all(officers.map(identityToRecipient));
    enclave = await openTestEnclave({ clock, officers: recipients, operators: new Map([['ada', ada]]) });
    gateway = await createTestGateway({ enclave });
  });
  after(async () => {
    await gateway.close();
    enclave.enclave.stop();
    await enclave.db.close();
  });

  it('takes two officers’ parts, the newest, though there are others and the enclave restarts between', async () => {
    const world = await createRecoveryWorld(gateway, { backup: true, cold: true });
    const recovery = await world.request();
    await world.approve(recovery);
    const { files } = await gateway.get('getColdFiles', world.of(recovery));
    const thaw = async (officer: number) => {
      const { document } = await enclave.enclave.attestation();
      const { sealing_key } = JSON.parse(new TextDecoder().decode(document)) as { sealing_key: string };
      const share = await sealThaw(new Uint8Array(Buffer.from(files[officer]!, 'base64')), officers[officer]!, {
        project: world.project.id,
        recovery: recovery.recovery_id,
        sealingKey: fromBase64Url(sealing_key),
      });
      await clock.advance(SECOND_MS);
      const body = { sealed_share: toBase64Url(share!) };
      return gateway.get('createThaw', { ...world.of(recovery), body });
    };
    const release = () => gateway.call('releaseRecovery', { ...world.of(recovery), body: {} });
    await thaw(0);
    assert.equal((await release()).status, 400, 'one officer alone');
    await enclave.restart();
    await thaw(1);
    assert.deepEqual(await thaw(2), { thaws: 3 });
    const released = await release();
    assert.equal(released.status, 200);
    assert.deepEqual((await release()).body.signatures, released.body.signatures, 'the answer was lost');
    await gateway.get('completeRecovery', { ...world.of(recovery), body: { outcome: 'completed' } });
    assert.deepEqual(await gateway.db.query('select 1 from thaws'), []);
  });
});

describe('a list of approvers', () => {
  let gateway: TestGateway;
  before(async () => {
    gateway = await createTestGateway();
  });
  after(() => gateway.close());

  it('changes by the votes of those who are in it, and stays as it is otherwise', async () => {
    const world = await createRecoveryWorld(gateway);
    const as = world.project.secretKey;
    const params = { list_id: world.list.approver_list_id };
    const [cara, dan] = world.list.approvers;
    const body = (third: string) => ({
      name: 'the family, grown',
      approvers: [
        ...[cara!, dan!].map(({ approver_id, name, email, public_key }) => ({
          approver_id,
          name,
          ...(email === null ? {} : { email }),
          ...(public_key === null ? {} : { public_key }),
        })),
        { name: third, email: `${third.toLowerCase()}@example.org` },
      ],
      policy: { kind: 'exact', count: 2 },
      cooling_period_s: 0,
      links_suffice: true,
    });
    const vote = async (change: { change_id: string; rules_hash: string }, choice: 'approve' | 'reject') =>
      gateway.get('voteListChange', {
        as: world.project.publishableKey,
        params: { ...params, change_id: change.change_id },
        body: { approver_id: world.cara.id, choice },
        proof: await gateway.prove(world.cara.key, {
          act: 'vote_list_change',
          subject: approverSubject(world.project.id, params.list_id, world.cara.id),
          parameters: { change: change.change_id, rules: hexToBytes(change.rules_hash), choice },
        }),
      });

    const declined = await gateway.get('createListChange', { as, params, body: body('Mallory') });
    assert.equal((await gateway.call('createListChange', { as, params, body: body('Grace') })).status, 409);
    await vote(declined, 'reject');
    await gateway.scheduler.run('mails');
    const page = await gateway.app.inject(linkTo(gateway.letters, 'dan@example.org', declined.change_id));
    assert.match(page.body, /mallory@example\.org, votes by a link, called “Mallory”/);
    await press(gateway, linkTo(gateway.letters, 'dan@example.org', declined.change_id), 'reject');
    assert.equal((await gateway.get('getApproverList', { as, params })).name, 'the family');

    const change = await gateway.get('createListChange', { as, params, body: body('Grace') });
    await vote(change, 'approve');
    await gateway.scheduler.run('mails');
    await press(gateway, linkTo(gateway.letters, 'dan@example.org', change.change_id), 'approve');
    const list = await gateway.get('getApproverList', { as, params });
    assert.deepEqual(
      list.approvers.map(({ name }) => name),
      ['Cara', 'Dan', 'Grace'],
    );
    assert.equal(list.approvers[0]!.approver_id, cara!.approver_id);
    const told = (await gateway.events()).filter(({ data }) => data.change === change.change_id);
    assert.deepEqual(told.map(({ type }) => type).sort(), [
      'approver_list.change_applied',
      'approver_list.change_opened',
      'approver_list.change_requested',
      'approver_list.change_voted',
      'approver_list.change_voted',
    ]);
  });

  it('whose change nobody votes on stays as it is when the window is over', async () => {
    const world = await createRecoveryWorld(gateway, { windowS: 3_600 });
    const as = world.project.secretKey;
    const params = { list_id: world.list.approver_list_id };
    const approvers = [{ name: 'Mallory', email: 'mallory@example.org' }];
    const { change_id } = await gateway.get('createListChange', {
      as,
      params,
      body: { name: 'mine', approvers, policy: { kind: 'majority' }, links_suffice: true },
    });
    await gateway.clock.advance(HOUR_MS);
    await gateway.scheduler.run('list-changes');
    const change = await gateway.get('getListChange', { as, params: { ...params, change_id } });
    assert.equal(change.status, 'expired');
    assert.equal((await gateway.get('getApproverList', { as, params })).name, 'the family');
  });

  it('that could be outvoted by whoever runs the gateway is refused, unless that was said to be meant', async () => {
    const { project } = await createRecoveryWorld(gateway);
    const body = {
      name: 'links only',
      approvers: [{ name: 'Dan', email: 'dan@example.org' }],
      policy: { kind: 'majority' },
    };
    const refused = await gateway.call('createApproverList', { as: project.secretKey, body });
    assert.deepEqual([refused.status, refused.code], [400, 'request_invalid']);
    await gateway.get('createApproverList', { as: project.secretKey, body: { ...body, links_suffice: true } });
    const unreachable = await gateway.call('createApproverList', {
      as: project.secretKey,
      body: { ...body, approvers: [{ name: 'Dan' }] },
    });
    assert.equal(unreachable.status, 400);
  });
});

async function publicKeyOf({ gateway, project, key }: RecoveryWorld): Promise<string> {
  return (await gateway.get('getBackupKey', { as: project.secretKey, params: { key_id: key } })).public_key;
}

async function identityOf(gateway: TestGateway): Promise<string> {
  const { keys } = (await gateway.app.inject('/.well-known/kedge-enclave.json')).json() as { keys: JsonWebKey[] };
  return createPublicKey({ key: keys[0]!, format: 'jwk' }).export({ format: 'pem', type: 'spki' }) as string;
}

/** As somebody without Kedge would check it: `openssl dgst -verify`. */
function isGoodForOpenSsl(
  { signed_message, signature_der }: { signed_message: string; signature_der: string },
  pem: string,
): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'kedge-certificate-'));
  const file = (name: string, content: string | Buffer) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  try {
    const key = file('identity.pem', pem);
    const signature = file('signature.der', Buffer.from(signature_der, 'base64'));
    const message = file('message', Buffer.from(signed_message, 'base64'));
    return /Verified OK/.test(
      String(
        execFileSync('openssl', ['dgst', '-sha256', '-verify', key, '-signature', signature, message], {
          stdio: 'pipe',
        }),
      ),
    );
  } catch {
    return false;
  }
}
