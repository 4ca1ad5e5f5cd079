/** What goes wrong becomes a problem detail with the right status, and never says more than a stranger may read. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ChainError, type ChainErrorCode } from '@kedge/chains';
import { errorCodes, errorEntry, KedgeError } from '@kedge/core';
import { StoreError, type StoreErrorCode } from '@kedge/store';
import { createLog } from './log.ts';
import { problemOf, toKedgeError } from './problems.ts';
import {
  createTestGateway,
  createTestProject,
  createTestUser,
  type TestGateway,
  type TestProject,
} from './testing/gateway.ts';

describe('a failure', () => {
  let gateway: TestGateway;
  let project: TestProject;
  const lines: string[] = [];
  before(async () => {
    gateway = await createTestGateway({ log: createLog('info', { write: (line) => void lines.push(line) }) });
    project = await createTestProject(gateway);
  });
  after(() => gateway.close());

  const inject = (
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    url: string,
    options: { headers?: Record<string, string>; payload?: string } = {},
  ) => gateway.app.inject({ method, url, ...options });

  it('of every code has a status and a next step', () => {
    for (const code of errorCodes) {
      const problem = problemOf(new KedgeError(code), 'r');
      assert.equal(problem.status, errorEntry(code).status);
      assert.ok(problem.next_step.endsWith('.'), code);
    }
  });

  it('of the database or the chain has a code of its own, and never its own words', () => {
    const stores: [StoreErrorCode, string][] = [
      ['unavailable', 'store_unavailable'],
      ['full', 'store_full'],
      ['duplicate', 'conflict'],
      ['invalid', 'internal'],
    ];
    for (const [code, expected] of stores)
      assert.equal(toKedgeError(new StoreError(code, 'secret words')).code, expected);
    const chains: [ChainErrorCode, string][] = [
      ['address_invalid', 'request_invalid'],
      ['amount_too_small', 'request_invalid'],
      ['descriptor_invalid', 'request_invalid'],
      ['key_invalid', 'request_invalid'],
      ['fee_too_high', 'fee_too_high'],
      ['not_replaceable', 'not_replaceable'],
      ['signature_missing', 'transaction_invalid'],
      ['transaction_invalid', 'transaction_invalid'],
      ['insufficient_funds', 'insufficient_funds'],
      ['rejected', 'transaction_rejected'],
      ['node_unavailable', 'chain_unavailable'],
      ['wrong_network', 'chain_unavailable'],
    ];
    for (const [code, expected] of chains) assert.equal(toKedgeError(new ChainError(code, 'words')).code, expected);
    const unknown = problemOf(toKedgeError(new TypeError('password=1')), 'r');
    assert.deepEqual([unknown.status, unknown.code], [500, 'internal']);
    assert.doesNotMatch(JSON.stringify(unknown), /password/);
  });

  it('of the request itself is a problem with the right status', async () => {
    const json = { 'content-type': 'application/json' };
    const auth = { authorization: `Bearer ${project.operator}` };
    const cases: [number, string, ReturnType<typeof inject>][] = [
      [404, 'not_found', inject('GET', '/v1/nothing')],
      [404, 'not_found', inject('GET', '/v1/projects/')],
      [405, 'method_not_allowed', inject('DELETE', '/v1/projects')],
      [405, 'method_not_allowed', inject('PATCH', '/v1/wallets/1', { headers: json, payload: '{' })],
      [400, 'request_invalid', inject('GET', '/v1/projects/%zz/api_keys', { headers: auth })],
      [400, 'request_invalid', inject('POST', '/v1/projects', { headers: { ...auth, ...json }, payload: '{"name":' })],
      [
        400,
        'request_invalid',
        inject('POST', '/v1/projects', { headers: { ...auth, ...json }, payload: '{"__proto__":{}}' }),
      ],
      [
        400,
        'request_invalid',
        inject('POST', '/v1/projects', {
          headers: { ...auth, ...json },
          payload: '{"name":"a","environment":"sandbox","more":1}',
        }),
      ],
      [400, 'request_invalid', inject('GET', '/v1/projects?more=1', { headers: auth })],
      [400, 'request_invalid', inject('GET', '/v1/projects?cursor=x', { headers: auth })],
      [
        400,
        'request_invalid',
        inject('POST', '/v1/projects', { headers: { ...auth, ...json, 'idempotency-key': 'a b' }, payload: '{}' }),
      ],
      [
        413,
        'request_too_large',
        inject('POST', '/v1/projects', {
          headers: { ...auth, ...json },
          payload: JSON.stringify({ name: 'x'.repeat(70_000) }),
        }),
      ],
      [
        415,
        'media_type_unsupported',
        inject('POST', '/v1/projects', { headers: { ...auth, 'content-type': 'text/plain' }, payload: 'x' }),
      ],
      [401, 'unauthenticated', inject('GET', '/v1/projects')],
      [401, 'unauthenticated', inject('GET', '/v1/enclave', { headers: { authorization: 'Basic eDp5' } })],
      [401, 'unauthenticated', inject('GET', '/v1/enclave', { headers: { authorization: 'Bearer us_xxxxxxxxxxxx' } })],
      [401, 'proof_missing', inject('POST', '/v1/operator_sessions')],
      [403, 'proof_invalid', inject('POST', '/v1/operator_sessions', { headers: { 'kedge-proof': 'x' } })],
    ];
    for (const [status, code, sent] of cases) {
      const response = await sent;
      assert.deepEqual(
        [response.statusCode, response.json().code],
        [status, code],
        `${response.raw.req.method} ${response.raw.req.url}`,
      );
      assert.match(String(response.headers['content-type']), /^application\/problem\+json/);
      assert.equal(response.json().request_id, response.headers['x-request-id']);
    }
  });

  it('for being too fast says when to come back', async () => {
    const slow = await createTestGateway({
      options: {
        limits: {
          perAddressPerMinute: 3,
          perPrincipalPerMinute: 9,
          recoveriesPerAddressPerHour: 1,
          signUpsPerAddressPerHour: 1,
          votesAskedPerProjectPerHour: 1,
        },
      },
    });
    const answers = [];
    for (let i = 0; i < 4; i++) answers.push(await slow.call('getEnclave'));
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 200, 429],
    );
    assert.equal(answers[0]?.headers['ratelimit-remaining'], '2');
    assert.ok(Number(answers[3]?.headers['retry-after']) > 0);
    await slow.close();
  });

  it('leaves no credential, proof or body in the log', async () => {
    const user = await createTestUser(gateway, project, { email: 'quiet@example.org' });
    await gateway.call('getUser', { as: user.session, params: { user_id: user.id } });
    const text = lines.join('');
    assert.match(text, /"reqId"/);
    for (const secret of [
      user.session,
      project.secretKey,
      project.publishableKey,
      project.operator,
      'quiet@example.org',
      'sealed_recovery',
    ])
      assert.ok(!text.includes(secret));
  });
});
