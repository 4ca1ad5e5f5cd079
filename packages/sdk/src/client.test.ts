/** The client against answers that are late, lost or wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from './client.ts';
import { createClientKey } from './client-key.ts';
import { connectTo } from './connection.ts';

interface Seen {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

function answering(...answers: readonly (Response | Error)[]) {
  return answeringAfter(0, ...answers);
}

function answeringAfter(answerMs: number, ...answers: readonly (Response | Error)[]) {
  const seen: Seen[] = [];
  const waits: number[] = [];
  let nowMs = 0;
  let next = 0;
  const client = createClient({
    url: 'http://service.test',
    token: 'pk_x',
    wait: async (ms) => {
      waits.push(ms);
      nowMs += ms;
    },
    monotonicMs: () => nowMs,
    fetch: async (input, init) => {
      seen.push({ url: String(input), headers: init?.headers as Record<string, string> });
      nowMs += answerMs;
      const answer = answers[Math.min(next++, answers.length - 1)]!;
      if (answer instanceof Error) throw answer;
      return answer.clone();
    },
  });
  return { client, seen, waits };
}

const project = {
  id: '0198a000-0000-7000-8000-000000000001',
  name: 'p',
  environment: 'sandbox',
  created_at: '2026-01-01T00:00:00.000Z',
};
const body = { name: 'p', environment: 'sandbox' } as const;
const json = (value: unknown, status = 200, headers = {}) => new Response(JSON.stringify(value), { status, headers });
const problem = (code: string, status: number, headers = {}) => json({ code, detail: 'a detail' }, status, headers);

test('a call that failed on the way is repeated with the same idempotency key', async () => {
  const { client, seen } = answering(
    new TypeError('connection reset'),
    problem('enclave_unavailable', 503),
    json(project, 201),
  );
  assert.deepEqual(await client.call('createProject', { body }), project);
  assert.equal(seen.length, 3);
  assert.equal(new Set(seen.map(({ headers }) => headers['idempotency-key'])).size, 1);
});

test('it waits as long as the service says', async () => {
  const { client, waits } = answering(problem('overloaded', 503, { 'retry-after': '7' }), json(project, 201));
  await client.call('createProject', { body });
  assert.deepEqual(waits, [7_000]);
});

test('it gives up within eight seconds, and at once where trying again is useless', async () => {
  const down = answering(new TypeError('down'));
  await assert.rejects(down.client.call('createProject', { body }), {
    code: 'overloaded',
    message: 'There is no answer from http://service.test. Is the service running?',
  });
  assert.deepEqual(down.waits, [500, 1_000, 2_000, 4_000]);
  const refused = answering(problem('forbidden', 403));
  await assert.rejects(refused.client.call('createProject', { body }), { code: 'forbidden', message: 'a detail' });
  assert.equal(refused.seen.length, 1);
});

test('a service that hangs is asked once, and one that says that it will be away for longer too', async () => {
  const hanging = answeringAfter(20_000, new DOMException('timed out', 'TimeoutError'));
  await assert.rejects(hanging.client.call('createProject', { body }), { code: 'overloaded' });
  assert.equal(hanging.seen.length, 1);
  const away = answering(problem('overloaded', 503, { 'retry-after': '60' }));
  await assert.rejects(away.client.call('createProject', { body }), { code: 'overloaded' });
  assert.deepEqual(away.waits, []);
});

test('an answer that begins and never ends is given up, also where fetch has lost the signal', {
  timeout: 60_000,
}, async (t) => {
  const late = new AbortController();
  t.mock.method(AbortSignal, 'timeout', () => late.signal);
  const endless = new ReadableStream({ pull: () => late.abort(new DOMException('timed out', 'TimeoutError')) });
  const client = createClient({
    url: 'http://service.test',
    token: null,
    patienceMs: 0,
    fetch: async () => new Response(endless),
  });
  await assert.rejects(client.call('createProject', { body }), { code: 'overloaded' });
});

test('a call and what its proof needs share one patience', async () => {
  const { client, seen, waits } = answering(problem('enclave_unavailable', 503, { 'retry-after': '1' }));
  const connection = connectTo(client, 'thumbprint');
  const key = await createClientKey({ extractable: false });
  const proof = connection.prove(key, { act: 'rotate', subject: 'ada' });
  await assert.rejects(client.call('startRotation', { proof }), { code: 'enclave_unavailable', message: 'a detail' });
  assert.deepEqual(waits, [1_000, 1_000, 2_000]);
  const asked = seen.length;
  const send = () => client.call('startRotation', { proof });
  await assert.rejects(connection.withWords('sign_up', key, new Uint8Array(32), new Uint8Array(), send), {
    code: 'enclave_unavailable',
  });
  assert.equal(seen.length, 2 * asked);
});

test('each try gets a fresh proof', async () => {
  const { client, seen } = answering(
    problem('proof_stale', 409),
    json({ running: false, versions: [], done: 0, total: 0 }, 201),
  );
  await client.call('startRotation', { proof: async (attempt) => `proof ${attempt}` });
  assert.deepEqual(
    seen.map(({ headers }) => headers['kedge-proof']),
    ['proof 1', 'proof 2'],
  );
});

test('an answer that does not fit the schema is not believed', async () => {
  const { client } = answering(json({ ...project, id: 'not an id' }, 201));
  await assert.rejects(client.call('createProject', { body }));
});
