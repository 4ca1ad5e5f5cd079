/** What a device refuses of a gateway that settles another approver list than the one that was wanted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COOLING_PERIOD_MS, SECOND_MS, WINDOW_MS } from '@kedge/core';
import type { Client } from './client.ts';
import type { Connection } from './connection.ts';
import { type RecoveryService, recoveries } from './recovery.ts';

const adasKey = `ed25519:${'A'.repeat(43)}`;
const wanted: Parameters<RecoveryService['protect']>[2] = {
  name: 'board',
  approvers: [{ name: 'Ada', email: 'ada@example.com', public_key: adasKey }],
  policy: { kind: 'majority' },
};
const asWanted = {
  approver_list_id: 'list-1',
  approvers: [{ approver_id: 'ada', public_key: adasKey, veto: false, must_approve: false }],
  policy: wanted.policy,
  window_s: WINDOW_MS / SECOND_MS,
  cooling_period_s: COOLING_PERIOD_MS / SECOND_MS,
  links_suffice: false,
};

/** What was asked of a gateway that makes the list like that. */
async function callsFor(made: object): Promise<{ calls: string[]; code: unknown }> {
  const calls: string[] = [];
  const call = async (name: string) => {
    calls.push(name);
    if (name === 'createApproverList') return made;
    throw new Error('as far as this test goes');
  };
  const service = recoveries({
    connection: {} as Connection,
    client: { call } as unknown as Client,
    project: 'project-1',
  });
  const error: unknown = await service.protect('key-1', 'customer-17', wanted).catch((error: unknown) => error);
  return { calls, code: (error as { code?: unknown }).code };
}

test('a gateway leaves out the cooling period, or shortens the window, where the integrator named none', async () => {
  for (const lie of [{ cooling_period_s: 0 }, { window_s: 3_600 }, { links_suffice: true }]) {
    const { calls, code } = await callsFor({ ...asWanted, ...lie });
    assert.deepEqual([calls, code], [['createApproverList'], 'key_refused']);
  }
  assert.deepEqual((await callsFor(asWanted)).calls, ['createApproverList', 'bindApproverList']);
});

test('a gateway shows another recovery than the approver asked for', async () => {
  const call = async () => ({ recovery_id: 'another' });
  const service = recoveries({
    connection: {} as Connection,
    client: { call } as unknown as Client,
    project: 'project-1',
  });
  await assert.rejects(service.read('recovery-1'), /another recovery than the one that was asked for/);
});
