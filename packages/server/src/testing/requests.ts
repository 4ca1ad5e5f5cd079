/**
 * For every endpoint, a request that fits: what an owner would send about their own things. The authorisation matrix
 * and the fuzz test start from these and change one thing. A new endpoint without a line here does not compile.
 */
import { createHash, randomUUID } from 'node:crypto';
import { evmCodec, formatExtendedKey, rootExtendedKey } from '@kedge/chains';
import {
  approverSubject,
  bytesToHex,
  type EndpointName,
  fromBase64Url,
  hexToBytes,
  type PrincipalKind,
  sealTo,
  toBase64Url,
  userSubject,
  utf8ToBytes,
} from '@kedge/core';
import { Transaction } from 'ethers';
import {
  ada,
  ben,
  createTestKey,
  createTestProject,
  createTestUser,
  createWalletParameters,
  sealWords,
  type TestGateway,
  type TestProject,
  type TestProof,
  type TestRequest,
  type TestUser,
} from './gateway.ts';

/** A customer with one of everything. */
export interface Customer {
  readonly project: TestProject;
  readonly user: TestUser;
  readonly apiKey: string;
  readonly vault: string;
  readonly wallet: string;
  readonly transaction: string;
  readonly backupKey: string;
  readonly backupPublicKey: string;
  readonly keyBackup: string;
}

/** In a project of their own unless one is given. */
export async function createCustomer(gateway: TestGateway, given?: TestProject): Promise<Customer> {
  const project = given ?? (await createTestProject(gateway));
  const user = await createTestUser(gateway, project);
  const vault = await user.createVault();
  const wallet = (await user.createWallet(vault)).id;
  const { data } = await gateway.get('listApiKeys', { as: project.operator, params: { project_id: project.id } });
  const transaction = randomUUID();
  await gateway.db.query(
    `insert into transactions (project, id, user_id, wallet_id, chain, tx_hash, raw, status, intent, created_at)
     values ($1, $2, $3, $4, 'evm', '0x00', '\\x00', 'completed', $5, now())`,
    [
      project.id,
      transaction,
      user.id,
      wallet,
      { chain: 'evm', network: 'eip155:31337', from: null, outputs: [], fee_max: '0', warnings: [] },
    ],
  );
  const { key_id: backupKey, public_key: backupPublicKey } = await gateway.get('createBackupKey', {
    as: project.secretKey,
    body: { user_identifier: 'customer-17', key_type: 'secp256k1' },
  });
  const { backup_id: keyBackup } = await gateway.get('storeSecureData', {
    as: project.secretKey,
    body: { public_key: backupPublicKey, data: Buffer.alloc(512, 7).toString('base64') },
  });
  return { project, user, apiKey: data[0]!.id, vault, wallet, transaction, backupKey, backupPublicKey, keyBackup };
}

/** Two approvers, one with a key, who must both approve: what the first one votes decides nothing. */
export const approver = createTestKey();

const twoApprovers = {
  name: 'the family',
  approvers: [
    { name: 'Cara', public_key: `ed25519:${toBase64Url(approver.publicKey)}` },
    { name: 'Dan', email: 'dan@example.org', veto: true },
  ],
  policy: { kind: 'exact', count: 2 },
};

/** Made when a request is first about it, once for each customer. */
function onceEach<T>(make: (gateway: TestGateway, customer: Customer) => Promise<T>) {
  const made = new WeakMap<Customer, Promise<T>>();
  return (gateway: TestGateway, customer: Customer): Promise<T> => {
    const known = made.get(customer) ?? make(gateway, customer);
    made.set(customer, known);
    return known;
  };
}

const createList = (gateway: TestGateway, { project }: Customer) =>
  gateway.get('createApproverList', { as: project.secretKey, body: twoApprovers });
