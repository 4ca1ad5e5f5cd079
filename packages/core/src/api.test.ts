/** The table of endpoints keeps its own rules, so that everything made from it does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { endpoints } from './api.ts';
import { BODY_BYTES_MAX, type Endpoint, PAGE_SIZE_MAX, principalKinds } from './api-schema.ts';

const all = Object.entries(endpoints) as [string, Endpoint][];
const jsonSchema = (schema: z.ZodType, io: 'input' | 'output') =>
  z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as Json;

interface Json {
  readonly properties?: Readonly<Record<string, Json>>;
  readonly additionalProperties?: boolean | Json;
  readonly [key: string]: unknown;
}

for (const [name, row] of all) {
  test(`${name}: ${row.method} ${row.path}`, () => {
    const inPath = [...row.path.matchAll(/\{([^}]+)\}/g)].map((match) => match[1]!).sort();
    assert.deepEqual(Object.keys(row.params?.shape ?? {}).sort(), inPath, 'the parameters of path and schema differ');
    assert.notEqual(row.principals.length, 0, 'nobody may call it');
    assert.equal(new Set(row.principals).size, row.principals.length);
    for (const principal of row.principals) assert.equal(principalKinds.includes(principal), true, principal);
    assert.match(row.summary, /^[A-Z].*\.$/);
    assert.equal(row.status === 204, row.response instanceof z.ZodNull, 'only an empty answer has status 204');
    if (row.method === 'GET') assert.equal(row.body, undefined, 'a GET has no body');
    else assert.equal(row.query, undefined, 'only a GET has a query');
    if (row.method === 'GET') assert.equal(row.proof, undefined, 'a GET takes no proof: it changes nothing');
    for (const schema of [row.body, row.upload, row.params, row.query])
      if (schema) assertStrict(jsonSchema(schema, 'input'), name);
    for (const [schema, io] of [
      [row.body, 'input'],
      [row.query, 'input'],
      [row.params, 'input'],
      [row.response, 'output'],
    ] as const) {
      if (schema)
        for (const property of properties(jsonSchema(schema, io)))
          assert.match(property, /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/, `${name} ${property}`);
    }
  });
}

test('no two endpoints have the same method and path', () => {
  const places = all.map(([, { method, path }]) => `${method} ${path.replaceAll(/\{[^}]+\}/g, '{}')}`);
  assert.deepEqual(
    places.filter((place, at) => places.indexOf(place) !== at),
    [],
  );
});

test('an act that opens, enrols, recovers or rotates takes a proof; reading takes none', () => {
  const proven = all.filter(([, row]) => row.proof).map(([, row]) => row.proof);
  const acts = [
    'sign_up',
    'sign_in',
    'recover',
    'replace_words',
    'enroll_client_key',
    'revoke_client_key',
    'create_wallet',
    'open_wallet',
    'export_wallet',
  ];
  const operatorActs = ['operator_sign_in', 'rotate', 'destroy_server_key', 'back_up', 'accept_restore'];
  const approverActs = ['vote_list_change', 'vote_recovery'];
  assert.deepEqual([...proven].sort(), [...acts, ...operatorActs, ...approverActs].sort());
});

test('whoever is anonymous may see the enclave and sign in as an operator, nothing else', () => {
  assert.deepEqual(
    all
      .filter(([, row]) => row.principals.includes('anonymous'))
      .map(([name]) => name)
      .sort(),
    ['createOperatorSession', 'getEnclave'],
  );
});

test('a publishable key, which anybody can read in a web page, only signs up, signs in, recovers and carries votes', () => {
  const allowed = all.filter(([, row]) => row.principals.includes('publishable_key')).map(([name]) => name);
  assert.deepEqual(allowed.sort(), [
    'createRecovery',
    'createSession',
    'createUser',
    'getEnclave',
    'voteListChange',
    'voteRecovery',
  ]);
});

test('every text that comes in has a longest length, every number a greatest value, every list of ours a page', () => {
  for (const [name, row] of all) {
    for (const schema of [row.body, row.upload, row.query, row.params])
      if (schema) assertBounded(jsonSchema(schema, 'input'), name);
  }
  assert.equal(BODY_BYTES_MAX <= 64 * 1024, true);
  assert.equal(PAGE_SIZE_MAX <= 100, true);
});

test('ids are one spelling, e-mail addresses one case', () => {
  const id = '0198a000-0000-7000-8000-00000000000a';
  assert.deepEqual(endpoints.getVault.params.parse({ vault_id: id.toUpperCase() }), { vault_id: id });
  for (const wrong of ['', 'x', `${id} `, `{${id}}`, `${id}/../..`, '../', id.replaceAll('-', '')]) {
    assert.equal(endpoints.getVault.params.safeParse({ vault_id: wrong }).success, false, wrong);
  }
  const body = { account: 'Ada@Example.ORG', sealed_recovery: 'AAAA' };
  assert.equal(endpoints.createRecovery.body.parse(body).account, 'ada@example.org');
});

test('what does not belong is refused, not ignored', () => {
  const good = { scheme: 'dual-secret', label: 'savings' };
  assert.equal(endpoints.createVault.body.safeParse(good).success, true);
  assert.equal(endpoints.createVault.body.safeParse({ ...good, status: 'closed' }).success, false);
  for (const label of ['', ' ', 'a\nb', 'a\u202Eb', 'a\0', 'x'.repeat(65)])
    assert.equal(endpoints.createVault.body.safeParse({ ...good, label }).success, false, JSON.stringify(label));
});

test('amounts are whole decimal numbers without a sign, a leading zero or an exponent', () => {
  const parse = (amount: unknown) => endpoints.createTransfer.body.safeParse({ to: '0x', amount }).success;
  for (const amount of ['0', '1', '115792089237316195423570985008687907853269984665640564039457584007913129639935'])
    assert.equal(parse(amount), true, amount);
  for (const amount of ['', '-1', '+1', '01', '1.0', '1e18', '0x1', ' 1', '1 ', '1'.repeat(79), 1, null])
    assert.equal(parse(amount), false, String(amount));
});

function* children(schema: Json): Generator<Json> {
  for (const child of Object.values(schema.properties ?? {})) yield child;
  for (const key of ['anyOf', 'oneOf', 'allOf', 'prefixItems'] as const)
    yield* (schema[key] as Json[] | undefined) ?? [];
  for (const child of Object.values((schema.$defs as Record<string, Json> | undefined) ?? {})) yield child;
  for (const key of ['items', 'additionalProperties'] as const)
    if (schema[key] && typeof schema[key] === 'object') yield schema[key] as Json;
}

function properties(schema: Json): string[] {
  return [...Object.keys(schema.properties ?? {}), ...[...children(schema)].flatMap(properties)];
}

function assertStrict(schema: Json, name: string): void {
  if (schema.type === 'object')
    assert.equal(schema.additionalProperties, false, `${name}: an object takes unknown properties`);
  for (const child of children(schema)) assertStrict(child, name);
}

function assertBounded(schema: Json, name: string): void {
  const shown = `${name}: ${JSON.stringify(schema)}`;
  if (schema.type === 'string' && schema.enum === undefined && schema.const === undefined) {
    // A uuid and an amount bound themselves by their patterns.
    const bounded =
      typeof schema.maxLength === 'number' || schema.format === 'uuid' || /\{0,\d+\}\)\$$/.test(String(schema.pattern));
    assert.equal(bounded, true, shown);
  }
  if (schema.type === 'integer' || schema.type === 'number') assert.equal(typeof schema.maximum, 'number', shown);
  if (schema.type === 'array') assert.equal(typeof schema.maxItems, 'number', shown);
  for (const child of children(schema)) assertBounded(child, name);
}
