/** Recoveries inside the enclave, from list to signature: what a release gives, and that it gives it once. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { solanaCodec, solanaNetwork } from '@kedge/chains';
import {
  bytesToHex,
  concatBytes,
  DAY_MS,
  type DrillCertificate,
  encodeCbor,
  fromBase64Url,
  HOUR_MS,
  MINUTE_MS,
  sealTo,
  utf8ToBytes,
} from '@kedge/core';
import { type DrivenClock, drivenClock } from '@kedge/core/testing';
import { Decrypter, generateIdentity, identityToRecipient } from 'age-encryption';
import { readSigned } from './signing.ts';
import { createTestVault, nameOf, openTestEnclave, TestApprovals, type TestEnclave } from './testing/index.ts';

const clock: DrivenClock = drivenClock();
const officers: string[] = [];
let opened: TestEnclave;
let approvals: TestApprovals;

before(async () => {
  officers.push(await generateIdentity(), await generateIdentity(), await generateIdentity());
  opened = await openTestEnclave({ clock, officers: await Promise.all(officers.map(identityToRecipient)) });
  approvals = new TestApprovals(opened);
});
after(async () => {
  opened.enclave.stop();
  await opened.db.close();
});

describe('a release', () => {
  test('signs the approved transaction, so that with the platform’s signature the network takes it', async () => {
    const owned = await approvals.newKey();
    const { vault } = owned;
    const other = createTestVault(opened.enclave, owned.publicKey);
    const psbt = vault.spend([vault.coin(), vault.coin(50_000n, 7)], other.descriptor, 120_000n);
    const plan = approvals.plan(owned, [psbt]);
    assert.equal((await approvals.approve(plan)).status, 'releasable');
    const { signatures, view, certificate } = await approvals.release(plan, [psbt], vault);
    assert.deepEqual([signatures.length, view.status, certificate], [2, 'released', null]);
    const signed = vault.codec.attach(vault.signAs(1, psbt), signatures);
    assert.equal(vault.codec.transactionId(vault.codec.final(signed)), vault.codec.planId(psbt));
  });

  test('gives the same signatures when it is asked again, also after a restart and after others have signed', async () => {
    const owned = await approvals.newKey();
    const { vault } = owned;
    const { psbt, plan } = approvals.spend(owned);
    await approvals.approve(plan);
    const first = await approvals.release(plan, [psbt], vault);
    await opened.restart();
    const second = await approvals.release(plan, [vault.signAs(0, psbt)], vault);
    assert.deepEqual(second.signatures, first.signatures);
  });

  test('sweeps everything that a wallet holds to the one address that was approved, in as many transactions as it takes', async () => {
    const owned = await approvals.newKey();
    const { vault } = owned;
    const { descriptor } = createTestVault(opened.enclave, owned.publicKey);
    const destination = descriptor.derive({ change: 0, index: 0 }).address;
    const plan = approvals.plan(owned, [], { release: { kind: 'sweep', destination } });
    await approvals.approve(plan);
    const psbts = [
      vault.spend([vault.coin()], descriptor, 99_000n),
      vault.spend([vault.coin()], descriptor, 99_500n, 500n),
    ];
    const { signatures } = await approvals.release(plan, psbts, vault);
    assert.deepEqual(
      signatures.map(({ transaction, input }) => [transaction, input]),
      [
        [0, 0],
        [1, 0],
      ],
    );
  });

  test('signs the message of a Solana account with an ed25519 key, whichever blockhash it has by then', async () => {
    const owned = await approvals.newKey({}, 'ed25519');
    const codec = solanaCodec(solanaNetwork('5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d'));
    const account = codec.account(owned.publicKey);
    const release = { kind: 'transactions' as const, ids: [codec.planId(solanaTransfer(owned.publicKey, 5_000n, 1))] };
    const plan = approvals.plan(owned, [], { release, network: codec.network, account });
    await approvals.approve(plan);
    const message = solanaTransfer(owned.publicKey, 5_000n, 2);
    const { signatures } = await approvals.release(plan, [message], null);
    const final = codec.final(codec.attach(message, signatures));
    assert.equal(codec.decode(final).from, account);
    await assert.rejects(approvals.release(plan, [solanaTransfer(owned.publicKey, 5_000n, 3)], null), {
      code: 'conflict',
    });
  });

  test('of a cold key needs what two officers took out of their files, sealed for this recovery', async () => {
    const owned = await approvals.newKey({}, 'secp256k1', 'COLD');
    const { vault } = owned;
    const { psbt, plan } = approvals.spend(owned);
    await opened.enclave.requestRecovery({ plan });
    const name = nameOf(plan);
    await assert.rejects(opened.enclave.coldFiles(name), { code: 'conflict' }, 'files before the approval');
    await opened.enclave.noteRecoveryAlert({ ...nameOf(plan), channels: 1 });
    await approvals.vote(plan, 'ada');
    await approvals.vote(plan, 'bert');
    const { files } = await opened.enclave.coldFiles(name);
    assert.equal(files.length, 3);
    const thaws = await Promise.all([0, 2].map((at) => thaw(plan.recovery, files[at]!, officers[at]!)));
    const call = { thaws };
    for (const wrong of [
      [],
      [thaws[0]!],
      [thaws[0]!, thaws[0]!],
      [thaws[0]!, await thaw(randomUUID(), files[2]!, officers[2]!)],
    ])
      await assert.rejects(approvals.release(plan, [psbt], vault, { thaws: wrong }), { code: 'request_invalid' });
    const { signatures } = await approvals.release(plan, [psbt], vault, call);
    vault.codec.final(vault.codec.attach(vault.signAs(0, psbt), signatures));
    await opened.restart(); // and with it the shares, if the answer was lost
    await assert.rejects(approvals.release(plan, [psbt], vault, call), { code: 'request_invalid' });
    const again = await opened.enclave.coldFiles(name);
    const fresh = await Promise.all([1, 2].map((at) => thaw(plan.recovery, again.files[at]!, officers[at]!)));
    assert.deepEqual((await approvals.release(plan, [psbt], vault, { thaws: fresh })).signatures, signatures);
  });
});

describe('a rehearsal', () => {
  test('goes the whole way on a throw-away key and ends with a certificate that says what was proven', async () => {
    const real = await approvals.newKey({ coolingPeriodMs: 7 * DAY_MS });
    const recovery = randomUUID() as string;
    const { publicKey } = await opened.enclave.throwAwayKey({
      project: approvals.project,
      recovery,
      user: approvals.user,
      key: real.key,
    });
    assert.notDeepEqual(publicKey, real.publicKey);
    const vault = createTestVault(opened.enclave, publicKey);
    const psbt = vault.spend([vault.coin()], vault.descriptor, 60_000n);
    const plan = approvals.plan({ ...real, vault }, [psbt], { recovery, sandbox: true });
    assert.equal((await approvals.approve(plan)).status, 'releasable', 'no cooling in a rehearsal');
    const { signatures, certificate } = await approvals.release(plan, [psbt], vault, {
      rehearsed: await real.vault.backup(),
    });
    vault.codec.final(vault.codec.attach(vault.signAs(1, psbt), signatures));
    const { document } = await opened.enclave.attestation();
    const { identity } = JSON.parse(new TextDecoder().decode(document)) as { identity: { x: string; y: string } };
    const pin = concatBytes(Uint8Array.of(4), fromBase64Url(identity.x), fromBase64Url(identity.y));
    const said = readSigned(pin, 'drill-certificate', certificate!) as unknown as DrillCertificate;
    assert.equal(said.key_outcome, 'passed');
    assert.equal(said.backup_outcome, 'passed');
    assert.equal(said.public_key, bytesToHex(real.publicKey));
    assert.deepEqual(said.approvals, ['ada', 'bert']);
    assert.deepEqual(said.transactions, [vault.codec.planId(psbt)]);
    const tampered = {
      ...certificate!,
      document: certificate!.document.map((byte, at) => (at === 20 ? byte ^ 1 : byte)),
    };
    assert.equal(readSigned(pin, 'drill-certificate', tampered), null);
  });

  test('finds that the backup of the real key is somebody else’s, and stands in no recovery’s way', async () => {
    const real = await approvals.newKey();
    const stranger = createTestVault(opened.enclave, (await approvals.newKey()).publicKey);
    const recovery = randomUUID() as string;
    const { publicKey } = await opened.enclave.throwAwayKey({
      project: approvals.project,
      recovery,
      user: approvals.user,
      key: real.key,
    });
    const vault = createTestVault(opened.enclave, publicKey);
    const psbt = vault.spend([vault.coin()], vault.descriptor, 60_000n);
    const plan = approvals.plan({ ...real, vault }, [psbt], { recovery, sandbox: true });
    await opened.enclave.requestRecovery({ plan });
    const spend = real.vault.spend([real.vault.coin()], real.vault.descriptor, 60_000n);
    assert.equal((await approvals.approve(approvals.plan(real, [spend]))).status, 'releasable');
    await approvals.vote(plan, 'ada');
    await approvals.vote(plan, 'bert');
    const { certificate } = await approvals.release(plan, [psbt], vault, { rehearsed: await stranger.backup() });
    assert.match(new TextDecoder().decode(certificate!.document), /"backup_outcome":"attention"/);
  });
});

describe('time', () => {
  test('a cooling period passes on the enclave’s clock, with every reminder once, and then the release is there', async () => {
    const owned = await approvals.newKey({ coolingPeriodMs: 3 * DAY_MS });
    const { vault } = owned;
    const { psbt, plan } = approvals.spend(owned);
    const call = nameOf(plan);
    assert.equal((await approvals.approve(plan)).status, 'cooling');
    const reminders: string[][] = [];
    for (let day = 0; day < 3; day++) {
      await assert.rejects(approvals.release(plan, [psbt], vault), { code: 'conflict' });
      await clock.advance(DAY_MS);
      reminders.push([...(await opened.enclave.tickRecovery(call)).view.reminders]);
    }
    assert.deepEqual(reminders.at(-1), ['day_1', 'day_2', 'final_warning']);
    assert.equal((await opened.enclave.tickRecovery(call)).view.status, 'releasable');
    await approvals.release(plan, [psbt], vault);
  });

  test('a clock that is set forward and a service that is switched off shorten no cooling', async () => {
    const owned = await approvals.newKey({ coolingPeriodMs: DAY_MS });
    const { vault } = owned;
    const { psbt, plan } = approvals.spend(owned);
    await approvals.approve(plan);
    clock.jumpWall(30 * DAY_MS);
    await opened.restart();
    const { view } = await opened.enclave.tickRecovery(nameOf(plan));
    assert.deepEqual([view.status, view.waitsFor], ['cooling', ['service_time']]);
    await assert.rejects(approvals.release(plan, [psbt], vault), { code: 'conflict' });
    clock.jumpWall(-30 * DAY_MS);
  });

  test('votes after the window count for nothing, and a window is not kept open by a clock that is set back', async () => {
    const owned = await approvals.newKey({ windowMs: HOUR_MS });
    const { plan } = approvals.spend(owned);
    await opened.enclave.requestRecovery({ plan });
    await approvals.vote(plan, 'ada');
    await clock.advance(HOUR_MS + 10 * MINUTE_MS);
    clock.jumpWall(-2 * HOUR_MS);
    await assert.rejects(approvals.vote(plan, 'bert'), { code: 'conflict' });
    clock.jumpWall(2 * HOUR_MS);
    const { view } = await opened.enclave.tickRecovery(nameOf(plan));
    assert.equal(view.status, 'expired');
  });
});

async function thaw(recovery: string, file: Uint8Array, identity: string): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  const share = await decrypter.decrypt(file);
  const { document } = await opened.enclave.attestation();
  const { sealing_key: to } = JSON.parse(new TextDecoder().decode(document)) as { sealing_key: string };
  return sealTo(
    fromBase64Url(to),
    share,
    utf8ToBytes('kedge/thaw/v1'),
    encodeCbor({ project: approvals.project, recovery }),
  );
}

/** A transfer of the system program from the key to an account of nobody: the message. */
function solanaTransfer(from: Uint8Array, lamports: bigint, blockhash: number): Uint8Array {
  const amount = new Uint8Array(8);
  new DataView(amount.buffer).setBigUint64(0, lamports, true);
  return concatBytes(
    Uint8Array.of(1, 0, 1, 3),
    from,
    new Uint8Array(32).fill(9),
    new Uint8Array(32),
    new Uint8Array(32).fill(blockhash),
    Uint8Array.of(1, 2, 2, 0, 1, 12, 2, 0, 0, 0),
    amount,
  );
}