const listOf = onceEach(createList);
const changeOf = onceEach(async (gateway, customer) => {
  const list = await listOf(gateway, customer);
  const change = await gateway.get('createListChange', {
    as: customer.project.secretKey,
    params: { list_id: list.approver_list_id },
    body: twoApprovers,
  });
  return { ...change, approver: list.approvers[0]!.approver_id };
});
/** Of a list of its own: one that decides over a recovery is frozen. */
const boundListOf = onceEach(async (gateway, customer) => {
  const list = await createList(gateway, customer);
  await gateway.get('bindApproverList', {
    as: customer.project.secretKey,
    params: { key_id: customer.backupKey },
    body: { approver_list_id: list.approver_list_id },
  });
  return list;
});
const recoveryBody = ({ backupPublicKey }: Customer) => ({
  network: 'eip155:31337',
  account: evmCodec(31_337).account(hexToBytes(backupPublicKey)),
  transactions: [Buffer.from(unsignedTransfer().slice(2), 'hex').toString('base64')],
  participants: ['eve@example.org'],
});
const recoveryOf = onceEach(async (gateway, customer) => {
  const list = await boundListOf(gateway, customer);
  const recovery = await gateway.get('createKeyRecovery', {
    as: customer.project.secretKey,
    params: { key_id: customer.backupKey },
    body: recoveryBody(customer),
  });
  return { ...recovery, approver: list.approvers[0]!.approver_id };
});
const ofRecovery = async (gateway: TestGateway, customer: Customer) => ({
  params: { recovery_id: (await recoveryOf(gateway, customer)).recovery_id },
});

export function unsignedTransfer(nonce = 0): string {
  return Transaction.from({
    type: 2,
    chainId: 31_337,
    nonce,
    to: '0x000000000000000000000000000000000000dEaD',
    value: 1_000n,
    gasLimit: 21_000n,
    maxFeePerGas: 2_000_000_000n,
    maxPriorityFeePerGas: 1_000_000_000n,
  }).unsignedSerialized;
}

export function tokenOf(kind: PrincipalKind, { project, user }: Customer): string | undefined {
  switch (kind) {
    case 'anonymous':
      return undefined;
    case 'publishable_key':
      return project.publishableKey;
    case 'secret_key':
      return project.secretKey;
    case 'user':
      return user.session;
    case 'operator':
      return project.operator;
  }
}

type Requests = {
  readonly [N in EndpointName]: (gateway: TestGateway, customer: Customer) => Promise<Omit<TestRequest, 'as'>>;
};

const operatorProof = (gateway: TestGateway, act: TestProof['act'], parameters = {}) =>
  gateway.prove(ada, { act, subject: 'ada', parameters });
const secondProof = async (gateway: TestGateway, act: TestProof['act'], parameters = {}) => ({
  second_proof: await gateway.prove(ben, { act, subject: 'ben', parameters }),
});
const nothing = async () => ({});
const storedData = { public_key: '02'.repeat(33), data: Buffer.alloc(512, 7).toString('base64') };

