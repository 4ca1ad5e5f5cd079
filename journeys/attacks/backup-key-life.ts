/**
 * Recoveries by backup keys as the killer finds them: an integrator makes lists and asks, Olive votes with her key and Lea
 * by the link in her mail, the family is alerted and reminded, a release is fetched and completed. Each act has a key and
 * a recovery of its own. It looks at what the public API says and at the letters in the outbox, and at nothing behind them.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { DAY_MS, MINUTE_MS, toBase64Url } from '@kedge/core';
import {
  type BackupKeyService,
  backupKeys,
  type Client,
  type ClientKey,
  connectTo,
  createClient,
  createClientKey,
  type RecoveryService,
  recoveries,
  thumbprintOf,
} from '@kedge/sdk';
import { computeAddress, Transaction } from 'ethers';
import { check } from '../harness/journey.ts';
import type { World } from '../harness/world.ts';
import type { Life, ServiceIsUp } from './killer.ts';

export const backupKeyActs = [
  'make list',
  'request',
  'vote by key',
  'vote by link',
  'alert',
  'remind',
  'release',
  'complete',
] as const;
type Act = (typeof backupKeyActs)[number];

const LEA = 'lea@example.org';
export const FAMILY = 'family@example.org';
/** Longer than a restart takes on a busy machine. */
const PATIENCE_MS = 60_000;
/** A letter or a step that a crash cut off is tried again after at most a few of these. */
const STEP_MS = MINUTE_MS;
const STEPS_MAX = 60;

/** One key, and what was answered about it so far. */
export interface Case {
  readonly key: string;
  readonly address: string;
  readonly coolingMs: number;
  list: { readonly id: string; readonly olive: string; readonly lea: string } | null;
  recovery: string | null;
  /** Ids of the approvers whose votes were acknowledged. */
  readonly votes: Set<string>;
  /** Letters that each address must have had by now. */
  readonly letters: Map<string, number>;
  released: string | null;
  completed: boolean;
}

export class BackupKeyLife implements Life<Act> {
  readonly #world: World;
  readonly #up: ServiceIsUp;
  readonly #client: Client;
  readonly #keys: BackupKeyService;
  readonly #approvals: RecoveryService;
  readonly #olive: ClientKey;
  #lists = 0;
  #cases = 0;
  #case!: Case;

  private constructor(world: World, up: ServiceIsUp, secretKey: string, project: string, olive: ClientKey) {
    const { url, publishableKey } = world.app();
    const pin = thumbprintOf(publishableKey);
    const patient: typeof fetch = async (input, init) => {
      await up();
      return fetch(input, init);
    };
    this.#world = world;
    this.#up = up;
    this.#client = createClient({ url, token: secretKey, fetch: patient, patienceMs: PATIENCE_MS });
    this.#keys = backupKeys({ client: this.#client, pin, project });
    this.#approvals = recoveries({ client: this.#client, connection: connectTo(this.#client, pin), project });
    this.#olive = olive;
  }

  static async begin(world: World, up: ServiceIsUp): Promise<BackupKeyLife> {
    const { secretKey, projectId } = await world.createProject();
    return new BackupKeyLife(world, up, secretKey, projectId, await createClientKey({ extractable: false }));
  }

