import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { suiteNames } from '../suite.ts';
import { play, results } from '../testing/devices.ts';
import { createWallet, fastArithmetic } from '../testing/wallets.ts';
import { backupContext } from './context.ts';
import { makeJointKey } from './joint-key.ts';
import { openBackupOnDevice, openBackupOnServer } from './open.ts';
import { encryptShare } from './verifiable-encryption.ts';

test('T-BKP-1 a backup of each suite restores the share', async () => {
  const [device, server] = await createWallet({ threshold: 2, count: 2, suites: suiteNames });
  for (const suite of suiteNames) {
    const share = device!.shares.get(suite)!;
    const identities = {
      deviceIdentity: device!.device.identity.publicKey,
      serverIdentity: server!.device.identity.publicKey,
    };
    const common = { sharing: share, ...identities, purpose: new Uint8Array(0), arithmetic: fastArithmetic };
    const [forDevice, forServer] = results(
      await play(
        [device!, server!].map((holder, at) => ({
          address: at + 1,
          device: holder.device,
          protocol: makeJointKey(common),
        })),
      ),
    );
    const subject = { sharing: share, index: share.index, ...identities };
    const blob = encryptShare(
      backupContext(forDevice!, subject),
      share.secret,
      (_, n) => new Uint8Array(randomBytes(n)),
      fastArithmetic,
    );
    const opening = {
      subject,
      key: forDevice!,
      newDeviceIdentity: device!.device.identity.publicKey,
      rows: [1, 5, 9, 20, 44, 80, 100, 127],
      arithmetic: fastArithmetic,
    };
    const [restored] = results(
      await play([
        {
          address: 1,
          device: device!.device,
          protocol: openBackupOnDevice({ ...opening, decryptionShare: forDevice!.secret }),
        },
        {
          address: 2,
          device: server!.device,
          protocol: openBackupOnServer({
            ...opening,
            secret: forServer!.secret,
            blob,
            beforeAnswer: async () => undefined,
          }),
        },
      ]),
    );
    assert.deepEqual(restored!.secret, share.secret);
    assert.deepEqual(restored!.chainCode, share.chainCode);
  }
});
