/**
 * A device that keeps its sharings by the rules of `sharing-status.ts`: what a co-signer or an app does around sessions. It
 * stores first, exchanges signed notices with whoever is there, and acts only on what is stored; a crash loses what was in
 * memory and nothing else.
 */
import { equalBytes, toHex } from '../bytes.ts';
import type { KeyShare, OtSetup } from '../key-share.ts';
import { type Notice, signNotice, verifyNotice } from '../notice.ts';
import { type SelfTestSignature, selfTests } from '../self-test.ts';
import type { NewShares, SharingRecord, SharingStore } from '../sharing.ts';
import {
  abort,
  discard,
  erase,
  learn,
  mayAbort,
  mayDiscard,
  mayErase,
  maySelfTest,
  maySign,
  newSharing,
  type SharingState,
  settle,
} from '../sharing-status.ts';
import type { SuiteName } from '../suite.ts';
import { type Device, play, type Seat, type Tamper, testCrypto } from './devices.ts';
import { ecdsaSeats, frostSeats, type Holder } from './wallets.ts';

type Terms = Pick<SharingState, 'role' | 'dealers' | 'supersedes'>;

export class Keeper implements SharingStore {
  readonly device: Device;
  states: SharingState[] = [];
  /** Key shares by sharing id: gone when erased or discarded. */
  readonly shares = new Map<string, readonly KeyShare[]>();
  /** OT set-ups by sharing id, kept and erased with the shares. */
  readonly setups = new Map<string, readonly OtSetup[]>();
  /** Of the session that is running. */
  terms: Terms | null = null;

  constructor(device: Device) {
    this.device = device;
  }

  get key(): Uint8Array {
    return this.device.identity.publicKey;
  }

  async savePending(record: SharingRecord, own: NewShares): Promise<void> {
    // Counted as confirmed from here on: the notice leaves next, and nobody can tell whether it arrived.
    this.states.push(newSharing({ record, ...this.terms!, holder: this.key, confirmed: true }));
    this.shares.set(toHex(record.sharingId), structuredClone(own.shares));
    this.keepSetups(record.sharingId, structuredClone(own.setups));
  }

  keepSetups(sharingId: Uint8Array, setups: readonly OtSetup[]): void {
    this.setups.set(toHex(sharingId), setups);
    for (const { id } of setups) this.device.pairs.add(id);
  }

  async saveConfirmed(record: SharingRecord, confirmations: readonly Notice[]): Promise<void> {
    if (!this.find(record.sharingId))
      this.states.push(newSharing({ record, ...this.terms!, holder: null, confirmed: false }));
    await this.hear(confirmations);
  }

  find(id: Uint8Array): SharingState | undefined {
    return this.states.find(({ record }) => equalBytes(record.sharingId, id));
  }

  change(next: SharingState): void {
    this.states = this.states.map((state) =>
      equalBytes(state.record.sharingId, next.record.sharingId) ? next : state,
    );
  }

  async hear(notices: readonly Notice[], tests: readonly SelfTestSignature[] = []): Promise<void> {
    const genuine: Notice[] = [];
    for (const notice of notices) {
      const state = this.find(notice.sharingId);
      const isKnown = state?.notices.some(
        ({ kind, identityKey }) => kind === notice.kind && equalBytes(identityKey, notice.identityKey),
      );
      if (state && !isKnown && (await verifyNotice(notice, testCrypto))) genuine.push(notice);
    }
    this.states = settle(this.states.map((state) => learn(state, { notices: genuine, selfTests: tests })));
  }

  /** What this device can say about every sharing that it has: safe to repeat, whenever somebody asks. */
  async say(): Promise<Notice[]> {
    const said = this.states.flatMap(({ notices }) => notices);
    for (const { record, confirmed, holder, aborted, status } of this.states) {
      const { sharingId, digest } = record;
      const { identity } = this.device;
      if (aborted) said.push(await signNotice('abort', sharingId, new Uint8Array(32), identity));
      if (!holder || aborted) continue;
      if (confirmed) said.push(await signNotice('confirm', sharingId, digest, identity));
      if (status === 'active') said.push(await signNotice('active', sharingId, new Uint8Array(32), identity));
    }
    return said;
  }

  callOff(id: Uint8Array): void {
    const state = this.find(id);
    if (state && mayAbort(state)) this.change(abort(state));
  }

  /** Forgets whatever the rules allow it to forget. */
  forget(): void {
    for (const state of this.states) {
      if (mayErase(state, this.states, { backupProven: true }))
        this.change(erase(state, this.states, { backupProven: true }));
      else if (mayDiscard(state, this.states)) this.change(discard(state, this.states));
      else continue;
      this.shares.delete(toHex(state.record.sharingId));
    }
  }

  /** Whether this device would sign with its share of this sharing. */
  signs(id: Uint8Array): boolean {
    const state = this.find(id);
    return state !== undefined && maySign(state) && this.shares.has(toHex(id));
  }

  holder(id: Uint8Array): Holder {
    const shares = this.shares.get(toHex(id))!;
    return {
      index: shares[0]!.index,
      device: this.device,
      shares: new Map(shares.map((share) => [share.suite, share])),
      setups: new Map((this.setups.get(toHex(id)) ?? []).map((setup) => [setup.peer, [setup]])),
    };
  }
}

/** Signs the digest under the root key, with whatever the suite signs with. */
export function seatsOf(
  suite: SuiteName,
  holders: readonly Holder[],
  digest: Uint8Array,
): Seat<{ bytes: Uint8Array }>[] {
  return suite === 'ecdsa-secp256k1'
    ? ecdsaSeats(holders, { digest })
    : frostSeats(holders, { suite, message: digest });
}

/** All devices that are reachable tell each other everything, and run the self-tests that are due. */
export async function talk(keepers: readonly Keeper[], relay?: Tamper): Promise<void> {
  for (let pass = 0; pass < 2; pass++) {
    const said = (await Promise.all(keepers.map((keeper) => keeper.say()))).flat();
    const tests = keepers.flatMap(({ states }) => states.flatMap(({ selfTests }) => selfTests));
    for (const keeper of keepers) await keeper.hear(said, tests);
    const ids = new Map(keepers.flatMap(({ states }) => states.map(({ record }) => [toHex(record.sharingId), record])));
    for (const record of ids.values()) {
      const made: SelfTestSignature[] = [];
      for (const root of record.roots)
        for (const { signers, digest } of selfTests(root)) {
          const seated = keepers.filter((keeper) => {
            const state = keeper.find(record.sharingId);
            if (!state || !maySelfTest(state) || state.selfTests.some((each) => equalBytes(each.digest, digest)))
              return false;
            return signers.includes(keeper.shares.get(toHex(record.sharingId))![0]!.index);
          });
          if (seated.length < signers.length) continue;
          const holders = seated.map((keeper) => keeper.holder(record.sharingId)).sort((a, b) => a.index - b.index);
          const played = await play(seatsOf(root.suite, holders, digest), relay);
          for (const outcome of played.outcomes.values())
            if (outcome.status === 'done') made.push({ digest, signature: outcome.result.bytes });
        }
      for (const keeper of keepers) await keeper.hear([], made);
    }
  }
}