  async prepare(act: Act): Promise<void> {
    this.#case = await this.newCase(act === 'remind' ? 2 * DAY_MS : 0);
    const before: { readonly [A in Act]: readonly Act[] } = {
      'make list': [],
      request: ['make list'],
      'vote by key': ['make list', 'request'],
      'vote by link': ['make list', 'request'],
      alert: ['make list'],
      remind: ['make list', 'alert'],
      release: ['make list', 'alert'],
      complete: ['make list', 'alert', 'release'],
    };
    for (const earlier of before[act]) await this.acts[earlier]();
    // Her link is what she acts on.
    if (act === 'vote by link') await this.lettersArrive(this.#case, LEA, 1);
  }

  readonly acts: Life<Act>['acts'] = {
    'make list': () => this.makeList(this.#case),
    request: () => this.request(this.#case),
    'vote by key': () => this.voteByKey(this.#case),
    'vote by link': () => this.voteByLink(this.#case),
    alert: async () => {
      await this.startCooling(this.#case);
      if (this.#case.coolingMs === 0) await this.reaches(this.#case, 'releasable');
    },
    remind: async () => {
      const now = this.#case;
      for (let hour = 0; hour < 24; hour += 6) await this.passes(6 * 60 * MINUTE_MS);
      // The first reminder of two days is the last warning's day too. A process that was killed had not passed all of that time.
      await this.lettersArrive(now, FAMILY, 3, 30 * MINUTE_MS);
    },
    release: () => this.release(this.#case),
    complete: async () => {
      await this.#client.call('completeRecovery', {
        params: { recovery_id: this.#case.recovery! },
        body: { outcome: 'completed', transaction_ids: [Transaction.from(this.#case.released!).hash!.slice(2)] },
      });
      this.#case.completed = true;
    },
  };

  async newCase(coolingMs: number): Promise<Case> {
    const user = `customer-${this.#cases++}`;
    const { key_id, public_key } = await this.#keys.create({ user_identifier: user, key_type: 'secp256k1' });
    return {
      ...{ key: key_id, address: computeAddress(`0x${public_key}`), coolingMs, list: null, recovery: null },
      ...{ votes: new Set(), letters: new Map(), released: null, completed: false },
    };
  }

  async makeList(now: Case): Promise<void> {
    const user = `customer-${this.#cases - 1}`;
    this.#lists += 1;
    // It compares what the enclave confirms with what was asked for.
    const { listId, rules } = await this.#approvals.protect(now.key, user, {
      name: `Judges of ${user}`,
      approvers: [
        { name: 'Olive', public_key: `p256:${toBase64Url(this.#olive.publicKey)}` },
        { name: 'Lea', email: LEA },
      ],
      policy: { kind: 'exact', count: 2 },
      cooling_period_s: now.coolingMs / 1_000,
    });
    now.list = { id: listId, olive: rules.approvers[0]!.id, lea: rules.approvers[1]!.id };
  }

  async request(now: Case): Promise<void> {
    const { chainId } = this.#world.evm;
    const { unsignedSerialized } = Transaction.from({
      ...{ type: 2, chainId, nonce: 0, to: now.address, value: 1n },
      ...{ gasLimit: 21_000n, maxFeePerGas: 2_000_000_000n, maxPriorityFeePerGas: 1n },
    });
    const { recovery_id } = await this.#client.call('createKeyRecovery', {
      params: { key_id: now.key },
      body: {
        network: `eip155:${chainId}`,
        account: now.address,
        transactions: [Buffer.from(unsignedSerialized.slice(2), 'hex').toString('base64')],
        participants: [FAMILY],
      },
    });
    now.recovery = recovery_id;
    now.letters.set(LEA, 1).set(FAMILY, 1);
  }

  async voteByKey(now: Case): Promise<void> {
    const { plan } = await this.#approvals.read(now.recovery!);
    await this.#approvals.vote(plan, { id: now.list!.olive, key: this.#olive }, 'approve');
    now.votes.add(now.list!.olive);
  }

  /** A browser: whoever sees no answer presses again, and a link that does nothing any more has done it. */
  async voteByLink(now: Case): Promise<void> {
    const link = /https?:\/\/\S+\/approvals\/[^\s<>"]+/.exec(this.lettersTo(now, LEA)[0]!)![0];
    for (let presses = 1; ; presses++) {
      await this.#up();
      const status = await fetch(link, {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: 'choice=approve',
      }).then(
        (answer) => answer.status,
        () => 0,
      );
      if (status === 200 || (status === 404 && presses > 1)) break;
      check(status !== 404 && presses < 20, `Lea’s button answers ${status} at press ${presses}`);
      await pause(200);
    }
    now.votes.add(now.list!.lea);
  }

  /** Asked for and approved by both; the family has had its alert. */
  async startCooling(now: Case): Promise<void> {
    await this.request(now);
    await this.lettersArrive(now, LEA, 1);
    await this.lettersArrive(now, FAMILY, 1);
    await this.voteByKey(now);
    await this.voteByLink(now);
  }

  async release(now: Case): Promise<void> {
    now.released = await this.#signed(now);
    const { from } = Transaction.from(now.released);
    check(from === now.address, 'ethers finds the key that signed');
  }

  async reaches(now: Case, status: string): Promise<void> {
    await this.#goesOn(async () => (await this.look(now)).status === status, `the recovery is ${status}`);
  }

  /** `stepMs`: how much time passes between two looks, for at most {@link STEPS_MAX} of them. */
  async lettersArrive(now: Case, to: string, count: number, stepMs = STEP_MS): Promise<void> {
    now.letters.set(to, count);
    await this.#goesOn(async () => this.lettersTo(now, to).length >= count, `${to} has ${count} letters`, stepMs);
  }

  look(now: Case) {
    return this.#client.call('getRecovery', { params: { recovery_id: now.recovery! } });
  }

  /** Texts of the letters in the outbox that somebody got about it. */
  lettersTo(now: Case, to: string): readonly string[] {
    const folder = this.#world.home.file('outbox');
    const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.eml')) : [];
    return names
      .map((name) =>
        readFileSync(`${folder}/${name}`, 'utf8')
          .replace(/=\r?\n/g, '')
          .replace(/=3D/g, '='),
      )
      .filter((text) => new RegExp(`^To: .*${to}`, 'mi').test(text) && text.includes(now.recovery!));
  }

  async check(): Promise<void> {
    const { sealed } = this.#world.service!;
    check(sealed === null, `the enclave is not sealed (${sealed})`);
    const now = this.#case;
    const lists = await this.#all('listApproverLists');
    check(lists.length === this.#lists, `${lists.length} lists instead of ${this.#lists}`);
    for (const { approvers, name } of lists as readonly { approvers: readonly unknown[]; name: string }[])
      check(approvers.length === 2, `${name} has both its approvers`);
    if (now.list !== null)
      await this.#client.call('bindApproverList', {
        params: { key_id: now.key },
        body: { approver_list_id: now.list.id },
      });
    if (now.recovery === null) return;
    const asked = (await this.#all('listRecoveries')) as readonly { key_id: string }[];
    check(asked.filter(({ key_id }) => key_id === now.key).length === 1, 'it was asked for once');
    const { ballots, status } = await this.look(now);
    const counted = ballots.filter(({ choice }) => choice === 'approve').map(({ approver_id }) => approver_id);
    check(
      String(counted.sort()) === String([...now.votes].sort()),
      `the votes are those acknowledged: ${counted} instead of ${[...now.votes]}`,
    );
    // By now everything that waited may have been sent again.
    for (let turn = 0; turn < 2; turn++) await this.passes(STEP_MS);
    for (const [to, count] of now.letters) {
      await this.lettersArrive(now, to, count);
      check(this.lettersTo(now, to).length === count, `${to} has ${count} letters, none twice`);
    }
    if (now.completed) check(status === 'completed', `it is ${status}, and was completed`);
    else if (now.released !== null) check((await this.#signed(now)) === now.released, 'the same signatures again');
  }

  /** Lets time pass, whatever is killed meanwhile. */
  async passes(ms: number): Promise<void> {
    await this.#up();
    await this.#world.advance(ms).catch(() => undefined);
  }

  async #goesOn(isThere: () => Promise<boolean>, claim: string, stepMs = STEP_MS): Promise<void> {
    for (let step = 0; step < STEPS_MAX; step++) {
      if (await isThere()) return;
      await this.passes(stepMs);
      await pause(20);
    }
    check(false, claim);
  }

  async #signed(now: Case): Promise<string> {
    const params = { recovery_id: now.recovery! };
    const { transactions } = await this.#client.call('releaseRecovery', { params, body: {} });
    return `0x${Buffer.from(transactions[0]!, 'base64').toString('hex')}`;
  }

  async #all(name: 'listApproverLists' | 'listRecoveries'): Promise<readonly unknown[]> {
    const found: unknown[] = [];
    for (let cursor: string | undefined; ; ) {
      const page = await this.#client.call(name, { query: { limit: 100, ...(cursor ? { cursor } : {}) } });
      found.push(...page.data);
      if (!page.next_cursor) return found;
      cursor = page.next_cursor;
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
