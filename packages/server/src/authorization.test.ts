/**
 * Who may call what: every endpoint × every kind of principal × one's own things, a neighbour's in the same project,
 * another tenant's, guessed ids. Each cell is declared below and tried. An endpoint without a row does not compile.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { type EndpointName, endpoints, type PrincipalKind, principalKinds } from '@kedge/core';
import { createTestGateway, type TestGateway, type TestRequest } from './testing/gateway.ts';
import { type Customer, createCustomer, requests, tokenOf } from './testing/requests.ts';

/** One status where the request names nothing that could be somebody else's. */
type Cell = number | readonly [own: number, neighbours: number, otherTenants: number, guessed: number];

const refused = { anonymous: 401, publishable_key: 403, secret_key: 403, user: 403, operator: 403 };
const mine = (status: number): Cell => [status, 404, 404, 404];
const ofProject = (status: number): Cell => [status, status, 404, 404];
const ofAnybody = (status: number): Cell => [status, status, status, 404];

const cells: { readonly [N in EndpointName]: { readonly [K in PrincipalKind]: Cell } } = {
  getEnclave: { anonymous: 200, publishable_key: 200, secret_key: 200, user: 200, operator: 200 },
  createOperatorSession: { ...refused, anonymous: 201 },
  createProject: { ...refused, operator: 201 },
  listProjects: { ...refused, operator: 200 },
  createApiKey: { ...refused, operator: ofAnybody(201) },
  listApiKeys: { ...refused, operator: ofAnybody(200) },
  // The neighbour's project is one's own, so its key has just been revoked.
  revokeApiKey: { ...refused, operator: [204, 404, 204, 404] },

  createToken: { ...refused, secret_key: 201 },
  createUser: { ...refused, publishable_key: 201, secret_key: 201 },
  listUsers: { ...refused, secret_key: 200 },
  getUser: { ...refused, secret_key: ofProject(200), user: mine(200) },
  // Who is meant stands in body and proof; the enclave doesn't know another tenant's user in this project.
  createSession: { ...refused, publishable_key: [201, 201, 403, 403], secret_key: [201, 201, 403, 403] },
  deleteSession: { ...refused, user: 204, operator: 204 },
  createRecovery: { ...refused, publishable_key: [201, 201, 403, 403], secret_key: [201, 201, 403, 403] },
  replaceRecoveryWords: { ...refused, user: mine(200) },
  createClientKey: { ...refused, user: mine(201) },
  listClientKeys: { ...refused, user: mine(200) },
  revokeClientKey: { ...refused, user: mine(204) },

  createVault: { ...refused, user: 201 },
  listVaults: { ...refused, user: 200, secret_key: 200 },
  getVault: { ...refused, user: mine(200), secret_key: ofProject(200) },
  createWallet: { ...refused, user: mine(201) },
  listWallets: { ...refused, user: mine(200), secret_key: ofProject(200) },
  getWallet: { ...refused, user: mine(200), secret_key: ofProject(200) },
  getBalance: { ...refused, user: mine(503), secret_key: ofProject(503) }, // there is no node in this test
  openWallet: { ...refused, user: mine(200) },
  exportWallet: { ...refused, user: mine(200) },
  createTransfer: { ...refused, user: mine(503), secret_key: ofProject(503) },
  deleteTransfer: { ...refused, user: 404, secret_key: 404 }, // nothing was built, as there is no node
  createTransaction: { ...refused, user: mine(400) }, // bytes that are no transaction
  listTransactions: { ...refused, user: mine(200), secret_key: ofProject(200) },
  getTransaction: { ...refused, user: mine(200), secret_key: ofProject(200) },

  createBackupKey: { ...refused, secret_key: 201 },
  listBackupKeys: { ...refused, secret_key: 200 },
  getBackupKey: { ...refused, secret_key: ofProject(200) },
  verifyBackupKey: { ...refused, secret_key: ofProject(200) },
  registerXpub: { ...refused, secret_key: ofProject(200) },
  reportBackupKey: { ...refused, secret_key: ofProject(204) },
  getEncryptionKey: { ...refused, secret_key: 200 },
  storeSecureData: { ...refused, secret_key: 201 },
  storeSecureFile: { ...refused, secret_key: 201 },
  listKeyBackups: { ...refused, secret_key: 200 },
  verifyKeyBackup: { ...refused, secret_key: ofProject(200) },
  createPartnerKey: { ...refused, secret_key: 201 },
  storePartnerData: { ...refused, secret_key: 201 },
  storePartnerFile: { ...refused, secret_key: 201 },

  createApproverList: { ...refused, secret_key: 201 },
  listApproverLists: { ...refused, secret_key: 200 },
  getApproverList: { ...refused, secret_key: ofProject(200) },
  bindApproverList: { ...refused, secret_key: ofProject(200) },
  createListChange: { ...refused, secret_key: ofProject(201) },
  getListChange: { ...refused, secret_key: ofProject(200) },
  voteListChange: { ...refused, publishable_key: ofProject(201), secret_key: ofProject(201) },
  createRehearsal: { ...refused, secret_key: ofProject(201) },
  setDrills: { ...refused, secret_key: ofProject(200) },
  createKeyRecovery: { ...refused, secret_key: ofProject(201) },
  listRecoveries: { ...refused, secret_key: 200 },
  getRecovery: { ...refused, secret_key: ofProject(200) },
  voteRecovery: { ...refused, publishable_key: ofProject(201), secret_key: ofProject(201) },
  cancelRecovery: { ...refused, secret_key: ofProject(200) },
  getColdFiles: { ...refused, secret_key: ofProject(409) }, // it is being voted on
  createThaw: { ...refused, secret_key: ofProject(409) },
  releaseRecovery: { ...refused, secret_key: ofProject(409) },
  completeRecovery: { ...refused, secret_key: ofProject(409) },
  getCertificate: { ...refused, secret_key: ofProject(404) }, // it is no rehearsal

  startRotation: { ...refused, operator: 201 },
  getRotation: { ...refused, operator: 200 },
  destroyServerKey: { ...refused, operator: 409 }, // it is not retired
  createBackup: { ...refused, operator: 201 },
  acceptRestore: { ...refused, operator: 409 }, // the enclave is not sealed
  listLedgerEvents: { ...refused, operator: 200 },
  getLedgerHead: { ...refused, operator: 200 },
};

