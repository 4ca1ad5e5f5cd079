/**
 * Requests that almost fit, made from the endpoints' own schemas: nothing may answer 5xx, nothing may change, and every
 * refusal is a problem. `FUZZ_RUNS` says how many per endpoint; the volume is that of `npm run test:slow`. The seed is
 * printed, and `FUZZ_SEED` repeats a run.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { type Endpoint, type EndpointName, endpoints, isErrorCode, type PrincipalKind } from '@kedge/core';
import fc from 'fast-check';
import type { z } from 'zod';
import { createTestGateway, type TestGateway, type TestRequest } from './testing/gateway.ts';
import { type Customer, createCustomer, requests, tokenOf } from './testing/requests.ts';

const runs = Number(process.env.FUZZ_RUNS ?? 50);
const seed = Number(process.env.FUZZ_SEED ?? randomInt(2 ** 31));

describe('a request that almost fits', () => {
  let gateway: TestGateway;
  let customer: Customer;
  before(async () => {
    console.log(`fuzz: FUZZ_SEED=${seed} FUZZ_RUNS=${runs}`);
    gateway = await createTestGateway();
    customer = await createCustomer(gateway);
  });
  after(() => gateway.close());

  for (const name of Object.keys(endpoints) as EndpointName[]) {
    it(`is refused by ${name} without a trace`, async () => {
      const endpoint: Endpoint = endpoints[name];
      const kind = endpoint.principals.at(-1) as PrincipalKind;
      const fitting = await requests[name](gateway, customer);
      const before = await footprint(gateway);
      const property = fc.asyncProperty(misfit(endpoint, fitting), async (request) => {
        const { status, code, headers } = await gateway.call(name, { ...request, as: tokenOf(kind, customer) });
        assert.ok(status >= 400 && status < 500, `answered ${status} ${code}`);
        assert.ok(code !== undefined && isErrorCode(code));
        assert.match(String(headers['content-type']), /^application\/problem\+json/);
      });
      await fc.assert(property, { seed, numRuns: runs });
      assert.deepEqual(await footprint(gateway), before);
    });
  }
});

/** What there is in the database: every row that a request could make, and every event but those of refusals. */
async function footprint(gateway: TestGateway): Promise<object> {
  const [counts] = await gateway.db.query(
    `select (select count(*) from events where body not like '%refused"%') as events, (select count(*) from users) as users, (select count(*) from vaults) as vaults,
       (select count(*) from wallets) as wallets, (select count(*) from sessions) as sessions, (select count(*) from backup_keys) as backup_keys,
       (select count(*) from key_backups) as key_backups, (select count(*) from projects) as projects`,
  );
  return counts!;
}

/** A request that fits, with one thing in it that does not. */
function misfit(endpoint: Endpoint, fitting: TestRequest): fc.Arbitrary<TestRequest> {
  const ways: fc.Arbitrary<TestRequest>[] = [
    fc
      .tuple(word, word)
      .filter(([key]) => !(key in (endpoint.query?.shape ?? {})))
      .map(([key, value]) => ({ ...fitting, query: { [key]: value } })),
    // A proof missing or broken, or where none is taken a key for idempotency that can't be one.
    endpoint.proof
      ? fc
          .oneof(fc.constant(undefined), word, fc.base64String({ maxLength: 5_000 }))
          .map((proof) => ({ ...fitting, proof }))
      : word.map((cursor) => ({ ...fitting, query: { cursor, limit: '0' } })),
  ];
  for (const key of Object.keys(endpoint.params?.shape ?? {})) {
    ways.push(
      word
        .filter((value) => !fits(endpoint.params!.shape[key], value))
        .map((value) => ({ ...fitting, params: { ...fitting.params, [key]: value } })),
    );
  }
  if (endpoint.body) {
    const body = fitting.body as Record<string, unknown>;
    const broken = fc
      .tuple(
        fc.constantFrom(...Object.keys(body)),
        fc.oneof(fc.anything({ withBigInt: false }), fc.string({ unit: 'binary' })),
      )
      .map(([key, value]) => ({ ...body, [key]: value }));
    const unknown = fc.tuple(word, fc.jsonValue()).map(([key, value]) => ({ ...body, [key]: value }));
    const other = fc.jsonValue();
    const bodies = fc
      .oneof(broken, unknown, other)
      .map((value) => JSON.parse(JSON.stringify(value ?? null)) as unknown);
    // Well-formed nonsense: it fits the schema and can't be opened, decoded or believed.
    // (What is stored for a key that others keep may name any.)
    const storesData = /^\/v1\/(partner\/)?secure\/data$/.test(endpoint.path);
    const shaped = storesData ? ['data'] : Object.keys(body).filter((key) => key in nonsense);
    if (endpoint.method === 'POST' && 'chain' in body) shaped.push('second_wrap');
    if (shaped.length > 0) {
      ways.push(
        fc
          .constantFrom(...shaped)
          .chain((key) => nonsense[key]!.map((value) => ({ ...fitting, body: { ...body, [key]: value } }))),
      );
    }
    // A body that is a string goes out as it is, so it is spelled as JSON here.
    ways.push(
      bodies
        .filter((value) => !fits(endpoint.body, value))
        .map((value) => ({ ...fitting, body: JSON.stringify(value), headers: { 'content-type': 'application/json' } })),
    );
  }
  return fc.oneof(...ways);
}

const hexOf = (minBytes: number, maxBytes: number) =>
  fc.uint8Array({ minLength: minBytes, maxLength: maxBytes }).map((bytes) => Buffer.from(bytes).toString('hex'));
const base64Url = fc.string({
  maxLength: 300,
  unit: fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'),
});

/** BIP-32, test vector 1: a root, of another key. */
const SOMEBODYS_XPUB =
  'xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8';

const nonsense: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  sealed_recovery: base64Url,
  sealed_passphrase: base64Url,
  second_proof: base64Url,
  public_key: fc.oneof(hexOf(32, 32), hexOf(65, 65), hexOf(0, 65)),
  raw_tx: fc.tuple(fc.constantFrom('', '02', '01', 'f8'), hexOf(1, 200)).map(([type, rest]) => `0x${type}${rest}`),
  xpub: fc.oneof(base64Url, fc.constant(SOMEBODYS_XPUB)),
  data: fc.base64String({ maxLength: 300 }),
  transactions: fc.array(
    fc
      .tuple(fc.constantFrom('', '70736274ff', '02', 'f8'), hexOf(1, 200))
      .map((parts) => Buffer.from(parts.join(''), 'hex').toString('base64')),
    { minLength: 1, maxLength: 3 },
  ),
  account: fc.oneof(base64Url, fc.constantFrom('wpkh(02)', 'wsh(sortedmulti(2,xpub/<0;1>/*))', '0x00')),
  second_wrap: fc.record({
    public_key: fc.oneof(
      hexOf(33, 33),
      hexOf(32, 32).map((x) => `02${x}`),
      hexOf(0, 33),
    ),
    sealed_key: base64Url,
  }),
};

const word = fc
  .oneof(
    fc.string({ minLength: 1, maxLength: 60, unit: 'binary' }),
    fc.webFragments({ size: 'small' }),
    fc.constantFrom('../', '%00', '__proto__', 'constructor', "' or 1=1 --"),
  )
  .filter((text) => text !== '' && isWellFormed(text));

function isWellFormed(text: string): boolean {
  try {
    encodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function fits(schema: unknown, value: unknown): boolean {
  return (schema as z.ZodType).safeParse(value).success;
}
