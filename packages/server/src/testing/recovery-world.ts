/**
 * Everything that a recovery needs inside a test: a backup key in a 2-of-3 wallet, its recovery material, an approver
 * with a key and one with a link, and people to alert. Tests of recoveries, pages and letters share it; no shipped entry
 * imports it.
 */
import { approverSubject, hexToBytes, type ResponseOf, toBase64Url } from '@kedge/core';
import { createTestVault, type TestVault } from '@kedge/enclave/testing';
import type { Letter } from '../notify/transport.ts';
import { createTestKey, createTestProject, type TestGateway, type TestKey, type TestProject } from './gateway.ts';

export type Recovery = ResponseOf<'getRecovery'>;

export interface RecoveryWorld {
  readonly gateway: TestGateway;
  readonly project: TestProject;
  readonly key: string;
  readonly vault: TestVault;
  readonly list: ResponseOf<'createApproverList'>;
  /** Votes with her key. */
  readonly cara: { readonly id: string; readonly key: TestKey };
  /** Votes by a link. */
  readonly dan: string;
  /** Asks for a release of one payment out of the wallet. */
  request(overrides?: Readonly<Record<string, unknown>>): Promise<Recovery>;
  caraVotes(recovery: Recovery, choice?: 'approve' | 'reject'): Promise<ResponseOf<'voteRecovery'>>;
  /** Both approve, and the letters are sent. */
  approve(recovery: Recovery): Promise<void>;
  get(recovery: Recovery): Promise<Recovery>;
  of(recovery: Recovery): { readonly as: string; readonly params: { readonly recovery_id: string } };
}

interface WorldOptions {
  readonly coolingS?: number;
  readonly windowS?: number;
  /** With its recovery material, which a release needs, and whose key takes seconds to make. */
  readonly backup?: boolean;
  /** Of a cold key, for enclaves that have officers. */
  readonly cold?: boolean;
  /** How the integrator calls whose key it is. */
  readonly user?: string;
}

export async function createRecoveryWorld(
  gateway: TestGateway,
  { coolingS = 0, windowS = 604_800, backup = false, cold = false, user = 'customer-17' }: WorldOptions = {},
): Promise<RecoveryWorld> {
  const project = await createTestProject(gateway);
  const as = project.secretKey;
  const { key_id: key, public_key } = await gateway.get('createBackupKey', {
    as,
    body: { user_identifier: user, key_type: 'secp256k1', key_environment: cold ? 'COLD' : 'HOT' },
  });
  const vault = createTestVault(gateway.enclave.enclave, hexToBytes(public_key));
  if (backup) await storeBackup(gateway, as, public_key, vault);
  const caraKey = createTestKey();
  const list = await gateway.get('createApproverList', {
    as,
    body: {
      name: 'the family',
      approvers: [
        { name: 'Cara', email: 'cara@example.org', public_key: `ed25519:${toBase64Url(caraKey.publicKey)}` },
        { name: 'Dan', email: 'dan@example.org' },
      ],
      policy: { kind: 'exact', count: 2 },
      window_s: windowS,
      cooling_period_s: coolingS,
    },
  });
  await gateway.get('bindApproverList', {
    as,
    params: { key_id: key },
    body: { approver_list_id: list.approver_list_id },
  });
  const [cara, dan] = list.approvers.map(({ approver_id }) => approver_id) as [string, string];
  const world: RecoveryWorld = {
    gateway,
    project,
    key,
    vault,
    list,
    cara: { id: cara, key: caraKey },
    dan,
    request: (overrides = {}) =>
      gateway.get('createKeyRecovery', {
        as,
        params: { key_id: key },
        body: {
          network: vault.codec.network,
          account: vault.descriptor.text,
          transactions: [base64(vault.spend([vault.coin()], vault.descriptor, 60_000n))],
          participants: ['eve@example.org', 'fay@example.org'],
          ...overrides,
        },
      }),
    caraVotes: async ({ recovery_id, plan_hash }, choice = 'approve') =>
      gateway.get('voteRecovery', {
        as: project.publishableKey,
        params: { recovery_id },
        body: { approver_id: cara, choice },
        proof: await gateway.prove(caraKey, {
          act: 'vote_recovery',
          subject: approverSubject(project.id, list.approver_list_id, cara),
          parameters: { recovery: recovery_id, plan: hexToBytes(plan_hash), choice },
        }),
      }),
    async approve(recovery) {
      await gateway.scheduler.run('mails');
      await gateway.scheduler.run('recoveries');
      await world.caraVotes(recovery);
      await press(gateway, linkTo(gateway.letters, 'dan@example.org', recovery.recovery_id), 'approve');
    },
    get: (recovery) => gateway.get('getRecovery', world.of(recovery)),
    of: ({ recovery_id }) => ({ as, params: { recovery_id } }),
  };
  return world;
}

export async function storeBackup(gateway: TestGateway, as: string, publicKey: string, vault: TestVault) {
  const { version, data } = await vault.backup();
  const body = { public_key: publicKey, data: base64(data), encryption_key_version: version };
  return (await gateway.get('storeSecureData', { as, body })).backup_id;
}

/** The path of the link in the newest letter to somebody, about one thing. */
export function linkTo(letters: readonly Letter[], to: string, about: string): string {
  const letter = letters.findLast((sent) => sent.to === to && sent.text.includes(about));
  return new URL(/^https?:\S+$/m.exec(letter?.text ?? '')![0]).pathname;
}

/** What a browser sends when a button is pressed. */
export function press(gateway: TestGateway, path: string, choice: string) {
  return gateway.app.inject({
    method: 'POST',
    url: path,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: `choice=${choice}`,
  });
}

export const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