describe('who may call what', () => {
  let gateway: TestGateway;
  let tenant: Customer;
  let stranger: Customer;
  before(async () => {
    gateway = await createTestGateway();
    tenant = await createCustomer(gateway);
    stranger = await createCustomer(gateway);
    await gateway.scheduler.run('heads');
  });
  after(() => gateway.close());

  // Without its key a tenant makes nothing more that others could ask for, and a rotation blocks backups.
  const last: readonly EndpointName[] = ['revokeApiKey', 'startRotation'];
  const names = (Object.keys(endpoints) as EndpointName[]).sort((a, b) => last.indexOf(a) - last.indexOf(b));
  for (const name of names) {
    it(`${name}: ${endpoints[name].principals.join(', ')}`, async () => {
      const asker = await createCustomer(gateway);
      const neighbour = await createCustomer(gateway, asker.project);
      // Those who are refused first: signing out or recovering ends the sessions that the others come with.
      const kinds = [...principalKinds].sort((a, b) => ownOf(cells[name][b]) - ownOf(cells[name][a]));
      for (const kind of kinds) {
        const cell = cells[name][kind];
        const as = tokenOf(kind, asker);
        const targets = typeof cell === 'number' ? [asker] : [asker, neighbour, tenant];
        const tried: { status: number; code: string | undefined }[] = [];
        for (const target of targets)
          tried.push(await gateway.call(name, { ...(await requests[name](gateway, target)), as }));
        if (typeof cell !== 'number') tried.push(await gateway.call(name, { ...(await guess(name)), as }));
        assert.deepEqual(
          tried.map(({ status }) => status),
          typeof cell === 'number' ? [cell] : cell,
          `${name} by ${kind}: ${tried.map(({ code }) => code)}`,
        );
        for (const { status, code } of tried) if (status === 404) assert.equal(code, 'not_found');
      }
    });
  }

  /** A request that is right but for its ids, which name nothing. */
  const guess = async (name: EndpointName): Promise<TestRequest> => {
    const { params, body, ...request } = await requests[name](gateway, stranger);
    const named = body as { user_id?: string; account?: string } | undefined;
    return {
      ...request,
      ...(params ? { params: Object.fromEntries(Object.keys(params).map((key) => [key, randomUUID()])) } : {}),
      ...(named
        ? {
            body: {
              ...named,
              ...(named.user_id ? { user_id: randomUUID() } : {}),
              ...(named.account ? { account: randomUUID() } : {}),
            },
          }
        : {}),
    };
  };
});

function ownOf(cell: Cell): number {
  return typeof cell === 'number' ? cell : cell[0];
}
