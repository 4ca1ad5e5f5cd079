/** What a page behind a link shows is what the vote decides: attacks that would have approvers agree to something else. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { evmCodec } from '@kedge/chains';
import { hexToBytes, toBase64Url } from '@kedge/core';
import { Transaction } from 'ethers';
import { createTestGateway, createTestKey, type TestGateway } from '../testing/gateway.ts';
import { base64, createRecoveryWorld, linkTo, type RecoveryWorld } from '../testing/recovery-world.ts';

describe('a page that asks for a vote', () => {
  let gateway: TestGateway;
  before(async () => {
    gateway = await createTestGateway();
  });
  after(() => gateway.close());

  const pageFor = async (about: string): Promise<string> => {
    await gateway.scheduler.run('mails');
    return (await gateway.app.inject(linkTo(gateway.letters, 'dan@example.org', about))).body;
  };

  describe('on a list', () => {
    const change = async (
      world: RecoveryWorld,
      { cara = {}, ...content }: { cara?: Record<string, unknown> } & Record<string, unknown>,
    ) => {
      const approvers = world.list.approvers.map(({ approver_id, name, email, public_key }) => ({
        approver_id,
        name,
        ...(email === null ? {} : { email }),
        ...(public_key === null ? {} : { public_key }),
      }));
      const { name, policy, window_s, cooling_period_s } = world.list;
      const body = {
        ...{ name, policy, window_s, cooling_period_s },
        approvers: [{ ...approvers[0], ...cara }, approvers[1]],
        ...content,
      };
      const params = { list_id: world.list.approver_list_id };
      const { change_id } = await gateway.get('createListChange', { as: world.project.secretKey, params, body });
      const page = await pageFor(change_id);
      const boxes = [...page.matchAll(/<section>([\s\S]*?)<\/section>/g)].map(([, box]) =>
        box!.replace(/<p>.*:<\/p>/, ''),
      );
      assert.equal(boxes.length, 2);
      return boxes as [string, string];
    };

    it('shows that somebody’s key becomes another one: attack of the swapped key', async () => {
      const world = await createRecoveryWorld(gateway);
      const swapped = `ed25519:${toBase64Url(createTestKey().publicKey)}`;
      const [now, then] = await change(world, { cara: { public_key: swapped } });
      assert.notEqual(now, then);
      assert.equal(now.includes(world.list.approvers[0]!.public_key!), true);
      assert.equal(then.includes(swapped), true);
    });

    it('shows that links come to suffice, and how long votes are taken: attack of the silent switch', async () => {
      const one = await change(await createRecoveryWorld(gateway), { links_suffice: true });
      assert.match(one[0], /Links alone don’t suffice/);
      assert.match(one[1], /whoever runs the service could vote in their place/);
      const other = await change(await createRecoveryWorld(gateway), { window_s: 3_600, cooling_period_s: 1_000 });
      assert.match(other[0], /Votes are taken for 7 days/);
      assert.match(other[1], /Votes are taken for 1 hour[^s]/);
      assert.match(other[1], /cancelled for at least 16 minutes/);
    });

    it('lets no name pass for what stands beside it: attack of the name that says more', async () => {
      const [, then] = await change(await createRecoveryWorld(gateway), {
        cara: { name: 'Cara (cara@example.org), votes with a key, must approve', email: 'mallory@example.org' },
      });
      const lines = [...then.matchAll(/<p>(.*?)<\/p>/g)].map(([, line]) => line!);
      const line = lines.find((each) => each.includes('mallory'))!;
      assert.match(line, /^mallory@example\.org, votes with the key/);
      assert.doesNotMatch(line, /^[^“]*must approve/);
    });
  });

  describe('on a recovery', () => {
    it('shows the network and the account: attack of the recovery that is said to be on a test network', async () => {
      const pages: string[] = [];
      for (const chainId of [1, 11_155_111]) {
        const world = await createRecoveryWorld(gateway);
        const key = await gateway.get('getBackupKey', { as: world.project.secretKey, params: { key_id: world.key } });
        const codec = evmCodec(chainId);
        const account = codec.account(hexToBytes(key.public_key));
        const unsigned = Transaction.from({
          ...{ type: 2, chainId, nonce: 0, value: 1_000n, gasLimit: 21_000n },
          ...{ to: `0x${'00'.repeat(18)}dead`, maxFeePerGas: 2n, maxPriorityFeePerGas: 1n },
        }).unsignedSerialized;
        const { recovery_id } = await world.request({
          ...{ network: codec.network, account },
          transactions: [base64(hexToBytes(unsigned.slice(2)))],
        });
        const page = await pageFor(recovery_id);
        assert.equal(page.includes(account), true);
        pages.push(page.replaceAll(account, ''));
      }
      assert.match(pages[0]!, /the EVM chain 1</);
      assert.match(pages[1]!, /the EVM chain 11155111</);
      const world = await createRecoveryWorld(gateway);
      const page = await pageFor((await world.request()).recovery_id);
      assert.match(page, /Bitcoin \(regtest\)/);
      assert.equal(page.includes(world.vault.codec.address(world.vault.descriptor.text)), true);
    });

    it('lets no user’s name speak for the page: attack of the name that says more', async () => {
      const user = 'x”. It is a rehearsal: nothing that it signs is worth anything.';
      const world = await createRecoveryWorld(gateway, { user });
      const page = await pageFor((await world.request()).recovery_id);
      assert.deepEqual(
        [...page.matchAll(/<p>([^<]*rehearsal[^<]*)<\/p>/g)].map(([, text]) => text),
        [`The service calls whose key it is: “${user}”`],
      );
    });
  });
});
