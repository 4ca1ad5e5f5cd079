/**
 * The gateway killed before and after each durable write of the two calls that a customer can't lose: assigning a key and
 * storing recovery material. Another gateway over the same databases gets the same request again. There is one key, or
 * one backup, it is whole, and what was acknowledged is what comes back. The points are found by counting.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { ResponseOf } from '@kedge/core';
import type { Enclave } from '@kedge/enclave/client';
import { CrashPoints } from '@kedge/enclave/testing';
import { type Answer, createTestGateway, createTestProject, type TestGateway } from './testing/gateway.ts';

describe('a gateway that is killed at a durable write', () => {
  const points = new CrashPoints();
  let living: TestGateway;
  let as: string;
  before(async () => {
    living = await createTestGateway();
    as = (await createTestProject(living)).secretKey;
  });
  after(() => living.close());

  /** What the enclave has done is durable too, and the gateway may die before it hears of it. */
  const wrapEnclave = (enclave: Enclave): Enclave =>
    new Proxy(enclave, {
      get: (target, name) => (call: never) => {
        const ask = () => (Reflect.get(target, name) as (call: never) => Promise<unknown>)(call);
        return name === 'createBackupKey' ? points.write('asking the enclave', ask) : ask();
      },
    });
  const startVictim = () =>
    createTestGateway({ db: living.db, enclave: living.enclave, wrapDatabase: points.wrapDatabase, wrapEnclave });

  /** Kills at every write; `send` is the same request each time, `check` looks at what there is afterwards. */
  async function killEverywhere<T>(
    prepare: () => { send(to: TestGateway): Promise<Answer<T>>; check(answer: T): Promise<void> },
  ): Promise<string[]> {
    const hits: string[] = [];
    for (const when of ['before', 'after'] as const) {
      for (let nth = 1; ; nth++) {
        const { send, check } = prepare();
        const victim = await startVictim();
        points.arm(nth, when);
        const first = await send(victim);
        const { hit } = points;
        const again = await send(living);
        assert.equal(again.status, 201, `${again.code} after ${hit}`);
        if (first.status === 201) assert.deepEqual(again.body, first.body, `another answer after ${hit}`);
        assert.deepEqual((await send(living)).body, again.body);
        await check(again.body);
        points.disarm();
        await victim.stop();
        if (hit === null) break;
        hits.push(`killed ${hit}${first.status === 201 ? ', when it had answered' : ''}`);
      }
    }
    assert.equal(hits.length >= 4, true, `few writes: ${hits}`);
    return hits;
  }

  const eventsAbout = async (type: string, field: string, id: string) =>
    (await living.events()).filter((event) => event.type === type && event.data[field] === id).length;
  const rowsOfEnclave = async () =>
    (await living.enclave.db.query<{ count: number }>('select count(*)::int as count from backup_keys'))[0]!.count;

  test('POST /v1/keys: one key, which works, and the same again', async (t) => {
    let rows = await rowsOfEnclave();
    const hits = await killEverywhere<ResponseOf<'createBackupKey'>>(() => {
      const user_identifier = randomUUID();
      const body = { user_identifier, key_type: 'ed25519', organisation: { customer_id: 'bank-1' } };
      const headers = { 'idempotency-key': user_identifier };
      return {
        send: (to) => to.call('createBackupKey', { as, headers, body }),
        async check({ key_id, public_key }) {
          const { data } = await living.get('listBackupKeys', { as });
          const keys = data.filter((key) => key.user_identifier === user_identifier);
          assert.deepEqual(
            keys.map((key) => [key.key_id, key.public_key]),
            [[key_id, public_key]],
          );
          assert.equal((await living.get('verifyBackupKey', { as, params: { key_id } })).outcome, 'passed');
          assert.equal(await eventsAbout('backup_key.created', 'key', key_id), 1);
          assert.equal(await rowsOfEnclave(), ++rows, 'the enclave has it once');
        },
      };
    });
    for (const hit of hits) t.diagnostic(hit);
    assert.equal(hits.includes('killed after asking the enclave'), true);
  });

  test('POST /v1/secure/data: one backup, with all of its parts, and the same again', async (t) => {
    const hits = await killEverywhere<ResponseOf<'storeSecureData'>>(() => {
      const description = randomUUID();
      const data = Buffer.alloc(512, description).toString('base64');
      const body = { public_key: '02'.repeat(33), data, metadata: { description } };
      const headers = { 'idempotency-key': description };
      return {
        send: (to) => to.call('storeSecureData', { as, headers, body }),
        async check({ backup_id }) {
          const stored = await living.db.query<{ id: string; bytes: Uint8Array }>(
            'select id, bytes from key_backups left join key_backup_parts on key_backup = id where description = $1',
            [description],
          );
          assert.deepEqual(
            stored.map(({ id, bytes }) => [id, Buffer.from(bytes).toString('base64')]),
            [[backup_id, data]],
          );
          assert.equal(await eventsAbout('key_backup.stored', 'backup', backup_id), 1);
        },
      };
    });
    for (const hit of hits) t.diagnostic(hit);
  });
});
