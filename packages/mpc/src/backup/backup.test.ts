/** Device backup: what restores, and what a server, a drive, a prover or a stranger can do to it. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { concat } from '../bytes.ts';
import type { MpcError } from '../errors.ts';
import { mod } from '../group.ts';
import { chainCodeDigest, reshare, rosterOf } from '../reshare.ts';
import { prove } from '../schnorr-proof.ts';
import { type SuiteName, suiteNames, suiteOf } from '../suite.ts';
import { dealWallet } from '../testing/dealer.ts';
import { deviating, tampered } from '../testing/deviate.ts';
import { createDevice, type Device, groupOf, play, results, type Seat, testCrypto } from '../testing/devices.ts';
import { ecdsaProtocol, fastArithmetic, frostSeats, type Holder, holderOf, signersOf } from '../testing/wallets.ts';
import { type BackupSubject, backupContext } from './context.ts';
import { openDriveFile, readDriveFile, sealDriveFile } from './drive-file.ts';
import { type MadeJointKey, makeJointKey } from './joint-key.ts';
import { openBackupOnDevice, openBackupOnServer, type RestoredShare } from './open.ts';
import { BLOB_BYTES, encryptShare, proveRows, verifyBlob } from './verifiable-encryption.ts';

const { secp256k1: group } = fastArithmetic;
const none = new Uint8Array(0);
const random = (_: string, length: number) => new Uint8Array(randomBytes(length));
const ROWS = [1, 5, 9, 20, 44, 80, 100, 127];

interface Backup {
  readonly device: Holder;
  readonly server: Holder;
  readonly subject: BackupSubject;
  readonly onDevice: MadeJointKey;
  readonly onServer: MadeJointKey;
  readonly blob: Uint8Array;
}

function keySeats(device: Holder, server: Holder, suite: SuiteName): Seat<MadeJointKey>[] {
  const options = {
    sharing: device.shares.get(suite)!,
    deviceIdentity: device.device.identity.publicKey,
    serverIdentity: server.device.identity.publicKey,
    purpose: none,
    arithmetic: fastArithmetic,
  };
  return [device, server].map((holder, at) => ({
    address: at + 1,
    device: holder.device,
    protocol: makeJointKey(options),
  }));
}

async function makeBackup(suite: SuiteName = 'eddsa-ed25519', wallet?: readonly Holder[]): Promise<Backup> {
  const [device, server] = wallet ?? (await dealWallet({ threshold: 2, count: 2, suites: [suite] }));
  const share = device!.shares.get(suite)!;
  const [onDevice, onServer] = results(await play(keySeats(device!, server!, suite)));
  const subject: BackupSubject = {
    sharing: share,
    index: share.index,
    deviceIdentity: device!.device.identity.publicKey,
    serverIdentity: server!.device.identity.publicKey,
  };
  const blob = encryptShare(backupContext(onDevice!, subject), share.secret, random, fastArithmetic);
  return { device: device!, server: server!, subject, onDevice: onDevice!, onServer: onServer!, blob };
}

interface Opening {
  readonly fresh: Device;
  readonly blob?: Uint8Array;
  readonly beforeAnswer?: () => Promise<void>;
  readonly key?: MadeJointKey;
  readonly rows?: readonly number[];
}

function openSeats(
  backup: Backup,
  { fresh, blob = backup.blob, beforeAnswer = async () => undefined, key = backup.onDevice, rows = ROWS }: Opening,
): Seat<RestoredShare | null>[] {
  const common = {
    subject: backup.subject,
    newDeviceIdentity: fresh.identity.publicKey,
    rows,
    arithmetic: fastArithmetic,
  };
  return [
    { address: 1, device: fresh, protocol: openBackupOnDevice({ ...common, key, decryptionShare: key.secret }) },
    {
      address: 2,
      device: backup.server.device,
      protocol: openBackupOnServer({
        ...common,
        rows: ROWS,
        key: backup.onServer,
        secret: backup.onServer.secret,
        blob,
        beforeAnswer,
      }),
    },
  ];
}

function errorOf(played: Awaited<ReturnType<typeof play>>, address: number): MpcError {
  const outcome = played.outcomes.get(address)!;
  assert.equal(outcome.status, 'aborted');
  return (outcome as { error: MpcError }).error;
}

describe('a device backup', () => {
  for (const suite of suiteNames)
    test(`T-BKP-1 restores a share of ${suite}, and it is the share`, async () => {
      const backup = await makeBackup(suite);
      assert.equal(backup.blob.length, BLOB_BYTES);
      const [restored] = results(await play(openSeats(backup, { fresh: await createDevice() })));
      const share = backup.device.shares.get(suite)!;
      assert.deepEqual(restored!.secret, share.secret);
      assert.deepEqual(restored!.chainCode, share.chainCode);
    });

  test('T-BKP-2 a server half that cancels the device half needs a proof that the server can not make', async () => {
    const [device, server] = await dealWallet({ threshold: 2, count: 2, suites: ['eddsa-ed25519'] });
    let theirs: Uint8Array = none;
    const seats = keySeats(device!, server!, 'eddsa-ed25519');
    // It hears the device's half first, answers with aG − Q_D, and proves what it can: knowledge of a, or somebody's old proof.
    const cheats = [
      (sid: Uint8Array, rogue: ReturnType<typeof group.base>) =>
        prove(group, { sid, prover: 2, role: 'backup', coefficient: 0 }, 7n, rogue, 11n),
      () => theirs.slice(33),
      () => new Uint8Array(65),
      () => none,
    ];
    for (const cheat of cheats) {
      const honest = deviating(seats[0]!, (_, step) => {
        theirs = step.broadcast as Uint8Array;
        return step;
      });
      const played = await play([
        deviating(seats[1]!, (_, step, { sid }) => {
          assert.notEqual(theirs.length, 0, 'it moves second');
          const rogue = group.add(group.base(7n), group.negate(group.decode(theirs.slice(0, 33))));
          return { ...step, broadcast: concat(group.encode(rogue), cheat(sid, rogue)) };
        }),
        honest,
      ]);
      const { failure, culprits } = errorOf(played, 1);
      assert.deepEqual({ failure, culprits }, { failure: 'peer_fault', culprits: [2] });
    }
  });

  test('T-BKP-3 a changed, cut or extended blob fails, and so does one under another context', async () => {
    const backup = await makeBackup();
    const context = backupContext(backup.onDevice, backup.subject);
    verifyBlob(context, backup.blob, fastArithmetic);
    const places = [0, 1, 2, 17, 18, 49, 50, 82, 114, 147, BLOB_BYTES - 1, ...ROWS.map((row) => 50 + 129 * row + row)];
    for (const at of places) {
      const changed = backup.blob.slice();
      changed[at]! ^= 1;
      assert.throws(() => verifyBlob(context, changed, fastArithmetic), { name: 'MpcError' }, `byte ${at}`);
    }
    assert.throws(() => verifyBlob(context, backup.blob.slice(0, -1), fastArithmetic), { code: 'bad_encoding' });
    assert.throws(() => verifyBlob(context, concat(backup.blob, none, Uint8Array.of(0)), fastArithmetic), {
      code: 'bad_encoding',
    });
    const { sharing } = backup.subject;
    const stranger = (await createDevice()).identity.publicKey;
    const others: BackupSubject[] = [
      { ...backup.subject, sharing: { ...sharing, epoch: sharing.epoch + 1n } },
      { ...backup.subject, sharing: { ...sharing, sharingId: new Uint8Array(16) } },
      { ...backup.subject, sharing: { ...sharing, groupId: new Uint8Array(16) } },
      { ...backup.subject, sharing: { ...sharing, keyId: new Uint8Array(32) } },
      { ...backup.subject, sharing: { ...sharing, chainCode: new Uint8Array(32) } },
      { ...backup.subject, index: 2 },
      { ...backup.subject, deviceIdentity: stranger },
      { ...backup.subject, serverIdentity: stranger },
    ];
    for (const other of others)
      assert.throws(() => verifyBlob(backupContext(backup.onDevice, other), backup.blob, fastArithmetic), {
        name: 'MpcError',
      });
    const swapped = { ...backup.onDevice, deviceKey: backup.onDevice.serverKey, serverKey: backup.onDevice.deviceKey };
    assert.throws(() => verifyBlob(backupContext(swapped, backup.subject), backup.blob, fastArithmetic), {
      code: 'bad_proof',
    });
  });

  test('T-BKP-4 a prover that cheats in a row passes exactly when the challenge leaves that half closed', async () => {
    const backup = await makeBackup();
    const context = backupContext(backup.onDevice, backup.subject);
    const { group: own } = suiteOf(context.suite, fastArithmetic);
    const s = own.decodeScalar(backup.device.shares.get('eddsa-ed25519')!.secret);
    let passed = 0;
    for (const cheated of [[3], [3], [3], [7], [7], [7], [1, 2, 3, 4], [1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7]]) {
      const blob = proveRows(
        context,
        (half, row) => mod(cheated.includes(row) ? half + 1n : s - half, own.order),
        random,
        fastArithmetic,
      );
      const challenge = blob.subarray(18, 50);
      const isClosed = cheated.every((row) => ((challenge[row >> 3]! >> (row & 7)) & 1) === 0);
      let verifies = true;
      try {
        verifyBlob(context, blob, fastArithmetic);
      } catch {
        verifies = false;
      }
      assert.equal(verifies, isClosed, `rows ${cheated}`);
      if (verifies) passed++;
    }
    assert.ok(passed < 9, 'every try would have to be lucky');
  });

  test('T-BKP-5 a wrong product, products that changed places, and a proof of another session: the server is named', async () => {
    const backup = await makeBackup();
    const K = (row: number) => [BLOB_BYTES + 33 * row, BLOB_BYTES + 33 * row + 33] as const;
    let recorded: Uint8Array | null = null;
    const changes: ((bytes: Uint8Array) => Uint8Array)[] = [
      (bytes) => concat(bytes.slice(0, K(2)[0]), group.encode(group.base(9n)), bytes.slice(K(2)[1])),
      (bytes) => {
        const [a, b] = [bytes.slice(...K(0)), bytes.slice(...K(1))];
        bytes.set(b, K(0)[0]);
        bytes.set(a, K(1)[0]);
        return bytes;
      },
      (bytes) => {
        recorded = bytes;
        return bytes.fill(0, bytes.length - 64, bytes.length - 63); // z
      },
      (bytes) => (recorded ? concat(bytes.slice(0, K(0)[0]), recorded.slice(K(0)[0])) : bytes),
      (bytes) => bytes.fill(1, bytes.length - 32), // the chain code
      (bytes) => bytes.slice(1),
    ];
    for (const change of changes) {
      const [device, server] = openSeats(backup, { fresh: await createDevice() });
      const played = await play([
        device!,
        deviating(server!, (round, step) => (round === 2 ? tampered(step, { pairwise: change }) : step)),
      ]);
      const { failure, culprits } = errorOf(played, 1);
      assert.deepEqual({ failure, culprits }, { failure: 'peer_fault', culprits: [2] });
    }
  });

  test('T-BKP-6 a request for another backup or other rows: nothing is multiplied, no try is counted', async () => {
    const [backup, other] = [await makeBackup(), await makeBackup()];
    let counted = 0;
    const beforeAnswer = async () => void counted++;
    const fresh = await createDevice();
    for (const opening of [
      { fresh, beforeAnswer, key: other.onDevice },
      { fresh, beforeAnswer, rows: [0, 2, 4, 6, 8, 10, 12, 14] },
    ]) {
      const played = await play(openSeats(backup, opening));
      assert.ok(
        [...played.outcomes.values()].every(({ status }) => status === 'running'),
        'they never meet',
      );
    }
    assert.equal(counted, 0);
    assert.throws(() => openSeats(backup, { fresh, rows: [1, 1, 2, 3, 4, 5, 6, 7] }), { code: 'bad_input' });
  });

  test('T-BKP-6 what the server stored is swapped: it notices before it multiplies', async () => {
    const [backup, other] = [await makeBackup(), await makeBackup()];
    let counted = 0;
    const played = await play(
      openSeats(backup, { fresh: await createDevice(), blob: other.blob, beforeAnswer: async () => void counted++ }),
    );
    const outcome = played.outcomes.get(2)!;
    assert.ok(outcome.status === 'aborted' && outcome.error.code === 'bad_proof');
    assert.equal(counted, 0);
  });

  test('T-BKP-8 when the try can not be counted, no answer leaves', async () => {
    const backup = await makeBackup();
    const seats = openSeats(backup, {
      fresh: await createDevice(),
      beforeAnswer: async () => {
        throw new Error('the disk is full');
      },
    });
    let answers = 0;
    await assert.rejects(
      play(seats, ({ from, bytes }) => {
        if (from === 2 && bytes.length > BLOB_BYTES) answers++;
        return [bytes];
      }),
      /disk is full/,
    );
    assert.equal(answers, 0);
  });

  test('T-BKP-9 the restored share never signs; it deals a pair for the new device, and the old device signs on', async () => {
    const wallet = await dealWallet({ threshold: 2, count: 2, suites: ['eddsa-ed25519'] });
    const backup = await makeBackup('eddsa-ed25519', wallet);
    const fresh = await createDevice();
    const [restored] = results(await play(openSeats(backup, { fresh })));
    const old = backup.device.shares.get('eddsa-ed25519')!;
    const share = { ...old, secret: restored!.secret };
    const message = new Uint8Array(8);
    const pretender: Holder = { ...backup.device, device: fresh, shares: new Map([['eddsa-ed25519', share]]) };
    const honest = frostSeats(wallet, { suite: 'eddsa-ed25519', message });
    assert.throws(() =>
      ecdsaProtocol(pretender, signersOf([pretender, backup.server]), { digest: new Uint8Array(32) }),
    );
    // Should it pretend to be the old device, it lacks that device's identity key.
    const played = await play([{ ...honest[0]!, device: fresh }, honest[1]!]);
    assert.ok([...played.outcomes.values()].every(({ status }) => status === 'running'));

    const dealers = [
      { index: 1, identityKey: fresh.identity.publicKey },
      { index: 2, identityKey: backup.server.device.identity.publicKey },
    ];
    const devices = [fresh, backup.server.device];
    const descriptor = groupOf(devices, 2);
    const seats = rosterOf(dealers, descriptor).map(({ address, oldIndex, newIndex }) => ({
      address,
      device: devices[newIndex - 1]!,
      protocol: reshare({
        source: [old],
        pinned: [{ publicKey: old.publicKey, chainCodeDigest: chainCodeDigest(old.chainCode) }],
        dealers,
        restored: 1,
        descriptor,
        mode: 'add' as const,
        supersedes: [],
        groupId: null,
        epoch: 1n,
        purpose: none,
        own: [oldIndex === 1 ? share : backup.server.shares.get('eddsa-ed25519')!],
        nowMs: 1n,
        store: devices[newIndex - 1]!.sharings,
        arithmetic: fastArithmetic,
      }),
    }));
    const made = results(await play(seats));
    const pair = devices.map((device) => holderOf(device, made[seats.findIndex((seat) => seat.device === device)]!));
    const [signature] = results(await play(frostSeats(pair, { suite: 'eddsa-ed25519', message })));
    assert.deepEqual(signature!.publicKey, old.publicKey);
    results(await play(frostSeats(wallet, { suite: 'eddsa-ed25519', message })));
  });

  test("the server's proof is hedged with its half of the key: a bad random source alone does not give it away", async () => {
    const backup = await makeBackup();
    const [, server] = openSeats(backup, { fresh: await createDevice() });
    assert.deepEqual(server!.protocol.secret, backup.onServer.secret);
  });

  test('drive files of two roots under one backup key and passcode do not share a nonce', async () => {
    const file = { backupId: new Uint8Array(16), deviceKey: new Uint8Array(33), serverKey: new Uint8Array(33) };
    const sealed = [1, 2].map((root) =>
      sealDriveFile(
        { ...file, ctx: new Uint8Array(32).fill(root) },
        new Uint8Array(32),
        new Uint8Array(64),
        testCrypto,
      ),
    );
    const [first, second] = (await Promise.all(sealed)).map((bytes) => bytes.slice(-48, -16));
    assert.notDeepEqual(first, second);
  });

  test('the drive file opens with the passcode output it was sealed with, and says when it does not', async () => {
    const backup = await makeBackup();
    const { ctx } = backupContext(backup.onDevice, backup.subject);
    const output = new Uint8Array(randomBytes(64));
    const file = await sealDriveFile({ ...backup.onDevice, ctx }, backup.onDevice.secret, output, testCrypto);
    assert.deepEqual(readDriveFile(file).backupId, backup.onDevice.backupId);
    assert.deepEqual(await openDriveFile(file, output, testCrypto), backup.onDevice.secret);
    await assert.rejects(openDriveFile(file, new Uint8Array(64), testCrypto), { code: 'wrong_key' });
    for (const at of [0, 5, 7, 30, 100, file.length - 1]) {
      const damaged = file.slice();
      damaged[at]! ^= 1;
      await assert.rejects(openDriveFile(damaged, output, testCrypto), { name: 'MpcError' });
    }
    // T-BKP-10: neither the file nor the blob contains the share or either half of the key.
    const hay = Buffer.concat([file, backup.blob]);
    for (const secret of [
      backup.onDevice.secret,
      backup.onServer.secret,
      backup.device.shares.get('eddsa-ed25519')!.secret,
    ])
      assert.ok(!hay.includes(Buffer.from(secret)));
  });
});