export const requests: Requests = {
  getEnclave: nothing,
  createOperatorSession: async (gateway) => ({ proof: await operatorProof(gateway, 'operator_sign_in') }),
  createProject: async () => ({ body: { name: 'another', environment: 'sandbox' } }),
  listProjects: nothing,
  createApiKey: async (_, { project }) => ({
    params: { project_id: project.id },
    body: { kind: 'secret', label: 'another' },
  }),
  listApiKeys: async (_, { project }) => ({ params: { project_id: project.id } }),
  revokeApiKey: async (_, { project, apiKey }) => ({ params: { project_id: project.id, api_key_id: apiKey } }),

  createToken: async () => ({ body: { scopes: ['keys:read'] } }),
  createUser: async (gateway) => {
    const { sealed_recovery, prove } = await sealWords(gateway, 'sign_up', {
      subject: '',
      key: createTestKey(),
      words: new Uint8Array(32),
    });
    return { body: { sealed_recovery }, proof: await prove() };
  },
  listUsers: nothing,
  getUser: async (_, { user }) => ({ params: { user_id: user.id } }),
  createSession: async (_, { user }) => ({ body: { user_id: user.id }, proof: await user.prove('sign_in') }),
  deleteSession: nothing,
  createRecovery: async (gateway, { user }) => {
    const { sealed_recovery, prove } = await sealWords(gateway, 'recover', {
      subject: user.id,
      key: createTestKey(),
      words: user.words,
    });
    return { body: { account: user.id, sealed_recovery }, proof: await prove() };
  },
  replaceRecoveryWords: async (gateway, { project, user }) => {
    const { sealed_recovery, prove } = await sealWords(gateway, 'replace_words', {
      subject: userSubject(project.id, user.id),
      key: user.key,
      words: new Uint8Array(32),
    });
    return { params: { user_id: user.id }, body: { sealed_recovery }, proof: await prove() };
  },
  createClientKey: async (_, { user }) => {
    const { algorithm, publicKey } = createTestKey();
    return {
      params: { user_id: user.id },
      body: { algorithm, public_key: bytesToHex(publicKey), label: 'another' },
      proof: await user.prove('enroll_client_key', { algorithm, public_key: publicKey }),
    };
  },
  listClientKeys: async (_, { user }) => ({ params: { user_id: user.id } }),
  revokeClientKey: async (gateway, { user }) => {
    // Not the last one, which can't be revoked.
    const { algorithm, publicKey } = createTestKey();
    const added = await gateway.get('createClientKey', {
      as: user.session,
      params: { user_id: user.id },
      body: { algorithm, public_key: bytesToHex(publicKey), label: 'short-lived' },
      proof: await user.prove('enroll_client_key', { algorithm, public_key: publicKey }),
    });
    return {
      params: { user_id: user.id, client_key_id: added.client_key.id },
      proof: await user.prove('revoke_client_key', { algorithm, public_key: publicKey }),
    };
  },

  createVault: async () => ({ body: { scheme: 'dual-secret', label: 'another' } }),
  listVaults: nothing,
  getVault: async (_, { vault }) => ({ params: { vault_id: vault } }),
  createWallet: async (_, { user, vault }) => ({
    params: { vault_id: vault },
    body: { chain: 'evm' },
    proof: await user.prove('create_wallet', createWalletParameters(vault)),
  }),
  listWallets: async (_, { vault }) => ({ params: { vault_id: vault } }),
  getWallet: async (_, { wallet }) => ({ params: { wallet_id: wallet } }),
  getBalance: async (_, { wallet }) => ({ params: { wallet_id: wallet } }),
  openWallet: async (_, { user, wallet }) => ({
    params: { wallet_id: wallet },
    proof: await user.prove('open_wallet', { wallet }, basePoint),
  }),
  exportWallet: async (_, { user, wallet }) => ({
    params: { wallet_id: wallet },
    proof: await user.prove('export_wallet', { wallet }, basePoint),
  }),
  createTransfer: async (_, { wallet }) => ({
    params: { wallet_id: wallet },
    body: { to: `0x${'11'.repeat(20)}`, amount: '1' },
  }),
  deleteTransfer: async (_, { wallet }) => ({ params: { wallet_id: wallet, transfer_id: randomUUID() } }),
  createTransaction: async (_, { wallet }) => ({ params: { wallet_id: wallet }, body: { raw_tx: '0x02' } }),
  listTransactions: async (_, { wallet }) => ({ params: { wallet_id: wallet } }),
  getTransaction: async (_, { transaction }) => ({ params: { transaction_id: transaction } }),

  createBackupKey: async () => ({ body: { user_identifier: 'customer-18', key_type: 'ed25519' } }),
  listBackupKeys: nothing,
  getBackupKey: async (_, { backupKey }) => ({ params: { key_id: backupKey } }),
  verifyBackupKey: async (_, { backupKey }) => ({ params: { key_id: backupKey } }),
  registerXpub: async (_, { backupKey, backupPublicKey }) => {
    const root = rootExtendedKey(hexToBytes(backupPublicKey), new Uint8Array(32).fill(1));
    return { params: { key_id: backupKey }, body: { xpub: formatExtendedKey(root, 'test') } };
  },
  reportBackupKey: async (_, { backupKey }) => ({ params: { key_id: backupKey }, body: { reason: 'signature' } }),
  getEncryptionKey: nothing,
  storeSecureData: async () => ({ body: storedData }),
  storeSecureFile: async () => formRequest({ file: new Uint8Array(1_000).fill(7) }),
  listKeyBackups: nothing,
  verifyKeyBackup: async (_, { keyBackup }) => ({ params: { backup_id: keyBackup } }),
  createPartnerKey: async () => ({
    body: {
      user_identifier: randomUUID(),
      key_type: 'ed25519',
      key_environment: 'HOT',
      organisation: { customer_id: 'bank-1' },
      package: { package_id: 'gold' },
    },
  }),
  storePartnerData: async () => ({ body: storedData }),
  storePartnerFile: async () => formRequest({ file: new Uint8Array(1_000).fill(7) }),

  createApproverList: async () => ({ body: twoApprovers }),
  listApproverLists: nothing,
  getApproverList: async (gateway, customer) => ({
    params: { list_id: (await listOf(gateway, customer)).approver_list_id },
  }),
  bindApproverList: async (gateway, customer) => ({
    params: { key_id: customer.backupKey },
    body: { approver_list_id: (await boundListOf(gateway, customer)).approver_list_id },
  }),
  createListChange: async (gateway, customer) => ({
    params: { list_id: (await listOf(gateway, customer)).approver_list_id },
    body: twoApprovers,
  }),
  getListChange: async (gateway, customer) => {
    const { approver_list_id: list_id, change_id } = await changeOf(gateway, customer);
    return { params: { list_id, change_id } };
  },
  voteListChange: async (gateway, customer) => {
    const { approver_list_id: list, change_id: change, rules_hash, approver: id } = await changeOf(gateway, customer);
    return {
      params: { list_id: list, change_id: change },
      body: { approver_id: id, choice: 'approve' },
      proof: await gateway.prove(approver, {
        act: 'vote_list_change',
        subject: approverSubject(customer.project.id, list, id),
        parameters: { change, rules: hexToBytes(rules_hash), choice: 'approve' },
      }),
    };
  },
  createRehearsal: async (_, { backupKey }) => ({ params: { key_id: backupKey } }),
  setDrills: async (_, { backupKey }) => ({
    params: { key_id: backupKey },
    body: { every_days: 90, remind: ['eve@example.org'] },
  }),
  createKeyRecovery: async (gateway, customer) => {
    await boundListOf(gateway, customer);
    return { params: { key_id: customer.backupKey }, body: recoveryBody(customer) };
  },
  listRecoveries: nothing,
  getRecovery: ofRecovery,
  voteRecovery: async (gateway, customer) => {
    const {
      recovery_id: recovery,
      plan_hash,
      approver_list_id: list,
      approver: id,
    } = await recoveryOf(gateway, customer);
    return {
      params: { recovery_id: recovery },
      body: { approver_id: id, choice: 'approve' },
      proof: await gateway.prove(approver, {
        act: 'vote_recovery',
        subject: approverSubject(customer.project.id, list, id),
        parameters: { recovery, plan: hexToBytes(plan_hash), choice: 'approve' },
      }),
    };
  },
  cancelRecovery: ofRecovery,
  getColdFiles: ofRecovery,
  createThaw: async (gateway, customer) => ({
    ...(await ofRecovery(gateway, customer)),
    body: { sealed_share: 'AAAA' },
  }),
  releaseRecovery: async (gateway, customer) => ({
    ...(await ofRecovery(gateway, customer)),
    body: { transactions: recoveryBody(customer).transactions },
  }),
  completeRecovery: async (gateway, customer) => ({
    ...(await ofRecovery(gateway, customer)),
    body: { outcome: 'completed' },
  }),
  getCertificate: ofRecovery,

  startRotation: async (gateway) => ({ proof: await operatorProof(gateway, 'rotate') }),
  getRotation: nothing,
  destroyServerKey: async (gateway) => ({
    params: { version: '1' },
    body: await secondProof(gateway, 'destroy_server_key', { version: 1 }),
    proof: await operatorProof(gateway, 'destroy_server_key', { version: 1 }),
  }),
  createBackup: async (gateway) => {
    const document = JSON.parse(new TextDecoder().decode((await gateway.enclave.enclave.attestation()).document)) as {
      sealing_key: string;
    };
    const sealed = Buffer.from(await sealPassphrase(document.sealing_key));
    const parameters = { sealed_passphrase: new Uint8Array(createHash('sha256').update(sealed).digest()) };
    return {
      body: { sealed_passphrase: sealed.toString('base64url') },
      proof: await operatorProof(gateway, 'back_up', parameters),
    };
  },
  acceptRestore: async (gateway) => ({
    body: await secondProof(gateway, 'accept_restore'),
    proof: await operatorProof(gateway, 'accept_restore'),
  }),
  listLedgerEvents: nothing,
  getLedgerHead: nothing,
};

/** A multipart form with one file, as a program would send it. */
export function formRequest(form: {
  readonly file: Uint8Array;
  readonly type?: string;
  readonly fields?: Readonly<Record<string, string>>;
}): Pick<TestRequest, 'body' | 'headers'> {
  const boundary = `----${randomUUID()}`;
  const parts = Object.entries(form.fields ?? {}).map(
    ([name, value]) => `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  );
  const head = `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="backup.bin"\r\ncontent-type: ${form.type ?? 'application/octet-stream'}\r\n\r\n`;
  return {
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
    body: Buffer.concat([Buffer.from(parts.join('') + head), form.file, Buffer.from(`\r\n--${boundary}--\r\n`)]),
  };
}

/** X25519 of RFC 7748: something that can be sealed to. */
const basePoint = new Uint8Array(32).with(0, 9);

function sealPassphrase(sealingKey: string): Promise<Uint8Array> {
  return sealTo(
    fromBase64Url(sealingKey),
    utf8ToBytes('correct horse'),
    utf8ToBytes('kedge/backup-passphrase/v1'),
    new Uint8Array(),
  );
}
