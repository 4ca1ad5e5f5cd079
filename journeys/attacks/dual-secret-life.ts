/**
 * Accounts and wallets of dual-secret as the killer finds them: people sign up, make wallets, recover, and an operator
 * rotates the server key. Whoever is cut off goes on with the same call. It never looks behind the public API.
 */
import { readFileSync } from 'node:fs';
import { fromBase64Url } from '@kedge/core';
import {
  type Account,
  type Client,
  type Connection,
  connectTo,
  createClient,
  importClientKey,
  recover,
  signUp,
  type Wallet,
} from '@kedge/sdk';
import { check, checkRefused } from '../harness/journey.ts';
import type { World } from '../harness/world.ts';
import type { Life, ServiceIsUp } from './killer.ts';

/** Longer than a restart takes on a busy machine. */
const PATIENCE_MS = 60_000;

export const dualSecretActs = [
  'sign-up',
  'create wallet',
  'recover',
  'rotate: start',
  'rotate: rewrap',
  'rotate: finish',
] as const;
type Act = (typeof dualSecretActs)[number];

interface Person {
  account: Account;
  readonly email: string;
  readonly words: string;
  readonly vault: string;
  readonly wallets: Wallet[];
}

export class DualSecretLife implements Life<Act> {
  readonly #world: World;
  readonly #up: ServiceIsUp;
  readonly #people: Person[] = [];
  readonly #secretKey: string;
  #turns = 0;
  #operator!: {
    name: string;
    client: Client;
    connection: Connection;
    key: Awaited<ReturnType<typeof importClientKey>>;
  };

  private constructor(world: World, up: ServiceIsUp, secretKey: string) {
    this.#world = world;
    this.#up = up;
    this.#secretKey = secretKey;
  }

  /** With one person who has a wallet. */
  static async begin(world: World, up: ServiceIsUp): Promise<DualSecretLife> {
    await world.createProject();
    const { key } = (await world.kedge('key', 'create', '--kind', 'secret')).json as { key: string };
    const life = new DualSecretLife(world, up, key);
    life.#operator = await life.#signInOperator();
    await life.acts['sign-up']();
    return life;
  }

  async prepare(act: Act): Promise<void> {
    // An account may be opened 500 times a day, so the same one is not looked at for ever.
    if (++this.#turns % 10 === 0) await this.acts['sign-up']();
    if (act.startsWith('rotate')) await this.#finishRotation();
    if (act === 'rotate: finish') await this.acts['rotate: start']();
  }

  /** Nothing that was answered is lost, nothing is there that was not; wallets open to their addresses. */
  async check(): Promise<void> {
    const { sealed } = this.#world.service!;
    check(sealed === null, `the enclave is not sealed (${sealed})`);
    const asProject = createClient({ url: this.#world.service!.url, token: this.#secretKey });
    const users = await asProject.call('listUsers', { query: { limit: 100 } });
    same(
      users.data.map(({ email }) => email),
      this.#people.map(({ email }) => email),
      'the accounts are those that signed up',
    );
    const looked = this.#turns % 10 === 0 ? this.#people : this.#people.slice(-2);
    for (const { account, vault, wallets } of looked) {
      const listed = await account.client().call('listWallets', { params: { vault_id: vault }, query: { limit: 100 } });
      same(
        listed.data.map(({ address }) => address),
        wallets.map(({ address }) => address),
        'the wallets are those that were made',
      );
      for (const wallet of wallets.slice(-5)) (await account.openWallet(wallet)).fill(0); // the SDK compares the key with the address
    }
  }

  readonly acts: Life<Act>['acts'] = {
    'sign-up': async () => {
      const email = `person-${this.#people.length}@example.org`;
      const { account, words } = await signUp(this.#app(), { email });
      const vault = await account.createVault('savings');
      this.#people.push({ account, email, words, vault: vault.id, wallets: [await account.createWallet(vault.id)] });
    },
    'create wallet': async () => {
      const person = this.#people.at(-1)!;
      person.wallets.push(await person.account.createWallet(person.vault));
    },
    recover: async () => {
      const person = this.#people.at(-1)!;
      const before = person.account;
      person.account = await recover(this.#app(), { account: person.email, words: person.words });
      await checkRefused(before.client().call('listVaults', {}), 'unauthenticated');
    },
    'rotate: start': async () => {
      const { client, connection, key, name } = this.#operator;
      // A second try may find that the first one did start it.
      await client
        .call('startRotation', { proof: connection.prove(key, { act: 'rotate', subject: name }) })
        .catch((error: { code?: string }) => {
          if (error.code !== 'rotation_running') throw error;
        });
    },
    'rotate: rewrap': async () => {
      await this.acts['rotate: start']();
      await this.#finishRotation();
    },
    'rotate: finish': () => this.#finishRotation(),
  };

  /** Lets time pass, as often as it takes. */
  async #finishRotation(): Promise<void> {
    for (let minute = 0; minute < 120; minute++) {
      const { running, versions } = await this.#operator.client.call('getRotation', {});
      const old = versions.filter(({ state }) => state !== 'active');
      if (!running)
        return check(
          old.every(({ wallets, client_secrets: secrets }) => wallets + secrets === 0),
          'nothing is left under an old version',
        );
      await this.#up();
      await this.#world.advance(70_000).catch(() => undefined);
      await pause(250);
    }
    throw new Error('the rotation does not end');
  }

  /** An app that waits while the service is away, and tries no longer than it must. */
  #app() {
    const patient: typeof fetch = async (input, init) => {
      await this.#up();
      return fetch(input, init);
    };
    return { ...this.#world.app(), fetch: patient, patienceMs: PATIENCE_MS };
  }

  async #signInOperator() {
    const { home } = this.#world;
    const name = 'operator-1';
    const file = JSON.parse(readFileSync(home.file('operators', `${name}.json`), 'utf8')) as {
      pkcs8: string;
      public_key: string;
    };
    const key = await importClientKey(fromBase64Url(file.pkcs8), fromBase64Url(file.public_key));
    const { url, fetch, publishableKey } = this.#app();
    const anonymous = createClient({ url, token: null, fetch, patienceMs: PATIENCE_MS });
    const connection = connectTo(anonymous, publishableKey.split('.')[1]!);
    const { token } = await anonymous.call('createOperatorSession', {
      proof: connection.prove(key, { act: 'operator_sign_in', subject: name }),
    });
    return { name, key, connection, client: anonymous.as(token) };
  }
}

function same(found: readonly unknown[], expected: readonly unknown[], claim: string): void {
  const spelled = (list: readonly unknown[]) => [...list].map(String).sort().join(', ');
  check(spelled(found) === spelled(expected), `${claim}: ${spelled(found)} instead of ${spelled(expected)}`);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
